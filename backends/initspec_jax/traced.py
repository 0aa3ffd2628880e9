"""The stream inside JAX's transformations, for keys that may be traced.

Bit for bit the values of `initspec.stream`, in 32-bit integers alone: it works with and without
64-bit types, and under jit, vmap, scan, grad and sharding. Named blocks are one more, leading axis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from initspec import stream
from initspec.draw import Draw
from initspec.errors import InitspecTypeError
from initspec.layout import Geometry
from initspec.plan import FillPlan
from initspec.structured import ZEROS, Bilinear, Constant, Diagonal, Matrices, Orthogonal, Sparse

__all__ = ["Keys", "derive", "make", "philox", "tracing"]

Keys = tuple[tuple[Any, Any], ...]
Four = tuple[Array, Array, Array, Array]

_u = np.uint32  # of constants: JAX would read a bare int as a signed one
_M0, _M1 = _u(0xD2511F53), _u(0xCD9E8D57)
_W0, _W1 = _u(0x9E3779B9), _u(0xBB67AE85)
_LANES = 4
_bits = lax.bitcast_convert_type


# Earlier releases of JAX have it in jax.core.
_home = jax.extend.core if hasattr(jax.extend.core, "get_opaque_trace_state") else jax.core
_state = partial(_home.get_opaque_trace_state, convention="initspec")

with jax.core.eval_context():
    _OUTSIDE = _state()


def tracing() -> bool:
    """Whether a transformation of JAX is at work."""
    return bool(_state() != _OUTSIDE)


# --- words ------------------------------------------------------------------------------------


def philox(counter: tuple[Any, ...], key: tuple[Any, Any]) -> Four:
    """Philox4x32-10 of words that broadcast against each other."""
    k0, k1 = jnp.asarray(key[0], jnp.uint32), jnp.asarray(key[1], jnp.uint32)
    shape = jnp.broadcast_shapes(*(jnp.shape(word) for word in (*counter, k0, k1)))
    # The loop's state must keep one type, so the counter starts as varied as the key is: batched
    # by vmap, or different on each device of a shard_map.
    zero = (k0 ^ k0) + (k1 ^ k1)
    words = [jnp.broadcast_to(jnp.asarray(word, jnp.uint32), shape) + zero for word in counter]
    # Rolled: XLA compiles it quickly, and does not run all rounds again for each of the four.
    state = lax.fori_loop(0, 10, _round, (*words, k0 + zero, k1 + zero), unroll=2)
    return state[0], state[1], state[2], state[3]


def _round(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
    c0, c1, c2, c3, k0, k1 = state
    left, right = _mulhi(c2, _M1) ^ c1 ^ k0, _mulhi(c0, _M0) ^ c3 ^ k1
    return left, c2 * _M1, right, c0 * _M0, k0 + _W0, k1 + _W1


def _halves(word: Any) -> tuple[Any, Any]:
    return word >> _u(16), word & _u(0xFFFF)


def _mulhi(a: Array, b: Array | np.uint32) -> Array:
    """The high word of a product, from four products of 16 bits.

    ``lax.mulhi`` does not compile for several CPU devices in jax 0.10.2.
    """
    a1, a0 = _halves(a)
    b1, b0 = _halves(b)
    middle = a1 * b0 + (a0 * b0 >> _u(16))
    high: Array = a1 * b1 + (middle >> _u(16)) + (a0 * b1 + (middle & _u(0xFFFF)) >> _u(16))
    return high


@partial(jax.jit, static_argnums=0)
def derive(names: tuple[str, ...], low: Array, high: Array) -> tuple[tuple[Array, Array], ...]:
    """The key of each name under a traced seed."""
    counter = np.array([stream.name_words(name) for name in names], np.uint32).T
    k0, k1, _, _ = philox(tuple(counter), (low, high))
    return tuple((k0[i], k1[i]) for i in range(len(names)))


# --- integers, as in `initspec.stream` ---------------------------------------------------------


def _integers(draw: Draw, u: Array) -> Array:
    if draw.kind == "uniform":
        z = _bits(u | _u(1), jnp.int32)
    elif draw.kind == "normal":
        z = _normal(u)
    else:
        z = _normal((_u(draw.lo) + _mulhi(u, _u(draw.width))) ^ _u(1 << 31))
    return _affine(z, draw.offset, draw.multiplier) if draw.multiplier else z


def _normal(u: Array) -> Array:
    s = _bits(u, jnp.int32)
    sign = s >> 31
    w = ~_bits((s ^ sign) << 1, jnp.uint32)
    zeros = lax.clz(w)
    n = w << zeros
    row = ((_u(31) - zeros) << _u(7)) | ((n >> _u(24)) & _u(127))
    t = n << _u(8)
    c0, c12 = (
        jnp.asarray(column).at[row].get(mode="promise_in_bounds") for column in stream.TABLE.T
    )
    c1, c2 = (c12 >> _u(12)) << _u(1), c12 & _u(0xFFF)
    z = _bits(c0 - _mulhi(t, c1 - _mulhi(t, c2)), jnp.int32)
    return (z ^ sign) - sign


def _affine(z: Array, offset: int, multiplier: int) -> Array:
    sign = z >> 31
    product = _bits(_mulhi(_bits((z ^ sign) - sign, jnp.uint32), _u(multiplier)), jnp.int32)
    return np.int32(offset) + ((product ^ sign) - sign)


# --- values -----------------------------------------------------------------------------------


def _value_bits(draw: Draw, dtype: str, u: Array) -> Array:
    """The values of the words, as bit patterns."""
    wide = "float64" if dtype == "float64" else "float32"
    values = _integers(draw, u).astype(wide) * np.dtype(wide).type(draw.factor)
    return _bits(values.astype(jnp.dtype(dtype)), _storage(dtype))


def _storage(dtype: str) -> np.dtype[Any]:
    return np.dtype(f"uint{8 * jnp.dtype(dtype).itemsize}")


def _lanes(counts: tuple[int, int, int], keys: Keys, purpose: int, across: bool) -> Array:
    """Four words per block of ``j``: axes lane, named block, s, o, j // 4 (across: j // 4, o)."""
    stack, output, inputs = counts
    quads = -(-inputs // _LANES)
    tail = (quads, output) if across else (output, quads)
    shape = (len(keys), stack, *tail)
    index = partial(lax.broadcasted_iota, jnp.uint32, shape)
    quad, o = (index(2), index(3)) if across else (index(3), index(2))
    columns = [jnp.stack(column).reshape(-1, 1, 1, 1) for column in zip(*keys, strict=True)]
    return jnp.stack(philox((quad, o, index(1), _u(purpose)), (columns[0], columns[1])))


def _join(lanes: Array, inputs: int, across: bool) -> Array:
    """Axes named block, s, o, j (across: j, o)."""
    axis = 2 if across else 3
    side_by_side = jnp.moveaxis(lanes, 0, axis + 1)
    before, after = side_by_side.shape[:axis], side_by_side.shape[axis + 2 :]
    joined = side_by_side.reshape(*before, -1, *after)
    return lax.slice_in_dim(joined, 0, inputs, axis=axis)


def _draw_bits(
    draw: Draw, counts: tuple[int, int, int], dtype: str, keys: Keys, across: bool = False
) -> Array:
    """Bit patterns of a draw: axes named block, s, o, j (across: j, o).

    The loop over the lanes is a wall. Were the product in reach of what a user does next, XLA
    would merge it with other constants, fuse it with an addition, or leave out the rounding to a
    narrow type; but it moves nothing out of a loop of four turns, nor floats out of integers.
    """
    lanes = lax.map(partial(_value_bits, draw, dtype), _lanes(counts, keys, draw.purpose, across))
    return _join(lanes, counts[2], across)


# --- contents ---------------------------------------------------------------------------------


def make(plan: FillPlan, dtype: str, keys: Keys) -> Array:
    """The tensor of a plan; the plan's own keys are not looked at."""
    writer = _WRITERS.get(type(plan.content))
    if writer is None:
        raise InitspecTypeError("plan", plan.content, "a content that JAX can trace")
    array: Array = _compiled(plan.with_keys(()), dtype, keys)
    return array


@partial(jax.jit, static_argnums=(0, 1))
def _compiled(plan: FillPlan, dtype: str, keys: Keys) -> Array:
    return _WRITERS[type(plan.content)](plan.geometry, plan.content, dtype, keys)


def _stored(geometry: Geometry, values: Array, across: bool = False) -> Array:
    """Canonical values (across: j before o) in the order of storage."""
    inner = len(geometry.output) + len(geometry.input)
    lead = geometry.order[: len(geometry.order) - inner]
    order = lead + geometry.input + geometry.output if across else geometry.order
    factors = values.reshape([geometry.factors[i].extent for i in order])
    return factors.transpose(np.argsort(order)).reshape(geometry.shape)


def _draw(geometry: Geometry, draw: Draw, dtype: str, keys: Keys) -> Array:
    # Words are made in an order close to that of storage, so that little has to be moved.
    across = bool(geometry.factors) and geometry.factors[-1].coordinate == "output"
    bits = _draw_bits(draw, geometry.counts, dtype, keys, across)
    return _bits(_stored(geometry, bits, across), jnp.dtype(dtype))


def _constant(geometry: Geometry, content: Constant, dtype: str, keys: Keys) -> Array:
    return jnp.full(geometry.shape, _cast(content.value, dtype))


def _diagonal(geometry: Geometry, content: Diagonal, dtype: str, keys: Keys) -> Array:
    matrices, parts = Matrices.of(geometry), _parts(geometry)
    step = np.arange(min(matrices.rows, matrices.inputs))
    shape = (parts * matrices.count, matrices.rows, matrices.inputs, matrices.taps)
    centre = matrices.tap(lambda k: k // 2)
    gain = _cast(content.gain, dtype)
    return _stored(geometry, jnp.zeros(shape, gain.dtype).at[:, step, step, centre].set(gain))


def _bilinear(geometry: Geometry, content: Bilinear, dtype: str, keys: Keys) -> Array:
    kernel = _cast(content.kernel(geometry.spatial), dtype)
    return _stored(geometry, jnp.broadcast_to(kernel, geometry.canonical_shape))


def _sparse(geometry: Geometry, content: Sparse, dtype: str, keys: Keys) -> Array:
    matrices, counts = Matrices.of(geometry), geometry.counts
    lines = (_parts(geometry) * matrices.count, matrices.rows, matrices.columns)
    axis = 2 if content.per == "output" else 1
    words = _join(_lanes(counts, keys, ZEROS, False), counts[2], False).reshape(lines)
    rank = jnp.argsort(jnp.argsort(words, axis=axis, stable=True), axis=axis)
    bits = _draw_bits(content.draw, counts, dtype, keys).reshape(lines)
    kept = jnp.where(rank < content.zeros_of(lines[axis]), _storage(dtype).type(0), bits)
    return _bits(_stored(geometry, kept), jnp.dtype(dtype))


def _orthogonal(geometry: Geometry, content: Orthogonal, dtype: str, keys: Keys) -> Array:
    """As on the host, but factored by XLA: within 3e-6 in float32 (measured up to 1024 x 1024)."""
    wide = "float64" if jax.dtypes.canonicalize_dtype(np.float64) == np.float64 else "float32"
    logical = content.draw_plan(geometry, keys[0])
    assert logical.draw is not None
    matrices, parts = Matrices.of(geometry), _parts(geometry)
    bits = _draw_bits(logical.draw, logical.geometry.counts, wide, keys)
    normals = _bits(bits, jnp.dtype(wide)).reshape(parts * matrices.count, matrices.rows, -1)
    q = (content.gain * _haar(normals)).astype(jnp.dtype(dtype))
    if content.delta:
        centre = matrices.tap(lambda k: (k - 1) // 2)
        q = jnp.zeros((*q.shape, matrices.taps), q.dtype).at[..., centre].set(q)
    return _stored(geometry, q)


def _haar(normals: Array) -> Array:
    wide = normals.shape[1] < normals.shape[2]
    q, r = jnp.linalg.qr(normals.swapaxes(1, 2) if wide else normals)
    diagonal = jnp.diagonal(r, axis1=1, axis2=2)
    q = q * jnp.where(diagonal < 0, -1, 1).astype(q.dtype)[:, None, :]
    return q.swapaxes(1, 2) if wide else q


def _parts(geometry: Geometry) -> int:
    """The number of named blocks."""
    return 1 if geometry.block is None else geometry.factors[geometry.block].extent


def _cast(values: Any, dtype: str) -> np.ndarray[Any, Any]:
    """Host values, rounded as the reference does."""
    return stream.cast(np.asarray(values, np.float64), dtype).view(jnp.dtype(dtype))


_WRITERS: dict[type, Callable[[Geometry, Any, str, Keys], Array]] = {
    Draw: _draw,
    Constant: _constant,
    Diagonal: _diagonal,
    Bilinear: _bilinear,
    Sparse: _sparse,
    Orthogonal: _orthogonal,
}
