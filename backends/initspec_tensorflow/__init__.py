"""TensorFlow adapter of initspec."""

from .backend import TensorFlowBackend

backend = TensorFlowBackend()

__all__ = ["TensorFlowBackend", "backend"]
