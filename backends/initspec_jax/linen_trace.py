"""What happens while ``init`` of a flax.linen module is traced: who owns which variable.

Modules are watched by a method interceptor. A variable is seen first inside of every scan and
vmap, without their axes, and again outside, with them. Where axes have come, ``init`` is traced
once more with every variable in a box that is told of them, as boxes of axis names are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.core import meta

__all__ = ["Call", "Path", "Seen", "Trace", "flat_nodes", "trace"]

Path = tuple[str, ...]
Init = Callable[..., Any]


class Call(NamedTuple):
    """A module that was called: itself, and the strings it was called with."""

    module: Any
    strings: tuple[str, ...]


@dataclass
class Seen:
    """A variable: its shape where it is used, and how far up it has which number of axes."""

    shape: tuple[int, ...]
    depths: dict[int, int] = field(default_factory=dict)  # number of axes: shallowest observer


@dataclass
class Trace:
    """What ``init`` returns in the abstract, and what was seen on the way.

    Attributes:
        variables: the tree, of `jax.ShapeDtypeStruct`.
        calls: modules by their paths, for each class the one that was done first.
        seen: variables by collection and path.
        axes: for every stacked variable and every axis, which of the added axes it is, counted
            from 1 in the order in which they came; 0 for the variable's own.
        divided: by collection and path, the class that divides the variable by its norm.
    """

    variables: Any = None
    calls: dict[Path, dict[type, Call]] = field(default_factory=dict)
    seen: dict[Path, Seen] = field(default_factory=dict)
    axes: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    divided: dict[Path, str] = field(default_factory=dict)


@partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["axes"])
@dataclass(frozen=True)
class _Counted(meta.AxisMetadata[Any]):
    """A variable, perhaps in a box of its own, that is told which axes a lifted call adds."""

    value: Any
    axes: tuple[int, ...]

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> _Counted:
        return _Counted(val, self.axes)

    def add_axis(self, index: int, params: dict[Any, Any]) -> _Counted:
        at = index % (len(self.axes) + 1)
        axes = (*self.axes[:at], max(self.axes, default=0) + 1, *self.axes[at:])
        return _Counted(_inner(self.value, "add_axis", index, params), axes)

    def remove_axis(self, index: int, params: dict[Any, Any]) -> _Counted:
        at = index % len(self.axes)
        axes = self.axes[:at] + self.axes[at + 1 :]
        return _Counted(_inner(self.value, "remove_axis", index, params), axes)


def _inner(value: Any, change: str, index: int, params: dict[Any, Any]) -> Any:
    return getattr(value, change)(index, params) if _is_box(value) else value


def _is_box(value: Any) -> bool:
    return isinstance(value, meta.AxisMetadata)


def flat_nodes(tree: Any) -> dict[Path, Any]:
    """Arrays and boxes of arrays by their paths in a tree."""
    nodes, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_box)
    return {tuple(map(_key, path)): node for path, node in nodes}


def _key(entry: Any) -> str:
    return jax.tree_util.keystr((entry,), simple=True)


def trace(init: Init, *arrays: Any) -> Trace:
    """Trace ``init`` of these arrays, and watch."""
    found = Trace()
    with nn.intercept_methods(_Watch(found)):
        found.variables = _shapes(init, arrays)
    for path, node in flat_nodes(found.variables).items():
        _observe(found, path, node, -1)
    if any(len(seen.depths) > 1 for seen in found.seen.values()):
        with nn.intercept_methods(_box):
            boxed = _shapes(init, arrays)
        for path, node in flat_nodes(boxed).items():
            if isinstance(node, _Counted):
                found.axes[path] = node.axes
    return found


def _shapes(init: Init, arrays: tuple[Any, ...]) -> Any:
    """JAX does not trace a function again that it knows: let it be a new one."""
    return jax.eval_shape(lambda *given: init(*given), *arrays)  # noqa: PLW0108


class _Watch:
    """The interceptor that notes modules and variables."""

    def __init__(self, found: Trace) -> None:
        self._found = found

    def __call__(self, function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = function(*args, **kwargs)
        module = context.module
        if module.scope is not None:
            path = module.path
            if context.method_name != "<lambda>":  # one makes a module, before it has its place
                strings = tuple(a for a in (*args, *kwargs.values()) if isinstance(a, str))
                self._found.calls.setdefault(path, {}).setdefault(
                    type(module), Call(module, strings)
                )
                _note_divided(self._found, module)
            for (collection, *rest), node in flat_nodes(dict(module.variables)).items():
                _observe(self._found, (collection, *path, *rest), node, len(path))
        return result


def _observe(found: Trace, path: Path, node: Any, depth: int) -> None:
    leaves = jax.tree_util.tree_leaves(node)
    shape = tuple(leaves[0].shape) if len(leaves) == 1 and hasattr(leaves[0], "shape") else ()
    seen = found.seen.setdefault(path, Seen(shape))
    seen.depths[len(shape)] = min(depth, seen.depths.get(len(shape), depth))


def _note_divided(found: Trace, module: Any) -> None:
    if not isinstance(module, (nn.WeightNorm, nn.SpectralNorm)):
        return
    layer = module.layer_instance
    if layer.scope is None:
        return
    for (collection, *rest), node in flat_nodes(dict(layer.variables)).items():
        if collection != "params":
            continue
        if isinstance(module, nn.WeightNorm):
            name = "/".join((layer.name or "", *rest))
            if module.variable_filter and not any(w in name for w in module.variable_filter):
                continue
        elif len(jax.tree_util.tree_leaves(node)[0].shape) < 2:
            continue
        found.divided[(collection, *layer.path, *rest)] = type(module).__name__


def _box(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """The interceptor that puts the variables of every module into boxes."""
    result = function(*args, **kwargs)
    module = context.module
    if module.scope is None:
        return result
    for collection, variables in dict(module.variables).items():
        for name, value in variables.items():
            if isinstance(value, (Mapping, _Counted)) or not module.is_mutable_collection(
                collection
            ):
                continue
            leaves = jax.tree_util.tree_leaves(value)
            if len(leaves) == 1 and (_is_box(value) or value is leaves[0]):
                module.put_variable(collection, name, _Counted(value, (0,) * leaves[0].ndim))
    return result
