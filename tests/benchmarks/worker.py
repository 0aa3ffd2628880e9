"""A process with one setting: measures its cases and prints a row of JSON for each figure."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile

from .machine import cores
from .measure import Case, Row, Setting, measure

__all__ = ["rows_of"]

_MARK = "row "  # what frameworks print has no such start
_QUIET = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
_OWN = ("INITSPEC_ISA", "INITSPEC_KERNEL", "INITSPEC_THREADS", "PYTHONDONTWRITEBYTECODE")


def rows_of(setting: Setting, cases: Sequence[Case], budget: float) -> Iterator[Row]:
    """The rows of these cases, as they come, from a process with that setting."""
    labels = [case.label for case in cases]
    job = json.dumps([labels, setting.cores, setting.isa, budget])
    command = [sys.executable, "-m", __spec__.name, job]
    with TemporaryFile("w+") as log:
        with subprocess.Popen(
            command, env=_environment(setting), stdout=subprocess.PIPE, stderr=log, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(_MARK):
                    yield Row(**json.loads(line.removeprefix(_MARK)))
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{setting}: exit status {process.returncode}\n{log.read()}")


def _environment(setting: Setting) -> dict[str, str]:
    """The user's, without what would change a setting, and with no GPU in sight."""
    kept = {name: value for name, value in os.environ.items() if name not in _OWN}
    chosen = {"INITSPEC_ISA": setting.isa, "INITSPEC_KERNEL": setting.kernel}
    chosen = {name: value for name, value in chosen.items() if value}
    return {**kept, **_QUIET, "CUDA_VISIBLE_DEVICES": "-1", **chosen}


# --- in the process -----------------------------------------------------------------------------


def main() -> None:
    """Measure the cases that the first argument names."""
    labels, wanted, isa, budget = json.loads(sys.argv[1])
    if wanted and hasattr(os, "sched_setaffinity"):  # before a framework counts its threads
        os.sched_setaffinity(0, cores()[:wanted])
    from .cases import CASES

    absent = _absent(isa) if isa else ""
    for case in CASES:
        if case.label in labels:
            for row in measure(case, budget, absent):
                print(f"{_MARK}{json.dumps(dataclasses.asdict(row))}", flush=True)


def _absent(isa: str) -> str:
    """Why the kernel does not run on these instructions, if it does not."""
    from initspec.errors import InitspecError
    from initspec_kernel import info

    try:
        found = info().isa
    except InitspecError as error:
        return f"not on this machine: {error}"
    return "" if found == isa else f"not on this machine, or not in this kernel: it runs {found}"


if __name__ == "__main__":
    main()
