"""How far a run is, on stderr: a bar on a terminal, nothing anywhere else."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Protocol, Self

from initspec_conformance.reports.summary import clean

__all__ = ["Progress"]

_BAR = 24


class _Bar(Protocol):
    def advance(self, text: str) -> None: ...
    def close(self) -> None: ...


class Progress:
    """A bar while a run lasts; it is gone afterwards, so that only results stay.

    rich draws it where it is installed. Nothing is drawn if stderr is no terminal or ``TERM`` is
    ``dumb``.

    Args:
        total: how many steps there will be.

    >>> with Progress(2) as progress:
    ...     progress.advance("he_normal")
    ...     progress.advance("he_uniform")
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar: _Bar | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = (_RichBar if find_spec("rich") else _PlainBar)(self._total)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, text: str) -> None:
        """One step is done, which ``text`` names."""
        if self._bar is not None:
            self._bar.advance(" ".join(clean(text).split()))


class _PlainBar:
    """One line that is written over and over."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total
        self._write(self._line(""))

    def advance(self, text: str) -> None:
        self._done += 1
        self._write(self._line(text))

    def close(self) -> None:
        self._write("")
        self._write("", end="\r")

    def _line(self, text: str) -> str:
        filled = _BAR * min(self._done, self._total) // max(self._total, 1)
        bar = "#" * filled + "-" * (_BAR - filled)
        return f"[{bar}] {self._done}/{self._total}  {text}"

    def _write(self, line: str, end: str = "") -> None:
        room = _columns() - 1  # a full line would wrap
        print(f"\r{line[:room]:<{room}}", end=end, file=sys.stderr, flush=True)


def _columns() -> int:
    """The width of the terminal; many that do not know it say 0."""
    return os.get_terminal_size(sys.stderr.fileno()).columns or 80


class _RichBar:
    """The bar of rich, with the time that is left."""

    def __init__(self, total: int) -> None:
        from rich import progress  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Column  # noqa: PLC0415

        self._progress = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True)
            ),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,  # results in a pipe must not go to stderr
        )
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def advance(self, text: str) -> None:
        self._progress.update(self._task, advance=1, description=text)

    def close(self) -> None:
        self._progress.stop()
