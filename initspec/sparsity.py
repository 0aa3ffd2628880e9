"""Draws of which a share is set to zero, the same share in every line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .draw import Draw
from .fill_plan import Fill, FillPlan
from .layout import Layout
from .matrices import Box, Grid, boxes

__all__ = ["ZEROS", "Sparse"]

ZEROS = 1  # the counter's purpose word for the choice of zeros
_RANKS, _LAYOUT = Draw("words", 1.0, purpose=ZEROS), Layout.parse("SGOI")
_CHUNK = 2**17  # words in flight: bounds the memory
_LANES = 4  # a plan starts at a multiple of this
_HALF = 2**16

Words = Callable[[Box], NDArray[np.uint32]]


@dataclass(frozen=True, slots=True)
class Sparse:
    """A draw of which, in every output's (or input's) line, the same number is set to zero.

    The zeros are where the line's words of purpose 1 are smallest; of equal words the first.
    Lines end where a group ends.
    """

    draw: Draw
    sparsity: float
    per: str
    promise: str = field(default="bits", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Draw all values, then write the zeros, some lines at a time."""
        fill(replace(plan, content=self.draw), out, dtype)
        for key, view in plan.blocks(out):
            grid = Grid.of(plan.geometry, view.shape)
            for box, mask in self._masks(grid, partial(self._words, grid, key, fill)):
                _clear(view[box], mask)

    def zeros_of(self, line: int) -> int:
        """How many of a line are zero: the share, rounded up (but not for a float's last bit)."""
        return min(line, math.ceil(self.sparsity * line - 1e-9))

    def _masks(self, grid: Grid, words: Words) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
        """Boxes, and where in them the zeros are: axes s, group, o, j."""
        along, axis = ("j", 3) if self.per == "output" else ("o", 2)
        length = math.prod(
            n for n, role in zip(grid.shape, grid.roles, strict=True) if role in along
        )
        count = self.zeros_of(length)
        for box in grid.boxes(along, _CHUNK) if count else ():
            if length > _CHUNK:  # then the box is one line
                yield from _in_parts(_parts(box), words, count)
            else:
                mask = _smallest(np.moveaxis(words(box), axis, 3), count)
                yield box, np.moveaxis(mask, 3, axis)

    def _words(self, grid: Grid, key: tuple[Any, Any], fill: Fill, box: Box) -> NDArray[np.uint32]:
        """The words of a box, axes s, group, o, j, with each line in one stretch of memory."""
        s, groups, rows, j = (grid.span(box, role) for role in "sgoj")
        origin = (s[0], grid.span(box, "go")[0], j[0] - j[0] % _LANES)
        shape = (s[1], groups[1], rows[1], j[1] + j[0] % _LANES)
        if self.per == "output":
            ranks = np.empty(shape, np.uint32)
        else:
            ranks = np.empty((shape[0], shape[3], *shape[1:3]), np.uint32).transpose(0, 2, 3, 1)
        fill(FillPlan(_LAYOUT.bind(shape), _RANKS, (key,), origin), ranks, "uint32")
        return ranks[..., j[0] % _LANES :]


def _clear(values: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    """Write +0 where the mask is: a product of integers, which no pattern of zeros slows down."""
    bits = values.view(f"u{values.itemsize}")
    kept = np.empty_like(bits)  # in the memory order of the values, whatever that of the mask
    kept[...] = ~mask.reshape(bits.shape)
    bits *= kept


def _smallest(words: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    """Where, along the last axis, the ``count`` smallest words are; of equal words the first."""
    last = np.partition(words, count - 1)[..., count - 1 : count]
    mask: NDArray[np.bool_] = words <= last
    if np.count_nonzero(mask) > count * last.size:
        for line in np.argwhere(mask.sum(axis=-1) > count):
            order = np.argsort(words[tuple(line)], kind="stable")
            mask[tuple(line)] = False
            mask[(*line, order[:count])] = True
    return mask


def _parts(box: Box) -> list[Box]:
    """The parts of a box that is one long line, in order."""
    shape = tuple(part.stop - part.start for part in box)
    return [
        tuple(slice(b.start + p.start, b.start + p.stop) for b, p in zip(box, part, strict=True))
        for part in boxes(shape, (), _CHUNK)
    ]


def _in_parts(
    parts: list[Box], words: Words, count: int
) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """The same for one line that is too long to be held: its words are made three times."""
    last, ties = _threshold(partial(map, words, parts), count)
    for part in parts:
        ranks = words(part)
        mask = ranks < last
        equal = np.argwhere(ranks == last)[:ties]
        mask[tuple(equal.T)] = True
        ties -= len(equal)
        yield part, mask


def _threshold(chunks: Callable[[], Iterable[NDArray[np.uint32]]], count: int) -> tuple[int, int]:
    """The ``count``-th smallest word, and how many equal to it are among the smallest.

    First its upper half is found by counting, then its lower half among those with that upper one.
    """
    upper, count = _digit((chunk.reshape(-1) >> 16 for chunk in chunks()), count)
    lower, count = _digit((chunk[chunk >> 16 == upper] % _HALF for chunk in chunks()), count)
    return upper * _HALF + lower, count


def _digit(digits: Iterator[NDArray[Any]], count: int) -> tuple[int, int]:
    """The ``count``-th smallest digit, and which of those equal to it that one is."""
    upto = np.cumsum(sum(np.bincount(chunk, minlength=_HALF) for chunk in digits))
    digit = int(np.searchsorted(upto, count))
    return digit, count - int(upto[digit - 1] if digit else 0)
