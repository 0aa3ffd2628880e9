"""Keras adapter of initspec, for every Keras backend: TensorFlow, JAX, torch and NumPy.

Importing it registers the class of bound initializers with Keras. A process that only loads
models needs that one line: ``import initspec_keras``.
"""

from .backend import KerasBackend
from .native import KerasInitializer

backend = KerasBackend()

__all__ = ["KerasBackend", "KerasInitializer", "backend"]
