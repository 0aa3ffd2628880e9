"""Plain trees of NumPy arrays: dictionaries, lists, tuples and dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean
from initspec.fill_plan import check_dtype
from initspec.models.model import Knob, Layers, Model, Stored, Write, write_pieces
from initspec_kernel import fill

__all__ = ["ArrayTree", "open_model"]


def open_model(model: Any, layers: Layers) -> Model:
    """A tree of arrays, each stored under its path, joined by ``/``, without parts.

    A config's ``[names.numpy]`` says what they hold. ``write`` returns a new tree of the same
    types with new arrays where something is written; the old arrays stay as they are, writable or
    not. ``layers`` has no use here.

    Raises:
        InitspecTypeError: there is no array in it.
        InitspecValueError: two arrays have one path, or the tree contains itself.

    >>> open_model({"fc": {"w": np.zeros((2, 3))}}, {}).tensors()[0].name
    'fc/w'
    """
    return ArrayTree(model)


class ArrayTree(Model):
    """A tree of NumPy arrays."""

    framework: ClassVar[str] = "numpy"
    backend: ClassVar[str] = "numpy"

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, array in _walk(tree, "", ()):
            if name in self._arrays:
                raise InitspecValueError("model", name, "one array only of this path")
            self._arrays[name] = array
        if not self._arrays:
            raise InitspecTypeError("model", tree, "a tree with NumPy arrays in it")

    def tensors(self) -> Sequence[Stored]:
        """Every array, in the tree's order; those that are not floating-point as buffers."""
        return tuple(_stored(name, array) for name, array in self._arrays.items())

    def knobs(self) -> Sequence[Knob]:
        """None: arrays have no numbers beside them."""
        return ()

    def read(self, name: str) -> NDArray[Any]:
        """The array itself; of bfloat16 its bits as uint16.

        Raises:
            InitspecValueError: there is no such array.
        """
        if name not in self._arrays:
            advice = did_you_mean(name, self._arrays)
            raise InitspecValueError("name", name, "the name of an array of the model", advice)
        return _bits(self._arrays[name])

    def write(self, writes: Sequence[Write]) -> Any:
        """A new tree, with new arrays where something is written.

        Raises:
            InitspecError: something cannot be written.
        """
        for write in writes:
            self._check(write)
        new = {write.stored.name: self._written(write) for write in writes}
        return _rebuilt(self._tree, "", new)

    def _check(self, write: Write) -> None:
        stored, array = write.stored, self.read(write.stored.name)
        if (array.shape, self._arrays[stored.name].dtype.name) != (stored.shape, stored.dtype):
            expected = f"{stored.dtype}{list(stored.shape)}, as when the model was read"
            raise InitspecValueError(stored.name, array, expected, "Open the model again.")
        if any(piece.plan is not None for piece in write.pieces):
            check_dtype(stored.dtype)
        if not self._arrays[stored.name].dtype.isnative:
            expected = "an array in the machine's byte order"
            raise InitspecValueError(stored.name, self._arrays[stored.name].dtype, expected)

    def _written(self, write: Write) -> NDArray[Any]:
        old = self._arrays[write.stored.name]
        new: NDArray[Any] = np.array(old, order="C")  # a base array, and writable
        write_pieces(_bits(new), write, fill)
        return new


def _stored(name: str, array: NDArray[Any]) -> Stored:
    dtype = array.dtype.name
    moved = dtype == "bfloat16" or np.issubdtype(array.dtype, np.inexact)
    return Stored(
        name=name,
        path=name,
        shape=array.shape,
        dtype=dtype,
        trainable=bool(moved),
        buffer=not moved,
    )


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _children(node: Any) -> dict[str, Any]:
    """What a container holds, by name; nothing of what is no container."""
    if isinstance(node, dict):
        return {str(key): value for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        names = getattr(node, "_fields", range(len(node)))  # of a named tuple, its own
        return {str(name): value for name, value in zip(names, node, strict=True)}
    if is_dataclass(node) and not isinstance(node, type):
        return {each.name: getattr(node, each.name) for each in fields(node)}
    return {}


def _walk(node: Any, name: str, above: tuple[int, ...]) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(node, np.ndarray):
        yield name, node
    elif id(node) in above:
        raise InitspecValueError("model", name, "a tree that does not contain itself")
    for key, value in _children(node).items():
        yield from _walk(value, f"{name}/{key}" if name else key, (*above, id(node)))


def _rebuilt(node: Any, name: str, new: Mapping[str, NDArray[Any]]) -> Any:
    """The same containers anew, with the new arrays in them."""
    if isinstance(node, np.ndarray):
        return new.get(name, node)
    children = _children(node)
    parts = {
        key: _rebuilt(value, f"{name}/{key}" if name else key, new)
        for key, value in children.items()
    }
    return _filled(node, parts) if parts else node


def _filled(node: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(node, tuple):
        make = getattr(node, "_make", tuple)
        return make(parts.values())
    twin = copy(node)  # of its own type, with whatever else it carries
    if isinstance(node, list):
        twin[:] = parts.values()
    elif isinstance(node, dict):
        twin.update(zip(node, parts.values(), strict=True))
    else:
        for key, value in parts.items():
            object.__setattr__(twin, key, value)  # a frozen dataclass has no other way
    return twin
