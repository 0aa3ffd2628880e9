"""The report as JUnit XML, which CI servers read: a test suite per subject and device."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

from initspec_conformance.results import FAILED, SKIPPED, Outcome, Report

from .summary import clean, detail, groups, place

__all__ = ["render"]


def render(report: Report) -> str:
    """The report as JUnit XML.

    Args:
        report: what a run found.

    Returns:
        A document in UTF-8. What was missing is a suite of its own, of skipped cases.

    >>> render(Report(outcomes=())).splitlines()[0]
    '<?xml version="1.0" encoding="UTF-8"?>'
    """
    suites = [
        _suite(f"{subject} on {device}", part, report.versions)
        for (subject, device), part in groups(report).items()
    ]
    if report.missing:
        suites.append(_missing(report.missing))
    tests = len(report.outcomes) + len(report.missing)
    skipped = report.count(SKIPPED) + len(report.missing)
    counts = _counts("initspec conformance", tests, report.count(FAILED), skipped, report.seconds)
    root = ET.Element("testsuites", counts)
    root.extend(suites)
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(name: str, part: Report, versions: dict[str, str]) -> ET.Element:
    tests, failed, skipped = len(part.outcomes), part.count(FAILED), part.count(SKIPPED)
    suite = ET.Element("testsuite", _counts(name, tests, failed, skipped, part.seconds))
    properties = ET.SubElement(suite, "properties")
    for key, value in versions.items():
        ET.SubElement(properties, "property", name=clean(key), value=clean(value))
    suite.extend(_case(outcome) for outcome in part.outcomes)
    return suite


def _missing(missing: dict[str, str]) -> ET.Element:
    suite = ET.Element("testsuite", _counts("missing", len(missing), 0, len(missing), 0.0))
    for name, reason in missing.items():
        case = ET.SubElement(suite, "testcase", classname="missing", name=clean(name), time="0.000")
        ET.SubElement(case, "skipped", message=clean(reason))
    return suite


def _case(outcome: Outcome) -> ET.Element:
    name = clean(f"{outcome.kind}: {outcome.case}")
    time = _seconds(outcome.seconds)
    case = ET.Element("testcase", classname=place(outcome), name=name, time=time)
    if outcome.verdict == FAILED:
        text = detail(outcome)
        first = text.partition("\n")[0]
        ET.SubElement(case, "failure", message=first, type="nonconformance").text = text
    elif outcome.verdict == SKIPPED:
        ET.SubElement(case, "skipped", message=clean(outcome.message))
    return case


def _counts(name: str, tests: int, failed: int, skipped: int, seconds: float) -> dict[str, str]:
    counts = {"tests": tests, "failures": failed, "errors": 0, "skipped": skipped}
    numbers = {key: str(count) for key, count in counts.items()}
    return {"name": clean(name), **numbers, "time": _seconds(seconds)}


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}" if math.isfinite(seconds) else "0.000"
