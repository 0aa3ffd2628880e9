"""The C kernel: fills host memory with the stream, bit for bit as `initspec.stream` does.

The kernel is optional and never silently absent: `info` tells which path is active and why.
``INITSPEC_KERNEL`` chooses: ``auto`` (default), ``off`` (NumPy reference), ``require``
(an error when the kernel is missing). ``INITSPEC_ISA`` forces an instruction set, for tests and
comparisons; without it the widest that the processor has is taken. ``INITSPEC_THREADS`` bounds the
threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec import stream
from initspec.draw import Draw
from initspec.errors import BackendError, InitspecValueError, did_you_mean

from . import threads as _threads
from .environment import variable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from initspec.fill_plan import FillPlan

__all__ = ["HUGE_FROM", "KernelInfo", "aligned", "fill", "info", "key", "prefer_huge_pages"]

_MODES = ("auto", "require", "off")
_DTYPES = {"float32": 0, "float64": 1, "bfloat16": 2, "float16": 3, "uint32": 4}
_KINDS = {"uniform": 0, "normal": 1, "truncated_normal": 2, "words": 3}
_SHARED_FROM = 2**20  # bytes: a smaller tensor is done before a second thread has woken up
_ALIGNMENT = 64  # bytes
HUGE_FROM = 2**22  # bytes of a tensor for which huge pages pay; NumPy has the same bound
_BOXES_PER_THREAD = 4  # so that one slow core does not keep the others waiting
# A row is one number: one load, and its parts lie where the kernel's arithmetic needs them.
_TABLE = stream.TABLE[:, 0].astype(np.uint64) << np.uint64(32) | stream.TABLE[:, 1]


@dataclass(frozen=True)
class KernelInfo:
    """Which path fills host memory, and why."""

    active: bool
    reason: str
    path: str | None
    isa: str
    threads: int
    isas: tuple[str, ...] = ()  # all that INITSPEC_ISA may ask for here


def info() -> KernelInfo:
    """The state of the kernel in the present environment."""
    mode, threads = _mode(), _threads.count()
    path = None if _kernel is None else _kernel.__file__
    if mode == "off":
        return KernelInfo(False, "INITSPEC_KERNEL=off", path, "numpy", 1)
    if _kernel is None:
        return KernelInfo(False, f"the compiled kernel is missing: {_problem}", None, "numpy", 1)
    reason = "the compiled kernel is installed" if mode == "auto" else f"INITSPEC_KERNEL={mode}"
    return KernelInfo(True, reason, path, _isa(_kernel), threads, _kernel.ISAS)


def fill(
    plan: FillPlan,
    out: NDArray[Any],
    dtype: str,
    *,
    threads: int | None = None,
    most: int | None = None,
) -> None:
    """Write a plan's values into ``out`` (any strides; uint16 for bfloat16).

    The number of threads never changes a bit. ``threads=None`` takes the default, see `info`; there
    are never more than ``most``, whoever asked for them.
    """
    asked = _threads.asked(threads)  # wrong numbers are refused for small tensors too
    native, draw = _active(), plan.content
    if native is None:
        stream.fill(plan, out, dtype)
    elif not isinstance(draw, Draw):
        draw.write(plan, out, dtype, partial(fill, threads=threads, most=most))
    elif out.nbytes < _SHARED_FROM:
        s, o, j = plan.geometry.counts
        for start in _starts(plan, draw, out, dtype):
            native.fill(*start, (0, s, 0, o, 0, j))
    else:
        workers = asked or _threads.cores()
        workers = workers if most is None else min(workers, most)
        _threads.run(_calls(native, plan, draw, out, dtype, workers), workers)


def key(seed: int, name: str) -> stream.Key:
    """`stream.key`, sooner: two words of the stream, where the name stands for coordinates."""
    native = _active()
    if native is None:
        return stream.key(seed, name)
    w0, w1, w2, w3 = stream.name_words(name)
    words = np.empty(2, np.uint32)
    draw = (_KINDS["words"], 0, 0, 1.0, 0, 0, w3)
    start = (words, 0, 0, _DTYPES["uint32"], seed & stream.MASK, seed >> 32, *draw, _TABLE)
    native.fill(*start, (w2, w1, 4 * w0), (0, 1, 0, 1, 0, 2))
    k0, k1 = words.tolist()
    return k0, k1


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An empty array that starts where XLA and TensorFlow want their own to start.

    JAX takes it over as it is, and would copy another; TensorFlow ends the process at one that is
    aligned to less.
    """
    memory = np.empty(math.prod(shape) * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return np.ndarray(shape, dtype, memory.data, start)


def prefer_huge_pages(fresh: NDArray[Any]) -> None:
    """Ask the system for huge pages under memory that nobody has written to yet.

    Clearing small pages at their first touch would take longer than the draw. NumPy asks for its
    own arrays by itself.
    """
    if _kernel is not None and fresh.nbytes >= HUGE_FROM:
        _kernel.prefer_huge_pages(fresh)


def _starts(plan: FillPlan, draw: Draw, out: NDArray[Any], dtype: str) -> Iterator[tuple[Any, ...]]:
    """What the kernel needs for each named block, but for the box."""
    stack, output = len(plan.geometry.stack), len(plan.geometry.output)
    kind = (_KINDS[draw.kind], draw.lo, draw.width, draw.factor)
    step = (draw.offset, draw.multiplier, draw.purpose)
    for key, view in plan.blocks(out):
        yield view, stack, output, _DTYPES[dtype], *key, *kind, *step, _TABLE, plan.origin


def _calls(
    native: ModuleType, plan: FillPlan, draw: Draw, out: NDArray[Any], dtype: str, workers: int
) -> Iterator[Callable[[], None]]:
    """One call of the kernel for each box of each named block."""
    parts = 1 if workers == 1 else -(-workers * _BOXES_PER_THREAD // len(plan.keys))
    for view, stack, output, *rest in _starts(plan, draw, out, dtype):
        widest = _widest(view, stack, output)
        for box in _threads.boxes(plan.geometry.counts, widest, parts):
            yield partial(native.fill, view, stack, output, *rest, box)


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
    if mode == "off" or _kernel is None:
        return None
    _use(_kernel, _isa(_kernel))
    return _kernel


def _isa(native: ModuleType) -> str:
    """The instruction set that is asked for, else the widest."""
    isas: tuple[str, ...] = native.ISAS
    isa = variable("INITSPEC_ISA") or isas[0]
    if isa not in isas:
        expected = f"an instruction set of this processor and build: {', '.join(isas)}"
        raise InitspecValueError("INITSPEC_ISA", isa, expected, did_you_mean(isa, isas))
    return isa


@lru_cache(maxsize=1)  # so the kernel is told only when the choice changes
def _use(native: ModuleType, isa: str) -> None:
    native.use(isa)


def _load() -> tuple[ModuleType | None, str]:
    try:
        return import_module("._kernel", __name__), ""
    except ImportError as error:  # not built, or built for another interpreter
        return None, str(error)


_kernel, _problem = _load()


def _mode() -> str:
    mode = variable("INITSPEC_KERNEL") or "auto"
    if mode not in _MODES:
        expected = f"one of {', '.join(_MODES)}"
        raise InitspecValueError("INITSPEC_KERNEL", mode, expected, did_you_mean(mode, _MODES))
    return mode
