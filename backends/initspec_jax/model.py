"""Which of the adapters for JAX a model belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from initspec.errors import InitspecTypeError
from initspec.models.model import Layers, Model

__all__ = ["open_model"]

# The module that a class, or one of its bases, comes from, and who reads such models.
_ADAPTERS = {
    "initspec_jax.linen": "linen:linen_model",
    "initspec_jax.haiku": "haiku:haiku_model",
    "flax.nnx": "nnx:nnx_model",
    "equinox": "equinox:equinox_model",
}
_WRAPPED = {
    "flax.linen": "initspec_jax.Linen(module, sample_input)",
    "haiku": "initspec_jax.Haiku(transformed, sample_input)",
}


def open_model(model: Any, layers: Layers) -> Model:
    """The adapter of a Linen or Haiku wrapper, an nnx or equinox module, or a tree of arrays.

    Raises:
        InitspecTypeError: a module without weights of its own, and without its wrapper.
    """
    for origin in _origins(model):
        if origin in _WRAPPED:
            expected = f"{_WRAPPED[origin]}: it has no weights of its own"
            raise InitspecTypeError("model", type(model), expected)
        if origin in _ADAPTERS:
            return _opened(_ADAPTERS[origin], model, layers)
    if isinstance(model, (list, tuple)) and any("equinox" in _origins(each) for each in model):
        return _opened(_ADAPTERS["equinox"], model, layers)  # a module and its state
    return _opened("pytree:pytree_model", model, layers)


def _origins(model: Any) -> Iterator[str]:
    for kind in type(model).__mro__:
        known = (*_ADAPTERS, *_WRAPPED)
        yield from (each for each in known if f"{kind.__module__}.".startswith(f"{each}."))


def _opened(target: str, model: Any, layers: Layers) -> Model:
    module, _, function = target.partition(":")
    found: Model = getattr(import_module(f"{__package__}.{module}"), function)(model, layers)
    return found
