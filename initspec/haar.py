"""Haar-distributed orthogonal matrices: normals, made orthonormal in float64.

The QR factorisation with a positive diagonal of R is unique, so how Q is reached does not matter,
and without that sign Q would not be Haar-distributed (Mezzadri 2007). Gram-Schmidt by halves puts
nearly all work into products of large matrices, where it is several times faster than LAPACK's QR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stream
from .draw import normal_draw
from .fill_plan import Fill, FillPlan
from .layout import Geometry, Layout
from .matrices import Box, Grid, Matrices, boxes

__all__ = ["Orthogonal", "haar"]

Lines = NDArray[np.float64]

_NORMAL, _LAYOUT = normal_draw(1.0), Layout.parse("SGOI")
_BATCH = 2**17  # elements of small matrices that are factored together
_CHUNK = 2**15  # elements that are rounded together
_SMALL = 64  # up to this side LAPACK is as fast, and never in need of help
_LEAF, _LEAVES = 32, 32  # lines that are made orthonormal at once: so many, or one in so many
_FLIGHT = 2**20  # elements of a projection that are in flight, or a quarter of them if more
_CALM, _STRAINED = 3.0, 8.0  # the least strain with which lines are polished; and projected again
_STEPS, _NEAR, _FAR = 5, 1e-8, 0.5  # 1e-8 squared is below float64's rounding


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """Haar-distributed orthogonal matrices, one per group and stack; ``delta``: in the centre tap.

    Factored in float64 on the host from exact draws, then rounded: equal in all frameworks on
    one machine; another BLAS, or another number of its threads, may differ in the last bits.
    """

    gain: float
    delta: bool = False
    promise: str = field(default="rounded", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Draw, factor, and write every matrix; small ones together."""
        place: tuple[Any, ...] = (...,)
        if self.delta:  # as in jax, the centre of an even kernel is (k - 1) // 2
            place = (..., *((k - 1) // 2 for k in plan.geometry.spatial))
            out[...] = 0
        for key, view in plan.blocks(out):
            target: NDArray[Any] = view[place]
            grid = Grid.of(plan.geometry, target.shape)
            for box in grid.boxes("oj", _BATCH):
                self._round(_matrices(grid, box, key, fill), target[box], dtype)

    def _round(self, q: Lines, target: NDArray[Any], dtype: str) -> None:
        q = q.reshape(target.shape)  # only splits axes: a view
        for part in boxes(target.shape, (), _CHUNK):
            target[part] = stream.cast(self.gain * q[part], dtype)

    def draw_plan(self, geometry: Geometry, key: tuple[Any, Any]) -> FillPlan:
        """The plan of the normals, with axes (s, o, j); of a delta kernel j is the input alone."""
        stack, output, _ = geometry.counts
        columns = Matrices.of(geometry).inputs if self.delta else geometry.counts[2]
        logical = Layout.parse("SOI").bind((stack, output, columns))
        return FillPlan(logical, _NORMAL, (key,))


def _matrices(grid: Grid, box: Box, key: tuple[Any, Any], fill: Fill) -> Lines:
    """The orthogonal matrices of a box: axes s, group, o, j."""
    s, groups, rows, columns = (grid.span(box, role) for role in "sgoj")
    shape = (s[1], groups[1], rows[1], columns[1])
    origin = (s[0], grid.span(box, "go")[0], 0)
    normals = FillPlan(_LAYOUT.bind(shape), _NORMAL, (key,), origin)
    return haar(shape, lambda out: fill(normals, out, "float64"))


def haar(shape: tuple[int, ...], draw: Callable[[Lines], None]) -> Lines:
    """Matrices (the last two axes) with orthonormal rows or columns, whichever are fewer.

    ``draw`` writes the normals to begin with; it is asked again should they need LAPACK after all.
    """
    *many, rows, columns = shape
    lines = np.empty((*many, min(rows, columns), max(rows, columns)))
    matrices = lines if rows < columns else lines.swapaxes(-1, -2)
    draw(matrices)
    try:
        _orthonormalise(lines)
    except np.linalg.LinAlgError:
        draw(matrices)
        _householder(lines)
    return matrices


def _householder(lines: Lines) -> None:
    """By LAPACK's QR, which holds for all matrices."""
    q, r = np.linalg.qr(lines.swapaxes(-1, -2))
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    q *= np.where(diagonal < 0, -1.0, 1.0)[..., None, :]
    lines[...] = q.swapaxes(-1, -2)


def _orthonormalise(lines: Lines) -> None:
    """Gram-Schmidt, in place, from the first line to the last; an error if they are dependent."""
    if lines.shape[-1] <= _SMALL:
        _householder(lines)
    else:
        for matrix in lines.reshape(-1, *lines.shape[-2:]):
            _halves(matrix, 0, len(matrix))


def _halves(lines: Lines, start: int, stop: int) -> None:
    if stop - start <= max(_LEAF, lines.shape[1] // _LEAVES):
        _leaf(lines[start:stop], lines[:start])
        return
    middle = (start + stop) // 2
    _halves(lines, start, middle)
    _project(lines[middle:stop], lines[start:middle])
    _halves(lines, middle, stop)


def _project(lines: Lines, onto: Lines) -> None:
    """Take from the lines what they share with the orthonormal lines ``onto``."""
    step = max(_LEAF, _FLIGHT // lines.shape[1], len(lines) // 4)
    for start in range(0, len(lines), step):
        some = lines[start : start + step]
        some -= (some @ onto.T) @ onto


def _leaf(lines: Lines, before: Lines) -> None:
    """Make a few lines orthonormal by the Cholesky factor of their products.

    Strain is how many times rounding errors grow as what is left of the lines becomes unit
    vectors. It is high where few dimensions are left: at the end of a square matrix. What grew
    beyond a digit is then taken away, towards the lines before as well.
    """
    inverse = np.linalg.inv(np.linalg.cholesky(lines @ lines.T))
    lines[...] = inverse @ lines
    strain = math.sqrt(lines.shape[1]) * np.abs(inverse).max()
    if strain > _STRAINED:
        _project(lines, before)
    if strain > _CALM:
        _polish(lines)


def _polish(lines: Lines) -> None:
    """Make lines that nearly are orthonormal so: each step squares what is wrong.

    It takes from each line its products with the lines before, and half of its own too much:
    to first order what the Cholesky factor would do.
    """
    for _ in range(_STEPS):
        wrong = np.tril(lines @ lines.T)
        wrong.flat[:: len(lines) + 1] = (wrong.diagonal() - 1) / 2
        size = np.abs(wrong).max()
        if size > _FAR:
            break
        lines -= wrong @ lines
        if size < _NEAR:
            return
    raise np.linalg.LinAlgError("linearly dependent lines")
