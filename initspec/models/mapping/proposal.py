"""Name maps: what one model's tensors are called, in the paths of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initspec.errors import InitspecValueError
from initspec.fill_plan import DTYPES
from initspec.models.adapters import open_model
from initspec.models.api import resolve_config
from initspec.models.config import Config, Tensor
from initspec.models.config.writing import dumps
from initspec.models.model import Model, Stored
from initspec.models.names import Names, layer_slots
from initspec.models.slots import Part

from .matching import Leaf, Matching, match
from .patterns import Place, Renames, Subject, places
from .stacks import Slice, subject_of, unstacked

if TYPE_CHECKING:
    from initspec.models.model import Layers

__all__ = ["NameMap", "propose"]

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NameMap:
    """Names for the right model's tensors, under which it has the paths of the left one.

    Attributes:
        framework: of the right model.
        names: the proposed entries of ``[names.<framework>]``.
        pairs: each tensor of the right and the canonical path of the left that it gets.
        ambiguous: groups of pairs that only the order in the models tells apart.
        left_only, right_only: what has no counterpart; tensors without a known layout by their
            framework's names.
        unknown: those of them that have no known layout.
    """

    framework: str
    names: Mapping[str, Tensor]
    pairs: Pairs
    ambiguous: tuple[Pairs, ...] = ()
    left_only: tuple[str, ...] = ()
    right_only: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every tensor of either model has its counterpart."""
        return not (self.left_only or self.right_only)

    def to_config(self) -> Config:
        """A config of these names alone, to be extended or merged."""
        return Config(names={self.framework: self.names} if self.names else {})

    def dumps(self) -> str:
        """The names as TOML."""
        return dumps(self.to_config())

    def to_dict(self) -> dict[str, Any]:
        """The map as plain values."""
        return {
            "framework": self.framework,
            "names": self.to_config().to_dict().get("names", {}).get(self.framework, {}),
            "pairs": dict(self.pairs),
            "ambiguous": [dict(group) for group in self.ambiguous],
            "left_only": list(self.left_only),
            "right_only": list(self.right_only),
            "complete": self.complete,
        }

    def __str__(self) -> str:
        """What is to be looked at: doubts, then what has no counterpart, then a summary."""
        lines = []
        for group in self.ambiguous:
            lines.append("only the order in the models tells apart:")
            lines += [f"  {right} = {left}" for right, left in group]
        for side, paths in (("left", self.left_only), ("right", self.right_only)):
            lines += [f"only on the {side}: {path}{self._why(path)}" for path in paths]
        matched = f"{len(self.pairs)} tensors matched"
        lines.append(
            f"{matched}, {len(self.left_only)} only left, {len(self.right_only)} only right"
        )
        if self.complete and not self.names:
            lines.append("the names are the same: there is nothing to map")
        if not self.pairs:
            lines.append("no two tensors have the same role and sizes: are these the same network?")
        return "\n".join(lines)

    def _why(self, path: str) -> str:
        return " (say how it is stored, in [names]: its layout)" if path in self.unknown else ""


def propose(left: Any, right: Any, config: Any = None) -> NameMap:
    """Propose names for one model's tensors, so that one config serves it and another.

    Tensors are the same if their roles and logical sizes are; layers are matched as wholes, by
    their place in the tree, then by order, unless similar names say otherwise.

    Args:
        left: the model whose canonical paths count; whatever `plan` takes.
        right: the model to be mapped.
        config: names that are known already, of either; as `plan` takes it.

    Returns:
        A `NameMap`: ``complete``, ``ambiguous``, ``dumps()``; ``print`` says what to look at.

    Raises:
        InitspecError: a model or the config cannot be read, or a tensor has no memory yet.
    """
    known = resolve_config(Config() if config is None else config)
    layers: Layers = {name: layer_slots(name, each) for name, each in known.layers.items()}
    models = open_model(left, layers), open_model(right, layers)
    return _Proposal(*(_Side(model, known) for model in models)).result()


# --- the two sides ------------------------------------------------------------------------------

Leaves = dict[str, Leaf]


class _Side:
    """A model's tensors under the names that a config has already."""

    def __init__(self, model: Model, config: Config) -> None:
        self.framework = model.framework
        self.known = config.names.get(model.framework, {})
        self.plain = list(model.tensors())
        for stored in self.plain:
            if stored.problem:
                raise InitspecValueError(stored.name, stored.layer, stored.problem)
        names = Names(self.known)
        self.tensors = [names.apply(stored) for stored in self.plain]
        self.unknown = [each for each in self.tensors if not (each.parts or each.buffer)]
        self.leaves = _leaves(
            part for each in self.tensors for part in each.parts if _is_drawn(each, part)
        )
        self.aliases = _leaves(
            part for each in self.tensors for _, parts in each.aliases for part in parts
        )

        old = {place: part for each in self.plain for place, part in places(each).items()}
        new = {place: part for each in self.tensors for place, part in places(each).items()}
        self.free = [pair for pair in old.items() if new.get(pair[0]) == pair[1]]
        self.fixed = {part.path for place, part in new.items() if old.get(place) != part}


def _is_drawn(stored: Stored, part: Part) -> bool:
    """Whether every framework has it: no constant of a layer, no counter."""
    return part.value is None and stored.dtype in DTYPES


def _leaves(parts: Iterable[Part]) -> Leaves:
    found: Leaves = {}
    for part in parts:
        found.setdefault(part.path, _leaf(part, len(found)))
    return found


def _leaf(part: Part, index: int) -> Leaf:
    path = tuple(part.path.split("/"))
    return Leaf(path, part.role, part.kind, tuple(part.geometry.counts), index)


# --- the proposal -------------------------------------------------------------------------------


class _Proposal:
    """Matches two sides, and words the result."""

    def __init__(self, left: _Side, right: _Side) -> None:
        self.left, self.right = left, right
        slices = unstacked(right.unknown, left.leaves.values(), len(right.leaves))
        self.slices = {_path(each.leaf): each for each in slices}
        self.targets: dict[str, str] = {}  # of the right's paths
        self.left_only: list[str] = []
        self.right_only: list[str] = []
        self.ambiguous: list[Pairs] = []
        self._match()

    def result(self) -> NameMap:
        subjects = [*self._stacks(), *self._parts()]
        names, failed = _lines(self.right, subjects)
        for path, target in [pair for pair in self.targets.items() if pair[1] in failed]:
            del self.targets[path]
            self.right_only.append(self._name(path))
            self.left_only.append(target)
        seen = {name for each in subjects for name, _ in each.goals} | set(self.right_only)
        unknown = [each.name for each in self.right.unknown if each.name not in seen]
        mine = [each.name for each in self.left.unknown]
        return NameMap(
            framework=self.right.framework,
            names=names,
            pairs=tuple((self._name(path), target) for path, target in self.targets.items()),
            ambiguous=tuple(self.ambiguous),
            left_only=(*self.left_only, *mine),
            right_only=(*self.right_only, *unknown),
            unknown=(*mine, *unknown),
        )

    def _match(self) -> None:
        mine = dict(self.left.leaves)
        theirs = {**self.right.leaves, **{path: each.leaf for path, each in self.slices.items()}}
        for path in [path for path in theirs if path in self.right.fixed]:
            leaf = theirs.pop(path)
            if path in mine and _same(mine[path], leaf):
                del mine[path]
                self.targets[path] = path
            else:
                self.right_only.append(path)
        found = self._matched(tuple(mine.values()), tuple(theirs.values()))
        tied = self._matched(
            (*found.left_only, *_others(self.left)), (*found.right_only, *_others(self.right))
        )
        self.left_only += (_path(leaf) for leaf in tied.left_only if _path(leaf) in mine)
        only = [_path(leaf) for leaf in tied.right_only if _path(leaf) in theirs]
        self.right_only += (self._name(path) for path in only if path not in self.slices)
        order = {path: place for place, path in enumerate((*theirs, *self.right.aliases))}
        self.targets = dict(sorted(self.targets.items(), key=lambda pair: order.get(pair[0], -1)))

    def _matched(self, mine: tuple[Leaf, ...], theirs: tuple[Leaf, ...]) -> Matching:
        found = match(mine, theirs)
        self.targets |= {_path(right): _path(left) for left, right in found.pairs}
        self.ambiguous += (tuple((b, a) for a, b in group) for group in found.ambiguous)
        return found

    def _name(self, path: str) -> str:
        return self.slices[path].name if path in self.slices else path

    def _stacks(self) -> Iterator[Subject]:
        """What the stacks become; those that no line describes are taken out again."""
        groups: dict[tuple[str, str], list[Slice]] = {}
        for each in self.slices.values():
            groups.setdefault((each.place[0], each.text), []).append(each)
        for (name, _), slices in groups.items():
            paths = [_path(each.leaf) for each in slices]
            complete = all(path in self.targets for path in paths)
            found = subject_of(slices, [self.targets[p] for p in paths]) if complete else None
            if found is not None:
                yield found
                continue
            self.right_only.append(name)
            self.left_only += (self.targets.pop(path) for path in paths if path in self.targets)

    def _parts(self) -> Iterator[Subject]:
        """What all other tensors become, constants of layers beside their layer."""
        layers = _layers(self.targets)
        taken = set(self.targets.values())
        for place, part in self.right.free:
            target = self.targets.get(part.path)
            if target is None and part.path not in self.right_only:
                carried = _carried(part.path, layers)
                target = None if carried in taken else carried
            if target is not None:
                yield Subject(part.path, target, {place: (target, part.role)})


def _path(leaf: Leaf) -> str:
    return "/".join(leaf.path)


def _same(left: Leaf, right: Leaf) -> bool:
    return (left.role, left.counts) == (right.role, right.counts)


def _others(side: _Side) -> Iterator[Leaf]:
    """The paths of tied tensors that are not the first of theirs."""
    return (leaf for path, leaf in side.aliases.items() if path not in side.leaves)


def _layers(targets: Mapping[str, str]) -> dict[str, str]:
    """What the paths above the tensors become, where the path below stays."""
    found: dict[str, str] = {}
    for path, target in targets.items():
        old, new = path.split("/"), target.split("/")
        while len(old) > 1 and len(new) > 1 and old.pop() == new.pop():
            found.setdefault("/".join(old), "/".join(new))
    return found


def _carried(path: str, layers: Mapping[str, str]) -> str | None:
    """A path below a layer that has another path now."""
    head, _, tail = path.rpartition("/")
    while head:
        if head in layers:
            return f"{layers[head]}/{tail}"
        head, _, name = head.rpartition("/")
        tail = f"{name}/{tail}"
    return None


def _lines(side: _Side, subjects: Sequence[Subject]) -> tuple[dict[str, Tensor], set[str]]:
    """The entries, and the targets that no entry can give (their names are no text of a glob)."""
    wanted = {place: goal for each in subjects for place, goal in each.goals.items()}
    renames = Renames(side.plain, side.known, wanted)
    names = renames.lines(subjects)
    if _collide(renames.paths(names), side):  # what has no partner must stay where it is
        now = renames.paths({})
        renames = Renames(side.plain, side.known, now | wanted)
        names = renames.lines(subjects)
    now = renames.paths(names)
    return names, {goal[0] for place, goal in wanted.items() if now.get(place) != goal}


def _collide(paths: Mapping[Place, tuple[str, str]], side: _Side) -> bool:
    """Whether two tensors have one path."""
    main = {each.name for each in side.plain}
    owners: dict[str, str] = {}
    mine = ((name, path) for (name, _), (path, _) in paths.items() if name in main)
    return any(owners.setdefault(path, name) != name for name, path in mine)
