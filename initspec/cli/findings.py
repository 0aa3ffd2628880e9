"""How `check` and `verify` report what they found: text, JSON, annotations, JUnit."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from initspec import files
from initspec.errors import InitspecValueError
from initspec.models.checking import KNOB, Checked, Finding
from initspec.models.config.objects import PRESET, Config
from initspec.models.config.problems import Place, ProblemsError
from initspec.models.plans import Plan, Row

from .models import print_json, say

__all__ = ["FINDINGS", "add_reports", "check_reports", "report", "report_problems"]

FINDINGS = 1  # the exit code


def add_reports(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how findings are reported."""
    reports = parser.add_argument_group("reports")
    add = reports.add_argument
    add("--json", action="store_true", help="print JSON instead of text")
    add("--github", action="store_true", help="print annotations for GitHub Actions as well")
    text = "write JUnit XML there too, with a test case for each logical tensor"
    add("--junit", type=Path, metavar="FILE", help=text)


def check_reports(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything takes time."""
    if options.json and options.github:
        expected = "one of the two: annotations among JSON can be read by nobody"
        raise InitspecValueError("--json, --github", True, expected)
    if options.junit is not None:
        path = options.junit
        if path.is_dir() or not path.parent.is_dir():
            raise InitspecValueError("--junit", str(path), "a file in a folder that exists")


def report(checked: Checked, plan: Plan, config: Config, options: argparse.Namespace) -> int:
    """Print and write what was found; the exit code."""
    try:
        if options.junit is not None:
            text = import_module("initspec_conformance.reports.junit").render(
                _run(checked, plan, config)
            )
            files.write(options.junit, text.encode(), "--junit")
    finally:  # whatever the disk does, the verdict is not lost
        if options.json:
            print_json({"config": options.config, "seed": plan.seed, **checked.to_dict()})
        else:
            say(str(checked))
        if options.github:
            _annotate(checked, plan, config)
    return 0 if checked.passed else FINDINGS


# --- GitHub ---------------------------------------------------------------------------------------


def report_problems(error: ProblemsError, options: argparse.Namespace) -> None:
    """Annotations of what is wrong with a config, beside the messages on stderr."""
    if options.github:
        for problem in error.problems:
            message = str(InitspecValueError("", problem.given, problem.expected, problem.advice))
            place = _in_repository((problem.file, problem.line), (options.config, None))
            _say_command("error", problem.path, message.removeprefix(": "), place)


def _annotate(checked: Checked, plan: Plan, config: Config) -> None:
    rules = {row.path: row.rule for row in plan.rows if row.rule is not None}
    for finding in checked.failures:
        rule = rules.get(finding.path)
        place = (rule.source, rule.line) if rule else (config.source, None)
        if finding.kind == KNOB:
            place = config.place("knobs")
        _say_command(
            "error",
            finding.path or "model",
            finding.message,
            _in_repository(place, config.place("extends")),
        )
    if not checked.findings:
        message = "nothing was looked at"
        _say_command("error", "check", message, (config.source, None))


def _in_repository(place: Place, otherwise: Place) -> Place:
    """The place; of a preset, which is in no repository, where the config names it."""
    return otherwise if not place[0] or place[0].startswith(PRESET) else place


def _say_command(level: str, title: str, message: str, place: Place) -> None:
    command = import_module("initspec_conformance.reports.github").command
    file, line = place
    say(command(level, title, message, file=file, line="" if line is None else str(line)))


# --- JUnit ----------------------------------------------------------------------------------------


def _run(checked: Checked, plan: Plan, config: Config) -> Any:
    """The findings as the report of a conformance run: one outcome for each path."""
    results = import_module("initspec_conformance.results")
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in checked.findings:
        found.setdefault((finding.path, finding.kind), []).append(finding)
    about = {"subject": config.source, "device": plan.model.framework}
    outcomes = [
        results.Outcome(
            case=path,
            kind=kind,
            verdict=results.PASSED if all(each.passed for each in some) else results.FAILED,
            message="\n".join(each.message for each in some if not each.passed),
            size=sum(each.size for each in some),
            **about,
        )
        for (path, kind), some in found.items()
    ]
    outcomes += [
        results.Outcome(
            case=row.path, kind="kept", verdict=results.SKIPPED, message=_why_kept(row), **about
        )
        for row in checked.kept
    ]
    return results.Report(outcomes=tuple(outcomes))


def _why_kept(row: Row) -> str:
    return row.note or (f"kept by rule {row.rule.name!r}" if row.rule else "kept")
