"""Slots and parts: which logical tensors a stored tensor holds, and where they lie in it.

A logical tensor has a canonical path, a role and a layout; its values depend on seed, path and
coordinates alone. A `Slot` says how a layer class stores logical tensors: the region, the split of
a fused or stacked axis, the layout, a flip, a sign. Bound to a shape it yields one `Part` for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from initspec.errors import InitspecValueError, did_you_mean
from initspec.layout import SPATIAL, Geometry, Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KINDS", "ROLES", "Part", "Slot", "Split", "bind_slots", "join", "spatial"]

ROLES = (
    "kernel",
    "recurrent",
    "bias",
    "embedding",
    "position",
    "scale",
    "offset",
    "statistic",
    "slope",
    "other",
)
KINDS = (
    "dense",
    "conv",
    "conv_transpose",
    "depthwise",
    "pointwise",
    "attention",
    "lstm",
    "gru",
    "rnn",
    "embedding",
    "norm",
    "other",
)
Region = tuple[int | slice, ...]


def spatial(rank: int) -> str:
    """The letters of a kernel's spatial axes: ``W``, ``HW``, ``DHW``; of other ranks none."""
    return "DHW"[3 - rank :] if 0 <= rank <= 3 else ""


def join(*pieces: str) -> str:
    """A path of the pieces that are not empty.

    >>> join("blocks/0", "", "kernel")
    'blocks/0/kernel'
    """
    return "/".join(filter(None, pieces))


@dataclass(frozen=True, kw_only=True)
class Split:
    """One axis of a stored tensor that holds several logical tensors.

    Args:
        axis: of the stored tensor.
        parts: the name of each, in the order of storage; ``{capture}`` in the slot's path.
        sizes: of the parts along the axis; equal ones if empty.
        capture: what the path calls it.
        stacked: the parts are whole slices, and the axis is none of theirs (a scanned layer).
    """

    axis: int
    parts: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    capture: str = "part"
    stacked: bool = False

    def regions(self, length: int) -> Iterator[tuple[str, int | slice]]:
        """The name of each part and where it lies on an axis of this length."""
        sizes = self.sizes or (1,) * len(self.parts) if self.stacked else self._sizes(length)
        if sum(sizes) != length or len(sizes) != len(self.parts):
            expected = f"an axis for the parts {self.parts} of sizes {sizes}"
            raise InitspecValueError("split", length, expected)
        start = 0
        for part, size in zip(self.parts, sizes, strict=True):
            yield part, start if self.stacked else slice(start, start + size)
            start += size

    def _sizes(self, length: int) -> tuple[int, ...]:
        return self.sizes or (length // len(self.parts),) * len(self.parts)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """How a layer stores logical tensors in one of its tensors, or in a region of it.

    Args:
        path: canonical, within the layer: ``kernel``, or ``{part}/kernel`` of a split tensor.
        role, kind: one of `ROLES` and of `KINDS`.
        layout: the pattern of the axes that a part has, see `initspec.Layout.parse`; likewise
            ``groups``, ``stride``, ``transposed`` and ``sizes``.
        region: one index or slice per leading axis of the stored tensor; the whole if empty.
        splits: fused and stacked axes.
        flip: the layer applies the kernel with its spatial axes reversed.
        negate: names of the parts that the layer uses with the opposite sign.
        shift: what the layer adds to the stored values before use; they are less by so much.
        value: what the layer starts it with, whatever the rules: the second of two biases that
            add, a counter, the second matrix of a LoRA.
        zero_rows: entries of an embedding's vocabulary that are zero (a padding index).
    """

    path: str
    role: str
    layout: str
    kind: str = "other"
    groups: int | None = None
    stride: int | tuple[int, ...] = 1
    transposed: bool | None = None
    sizes: Mapping[str, int] | None = None
    region: Region = ()
    splits: tuple[Split, ...] = ()
    flip: bool = False
    negate: tuple[str, ...] = ()
    shift: float = 0.0
    value: float | None = None
    zero_rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("role", ROLES), ("kind", KINDS)):
            given = getattr(self, name)
            if given not in known:
                expected = f"one of {', '.join(known)}"
                raise InitspecValueError(name, given, expected, did_you_mean(given, known))

    def stacked(self, axis: int, parts: tuple[str, ...], capture: str) -> Slot:
        """The same slot of a tensor with one axis more, along which layers are stacked."""
        region = self.region
        if region and axis <= len(region):
            region = (*region[:axis], slice(None), *region[axis:])
        own = (replace(each, axis=each.axis + (each.axis >= axis)) for each in self.splits)
        stack = Split(axis=axis, parts=parts, capture=capture, stacked=True)
        return replace(self, region=region, splits=(stack, *own))

    def parts(self, prefix: str, shape: tuple[int, ...]) -> Iterator[Part]:
        """The logical tensors that a stored tensor of this shape holds."""
        region = self.region + (slice(None),) * (len(shape) - len(self.region))
        layout = Layout.parse(
            self.layout,
            groups=self.groups,
            stride=self.stride,
            transposed=self.transposed,
            sizes=self.sizes,
        )
        for labels, place in _regions(self.splits, region, shape):
            names = dict(labels)
            yield Part(
                path=join(prefix, self.path.format(**names)),
                role=self.role,
                kind=self.kind,
                layout=layout,
                region=place,
                shape=_region_shape(place, shape),
                flip=self.flip,
                negate=bool(set(names.values()) & set(self.negate)),
                shift=self.shift,
                value=self.value,
                zero_rows=self.zero_rows,
                labels=labels,
            )


def _regions(
    splits: tuple[Split, ...], region: Region, shape: tuple[int, ...]
) -> Iterator[tuple[tuple[tuple[str, str], ...], Region]]:
    if not splits:
        yield (), region
        return
    first, *rest = splits
    whole = region[first.axis]
    if not isinstance(whole, slice):
        raise InitspecValueError("split", first.axis, "an axis that the region has")
    start, stop, _ = whole.indices(shape[first.axis])
    for name, where in first.regions(stop - start):
        moved = where + start if isinstance(where, int) else _shift(where, start)
        place = (*region[: first.axis], moved, *region[first.axis + 1 :])
        for labels, inner in _regions(tuple(rest), place, shape):
            yield ((first.capture, name), *labels), inner


def _shift(where: slice, start: int) -> slice:
    return slice(where.start + start, where.stop + start)


def _region_shape(region: Region, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        len(range(*where.indices(length)))
        for where, length in zip(region, shape, strict=True)
        if isinstance(where, slice)
    )


@dataclass(frozen=True, kw_only=True)
class Part:
    """A logical tensor and where it lies in the tensor that stores it.

    ``region`` indexes the stored tensor; ``shape`` and ``layout`` are those of the region;
    ``labels`` are the captures of the splits. A plan fills in ``kernel``, the geometry of the
    kernel in the same layer, whose fans a bias goes by, and ``unnamed`` and ``tied_from``, the
    paths before names and ties. The other fields are the `Slot`'s.
    """

    path: str
    role: str
    kind: str
    layout: Layout
    region: Region
    shape: tuple[int, ...]
    flip: bool = False
    negate: bool = False
    shift: float = 0.0
    value: float | None = None
    zero_rows: tuple[int, ...] = ()
    labels: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    kernel: Geometry | None = field(default=None, compare=False)
    unnamed: str = field(default="", compare=False)
    tied_from: str = field(default="", compare=False)

    @cached_property
    def geometry(self) -> Geometry:
        """The layout bound to the shape."""
        return self.layout.bind(self.shape)

    @property
    def logical_shape(self) -> tuple[int, ...]:
        """Sizes in canonical order: stack, out, in, spatial; the same in every framework."""
        return self.geometry.canonical_shape

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part's region of a stored array on the host, its spatial axes as they are applied."""
        region = array[(*self.region, ...)]  # of a scalar, too, a view
        if not self.flip:
            return region
        axes = self.layout.axes
        spatial = [i for i, axis in enumerate(axes) if all(f.letter in SPATIAL for f in axis)]
        step = [slice(None, None, -1) if i in spatial else slice(None) for i in range(region.ndim)]
        return region[tuple(step)]

    def clear(self, region: NDArray[Any]) -> None:
        """Set the rows that are zero in the part's own array, whichever of its axes counts them."""
        rows = self.geometry.canonical(region)
        for row in self.zero_rows:
            rows[row] = 0

    def moved(self, path: str, **changes: Any) -> Part:
        """The same part under another canonical path."""
        return replace(self, path=path, **changes)


def bind_slots(
    slots: Slot | tuple[Slot, ...], prefix: str, shape: tuple[int, ...]
) -> tuple[Part, ...]:
    """The parts of all slots of one stored tensor.

    >>> gates = Split(axis=0, parts=("i", "f", "g", "o"))
    >>> slot = Slot(path="{part}/kernel", role="kernel", layout="OI", kind="lstm", splits=(gates,))
    >>> [part.path for part in bind_slots(slot, "rnn", (16, 3))]
    ['rnn/i/kernel', 'rnn/f/kernel', 'rnn/g/kernel', 'rnn/o/kernel']
    """
    each = slots if isinstance(slots, tuple) else (slots,)
    return tuple(part for slot in each for part in slot.parts(prefix, shape))
