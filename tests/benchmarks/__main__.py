"""``python -m benchmarks``: measure, print, and write the report if everything ran."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from .cases import CASES, SECTIONS
from .machine import load, machine, versions
from .measure import Case, Row
from .report import Report, line, page
from .worker import rows_of

DOCS = Path(__file__).parents[2] / "docs"
_BUDGET, _QUICK = 2.0, 0.2  # seconds per case


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 if a case failed."""
    options = _parser().parse_args(arguments)
    if options.render:
        _render(Report.from_json((DOCS / "performance.json").read_text(encoding="utf-8")))
        return 0
    cases = [case for case in CASES if re.search(options.only, case.label)]
    if options.list:
        print(*(case.label for case in cases), sep="\n")
        return 0
    if not cases:
        _parser().error(f"--only {options.only!r} fits no case: see --list")
    budget = options.budget or (_QUICK if options.quick else _BUDGET)
    busy = load()
    rows = _in_order(cases, list(_measured(cases, budget)))
    date = time.strftime("%Y-%m-%d", time.gmtime())
    report = Report(date, machine(), versions(), budget, busy, rows)
    for doubt in report.doubts:
        print(f"Take these figures with care: {doubt}.", file=sys.stderr)
    failed = any(row.failed for row in rows)
    if not (failed or options.quick or options.only):
        _write(report)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="some cases; writes nothing")
    parser.add_argument("--quick", action="store_true", help="a short look; writes nothing")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help=f"per case: {_BUDGET}")
    parser.add_argument("--list", action="store_true", help="the cases, without measuring")
    parser.add_argument("--render", action="store_true", help="the page again, from the JSON")
    return parser


def _measured(cases: Sequence[Case], budget: float) -> Iterator[Row]:
    """The rows, printed as they come, from one process for each setting."""

    def setting(case: Case) -> str:
        return repr(case.setting)

    for _, group in groupby(sorted(cases, key=setting), key=setting):
        chosen = list(group)
        for row in rows_of(chosen[0].setting, chosen, budget):
            print(line(row), flush=True)
            yield row


def _in_order(cases: Sequence[Case], rows: Sequence[Row]) -> list[Row]:
    """The rows in the order of the cases."""
    places = {(case.section, case.what): place for place, case in enumerate(cases)}
    return sorted(rows, key=lambda row: places[row.section, row.what])


def _write(report: Report) -> None:
    (DOCS / "performance.json").write_text(report.to_json(), encoding="utf-8")
    _render(report)


def _render(report: Report) -> None:
    target = DOCS / "performance.md"
    text = page(target.read_text(encoding="utf-8"), report, SECTIONS)
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
