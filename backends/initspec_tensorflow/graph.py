"""Plans as TensorFlow ops: the stream inside ``tf.function``, with and without XLA.

Two constraints shape the code. Words and draws are integers of the width that their values need:
64 bits for products, 32 for all else. And nothing may be computed while the graph is optimised:
`_opaque` hides from Grappler and XLA that the keys are constants, else they would fold whole
tensors into the program, slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from initspec import stream
from initspec.draw import Draw
from initspec.layout import Geometry
from initspec.plan import FillPlan
from initspec.structured import ZEROS, Constant, Matrices, Orthogonal, Sparse
from initspec_kernel import fill

__all__ = ["emit", "fresh_keys", "unconverted"]

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # Philox4x32, see `initspec.stream`
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_POSITION_BITS = 31  # of an element in its line: what a word leaves free in an int64
Words = tuple[Any, Any, Any, Any]
F = TypeVar("F", bound=Callable[..., Any])


def unconverted(function: F) -> F:
    """Keep AutoGraph off: it would rewrite all that is called, in seconds, and change nothing."""
    return tf.autograph.experimental.do_not_convert(function)  # type: ignore[no-any-return]


def emit(plan: FillPlan, dtype: str) -> Any:
    """A symbolic tensor with the values of a plan, whose keys may be symbolic too."""
    content = plan.content
    if isinstance(content, Constant):
        value = tf.constant(_on_host(plan, dtype, ()))
        return tf.fill(plan.shape, value)
    if isinstance(content, Draw):
        return _stored(plan.geometry, _values(content, _words(plan, content.purpose), dtype))
    if isinstance(content, Sparse):
        return _stored(plan.geometry, _sparse(plan, content, dtype))
    if isinstance(content, Orthogonal) and tf.is_tensor(plan.keys[0][0]):
        return _stored(plan.geometry, _orthogonal(plan, content, dtype))
    return tf.constant(_on_host(plan, dtype, plan.shape))


def fresh_keys(names: Iterable[str], salt: int) -> tuple[tuple[Any, Any], ...]:
    """The keys of a seed that is drawn whenever the graph runs, from TensorFlow's generator."""
    drawn = tf.cast(tf.random.uniform((2,), maxval=2**32, dtype=tf.int64), tf.uint64)
    seed = (drawn[0] ^ (salt & stream.MASK), drawn[1] ^ (salt >> 32))
    return tuple(_philox(_counter(stream.name_words(name)), seed)[:2] for name in names)


def _on_host(plan: FillPlan, dtype: str, shape: tuple[int, ...]) -> Any:
    """An array in TensorFlow's own type; of a constant any shape will do."""
    kind = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    array = np.empty(shape, np.uint16 if dtype == "bfloat16" else kind)
    fill(plan, array, dtype)
    return array.view(kind)


def _stored(geometry: Geometry, canonical: Any) -> Any:
    """Values with axes (named block, s, o, j) in the order of storage."""
    factors = tf.reshape(canonical, geometry.canonical_shape)
    return tf.reshape(tf.transpose(factors, geometry.inverse_order), geometry.shape)


# --- words --------------------------------------------------------------------------------------


def _words(plan: FillPlan, purpose: int) -> Any:
    """The words of all elements: uint32, axes (named block, s, o, j)."""
    s, o, j = plan.geometry.counts
    fours = -(-j // 4)
    keys = _opaque(plan.keys)
    counter = (_range(fours, 1), _range(o, 2), _range(s, 3), tf.constant(purpose, tf.uint64))
    lanes = _philox(counter, (_column(keys[:, 0], 4), _column(keys[:, 1], 4)))
    four = tf.stack([tf.cast(lane, tf.uint32) for lane in lanes], -1)
    return tf.reshape(four, (len(plan.keys), s, o, 4 * fours))[..., :j]


def _opaque(keys: tuple[tuple[Any, Any], ...]) -> Any:
    """The keys as a matrix that no optimiser takes for a constant: they are swapped twice."""
    words = tf.convert_to_tensor(keys, tf.uint64)
    swap = tf.while_loop(lambda i, _: i < 2, lambda i, k: (i + 1, tf.reverse(k, [1])), (0, words))
    return swap[1]


def _range(count: int, axis: int) -> Any:
    """0, 1, ... along an axis that is counted from the end."""
    return _column(tf.cast(tf.range(count, dtype=tf.int64), tf.uint64), axis)


def _column(vector: Any, axis: int) -> Any:
    return tf.reshape(vector, (-1,) + (1,) * (axis - 1))


def _counter(words: tuple[int, int, int, int]) -> Words:
    w0, w1, w2, w3 = (tf.constant(word, tf.uint64) for word in words)
    return w0, w1, w2, w3


def _philox(counter: Words, key: tuple[Any, Any]) -> Words:
    """Philox4x32-10 on words that are held in uint64, broadcast against each other."""
    constants = (_M0, _M1, _W0, _W1, stream.MASK, 32)
    m0, m1, w0, w1, mask, half = (tf.constant(n, tf.uint64) for n in constants)
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * m0, c2 * m1
        high0, high1 = _right(p0, half), _right(p1, half)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, p1 & mask, high0 ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + w0) & mask, (k1 + w1) & mask
    return c0, c1, c2, c3


def _right(x: Any, n: Any) -> Any:
    return tf.bitwise.right_shift(x, tf.convert_to_tensor(n, x.dtype))


def _left(x: Any, n: Any) -> Any:
    return tf.bitwise.left_shift(x, tf.convert_to_tensor(n, x.dtype))


# --- integers -----------------------------------------------------------------------------------


def _integers(draw: Draw, u: Any) -> Any:
    """As `initspec.stream.integers`."""
    if draw.kind == "uniform":
        z = tf.bitcast(u | 1, tf.int32)
    elif draw.kind == "normal":
        z = _normal(u)
    else:
        z = _normal((_mulhi(u, draw.width) + draw.lo) ^ (1 << 31))
    return _affine(z, draw.offset, draw.multiplier) if draw.multiplier else z


def _mulhi(a: Any, b: Any) -> Any:
    """The high word of the 32 x 32 bit product."""
    wide = b if isinstance(b, int) else tf.cast(b, tf.uint64)
    return tf.cast(_right(tf.cast(a, tf.uint64) * wide, 32), tf.uint32)


def _normal(u: Any) -> Any:
    """As `initspec.stream.normal`."""
    sign = _right(tf.bitcast(u, tf.int32), 31)
    w = ~_left(u ^ tf.bitcast(sign, tf.uint32), 1)
    # Without the bit below the leading one it cannot round up to the next octave.
    leading = tf.cast(w & ~_right(w, 1), tf.float32)
    octave = _right(tf.bitcast(leading, tf.uint32), 23) - 127
    n = _left(w, 31 - octave)
    row = tf.bitcast(_left(octave, 7) | (_right(n, 24) & 127), tf.int32)
    t = _left(n, 8)
    c0, c12 = (tf.gather(tf.constant(column), row) for column in stream.TABLE.T)
    c1, c2 = _left(_right(c12, 12), 1), c12 & 0xFFF
    z = tf.bitcast(c0 - _mulhi(t, c1 - _mulhi(t, c2)), tf.int32)
    return (z ^ sign) - sign


def _affine(z: Any, offset: int, multiplier: int) -> Any:
    """As `initspec.stream.affine`."""
    sign = _right(z, 31)
    magnitude = tf.bitcast((z ^ sign) - sign, tf.uint32)
    product = tf.bitcast(_mulhi(magnitude, multiplier), tf.int32)
    return offset + ((product ^ sign) - sign)


# --- values -------------------------------------------------------------------------------------


def _values(draw: Draw, words: Any, dtype: str) -> Any:
    z = _integers(draw, words)
    if dtype == "float64":
        return _wall(tf.cast(z, tf.float64) * draw.factor)
    value = tf.cast(z, tf.float32) * draw.factor
    return _wall(value) if dtype == "float32" else _narrow(value, dtype)


def _wall(x: Any) -> Any:
    """The same values, beyond the reach of what follows.

    XLA would merge the product with a factor of the user's, or fuse it with an addition; but it
    does not look through integers that a loop of two turns inverts and inverts again.
    """
    bits = tf.bitcast(x, {tf.float32: tf.int32, tf.float64: tf.int64}[x.dtype])
    turn = (lambda i, _: i < 2, lambda i, kept: (i + 1, ~kept))
    return tf.bitcast(tf.while_loop(*turn, (tf.constant(0), bits))[1], x.dtype)


def _narrow(x: Any, dtype: str) -> Any:
    """Round float32 to nearest even, in integers.

    XLA may drop a cast to 16 bits that is followed by one back, wherever the user writes that one;
    and a thread that flushes subnormals still gets those of float16.
    """
    if dtype == "float32":
        return x
    bits = tf.bitcast(x, tf.uint32)
    narrow = _bfloat16(bits) if dtype == "bfloat16" else _float16(bits)
    return tf.bitcast(tf.cast(narrow, tf.uint16), dtype)


def _bfloat16(bits: Any) -> Any:
    return _right(bits + 0x7FFF + (_right(bits, 16) & 1), 16)


def _float16(bits: Any) -> Any:
    """The bits of a finite value; the least exponent of float16 is 113 with float32's bias."""
    exponent = _right(bits, 23) & 0xFF
    scale = tf.maximum(exponent, 113)
    surplus = tf.minimum(13 + scale - exponent, 25)  # bits to drop; beyond 24 all of them
    mantissa = (bits & 0x7FFFFF) | 0x800000
    kept = _right(mantissa, surplus)
    half = _left(tf.ones_like(bits), surplus - 1)
    rounded = _right(mantissa + half - 1 + (kept & 1), surplus)
    # The leading one of a normal number, if there is one, counts as a step of the exponent.
    return (_left(scale - 113, 10) + rounded) | (_right(bits, 16) & 0x8000)


# --- structured contents ------------------------------------------------------------------------


def _sparse(plan: FillPlan, content: Sparse, dtype: str) -> Any:
    """The draw, with zeros where the words of the second purpose are smallest."""
    values = _values(content.draw, _words(plan, content.draw.purpose), dtype)
    matrices = Matrices.of(plan.geometry)
    lines = (-1, matrices.rows, matrices.columns)
    axis = 2 if content.per == "output" else 1
    count = content.zeros_of(lines[axis])
    if not count:
        return values
    # With its position in the low bits every rank is unique, so the order needs no stable sort.
    rank = _left(tf.cast(tf.reshape(_words(plan, ZEROS), lines), tf.int64), _POSITION_BITS)
    rank |= tf.cast(_range(lines[axis], 3 - axis), tf.int64)
    line = rank if axis == 2 else tf.linalg.matrix_transpose(rank)
    last = -tf.math.top_k(-line, count).values[..., -1:]
    last = last if axis == 2 else tf.linalg.matrix_transpose(last)
    zero = tf.reshape(rank <= last, values.shape)
    return tf.where(zero, tf.zeros_like(values), values)


def _orthogonal(plan: FillPlan, content: Orthogonal, dtype: str) -> Any:
    """As `initspec.structured.Orthogonal`, but factored by TensorFlow, so up to rounding."""
    matrices, (s, o, j) = Matrices.of(plan.geometry), plan.geometry.counts
    normals = content.draw_plan(plan.geometry, plan.keys[0]).with_keys(plan.keys)
    assert normals.draw is not None, "the normals are a plain draw"
    drawn = _values(normals.draw, _words(normals, 0), "float64")
    q = content.gain * _haar(tf.reshape(drawn, (-1, matrices.rows, drawn.shape[-1])))
    if content.delta:
        before = matrices.tap(lambda k: (k - 1) // 2)
        after = matrices.taps - 1 - before
        q = tf.pad(q[..., None], ((0, 0), (0, 0), (0, 0), (before, after)))
    q = tf.reshape(q, (len(plan.keys), s, o, j))
    return q if dtype == "float64" else _narrow(tf.cast(q, tf.float32), dtype)


def _haar(normals: Any) -> Any:
    """The Q of a QR with positive diagonal R, of whichever of matrix and transpose is tall."""
    wide = normals.shape[1] < normals.shape[2]
    q, r = tf.linalg.qr(tf.linalg.matrix_transpose(normals) if wide else normals)
    signs = tf.where(tf.linalg.diag_part(r) < 0, tf.constant(-1.0, q.dtype), 1.0)
    q *= signs[:, None, :]
    return tf.linalg.matrix_transpose(q) if wide else q
