"""The stream inside JAX's transformations, for keys that may be traced.

Bit for bit the values of `initspec.stream`: with and without 64-bit types enabled, and under jit,
vmap, scan, grad and sharding. Named blocks are one more, leading axis.
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
from initspec.fill_plan import FillPlan
from initspec.layout import Geometry
from initspec.structured import ZEROS, Bilinear, Constant, Diagonal, Matrices, Orthogonal, Sparse

from .words import Grid, Keys, Seal, derive, high, narrow, philox, seal, widen, with_64_bits, words

__all__ = ["Keys", "derive", "make", "philox", "tracing"]

_u = np.uint32  # of constants: JAX would read a bare int as a signed one
_bits = lax.bitcast_convert_type
_LEAST_NORMAL = 2.0**-126  # of float32 and bfloat16


# Earlier releases of JAX have it in jax.core.
_home = jax.extend.core if hasattr(jax.extend.core, "get_opaque_trace_state") else jax.core
_state = partial(_home.get_opaque_trace_state, convention="initspec")

with jax.core.eval_context():
    _OUTSIDE = _state()


def tracing() -> bool:
    """Whether a transformation of JAX is at work."""
    return bool(_state() != _OUTSIDE)


# --- integers, as in `initspec.stream` ---------------------------------------------------------


def _integers(draw: Draw, u: Array, zero: Array) -> Array:
    if draw.kind == "uniform":
        z = _bits(u | _u(1), jnp.int32)
    elif draw.kind == "normal":
        z = _normal(u, zero)
    else:
        v = _u(draw.lo) + _mulhi(widen(u), np.uint64(draw.width))
        z = _normal(v ^ _u(1 << 31), zero)
    return _affine(z, draw.offset, draw.multiplier) if draw.multiplier else z


def _mulhi(a: Array, b: Array | np.uint64) -> Array:
    """The high word of a product; the factors are in 64 bits."""
    return narrow(high(a * b))


def _normal(u: Array, zero: Array) -> Array:
    s = _bits(u, jnp.int32)
    sign = s >> 31
    w = ~_bits((s ^ sign) << 1, jnp.uint32)
    zeros = lax.clz(w)
    n = w << zeros
    row = ((_u(31) - zeros) << _u(7)) | ((n >> _u(24)) & _u(127))
    t = widen(n << _u(8))
    # Between a table and two uses of it there has to be something, or XLA makes a tensor of it.
    c0, c12 = _looked_up(0, row), _looked_up(1, row) ^ zero
    c1, c2 = (c12 >> _u(12)) << _u(1), c12 & _u(0xFFF)
    z = _bits(c0 - _mulhi(t, widen(c1 - _mulhi(t, widen(c2)))), jnp.int32)
    return (z ^ sign) - sign


def _looked_up(column: int, row: Array) -> Array:
    entries: Array = jnp.asarray(stream.TABLE[:, column])
    return entries.at[row].get(mode="promise_in_bounds")


def _affine(z: Array, offset: int, multiplier: int) -> Array:
    sign = z >> 31
    magnitude = widen(_bits((z ^ sign) - sign, jnp.uint32))
    product = _bits(_mulhi(magnitude, np.uint64(multiplier)), jnp.int32)
    return np.int32(offset) + ((product ^ sign) - sign)


# --- values -----------------------------------------------------------------------------------


@with_64_bits
def _values(draw: Draw, grid: Grid, dtype: str, keys: Keys, *, apart: bool = False) -> Array:
    """The values of a draw; ``apart``: in a loop of their own, whatever follows.

    They are xored with a zero that XLA cannot know to be one. Else it would merge the factor with
    other constants, fuse the product with an addition, or leave out the rounding to a narrow type,
    where a user's next operation suggests so.
    """
    sealed = seal(keys)
    make = partial(_sealed_values, draw, grid, dtype, sealed)
    if not apart:
        return make()
    # Never taken; of the same type, which under shard_map says that devices differ in it.
    other = partial(jnp.full, grid.shape, sealed.keys[0, 0].astype(jnp.dtype(dtype)))
    values: Array = lax.cond(sealed.zero == 0, make, other)
    return values


def _sealed_values(draw: Draw, grid: Grid, dtype: str, sealed: Seal) -> Array:
    z = _integers(draw, words(grid, sealed, draw.purpose), narrow(sealed.zero))
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    values = (z.astype(wide) * wide.type(draw.factor)).astype(jnp.dtype(dtype))
    bits = _bits(values, _storage(dtype))
    return _bits(bits ^ sealed.zero.astype(bits.dtype), jnp.dtype(dtype))


def _storage(dtype: str) -> np.dtype[Any]:
    return np.dtype(f"uint{8 * jnp.dtype(dtype).itemsize}")


# --- contents ---------------------------------------------------------------------------------


def make(plan: FillPlan, dtype: str, keys: Keys) -> Array:
    """The tensor of a plan; the plan's own keys are not looked at."""
    if type(plan.content) not in (Draw, *_WRITERS):
        raise InitspecTypeError("plan", plan.content, "a content that JAX can trace")
    array: Array = _compiled(plan.with_keys(()), dtype, keys)
    return array


@partial(jax.jit, static_argnums=(0, 1))
def _compiled(plan: FillPlan, dtype: str, keys: Keys) -> Array:
    if isinstance(plan.content, Draw):
        return _drawn(plan, plan.content, dtype, keys)
    return _WRITERS[type(plan.content)](plan.geometry, plan.content, dtype, keys)


def _stored(geometry: Geometry, values: Array) -> Array:
    """Canonical values in the order of storage."""
    factors = values.reshape(geometry.canonical_shape)
    return factors.transpose(geometry.inverse_order).reshape(geometry.shape)


def _drawn(plan: FillPlan, draw: Draw, dtype: str, keys: Keys) -> Array:
    grid = Grid.stored(plan)
    # XLA loops over the axes of what is stored. Should the innermost not be the grid's, its loop
    # would be a slow one.
    inner = [size for size in plan.shape if size != 1][-1:]
    apart = inner != list(grid.shape[-1:])
    values: Array = _values(draw, grid, dtype, keys, apart=apart).reshape(plan.shape)
    return values


def _constant(geometry: Geometry, content: Constant, dtype: str, keys: Keys) -> Array:
    value: Any = _cast(content.value, dtype)
    if 0 < abs(content.value) < _LEAST_NORMAL:  # XLA on the CPU would flush it in bfloat16
        zero = seal(keys).zero.astype(f"u{value.itemsize}")
        value = _bits(value.view(zero.dtype) ^ zero, value.dtype)
    return jnp.full(geometry.shape, value)


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
    matrices = Matrices.of(geometry)
    lines = (_parts(geometry) * matrices.count, matrices.rows, matrices.columns)
    axis = 2 if content.per == "output" else 1
    grid = Grid.canonical(len(keys), geometry.counts)
    # As signed numbers: jaxlib 0.9 writes beyond the end of words as they are.
    ranked = _bits(words(grid, seal(keys), ZEROS) ^ _u(1 << 31), jnp.int32).reshape(lines)
    rank = jnp.argsort(jnp.argsort(ranked, axis=axis, stable=True), axis=axis)
    values = _values(content.draw, grid, dtype, keys).reshape(lines)
    zero = rank < content.zeros_of(lines[axis])
    return _stored(geometry, jnp.where(zero, values.dtype.type(0), values))


def _orthogonal(geometry: Geometry, content: Orthogonal, dtype: str, keys: Keys) -> Array:
    """As on the host, but factored by XLA: within 3e-6 in float32 (measured up to 1024 x 1024)."""
    wide = "float64" if jax.dtypes.canonicalize_dtype(np.float64) == np.float64 else "float32"
    logical = content.draw_plan(geometry, keys[0])
    assert logical.draw is not None
    matrices, parts = Matrices.of(geometry), _parts(geometry)
    grid = Grid.canonical(len(keys), logical.geometry.counts)
    normals = _values(logical.draw, grid, wide, keys)
    normals = normals.reshape(parts * matrices.count, matrices.rows, -1)
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
    Constant: _constant,
    Diagonal: _diagonal,
    Bilinear: _bilinear,
    Sparse: _sparse,
    Orthogonal: _orthogonal,
}
