"""From a file, a text or a plain tree to a `Config`, with all that it extends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean

from .consistency import check
from .kinds import BAD, read_form
from .lines import FORMATS, parse
from .objects import PRESET, Config, Rule
from .problems import At, ConfigError, Keys, Places, Problem, Problems

__all__ = ["PRESETS", "SUFFIXES", "format_of", "load", "loads", "preset_names", "read_tree"]

PRESETS = Path(__file__).parent / "presets"
SUFFIXES = {".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}


def load(path: str | Path) -> Config:
    """The config of a TOML, JSON or YAML file, or of a preset (``initspec:base``).

    Args:
        path: the file, whose suffix tells its format; or the name of a preset.

    Returns:
        The `Config`; files that it extends have been read, too.

    Raises:
        ConfigError: with all problems of all files: each with file, line and what to do.
        InitspecTypeError: no path.

    Example:
        >>> load("initspec:base").source
        'initspec:base'

    Source: the format is in ``docs/config.md``.
    """
    if not isinstance(path, (str, Path)):
        raise InitspecTypeError("path", path, "the path of a config")
    problems = Problems()
    at = At(problems, {(): (str(path), None)})
    config = _file(str(path), Path(), at, ())
    problems.raise_as(ConfigError)
    assert isinstance(config, Config)
    return config


def loads(text: str, format: str = "toml", *, source: str = "") -> Config:
    """The config of a text.

    Args:
        text: of the config.
        format: ``toml``, ``json`` or ``yaml``.
        source: the file that it is from, for messages and for paths in ``extends``.

    Raises:
        ConfigError: with all problems, each with its line.
        InitspecTypeError, InitspecValueError: no text, or no such format.

    >>> loads("initspec = 1").to_dict()
    {'initspec': 1}
    """
    if not isinstance(text, str):
        raise InitspecTypeError("text", text, "the text of a config")
    if format not in FORMATS:
        expected = f"one of {', '.join(FORMATS)}"
        raise InitspecValueError("format", format, expected, did_you_mean(format, FORMATS))
    problems = Problems()
    config = _text(text, format, source, problems, ())
    problems.raise_as(ConfigError)
    assert isinstance(config, Config)
    return config


def format_of(path: Path) -> str:
    """The format of a file by its suffix.

    Raises:
        InitspecValueError: another suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        expected = f"a file that ends in one of {', '.join(SUFFIXES)}"
        raise InitspecValueError("path", str(path), expected)
    return SUFFIXES[path.suffix.lower()]


def preset_names() -> list[str]:
    """The presets that are shipped, as ``extends`` names them."""
    return sorted(f"{PRESET}{path.stem}" for path in PRESETS.glob("*.toml"))


def read_tree(tree: Any, at: At, readers: tuple[str, ...] = ()) -> Any:
    """The `Config` of a plain tree; `BAD` may stand in it where a problem has been noted.

    ``readers``: the configs, by identity, that are being read and extend this one.
    """
    config = read_form(Config, tree, at)
    if config is BAD:
        return BAD
    source, _ = at.place
    object.__setattr__(config, "source", source)
    object.__setattr__(config, "places", at.places)
    for number, rule in enumerate(config.rules if isinstance(config.rules, tuple) else ()):
        if isinstance(rule, Rule):
            file, line = (at / "rule" / number).place
            object.__setattr__(rule, "source", file)
            object.__setattr__(rule, "line", line)
    object.__setattr__(config, "bases", _bases(config, at, readers))
    check(config, _variables(config), at)
    return config


def _variables(config: Config) -> list[str]:
    """The names in [vars] of a config and of all it extends."""
    own = config.vars if isinstance(config.vars, Mapping) else {}
    names = dict.fromkeys(own)
    for base in config.bases:
        names |= dict.fromkeys(_variables(base))
    return list(names)


# --- files --------------------------------------------------------------------------------------


def _bases(config: Config, at: At, readers: tuple[str, ...]) -> tuple[Config, ...]:
    folder = Path() if config.source.startswith(PRESET) else Path(config.source).parent
    names = config.extends if isinstance(config.extends, tuple) else ()
    lone = len(names) == 1 and (*at.keys, "extends", 0) not in at.places
    places = [at / "extends" if lone else at / "extends" / number for number in range(len(names))]
    found = [_file(name, folder, here, readers) for name, here in zip(names, places, strict=True)]
    return tuple(base for base in found if isinstance(base, Config))


def _file(name: str, folder: Path, at: At, readers: tuple[str, ...]) -> Any:
    """The config of a file or preset; problems of finding it are noted at what names it."""
    path = (
        PRESETS / f"{name.removeprefix(PRESET)}.toml" if name.startswith(PRESET) else folder / name
    )
    if name.startswith(PRESET) and name not in preset_names():
        known = preset_names()
        advice = did_you_mean(name, known)
        at.problem(name, f"one of the presets {', '.join(known) or '(none is installed)'}", advice)
        return BAD
    form = at.attempt(format_of, path)
    source = name if name.startswith(PRESET) else str(path)
    identity = str(path.resolve())
    if form is None:
        return BAD
    if identity in readers:
        way = " -> ".join(Path(each).name for each in (*readers, identity))
        at.problem(name, f"no config that extends itself: {way}")
        return BAD
    text = _read(path, source, at)
    if text is None:
        return BAD
    return _text(text, form, source, at.problems, (*readers, identity))


def _read(path: Path, source: str, at: At) -> str | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        at.problem(str(path), "a file that can be read", f"{error.strerror}.")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        given = data[error.start : error.start + 1]
        advice = "Save the file as UTF-8."
        at.problems.add(Problem("text", given, "text in UTF-8", advice, source, line))
        return None


def _text(text: str, form: str, source: str, problems: Problems, readers: tuple[str, ...]) -> Any:
    tree = parse(text, form, source, problems)
    if tree is None:
        return BAD
    return read_tree(tree[0], At(problems, _places(tree[1], source)), readers)


def _places(lines: Mapping[Keys, int], source: str) -> Places:
    return {keys: (source, line) for keys, line in lines.items()}
