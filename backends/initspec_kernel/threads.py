"""Sharing a fill between threads: disjoint boxes of coordinates, so any number gives equal bits.

No second thread runtime beside those of the frameworks: plain Python threads, and the kernel lets
go of the interpreter lock while it writes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from threading import Lock

from initspec.errors import InitspecValueError

from .environment import variable

__all__ = ["Box", "asked", "boxes", "cores", "count", "run"]

Box = tuple[int, ...]  # s0, s1, o0, o1, j0, j1
Counts = tuple[int, int, int]

_LANES = 4  # a block of four values along j has one Philox call and is never cut

_lock = Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def count(threads: int | None = None) -> int:
    """How many threads to use: the argument, else INITSPEC_THREADS, else the usable cores."""
    return asked(threads) or cores()


def asked(threads: int | None = None) -> int | None:
    """How many threads somebody asked for: the argument, else INITSPEC_THREADS."""
    if threads is not None:
        return _positive("threads", threads, threads)
    text = variable("INITSPEC_THREADS")
    if not text:
        return None
    return _positive("INITSPEC_THREADS", text, int(text) if text.isdecimal() else 0)


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _positive(where: str, given: object, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InitspecValueError(where, given, "a whole number of threads, at least 1")
    return number


def boxes(counts: Counts, strides: Counts, parts: int) -> list[Box]:
    """Cut the coordinates s, o, j into about ``parts`` boxes along one of them.

    The one with the widest stride that can be cut so often is best, for then every box is one
    stretch of memory; if none can, the longest one.

    >>> boxes((1, 8, 6), (0, 24, 4), 2)
    [(0, 1, 0, 4, 0, 6), (0, 1, 4, 8, 0, 6)]
    >>> boxes((1, 2, 10), (0, 4, 8), 3)
    [(0, 1, 0, 2, 0, 4), (0, 1, 0, 2, 4, 8), (0, 1, 0, 2, 8, 10)]
    """
    s, o, j = counts
    pieces = (s, o, -(-j // _LANES))
    axis = max(range(3), key=lambda k: (min(pieces[k], parts), strides[k]))
    parts = max(1, min(parts, pieces[axis]))
    unit = _LANES if axis == 2 else 1
    cuts = [unit * (pieces[axis] * part // parts) for part in range(parts)] + [counts[axis]]
    before, after = (0, s, 0, o)[: 2 * axis], (0, s, 0, o, 0, j)[2 * axis + 2 :]
    return [(*before, begin, end, *after) for begin, end in pairwise(cuts)]


def run(calls: Iterable[Callable[[], None]], threads: int) -> None:
    """Make all calls, the caller's thread being one of the workers; raise what one of them did."""
    waiting = deque(calls)
    helpers = []
    # Late in the life of an interpreter no thread starts any more: then the caller does it all.
    with suppress(RuntimeError):
        for _ in range(min(threads, len(waiting)) - 1):
            helpers.append(_executor(threads - 1).submit(_drain, waiting))
    try:
        _drain(waiting)
    finally:
        waiting.clear()
        for helper in helpers:
            helper.result()


def _drain(waiting: deque[Callable[[], None]]) -> None:
    while True:
        try:
            call = waiting.popleft()
        except IndexError:  # another thread took the last one
            return
        call()


def _executor(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or size > _pool_size:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = ThreadPoolExecutor(size, "initspec"), size
        return _pool


def _forget() -> None:
    """After a fork the child has no threads and perhaps a lock that nobody will release."""
    global _lock, _pool, _pool_size
    _lock, _pool, _pool_size = Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
