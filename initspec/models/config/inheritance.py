"""What a config says together with what it extends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from initspec.stream import VERSION

from .kinds import assemble
from .objects import FORMAT, PRESET, Config, Match, Rule
from .problems import Keys, Place, Places

__all__ = ["flat"]


def flat(config: Config) -> Config:
    """One config without ``extends``; see `Config.resolved`."""
    return _flat(_lineage(config))


def _lineage(config: Config) -> list[Config]:
    """The config and all it extends, each once and before what it extends itself."""
    found: dict[str | int, Config] = {}

    def visit(each: Config) -> None:
        identity = str(Path(each.source).resolve()) if each.source else id(each)
        found.pop(identity, None)  # a later place is after more of those that extend it
        found[identity] = each
        for base in each.bases:
            visit(base)

    visit(config)
    return list(found.values())


def _flat(lineage: list[Config]) -> Config:
    def first(name: str, default: Any) -> Any:
        given = (getattr(each, name) for each in lineage)
        return next((value for value in given if value is not None), default)

    rules, places = _rules(lineage)
    values = {
        "initspec": FORMAT,
        "stream": first("stream", VERSION),
        "seed": first("seed", None),
        "unmatched": first("unmatched", "error"),
        "rules": rules,
        **{name: _merged(getattr(c, name) for c in lineage) for name in ("vars", "tie", "knobs")},
        **{name: _nested(getattr(c, name) for c in lineage) for name in ("names", "layers")},
        "source": lineage[0].source,
        "places": places,
    }
    made = assemble(Config, values)  # of parts that have been checked
    assert isinstance(made, Config)
    return made


def _merged(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All keys; of two equal ones the first."""
    found: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            found.setdefault(name, value)
    return found


def _nested(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    every = list(tables)
    names = dict.fromkeys(name for table in every for name in table)
    return {name: _merged(table.get(name, {}) for table in every) for name in names}


def _rules(lineage: Iterable[Config]) -> tuple[tuple[Rule, ...], Places]:
    """The rules of all, and where everything stands; behind a rule for all, no preset's rules."""
    rules: list[Rule] = []
    places: dict[Keys, Place] = {}
    for number, config in enumerate(lineage):
        found = _moved(config.places, len(rules))
        # What has no place in the first config has none in another's file.
        places = {**{keys: at for keys, at in found.items() if keys or not number}, **places}
        preset = config.source.startswith(PRESET)
        if not (preset and any(rule.match == Match() for rule in rules)):
            rules += [_adopted(rule, rules, preset) for rule in config.rules]
    return tuple(rules), places


def _moved(places: Places, start: int) -> Places:
    """The places, with rules that begin at another number."""
    return {
        ("rule", keys[1] + start, *keys[2:])
        if keys[:1] == ("rule",) and len(keys) > 1 and isinstance(keys[1], int)
        else keys: place
        for keys, place in places.items()
    }


def _adopted(rule: Rule, before: Iterable[Rule], preset: bool) -> Rule:
    """Under a name of its own; a preset's rule may decide nothing."""
    taken = {each.name for each in before}
    name, number = rule.name, 1
    while name in taken:
        number += 1
        count = "" if number == 2 else f", {number}"
        name = f"{rule.name} ({rule.source or 'extended'}{count})"
    return replace(rule, name=name, optional=rule.optional or preset)
