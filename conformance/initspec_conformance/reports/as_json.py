"""The report as JSON: everything that the run found. The schema is ``report.schema.json``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from initspec_conformance.results import FAILED, PASSED, SKIPPED, Outcome, Report

__all__ = ["FORMAT", "record", "render"]

FORMAT = 1  # goes up when a reader of the old data would be misled


def render(report: Report) -> str:
    """The report as JSON, an outcome a line.

    Args:
        report: what a run found.

    Returns:
        JSON in ASCII. A number that is not finite is the string ``nan``, ``inf`` or ``-inf``,
        which ``float`` reads.

    >>> json.loads(render(Report(outcomes=(), seconds=1.5)))["seconds"]
    1.5
    """
    head = record(report)
    outcomes = ",\n".join(_dump(outcome) for outcome in head.pop("outcomes"))
    return f'{_dump(head)[:-1]},\n"outcomes": [\n{outcomes}\n]}}\n'


def record(report: Report) -> dict[str, Any]:
    """The same as a dict of what JSON can hold."""
    whole: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "conforms": report.conforms,
            "counts": {word: report.count(word) for word in (PASSED, FAILED, SKIPPED)},
            "checks": report.checks,
            "smallest_p": report.smallest_p,
            "seconds": report.seconds,
            "versions": report.versions,
            "missing": report.missing,
            "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        }
    )
    return whole


def _outcome(outcome: Outcome) -> dict[str, Any]:
    checks = [{**asdict(check), "passed": check.passed} for check in outcome.checks]
    return {**asdict(outcome), "checks": checks}


def _plain(value: Any) -> Any:
    """The same with floats that are not finite as strings."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, allow_nan=False)
