"""What an adapter tells of a model, and what it is asked to write."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from initspec import stream
from initspec.fill_plan import FillPlan

from .slots import Part, Slot

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Knob", "Layers", "Model", "Piece", "Stored", "Write", "write_pieces"]

Layers = Mapping[str, Mapping[str, tuple[Slot, ...]]]
"""Slots by class name (``package.module.Class``) and attribute, from the config and plugins."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of a model, as its framework stores it.

    Args:
        name: the framework's own name, such as ``blocks.1.attn.in_proj_weight``.
        shape, dtype: of the tensor; the dtype by its NumPy name (``bfloat16``, ``int64``).
        parts: the logical tensors in it; empty where its layer class is not known.
        slots: those of its layer class, where the tensor has one axis more than they say: a
            stack of scanned or vectorised layers, whose axis the config has to name.
        path: where it lies in the model, in canonical form and without a leaf name of its own
            class's: what a part's path is made from where only the name is known.
        layer: ``package.module.Class`` of the layer that owns it.
        trainable: whether an optimiser would move it.
        computed: the layer computes it from other tensors, through which it is written: what is
            read may differ by rounding.
        loaded: somebody marked it as read from a checkpoint: it is never written.
        buffer: no parameter: kept, unless its layer class is known and says what it holds.
        persistent: whether a checkpoint of the framework holds it.
        aliases: other names of the same tensor, each with the parts it has under that name.
        problem: why it cannot be initialised at all (lazy, unbuilt, no memory), and what to do.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: tuple[Part, ...] = ()
    slots: tuple[Slot, ...] = ()
    path: str = ""
    layer: str = ""
    trainable: bool = True
    buffer: bool = False
    persistent: bool = True
    computed: bool = False
    loaded: bool = False
    aliases: tuple[tuple[str, tuple[Part, ...]], ...] = ()
    problem: str = ""

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The parts under every name that the tensor has."""
        return (*self.parts, *(part for _, parts in self.aliases for part in parts))


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A number that is no weight but changes the function: an epsilon, a momentum."""

    path: str
    name: str
    value: float


@dataclass(frozen=True)
class Piece:
    """What is to be put into one part: a plan under its keys, or a constant of any dtype."""

    part: Part
    plan: FillPlan | None
    value: float | None = None


@dataclass(frozen=True)
class Write:
    """The pieces of one stored tensor."""

    stored: Stored
    pieces: tuple[Piece, ...]

    @property
    def keeps(self) -> bool:
        """Whether some of the old values stay, which then have to be there."""
        written = sum(math.prod(piece.part.shape) for piece in self.pieces)
        return written < math.prod(self.stored.shape)


class Model(ABC):
    """A model of one framework, seen as stored tensors that hold logical ones.

    Attributes:
        framework: the key of its names in a config: torch, keras, flax, nnx, haiku, equinox, ...
        backend: the name of the backend whose dtype rules hold.
    """

    framework: ClassVar[str]
    backend: ClassVar[str]

    @abstractmethod
    def tensors(self) -> Sequence[Stored]:
        """All parameters and buffers, in the model's own order; each storage once."""

    @abstractmethod
    def knobs(self) -> Sequence[Knob]:
        """``norm_epsilon`` and ``batch_norm_momentum`` (the share of the new) of every norm."""

    @abstractmethod
    def read(self, name: str) -> NDArray[Any]:
        """The values of a stored tensor on the host; bfloat16 as uint16 bit patterns."""

    @abstractmethod
    def write(self, writes: Sequence[Write]) -> Any:
        """Write all pieces, after checking that each can be written; the model, or a new tree.

        Raises:
            InitspecError: something cannot be written; nothing has been, then.
        """


def write_pieces(
    array: NDArray[Any], write: Write, fill: Callable[[FillPlan, NDArray[Any], str], None]
) -> None:
    """Fill the parts of a stored tensor's host memory (bfloat16 as uint16), in place.

    ``fill(plan, out, dtype)`` is the backend's: `initspec_kernel.fill`, or the reference.
    """
    for piece in write.pieces:
        region = piece.part.view(array)
        if piece.plan is None:
            region[...] = piece.value
        else:
            fill(piece.plan, region, write.stored.dtype)
            if piece.part.negate:
                _negate(region, write.stored.dtype)
            if piece.part.shift:
                less = stream.as_float(region) - piece.part.shift
                region[...] = stream.cast(less, write.stored.dtype)
        piece.part.clear(region)


def _negate(region: NDArray[Any], dtype: str) -> None:
    if dtype == "bfloat16":
        region ^= 0x8000  # the sign bit
    else:
        region *= -1
