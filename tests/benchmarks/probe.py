"""A fresh process for one sample: what is paid once, and what memory is needed.

``python -m benchmarks.probe seconds|bytes``, with the contender on standard input.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

from .contenders import Spec
from .measure import Contender, Sample, UnavailableError

__all__ = ["first_call", "memory_above", "memory_beside"]

_MISSING = 3  # exit status: the contender is not available, and why
_SMALL = 512  # length of the axes of a tensor that starts threads and loads what there is to load


def first_call(contender: Contender) -> Sample:
    """Seconds of the first call in a process."""
    return lambda: _ask("seconds", contender)


def memory_beside(contender: Contender) -> Sample:
    """Bytes that a call in place needs at its peak."""
    return lambda: _ask("bytes", contender)


def memory_above(contender: Contender) -> Sample:
    """Bytes that a call needs at its peak beside the tensor that it makes."""
    own = sum(each.nbytes for each in contender.arguments if isinstance(each, Spec))
    return lambda: _ask("bytes", contender) - own


def _ask(what: str, contender: Contender) -> float:
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, what],
        input=pickle.dumps(contender),
        capture_output=True,
        check=False,
    )
    last = (done.stdout.decode().splitlines() or [""])[-1]
    if done.returncode == _MISSING:
        raise UnavailableError(last)
    if done.returncode:
        error = (done.stderr.decode().splitlines() or [""])[-1]
        raise RuntimeError(f"exit status {done.returncode}: {error}")
    return float(last)


# --- in the process -----------------------------------------------------------------------------


def main() -> None:
    """Measure the contender on standard input and print the figure."""
    contender = pickle.load(sys.stdin.buffer)
    try:
        print(_seconds(contender) if sys.argv[1] == "seconds" else _bytes(contender))
    except (UnavailableError, ModuleNotFoundError) as error:
        name = getattr(error, "name", None)
        print(f"{name} is not installed" if name else error)
        sys.exit(_MISSING)


def _seconds(contender: Contender) -> float:
    call = contender.prepare()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _bytes(contender: Contender) -> int:
    """How far the peak is above what was there before the call, after a smaller one of its kind."""
    small = (_smaller(each) if isinstance(each, Spec) else each for each in contender.arguments)
    warm = dataclasses.replace(contender, arguments=tuple(small))
    warm.prepare()()
    call = contender.prepare()
    gc.collect()
    before = _restart_peak()
    result = call()
    peak = _status("VmHWM")
    del result
    return peak - before


def _smaller(spec: Spec) -> Spec:
    return dataclasses.replace(spec, shape=(_SMALL,) * len(spec.shape))


def _restart_peak() -> int:
    """Forget the peak so far; what is in memory now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise UnavailableError(f"no measure of peak memory on this system ({os.name})") from error
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(f"{field}:"))
    return int(found.split()[1]) * 1024


if __name__ == "__main__":
    main()
