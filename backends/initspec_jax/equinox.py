"""Equinox: modules are pytrees, and their fields say where a tensor lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from equinox import nn
from jax.tree_util import GetAttrKey, tree_flatten_with_path, tree_map, tree_structure

from initspec.models.model import Knob, Layers, Stored
from initspec.models.slots import Part, Slot, Split, bind_slots, join, spatial

from .pytree import (
    KeyPath,
    Owner,
    Rows,
    Shapes,
    Table,
    TreeModel,
    class_name,
    find_slots,
    fits,
)

__all__ = ["EquinoxModel", "equinox_model"]


def equinox_model(module: Any, layers: Layers) -> EquinoxModel:
    """A module, real or abstract, or a tree of modules, such as the pair of module and state.

    A tensor's name is its path, joined by ``/``. What an `eqx.nn.State` holds is named after the
    `eqx.nn.StateIndex` that looks it up. ``write`` returns a new module (tree), real throughout.

    Args:
        module: whatever has `equinox.Module` objects in it.
        layers: slots of classes that are not in the table, or instead of those there.

    Raises:
        InitspecTypeError: there is no array in it.
    """
    return EquinoxModel(module, layers)


# --- the table ----------------------------------------------------------------------------------

_NORMALISED = (nn.SpectralNorm, nn.WeightNorm)
_WRAPPERS = {nn.Shared: "pytree", nn.SpectralNorm: "layer", nn.WeightNorm: "layer"}


def _linear(layer: Any, shapes: Shapes) -> Rows:
    return _dense("", "dense")


def _dense(prefix: str, kind: str) -> dict[str, tuple[Slot, ...]]:
    return {
        "weight": (Slot(path=join(prefix, "kernel"), role="kernel", layout="OI", kind=kind),),
        "bias": (Slot(path=join(prefix, "bias"), role="bias", layout="O", kind=kind),),
    }


def _conv(layer: Any, shapes: Shapes) -> Rows:
    depthwise = layer.in_channels == layer.groups > 1
    kind, letters = "depthwise" if depthwise else "conv", spatial(layer.num_spatial_dims)
    if not letters:
        return {}
    kernel = Slot(
        path="kernel", role="kernel", layout=f"OI{letters}", groups=layer.groups, kind=kind
    )
    return {"weight": (kernel,), "bias": (_conv_bias(kind, letters),)}


def _conv_transpose(layer: Any, shapes: Shapes) -> Rows:
    letters = spatial(layer.num_spatial_dims)
    if not letters:
        return {}
    kernel = Slot(
        path="kernel",
        role="kernel",
        layout=f"(G O) I {letters}",
        kind="conv_transpose",
        sizes={"G": layer.groups},
        stride=tuple(layer.stride),
        transposed=True,
        flip=True,
    )
    return {"weight": (kernel,), "bias": (_conv_bias("conv_transpose", letters),)}


def _conv_bias(kind: str, letters: str) -> Slot:
    return Slot(path="bias", role="bias", layout="O" + "_" * len(letters), kind=kind)


def _embedding(layer: Any, shapes: Shapes) -> Rows:
    slot = Slot(path="embedding", role="embedding", layout="VI", kind="embedding")
    return {"weight": (slot,)}


def _recurrent(gates: str, kind: str) -> dict[str, tuple[Slot, ...]]:
    split = (Split(axis=0, parts=tuple(gates)),)
    named = {"weight_ih": ("kernel", "OI"), "weight_hh": ("recurrent", "OI"), "bias": ("bias", "O")}
    return {
        attribute: (
            Slot(path=f"{{part}}/{role}", role=role, layout=layout, kind=kind, splits=split),
        )
        for attribute, (role, layout) in named.items()
    }


def _lstm(layer: Any, shapes: Shapes) -> Rows:
    return _recurrent("ifgo", "lstm")


def _gru(layer: Any, shapes: Shapes) -> Rows:
    second = Slot(path="n/recurrent_bias", role="bias", layout="O", kind="gru")
    return _recurrent("rzn", "gru") | {"bias_n": (second,)}


def _attention(layer: Any, shapes: Shapes) -> Rows:
    return {
        f"{attribute}/{leaf}": slots
        for attribute, name in _PROJECTIONS.items()
        for leaf, slots in _dense(name, "attention").items()
    }


_PROJECTIONS = {
    "query_proj": "query",
    "key_proj": "key",
    "value_proj": "value",
    "output_proj": "out",
}


def _norm(layer: Any, shapes: Shapes) -> Rows:
    """Of `GroupNorm` one axis; the others say how many they have."""
    layout = "O" * len(getattr(layer, "shape", "C"))
    return {
        "weight": (Slot(path="scale", role="scale", layout=layout, kind="norm"),),
        "bias": (Slot(path="offset", role="offset", layout=layout, kind="norm"),),
    }


def _batch_norm(layer: Any, shapes: Shapes) -> Rows:
    """The statistics lie in the state; before it is taken out, in the index.

    What says that there are none yet goes with them, or it would mix the old ones in.
    """
    statistic = partial(Slot, role="statistic", kind="norm")
    averages = (statistic(path="mean", layout="O"),), (statistic(path="variance", layout="O"),)
    return {
        **_norm(layer, shapes),
        **{
            f"{index}/{number}": slots
            for index in ("ema_state_index", "batch_state_index")
            for number, slots in enumerate(averages)
        },
        "ema_first_time_index": (statistic(path="first_time", layout="", value=1.0),),
        "batch_counter": (statistic(path="count", layout="", value=0.0),),
    }


def _prelu(layer: Any, shapes: Shapes) -> Rows:
    """One slope, or one per channel."""
    layout = "O" * min(len(shapes["negative_slope"]), 1)
    return {"negative_slope": (Slot(path="slope", role="slope", layout=layout),)}


_TABLE: Table = {
    nn.Linear: _linear,
    nn.Conv: _conv,
    nn.ConvTranspose: _conv_transpose,
    nn.Embedding: _embedding,
    nn.LSTMCell: _lstm,
    nn.GRUCell: _gru,
    nn.MultiheadAttention: _attention,
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nn.GroupNorm: _norm,
    nn.BatchNorm: _batch_norm,
    nn.PReLU: _prelu,
}
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm)
_STATEFUL = (nn.State, nn.StateIndex)
_INITIAL = {
    "ema_first_time_index": True,
    "ema_state_index/0": 0.0,
    "ema_state_index/1": 1.0,
    "batch_counter": 0,
    "batch_state_index/0": 0.0,
    "batch_state_index/1": 1.0,
}
"""What a batch norm starts from; Equinox itself leaves some of it unset until the first batch."""


# --- the walk -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a leaf lies: the names on the way to it, and the modules that it lies in.

    ``names`` has an empty one for each wrapper; a module comes with the number of names before it.
    """

    names: tuple[str, ...]
    modules: tuple[tuple[Any, int], ...]

    def prefix(self, number: int) -> str:
        """The path of a module."""
        return join(*self.names[: self.modules[number][1]])

    def then(self, inner: _Place) -> _Place:
        """A place below this one."""
        moved = ((module, start + len(self.names)) for module, start in inner.modules)
        return _Place(self.names + inner.names, (*self.modules, *moved))

    @property
    def attributes(self) -> list[tuple[Any, str]]:
        """The modules, with the leaf's path in each."""
        return [(module, join(*self.names[start:])) for module, start in self.modules]


def _find(root: Any, path: KeyPath) -> _Place:
    names: list[str] = []
    modules: list[tuple[Any, int]] = []
    node = root
    for key in path:
        if isinstance(node, eqx.Module):
            modules.append((node, len(names)))
        names.append("" if _transparent(node, key) else _text(key))
        node = _step(node, key)
    return _Place(tuple(names), tuple(modules))


def _transparent(node: Any, key: Any) -> bool:
    wrapped = next((name for cls, name in _WRAPPERS.items() if isinstance(node, cls)), None)
    return _text(key) == wrapped or isinstance(node, nn.StateIndex)


def _text(key: Any) -> str:
    found = (getattr(key, name) for name in ("name", "idx", "key") if hasattr(key, name))
    return str(next(found, key))


def _step(node: Any, key: Any) -> Any:
    """The child; None below what says nothing of its children."""
    if hasattr(key, "name"):
        return getattr(node, key.name, None)
    if isinstance(node, (list, tuple)):
        return node[key.idx]
    return node.get(key.key) if isinstance(node, Mapping) else None


class EquinoxModel(TreeModel):
    """A module of Equinox, or a tree of them."""

    framework: ClassVar[str] = "equinox"

    def __init__(self, tree: Any, layers: Layers) -> None:
        pair = isinstance(tree, tuple) and len(tree) == 2 and isinstance(tree[1], nn.State)
        self._root, self._start = (tree[0], 1) if pair else (tree, 0)
        self._layers = layers
        nodes = tree_flatten_with_path(tree, is_leaf=lambda n: isinstance(n, _STATEFUL))[0]
        states = ((path, node) for path, node in nodes if isinstance(node, nn.State))
        self._states = {path: _markers(state) for path, state in states}
        self._indices = {n.marker: path for path, n in nodes if isinstance(n, nn.StateIndex)}
        super().__init__(tree)

    def knobs(self) -> Sequence[Knob]:
        """The epsilon of every norm, and of batch norms the share that a new batch has."""
        return tuple(self._knobs())

    def _knobs(self) -> Iterator[Knob]:
        layers, _ = tree_flatten_with_path(self._root, is_leaf=lambda n: isinstance(n, _NORMS))
        for path, layer in layers:
            if isinstance(layer, _NORMS):
                place = join(*_find(self._root, path).names)
                yield Knob(path=place, name="norm_epsilon", value=float(layer.eps))
                if isinstance(layer, nn.BatchNorm):
                    share = round(1 - float(layer.momentum), 12)
                    yield Knob(path=place, name="batch_norm_momentum", value=share)

    def _name(self, path: KeyPath) -> str:
        if not self._in_state(path):
            return super()._name(path[self._start :])
        held = self._held(path)
        return super()._name(path if held is None else (*held[0][self._start :], *held[1]))

    def _in_state(self, path: KeyPath) -> bool:
        return any(path[: len(state)] == state for state in self._states)

    def _held(self, path: KeyPath) -> tuple[KeyPath, KeyPath] | None:
        """Of a leaf in a state: the path of its index, and the rest of its own."""
        for state, markers in self._states.items():
            if path[: len(state)] == state:
                index = self._indices.get(markers[path[len(state)].key])
                return None if index is None else (index, path[len(state) + 1 :])
        return None

    def _place(self, name: str) -> _Place:
        path = self._paths[name]
        if self._in_state(path):
            held = self._held(path)
            if held is None:  # the state of another module
                return _Place((name,), ())
            path = (*held[0], GetAttrKey("init"), *held[1])
        return _find(self._root, path[self._start :])

    def _stored(self, name: str, leaf: Any) -> Stored:
        place, facts = self._place(name), self._facts(leaf)
        held = self._in_state(self._paths[name])
        if held or any(isinstance(node, nn.StateIndex) for node, _ in place.modules):
            facts |= {"trainable": False, "buffer": True}
            if self._states and not held:  # the values that count are those of the state
                return Stored(name=name, path=join(*place.names), **facts)
        rank, problem = len(facts["shape"]), _problem(place)
        layer, number, slots = self._slots(place, facts["shape"])
        also = self._aliases.get(name, ())
        return Stored(
            name=name,
            path=place.prefix(-1) if place.modules else name,
            parts=() if problem else _parts(place, number, slots, facts["shape"]),
            # One axis more than the class has: a stack of layers, whose axis the config names.
            slots=slots if fits(slots, rank - 1) else (),
            layer=layer,
            aliases=tuple((alias, self._alias_parts(at, facts["shape"])) for alias, at in also),
            problem=problem,
            **facts,
        )

    def _slots(self, place: _Place, shape: tuple[int, ...]) -> tuple[str, int, tuple[Slot, ...]]:
        """The class that says what a leaf holds, or its own; which module that is; the slots."""
        owners = (Owner(module, name, {name: shape}) for module, name in place.attributes)
        number, slots = find_slots(owners, self._layers, _TABLE) or (-1, ())
        layer = class_name(type(place.modules[number][0])) if place.modules else ""
        return layer, number, slots

    def _alias_parts(self, place: _Place, shape: tuple[int, ...]) -> tuple[Part, ...]:
        _, number, slots = self._slots(place, shape)
        return _parts(place, number, slots, shape)

    @cached_property
    def _aliases(self) -> dict[str, list[tuple[str, _Place]]]:
        """The other places of shared arrays, by the name of the one that is there."""
        found: dict[str, list[tuple[str, _Place]]] = {}
        nodes, _ = tree_flatten_with_path(self._root, is_leaf=lambda n: isinstance(n, nn.Shared))
        for path, node in nodes:
            if isinstance(node, nn.Shared):
                inside = (*path, GetAttrKey("pytree"))
                outer = _find(self._root, inside)
                for source, target, filled in _shared(node):
                    name = super()._name((*inside, *source))
                    alias = super()._name((*inside, *target)), outer.then(_find(filled, target))
                    found.setdefault(name, []).append(alias)
        return found

    def _made(self, names: list[str]) -> dict[str, Any]:
        """What batch norms start from; nothing else is known here."""
        known = {name: value for name in names if (value := self._initial(name)) is not None}
        super()._made([name for name in names if name not in known])
        leaves = {name: self._leaf(name) for name in known}
        return {n: jnp.full(leaf.shape, known[n], leaf.dtype) for n, leaf in leaves.items()}

    def _initial(self, name: str) -> float | bool | None:
        for owner, attribute in self._place(name).attributes:
            if isinstance(owner, nn.BatchNorm):
                return _INITIAL.get(attribute)
        return None


def _parts(
    place: _Place, number: int, slots: tuple[Slot, ...], shape: tuple[int, ...]
) -> tuple[Part, ...]:
    if not slots or not fits(slots, len(shape)):
        return ()
    return bind_slots(slots, place.prefix(number), shape)


def _markers(state: nn.State) -> Any:
    """What the values of a state are looked up by, in their order."""
    structure: Any = tree_structure(state)
    return structure.node_data()[1]


def _problem(place: _Place) -> str:
    """Of weights that are normalised anew in every call, and of what goes with them."""
    for owner, attribute in place.attributes:
        if isinstance(owner, _NORMALISED) and attribute in (owner.weight_name, "g"):
            name = type(owner).__name__
            return f"{name} keeps numbers made from this weight: initialise before wrapping it"
    return ""


def _shared(node: Any) -> list[tuple[KeyPath, KeyPath, Any]]:
    """Where an array of a shared tree is, and where it is too once the tree is put together."""
    marked = tree_map(lambda _: object(), node.pytree)
    try:
        filled = eqx.tree_at(node.where, marked, node.get(marked))
    except (AttributeError, TypeError, ValueError):
        return []  # the user's function computes (a transpose): no array in itself
    paths = {id(mark): path for path, mark in tree_flatten_with_path(marked)[0]}
    leaves, _ = tree_flatten_with_path(filled)
    moved = ((paths.get(id(mark), path), path) for path, mark in leaves)
    return [(source, target, filled) for source, target in moved if source != target]
