"""Modules of flax.nnx: they carry their variables, which are written in place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flax import nnx
from numpy.typing import NDArray

from initspec.errors import InitspecValueError, did_you_mean
from initspec.models.model import Knob, Layers, Model, Stored, Write
from initspec.models.slots import Part, Slot, bind_slots, join

from .flax_layers import DIVIDED, FlaxLayer, canonical_name, class_name, knobs_of, rank_of, slots_of
from .tree import check_leaf, dtype_name, is_abstract, is_leaf, make_leaf, read_leaf

__all__ = ["NnxModel", "nnx_model"]

Path = tuple[Any, ...]


@dataclass
class _Tensor:
    """A variable, or an array that is none, in a module."""

    path: Path
    owner: Any
    value: Any
    aliases: list[Path] = field(default_factory=list)

    @property
    def leaf(self) -> Any:
        return self.value.get_value() if isinstance(self.value, nnx.Variable) else self.value

    def set(self, leaf: Any) -> None:
        if isinstance(self.value, nnx.Variable):
            self.value.set_value(leaf)
            return
        name = self.path[-1]
        if isinstance(self.owner, nnx.Module) and isinstance(name, str):
            setattr(self.owner, name, leaf)
        else:
            self.owner[name] = leaf
        self.value = leaf


def nnx_model(module: Any, layers: Layers) -> NnxModel:
    """The variables of a module of flax.nnx, which may be abstract (`nnx.eval_shape`).

    Args:
        module: it is written in place.
        layers: slots by class and attribute; they go before the built-in ones.
    """
    return NnxModel(module, layers)


class NnxModel(Model):
    """A module of flax.nnx; `write` changes it in place and returns it."""

    framework: ClassVar[str] = "nnx"
    backend: ClassVar[str] = "jax"

    def __init__(self, module: Any, layers: Layers) -> None:
        self._module = module
        self._nodes = dict(_walk(module))
        self._divided = _divided(self._nodes)
        self._found = {_name(each.path): each for each in _tensors(self._nodes)}
        shapes = _shapes(self._found.values())
        self._slots = {
            path: slots_of(FlaxLayer(node, shapes.get(path, {})), layers)
            for path, node in self._nodes.items()
            if isinstance(node, nnx.Module)
        }
        self._stored = {name: self._describe(name, each) for name, each in self._found.items()}

    def tensors(self) -> Sequence[Stored]:
        """The variables of all types, and arrays that are none."""
        return list(self._stored.values())

    def knobs(self) -> Sequence[Knob]:
        """The numbers of every norm."""
        modules = [(p, node) for p, node in self._nodes.items() if p in self._slots]
        return [knob for path, node in modules for knob in knobs_of(node, self._prefix(path))]

    def read(self, name: str) -> NDArray[Any]:
        """The values of a variable on the host."""
        return read_leaf(self._tensor(name).leaf, name)

    def write(self, writes: Sequence[Write]) -> Any:
        """The module, written in place; nothing is, if a variable were left without values."""
        wanted = {write.stored.name: write for write in writes}
        self._check_unchanged()
        for name, write in wanted.items():
            check_leaf(write, self._tensor(name).leaf)
        for name, tensor in self._found.items():
            if is_abstract(tensor.leaf) and (name not in wanted or wanted[name].keeps):
                raise _abstract(name, tensor)
        tensors = ((self._found[name], write) for name, write in wanted.items())
        made = [(tensor, make_leaf(write, tensor.leaf)) for tensor, write in tensors]
        with ExitStack() as undo:
            for tensor, leaf in made:
                undo.callback(tensor.set, tensor.leaf)
                tensor.set(leaf)
            undo.pop_all()
        return self._module

    def _check_unchanged(self) -> None:
        """Whether the module still has the variables that it had, where they were."""
        now = dict(_walk(self._module))
        for name, tensor in self._found.items():
            for path in (tensor.path, *tensor.aliases):
                if now.get(path) is not tensor.value:
                    expected = f"{name!r}, the variable there when the model was opened"
                    given = now.get(path, "nothing")
                    raise InitspecValueError(_name(path), given, expected, "Open the model again.")

    def _tensor(self, name: str) -> _Tensor:
        if name not in self._found:
            advice = did_you_mean(name, self._found)
            raise InitspecValueError("name", name, "the name of a variable", advice)
        return self._found[name]

    def _describe(self, name: str, tensor: _Tensor) -> Stored:
        leaf = tensor.leaf
        shape = tuple(leaf.shape)
        layer, slots, parts = self._parts(tensor.path, shape)
        aliases = ((_name(path), self._parts(path, shape)[2]) for path in tensor.aliases)
        trainable = isinstance(tensor.value, nnx.Param)
        return Stored(
            name=name,
            shape=shape,
            dtype=dtype_name(leaf),
            parts=parts,
            slots=slots,
            path=self._prefix(tensor.path),
            layer=class_name(layer) if layer else "",
            trainable=trainable,
            buffer=not trainable,
            aliases=tuple(aliases),
            problem=self._divided.get(id(tensor.value), ""),
        )

    def _parts(
        self, path: Path, shape: tuple[int, ...]
    ) -> tuple[type | None, tuple[Slot, ...], tuple[Part, ...]]:
        """The class of the outermost module that knows the tensor, its slots, and the parts.

        There are none where the tensor has other axes: `nnx.vmap` does not tell which it added.
        """
        nearest = None
        for depth in range(len(path)):
            if path[:depth] in self._slots:
                nearest = type(self._nodes[path[:depth]])
                if slots := self._slots[path[:depth]].get(_name(path[depth:])):
                    fits = rank_of(slots) == len(shape)
                    prefix = self._prefix(path[:depth])
                    return nearest, slots, bind_slots(slots, prefix, shape) if fits else ()
        return nearest, (), ()

    def _prefix(self, path: Path) -> str:
        """The canonical form of a path."""
        parents = (self._nodes.get(path[:depth]) for depth in range(len(path)))
        names = (
            canonical_name(type(parent), _name((name,)))
            for parent, name in zip(parents, path, strict=True)
        )
        return join(*names)


def _name(path: Path) -> str:
    """As a name; some keys are tuples."""
    return "/".join(_name(key) if isinstance(key, tuple) else str(key) for key in path)


def _walk(module: Any) -> Iterator[tuple[Path, Any]]:
    """All nodes by their paths; what is shared under each, but for references to a parent."""
    first = list(nnx.iter_graph(module, graph=True))
    yield from first
    for known, *others in nnx.find_duplicates(module):
        for path in others:
            if path[: len(known)] == known:
                continue
            for each, node in first:
                if each[: len(known)] == known:
                    yield (*path, *each[len(known) :]), node


def _tensors(nodes: dict[Path, Any]) -> Iterator[_Tensor]:
    """Variables, each once, and arrays that are none."""
    found: dict[int, _Tensor] = {}
    for path, node in nodes.items():
        value = node.get_value() if isinstance(node, nnx.Variable) else node
        if not is_leaf(value):
            continue
        if id(node) in found:
            found[id(node)].aliases.append(path)
        else:
            found[id(node)] = _Tensor(path, nodes.get(path[:-1]), node)
    yield from found.values()


def _shapes(tensors: Iterable[_Tensor]) -> dict[Path, dict[str, tuple[int, ...]]]:
    """By the path of every node the tensors in it, by their names from there."""
    found: dict[Path, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for tensor in tensors:
        shape = tuple(tensor.leaf.shape)
        for path in (tensor.path, *tensor.aliases):
            for depth in range(len(path)):
                found[path[:depth]][_name(path[depth:])] = shape
    return found


def _divided(nodes: dict[Path, Any]) -> dict[int, str]:
    """By identity the variables that their layer does not use as they are, and why."""
    found = {}
    for node in nodes.values():
        if not isinstance(node, (nnx.WeightNorm, nnx.SpectralNorm)):
            continue
        weights = nnx.iter_graph(node.layer_instance, graph=True)
        for path, weight in weights:
            if isinstance(weight, nnx.Param) and _divides(node, path, weight):
                found[id(weight)] = DIVIDED.format(type(node).__name__)
    return found


def _divides(norm: Any, path: Path, weight: Any) -> bool:
    if isinstance(norm, nnx.WeightNorm):
        return bool(norm.variable_filter(path, weight))
    return len(weight.shape) > 1


def _abstract(name: str, tensor: _Tensor) -> InitspecValueError:
    expected = "a rule that writes all of it, since it has no values to keep"
    advice = "Let a rule write it, or build the module without nnx.eval_shape."
    if isinstance(tensor.value, nnx.RngState):
        expected = "a random state with values, which no rule writes"
        stream = getattr(tensor.owner, "tag", "default")
        advice = f"Call nnx.reseed(module, {stream}=0) first."
    return InitspecValueError(name, tensor.leaf, expected, advice)
