"""The report as one self-contained HTML page, with the extra ``report``."""

from __future__ import annotations

from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

from initspec.errors import InitspecError
from initspec_conformance.results import (
    ALPHA,
    FAILED,
    MOST_CHECKS,
    PASSED,
    RUN_ALPHA,
    SKIPPED,
    Outcome,
    Report,
)

from . import plots, summary

__all__ = ["engine", "render"]

Numbered = tuple[int, Outcome]

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def engine() -> Any:
    """jinja2 with this page's functions.

    Raises:
        InitspecError: it is not installed.
    """
    try:
        jinja2 = import_module("jinja2")
    except ImportError as error:
        advice = "Try: pip install 'initspec[report]'"
        raise InitspecError("HTML report", "jinja2", "the extra 'report'", advice) from error
    environment = jinja2.Environment(
        autoescape=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "clean": summary.clean,
        "number": _number,
        "place": summary.place,
        "probability": summary.probability,
        "seconds": _seconds,
        "smallest_p": _smallest_p,
    }
    return environment


def render(report: Report) -> str:
    """The report as a page that needs nothing from outside: no script, no font, no picture.

    Args:
        report: what a run found.

    Returns:
        HTML, light or dark as the reader's system is. Failures are open, all else is folded.

    Raises:
        InitspecError: jinja2 is not installed.
    """
    template = engine().from_string(_TEMPLATE.read_text(encoding="utf-8"))
    numbered = list(enumerate(report.outcomes, start=1))
    page: str = template.render(
        report=report,
        judgement=summary.judgement(report),
        chance=summary.chance(report),
        verdicts=(PASSED, FAILED, SKIPPED),
        groups=summary.groups(report),
        numbers={outcome: number for number, outcome in numbered},
        failures=[pair for pair in numbered if pair[1].verdict == FAILED],
        pictures=_pictures(numbered),
        skips=summary.skips(report),
        plots=_plots,
        page=plots,
        alpha=ALPHA,
        run_alpha=RUN_ALPHA,
        most_checks=MOST_CHECKS,
    )
    return page


def _pictures(numbered: list[Numbered]) -> dict[tuple[str, str], list[Numbered]]:
    """Those that did not fail and have a picture, by subject and device."""
    found = defaultdict[tuple[str, str], list[Numbered]](list)
    for number, outcome in numbered:
        if outcome.picture and outcome.verdict != FAILED:
            found[outcome.subject, outcome.device].append((number, outcome))
    return found


def _plots(outcome: Outcome) -> list[plots.Plot]:
    if outcome.picture is None:
        return []
    both = (plots.histogram(outcome.picture), plots.quantiles(outcome.picture))
    return [plot for plot in both if plot is not None]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _seconds(value: float) -> str:
    return f"{value:.2f}"


def _smallest_p(outcome: Outcome) -> str:
    ps = [check.p for check in outcome.checks]
    return summary.probability(min(ps)) if ps else ""
