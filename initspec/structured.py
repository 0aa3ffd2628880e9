"""Contents that are not drawn word by word: constants, patterns and factored matrices.

Each writes through a plan's canonical views, so layouts, groups, stacks and named blocks need no
code of their own here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stream
from .draw import Draw, normal_draw
from .layout import Geometry, Layout
from .plan import FillPlan

__all__ = ["Bilinear", "Constant", "Diagonal", "Fill", "Matrices", "Orthogonal", "Sparse"]

Fill = Callable[[FillPlan, Any, str], None]
ZEROS = 1  # the counter's purpose word for the choice of zeros


@dataclass(frozen=True, slots=True)
class Constant:
    """One value everywhere."""

    value: float
    promise: str = field(default="bits", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Write the value."""
        out[...] = _scalar(self.value, dtype)


@dataclass(frozen=True, slots=True)
class Diagonal:
    """``gain`` where output i meets input i, at the kernel's centre if there is one; else 0."""

    gain: float
    promise: str = field(default="bits", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Write the diagonal of every group and stack."""
        matrices = Matrices.of(plan.geometry)
        step = np.arange(min(matrices.rows, matrices.inputs))
        # As in torch, the centre of an even kernel is k // 2.
        within = step * matrices.columns + step * matrices.taps + matrices.tap(lambda k: k // 2)
        start = np.arange(matrices.count) * (matrices.rows * matrices.columns)
        out[...] = _scalar(0.0, dtype)
        for _, view in plan.blocks(out):
            view.flat[(start[:, None] + within).reshape(-1)] = _scalar(self.gain, dtype)


@dataclass(frozen=True, slots=True)
class Bilinear:
    """The kernel of bilinear upsampling, the same for every output and input."""

    promise: str = field(default="bits", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Write the kernel everywhere."""
        kernel = stream.cast(self.kernel(plan.geometry.spatial), dtype)
        for _, view in plan.blocks(out):
            view[...] = kernel

    def kernel(self, spatial: tuple[int, ...]) -> NDArray[np.float64]:
        """The product of the profiles of all spatial axes."""
        return reduce(np.multiply.outer, [self.profile(k) for k in spatial])

    def profile(self, k: int) -> NDArray[np.float64]:
        """``1 - |x / f - c|`` with ``f = ceil(k / 2)`` and ``c = (2 f - 1 - f % 2) / (2 f)``."""
        half = math.ceil(k / 2)
        centre = (2 * half - 1 - half % 2) / (2 * half)
        return 1 - np.abs(np.arange(k) / half - centre)


@dataclass(frozen=True, slots=True)
class Orthogonal:
    """Haar-distributed orthogonal matrices, one per group and stack; ``delta``: in the centre tap.

    Factored in float64 on the host from exact draws, then rounded: equal in all frameworks on
    one machine; another LAPACK may differ in the last bit.
    """

    gain: float
    delta: bool = False
    promise: str = field(default="rounded", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Draw, factor, and write every matrix."""
        place: tuple[Any, ...] = (...,)
        if self.delta:  # as in jax, the centre of an even kernel is (k - 1) // 2
            place = (..., *((k - 1) // 2 for k in plan.geometry.spatial))
            out[...] = _scalar(0.0, dtype)
        for key, view in plan.blocks(out):
            q = stream.cast(self.gain * _haar(self.draws(plan.geometry, key, fill)), dtype)
            target: NDArray[Any] = view[place]
            target[...] = q.reshape(target.shape)

    def draws(self, geometry: Geometry, key: tuple[Any, Any], fill: Fill) -> NDArray[np.float64]:
        """The unit normals to factor: (matrices, rows, columns)."""
        plan = self.draw_plan(geometry, key)
        normals = np.empty(plan.shape)
        fill(plan, normals, "float64")
        matrices = Matrices.of(geometry)
        return normals.reshape(matrices.count, matrices.rows, -1)

    def draw_plan(self, geometry: Geometry, key: tuple[Any, Any]) -> FillPlan:
        """The plan of the normals, with axes (s, o, j); of a delta kernel j is the input alone."""
        stack, output, _ = geometry.counts
        columns = Matrices.of(geometry).inputs if self.delta else geometry.counts[2]
        logical = Layout.parse("SOI").bind((stack, output, columns))
        return FillPlan(logical, normal_draw(1.0), (key,))


def _haar(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Q of a QR with positive diagonal R, of whichever of the matrix and its transpose is tall.

    Without the sign fix Q would not be Haar-distributed (Mezzadri 2007).
    """
    wide = normals.shape[1] < normals.shape[2]
    q, r = np.linalg.qr(normals.swapaxes(1, 2) if wide else normals)
    diagonal = np.diagonal(r, axis1=1, axis2=2)
    q = q * np.where(diagonal < 0, -1.0, 1.0)[:, None, :]
    return q.swapaxes(1, 2) if wide else q


@dataclass(frozen=True, slots=True)
class Sparse:
    """A draw of which, in every output's (or input's) line, the same number is set to zero.

    The zeros are where the line's words of purpose 1 are smallest; of equal words the first.
    """

    draw: Draw
    sparsity: float
    per: str
    promise: str = field(default="bits", init=False)

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Draw all values, then write the zeros."""
        fill(FillPlan(plan.geometry, self.draw, plan.keys), out, dtype)
        for key, view in plan.blocks(out):
            view.flat[self.zeros(plan.geometry, key)] = _scalar(0.0, dtype)

    def zeros(self, geometry: Geometry, key: tuple[Any, Any]) -> NDArray[np.intp]:
        """The flat canonical positions of the zeros; lines end where a group ends."""
        matrices = Matrices.of(geometry)
        lines = (matrices.count, matrices.rows, matrices.columns)
        rank = np.empty(matrices.size, np.uint32)
        for start, chunk in stream.words(key, geometry.counts, ZEROS):
            rank[start : start + chunk.size] = chunk
        axis = 2 if self.per == "output" else 1
        order = np.argsort(rank.reshape(lines), axis=axis, kind="stable")
        chosen = order.take(range(self.zeros_of(lines[axis])), axis=axis)
        position: NDArray[np.intp] = np.arange(matrices.size).reshape(lines)
        return np.take_along_axis(position, chosen, axis=axis).reshape(-1)

    def zeros_of(self, line: int) -> int:
        """How many of a line are zero: the share, rounded up (but not for a float's last bit)."""
        return min(line, math.ceil(self.sparsity * line - 1e-9))


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

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.count * self.rows * self.columns

    def tap(self, centre: Callable[[int], int]) -> int:
        """The flat kernel position of the centre."""
        position = 0
        for k in self.spatial:
            position = position * k + centre(k)
        return position


def _scalar(value: float, dtype: str) -> Any:

    return stream.cast(np.array([value]), dtype)[0]
