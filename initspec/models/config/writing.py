"""From a `Config` to text: TOML as a person would write it, JSON, YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from initspec import files
from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean

from .objects import Config
from .reading import format_of

__all__ = ["dump", "dumps"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(config: Config, format: str = "toml") -> str:
    """A config as text that `loads` reads back without loss; comments are not kept.

    Args:
        config: the config.
        format: ``toml``, ``json`` or ``yaml``.

    Raises:
        InitspecTypeError, InitspecValueError: no config, or no such format.

    >>> print(dumps(Config(seed=7, vars={"depth": 12})), end="")
    initspec = 1
    seed = 7
    <BLANKLINE>
    [vars]
    depth = 12
    """
    if not isinstance(config, Config):
        raise InitspecTypeError("config", config, "a Config")
    if format not in _FORMATS:
        expected = f"one of {', '.join(_FORMATS)}"
        raise InitspecValueError("format", format, expected, did_you_mean(format, _FORMATS))
    return _FORMATS[format](config.to_dict())


def dump(config: Config, path: str | Path) -> None:
    """Write a config to a file, as a whole or not at all; the suffix tells the format.

    Raises:
        InitspecTypeError, InitspecValueError: no config, another suffix, or the file cannot be
            written; what was there before stays.
    """
    target = Path(path)
    files.write(target, dumps(config, format_of(target)).encode(), "path")


# --- TOML ---------------------------------------------------------------------------------------


def _toml(tree: Mapping[str, Any]) -> str:
    return "".join(f"{line}\n" for line in _lines(tree))


def _lines(tree: Mapping[str, Any]) -> Iterator[str]:
    """The plain values first, then the tables, each behind an empty line."""
    for name, value in tree.items():
        if name != "rule" and not isinstance(value, dict):
            yield _entry(name, value)
    for name, value in tree.items():
        if name == "rule":
            for rule in value:
                yield from ("", "[[rule]]", *_entries(rule))
        elif name in ("names", "layers"):
            for inner, entries in value.items():
                yield from ("", f"[{name}.{_key(inner)}]", *_entries(entries))
        elif isinstance(value, dict):
            yield from ("", f"[{name}]", *_entries(value))


def _entries(table: Mapping[str, Any]) -> Iterator[str]:
    return (_entry(name, value) for name, value in table.items())


def _entry(name: str, value: Any) -> str:
    return f"{_key(name)} = {_value(value)}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    """The text is printable, so that JSON's escapes, of quotes and backslashes, are TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(_entries(value))} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _string(value) if isinstance(value, str) else json.dumps(value)


# --- JSON and YAML ------------------------------------------------------------------------------


def _json(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _yaml(tree: Mapping[str, Any]) -> str:
    try:
        import yaml  # noqa: PLC0415
    except ImportError as error:
        advice = "Try: pip install 'initspec[yaml]'"
        raise InitspecValueError("format", "yaml", "PyYAML to be installed", advice) from error
    from .yaml12 import dumper  # noqa: PLC0415  it imports yaml

    text = yaml.dump(tree, Dumper=dumper(), sort_keys=False, allow_unicode=True, width=100)
    assert isinstance(text, str)
    return text


_FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "toml": _toml,
    "json": _json,
    "yaml": _yaml,
}
