"""Tensors as logical matrices, and boxes of them that are small enough to work on.

Contents that cannot be made word by word walk over a block's canonical view in boxes, so that
what they keep beside the tensor does not grow with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import product

from .layout import Geometry

__all__ = ["Box", "Grid", "Matrices", "boxes"]

Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Matrices:
    """The logical matrices of a tensor: one per stack and group, output rows by input columns."""

    count: int
    rows: int
    inputs: int
    spatial: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry) -> Matrices:
        """Read them off a geometry."""
        groups = geometry.size("G")
        stack, output, columns = geometry.counts
        taps = math.prod(geometry.spatial)
        return cls(
            stack * groups, output // max(groups, 1), columns // max(taps, 1), geometry.spatial
        )

    @property
    def taps(self) -> int:
        """The number of kernel positions."""
        return math.prod(self.spatial)

    @property
    def columns(self) -> int:
        """Inputs times kernel positions."""
        return self.inputs * self.taps

    def tap(self, centre: Callable[[int], int]) -> int:
        """The flat kernel position of the centre."""
        position = 0
        for k in self.spatial:
            position = position * k + centre(k)
        return position


@dataclass(frozen=True, slots=True)
class Grid:
    """The axes of a canonical view, each with its role: s stack, g group, o output, j input."""

    shape: tuple[int, ...]
    roles: str

    @classmethod
    def of(cls, geometry: Geometry, shape: tuple[int, ...]) -> Grid:
        """Of the canonical view of one block; a ``shape`` without the last axes is fine."""
        letters = [geometry.factors[i].letter for i in geometry.output]
        output = "".join("g" if letter == "G" else "o" for letter in letters)
        roles = "s" * len(geometry.stack) + output + "j" * len(geometry.input)
        return cls(shape, roles[: len(shape)])

    def boxes(self, whole: str, limit: int) -> Iterator[Box]:
        """`boxes` that leave the axes with these roles whole."""
        return boxes(self.shape, [k for k, role in enumerate(self.roles) if role in whole], limit)

    def span(self, box: Box, roles: str) -> tuple[int, int]:
        """Where a box starts in the coordinate that these roles make up, and how far it goes."""
        start, length = 0, 1
        for part, size, role in zip(box, self.shape, self.roles, strict=True):
            if role in roles:
                start = start * size + part.start
                length *= part.stop - part.start
        return start, length


def boxes(shape: tuple[int, ...], whole: Collection[int], limit: int) -> Iterator[Box]:
    """Cut an array into boxes of about ``limit`` elements, along axes that need not stay whole.

    Inner axes are cut last, so that a box is one stretch of the flattened other axes.

    >>> [box[0] for box in boxes((3, 4), [], 8)]
    [slice(0, 2, None), slice(2, 3, None)]
    """
    room = max(1, limit // max(1, math.prod(shape[axis] for axis in whole)))
    steps = list(shape)
    for axis in reversed(range(len(shape))):
        if axis not in whole:
            steps[axis] = max(1, min(shape[axis], room))
            room = max(1, room // steps[axis])
    yield from product(*(_cuts(*pair) for pair in zip(shape, steps, strict=True)))


def _cuts(size: int, step: int) -> list[slice]:
    return [slice(k, min(k + step, size)) for k in range(0, size, max(1, step))]
