"""Tables on the terminal: through rich where it is installed, plain columns otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from initspec.terminal import columns, fancy, printable

__all__ = ["print_table"]


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table to stdout: wrapped and coloured on a terminal, greppable in a pipe."""
    body = [list(row) for row in rows]
    if fancy():
        _print_rich(headers, body, title)
        return
    if title:
        print(title)
    print(printable(columns([list(headers), *body])))


def _print_rich(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        box=box.SIMPLE_HEAD, title=Text(title, "bold") if title else None, title_justify="left"
    )
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: brackets in a formula are not markup
    Console().print(table)
