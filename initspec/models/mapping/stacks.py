"""Stacks: the layers of a scan, taken apart so that they can be matched one by one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from initspec.errors import InitspecError
from initspec.models.config import Stacked, Tensor
from initspec.models.model import Stored
from initspec.models.names import Names
from initspec.models.slots import Slot

from .matching import Leaf
from .patterns import Place, Subject

__all__ = ["Slice", "subject_of", "unstacked"]

_LAYER = "layer"
_INDEX = "i"
_NUMBERS = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class Slice:
    """A logical tensor in one layer of a stack.

    ``leaf`` has the index before its path; ``text`` is the path that one layer's tensor would
    have; ``labels`` are the captures of the path, the layer's index among them.
    """

    leaf: Leaf
    text: str
    place: Place
    axis: int
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """As it would be read in Python: ``blocks.up[:, 1]``."""
        return f"{self.place[0]}[{':, ' * self.axis}{self.labels[_LAYER]}]"


def unstacked(unknown: Iterable[Stored], left: Iterable[Leaf], start: int) -> list[Slice]:
    """The layers of all stacks, along axes for which another model has equal tensors.

    Args:
        unknown: tensors without parts; those with slots are stacks.
        left: the tensors of the other model.
        start: index of the first.
    """
    known = Counter((leaf.role, leaf.counts) for leaf in left)
    options = [
        {axis: slices for axis, slices in _by_axis(stored).items() if _fits(slices, known)}
        for stored in unknown
    ]
    votes = Counter(axis for each in options for axis in each)
    order = sorted(votes, key=lambda axis: (-votes[axis], axis))
    chosen = [next((each[axis] for axis in order if axis in each), []) for each in options]
    every = (part for slices in chosen for part in slices)
    return [
        replace(each, leaf=replace(each.leaf, index=index))
        for index, each in enumerate(every, start=start)
    ]


def _by_axis(stored: Stored) -> dict[int, list[Slice]]:
    axes = range(len(stored.shape)) if stored.slots else ()
    return {
        axis: [s for slot in stored.slots for s in _slices(stored, slot, axis)] for axis in axes
    }


def _slices(stored: Stored, slot: Slot, axis: int) -> list[Slice]:
    """The layers of one slot; none if its layout does not fit what is left of the shape."""
    stack = Tensor(path=f"{{{_LAYER}}}/{{rest}}", stack=Stacked(axis=axis, capture=_LAYER))
    try:
        one = Names({"{rest**}": stack}).apply(replace(stored, name="", slots=(slot,)))
        return [
            Slice(
                Leaf(tuple(part.path.split("/")), part.role, part.kind, part.geometry.counts, 0),
                f"{stored.path}/{slot.path}".lstrip("/"),
                (stored.name, str(part.region)),
                axis,
                dict(part.labels),
            )
            for part in one.parts
        ]
    except InitspecError:
        return []


def _fits(slices: Sequence[Slice], known: Mapping[tuple[str, tuple[int, ...]], int]) -> bool:
    needed = Counter((each.leaf.role, each.leaf.counts) for each in slices)
    return bool(slices) and all(known.get(kind, 0) >= count for kind, count in needed.items())


# --- templates ----------------------------------------------------------------------------------


def subject_of(slices: Sequence[Slice], targets: Sequence[str]) -> Subject | None:
    """What a line has to say of the slices of one slot; None if no template gives the targets."""
    columns = list(zip(*(target.split("/") for target in targets), strict=False))
    if len({target.count("/") for target in targets}) != 1:
        return None
    names: dict[str, str] = {}
    template = [_component(values, slices, names) for values in columns]
    if None in template:
        return None
    count = len({each.labels[_LAYER] for each in slices})
    parts = tuple(names.get(str(number), str(number)) for number in range(count))
    counted = parts == tuple(str(number) for number in range(count))
    stack = Stacked(axis=slices[0].axis, capture=_INDEX, parts=None if counted else parts)
    goals = {
        each.place: (target, each.leaf.role) for each, target in zip(slices, targets, strict=True)
    }
    path = "/".join(each for each in template if each is not None)
    return Subject(slices[0].text, path, goals, stack)


def _component(values: Sequence[str], slices: Sequence[Slice], names: dict[str, str]) -> str | None:
    """A component of the template; ``names`` are those of the layers, as far as known."""
    if len(set(values)) == 1:
        return values[0]
    for label in slices[0].labels.keys() - {_LAYER}:
        if all(each.labels[label] == value for each, value in zip(slices, values, strict=True)):
            return f"{{{label}}}"
    pieces = [_NUMBERS.split(value) for value in values]
    if len({tuple(each[::2]) for each in pieces}) > 1:
        pieces = [["", value, ""] for value in values]
    found = [_piece(column, slices, names) for column in zip(*pieces, strict=True)]
    return None if None in found else "".join(each for each in found if each is not None)


def _piece(values: Sequence[str], slices: Sequence[Slice], names: dict[str, str]) -> str | None:
    if len(set(values)) == 1:
        return values[0]
    for each, value in zip(slices, values, strict=True):
        if names.setdefault(each.labels[_LAYER], value) != value:
            return None
    return f"{{{_INDEX}}}"
