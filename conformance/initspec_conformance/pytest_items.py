"""The suite as items of a pytest run: one for each thing that is checked."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from initspec.errors import InitspecError
from initspec_conformance.results import PASSED, SKIPPED, Outcome
from initspec_conformance.suite import Suite, Task

__all__ = ["Items"]

_ALL = "all"


class Items:
    """The plugin that adds the suite's items to those that pytest finds."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite

    @classmethod
    def of(cls, backends: str | None, devices: str | None) -> Items:
        """The items for names as they were given on the command line.

        Raises:
            pytest.UsageError: a name is missing or unknown, or what it names is not there.
        """
        if backends is None:
            raise pytest.UsageError("--initspec-devices: give --initspec-backends as well")
        names = _names("--initspec-backends", backends)
        places = [] if devices is None else _names("--initspec-devices", devices)
        try:
            return cls(Suite([] if names == [_ALL] else names, places))
        except InitspecError as error:
            raise pytest.UsageError(f"initspec: {error}") from error

    def pytest_report_header(self) -> str:
        """Which backends take part."""
        return f"initspec: {', '.join(backend.name for backend in self.suite.backends)}"

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Put the suite beside the files."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            report.result = [*(report.result or ()), _Conformance.of(collector, self.suite)]
        return report


def _names(option: str, text: str) -> list[str]:
    """Names between commas; an empty one is what an unset variable leaves."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise pytest.UsageError(f"{option}: got {text!r}; expected names separated by commas")
    return names


class _Conformance(pytest.Collector):
    """The node above all items."""

    suite: Suite

    @classmethod
    def of(cls, session: pytest.Session, suite: Suite) -> _Conformance:
        made: _Conformance = cls.from_parent(session, name="initspec", nodeid="initspec")
        made.suite = suite
        made.add_marker("initspec")
        # Values are judged, not a framework's warnings about itself.
        made.add_marker(pytest.mark.filterwarnings("default"))
        return made

    def collect(self) -> Iterator[pytest.Item]:
        for task in self.suite.tasks():
            name = f"{task.subject}-{task.device}-{task.kind}[{task.label}]"
            yield _Case.from_parent(self, name=name, task=task)
        for what, reason in self.suite.missing.items():
            yield _Missing.from_parent(self, name=f"missing[{what}]", reason=reason)


class _Item(pytest.Item):
    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class _Case(_Item):
    """One task of the suite."""

    def __init__(self, *, task: Task, **options: Any) -> None:
        super().__init__(**options)
        self.task = task

    def runtest(self) -> None:
        outcome = self.task.run()
        if outcome.verdict == SKIPPED:
            pytest.skip(outcome.message)
        if outcome.verdict != PASSED:
            pytest.fail(_message(outcome), pytrace=False)


class _Missing(_Item):
    """What was not there and had not been asked for by name."""

    def __init__(self, *, reason: str, **options: Any) -> None:
        super().__init__(**options)
        self.reason = reason

    def runtest(self) -> None:
        pytest.skip(f"{self.name}: {self.reason}")


def _message(outcome: Outcome) -> str:
    """What is wrong, and the checks that say so."""
    failed = [f"  {check}" for check in outcome.checks if not check.passed]
    return "\n".join([outcome.message, *failed])
