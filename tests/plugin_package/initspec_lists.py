"""A backend for nested Python lists: fill host memory, hand it over."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import InitspecValueError
from initspec.fill_plan import FillPlan
from initspec_kernel import fill


class Rows(list[Any]):
    """Nested lists that remember which array they were."""

    def __init__(self, array: NDArray[Any], dtype: str) -> None:
        super().__init__(np.atleast_1d(array).tolist())
        self.shape, self.dtype = array.shape, dtype


class ListsBackend(Backend):
    """Nested lists of floats, which hold the values of every dtype exactly."""

    name: ClassVar[str] = "lists"

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Rows:
        """New nested lists."""
        if device not in (None, "cpu"):
            raise InitspecValueError("device", device, "None or 'cpu': lists live nowhere else")
        host = np.empty(plan.shape, np.uint16 if dtype == "bfloat16" else dtype)
        fill(plan, host, dtype)
        if dtype == "bfloat16":  # the upper half of a float32
            host = (host.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return Rows(host, dtype)

    def to_host(self, tensor: Rows) -> NDArray[Any]:
        """The lists as the array that they were; bfloat16 as uint16 bit patterns."""
        wide = np.array(tensor, "float32" if tensor.dtype == "bfloat16" else tensor.dtype)
        if tensor.dtype == "bfloat16":
            wide = (wide.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return wide.reshape(tensor.shape)


backend = ListsBackend()
