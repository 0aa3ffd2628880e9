"""Contents that are not drawn word by word: constants and patterns, and the names of the others.

Each writes through a plan's canonical views, so layouts, groups, stacks and named blocks need no
code of their own here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import stream
from .fill_plan import Fill, FillPlan
from .haar import Orthogonal
from .matrices import Grid, Matrices
from .sparsity import ZEROS, Sparse

__all__ = ["ZEROS", "Bilinear", "Constant", "Diagonal", "Matrices", "Orthogonal", "Sparse"]

_BATCH = 2**17  # elements of small matrices whose diagonals are written together


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
        area = matrices.rows * matrices.columns
        step = np.arange(min(matrices.rows, matrices.inputs))
        # As in torch, the centre of an even kernel is k // 2.
        within = step * matrices.columns + step * matrices.taps + matrices.tap(lambda k: k // 2)
        out[...] = _scalar(0.0, dtype)
        for _, view in plan.blocks(out):
            for box in Grid.of(plan.geometry, view.shape).boxes("oj", _BATCH):
                target = view[box]
                start = np.arange(0, target.size, area)
                target.flat[(start[:, None] + within).reshape(-1)] = _scalar(self.gain, dtype)


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


def _scalar(value: float, dtype: str) -> Any:
    return stream.cast(np.array([value]), dtype)[0]
