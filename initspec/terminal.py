"""Text for a terminal: plain columns, and whether colour is wanted."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["columns", "fancy", "printable"]

_GAP = "  "


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as left-aligned columns.

    >>> print(columns([("name", "std"), ("he_normal", "0.05")]))
    name       std
    he_normal  0.05
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (_GAP.join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text with escapes for the characters that stdout does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def fancy() -> bool:
    """Whether stdout is a terminal that wants colour, and rich is there to give it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain and find_spec("rich") is not None
