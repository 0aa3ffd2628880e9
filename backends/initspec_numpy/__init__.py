"""NumPy adapter of initspec."""

from .backend import NumpyBackend

backend = NumpyBackend()

__all__ = ["NumpyBackend", "backend"]
