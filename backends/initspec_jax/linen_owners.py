"""Which layer of a flax.linen module owns a variable, and what the variable holds, then."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from initspec.models.model import Knob, Layers, Stored
from initspec.models.slots import Part, Slot, bind_slots, join

from .flax_layers import (
    DIVIDED,
    FlaxLayer,
    canonical_name,
    class_name,
    is_users,
    knobs_of,
    rank_of,
    slots_of,
)
from .linen_trace import Call, Path, Seen, Trace

__all__ = ["Owners"]

_CAPTURES = "ijklmn"


class _Stack(NamedTuple):
    """An axis that a lifted call has added: where, how far down the call is, and its size."""

    axis: int
    depth: int
    size: int
    capture: str


class Owners:
    """Finds the layer of every variable that was seen, from the outermost module inwards."""

    def __init__(self, found: Trace, layers: Layers) -> None:
        self._found = found
        self._layers = layers
        self._shapes: dict[Path, dict[str, tuple[int, ...]]] = defaultdict(dict)
        for (_, *rest), seen in sorted(found.seen.items(), key=lambda item: item[0][0] == "params"):
            for depth in range(len(rest)):  # a parameter goes before a variable of its name
                self._shapes[tuple(rest[:depth])]["/".join(rest[depth:])] = seen.shape
        self._slots = {path: list(self._known(path, calls)) for path, calls in found.calls.items()}

    def _known(
        self, path: Path, calls: dict[type, Call]
    ) -> Iterator[tuple[type, dict[str, tuple[Slot, ...]]]]:
        for kind, call in calls.items():
            layer = FlaxLayer(call.module, self._shapes[path], call.strings)
            yield kind, slots_of(layer, self._layers)

    def stored(self, path: Path, name: str, shape: tuple[int, ...], dtype: str) -> Stored:
        """A variable of this collection and path."""
        collection, *rest = path
        layer, slots, depth = self._owner(collection, tuple(rest))
        stacks = self._stacks(path, shape)
        fits = slots and stacks is not None and rank_of(slots) == len(shape) - len(stacks)
        parts: tuple[Part, ...] = ()
        if fits and stacks is not None:
            prefix = self._prefix(tuple(rest[:depth]), stacks)
            parts = _bound(slots, prefix, stacks, shape)
        known = self._prefix(tuple(rest), ())
        return Stored(
            name=name,
            shape=shape,
            dtype=dtype,
            parts=parts,
            slots=slots,
            path=known,
            layer=class_name(layer) if layer else "",
            trainable=collection == "params",
            buffer=collection != "params",
            problem=self._problem(path, layer),
        )

    def _owner(self, collection: str, rest: Path) -> tuple[type | None, tuple[Slot, ...], int]:
        """The class of the outermost module that knows the variable, and how far down it is."""
        nearest: type | None = None
        for depth in range(len(rest)):
            for kind, table in self._slots.get(rest[:depth], ()):
                slots = table.get("/".join(rest[depth:]))
                if slots and self._holds(collection, kind, slots[0]):
                    return kind, slots, depth
            nearest = next((kind for kind, _ in self._slots.get(rest[:depth], ())), nearest)
        return nearest, (), len(rest)

    def _holds(self, collection: str, kind: type, slot: Slot) -> bool:
        """Outside of the parameters Flax's own layers have statistics, the user's may have more."""
        statistic = slot.role == "statistic"
        if collection == "params":
            return not statistic
        return statistic or is_users(kind, self._layers)

    def _problem(self, path: Path, layer: type | None) -> str:
        by = self._found.divided.get(path)
        if by is None and path[0] == "params" and layer is not None:
            by = "WeightNorm" if class_name(layer) == "flax.linen.WeightNorm" else None
        return "" if by is None else DIVIDED.format(by)

    # --- stacks: nn.scan, nn.vmap --------------------------------------------------------------

    def _stacks(self, path: Path, shape: tuple[int, ...]) -> tuple[_Stack, ...] | None:
        """The axes that were added, the outermost first; None if it is not known where."""
        seen = self._found.seen.get(path, Seen(shape))
        added = len(shape) - len(seen.shape)
        axes = self._found.axes.get(path, (0,) * len(shape) if not added else ())
        if len(axes) != len(shape) or max(axes, default=0) != added:
            return None
        stacks = []
        for number in range(added, 0, -1):
            axis, depth = axes.index(number), seen.depths[len(seen.shape) + number - 1]
            stacks.append(_Stack(axis, depth, shape[axis], _CAPTURES[added - number]))
        return tuple(stacks)

    def _prefix(self, path: Path, stacks: Sequence[_Stack]) -> str:
        """A module's canonical path, with a place for the index of every stack."""
        names = []
        for depth in range(len(path) + 1):
            last = depth == len(path)
            here = [each for each in stacks if each.depth == depth or (last and each.depth > depth)]
            names += [f"{{{each.capture}}}" for each in here]
            if not last:
                name = self._name(path[:depth], path[depth])
                names.append(name.replace("{", "{{").replace("}", "}}") if stacks else name)
        return join(*names)

    def _name(self, parent: Path, name: str) -> str:
        """The canonical name of a child."""
        kinds = self._found.calls.get(parent, {})
        return next((n for k in kinds if (n := canonical_name(k, name)) != name), name)

    # --- knobs ----------------------------------------------------------------------------------

    def knobs(self, variables: Sequence[tuple[Path, tuple[int, ...]]]) -> list[Knob]:
        """Those of every norm, each layer of a stack by itself."""
        known = {}
        for path, shape in variables:
            for stack in self._stacks(path, shape) or ():
                known[path[1 : stack.depth + 1], stack.capture] = stack
        found = []
        for path, calls in self._found.calls.items():
            stacks = [each for (owner, _), each in known.items() if path[: len(owner)] == owner]
            for call in calls.values():
                for each in self._expanded(path, stacks):
                    found += knobs_of(call.module, each)
        return list(dict.fromkeys(found))

    def _expanded(self, path: Path, stacks: Sequence[_Stack]) -> Iterator[str]:
        template = self._prefix(path, stacks)
        for numbers in itertools.product(*(range(each.size) for each in stacks)):
            labels = zip((each.capture for each in stacks), numbers, strict=True)
            yield template.format(**dict(labels)) if stacks else template


def _bound(
    slots: tuple[Slot, ...], prefix: str, stacks: Sequence[_Stack], shape: tuple[int, ...]
) -> tuple[Part, ...]:
    if not stacks:
        return bind_slots(slots, prefix, shape)
    return bind_slots(tuple(_stacked(slot, prefix, stacks) for slot in slots), "", shape)


def _stacked(slot: Slot, prefix: str, stacks: Sequence[_Stack]) -> Slot:
    """A layer's slot in a tensor that has axes more, of stacks; the innermost come first."""
    for number, each in reversed(list(enumerate(stacks))):
        axis = each.axis - sum(outer.axis < each.axis for outer in stacks[:number])
        slot = slot.stacked(axis, tuple(map(str, range(each.size))), each.capture)
    return replace(slot, path=join(prefix, slot.path))
