"""The report for a terminal: plain columns, greppable, coloured where that is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import indent

from initspec.terminal import columns, fancy, printable
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Report

from .summary import clean, detail, failures, groups, place, skips, verdict

__all__ = ["render", "show"]

_HEADERS = ("subject", "device", PASSED, FAILED, SKIPPED, "checks", "seconds")
_GAP = "  "

Block = tuple[str, str]  # rich's name of a colour, or nothing, and the text


def render(report: Report) -> str:
    """The report as plain text.

    Args:
        report: what a run found.

    Returns:
        A table of counts, the failures, the skips, and the verdict in the last line.

    >>> from initspec_conformance.results import Outcome
    >>> case = Outcome(subject="numpy", device="cpu", case="zeros", kind="bits", verdict="passed")
    >>> print(render(Report(outcomes=(case,))), end="")
    subject  device  passed  failed  skipped  checks  seconds
    numpy    cpu     1       0       0        0       0.0
    <BLANKLINE>
    conforms: 1 passed, 0 failed, 0 skipped, 0 checks, 0.0 s
    """
    return "".join(f"{text}\n" for _, text in _blocks(report))


def show(report: Report) -> None:
    """Print the report: in colour on a terminal that has it and where rich is installed."""
    if fancy():
        _show_rich(report)
        return
    print(printable(render(report)), end="")


def _show_rich(report: Report) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for style, text in _blocks(report):
        console.print(Text(text, style), soft_wrap=True)  # Text: brackets are not markup


def _blocks(report: Report) -> Iterator[Block]:
    for section in (_table(report), _failures(report), _skips(report)):
        some = list(section)
        if some:
            yield from some
            yield "", ""
    yield "bold green" if report.conforms else "bold red", verdict(report)


def _table(report: Report) -> Iterator[Block]:
    found = groups(report)
    if found:
        rows = [_row(subject, device, part) for (subject, device), part in found.items()]
        head, *lines = columns([_HEADERS, *rows]).split("\n")
        yield "bold", head
        for line, part in zip(lines, found.values(), strict=True):
            yield "red" if part.count(FAILED) else "", line


def _row(subject: str, device: str, part: Report) -> tuple[str, ...]:
    counts = (*(part.count(word) for word in (PASSED, FAILED, SKIPPED)), part.checks)
    return (_line(subject), _line(device), *map(str, counts), f"{part.seconds:.1f}")


def _failures(report: Report) -> Iterator[Block]:
    for outcome in failures(report):
        yield "red", _GAP.join(("FAILED", _line(place(outcome)), outcome.kind, _line(outcome.case)))
        yield "", indent(detail(outcome), _GAP)


def _skips(report: Report) -> Iterator[Block]:
    for reason, outcomes in skips(report).items():
        places = ", ".join(dict.fromkeys(_line(place(outcome)) for outcome in outcomes))
        head = _GAP.join(("SKIPPED", str(len(outcomes)), places))
        yield "yellow", f"{head}{_GAP}{_line(reason)}"
    for name, reason in report.missing.items():
        yield "yellow", _GAP.join(("MISSING", _line(name), _line(reason)))


def _line(text: str) -> str:
    return " ".join(clean(text).split())
