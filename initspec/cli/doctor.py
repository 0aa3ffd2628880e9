"""Check this installation: versions, kernel, backends, plugins, and a self-test of each.

Every framework is imported in a process of its own, so that one that crashes or hangs is only
reported. A framework that is not installed is no finding; one that is installed and does not work
is, and so is a kernel that is missing although nobody switched it off.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np

import initspec
from initspec import registry, stream
from initspec.errors import InitspecError

from .table import print_table

__all__ = ["Check", "checks", "configure", "run"]

OK, ABSENT, FINDING, NOTE = "ok", "absent", "finding", "note"
FINDINGS = 1  # the exit code
_VARIABLES = (
    "INITSPEC_KERNEL",
    "INITSPEC_ISA",
    "INITSPEC_THREADS",
    "KERAS_BACKEND",
    "JAX_ENABLE_X64",
    "JAX_PLATFORMS",
    "XLA_FLAGS",
    "TF_ENABLE_ONEDNN_OPTS",
    "CUDA_VISIBLE_DEVICES",
)
_GOLDEN = (
    455136161,
    -97008648,
    202546981,
    462895545,
)  # the first four draws, in units of 2**-28, of seed 1 and name "golden"


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    state: str
    version: str
    detail: str


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec doctor``."""
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long one backend may take to import and pass its tests (default: 120)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print all checks; 1 if one of them is a finding."""
    found = checks(options.timeout)
    findings = sum(check.state == FINDING for check in found)
    if options.json:
        report = {"findings": findings, "checks": [asdict(check) for check in found]}
        print(json.dumps(report, indent=2))
    else:
        rows = [(c.name, c.state, c.version or "-", c.detail) for c in found]
        print_table(("check", "state", "version", "detail"), rows)
        print(f"\n{findings or 'no'} finding{'' if findings == 1 else 's'}")
    return FINDINGS if findings else 0


def checks(timeout: float) -> list[Check]:
    """All checks, those of the backends side by side."""
    names = [name for name in registry.backend_names() if len(registry.owners(name)) == 1]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        backends = list(pool.map(lambda name: _backend(name, timeout), names))
    return [*_ourselves(), _kernel(), *backends, *_rivals(), *_environment()]


# --- what is here -----------------------------------------------------------------------------


def _ourselves() -> list[Check]:
    host = f"{platform.python_implementation()} on {platform.system()} {platform.machine()}"
    return [
        Check("initspec", OK, initspec.__version__, os.path.dirname(initspec.__file__)),
        _stream(),
        Check("python", OK, platform.python_version(), host),
    ]


def _stream() -> Check:
    digest = hashlib.sha256(stream.TABLE.astype("<u4").tobytes()).hexdigest()
    words = np.array(stream.philox4x32((0, 0, 0, 0), stream.key(1, "golden")), np.uint32)
    drawn = tuple(stream.normal(words).tolist())
    if (digest, drawn) == (stream.TABLE_DIGEST, _GOLDEN):
        return Check("stream", OK, stream.VERSION, f"table {digest[:16]}, golden words agree")
    wrong = f"table {digest[:16]} draws {drawn}; expected {stream.TABLE_DIGEST[:16]}, {_GOLDEN}"
    return Check("stream", FINDING, stream.VERSION, f"{wrong}. Reinstall initspec and NumPy.")


def _kernel() -> Check:
    try:
        info = import_module("initspec_kernel").info()
    except InitspecError as error:
        return Check("kernel", FINDING, "", str(error))
    if info.active:
        isas = ", ".join(info.isas)
        detail = f"{info.reason}: {info.path}, {info.threads} threads, has {isas}"
        return Check("kernel", OK, info.isa, detail)
    off = os.environ.get("INITSPEC_KERNEL") == "off"
    return Check("kernel", NOTE if off else FINDING, info.isa, info.reason)


def _environment() -> Iterable[Check]:
    for name in _VARIABLES:
        if name in os.environ:
            yield Check(name, NOTE, "", repr(os.environ[name]))


# --- backends and plugins ---------------------------------------------------------------------


def _rivals() -> Iterable[Check]:
    """Names that more than one distribution offers."""
    for name in registry.backend_names():
        owners = registry.owners(name)
        if len(owners) > 1:
            detail = f"offered by {' and '.join(owners)}: uninstall all but one"
            yield Check(f"plugin {name}", FINDING, "", detail)


def _backend(name: str, timeout: float) -> Check:
    plugin = None if name in registry.FIRST_PARTY else registry.offers()[name][0]
    if plugin is None and find_spec(name) is None:
        detail = f"{name} is not installed: pip install 'initspec[{name}]'"
        return Check(name, ABSENT, "", detail)
    result = _examine(name, timeout)
    version, detail = result["version"], result["detail"]
    if plugin is not None and plugin.dist is not None:
        version, detail = plugin.dist.version, f"from {plugin.dist.name}: {detail}"
    return Check(name, OK if result["state"] == OK else FINDING, version, detail)


def _examine(name: str, timeout: float) -> dict[str, str]:
    """The self-test in another process, which sees the same modules as this one."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    command = [sys.executable, "-P", "-m", "initspec.cli.self_test", name]
    try:
        done = subprocess.run(
            command,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return _problem(f"no answer within {timeout:g} s: see whether `import {name}` hangs")
    try:
        result: dict[str, str] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
        return result
    except ValueError:
        return _problem(_crash(done))


def _crash(done: subprocess.CompletedProcess[str]) -> str:
    last = done.stderr.rstrip().rpartition("\n")[2]
    if done.returncode < 0:
        cause = f"it was killed by {signal.Signals(-done.returncode).name} while being imported"
    else:
        cause = f"its process ended with exit code {done.returncode} and without an answer"
    return f"{cause}. {last}".rstrip(". ")


def _problem(detail: str) -> dict[str, str]:
    return {"state": "failed", "version": "", "detail": detail}
