"""JAX adapter of initspec."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .backend import JaxBackend
from .native import JaxInitializer

if TYPE_CHECKING:
    from .haiku import Haiku
    from .linen import Linen

backend = JaxBackend()

__all__ = ["Haiku", "JaxBackend", "JaxInitializer", "Linen", "backend"]

_LATE = {"Haiku": ".haiku", "Linen": ".linen"}  # they import their frameworks


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name], __name__), name)
