"""Tensors by the specification in NumPy, and how near to one that is only rounded has to come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec import stream
from initspec.fill_plan import STORAGE, FillPlan

__all__ = ["NEAR", "reference"]

# How far matrices of gain 1 may be from the reference's, for another factorisation: spec 8 for
# float32, a few thousand units of rounding for float64; and the 16-bit types, of which a step near
# 1 is added, may then round the other way.
NEAR = {"float32": 1e-5, "float64": 1e-12}
NEAR |= {"bfloat16": 1e-5 + 2.0**-7, "float16": 1e-5 + 2.0**-10}


def reference(plan: FillPlan, dtype: str) -> NDArray[Any]:
    """The values of a plan by the specification in NumPy, as stored."""
    out = np.empty(plan.shape, STORAGE[dtype])
    stream.fill(plan, out, dtype)
    return out
