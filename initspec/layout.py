"""Layout algebra: which axis of a stored tensor plays which part in the logical one.

A pattern such as ``"OIHW"`` or ``"(G O) I H W"`` is parsed to axes of factors; bound to a shape
it becomes a `Geometry`, which knows the canonical order of the factors (stack, output, input then
spatial) and from it the coordinates ``s, o, j`` of the stream.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, TypedDict, cast

import numpy as np

from .errors import InitspecTypeError, InitspecValueError, did_you_mean
from .shape import LARGEST, MOST_AXES, check_count, check_shape

__all__ = [
    "Factor",
    "Geometry",
    "Layout",
    "LayoutOptions",
    "check_known",
    "check_options",
    "default_pattern",
    "resolve",
]

SPATIAL = "TDHWLXYZ"
STACK = "S#_"  # "#" stands for a number in the pattern: unnamed blocks
OUTPUT = "VGO"
INPUT = "I"
_RANK = {letter: rank for rank, letter in enumerate(STACK + OUTPUT + INPUT + SPATIAL)}
_TOKEN = re.compile(r"[A-Z_]|[0-9]+|[()]|\s+|.", re.DOTALL)
_LEGEND = (
    "letters I (in), O (out), T D H W L X Y Z (spatial), S (stack), G (group), V (vocabulary), "
    "_ (no part), numbers (blocks), parentheses round a composite axis"
)
_CONVENTIONS = {
    "OI": ("", "I", "OI", "OIW", "OIHW", "OIDHW"),
    "IO": ("", "I", "IO", "WIO", "HWIO", "DHWIO"),
}
_DIGITS = "0123456789"
LIMITS = {"stack": 2**32, "output": 2**32, "input": 2**34}  # what the counter words can hold


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor of an axis: its letter and, once known, its size."""

    letter: str
    size: int | None = None

    @property
    def extent(self) -> int:
        """The size, of a factor that is bound to a shape."""
        assert self.size is not None, "bound factors have sizes"
        return self.size

    @property
    def coordinate(self) -> str:
        """The coordinate that the factor counts in: ``stack``, ``output`` or ``input``."""
        if self.letter in STACK:
            return "stack"
        return "output" if self.letter in OUTPUT else "input"


Axis = tuple[Factor, ...]


@dataclass(frozen=True)
class Layout:
    """The parts that the axes of a stored tensor play.

    Build one with `Layout.parse`. ``stride`` is the product of the strides over all spatial axes;
    ``blocks`` names the parts of a fused tensor; ``transposed`` says transposed convolution.
    """

    pattern: str
    axes: tuple[Axis, ...]
    blocks: tuple[str, ...] = ()
    stride: int = 1
    transposed: bool = False

    @classmethod
    def parse(
        cls,
        pattern: str | Layout,
        *,
        groups: int | None = None,
        blocks: Iterable[str] | None = None,
        stride: int | tuple[int, ...] = 1,
        transposed: bool | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Layout:
        """Read a pattern: one letter per axis, composite axes in parentheses, outermost first.

        ``groups`` sizes the group factor (and adds it where the pattern has none); ``sizes``
        gives sizes of other factors by letter; ``blocks`` names the parts of a fused axis;
        ``stride`` is one number for all spatial axes or one per axis; ``transposed`` overrides
        what the letters say (``IOHW`` and ``HWOI`` are transposed convolutions).

        Raises `InitspecValueError` for a pattern that cannot be read.

        >>> Layout.parse("OIHW", groups=8).pattern
        '(G O) I H W'
        """
        if isinstance(pattern, Layout):
            extras = (groups, blocks, transposed, sizes)
            if any(extra is not None for extra in extras) or stride != 1:
                raise InitspecTypeError(
                    "layout", pattern, "a pattern, when groups, blocks, stride, ... come with it"
                )
            return pattern
        if not isinstance(pattern, str):
            advice = "For example 'OIHW' or '(G O) I H W'."
            raise InitspecTypeError("layout", pattern, "a pattern string", advice)
        if not (transposed is None or isinstance(transposed, bool)):
            raise InitspecTypeError("transposed", transposed, "True, False or None")
        return _parse(
            pattern,
            None if groups is None else check_count(groups, "groups"),
            None if blocks is None else _check_names(blocks),
            _check_stride(stride),
            transposed,
            _check_sizes({} if sizes is None else sizes),
        )

    def bind(self, shape: Iterable[Any]) -> Geometry:
        """The geometry of a tensor of this layout: every factor with its size.

        >>> Layout.parse("(4 O) I").bind((32, 5)).counts
        (4, 8, 5)
        """
        return _bind(self, check_shape(shape))

    def __str__(self) -> str:
        return self.pattern


def _check_names(blocks: Any) -> tuple[str, ...]:
    names = tuple(blocks) if isinstance(blocks, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise InitspecTypeError("blocks", blocks, "strings, one name per block")
    if not all(names) or len(set(names)) < len(names):
        raise InitspecValueError("blocks", names, "different, non-empty names, one per block")
    return names


def _check_stride(stride: Any) -> int | tuple[int, ...]:
    if isinstance(stride, Iterable) and not isinstance(stride, str):
        return tuple(check_count(n, f"stride[{i}]") for i, n in enumerate(stride))
    return check_count(stride, "stride")


def _check_sizes(sizes: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(sizes, Mapping) or not all(isinstance(letter, str) for letter in sizes):
        raise InitspecTypeError("sizes", sizes, "a dictionary such as {'G': 8}")
    return tuple(
        (letter, check_count(sizes[letter], f"sizes[{letter!r}]", minimum=0))
        for letter in sorted(sizes)
    )


# The cache takes 2.0 for 2 and True for 1, so everything is checked before it is asked.
@lru_cache(maxsize=4096)
def _parse(
    pattern: str,
    groups: int | None,
    blocks: tuple[str, ...] | None,
    stride: int | tuple[int, ...],
    transposed: bool | None,
    sizes: tuple[tuple[str, int], ...],
) -> Layout:
    axes = _read(pattern)
    if transposed is None:
        transposed = _looks_transposed(axes)
    axes = _with_groups(pattern, axes, groups, transposed)
    axes = _with_sizes(pattern, axes, dict(sizes))
    if blocks is not None:
        blocks, axes = _with_blocks(pattern, axes, blocks)
    steps = _stride(pattern, axes, stride)
    return Layout(_write(axes), axes, blocks or (), steps, transposed)


def _fault(pattern: str, position: int, expected: str) -> InitspecValueError:
    caret = f"Look here:\n  {pattern}\n  {' ' * position}^"
    return InitspecValueError("layout", pattern, expected, caret)


def _read(pattern: str) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    group: list[Factor] | None = None
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if text == "(" and group is None:
            group = []
        elif text == ")" and group:
            axes.append(tuple(group))
            group = None
        elif text[0] in _DIGITS or (text in _RANK and text != "#"):
            factor = _number(pattern, token) if text[0] in _DIGITS else Factor(text)
            group.append(factor) if group is not None else axes.append((factor,))
        elif not text.isspace():
            raise _fault(pattern, token.start(), _LEGEND)
    if group is not None:
        raise _fault(pattern, len(pattern), "a closing parenthesis")
    if sum(map(len, axes)) > MOST_AXES:
        raise InitspecValueError("layout", pattern, f"at most {MOST_AXES} factors")
    return tuple(axes)


def _number(pattern: str, token: re.Match[str]) -> Factor:
    digits = token.group().lstrip("0")
    if not digits or len(digits) > len(str(LARGEST)):  # Python refuses to read very long numbers
        raise _fault(pattern, token.start(), f"a number of blocks from 1 to {LARGEST}")
    return Factor("#", int(digits))


def _write(axes: tuple[Axis, ...]) -> str:
    words = [[str(f.size) if f.letter == "#" else f.letter for f in axis] for axis in axes]
    if all(len(axis) == 1 for axis in axes) and not any(w[0].isdecimal() for w in words):
        return "".join(word[0] for word in words)
    return " ".join(w[0] if len(w) == 1 else f"({' '.join(w)})" for w in words)


def _letters(axes: tuple[Axis, ...]) -> str:
    return "".join(factor.letter for axis in axes for factor in axis)


def _looks_transposed(axes: tuple[Axis, ...]) -> bool:
    """Kernels are O I spatial (torch) or spatial I O (the others); the reverse is transposed."""
    order = "".join("k" if f in SPATIAL else f for f in _letters(axes) if f in SPATIAL + "IO")
    return bool(re.fullmatch(r"I+O+k+|k+O+I+", order))


def _with_groups(
    pattern: str, axes: tuple[Axis, ...], groups: int | None, transposed: bool
) -> tuple[Axis, ...]:
    if groups is None:
        return axes
    letters = _letters(axes)
    if letters.count("G") == 1:
        return _map(axes, "G", lambda factor: (replace(factor, size=groups),))
    # In a transposed convolution the groups share the input axis: torch stores (in, out/g, H, W).
    home = "I" if transposed else "O"
    if groups == 1:
        return axes
    if "G" in letters or letters.count(home) != 1:
        advice = "Write the group factor yourself, as in '(G O) I H W'."
        raise InitspecValueError("layout", pattern, f"one {home} axis to hold the groups", advice)
    return _map(axes, home, lambda factor: (Factor("G", groups), factor))


def _map(axes: tuple[Axis, ...], letter: str, change: Any) -> tuple[Axis, ...]:
    return tuple(
        tuple(new for old in axis for new in (change(old) if old.letter == letter else (old,)))
        for axis in axes
    )


def _with_sizes(pattern: str, axes: tuple[Axis, ...], sizes: dict[str, int]) -> tuple[Axis, ...]:
    for letter, size in sizes.items():
        found = [f for axis in axes for f in axis if f.letter == letter != "#"]
        if len(found) != 1:
            expected = f"a letter that stands once in {pattern!r}"
            raise InitspecValueError(f"sizes[{letter!r}]", size, expected)
        if found[0].size not in (None, size):
            raise InitspecValueError(f"sizes[{letter!r}]", size, f"{found[0].size}, like groups")
        axes = _map(axes, letter, lambda factor, n=size: (replace(factor, size=n),))
    return axes


def _with_blocks(
    pattern: str, axes: tuple[Axis, ...], blocks: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[Axis, ...]]:
    """Named blocks live in the one number of the pattern, else in its one stack axis."""
    letters = _letters(axes)
    home = "#" if "#" in letters else "S"
    if letters.count(home) != 1:
        advice = "Write the fused axis as in '(4 O) I', or a stack axis 'S'."
        raise InitspecValueError("blocks", blocks, f"one block axis in {pattern!r}", advice)
    known = next(f.size for axis in axes for f in axis if f.letter == home)
    if known not in (None, len(blocks)):
        raise InitspecValueError("blocks", blocks, f"{known} names, one per block of {pattern!r}")
    return blocks, _map(axes, home, lambda factor: (replace(factor, size=len(blocks)),))


def _stride(pattern: str, axes: tuple[Axis, ...], stride: int | tuple[int, ...]) -> int:
    spatial = sum(letter in SPATIAL for letter in _letters(axes))
    if isinstance(stride, tuple):
        if len(stride) != spatial:
            expected = f"{spatial} numbers, one per spatial axis of {pattern!r}"
            raise InitspecValueError("stride", stride, expected)
        return _check_product(stride, math.prod(stride))
    return _check_product(stride, int(stride**spatial))


def _check_product(stride: Any, product: int) -> int:
    if product > LARGEST:
        raise InitspecValueError("stride", stride, f"a product of at most {LARGEST}")
    return product


@lru_cache(maxsize=4096)
def _bind(layout: Layout, shape: tuple[int, ...]) -> Geometry:
    if len(layout.axes) != len(shape):
        counts = f"the layout has {len(layout.axes)}, the shape {len(shape)}"
        expected = f"as many axes as the shape {shape}: {counts}"
        raise InitspecValueError("layout", layout.pattern, expected)
    sized = (_solve(layout.pattern, axis, n) for axis, n in zip(layout.axes, shape, strict=True))
    geometry = Geometry(layout, shape, tuple(factor for axis in sized for factor in axis))
    for count, (name, limit) in zip(geometry.counts, LIMITS.items(), strict=True):
        if count > limit:
            raise InitspecValueError("shape", shape, f"at most {limit} {name} coordinates")
    return geometry


def _solve(pattern: str, axis: Axis, length: int) -> Axis:
    """Fill in the one size of a composite axis that is not given."""
    known = math.prod(f.size for f in axis if f.size is not None)
    unknown = [f.letter for f in axis if f.size is None]
    name = " ".join(str(f.size) if f.letter == "#" else f.letter for f in axis)
    if len(unknown) > 1:
        advice = "Pass groups=, or sizes={...}."
        raise InitspecValueError("layout", pattern, f"sizes for all but one of ({name})", advice)
    fits = length % known == 0 if unknown and known else length == known
    if not fits:
        given = ", ".join(f"{f.letter}={f.size}" for f in axis if f.size is not None)
        rule = f"an axis ({name}) whose length {'divides by' if unknown else 'equals'} {known}"
        raise InitspecValueError("shape", length, f"{rule} ({given}) in layout {pattern!r}")
    rest = length // max(known, 1)
    return tuple(f if f.size is not None else replace(f, size=rest) for f in axis)


@dataclass(frozen=True)
class Geometry:
    """A layout bound to a shape: the factors of all axes, outermost first, with their sizes."""

    layout: Layout
    shape: tuple[int, ...]
    factors: tuple[Factor, ...]

    @cached_property
    def block(self) -> int | None:
        """Which factor holds the named blocks, or None."""
        if not self.layout.blocks:
            return None
        letters = [factor.letter for factor in self.factors]
        return letters.index("#" if "#" in letters else "S")

    def _coordinate(self, name: str) -> tuple[int, ...]:
        chosen = (i for i, f in enumerate(self.factors) if f.coordinate == name and i != self.block)
        return tuple(sorted(chosen, key=lambda i: (_RANK[self.factors[i].letter], i)))

    @cached_property
    def stack(self) -> tuple[int, ...]:
        """The factors that make up ``s``, outermost first."""
        return self._coordinate("stack")

    @cached_property
    def output(self) -> tuple[int, ...]:
        """The factors that make up ``o``, outermost first."""
        return self._coordinate("output")

    @cached_property
    def input(self) -> tuple[int, ...]:
        """The factors that make up ``j``, outermost first: input, then spatial."""
        return self._coordinate("input")

    @cached_property
    def counts(self) -> tuple[int, int, int]:
        """How many values each of the coordinates s, o and j takes."""
        return self._count(self.stack), self._count(self.output), self._count(self.input)

    def _count(self, chosen: tuple[int, ...]) -> int:
        return math.prod(self.factors[i].extent for i in chosen)

    def size(self, letters: str) -> int:
        """The product of the sizes of all factors with one of these letters."""
        return math.prod(f.extent for f in self.factors if f.letter in letters)

    def has(self, letter: str) -> bool:
        """Whether a factor has this letter."""
        return any(factor.letter == letter for factor in self.factors)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial sizes in canonical order."""
        return tuple(self.factors[i].extent for i in self.input if self.factors[i].letter != "I")

    @cached_property
    def factored_shape(self) -> tuple[int, ...]:
        """The shape with every composite axis split into its factors."""
        return tuple(factor.extent for factor in self.factors)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The factors in canonical order: the block factor if any, then s, o and j."""
        first = () if self.block is None else (self.block,)
        return first + self.stack + self.output + self.input

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """The factored shape in canonical order."""
        return tuple(self.factors[i].extent for i in self.order)

    @property
    def inverse_order(self) -> tuple[int, ...]:
        """The permutation from canonical order back to the order of storage."""
        return tuple(sorted(range(len(self.factors)), key=self.order.__getitem__))

    def canonical(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A view of a stored array (any strides) with its factors in canonical order."""
        view = np.asarray(array)  # a matrix could have no other axes
        if len(self.factors) > len(self.shape):
            view = view.reshape(self.factored_shape)  # which splits axes, and so never copies
        return view.transpose(self.order)

    def layout_extents(self) -> tuple[tuple[int, ...], ...]:
        """The factor sizes, axis by axis."""
        sizes = iter(self.factored_shape)
        return tuple(tuple(next(sizes) for _ in axis) for axis in self.layout.axes)


def default_pattern(rank: int, convention: str, *, fans: bool) -> str:
    """The convention's own layout for a rank: ``OI`` as in torch, ``IO`` as everywhere else.

    >>> default_pattern(4, "IO", fans=True)
    'HWIO'
    """
    if not isinstance(convention, str) or convention not in _CONVENTIONS:
        raise InitspecValueError("convention", convention, f"one of {sorted(_CONVENTIONS)}")
    patterns = _CONVENTIONS[convention]
    if rank < len(patterns) and (rank > 1 or not fans):
        return patterns[rank]
    other = ", or give the fan: init.replace(fan=256)" if fans else ""
    advice = f"Pass layout=, for example 'O' or 'SIO'{other}."
    reason = "fans need at least 2 axes" if rank < 2 else f"no convention has {rank} axes"
    expected = f"a layout for a tensor of rank {rank}: {reason}"
    raise InitspecValueError("layout", None, expected, advice)


class LayoutOptions(TypedDict, total=False):
    """The keywords that say how a tensor is stored; `Layout.parse` explains each."""

    layout: str | Layout | None
    groups: int | None
    blocks: Iterable[str] | None
    stride: int | tuple[int, ...]
    transposed: bool | None
    sizes: Mapping[str, int] | None


def check_options(options: Mapping[str, Any]) -> LayoutOptions:
    """Layout keywords in a form that can be kept, checked as far as one can without a shape."""
    check_known(options)
    given = {name: _kept(value) for name, value in options.items() if value is not None}
    if "groups" in given:
        check_count(given["groups"], "groups")
    if "layout" in given:
        Layout.parse(given["layout"], **{k: v for k, v in given.items() if k != "layout"})
    return cast(LayoutOptions, given)


def _kept(value: Any) -> Any:
    """Iterators can be read once, and options are needed often."""
    plain = isinstance(value, (str, Mapping)) or not isinstance(value, Iterable)
    return value if plain else tuple(value)


def check_known(options: Mapping[str, Any]) -> None:
    """Refuse keywords that are none of a layout's."""
    known = LayoutOptions.__annotations__
    for name, value in options.items():
        if name not in known:
            expected = f"one of the keywords {list(known)}"
            raise InitspecTypeError(name, value, expected, did_you_mean(name, known))


def resolve(options: LayoutOptions, rank: int, convention: str, *, fans: bool) -> Layout:
    """The layout that the options describe; the convention's own for the rank if they name none."""
    check_known(options)
    given: dict[str, Any] = {**options}
    pattern = given.pop("layout", None)
    if pattern is None:
        pattern = default_pattern(rank, convention, fans=fans)
    return Layout.parse(pattern, **given)
