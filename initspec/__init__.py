"""initspec: one specification of neural-network weight initialisation, the same bits everywhere."""

import importlib as _importlib
import typing as _typing

from .errors import BackendError, InitspecError, InitspecTypeError, InitspecValueError
from .factories import (
    constant,
    identity,
    normal,
    orthogonal,
    sparse,
    truncated_normal,
    uniform,
    variance_scaling,
)
from .fans import Fans, fans
from .gains import gain
from .initializer import Initializer
from .layout import Layout
from .recipes import get

if _typing.TYPE_CHECKING:
    from .models import apply, check, diff, load, lock, plan, verify

__version__ = "0.1.0"

he_normal = kaiming_normal = get("he_normal")
he_uniform = kaiming_uniform = get("he_uniform")
glorot_normal = xavier_normal = get("glorot_normal")
glorot_uniform = xavier_uniform = get("glorot_uniform")
lecun_normal = get("lecun_normal")
lecun_uniform = get("lecun_uniform")
zeros = get("zeros")
ones = get("ones")
dirac = get("dirac")
delta_orthogonal = get("delta_orthogonal")
bilinear = get("bilinear")

__all__ = [
    "BackendError",
    "Fans",
    "Initializer",
    "InitspecError",
    "InitspecTypeError",
    "InitspecValueError",
    "Layout",
    "apply",
    "bilinear",
    "check",
    "constant",
    "delta_orthogonal",
    "diff",
    "dirac",
    "fans",
    "gain",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "load",
    "lock",
    "normal",
    "ones",
    "orthogonal",
    "plan",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "verify",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

_MODELS = frozenset({"apply", "check", "diff", "load", "lock", "plan", "verify"})


def __getattr__(name: str) -> _typing.Any:
    """The verbs of whole models, which tensors alone do not need."""
    if name not in _MODELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_importlib.import_module(".models", __name__), name)
