"""Plans become NumPy arrays: allocate, fill in place."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import BackendError, InitspecTypeError, InitspecValueError
from initspec.fill_plan import FillPlan, check_dtype
from initspec.shape import overlaps
from initspec_kernel import fill, key

__all__ = ["NumpyBackend"]

# Of the types that NumPy itself has; to ask a type for its name takes it a while.
_NAMES = {np.dtype(name): name for name in ("float32", "float64", "float16")}


class NumpyBackend(Backend):
    """Arrays of NumPy; bfloat16 through the ``ml_dtypes`` package."""

    name: ClassVar[str] = "numpy"
    key = staticmethod(key)

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> NDArray[Any]:
        """A new C-contiguous array."""
        if device not in (None, "cpu"):
            raise InitspecValueError("device", device, "None or 'cpu': NumPy has no other")
        array = np.empty(plan.shape, _dtype(dtype))
        fill(plan, _bits(array, dtype), dtype)
        return array

    def emit_into(self, plan: FillPlan, out: Any) -> None:
        """Write into an array of any strides."""
        dtype = _NAMES.get(out.dtype) or check_dtype(out.dtype)
        fill(plan, _bits(out, dtype), dtype)

    def inspect(self, out: Any) -> tuple[tuple[int, ...], Any]:
        """Shape and dtype of a writable array."""
        if not isinstance(out, np.ndarray):
            raise InitspecTypeError("out", type(out), "a NumPy array")
        flags = out.flags
        if not flags.writeable:
            raise InitspecValueError("out", flags, "a writable array")
        whole = flags.c_contiguous or flags.f_contiguous
        if not whole and overlaps(out.shape, out.strides, out.itemsize):
            raise InitspecValueError("out", out.strides, "an array whose elements do not overlap")
        if not out.dtype.isnative:
            raise InitspecValueError("out", out.dtype, "an array in the machine's byte order")
        return out.shape, _NAMES.get(out.dtype, out.dtype)

    def fresh_seed(self) -> int:
        """From NumPy's global generator, so that ``np.random.seed`` governs it."""
        return int(np.random.randint(0, 2**64, dtype=np.uint64))  # noqa: NPY002 (the global one)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """The array itself; the bits of a bfloat16 one."""
        array: NDArray[Any] = tensor
        return _bits(array, array.dtype.name)


def _bits(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    return array.view(np.uint16) if dtype == "bfloat16" else array


def _dtype(name: str) -> np.dtype[Any]:
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes  # noqa: PLC0415
    except ImportError as error:
        advice = "NumPy has no bfloat16 of its own: pip install ml_dtypes."
        raise BackendError("dtype", name, "the ml_dtypes package", advice) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype
