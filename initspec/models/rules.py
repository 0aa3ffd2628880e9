"""Which rule decides a logical tensor: the first that matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from initspec.errors import did_you_mean

from .config.globs import Glob
from .slots import Part

if TYPE_CHECKING:
    from .config import Match, Rule

__all__ = ["Decision", "Rules", "counts", "variables"]

_INDEX = "i"  # the capture whose count is called L


def match(wanted: Match, part: Part) -> dict[str, str] | None:
    """The captures of the path, if every key of the match holds."""
    if wanted.role and part.role not in wanted.role:
        return None
    if wanted.layer and part.kind not in wanted.layer:
        return None
    if wanted.exclude is not None and match(wanted.exclude, part) is not None:
        return None
    if not wanted.path:
        return {}
    found = (Glob.parse(path).match(part.path) for path in wanted.path)
    return next((captures for captures in found if captures is not None), None)


@dataclass(frozen=True)
class Decision:
    """The rule that decides, its captures, and the rule that would decide without it."""

    rule: Rule
    captures: Mapping[str, str]
    second: Rule | None


class Rules:
    """A config's rules before all logical tensors of a model: one part for each path."""

    def __init__(self, rules: Sequence[Rule], parts: Iterable[Part]) -> None:
        self._rules = tuple(rules)
        self._parts = tuple(parts)

    @cached_property
    def hits(self) -> dict[str, list[tuple[Rule, dict[str, str]]]]:
        """For each path all rules that match, in order, with their captures."""
        return {part.path: list(self._hits(part)) for part in self._parts}

    def _hits(self, part: Part) -> Iterable[tuple[Rule, dict[str, str]]]:
        for rule in self._rules:
            captures = match(rule.match, part)
            if captures is not None:
                yield rule, captures

    def decide(self, path: str) -> Decision | None:
        """The first rule that matches a path, and the second."""
        hits = self.hits[path]
        if not hits:
            return None
        rule, captures = hits[0]
        return Decision(rule, captures, hits[1][0] if len(hits) > 1 else None)

    @cached_property
    def counts(self) -> dict[int, dict[str, float]]:
        """For each rule (by id) how many values each of its captures takes: ``L``, ``L_i``."""
        found: dict[int, list[dict[str, str]]] = {}
        for hits in self.hits.values():
            for rule, captures in hits:
                found.setdefault(id(rule), []).append(captures)
        return {number: counts(captures) for number, captures in found.items()}

    def dead(self) -> list[tuple[Rule, str]]:
        """The rules that decide nothing, each with the reason; not those that may."""
        alive = {id(hits[0][0]) for hits in self.hits.values() if hits}
        return [
            (rule, self._reason(rule))
            for rule in self._rules
            if id(rule) not in alive and not rule.optional
        ]

    def _reason(self, rule: Rule) -> str:
        shadows = [
            hits[0][0].name for hits in self.hits.values() if any(each is rule for each, _ in hits)
        ]
        if shadows:
            first = ", ".join(repr(name) for name in dict.fromkeys(shadows))
            return f"every parameter that it matches is decided before, by {first}."
        closest = did_you_mean(next(iter(rule.match.path), ""), self.hits)
        return f"no parameter matches it. {closest}".strip()


def counts(captures: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """How many different values each capture takes.

    >>> counts([{"i": "0"}, {"i": "1"}, {"i": "1"}])
    {'L_i': 2.0, 'L': 2.0}
    """
    names = sorted({name for each in captures for name in each})
    found = {f"L_{name}": float(len({each.get(name) for each in captures})) for name in names}
    return found | ({"L": found[f"L_{_INDEX}"]} if _INDEX in names else {})


def variables(captures: Mapping[str, str]) -> dict[str, float]:
    """The captures that are numbers."""
    return {name: float(text) for name, text in captures.items() if text.isdecimal()}
