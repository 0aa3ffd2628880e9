"""PyTorch adapter of initspec."""

from .backend import TorchBackend
from .native import TorchInitializer

backend = TorchBackend()

__all__ = ["TorchBackend", "TorchInitializer", "backend"]
