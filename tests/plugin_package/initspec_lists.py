"""A backend for nested Python lists: fill host memory, hand it over."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import InitspecValueError
from initspec.plan import FillPlan
from initspec_kernel import fill


class ListsBackend(Backend):
    """Nested lists of floats, which hold the values of every dtype exactly."""

    name: ClassVar[str] = "lists"

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Any:
        """A new nested list."""
        if device is not None:
            raise InitspecValueError("device", device, "None: lists live on no device")
        host = np.empty(plan.shape, np.uint16 if dtype == "bfloat16" else dtype)
        fill(plan, host, dtype)
        if dtype == "bfloat16":  # the upper half of a float32
            host = (host.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return host.tolist()

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """The lists as an array: float64, because a list does not know its dtype."""
        return np.array(tensor)


backend = ListsBackend()
