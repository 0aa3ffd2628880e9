"""Patterns: a list of renamed tensors as few lines of ``[names]``.

A line is general only as far as it is right: each is tried on every tensor of the model, and
dropped if it gives one of them a path that is not its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from initspec.errors import InitspecError
from initspec.models.config import Stacked, Tensor
from initspec.models.config.globs import Glob
from initspec.models.config.values import name_glob
from initspec.models.model import Stored
from initspec.models.names import Names
from initspec.models.slots import Part

__all__ = ["Place", "Renames", "Subject", "places"]

Place = tuple[str, str]
"""A stored tensor's name, and the region of it."""
_NUMBER = re.compile(r"[0-9]+")
_CAPTURES = "ijkmn"
_REST = ("{rest**}", "{rest}")


@dataclass(frozen=True)
class Subject:
    """What a line has to match: a path, and the path that it becomes.

    ``goals`` are path and role of the places that it is about: several of a stack.
    """

    text: str
    target: str
    goals: Mapping[Place, tuple[str, str]]
    stack: Stacked | None = None


def places(stored: Stored) -> dict[Place, Part]:
    """The parts of a tensor, under each of its names."""
    named = ((stored.name, stored.parts), *stored.aliases)
    return {(name, str(part.region)): part for name, parts in named for part in parts}


class Renames:
    """Finds the lines for a model.

    Args:
        tensors: of the model, before any names.
        known: entries that go before.
        wanted: path and role of each place; of others it does not matter what they become.
    """

    def __init__(
        self,
        tensors: Sequence[Stored],
        known: Mapping[str, Tensor],
        wanted: Mapping[Place, tuple[str, str]],
    ) -> None:
        self._tensors = [(stored, tuple(_texts(stored))) for stored in tensors]
        self._known = known
        self._wanted = wanted
        self._paths = self.paths({})

    def lines(self, subjects: Iterable[Subject]) -> dict[str, Tensor]:
        """Entries that give every place its path, as few as are found; each right by itself."""
        left = {place for place, wanted in self._wanted.items() if self._paths.get(place) != wanted}
        found: dict[str, Tensor] = {}
        for subject in subjects:
            if not subject.goals.keys() & left:
                continue
            best: tuple[tuple[int, int, int], str, Tensor, set[Place]] | None = None
            for key, entry in _candidates(subject):
                covered = left & self._effect(key, entry)
                rank = (len(covered), -key.count("{"), -len(key))
                if covered and (best is None or rank > best[0]):
                    best = rank, key, entry, covered
            if best is not None:
                found[best[1]] = best[2]
                left -= best[3]
        return found

    def paths(self, entries: Mapping[str, Tensor]) -> dict[Place, tuple[str, str]]:
        """Path and role of every place under more entries."""
        names = Names({**self._known, **entries})
        every = (places(names.apply(stored)).items() for stored, _ in self._tensors)
        return {place: (part.path, part.role) for each in every for place, part in each}

    def _effect(self, key: str, entry: Tensor) -> set[Place]:
        """The places that a line gives their path; none if it takes another one's path away."""
        names = Names({**self._known, key: entry})
        found: set[Place] = set()
        try:
            glob = name_glob(key)
            for stored, texts in self._tensors:
                if _hit(glob, texts):
                    for place, part in _matched(glob, stored, names):
                        now = part.path, part.role
                        if self._wanted.get(place, now) != now:
                            return set()
                        found.add(place)
        except InitspecError:  # a line that cannot be read, or does not fit a tensor
            return set()
        return found


def _slashes(name: str) -> str:
    return name.replace(".", "/")


def _hit(glob: Glob, texts: Iterable[str]) -> bool:
    return any(glob.match(text) is not None for text in texts)


def _texts(stored: Stored) -> Iterator[str]:
    """All that a line is compared with."""
    for name, parts in ((stored.name, stored.parts), *stored.aliases):
        yield _slashes(name)
        yield from (part.path for part in parts)
    if not stored.parts:
        yield from (f"{stored.path}/{slot.path}".lstrip("/") for slot in stored.slots)


def _matched(glob: Glob, stored: Stored, names: Names) -> Iterator[tuple[Place, Part]]:
    """The places of a tensor that a line is about, as it leaves them."""
    before = places(stored)
    for place, part in places(names.apply(stored)).items():
        texts = (_slashes(place[0]), *((before[place].path,) if place in before else ()))
        if place not in before or _hit(glob, texts):
            yield place, part


# --- candidates ---------------------------------------------------------------------------------


def _candidates(subject: Subject) -> Iterator[tuple[str, Tensor]]:
    """Lines that match a subject, from special to general."""
    text, target = subject.text.split("/"), subject.target.split("/")
    for rest in range(_common(text, target) + 1):
        tail = ([], []) if not rest else ([_REST[0]], [_REST[1]])
        head = text[: len(text) - rest], target[: len(target) - rest]
        key, path = "/".join(head[0] + tail[0]), "/".join(head[1] + tail[1])
        for general, filled in _numbered(key, path, subject.stack):
            yield general, Tensor(path=filled, stack=subject.stack)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many components at the end are the same."""
    count = 0
    for mine, other in zip(reversed(left), reversed(right), strict=False):
        if mine != other:
            break
        count += 1
    return count


def _numbered(key: str, path: str, stack: Stacked | None) -> Iterator[tuple[str, str]]:
    """The same with some numbers captured, if they come again in the path."""
    numbers = list(_NUMBER.finditer(key))
    letters = [each for each in _CAPTURES if stack is None or each != stack.capture]
    for count in range(min(len(numbers), len(letters)) + 1):
        for chosen in combinations(numbers, count):
            pairs = [(number[0], letter) for number, letter in zip(chosen, letters, strict=False)]
            for filled in _filled(path, pairs):
                yield _replaced(key, chosen, letters), filled


def _filled(path: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The paths with each number replaced by its capture: in one of its places, or in all."""
    if not pairs:
        yield path
        return
    (number, letter), *rest = pairs
    standing = re.compile(rf"(?<![0-9]){number}(?![0-9])")
    found = list(standing.finditer(path))
    for place in found:
        one = f"{path[: place.start()]}{{{letter}}}{path[place.end() :]}"
        yield from _filled(one, rest)
    if len(found) > 1:
        yield from _filled(standing.sub(f"{{{letter}}}", path), rest)


def _replaced(key: str, numbers: Sequence[re.Match[str]], letters: Sequence[str]) -> str:
    for letter, number in reversed(list(zip(letters, numbers, strict=False))):
        key = f"{key[: number.start()]}{{{letter}}}{key[number.end() :]}"
    return key
