"""The C kernel: fills host memory with the stream, bit for bit as `initspec.stream` does.

The kernel is optional and never silently absent: `info` tells which path is active and why.
``INITSPEC_KERNEL`` chooses: ``auto`` (default), ``off`` (NumPy reference), ``require``
(an error when the kernel is missing). ``INITSPEC_THREADS`` bounds the threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec import stream
from initspec.draw import Draw
from initspec.errors import BackendError, InitspecValueError, did_you_mean

from . import threads as _threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from initspec.plan import FillPlan

__all__ = ["KernelInfo", "fill", "info"]

_MODES = ("auto", "require", "off")
_DTYPES = {"float32": 0, "float64": 1, "bfloat16": 2, "float16": 3}
_KINDS = {"uniform": 0, "normal": 1, "truncated_normal": 2}
_SHARED_FROM = 2**20  # bytes: a smaller tensor is done before a second thread has woken up
_BOXES_PER_THREAD = 4  # so that one slow core does not keep the others waiting
_TABLE = np.ascontiguousarray(stream.TABLE, "<u4")


@dataclass(frozen=True)
class KernelInfo:
    """Which path fills host memory, and why."""

    active: bool
    reason: str
    path: str | None
    isa: str
    threads: int


def info() -> KernelInfo:
    """The state of the kernel in the present environment."""
    mode, threads = _mode(), _threads.count()
    path = None if _kernel is None else _kernel.__file__
    if mode == "off":
        return KernelInfo(False, "INITSPEC_KERNEL=off", path, "numpy", 1)
    if _kernel is None:
        return KernelInfo(False, f"the compiled kernel is missing: {_problem}", None, "numpy", 1)
    reason = "the compiled kernel is installed" if mode == "auto" else f"INITSPEC_KERNEL={mode}"
    return KernelInfo(True, reason, path, _kernel.ISA, threads)


def fill(plan: FillPlan, out: NDArray[Any], dtype: str, *, threads: int | None = None) -> None:
    """Write a plan's values into ``out`` (any strides; uint16 for bfloat16).

    The number of threads never changes a bit; ``threads=None`` takes the default, see `info`.
    """
    workers = _threads.count(threads)
    native = _active()
    if native is None:
        stream.fill(plan, out, dtype)
    elif isinstance(plan.content, Draw):
        if out.nbytes < _SHARED_FROM:
            workers = 1
        _threads.run(_calls(native, plan, plan.content, out, dtype, workers), workers)
    else:
        plan.content.write(plan, out, dtype, partial(fill, threads=threads))


def _calls(
    native: ModuleType, plan: FillPlan, draw: Draw, out: NDArray[Any], dtype: str, workers: int
) -> Iterator[Callable[[], None]]:
    """One call of the kernel for each box of each named block."""
    geometry = plan.geometry
    stack, output = len(geometry.stack), len(geometry.output)
    parts = 1 if workers == 1 else -(-workers * _BOXES_PER_THREAD // len(plan.keys))
    kind = (_KINDS[draw.kind], draw.lo, draw.width, draw.factor)
    step = (draw.offset, draw.multiplier, draw.purpose)
    for key, view in plan.blocks(out):
        widest = _widest(view, stack, output)
        start = (view, stack, output, _DTYPES[dtype], *key, *kind, *step, _TABLE)
        for box in _threads.boxes(geometry.counts, widest, parts):
            yield partial(native.fill, *start, box)


def _widest(view: NDArray[Any], stack: int, output: int) -> tuple[int, int, int]:
    """The widest stride in memory of each coordinate."""
    sizes = [abs(stride) for stride in view.strides]
    s, o, j = sizes[:stack], sizes[stack : stack + output], sizes[stack + output :]
    return max(s, default=0), max(o, default=0), max(j, default=0)


def _active() -> ModuleType | None:
    """The compiled kernel when it is to be used."""
    mode = _mode()
    if _kernel is None and mode == "require":
        advice = "Install initspec where a C compiler is, or unset INITSPEC_KERNEL."
        raise BackendError("INITSPEC_KERNEL", mode, f"a compiled kernel; {_problem}", advice)
    return None if mode == "off" else _kernel


def _load() -> tuple[ModuleType | None, str]:
    try:
        return import_module("._kernel", __name__), ""
    except ImportError as error:  # not built, or built for another interpreter
        return None, str(error)


_kernel, _problem = _load()


def _mode() -> str:
    mode = os.environ.get("INITSPEC_KERNEL") or "auto"
    if mode not in _MODES:
        expected = f"one of {', '.join(_MODES)}"
        raise InitspecValueError("INITSPEC_KERNEL", mode, expected, did_you_mean(mode, _MODES))
    return mode
