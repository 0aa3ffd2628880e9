"""Where the coordinates of a stream lie in a tensor's memory: rows and columns, by strides.

A named block is a matrix: its rows are the pairs ``s, o``, its columns are ``j``. Each of the two
is a mixed-radix number whose digits are axes of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from initspec.layout import Geometry

__all__ = ["Axis", "View", "views"]

Axis: TypeAlias = tuple[int, int]  # size and stride, in elements


@dataclass(frozen=True, slots=True)
class View:
    """One named block in the memory of a tensor: axes innermost first, neighbours joined."""

    start: int
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]

    @property
    def reach(self) -> int:
        """The offset of the last element, from the first."""
        return sum((size - 1) * stride for size, stride in self.rows + self.columns)


@lru_cache(maxsize=4096)
def views(geometry: Geometry, strides: tuple[int, ...]) -> tuple[View, ...]:
    """The named blocks of a tensor that is not empty, in the order of their keys.

    >>> from initspec.layout import Layout
    >>> views(Layout.parse("HWIO").bind((3, 3, 4, 5)), (60, 20, 5, 1))
    (View(start=0, rows=((5, 1),), columns=((9, 20), (4, 5))),)
    """
    axes = _factors(geometry, strides)
    rows = _join(axes[i] for i in geometry.stack + geometry.output)
    columns = _join(axes[i] for i in geometry.input)
    blocks, step = (1, 0) if geometry.block is None else axes[geometry.block]
    return tuple(View(block * step, rows, columns) for block in range(blocks))


def _factors(geometry: Geometry, strides: tuple[int, ...]) -> list[Axis]:
    """Every factor as an axis of its own, in the order of storage."""
    return [
        (size, stride * math.prod(sizes[position + 1 :]))
        for sizes, stride in zip(geometry.layout_extents(), strides, strict=True)
        for position, size in enumerate(sizes)
    ]


def _join(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """Make one axis of neighbours that lie as one in memory; given outermost first."""
    joined: list[Axis] = []
    for size, stride in axes:
        if joined and joined[-1][1] == size * stride:
            joined[-1] = (joined[-1][0] * size, stride)
        elif size != 1:
            joined.append((size, stride))
    return tuple(reversed(joined)) or ((1, 0),)
