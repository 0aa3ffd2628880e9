"""Text to a plain tree, with the line of every key: TOML, JSON and YAML."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

from .problems import NOTHING, At, Keys, Places, Problem, Problems

__all__ = ["FORMATS", "Tree", "parse"]

Tree = tuple[Any, dict[Keys, int]]
_SPACE = " \t\r\n"
_SCHEMA = "$schema"


def parse(text: str, form: str, file: str, problems: Problems) -> Tree | None:
    """The plain tree of a text and the lines of its keys; None, and problems, if it has none.

    Args:
        text: the text.
        form: ``toml``, ``json`` or ``yaml``.
        file: for messages.
        problems: gets syntax errors and keys that come twice.
    """
    report = _Report(form, file, text, problems)
    try:
        return FORMATS[form](text, report)
    except RecursionError:
        report.syntax(1, 1, "less deeply nested")
    except ValueError as error:  # numbers of more digits than Python reads
        report.syntax(1, 1, str(error))
    return None


class _Report:
    """Notes the problems of a text."""

    def __init__(self, form: str, file: str, text: str, problems: Problems) -> None:
        self._form, self._file, self._problems = form, file, problems
        self._lines = text.splitlines()
        self.failed = False  # whether there is no tree

    def syntax(self, line: int, column: int, message: str, advice: str = "") -> None:
        """The text cannot be read."""
        self.failed = True
        given = self._lines[line - 1].strip() if 0 < line <= len(self._lines) else NOTHING
        expected = f"valid {self._form.upper()} ({message})"
        self._problems.add(
            Problem(f"column {column}", given or NOTHING, expected, advice, self._file, line)
        )

    def duplicate(self, keys: Keys, line: int, first: int | None) -> None:
        """A key comes twice: which one counts would be a guess."""
        place: Places = {(): (self._file, line)}
        at = At(self._problems, place, keys)
        at.problem(keys[-1], f"every key once; line {first} has it", "Remove one of them.")


# --- TOML: statement by statement, as tomllib itself reads it -------------------------------------


def _toml(text: str, report: _Report) -> Tree | None:
    import tomllib  # noqa: PLC0415  as late as the other formats' parsers

    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
        last = max(1, len(text.splitlines()))
        line, column = (found[1] or last, found[2] or 1) if found else (1, 1)
        report.syntax(int(line), int(column), message[: found.start()] if found else message)
        return None
    return tree, _toml_lines(text.replace("\r\n", "\n").split("\n"), tomllib.loads)


def _toml_lines(lines: list[str], loads: Callable[[str], dict[str, Any]]) -> dict[Keys, int]:
    places: dict[Keys, int] = {(): 1}
    counts: dict[Keys, int] = {}  # of the tables in each array of tables, less one
    base: Keys = ()
    start = 0
    while start < len(lines):
        first = lines[start].strip()
        if not first or first.startswith("#"):
            start += 1
            continue
        end, tree = _statement(lines, start, loads)
        if first.startswith("["):
            base = _header(tree, first.startswith("[["), counts)
            for length in range(1, len(base) + 1):
                places.setdefault(base[:length], start + 1)
        else:
            _mark(tree, base, start + 1, places)
        start = end
    return places


def _statement(
    lines: list[str], start: int, loads: Callable[[str], dict[str, Any]]
) -> tuple[int, dict[str, Any]]:
    """One statement of a valid text: as few lines as can be read; and the line behind it."""
    for end in range(start + 1, len(lines)):
        try:
            return end, loads("\n".join(lines[start:end]))
        except ValueError:
            continue
    return len(lines), loads("\n".join(lines[start:]))


def _header(tree: Any, array: bool, counts: dict[Keys, int]) -> Keys:
    """The way to the table that a header opens; of an array of tables, to its last one."""
    path: Keys = ()
    while tree:
        (name, below), *_ = tree.items()
        path += (name,)
        tree = below[0] if isinstance(below, list) else below
        if array and not tree:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def _mark(tree: Any, keys: Keys, line: int, places: dict[Keys, int]) -> None:
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    for name, below in items:
        places.setdefault((*keys, name), line)
        _mark(below, (*keys, name), line, places)


# --- JSON: a walk over a valid text with the decoder's own scanner --------------------------------


def _json(text: str, report: _Report) -> Tree | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        report.syntax(error.lineno, error.colno, error.msg)
        return None
    walk = _Walk(text, report)
    tree = walk.value(())
    if isinstance(tree, dict):
        tree.pop(_SCHEMA, None)  # a note to editors, as the first line is in other formats
    return tree, walk.places


class _Walk:
    """Reads a valid JSON text; knows the line of every key."""

    def __init__(self, text: str, report: _Report) -> None:
        self.places: dict[Keys, int] = {(): 1}
        self._text, self._report = text, report
        self._position = 0
        self._starts = [0, *accumulate(len(line) for line in text.split("\n"))]
        self._starts = [start + number for number, start in enumerate(self._starts)]
        self._scan = json.JSONDecoder().raw_decode

    def value(self, keys: Keys) -> Any:
        self._skip()
        start = self._text[self._position]
        if start == "{":
            return self._object(keys)
        if start == "[":
            return self._array(keys)
        return self._scalar()

    def _object(self, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._more("}"):
            line = self._line()
            name = self._scalar()
            inner = (*keys, name)
            if name in found:
                self._report.duplicate(inner, line, self.places[inner])
            self.places.setdefault(inner, line)
            self._skip()
            self._position += 1  # the colon
            found[name] = self.value(inner)
        return found

    def _array(self, keys: Keys) -> list[Any]:
        found: list[Any] = []
        while self._more("]"):
            inner = (*keys, len(found))
            self.places[inner] = self._line()
            found.append(self.value(inner))
        return found

    def _more(self, end: str) -> bool:
        """Behind the bracket or comma, at the next item; false behind the closing bracket."""
        self._skip()
        closed = self._text[self._position] == end
        self._position += 1
        self._skip()
        if not closed and self._text[self._position] == end:  # an empty one
            self._position += 1
            return False
        return not closed

    def _scalar(self) -> Any:
        self._skip()
        found, self._position = self._scan(self._text, self._position)
        return found

    def _skip(self) -> None:
        while self._position < len(self._text) and self._text[self._position] in _SPACE:
            self._position += 1

    def _line(self) -> int:
        return bisect_right(self._starts, self._position)


# --- YAML: the marks of its nodes -----------------------------------------------------------------


def _yaml(text: str, report: _Report) -> Tree | None:
    try:
        import yaml  # noqa: PLC0415
    except ImportError:
        report.syntax(1, 1, "PyYAML is not installed", "Try: pip install 'initspec[yaml]'")
        return None
    from .yaml12 import loader  # noqa: PLC0415  it imports yaml

    try:
        node = loader()(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        report.syntax(line, column, error.problem or "it cannot be read")
        return None
    except yaml.YAMLError as error:  # characters that YAML does not allow
        report.syntax(1, 1, str(error).splitlines()[0])
        return None
    places: dict[Keys, int] = {(): 1}
    tree = None if node is None else _node(node, (), places, report)
    return None if report.failed else (tree, places)


def _node(node: Any, keys: Keys, places: dict[Keys, int], report: _Report) -> Any:
    if node.id == "sequence":
        items = enumerate(node.value)
        return [_below(item, (*keys, number), item, places, report) for number, item in items]
    if node.id == "mapping":
        return _mapping(node, keys, places, report)
    return _scalar_of(node, report)


def _below(node: Any, keys: Keys, marked: Any, places: dict[Keys, int], report: _Report) -> Any:
    places.setdefault(keys, marked.start_mark.line + 1)
    return _node(node, keys, places, report)


def _mapping(node: Any, keys: Keys, places: dict[Keys, int], report: _Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in node.value:
        line, column = name.start_mark.line + 1, name.start_mark.column + 1
        if name.id != "scalar":
            report.syntax(line, column, "keys are text")
            continue
        inner = (*keys, name.value)
        if name.value in found:
            report.duplicate(inner, line, places[inner])
        found[name.value] = _below(item, inner, name, places, report)
    return found


def _scalar_of(node: Any, report: _Report) -> Any:
    from .yaml12 import SCALARS  # noqa: PLC0415

    read = SCALARS.get(node.tag)
    if read is None:
        mark = node.start_mark
        report.syntax(mark.line + 1, mark.column + 1, f"no tags such as {node.tag}")
        return None
    return read(node.value)


FORMATS: Mapping[str, Callable[[str, _Report], Tree | None]] = {
    "toml": _toml,
    "json": _json,
    "yaml": _yaml,
}
