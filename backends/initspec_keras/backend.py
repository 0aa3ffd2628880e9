"""Plans become tensors of the active Keras backend, written by the adapter of its framework."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, ClassVar

import keras
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.fill_plan import FillPlan
from initspec.initializer import Initializer
from initspec.registry import get_backend
from initspec_kernel import key

from .native import VARIABLE, KerasInitializer

__all__ = ["KerasBackend"]


class KerasBackend(Backend):
    """Tensors and variables of Keras 3, whichever framework it runs on.

    The convention is Keras's own (``IO``, ``HWIO``) on torch too.
    """

    name: ClassVar[str] = "keras"
    key = staticmethod(key)

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Any:
        """A new tensor of the active framework, on the device that Keras would use."""
        framework = _framework()
        if device is None and framework.name == "torch":  # has no device scopes of its own
            device = keras.ops.zeros(()).device
        return framework.emit(plan, dtype, device)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """A host array of a tensor or a variable."""
        return _framework().to_host(_value(tensor))

    def emit_into(self, plan: FillPlan, out: Any) -> None:
        """Assign to a variable, or write into a tensor of a framework that allows it."""
        if isinstance(out, VARIABLE):
            out.assign(self.emit(plan, keras.backend.standardize_dtype(out.dtype), None))
        else:
            _framework().emit_into(plan, out)

    def inspect(self, out: Any) -> tuple[Iterable[Any], Any]:
        """Shape and dtype of a variable, or of a tensor that the framework can write."""
        if isinstance(out, VARIABLE):
            return out.shape, out.dtype
        return _framework().inspect(out)

    def fresh_seed(self) -> int:
        """From Python's generator, where Keras too finds its default seeds.

        So ``keras.utils.set_random_seed`` governs it.
        """
        return random.getrandbits(64)

    def bind(self, initializer: Initializer, **options: Any) -> KerasInitializer:
        """A serialisable initializer for layers; see `KerasInitializer`."""
        return KerasInitializer(initializer, **options)


def _framework() -> Backend:
    return get_backend(keras.backend.backend())


def _value(tensor: Any) -> Any:
    return tensor.value if isinstance(tensor, VARIABLE) else tensor
