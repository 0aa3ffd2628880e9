"""Plans become TensorFlow tensors: host memory that is handed over, or ops inside `tf.function`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import STORAGE, FillPlan, check_dtype
from initspec.initializer import Initializer
from initspec_kernel import aligned, fill, key

from . import graph
from .native import TensorFlowInitializer

__all__ = ["TensorFlowBackend"]

_LOCAL = tf.DeviceSpec(job="localhost", replica=0, task=0)


class TensorFlowBackend(Backend):
    """Tensors of TensorFlow; variables as ``out``.

    In eager mode the weights are written on the host; inside ``tf.function`` they are ops, which
    run again at every call of the function: the same bits either way. Without a seed such ops
    make new weights at every call, as ``tf.random.normal`` does; under XLA, which has a generator
    of its own, ``tf.random.set_seed`` does not make them repeat.
    """

    name: ClassVar[str] = "tensorflow"
    key = staticmethod(key)
    draw = graph.unconverted(Backend.draw)

    @graph.unconverted
    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Any:
        """A new tensor; a symbolic one inside ``tf.function``."""
        with _placed(device):
            if not tf.executing_eagerly():
                return graph.emit(plan, dtype)
            # An op, so that the tensor comes to lie where TensorFlow puts the results of ops.
            return tf.raw_ops.Identity(input=_hand_over(_host_array(plan, dtype), dtype))

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """The values of an eager tensor or a variable; the bits of a bfloat16 one."""
        try:
            array: NDArray[Any] = tensor.numpy()
        except (AttributeError, NotImplementedError) as error:  # no tensor, or a symbolic one
            advice = "Inside tf.function nothing has a value yet: return the tensor."
            raise InitspecTypeError("tensor", tensor, "an eager tensor", advice) from error
        return array.view(np.uint16) if tensor.dtype == tf.bfloat16 else array

    def emit_into(self, plan: FillPlan, out: Any) -> None:
        """Assign to a variable."""
        out.assign(self.emit(plan, check_dtype(out.dtype), None))

    def inspect(self, out: Any) -> tuple[Iterable[Any], Any]:
        """Shape and dtype of a variable; tensors of TensorFlow are immutable."""
        if not isinstance(out, tf.Variable):
            advice = "Tensors are immutable: leave out= away and use the one that is returned."
            raise InitspecTypeError("out", type(out), "a tf.Variable", advice)
        shape = out.shape  # whose own way of giving its sizes is slow
        return tuple(shape) if shape.is_fully_defined() else shape, out.dtype

    def fresh_seed(self) -> int:
        """From TensorFlow's global generator, so that ``tf.random.set_seed`` governs it."""
        low, high = tf.random.uniform((2,), maxval=2**32, dtype=tf.int64).numpy()
        return int(low) | int(high) << 32

    def keys(self, plan: FillPlan, seed: Any, name: str) -> tuple[tuple[Any, Any], ...]:
        """One key per named block; inside ``tf.function``, without a seed, symbolic ones."""
        if seed is not None or tf.executing_eagerly():
            return super().keys(plan, seed, name)
        super().keys(plan, 0, name)  # checks the name
        with tf.init_scope():
            # What tf.random yields inside a function is the same in every function: this is not.
            salt = self.fresh_seed() if tf.executing_eagerly() else 0
        return graph.fresh_keys(plan.names(name), salt)

    def bind(self, initializer: Initializer, **options: Any) -> TensorFlowInitializer:
        """``f(shape, dtype=None)``, see `TensorFlowInitializer`."""
        return TensorFlowInitializer(initializer, **options)


def _host_array(plan: FillPlan, dtype: str) -> NDArray[Any]:
    """The values in host memory that is aligned as TensorFlow needs it."""
    array = aligned(plan.shape, np.dtype(STORAGE[dtype]))
    fill(plan, array, dtype)
    return array


def _hand_over(array: NDArray[Any], dtype: str) -> Any:
    """A tensor over the memory of an array that nobody else holds: TensorFlow may write to it."""
    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.bitcast(tensor, tf.bfloat16) if dtype == "bfloat16" else tensor


def _placed(device: Any) -> AbstractContextManager[Any]:
    """The scope of a device that is there: TensorFlow would silently take another."""
    if device is None:
        return nullcontext()
    name = getattr(device, "name", device)  # a string, or a tf.config.LogicalDevice
    there = tf.config.list_logical_devices()
    if not isinstance(name, str):
        raise InitspecTypeError("device", device, "the name of a device", "For example '/CPU:0'.")
    if not any(_means(name, each.name) for each in there):
        expected = f"one of {[each.name for each in there]}"
        raise InitspecValueError("device", device, expected, "See tf.config.list_logical_devices.")
    return tf.device(name)  # type: ignore[no-any-return]


def _means(name: str, device: str) -> bool:
    """Whether a name, perhaps a partial one, fits a device."""
    try:
        spec = tf.DeviceSpec.from_string(name)
    except ValueError:  # no name at all
        return False
    full = _LOCAL.make_merged_spec(tf.DeviceSpec.from_string(device))
    parts = ("job", "replica", "task", "device_type", "device_index")
    return all(getattr(spec, part) in (None, getattr(full, part)) for part in parts)
