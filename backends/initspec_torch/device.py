"""Which path makes the tensors of a device that is not the CPU, and why.

``triton``: a kernel that writes every value once; on CUDA (and ROCm). ``torch``: torch's own
integer operators, chunk by chunk; on any device. ``host``: host memory is filled and copied. The
bits are the same. A path is taken only after it has made a few values on the device as the
reference does; ``INITSPEC_KERNEL=off`` asks for the reference itself, by way of the host.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

import initspec_kernel
from initspec import stream
from initspec.draw import Draw, normal_draw, uniform_draw
from initspec.errors import BackendError
from initspec.fill_plan import FillPlan
from initspec.layout import Layout
from initspec.structured import Constant
from initspec_kernel.environment import variable

from . import integer
from .memory import NAMES, host_view

__all__ = ["HOST", "TORCH", "TRITON", "Path", "devices", "fill", "path"]

TRITON, TORCH, HOST = "triton", "torch", "host"
Write = Callable[[FillPlan, Draw, torch.Tensor], None]
_TRIALS = {  # the last one has values that float16 can only hold as subnormals
    torch.float32: normal_draw(1.0),
    torch.bfloat16: uniform_draw(-1.0, 1.0),
    torch.float16: normal_draw(2.0**-16),
}


@dataclass(frozen=True, slots=True)
class Path:
    """Who makes the tensors of a device, and why nobody faster does."""

    name: str
    reason: str


@unset_fake_temporarily()
def fill(plan: FillPlan, out: torch.Tensor, host: Callable[[FillPlan, torch.Tensor], None]) -> None:
    """Write a plan into a tensor with values on another device; ``host`` fills CPU tensors."""
    content, chosen = plan.content, path(out.device).name
    if isinstance(content, Constant):
        with torch.no_grad():
            out.fill_(content.value)  # which rounds to float32 first, as everybody does
    elif not isinstance(content, Draw) or chosen == HOST or out.is_neg():
        memory = torch.empty(plan.shape, dtype=out.dtype, device="cpu")
        host(plan, memory)
        with torch.no_grad():
            out.copy_(memory)
    elif chosen == TRITON and _kernel().fits(plan, out):
        _kernel().fill(plan, content, out)
        torch.autograd.graph.increment_version(out)
    else:
        integer.fill(plan, content, out)


# --- the choice -------------------------------------------------------------------------------


def path(device: torch.device) -> Path:
    """The path of a device under the present environment."""
    mode = variable("INITSPEC_KERNEL")
    if mode:
        initspec_kernel.info()  # refuses what means nothing
    if mode == "off":
        return Path(HOST, "INITSPEC_KERNEL=off")
    found = _examine(device)
    if mode == "require" and device.type == "cuda" and found.name != TRITON:
        advice = "Install the Triton that belongs to this torch, or unset INITSPEC_KERNEL."
        raise BackendError("INITSPEC_KERNEL", mode, f"a working Triton; {found.reason}", advice)
    return found


def devices() -> dict[str, str]:
    """Every accelerator that torch can use, with the path its tensors take."""
    found = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    found += [torch.device("mps")] if torch.backends.mps.is_available() else []
    return {str(device): f"{path(device).name} ({path(device).reason})" for device in found}


@lru_cache(maxsize=64)
def _examine(device: torch.device) -> Path:
    """The fastest path that works on the device."""
    problem = _triton_problem(device)
    if not problem:
        return Path(TRITON, f"Triton {_kernel().VERSION}")
    fault = _fault(integer.fill, device, *_TRIALS)
    return Path(HOST, f"{problem}; torch's operators: {fault}") if fault else Path(TORCH, problem)


def _triton_problem(device: torch.device) -> str:
    if device.type != "cuda":
        return f"there is no kernel for {device.type}"
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Both hold an LLVM, and the second one to register its options ends the process.
        return "TensorFlow was imported before Triton, and both cannot be loaded in this order"
    try:
        kernel = _kernel()
    except Exception as error:  # it may be missing, or not work with this torch
        return f"Triton does not import: {_first_line(error)}"
    return _fault(kernel.fill, device, torch.float32)


def _kernel() -> ModuleType:
    return import_module(".triton_kernel", __package__)


def _fault(write: Write, device: torch.device, *dtypes: torch.dtype) -> str:
    """Why a path cannot be taken on a device, found out by taking it."""
    try:
        wrong = [dtype for dtype in dtypes if not _agrees(write, device, dtype)]
    except torch.cuda.OutOfMemoryError:  # says nothing about the path
        raise
    except Exception as error:
        return _first_line(error)
    return f"wrong values in {', '.join(map(str, wrong))}" if wrong else ""


def _agrees(write: Write, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a few values are those of the reference."""
    draw = _TRIALS[dtype]
    plan = FillPlan(Layout.parse("OI").bind((5, 9)), draw, ((0x243F6A88, 0x85A308D3),))
    made = torch.zeros(plan.shape, dtype=dtype, device=device)
    write(plan, draw, made)
    expected = torch.zeros(plan.shape, dtype=dtype, device="cpu")
    stream.fill(plan, host_view(expected), NAMES[dtype])
    return torch.equal(made.cpu(), expected)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
