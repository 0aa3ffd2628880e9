"""Tensors on the host: how each dtype is stored, as numbers, as drawn by the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec import stream
from initspec.plan import FillPlan

__all__ = ["NEAR", "STORAGE", "as_float", "reference"]

STORAGE = {"float32": "f4", "float64": "f8", "bfloat16": "u2", "float16": "f2"}
# How far matrices of gain 1 may be from the reference's, for another factorisation: spec 8 for
# float32, a few thousand units of rounding for float64; and the 16-bit types, of which a step near
# 1 is added, may then round the other way.
NEAR = {"float32": 1e-5, "float64": 1e-12}
NEAR |= {"bfloat16": 1e-5 + 2.0**-7, "float16": 1e-5 + 2.0**-10}


def as_float(array: NDArray[Any]) -> NDArray[np.float64]:
    """Host values as float64; uint16 holds the bit patterns of bfloat16.

    >>> as_float(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(invalid="ignore"):  # NaNs of every kind
        return array.astype(np.float64)


def reference(plan: FillPlan, dtype: str) -> NDArray[Any]:
    """The values of a plan by the specification in NumPy, as stored."""
    out = np.empty(plan.shape, STORAGE[dtype])
    stream.fill(plan, out, dtype)
    return out
