"""JAX adapter of initspec."""

from .backend import JaxBackend
from .native import JaxInitializer

backend = JaxBackend()

__all__ = ["JaxBackend", "JaxInitializer", "backend"]
