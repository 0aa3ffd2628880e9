"""YAML as version 1.2 reads it, through PyYAML, which follows 1.1: ``1e-5`` is a number.

In 1.1 it is text, ``010`` is eight and ``no`` is false. Anchors are refused: a config is the same
tree in every format, and a tree has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import yaml

__all__ = ["SCALARS", "dumper", "loader"]

_TAG = "tag:yaml.org,2002:"
_CORE = (  # tag, pattern, first characters: the core schema, without its octals
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+"), list("-+0123456789")),
    (
        "float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.nan"),
        list("-+.0123456789"),
    ),
)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".Inf", "inf").replace(".nan", "nan"))


SCALARS: Mapping[str, Callable[[str], Any]] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": lambda text: text.lower() == "true",
    f"{_TAG}int": int,
    f"{_TAG}float": _float,
}


def _with_core(base: Any, inherited: Mapping[str, Any]) -> Any:
    """A class of PyYAML that sees the core schema, then what it inherits."""
    resolvers: dict[str, Any] = {}
    for name, pattern, first in _CORE:
        whole = re.compile(f"(?:{pattern.pattern})$")
        for character in first:
            resolvers.setdefault(character, []).append((f"{_TAG}{name}", whole))
    for character, more in inherited.items():
        resolvers.setdefault(character, []).extend(more)
    return type(f"Core{base.__name__}", (base,), {"yaml_implicit_resolvers": resolvers})


@cache
def loader() -> Any:
    """The class that composes nodes."""
    base = _with_core(yaml.SafeLoader, {})
    composed = base.compose_node

    def compose_node(self: Any, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "no anchors: write it out", mark)
        return composed(self, parent, index)

    base.compose_node = compose_node
    return base


@cache
def dumper() -> Any:
    """The class that writes: it quotes what either version of YAML would take for no text."""
    base = _with_core(yaml.SafeDumper, yaml.SafeDumper.yaml_implicit_resolvers)
    base.ignore_aliases = lambda self, data: True
    return base
