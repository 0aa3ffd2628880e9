"""Where the tensors of a module are: layers and their tensors, under every name and path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from initspec.models.model import Knob, Layers
from initspec.models.slots import Slot

from .layers import class_name, known_slots, norm_epsilon, user_slots

__all__ = ["Layer", "Site", "walk"]

# Components of names that only wrap a module, and the classes that wrap.
_WRAPPERS = {
    "module": ("torch.nn.parallel.*", "torch.optim.swa_utils.AveragedModel"),
    "_orig_mod": ("torch._dynamo.eval_frame.OptimizedModule",),
    "_fsdp_wrapped_module": ("torch.distributed.fsdp.*",),
    "_checkpoint_wrapped_module": ("torch.distributed.algorithms._checkpoint.*",),
}


@dataclass(frozen=True)
class _Binding:
    """The slots of one tensor, under the path of the layer whose class has them."""

    path: str
    slots: tuple[Slot, ...]
    mine: bool  # the user's own: counts before the built-in tables, and has to fit


_Bindings = Mapping[str, _Binding]


@dataclass(frozen=True, eq=False)
class Layer:
    """A module under one of its names."""

    module: nn.Module
    name: str
    path: str
    bindings: _Bindings

    def sites(self) -> Iterator[Site]:
        """The tensors that the module itself owns."""
        if isinstance(self.module, parametrize.ParametrizationList):
            return  # seen as the tensor that it stands for
        for attribute, parameter in self.module._parameters.items():
            if parameter is not None:
                yield Site(self, attribute)
        for attribute, buffer in self.module._buffers.items():
            if buffer is not None:
                yield Site(self, attribute, buffer=True)
        if parametrize.is_parametrized(self.module):
            for attribute, found in self.module.parametrizations.items():  # type: ignore[union-attr, operator]
                yield Site(self, attribute, not [*found._parameters], found)

    def knobs(self) -> Iterator[Knob]:
        """What changes the layer's function beside its weights."""
        epsilon, momentum = norm_epsilon(self.module), getattr(self.module, "momentum", None)
        if epsilon is None:
            return
        yield Knob(path=self.path, name="norm_epsilon", value=epsilon)
        if momentum is not None and getattr(self.module, "track_running_stats", False):
            yield Knob(path=self.path, name="batch_norm_momentum", value=float(momentum))


@dataclass(frozen=True, eq=False)
class Site:
    """A tensor under one of its names."""

    layer: Layer
    attribute: str
    buffer: bool = False
    parametrized: Any = None

    @property
    def name(self) -> str:
        """As torch would call it, were it not parametrized."""
        return _join(self.layer.name, self.attribute, ".")

    def tensor(self) -> torch.Tensor:
        """As it is now: it may have been replaced since the walk."""
        if self.parametrized is None:
            found: torch.Tensor = getattr(self.layer.module, self.attribute)
            return found
        with torch.no_grad(), _evaluating(self.parametrized):
            computed: torch.Tensor = getattr(self.layer.module, self.attribute).detach()
            return computed

    def owned(self) -> list[torch.Tensor]:
        """The tensors that hold the values: those of a parametrization where there is one."""
        found = self.parametrized
        if found is None:
            return [self.tensor()]
        return [*found._parameters.values(), *found._buffers.values()]

    def trainable(self) -> bool:
        """Whether an optimiser would move it."""
        return any(tensor.requires_grad for tensor in self.owned())


def walk(module: nn.Module, layer: Layer, layers: Layers) -> Iterator[Layer]:
    """The module and all below it; the given layer says where it is and what its parents know."""
    bindings = _bindings(module, layer, layers)
    yield replace(layer, bindings=bindings)
    for child_name, child in module._modules.items():
        if child is None:
            continue
        wraps = _wraps(module, child_name)
        path = layer.path if wraps else _join(layer.path, child_name, "/")
        below = {
            name.removeprefix(f"{child_name}."): binding
            for name, binding in bindings.items()
            if name.startswith(f"{child_name}.")
        }
        name, known = _join(layer.name, child_name, "."), layer.bindings if wraps else below
        yield from walk(child, Layer(child, name, path, known), layers)


def _bindings(module: nn.Module, layer: Layer, layers: Layers) -> dict[str, _Binding]:
    """The tables' rows: a parent's before the layer's own, and the user's before all."""
    rows = known_slots(module)
    own = {name: _Binding(layer.path, slots, False) for name, slots in rows.items()}
    user = user_slots(module, layers)
    mine = {name: _Binding(layer.path, slots, True) for name, slots in user.items()}
    above = layer.bindings
    return own | dict(above) | mine | {name: b for name, b in above.items() if b.mine}


def _wraps(module: nn.Module, child: str) -> bool:
    patterns = _WRAPPERS.get(child, ())
    names = [class_name(cls) for cls in type(module).__mro__] if patterns else []
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _join(prefix: str, name: str, separator: str) -> str:
    return f"{prefix}{separator}{name}" if prefix else name


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Without what parametrizations do in training: power iterations, new random numbers."""
    training = [each for each in module.modules() if each.training]
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each in training:
            each.training = True
