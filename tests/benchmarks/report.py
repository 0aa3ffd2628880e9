"""What becomes of the rows: docs/performance.json, and the figures in docs/performance.md."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .measure import UNITS, Row

__all__ = ["Report", "figures", "line", "page"]

FORMAT = 1
_START = "<!-- Figures: made by `make bench`; do not edit. -->"
_END = "<!-- End of the figures. -->"
_HEAD = ("case", "initspec", "peer", "peer's", "ratio (90 %)", "target", "met")
_NOISY = 0.1  # width of a typical interval; on a quiet machine it is a few hundredths
_BUSY = 0.5  # load before the start


@dataclass(frozen=True)
class Report:
    """A whole run."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    budget: float  # seconds per case
    load: float | None  # before the start
    rows: Sequence[Row] = field(repr=False)

    def to_json(self) -> str:
        """Text that `from_json` reads back without loss."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report of a text; unknown and missing fields are errors."""
        data = json.loads(text)
        if (found := data.pop("format", None)) != FORMAT:
            raise ValueError(f"format: got {found!r}, expected {FORMAT}")
        return cls(**{**data, "rows": [Row(**row) for row in data["rows"]]})

    @property
    def spread(self) -> float | None:
        """The width of the interval of a typical ratio, relative to the ratio."""
        found = [
            (row.high - row.low) / row.ratio
            for row in self.rows
            if row.ratio and row.low is not None and row.high is not None
        ]
        return statistics.median(found) if found else None

    @property
    def doubts(self) -> list[str]:
        """Why the figures may be off."""
        found = []
        if self.load is not None and self.load > _BUSY:
            found.append(f"the machine was busy before the start (load {self.load})")
        if self.spread is not None and self.spread > _NOISY:
            found.append(f"a typical interval spans {self.spread:.0%} of its ratio")
        return found


def page(text: str, report: Report, sections: Mapping[str, str]) -> str:
    """A page with fresh figures between its marks."""
    before, start, rest = text.partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        raise ValueError(f"page: expected the lines {_START!r} and {_END!r}")
    return f"{before}{start}\n\n{figures(report, sections)}\n{end}{after}"


def figures(report: Report, sections: Mapping[str, str]) -> str:
    """All tables, as Markdown."""
    parts = [_conditions(report), _summary(report)]
    for section, rows in groupby(report.rows, key=lambda row: row.section):
        body = [_cells(row) for row in rows]
        parts.append(f"### {section}\n\n{sections.get(section, '')}\n\n{_table(_HEAD, body)}")
    return "\n\n".join(parts) + "\n"


def line(row: Row) -> str:
    """One row for the terminal."""
    name, ours, peer, theirs, ratio, target, met = _cells(row)
    against = f" | {peer}: {theirs} | {ratio}" if peer else ""
    wanted = f" | target {target}: {met}" if target else ""
    return f"{row.section} | {name}: {ours}{against}{wanted}".replace("**", "")


def _conditions(report: Report) -> str:
    conditions = {"date": report.date, **report.machine}
    conditions["load before the start"] = "unknown" if report.load is None else f"{report.load}"
    if report.spread is not None:
        conditions["typical interval, of its ratio"] = f"{report.spread:.1%}"
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    text = "### Machine and versions\n\n" + _table(("what", "which"), list(conditions.items()))
    text += f"\n\nVersions: {versions}."
    for doubt in report.doubts:
        text += f"\n\n**Take these figures with care: {doubt}.**"
    return text


def _summary(report: Report) -> str:
    judged = [row for row in report.rows if row.met is not None]
    missed = [row for row in judged if not row.met]
    absent = [row for row in report.rows if row.target is not None and row.met is None]
    text = f"### Targets\n\n{len(judged) - len(missed)} of {len(judged)} targets are met."
    if absent:
        text += f" {_rows(len(absent))} with a target could not be measured here."
    if missed:
        text += " Missed:\n\n" + _list(_shortfall(row) for row in missed)
    return text


def _rows(number: int) -> str:
    return "One case" if number == 1 else f"{number} cases"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _shortfall(row: Row) -> str:
    _, ours, peer, theirs, ratio, target, _ = _cells(row)
    against = f" against {peer} ({theirs}): {ratio}" if peer else ""
    return f"{row.section}, {row.what}: {ours}{against}; the target is {target}"


def _cells(row: Row) -> tuple[str, ...]:
    met = "" if row.met is None else "yes" if row.met else "**no**"
    ours = _value(row.ours, row.unit) or row.note
    theirs = "" if row.ours is None else _value(row.theirs, row.unit) or row.note
    ratio = _number(row.ratio) if row.ratio is not None else ""
    if ratio and row.low is not None and row.high is not None:
        ratio += f" ({_number(row.low)} to {_number(row.high)})"
    return row.what, ours, row.peer or "", theirs, ratio, _target(row), met


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    sign, unit = "≥" if row.rate else "≤", "" if row.peer else f" {row.unit}"
    return f"{sign} {row.target:g}{unit}"


def _value(value: float | None, unit: str) -> str:
    assert unit in UNITS
    return "" if value is None else f"{_number(value)} {unit}"


def _number(value: float) -> str:
    """Three digits, and no more than the figure has."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in each)} |" for each in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
