"""Anchored globs over paths, with captures.

``*`` stands for anything within one component, ``**`` for any number of components, ``{i}`` for
one component (or a piece of one) under a name, ``{rest**}`` for any number under a name. ``re:``
starts a regular expression, anchored too; its named groups are the captures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from initspec.errors import InitspecTypeError, InitspecValueError

__all__ = ["REGEX", "Glob"]

REGEX = "re:"
_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*\*)?\}")
_TOKEN = re.compile(rf"(?P<capture>{_CAPTURE.pattern})|(?P<deep>\*\*)|(?P<star>\*)|(?P<text>.)")
_DEEP = "[^/]+(?:/[^/]+)*"


@dataclass(frozen=True)
class Glob:
    """A pattern; `Glob.parse` makes one.

    >>> Glob.parse("blocks/{i}/**/kernel").match("blocks/3/attn/out/kernel")
    {'i': '3'}
    >>> Glob.parse("blocks/{i}/*/kernel").match("blocks/3/attn/out/kernel") is None
    True
    """

    text: str
    regex: re.Pattern[str]

    @classmethod
    def parse(cls, text: str, where: str = "path") -> Glob:
        """Read a pattern.

        Raises:
            InitspecTypeError, InitspecValueError: no text, or one that cannot be read.
        """
        if not isinstance(text, str):
            raise InitspecTypeError(where, text, "a glob such as 'blocks/{i}/**/kernel'")
        if not text:
            raise InitspecValueError(where, text, "a glob such as 'blocks/{i}/**/kernel'")
        return cls(text, _compile(text, where))

    @property
    def captures(self) -> tuple[str, ...]:
        """The names of the captures."""
        return tuple(self.regex.groupindex)

    def match(self, path: str) -> dict[str, str] | None:
        """The captures, if the whole path matches."""
        found = self.regex.fullmatch(path)
        return found.groupdict() if found else None

    @staticmethod
    def fill(template: str, captures: Mapping[str, str], where: str = "path") -> str:
        """A path from a template: every ``{name}`` replaced by its capture.

        >>> Glob.fill("blocks/{i}/mlp/kernel", {"i": "3"})
        'blocks/3/mlp/kernel'
        """

        def capture(found: re.Match[str]) -> str:
            if found[1] not in captures:
                expected = f"captures of the left side: {sorted(captures) or 'it has none'}"
                raise InitspecValueError(where, found[0], expected)
            return captures[found[1]]

        return _CAPTURE.sub(capture, template)

    @staticmethod
    def names(template: str) -> tuple[str, ...]:
        """The captures that a template asks for."""
        return tuple(found[1] for found in _CAPTURE.finditer(template))


@lru_cache(maxsize=4096)
def _compile(text: str, where: str) -> re.Pattern[str]:
    source = text[len(REGEX) :] if text.startswith(REGEX) else _translate(text, where)
    try:
        return re.compile(source)
    except re.error as error:
        expected = f"a regular expression ({error})"
        raise InitspecValueError(where, text, expected) from error


def _translate(text: str, where: str) -> str:
    """``**`` takes whole components: with its slash it may also be none."""
    words = text.split("/")
    again = (each == "**" and each == before for before, each in pairwise(["", *words]))
    components = [each for each, twice in zip(words, again, strict=True) if not twice]
    if components == ["**"]:
        return f"(?:{_DEEP})?"
    if "" in components:
        raise InitspecValueError(where, text, "no empty component between slashes")
    tail = f"(?:/{_DEEP})?" if components[-1] == "**" else ""
    seen: set[str] = set()
    parts = (
        f"(?:{_DEEP}/)?" if each == "**" else _component(each, text, where, seen) + "/"
        for each in (components[:-1] if tail else components)
    )
    return "".join(parts).removesuffix("/") + tail


def _component(component: str, text: str, where: str, seen: set[str]) -> str:
    if "**" in _CAPTURE.sub("", component):
        raise InitspecValueError(where, text, "'**' as a whole component: 'a/**/b'")
    if "{" in _CAPTURE.sub("", component) or "}" in _CAPTURE.sub("", component):
        expected = "captures as in 'blocks/{i}': a name in braces"
        raise InitspecValueError(where, text, expected)
    return "".join(_piece(token, seen) for token in _TOKEN.finditer(component))


def _piece(token: re.Match[str], seen: set[str]) -> str:
    if token["capture"]:
        name, deep = token[2], token[3]
        if name in seen:  # the same name stands for the same text
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{_DEEP if deep else '[^/]+?'})"
    return "[^/]*" if token["star"] else re.escape(token["text"])
