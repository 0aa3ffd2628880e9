"""Plans as TensorFlow ops: the stream inside ``tf.function``, with and without XLA.

Two constraints shape the code. Nothing may be computed while the graph is optimised: `_seal`
hides from Grappler and XLA that the keys are constants, else they would fold whole tensors into
the program, slowly. And without XLA every op goes through memory: so there are few of them, casts
are avoided, and a large tensor is made in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from initspec import stream
from initspec.draw import Draw
from initspec.fill_plan import FillPlan
from initspec.layout import Geometry
from initspec.structured import ZEROS, Constant, Matrices, Orthogonal, Sparse
from initspec_kernel import fill

__all__ = ["emit", "fresh_keys", "unconverted"]

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # Philox4x32, see `initspec.stream`
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_POSITION_BITS = 31  # of an element in its line: what a word leaves free in an int64
_PART = 2**14  # values that are made at a time: what is needed on the way stays small
_SIGN = 1 << 31
# Each row in one number, and in the place to which the exponent of a float64 (1022 for one half)
# and the 7 bits below lead, modulo the number of rows.
_TABLE = np.roll(stream.TABLE[:, 0].astype(np.int64) << 32 | stream.TABLE[:, 1], 1022 << 7)
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
        last = any(factor.coordinate == "output" for factor in plan.geometry.factors[-1:])
        across = last and plan.geometry.counts[2] > 1  # of a single input both orders are the same
        return _stored(plan.geometry, _drawn(plan, content, dtype, across), across)
    if isinstance(content, Sparse):
        return _stored(plan.geometry, _sparse(plan, content, dtype))
    if isinstance(content, Orthogonal) and tf.is_tensor(plan.keys[0][0]):
        return _stored(plan.geometry, _orthogonal(plan, content, dtype))
    return tf.constant(_on_host(plan, dtype, plan.shape))


def fresh_keys(names: Iterable[str], salt: int) -> tuple[tuple[Any, Any], ...]:
    """The keys of a seed that is drawn whenever the graph runs, from TensorFlow's generator."""
    drawn = tf.cast(tf.random.uniform((2,), maxval=2**32, dtype=tf.int64), tf.uint64)
    seed = (drawn[0] ^ (salt & stream.MASK), drawn[1] ^ (salt >> 32))
    keys = _schedule(seed)
    return tuple(_philox(stream.name_words(name), keys)[:2] for name in names)


def _on_host(plan: FillPlan, dtype: str, shape: tuple[int, ...]) -> Any:
    """An array in TensorFlow's own type; of a constant any shape will do."""
    kind = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    array = np.empty(shape, np.uint16 if dtype == "bfloat16" else kind)
    fill(plan, array, dtype)
    return array.view(kind)


def _stored(geometry: Geometry, canonical: Any, across: bool = False) -> Any:
    """Values with axes (named block, s, o, j), or across (named block, s, j, o), as stored."""
    inner = len(geometry.output) + len(geometry.input)
    lead = geometry.order[: len(geometry.order) - inner]
    order = lead + geometry.input + geometry.output if across else geometry.order
    factors = tf.reshape(canonical, [geometry.factors[axis].extent for axis in order])
    if order != tuple(range(len(order))):
        factors = tf.transpose(factors, np.argsort(order))
    return tf.reshape(factors, geometry.shape)


# --- words --------------------------------------------------------------------------------------


class Seal(NamedTuple):
    """What a draw takes from outside, sealed: no optimiser can tell what it is."""

    keys: Any  # uint64, one row per named block
    zero: Any  # int64


def _seal(keys: tuple[tuple[Any, Any], ...]) -> Seal:
    """A loop of two turns that inverts all bits."""
    given = (tf.constant(0), tf.convert_to_tensor(keys, tf.uint64), tf.constant(0, tf.int64))
    invert = tf.bitwise.invert
    turn = (lambda i, *_: i < 2, lambda i, words, zero: (i + 1, invert(words), invert(zero)))
    _, words, zero = tf.while_loop(*turn, given)
    return Seal(words, zero)


def _words(plan: FillPlan, purpose: int) -> Any:
    """The words of all elements: uint64, axes (named block, s, o, j)."""
    return _mapped(plan, _seal(plan.keys), purpose, False, tf.uint64, lambda words: words)


def _mapped(
    plan: FillPlan,
    seal: Seal,
    purpose: int,
    across: bool,
    kind: Any,
    finish: Callable[[Any], Any],
) -> Any:
    """What becomes of the words: axes (named block, s, o, j), or across (named block, s, j, o).

    A line is one value of o and all of j; across, it is one block of four j and all of o.
    """
    (s, o, j), (s0, o0, j0) = plan.geometry.counts, plan.origin
    blocks, fours, lanes = len(plan.keys), -(-j // 4), min(j, 4)
    lines, along = (fours, o) if across else (o, fours)
    keys = _schedule((seal.keys[:, 0], seal.keys[:, 1]))

    def make(line: Any) -> Any:
        rest, here = line // max(lines, 1), _column(line % max(lines, 1))
        block = rest // max(s, 1)
        # In bits that are cut off, every line has another: XLA would else see what is the same for
        # all lines, work that out apart, and lose sight of the constants.
        there = (tf.range(along, dtype=tf.int64) ^ _left(_column(line), 32)) & stream.MASK
        quad, output = (here, there) if across else (there, here)
        stack = _column(rest % max(s, 1))
        counter = (quad + (j0 >> 2), output + o0, stack + s0, tf.constant(purpose, tf.int64))
        own = keys if blocks == 1 else [_of_block(block, *pair) for pair in keys]
        return finish(tf.stack(_philox(counter, own)[:lanes], 1 if across else 2))

    made = _in_parts(make, blocks * s * lines, lanes * along, kind)
    if across:
        return tf.reshape(made, (blocks, s, lanes * fours, o))[:, :, :j]
    return tf.reshape(made, (blocks, s, o, lanes * fours))[..., :j]


def _of_block(block: Any, k0: Any, k1: Any) -> tuple[Any, Any]:
    return _column(tf.gather(k0, block)), _column(tf.gather(k1, block))


def _in_parts(make: Callable[[Any], Any], total: int, width: int, kind: Any) -> Any:
    """``make`` of the lines from 0 to ``total``, of so many values each."""
    size = max(1, _PART // max(width, 1))
    parts = -(-total // size)
    if parts < 2:
        return make(tf.range(total, dtype=tf.int64))

    def part(number: Any) -> Any:
        return make(tf.minimum(number * size + tf.range(size, dtype=tf.int64), total - 1))

    signature = tf.TensorSpec(None, kind)
    made = tf.map_fn(part, tf.range(parts, dtype=tf.int64), fn_output_signature=signature)
    return tf.reshape(made, (parts * size, width))[:total]


def _column(vector: Any) -> Any:
    return tf.reshape(vector, (-1, 1))


def _schedule(key: tuple[Any, Any]) -> list[tuple[Any, Any]]:
    """The key words of every round."""
    pairs = [key]
    for _ in range(_ROUNDS - 1):
        k0, k1 = pairs[-1]
        pairs.append(((k0 + _W0) & stream.MASK, (k1 + _W1) & stream.MASK))
    return pairs


def _philox(counter: Words, keys: list[tuple[Any, Any]]) -> Words:
    """Philox4x32-10 on words that are held in 64 bits, broadcast against each other."""
    c0, c1, c2, c3 = (tf.cast(word, tf.uint64) for word in counter)
    for k0, k1 in keys:
        p0, p1 = c0 * _M0, c2 * _M1
        high0, high1 = _right(p0, 32), _right(p1, 32)
        c0, c1, c2, c3 = high1 ^ (c1 ^ k0), p1 & stream.MASK, high0 ^ (c3 ^ k1), p0 & stream.MASK
    return c0, c1, c2, c3


def _right(x: Any, n: Any) -> Any:
    return tf.bitwise.right_shift(x, tf.convert_to_tensor(n, x.dtype))


def _left(x: Any, n: Any) -> Any:
    return tf.bitwise.left_shift(x, tf.convert_to_tensor(n, x.dtype))


# --- integers: int64, and not negative until the sign is applied --------------------------------


def _integers(draw: Draw, u: Any) -> Any:
    """As `initspec.stream.integers`, of words in uint64."""
    if draw.kind == "truncated_normal":
        z = _normal(tf.bitcast(_mulhi(u, draw.width), tf.int64), draw.lo)
    else:
        ordered = tf.bitcast(u, tf.int64) ^ _SIGN
        z = _normal(ordered, 0) if draw.kind == "normal" else (ordered | 1) - _SIGN
    return _affine(z, draw.offset, draw.multiplier) if draw.multiplier else z


def _mulhi(a: Any, b: Any) -> Any:
    """The high word of the 32 x 32 bit product."""
    return _right(a * b, 32)


def _normal(quantile: Any, first: int) -> Any:
    """As `initspec.stream.normal`, of the word ``u`` with ``u ^ 2**31 == quantile + first``.

    A float64 holds half of w exactly, and cut into octaves.
    """
    off_centre = tf.cast(quantile, tf.float64) + (first + 0.5 - _SIGN)
    sign = _right(tf.bitcast(off_centre, tf.int64), 63)
    bits = tf.bitcast(_SIGN - tf.abs(off_centre), tf.int64)
    entry = tf.gather(tf.constant(_TABLE), _right(bits, 45) & 0xFFF)
    t = _right(bits, 13) & stream.MASK
    c0, c1, c2 = _right(entry, 32), _right(entry, 11) & 0x1FFFFE, entry & 0xFFF
    z = c0 - _mulhi(t, c1 - _mulhi(t, c2))
    return (z ^ sign) - sign


def _affine(z: Any, offset: int, multiplier: int) -> Any:
    """As `initspec.stream.affine`."""
    sign = _right(z, 63)
    product = _mulhi((z ^ sign) - sign, multiplier)
    return offset + ((product ^ sign) - sign)


# --- values -------------------------------------------------------------------------------------


def _drawn(plan: FillPlan, draw: Draw, dtype: str, across: bool = False) -> Any:
    """The values of a draw.

    They are xored with a zero that XLA cannot know to be one. Else it would merge the product with
    a factor of the user's, or fuse it with an addition.
    """
    seal = _seal(plan.keys)
    wide = tf.float64 if dtype == "float64" else tf.float32

    def finish(words: Any) -> Any:
        value = tf.cast(_integers(draw, words), wide) * draw.factor
        if dtype in ("float16", "bfloat16"):
            return _narrow(value, dtype)
        bits = tf.bitcast(value, {tf.float32: tf.int32, tf.float64: tf.int64}[wide])
        return tf.bitcast(bits ^ tf.cast(seal.zero, bits.dtype), wide)

    return _mapped(plan, seal, draw.purpose, across, tf.as_dtype(dtype), finish)


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
    values = _drawn(plan, content.draw, dtype)
    matrices = Matrices.of(plan.geometry)
    lines = (-1, matrices.rows, matrices.columns)
    axis = 2 if content.per == "output" else 1
    count = content.zeros_of(lines[axis])
    if not count:
        return values
    # With its position in the low bits every rank is unique, so the order needs no stable sort.
    rank = _left(tf.reshape(tf.bitcast(_words(plan, ZEROS), tf.int64), lines), _POSITION_BITS)
    position = tf.range(lines[axis], dtype=tf.int64)
    rank |= position if axis == 2 else _column(position)
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
    drawn = _drawn(normals, normals.draw, "float64")
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
