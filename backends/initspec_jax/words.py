"""The words of the stream, in the form that XLA makes a fast loop of.

Every element works out its own block of Philox and keeps one of the four words: a chain of
elementwise operations, which becomes one loop without memory of its own, and of which every device
makes its part. To share a block among four elements would take a loop with four results: XLA has
none, and would run all rounds for each result, or keep the words in memory on their way.

A word is the low half of a 64-bit integer, since processors multiply 32 bits to 64 at once. What
the high half holds does not matter until it is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from initspec import stream
from initspec.fill_plan import FillPlan
from initspec.layout import Geometry

__all__ = [
    "Grid",
    "Keys",
    "Seal",
    "derive",
    "high",
    "narrow",
    "philox",
    "seal",
    "widen",
    "with_64_bits",
    "words",
]

Keys = tuple[tuple[Any, Any], ...]
Four = tuple[Any, Any, Any, Any]
P = ParamSpec("P")
R = TypeVar("R")

_u64 = np.uint64  # of constants: JAX would read a bare int as a signed one
_M0, _M1 = _u64(0xD2511F53), _u64(0xCD9E8D57)  # Philox4x32, see `initspec.stream`
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_SHORT = 32  # turns of an inner loop, see `Grid.stored`
_MASK, _HALF = _u64(stream.MASK), _u64(32)


def with_64_bits(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function use 64-bit integers inside, whatever the user's setting."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return call


def widen(word: Any) -> Array:
    """To 64 bits, of which the high ones are zero."""
    return lax.convert_element_type(word, np.uint64)


def narrow(word: Any) -> Array:
    """The low 32 bits."""
    return lax.convert_element_type(word, np.uint32)


def high(product: Any) -> Any:
    """The high word of a product."""
    return product >> _HALF


# --- keys -------------------------------------------------------------------------------------


def _rounds(counter: Four, keys: Iterable[tuple[Any, Any]]) -> Four:
    c0, c1, c2, c3 = counter
    for k0, k1 in keys:
        p0, p1 = (c0 & _MASK) * _M0, (c2 & _MASK) * _M1
        c0, c1, c2, c3 = high(p1) ^ c1 ^ k0, p1, high(p0) ^ c3 ^ k1, p0
    return c0, c1, c2, c3


@with_64_bits
def philox(counter: tuple[Any, ...], key: tuple[Any, Any]) -> Four:
    """Philox4x32-10 of words that broadcast against each other."""
    c0, c1, c2, c3, k0, k1 = (widen(jnp.asarray(word, np.uint32)) for word in (*counter, *key))
    keys = [(k0 + _u64(n * _W0), k1 + _u64(n * _W1)) for n in range(_ROUNDS)]
    w0, w1, w2, w3 = map(narrow, _rounds((c0, c1, c2, c3), keys))
    return w0, w1, w2, w3


@partial(jax.jit, static_argnums=0)
def derive(names: tuple[str, ...], low: Array, high: Array) -> Keys:
    """The key of each name under a traced seed."""
    counter = np.array([stream.name_words(name) for name in names], np.uint32).T
    k0, k1, _, _ = philox(tuple(counter), (low, high))
    return tuple((k0[i], k1[i]) for i in range(len(names)))


class Seal(NamedTuple):
    """What a draw takes from outside, sealed: no optimiser can tell what it is.

    So the loop over the elements is the same whatever is around it, and XLA cannot work out parts
    of it beforehand.
    """

    keys: Array  # the first words of all rounds' keys, then the second ones; one column per block
    zero: Array  # takes part where a result must not be seen through

    def rounds(self, shape: tuple[int, ...]) -> Iterator[tuple[Array, Array]]:
        """The key words of each round, in a shape in which blocks broadcast."""
        rows = [row.reshape(shape) for row in lax.split(self.keys, [1] * 2 * _ROUNDS)]
        return zip(rows[:_ROUNDS], rows[_ROUNDS:], strict=True)


@with_64_bits
def seal(keys: Keys) -> Seal:
    """Seal the keys, and a zero."""
    k0, k1 = (widen(jnp.stack(column)).reshape(1, -1) for column in zip(*keys, strict=True))
    step = np.arange(_ROUNDS, dtype=np.uint64)[:, None]
    rounds = jnp.concatenate([k0 + step * _u64(_W0), k1 + step * _u64(_W1)])
    # A loop of two turns is opaque to all of XLA, and cheap: there are a few numbers only.
    ends, given = (np.int32(0), np.int32(2)), (rounds, _u64(0))
    return Seal(*lax.fori_loop(*ends, lambda _, kept: (~kept[0], ~kept[1]), given))


# --- coordinates ------------------------------------------------------------------------------


class Axis(NamedTuple):
    """A run of positions: which coordinate it counts in, and by how much."""

    role: str  # s, o, j, or b for the named blocks
    size: int
    step: int = 1


@dataclass(frozen=True)
class Grid:
    """The axes over which words are made, and the s, o, j where they start."""

    axes: tuple[Axis, ...]
    origin: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def stored(cls, plan: FillPlan) -> Grid:
        """In the order of storage.

        An axis that would make a short inner loop is one with the axis before it if they can be
        counted through; longer ones stay apart, so that devices may share them.
        """
        axes: list[Axis] = []
        for outer in reversed(_factors(plan.geometry)):
            role, size, step = axes[0] if axes else Axis("", 1)
            if size < _SHORT and (role, size * step) == (outer.role, outer.step):
                axes[0] = Axis(role, outer.size * size, step)
            elif outer.size != 1:
                axes.insert(0, outer)
        return cls(tuple(axes), plan.origin)

    @classmethod
    def canonical(cls, blocks: int, counts: tuple[int, int, int]) -> Grid:
        """Named block, s, o, j."""
        sizes = zip("bsoj", (blocks, *counts), strict=True)
        return cls(tuple(Axis(role, size) for role, size in sizes))

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of positions along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def block_shape(self) -> tuple[int, ...]:
        """The shape of what differs between named blocks only."""
        if not any(axis.role == "b" for axis in self.axes):
            return ()
        return tuple(axis.size if axis.role == "b" else 1 for axis in self.axes)

    def index(self, roles: str) -> Any:
        """The sum of the coordinates of these roles: a number for every element."""
        total: Any = _u64(sum(self.origin["soj".index(role)] for role in roles if role != "b"))
        for number, (role, _, step) in enumerate(self.axes):
            if role in roles:
                total += lax.broadcasted_iota(np.uint64, self.shape, number) * _u64(step)
        return total


def _factors(geometry: Geometry) -> list[Axis]:
    axes: dict[int | None, Axis] = {}
    roles = {"s": geometry.stack, "o": geometry.output, "j": geometry.input}
    for role, chosen in roles.items():
        step = 1
        for number in reversed(chosen):
            size = geometry.factors[number].extent
            axes[number] = Axis(role, size, step)
            step *= size
    if geometry.block is not None:
        axes[geometry.block] = Axis("b", geometry.factors[geometry.block].extent)
    return [axes[number] for number in range(len(geometry.factors))]


# --- words ------------------------------------------------------------------------------------


@with_64_bits
def words(grid: Grid, sealed: Seal, purpose: int) -> Array:
    """The word of every element, in 32 bits."""
    s, o, j = (grid.index(role) for role in "soj")
    # In the half that does not matter the counter tells all elements apart. Otherwise XLA would
    # see that much depends on one axis alone, work that out apart, and lose sight of constants.
    quad = (j >> _u64(2)) ^ (grid.index("bso") << _HALF)
    four = _rounds((quad, o, s, _u64(purpose)), sealed.rounds(grid.block_shape))
    return narrow(jnp.broadcast_to(_chosen(four, j), grid.shape))


def _chosen(four: Four, j: Any) -> Any:
    """Word number ``j & 3``, by masks: of selections XLA makes worse loops."""
    zero, one = _u64(0), _u64(1)
    odd, upper = zero - (j & one), zero - (j >> one & one)
    w0, w1, w2, w3 = four
    first, second = w0 ^ (w0 ^ w1) & odd, w2 ^ (w2 ^ w3) & odd
    return first ^ (first ^ second) & upper
