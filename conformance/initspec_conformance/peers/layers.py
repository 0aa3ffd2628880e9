"""The weights of layers that frameworks make by default, as initializers, for the scoreboard.

Layers hide their initializers; each function makes a layer for a shape and gives its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = [
    "equinox_linear",
    "flax_dense",
    "flax_embed",
    "haiku_linear",
    "keras_dense",
    "keras_depthwise",
    "torch_convolution",
    "torch_linear",
    "torch_transposed",
]

Shape = tuple[int, ...]


def torch_linear(shape: Shape, dtype: Any = None) -> Any:
    """The weight of torch.nn.Linear: (out, in)."""
    outputs, inputs = shape
    return import_module("torch").nn.Linear(inputs, outputs, dtype=dtype).weight


def torch_convolution(shape: Shape, dtype: Any = None) -> Any:
    """The weight of torch.nn.Conv2d: (out, in, height, width)."""
    if len(shape) == 2:  # the try that finds out the framework
        return torch_linear(shape, dtype)
    outputs, inputs, *kernel = shape
    return import_module("torch").nn.Conv2d(inputs, outputs, kernel, dtype=dtype).weight


def torch_transposed(shape: Shape, dtype: Any = None) -> Any:
    """The weight of torch.nn.ConvTranspose2d: (in, out, height, width)."""
    if len(shape) == 2:
        return torch_linear(shape, dtype)
    inputs, outputs, *kernel = shape
    return import_module("torch").nn.ConvTranspose2d(inputs, outputs, kernel, dtype=dtype).weight


def keras_dense(shape: Shape, dtype: Any = None) -> Any:
    """The kernel of keras.layers.Dense: (in, out)."""
    inputs, outputs = shape
    layer = import_module("keras").layers.Dense(outputs, dtype=dtype)
    layer.build((1, inputs))
    return layer.kernel.value


def keras_depthwise(shape: Shape, dtype: Any = None) -> Any:
    """The kernel of keras.layers.DepthwiseConv2D: (height, width, channels, multiplier)."""
    if len(shape) == 2:
        return keras_dense(shape, dtype)
    *kernel, channels, multiplier = shape
    keras = import_module("keras")
    layer = keras.layers.DepthwiseConv2D(kernel, depth_multiplier=multiplier, dtype=dtype)
    layer.build((1, *kernel, channels))
    return layer.kernel.value


def flax_dense(key: Any, shape: Shape, dtype: Any) -> Any:
    """The kernel of flax.nnx.Linear, which is that of flax.linen.Dense: (in, out)."""
    return _nnx(key, lambda nnx, rngs: nnx.Linear(*shape, param_dtype=dtype, rngs=rngs).kernel)


def flax_embed(key: Any, shape: Shape, dtype: Any) -> Any:
    """The table of flax.nnx.Embed: (vocabulary, features)."""
    return _nnx(key, lambda nnx, rngs: nnx.Embed(*shape, param_dtype=dtype, rngs=rngs).embedding)


def _nnx(key: Any, make: Callable[[Any, Any], Any]) -> Any:
    nnx = import_module("flax.nnx")
    return make(nnx, nnx.Rngs(key))[...]


def haiku_linear(key: Any, shape: Shape, dtype: Any) -> Any:
    """The weight of haiku.Linear: (in, out)."""
    haiku, jax = import_module("haiku"), import_module("jax")
    inputs, outputs = shape
    layer = haiku.transform(lambda x: haiku.Linear(outputs)(x))  # noqa: PLW0108 - made inside
    return layer.init(key, jax.numpy.zeros((1, inputs), dtype))["linear"]["w"]


def equinox_linear(key: Any, shape: Shape, dtype: Any) -> Any:
    """The weight of equinox.nn.Linear: (out, in)."""
    outputs, inputs = shape
    return import_module("equinox").nn.Linear(inputs, outputs, dtype=dtype, key=key).weight
