"""Which adapter a model belongs to, found by the package of its class."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from initspec.errors import BackendError, InitspecTypeError
from initspec.registry import get_backend

from .model import Layers, Model
from .slots import Slot

__all__ = ["GROUP", "open_model", "plugin_layers"]

GROUP = "initspec.layouts"  # entry points of third parties: a mapping like `Layers`
_ADAPTERS = {
    "torch": "torch",
    "keras": "keras",
    "jax": "jax",
    "jaxlib": "jax",
    "flax": "jax",
    "haiku": "jax",
    "equinox": "jax",
    "initspec_jax": "jax",
    "numpy": "numpy",
}
_PLAIN = (dict, list, tuple)


def open_model(model: Any, layers: Layers) -> Model:
    """The adapter of a model, a wrapper or a tree.

    Raises:
        InitspecTypeError: no framework is known whose model this is.
        BackendError: its framework does not import.
    """
    if isinstance(model, Model):
        return model
    name = _adapter_name(model)
    get_backend(name)  # a broken framework is told here, in one way
    adapter = importlib.import_module(f"initspec_{name}.model")
    found: Model = adapter.open_model(model, {**plugin_layers(), **layers})
    return found


def _adapter_name(model: Any) -> str:
    for subject in _subjects(model):
        for kind in type(subject).__mro__:
            root = kind.__module__.partition(".")[0]
            if root in _ADAPTERS:
                return _ADAPTERS[root]
    expected = (
        "a torch.nn.Module, a keras layer or model, a flax, haiku or equinox model, or a tree"
    )
    raise InitspecTypeError("model", model, expected, "Pass the model itself, not its class.")


def _subjects(model: Any) -> Iterator[Any]:
    """The model itself, or the first leaf of a plain tree."""
    while isinstance(model, (Mapping, *_PLAIN)):
        children = list(model.values()) if isinstance(model, Mapping) else list(model)
        if type(model) not in _PLAIN:
            yield model
        if not children:
            return
        model = children[0]
    if not isinstance(model, type):
        yield model


@lru_cache(maxsize=1)
def plugin_layers() -> Layers:
    """The layers that other distributions describe.

    Raises:
        BackendError: an entry point does not import, is no mapping of slots, or describes a class
            that another one describes.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415

    found: dict[str, Mapping[str, tuple[Slot, ...]]] = {}
    for point in entry_points(group=GROUP):
        try:
            layers = {name: _slots(each) for name, each in point.load().items()}
        except Exception as error:  # a plugin may fail in any way while it is imported
            expected = f"a mapping of layer classes ({type(error).__name__}: {error})"
            raise BackendError(GROUP, point.value, expected, "Upgrade or uninstall it.") from error
        for name in layers.keys() & found.keys():
            expected = f"one distribution to describe {name}"
            raise BackendError(GROUP, point.value, expected, "Uninstall all but one of them.")
        found |= layers
    return found


def _slots(attributes: Mapping[str, Slot | tuple[Slot, ...]]) -> dict[str, tuple[Slot, ...]]:
    slots = {
        name: (given,) if isinstance(given, Slot) else tuple(given)
        for name, given in attributes.items()
    }
    for each in (slot for several in slots.values() for slot in several):
        if not isinstance(each, Slot):
            raise InitspecTypeError("slot", each, "an initspec.models.Slot")
    return slots
