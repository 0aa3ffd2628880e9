"""Which tensors of two models are the same: by structure, then by order and names.

Both models are trees of paths. Subtrees are compared from the largest down: two are alike if they
hold equal tensors, by role and logical sizes. A subtree that has no partner is taken apart. So
layers stay together, however deep either model nests them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from typing import Any

__all__ = ["Leaf", "Matching", "match"]

_NUMBERED = re.compile(r"(.*?)_?([0-9]+)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ALIKE = 0.6  # below it, two words have some letters in common by accident
_PREFIX = 0.9  # an abbreviation: q for query
_MARGIN = 0.1  # by how much names must speak for one assignment and against another
_UNNUMBERED = -1  # keras counts dense, dense_1, dense_2


@dataclass(frozen=True)
class Leaf:
    """A logical tensor: its path's components, what it is, and its place in the model's order."""

    path: tuple[str, ...]
    role: str
    kind: str
    counts: tuple[int, ...]
    index: int


@dataclass(frozen=True, eq=False)
class _Node:
    """All leaves below a path; ``depth`` is the length of that path."""

    leaves: tuple[Leaf, ...]
    depth: int

    @property
    def size(self) -> int:
        return len(self.leaves)

    @property
    def path(self) -> tuple[str, ...]:
        return self.leaves[0].path[: self.depth]

    @cached_property
    def content(self) -> tuple[Any, ...]:
        """What must be equal, kinds of layers included."""
        return tuple(sorted(Counter((x.role, x.counts, x.kind) for x in self.leaves).items()))

    @cached_property
    def sizes(self) -> tuple[Any, ...]:
        """The same without the kinds: one's attention may be made of another's dense layers."""
        return tuple(sorted(Counter((x.role, x.counts) for x in self.leaves).items()))

    def children(self) -> list[_Node]:
        groups: dict[tuple[str, ...], list[Leaf]] = defaultdict(list)
        for leaf in self.leaves:
            groups[leaf.path[: self.depth + 1]].append(leaf)
        return [_node(leaves) for leaves in groups.values()]


def _node(leaves: Sequence[Leaf]) -> _Node:
    """The node of some leaves, at the longest path that all of them have in common."""
    first, last = min(leaf.path for leaf in leaves), max(leaf.path for leaf in leaves)
    depth = 0
    while depth < min(len(first), len(last)) and first[depth] == last[depth]:
        depth += 1
    return _Node(tuple(leaves), depth)


@dataclass
class Matching:
    """Pairs of leaves, left and right; what has no partner; pairs of paths that order decided."""

    pairs: list[tuple[Leaf, Leaf]] = field(default_factory=list)
    left_only: list[Leaf] = field(default_factory=list)
    right_only: list[Leaf] = field(default_factory=list)
    ambiguous: list[tuple[tuple[str, str], ...]] = field(default_factory=list)

    def forests(self, lefts: list[_Node], rights: list[_Node], base: tuple[int, int]) -> None:
        """Match the nodes of two lists; names count from the depths in ``base``."""
        while lefts or rights:
            size = max(node.size for node in (*lefts, *rights))
            mine = sorted(_take(lefts, size), key=_first)
            theirs = sorted(_take(rights, size), key=_first)
            for attribute in ("content", "sizes"):
                self._alike(mine, theirs, attribute, base)
            if size == 1:
                self.left_only += (node.leaves[0] for node in mine)
                self.right_only += (node.leaves[0] for node in theirs)
            else:
                lefts += (child for node in mine for child in node.children())
                rights += (child for node in theirs for child in node.children())

    def _alike(
        self, mine: list[_Node], theirs: list[_Node], attribute: str, base: tuple[int, int]
    ) -> None:
        """Pair nodes of equal content, and take them off the lists."""
        for content in dict.fromkeys(getattr(node, attribute) for node in mine):
            lefts, rights = (
                [node for node in nodes if getattr(node, attribute) == content]
                for nodes in (mine, theirs)
            )
            for left, right in self._assigned(lefts, rights, base):
                mine.remove(left)
                theirs.remove(right)
                self._pair(left, right)

    def _assigned(
        self, lefts: list[_Node], rights: list[_Node], base: tuple[int, int]
    ) -> list[tuple[_Node, _Node]]:
        names = _names(lefts, base[0]), _names(rights, base[1])
        chosen, doubts = _assign(*names)
        for group in doubts:
            pairs = [(lefts[names[0][i].position], rights[names[1][j].position]) for i, j in group]
            self.ambiguous.append(tuple(("/".join(a.path), "/".join(b.path)) for a, b in pairs))
        return [(lefts[names[0][i].position], rights[names[1][j].position]) for i, j in chosen]

    def _pair(self, left: _Node, right: _Node) -> None:
        if left.size == 1:
            self.pairs.append((left.leaves[0], right.leaves[0]))
        else:
            self.forests(left.children(), right.children(), (left.depth, right.depth))


def match(left: Sequence[Leaf], right: Sequence[Leaf]) -> Matching:
    """Match the tensors of two models.

    >>> left = [Leaf(("up", "kernel"), "kernel", "dense", (1, 8, 4), 0)]
    >>> right = [Leaf(("Dense_0", "kernel"), "kernel", "dense", (1, 8, 4), 0)]
    >>> [(a.path[0], b.path[0]) for a, b in match(left, right).pairs]
    [('up', 'Dense_0')]
    """
    found = Matching()
    lefts, rights = ([_node(leaves)] if leaves else [] for leaves in (left, right))
    found.forests(lefts, rights, (0, 0))
    return found


def _take(nodes: list[_Node], size: int) -> list[_Node]:
    """The nodes of a size, taken off the list."""
    taken = [node for node in nodes if node.size == size]
    nodes[:] = [node for node in nodes if node.size != size]
    return taken


def _first(node: _Node) -> int:
    return node.leaves[0].index


# --- names --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Name:
    """A node's name: words, numbers, and its rank among how many that differ in numbers alone."""

    position: int
    stems: tuple[str, ...]
    numbers: tuple[int, ...]
    rank: tuple[int, int] | None = None


def _names(nodes: Sequence[_Node], base: int) -> list[_Name]:
    """The names in order; the members of a numbered series change places to be in theirs."""
    names = [_name(node.path[base:], position) for position, node in enumerate(nodes)]
    series: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        series[name.stems].append(place)
    for places in series.values():
        members = sorted((names[place] for place in places), key=lambda name: name.numbers)
        for rank, (place, name) in enumerate(zip(places, members, strict=True)):
            known = (rank, len(places)) if len(places) > 1 else None
            names[place] = replace(name, rank=known)
    return names


def _name(path: Iterable[str], position: int) -> _Name:
    found = [_NUMBERED.fullmatch(component) for component in path]
    stems = tuple(f[1] if f else component for f, component in zip(found, path, strict=True))
    return _Name(position, stems, tuple(int(f[2]) if f else _UNNUMBERED for f in found))


def _similarity(left: _Name, right: _Name) -> float:
    """From 0 to 2: words from 0 to 1, and 1 for the same place in series of one length.

    Equal names are worth 2, too, but not those of series: 0, 2, 4 may be 0, 1, 2.
    """
    same = left.rank == right.rank
    if left.rank is None and right.rank is None:
        same = (left.stems, left.numbers) == (right.stems, right.numbers)
    return same + _words_alike(left.stems, right.stems)


@lru_cache(maxsize=65536)
def _words_alike(left: tuple[str, ...], right: tuple[str, ...]) -> float:
    """How much of the words is alike, each word used once."""
    mine, theirs = _words(left), _words(right)
    scores = sorted(
        ((_word_alike(a, b), i, j) for i, a in enumerate(mine) for j, b in enumerate(theirs)),
        key=lambda score: -score[0],
    )
    total = 0.0
    used: set[tuple[int, int]] = set()
    for score, i, j in scores:
        if not {(0, i), (1, j)} & used:
            used |= {(0, i), (1, j)}
            total += score
    return 2 * total / (len(mine) + len(theirs)) if total else 0.0


def _words(stems: tuple[str, ...]) -> list[str]:
    return [word.lower() for stem in stems for word in _WORD.findall(stem)]


@lru_cache(maxsize=65536)
def _word_alike(left: str, right: str) -> float:
    if left == right:
        return 1.0
    if left.startswith(right) or right.startswith(left):
        return _PREFIX
    ratio = SequenceMatcher(None, left, right, autojunk=False).ratio()
    return ratio if ratio >= _ALIKE else 0.0


# --- assignments --------------------------------------------------------------------------------

_Chosen = list[tuple[int, int]]


def _assign(lefts: list[_Name], rights: list[_Name]) -> tuple[_Chosen, list[_Chosen]]:
    """Pairs of places by order, unless names speak against it; and the groups left in doubt."""
    scores = [[_similarity(a, b) for b in rights] for a in lefts]

    def total(chosen: _Chosen) -> float:
        return sum(scores[i][j] for i, j in chosen)

    by_name = _by_name(scores)
    if len(lefts) != len(rights):
        return by_name, [by_name] if by_name else []
    by_order = [(i, i) for i in range(len(lefts))]
    if total(by_name) <= total(by_order) + _MARGIN:
        by_name = by_order
    return by_name, _doubts(by_name, scores)


def _by_name(scores: list[list[float]]) -> _Chosen:
    """The most similar first; of equal ones the first in order."""
    ranked = sorted(
        ((i, j) for i, row in enumerate(scores) for j in range(len(row))),
        key=lambda pair: (-scores[pair[0]][pair[1]], abs(pair[0] - pair[1])),
    )
    rows: set[int] = set()
    columns: set[int] = set()
    chosen = []
    for i, j in ranked:
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            chosen.append((i, j))
    return sorted(chosen)


def _doubts(chosen: _Chosen, scores: list[list[float]]) -> list[_Chosen]:
    """Groups in which two may change places, and the names are no less alike."""
    groups: dict[int, _Chosen] = {}
    for place, (i, j) in enumerate(chosen):
        group = [(i, j)]
        for a, b in chosen[:place]:
            gain = scores[i][j] + scores[a][b] - scores[i][b] - scores[a][j]
            if gain <= _MARGIN and groups[a] is not group:
                group += groups[a]
                groups.update({left: group for left, _ in groups[a]})
        groups.update({left: group for left, _ in group})
    unique = {id(group): sorted(group) for group in groups.values() if len(group) > 1}
    return list(unique.values())
