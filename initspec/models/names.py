"""Names: from what a framework calls its tensors to canonical paths.

First the layer's own slots apply, then the config's names for the framework, then its ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initspec.errors import InitspecValueError
from initspec.layout import Layout

from .config.globs import Glob
from .config.values import name_glob
from .model import Stored
from .slots import Part, Slot, Split, bind_slots

if TYPE_CHECKING:
    from .config import Stacked, Tensor

__all__ = ["Names", "Ties", "layer_slots", "untied", "with_kernels"]


def with_kernels(tensors: Iterable[Stored]) -> list[Stored]:
    """The same tensors; each part knows the kernel beside it in its layer.

    Asked before names are applied, and once more after: a name may take a bias elsewhere, and may
    be what makes a layer of plain arrays.
    """
    found = list(tensors)
    kernels = {part.path: part.geometry for each in found for part in each.all_parts}

    def known(part: Part) -> Part:
        if part.kernel is not None:
            return part
        part = replace(part, unnamed=part.unnamed or part.path)
        layer = part.path.rpartition("/")[0]
        beside = (f"{layer}/{name}".lstrip("/") for name in ("kernel", "pointwise/kernel"))
        return replace(part, kernel=next((kernels[p] for p in beside if p in kernels), None))

    return [_mapped(each, known) for each in found]


def _mapped(stored: Stored, change: Any) -> Stored:
    aliases = tuple((name, tuple(map(change, parts))) for name, parts in stored.aliases)
    return replace(stored, parts=tuple(map(change, stored.parts)), aliases=aliases)


class Names:
    """A config's names for one framework: patterns to canonical paths, first match wins.

    A pattern with a layout speaks of the framework's name of a stored tensor (dots count as
    slashes). One without is compared with the canonical path of each part (of a stack, with that
    of one of its layers), and with the framework's name where it is none.
    """

    def __init__(self, entries: Mapping[str, Tensor]) -> None:
        self._entries = [(key, name_glob(key), each) for key, each in entries.items()]
        self._used: set[str] = set()
        self.latest = ""  # the pattern that matched last, for messages

    @property
    def unused(self) -> list[str]:
        """The patterns that nothing matched so far."""
        return [key for key, _, _ in self._entries if key not in self._used]

    def apply(self, stored: Stored) -> Stored:
        """The stored tensor, its parts and those of its aliases under their names.

        Raises:
            InitspecError: an entry's layout does not fit the tensor.
        """
        parts = self._parts(stored, stored.name, stored.parts)
        aliases = tuple((name, self._parts(stored, name, each)) for name, each in stored.aliases)
        named = parts and not stored.parts
        buffer = stored.buffer and not named
        return replace(stored, parts=parts, aliases=aliases, buffer=buffer)

    def _use(self, key: str) -> None:
        self._used.add(key)
        self.latest = key

    def _parts(self, stored: Stored, name: str, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """By the stored name, where an entry says what is stored; else part by part."""
        for key, glob, entry in self._entries:
            captures = glob.match(name.replace(".", "/"))
            if captures is None:
                continue
            if entry.layout is not None or not (_any(glob, parts) or _stacks(glob, entry, stored)):
                self._use(key)
                return _named(stored, parts, entry, captures, key)
        if not parts:
            return self._unstacked(stored)
        return tuple(self._renamed(part) for part in parts)

    def _unstacked(self, stored: Stored) -> tuple[Part, ...]:
        """The parts of a stack of layers, by the canonical path that one of them would have."""
        slots = []
        for slot in stored.slots:
            path = f"{stored.path}/{slot.path}".lstrip("/")
            for key, glob, entry in self._entries:
                captures = glob.match(path)
                if captures is not None and entry.stack is not None and entry.layout is None:
                    self._use(key)
                    stack = _stack(entry.stack, stored.shape)
                    slots.append(
                        _stacked(slot, stack, _partly(entry.path or path, captures), entry)
                    )
                    break
        return bind_slots(tuple(slots), "", stored.shape)

    def _renamed(self, part: Part) -> Part:
        for key, glob, entry in self._entries:
            captures = glob.match(part.path)
            if captures is not None:
                self._use(key)
                return _moved(part, entry, captures, key)
        return part


def _any(glob: Glob, parts: tuple[Part, ...]) -> bool:
    """Whether the pattern speaks of canonical paths, which go before stored names."""
    return any(glob.match(part.path) is not None for part in parts)


def _stacks(glob: Glob, entry: Tensor, stored: Stored) -> bool:
    """Whether the pattern speaks of the canonical path that one layer of a stack would have."""
    paths = (f"{stored.path}/{slot.path}".lstrip("/") for slot in stored.slots)
    return entry.stack is not None and any(glob.match(path) is not None for path in paths)


def _named(
    stored: Stored, parts: tuple[Part, ...], entry: Tensor, captures: dict[str, str], key: str
) -> tuple[Part, ...]:
    slots = _slots(entry, stored, captures)
    if slots:
        kernel = parts[0].kernel if parts else None
        made = bind_slots(slots, "", stored.shape)
        for part in made:
            part.layout.bind(part.shape)  # here it can be told whose layout does not fit
        return tuple(replace(part, kernel=kernel) for part in made)
    if not parts:
        expected = f"a layout, since {stored.layer or 'the tree'} does not tell one"
        raise InitspecValueError(key, entry.path, expected, "As in layout = 'OI'.")
    moved = tuple(_moved(part, entry, captures, key) for part in parts)
    if len({part.path for part in moved}) < len(moved):
        held = ", ".join(part.path for part in parts)
        expected = f"a path of its own for each part: {stored.name} holds {held}"
        raise InitspecValueError(key, entry.path, expected, "Write {part} where they differ.")
    return moved


def _moved(part: Part, entry: Tensor, captures: dict[str, str], key: str) -> Part:
    path = Glob.fill(entry.path or part.path, {**dict(part.labels), **captures}, key)
    return replace(part, path=path, role=entry.role or part.role, kind=entry.layer or part.kind)


def _slots(entry: Tensor, stored: Stored, captures: Mapping[str, str]) -> tuple[Slot, ...]:
    """The slots that an entry describes; none where it only renames.

    A stack without a layout takes the layer's own slots, one axis further.
    """
    rank = len(stored.shape)
    stack = None if entry.stack is None else _stack(entry.stack, stored.shape)
    if entry.layout is not None:
        return (_slot(entry, stack, captures, rank),)
    if stack is None or not stored.slots:
        return ()
    path = _partly(entry.path or "", captures)
    return tuple(_stacked(slot, stack, path, entry) for slot in stored.slots)


def layer_slots(name: str, attributes: Mapping[str, Sequence[Tensor]]) -> dict[str, Any]:
    """The slots that a config gives a class of layers, by attribute.

    Raises:
        InitspecError: a layout that cannot be read, or none.
    """
    found = {}
    for attribute, entries in attributes.items():
        where = f"layers.{name}.{attribute}"
        found[attribute] = tuple(_layer_slot(entry, where) for entry in entries)
    return found


def _layer_slot(entry: Tensor, where: str) -> Slot:
    if entry.layout is None:
        advice = "As in layout = 'OI'."
        raise InitspecValueError(where, entry.path, "a layout beside the path", advice)
    if entry.stack is not None and entry.stack.parts is None:
        raise InitspecValueError(f"{where}.stack", None, "parts: a class has no shape to count")
    rank = len(Layout.parse(entry.layout).axes) + (entry.stack is not None)
    stack = None if entry.stack is None else _stack(entry.stack, (0,) * rank)
    return _slot(entry, stack, {}, rank)


def _stack(stack: Stacked, shape: tuple[int, ...]) -> Split:
    axis = _axis(stack.axis, len(shape))
    parts = stack.parts or tuple(str(number) for number in range(shape[axis]))
    return Split(axis=axis, parts=parts, capture=stack.capture, stacked=True)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise InitspecValueError("axis", axis, f"an axis of a tensor of rank {rank}")
    return axis % rank


def _partly(template: str, captures: Mapping[str, str]) -> str:
    """A template with what is known filled in; the splits fill the rest."""
    rest = {name: f"{{{name}}}" for name in Glob.names(template) if name not in captures}
    return Glob.fill(template, {**captures, **rest})


def _slot(entry: Tensor, stack: Split | None, captures: Mapping[str, str], rank: int) -> Slot:
    splits: tuple[Split, ...] = () if stack is None else (stack,)
    if entry.split is not None:
        axis = _split_axis(entry, stack, rank)
        sizes = tuple(entry.split.sizes or ())
        splits += (Split(axis=axis, parts=tuple(entry.split.parts), sizes=sizes),)
    return Slot(
        path=_partly(entry.path or "", captures),
        role=entry.named_role or "kernel",
        kind=entry.layer or "other",
        layout=str(entry.layout),
        groups=entry.groups,
        stride=entry.stride or 1,
        transposed=entry.transposed,
        sizes=entry.sizes or None,
        splits=splits,
        flip=bool(entry.flip),
    )


def _split_axis(entry: Tensor, stack: Split | None, rank: int) -> int:
    """The stored axis to split: by number, or the one that plays the part ``out`` or ``in``."""
    assert entry.split is not None
    axis = entry.split.axis
    if isinstance(axis, int):
        return _axis(axis, rank)
    axes = Layout.parse(str(entry.layout), groups=entry.groups, sizes=entry.sizes or None).axes
    letters = "VO" if axis == "out" else "I"
    found = [i for i, each in enumerate(axes) if any(f.letter in letters for f in each)]
    if len(found) != 1:
        expected = f"the number of an axis: {len(found)} axes of {entry.layout!r} are {axis!r}"
        raise InitspecValueError("split.axis", axis, expected)
    return found[0] + (stack is not None and found[0] >= stack.axis)


def _stacked(slot: Slot, stack: Split, path: str, entry: Tensor) -> Slot:
    """A layer's slot under an entry's name, with the axis of the stack."""
    role, kind = entry.role or slot.role, entry.layer or slot.kind
    slot = slot.stacked(stack.axis, stack.parts, stack.capture)
    return replace(slot, path=path, role=role, kind=kind)


class Ties:
    """A config's ties: one logical tensor under several canonical paths."""

    def __init__(self, ties: Mapping[str, str]) -> None:
        self._ties = [(key, Glob.parse(key), target) for key, target in ties.items()]

    def target(self, path: str) -> str:
        """The path that a path is tied to; itself if none."""
        for key, glob, template in self._ties:
            captures = glob.match(path)
            if captures is not None:
                target = Glob.fill(template, captures, f"tie.{key}")
                if target != path:  # a pattern may hit its own target
                    return target
        return path

    def apply(self, tensors: Sequence[Stored]) -> list[Stored]:
        """All parts under the paths they are tied to, with the role that the target has there."""
        every = [part for each in tensors for part in each.all_parts]
        roles = {part.path: (part.role, part.kind) for part in every}
        rows: dict[str, set[int]] = {}  # a padding index of one is one of all
        for part in every:
            rows.setdefault(self.target(part.path), set()).update(part.zero_rows)

        def tied(part: Part) -> Part:
            path = self.target(part.path)
            part = replace(part, zero_rows=tuple(sorted(rows[path])))
            if path == part.path:
                return part
            role, kind = roles.get(path, (part.role, part.kind))
            return replace(part, path=path, role=role, kind=kind, tied_from=part.path)

        return [_mapped(each, tied) for each in tensors]


def untied(stored: Stored) -> list[tuple[str, str]]:
    """Pairs of paths that are one tensor in the model, and not in the config."""
    pairs = []
    for _, parts in stored.aliases:
        for mine, other in zip(stored.parts, parts, strict=False):
            if mine.path != other.path:
                first, second = sorted((mine, other), key=lambda part: part.role != "embedding")
                pairs.append((second.path, first.path))
    return pairs
