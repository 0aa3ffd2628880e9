"""Plain pytrees of arrays; and what the models that are pytrees of a library share with them.

A plain tree has no layer classes: a config's ``[names.jax]`` says what each leaf holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten
from numpy.typing import NDArray

from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean
from initspec.models.model import Knob, Layers, Model, Stored, Write
from initspec.models.slots import Slot

from .tree import dtype_name, is_abstract, is_leaf, make_leaf, read_leaf

__all__ = [
    "KeyPath",
    "Owner",
    "Rows",
    "Shapes",
    "Table",
    "TreeModel",
    "class_name",
    "find_slots",
    "fits",
    "pytree_model",
]

KeyPath = tuple[Any, ...]
Rows = Mapping[str, tuple[Slot, ...]]
"""The slots of a layer class by attribute; of what its children store, by ``child/attribute``."""
Shapes = Mapping[str, tuple[int, ...]]
Table = Mapping[type, Callable[[Any, Shapes], Rows]]
"""What gives the rows of a layer, by its class; it may ask for shapes of what the layer stores."""


class Owner(NamedTuple):
    """A layer that a tensor lies in, the tensor's path in it, and the shapes it has by path."""

    layer: Any
    attribute: str
    shapes: Shapes


def pytree_model(tree: Any, layers: Layers) -> TreeModel:
    """Dictionaries, lists, tuples and registered dataclasses of arrays, real or abstract.

    Every array is stored under its path, joined by ``/``, without parts; what is no array stays.
    ``write`` returns a new tree. ``layers`` has no use here.

    Raises:
        InitspecTypeError: there is no array in it.
        InitspecValueError: two leaves have one path.

    >>> pytree_model({"fc": {"w": jnp.zeros((2, 3))}}, {}).tensors()[0].name
    'fc/w'
    """
    return TreeModel(tree)


def class_name(cls: type) -> str:
    """As in `Stored.layer`; in the keys of `Layers` a public name is as good."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _names(cls: type) -> Iterator[str]:
    """Its own name, and those under which a package around it has it: ``haiku.Linear``."""
    yield class_name(cls)
    package, _, private = cls.__module__.partition("._")
    if private:
        for place in (package, *(f"{package}.{name}" for name in private.split("."))):
            if getattr(sys.modules.get(place), cls.__name__, None) is cls:
                yield f"{place}.{cls.__name__}"


def find_slots(
    owners: Iterable[Owner], layers: Layers, table: Table
) -> tuple[int, tuple[Slot, ...]] | None:
    """Which owner says what a tensor holds, and what it says; None where none does.

    Args:
        owners: from the outermost, which may know its children better than they do, inwards.
        layers: the user's slots; of an owner's classes any goes before the table.
        table: the library's own classes.
    """
    for number, (layer, attribute, shapes) in enumerate(owners):
        classes = type(layer).__mro__
        names = (name for cls in classes for name in _names(cls))
        rows: list[Rows] = [layers[name] for name in names if name in layers]
        # The first class of the table is the whole truth: its own base may store other things.
        rows += [table[cls](layer, shapes) for cls in classes if cls in table][:1]
        if found := next((row[attribute] for row in rows if attribute in row), None):
            return number, found
    return None


def fits(slots: tuple[Slot, ...], rank: int) -> bool:
    """Whether a tensor of this rank is one of the class, and not a stack of many."""
    return all(_rank(slot) == rank for slot in slots)


def _rank(slot: Slot) -> int:
    taken = sum(isinstance(where, int) for where in slot.region)
    taken += sum(split.stacked for split in slot.splits)
    pattern = slot.layout.replace(" ", "")
    while "(" in pattern:
        start, end = pattern.index("("), pattern.index(")")
        pattern = f"{pattern[:start]}*{pattern[end + 1 :]}"
    return len(pattern) + taken


class TreeModel(Model):
    """A pytree whose arrays are the stored tensors."""

    framework: ClassVar[str] = "jax"
    backend: ClassVar[str] = "jax"

    def __init__(self, tree: Any) -> None:
        flat, self._structure = tree_flatten_with_path(tree)
        self._leaves = [leaf for _, leaf in flat]
        self._places: dict[str, int] = {}  # of the arrays, by name
        self._paths: dict[str, KeyPath] = {}
        for place, (path, leaf) in enumerate(flat):
            if is_leaf(leaf):
                self._add(self._name(path), path, place)
        if not self._places:
            expected = "a tree with arrays in it (jax.Array, jax.ShapeDtypeStruct, numpy.ndarray)"
            raise InitspecTypeError("model", tree, expected)

    def _add(self, name: str, path: KeyPath, place: int) -> None:
        if name in self._places:
            given = [keystr(self._paths[name]), keystr(path)]
            raise InitspecValueError("model", given, f"one array only of the name {name!r}")
        self._places[name], self._paths[name] = place, path

    def tensors(self) -> Sequence[Stored]:
        """Every array of the tree, in its order."""
        return self._tensors

    @cached_property
    def _tensors(self) -> tuple[Stored, ...]:
        return tuple(self._stored(name, self._leaf(name)) for name in self._places)

    def knobs(self) -> Sequence[Knob]:
        """None: arrays have no numbers beside them."""
        return ()

    def read(self, name: str) -> NDArray[Any]:
        """The values of an array on the host; bfloat16 as uint16 bit patterns.

        Raises:
            InitspecValueError: there is no such array, or it has no values.
        """
        return read_leaf(self._leaf(name), name)

    def write(self, writes: Sequence[Write]) -> Any:
        """A new tree; leaves that nothing is written to are the old ones.

        Raises:
            InitspecError: something cannot be written, or an abstract leaf would stay abstract.
        """
        written = {write.stored.name: write for write in writes}
        rest = [n for n in self._places if n not in written and is_abstract(self._leaf(n))]
        new = self._made(rest)
        new |= {name: make_leaf(write, self._leaf(name)) for name, write in written.items()}
        leaves = list(self._leaves)
        for name, leaf in new.items():
            leaves[self._places[name]] = leaf
        return self._rebuilt(leaves)

    def _made(self, names: list[str]) -> dict[str, Any]:
        """Values of the abstract leaves that no write gives any."""
        for name in names:
            advice = "Let a rule write it, or pass a model that has values."
            raise InitspecValueError(name, self._leaf(name), "an array with values", advice)
        return {}

    def _rebuilt(self, leaves: list[Any]) -> Any:
        return tree_unflatten(self._structure, leaves)

    def _leaf(self, name: str) -> Any:
        if name not in self._places:
            advice = did_you_mean(name, self._places)
            raise InitspecValueError("name", name, "the name of an array of the model", advice)
        return self._leaves[self._places[name]]

    def _name(self, path: KeyPath) -> str:
        return str(keystr(path, simple=True, separator="/"))

    def _stored(self, name: str, leaf: Any) -> Stored:
        return Stored(name=name, path=name, **self._facts(leaf))

    def _facts(self, leaf: Any) -> dict[str, Any]:
        """Fields that any array has; what is not floating-point, no optimiser moves."""
        inexact = bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
        facts = {"shape": tuple(leaf.shape), "dtype": dtype_name(leaf)}
        return facts | {"trainable": inexact, "buffer": not inexact}
