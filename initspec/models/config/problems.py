"""Problems of a config or a plan: where each is, what was given, what to do; all told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from initspec.errors import InitspecError, InitspecValueError

__all__ = [
    "NOTHING",
    "At",
    "ConfigError",
    "Keys",
    "Place",
    "Places",
    "PlanError",
    "Problem",
    "Problems",
    "ProblemsError",
    "dotted",
]

Keys = tuple[str | int, ...]
"""The way from the top of a tree to a value: ``("rule", 2, "init", "std")``."""
Place = tuple[str, int | None]
"""A file (or preset, or nothing) and a line in it."""
Places = Mapping[Keys, Place]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class _Nothing:
    """What was given where a value is missing."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        path: of the value in the tree: ``rule[2].init.std``.
        given, expected, advice: as in `initspec.InitspecError`.
        file, line: where it stands; empty and None where there is no file.

    >>> print(Problem("seed", -1, "0 or more", file="a.toml", line=3))
    a.toml:3: seed: got -1; expected 0 or more
    """

    path: str
    given: object
    expected: str
    advice: str = ""
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:" + (f"{self.line}:" if self.line else "") if self.file else ""
        text = str(InitspecValueError(self.path, self.given, self.expected, self.advice))
        return f"{place} {text}" if place else text


class ProblemsError(InitspecValueError):
    """One or more problems; the text lists all of them, one per line.

    Fields: ``problems``, and those of the first problem as in every `InitspecError`.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.path, first.given, first.expected, first.advice)
        self.args = (self.problems,)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ConfigError(ProblemsError):
    """A config cannot be read: syntax, keys, values, or what it refers to."""


class PlanError(ProblemsError):
    """A config does not fit a model: dead rules, unmatched tensors, ties, layouts."""


class Problems:
    """Collects problems, in the order in which they are found."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, problem: Problem) -> None:
        """Take one more; the same one twice counts once."""
        if all(str(problem) != str(other) for other in self._found):
            self._found.append(problem)

    def raise_as(self, error: type[ProblemsError]) -> None:
        """Raise all problems as one error, file by file and line by line; nothing if none."""
        if self._found:
            files = [problem.file for problem in self._found]
            order = sorted(self._found, key=lambda p: (files.index(p.file), p.line or 0))
            raise error(order)


@dataclass(frozen=True)
class At:
    """A value's place in a tree; ``at / key`` is that of a value below it."""

    problems: Problems
    places: Places = field(default_factory=dict)
    keys: Keys = ()

    def __truediv__(self, key: str | int) -> At:
        return At(self.problems, self.places, (*self.keys, key))

    @property
    def place(self) -> Place:
        """File and line of the value, or else of the nearest one that holds it."""
        for length in range(len(self.keys), -1, -1):
            if self.keys[:length] in self.places:
                return self.places[self.keys[:length]]
        return "", None

    def problem(self, given: object, expected: str, advice: str = "") -> None:
        """Note that the value cannot be."""
        file, line = self.place
        advice = "" if "\n" in advice else advice  # a drawing: a problem has one line
        path = dotted(self.keys) or "config"
        self.problems.add(Problem(path, given, expected, advice, file, line))

    def attempt(self, function: Callable[..., Any], *arguments: Any, given: Any = NOTHING) -> Any:
        """What the function returns; None, and a problem, if it raises an `InitspecError`.

        ``given`` takes the place of what the error says was given.
        """
        try:
            return function(*arguments)
        except InitspecError as error:
            shown = error.given if given is NOTHING else given
            self.problem(shown, error.expected, error.advice)
            return None


def dotted(keys: Keys) -> str:
    """The way to a value as text.

    >>> dotted(("names", "torch", "h.{i}.w", "split"))
    'names.torch."h.{i}.w".split'
    >>> dotted(("rule", 2, "init"))
    'rule[2].init'
    """
    parts = (
        f"[{key}]" if isinstance(key, int) else f".{key}" if _BARE.fullmatch(key) else f'."{key}"'
        for key in keys
    )
    return "".join(parts).removeprefix(".")
