"""The reports of a conformance run, one module per format.

Each module has ``render``, a pure function from a `Report` to text; `write` picks one by the
file's suffix.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from initspec import files
from initspec.errors import InitspecValueError, did_you_mean
from initspec_conformance.results import Report

from . import as_json, github, html, junit, text

__all__ = ["FORMATS", "as_json", "check_path", "github", "html", "junit", "text", "write"]

_WHERE = "report file"

FORMATS: MappingProxyType[str, Callable[[Report], str]] = MappingProxyType(
    {".html": html.render, ".json": as_json.render, ".txt": text.render, ".xml": junit.render}
)


def check_path(path: Path) -> None:
    """Refuse a report file that `write` could not write; ask before a long run.

    Args:
        path: where the report is to go. Nothing is created.

    Raises:
        InitspecValueError: no format has this suffix, the folder is not there, or the path is a
            folder itself.
        InitspecError: the format is HTML and jinja2 is not installed.

    >>> check_path(Path("report.xml"))
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        *some, last = FORMATS
        expected = f"a name that ends in {', '.join(some)} or {last}"
        advice = did_you_mean(suffix, FORMATS)
        raise InitspecValueError(_WHERE, str(path), expected, advice)
    if path.is_dir() or not path.parent.is_dir():
        raise InitspecValueError(_WHERE, str(path), "a file in a folder that exists")
    if not os.access(path.parent, os.W_OK):
        raise InitspecValueError(_WHERE, str(path), "a folder that can be written to")
    if suffix == ".html":
        html.engine()


def write(report: Report, path: Path) -> None:
    """Write a report in the format of the file's suffix, as a whole or not at all.

    Args:
        report: what a run found.
        path: ``.html``, ``.json``, ``.txt`` or ``.xml``; a file that is there is replaced.

    Raises:
        InitspecValueError: no format has this suffix, or the file cannot be written.
        InitspecError: the format is HTML and jinja2 is not installed.
    """
    check_path(path)
    files.write(path, FORMATS[path.suffix.lower()](report).encode(), _WHERE)
