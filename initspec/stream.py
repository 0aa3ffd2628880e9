"""The stream, version 1: the specification in code.

A weight is a pure function of (seed, name, coordinates, distribution). Everything up to the last
two roundings is integer arithmetic; floating point enters as one conversion and one product. The
text of the specification is ``docs/spec.md``; where the two differ, one of them has a bug.

Every fast path (the C kernel, the frameworks' compilers) must equal this file bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import operator
import struct
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import InitspecError, InitspecTypeError, InitspecValueError

if TYPE_CHECKING:
    from .draw import Draw
    from .fill_plan import FillPlan

__all__ = [
    "TABLE",
    "TABLE_DIGEST",
    "VERSION",
    "as_float",
    "cast",
    "fill",
    "integers",
    "key",
    "normal",
    "philox4x32",
    "words",
]

VERSION = "v1"
MASK = 0xFFFFFFFF
Key = tuple[int, int]
Word = TypeVar("Word", int, Any)  # a Python int, or an array of uint64 that holds 32-bit words

_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # the published constants of Philox4x32 (Salmon et al. 2011)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_TABLE_FILE = Path(__file__).parent / "data" / "normal_v1.bin"
TABLE_DIGEST = "4617a902d6895bf76412c919475247566a01b960ded2344dcc474473a672e459"
_NAME_LIMIT = 2**16  # bytes
_CHUNK = 2**14  # blocks of four words that are in flight at once: bounds the memory
_FAR = 7.0  # sigmas: beyond all draws
MARGIN = 1  # unit of 2**-28: the most that the table ever steps back, see `truncation`


# --- the key ----------------------------------------------------------------------------------


def key(seed: int, name: str) -> Key:
    """The two key words of a tensor: Philox of the name's digest under the seed."""
    seed = check_seed(seed)
    k0, k1, _, _ = philox4x32(name_words(name), (seed & MASK, seed >> 32))
    return k0, k1


def name_words(name: str) -> tuple[int, int, int, int]:
    """BLAKE2b-128 of the name (NFC, UTF-8) as four little-endian words."""
    if not isinstance(name, str):
        raise InitspecTypeError("name", name, "a string")
    return _digest(name)


@lru_cache(maxsize=4096)
def _digest(name: str) -> tuple[int, int, int, int]:
    digest = hashlib.blake2b(_encode(name), digest_size=16).digest()
    w0, w1, w2, w3 = struct.unpack("<4I", digest)
    return w0, w1, w2, w3


def _encode(name: str) -> bytes:
    try:
        # NFC, because a name typed on one system and read on another must stay the same name.
        data = unicodedata.normalize("NFC", name).encode()
    except UnicodeEncodeError as error:
        raise InitspecValueError("name", name, "text that UTF-8 can encode") from error
    if len(data) > _NAME_LIMIT or b"\0" in data:
        raise InitspecValueError("name", name, f"at most {_NAME_LIMIT} bytes and no NUL")
    return data


def check_seed(seed: Any) -> int:
    """``seed`` as an int in ``[0, 2**64)``: all its bits count, and none is folded away."""
    if type(seed) is int and 0 <= seed < 2**64:
        return seed
    advice = "Seeds are integers; for a JAX key use init.bind('jax')(key, shape)."
    if isinstance(seed, (bool, np.bool_)):
        raise InitspecTypeError("seed", seed, "an integer in [0, 2**64)", advice)
    try:
        number = operator.index(seed)
    except Exception as error:  # jax raises its own errors for keys and traced values
        raise InitspecTypeError("seed", seed, "an integer in [0, 2**64)", advice) from error
    if not 0 <= number < 2**64:
        raise InitspecValueError("seed", number, "an integer in [0, 2**64)")
    return number


# --- words ------------------------------------------------------------------------------------


def philox4x32(
    counter: tuple[Word, Word, Word, Word], key: tuple[int, int]
) -> tuple[Word, Word, Word, Word]:
    """Philox4x32-10: four random words from a counter of four words and a key of two.

    >>> [f"{word:08x}" for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + _W0) & MASK, (k1 + _W1) & MASK
    return c0, c1, c2, c3


def words(
    key: Key,
    counts: tuple[int, int, int],
    purpose: int = 0,
    origin: tuple[int, int, int] = (0, 0, 0),
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """All words of a tensor with coordinates ``s, o, j`` in chunks, in canonical order.

    The word of ``(s, o, j)`` is ``philox4x32((j >> 2, o, s, purpose), key)[j & 3]``. Yields
    ``(start, chunk)``: the flat canonical position of the chunk's first word, and its words.
    Coordinates count from ``origin``, whose j is a multiple of 4.
    """
    s0, o0, j0 = origin
    _, outputs, inputs = counts
    rows, blocks = math.prod(counts[:2]), -(-inputs // 4)
    if not rows or not blocks:
        return
    height = max(1, _CHUNK // blocks)  # whole rows while they are short, else parts of one row
    width = min(blocks, _CHUNK)
    for row in range(0, rows, height):
        row_index = np.arange(row, min(row + height, rows), dtype=np.uint64)[:, None]
        for block in range(0, blocks, width):
            index = np.arange(block, min(block + width, blocks), dtype=np.uint64)[None, :]
            s, o = row_index // outputs + s0, row_index % outputs + o0
            four = _lanes(key, index + (j0 >> 2), o, s, purpose)
            yield row * inputs + 4 * block, four[:, : inputs - 4 * block].reshape(-1)


def _lanes(
    key: Key, block: NDArray[Any], o: NDArray[Any], s: NDArray[Any], purpose: int
) -> NDArray[np.uint32]:
    """The words of a grid of blocks, the four lanes of a block side by side."""
    zero = np.zeros((o.size, block.size), np.uint64)
    lanes = philox4x32((block + zero, o + zero, s + zero, purpose + zero), key)
    return np.stack(lanes, axis=-1).astype(np.uint32).reshape(o.size, -1)


# --- integers, one word each ------------------------------------------------------------------


def integers(draw: Draw, u: NDArray[np.uint32]) -> NDArray[np.int32]:
    """The fixed-point draw of every word: Q0.31 for uniform, Q3.28 for normal, or affine."""
    if draw.kind == "uniform":
        z = (u | np.uint32(1)).view(np.int32)  # odd, so the mean over all words is exactly 0
    elif draw.kind == "normal":
        z = normal(u)
    else:
        v = np.uint32(draw.lo) + mulhi(u, draw.width)
        z = normal(v ^ np.uint32(1 << 31))
    return affine(z, draw.offset, draw.multiplier) if draw.multiplier else z


def mulhi(a: NDArray[np.uint32], b: NDArray[np.uint32] | int) -> NDArray[np.uint32]:
    """The high word of the 32 x 32 bit product."""
    return ((a.astype(np.uint64) * np.asarray(b, np.uint64)) >> np.uint64(32)).astype(np.uint32)


def normal(u: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Inverse normal CDF in fixed point (Q3.28): the quantile of ``u ^ 2**31``, cell-centred.

    ``w`` is odd and ``w / 2**33`` is the upper tail probability of ``|z|``. Each octave of w is
    cut into 128 pieces, and in each piece ``|z|`` is a quadratic in what remains of w.
    """
    s = u.view(np.int32)
    sign = s >> 31
    w = ~((s ^ sign) << 1).view(np.uint32)
    octave = np.frexp(w.astype(np.float64))[1].astype(np.uint32) - np.uint32(1)
    n = w << (np.uint32(31) - octave)
    row = (octave << np.uint32(7)) | ((n >> np.uint32(24)) & np.uint32(127))
    t = n << np.uint32(8)
    c0, c12 = TABLE[row, 0], TABLE[row, 1]
    c1, c2 = (c12 >> np.uint32(12)) << np.uint32(1), c12 & np.uint32(0xFFF)
    magnitude = (c0 - mulhi(t, c1 - mulhi(t, c2))).view(np.int32)
    z: NDArray[np.int32] = (magnitude ^ sign) - sign
    return z


def affine(z: NDArray[np.int32], offset: int, multiplier: int) -> NDArray[np.int32]:
    """``offset + z * multiplier / 2**32``, the product truncated towards zero."""
    sign = z >> 31
    product = mulhi(((z ^ sign) - sign).view(np.uint32), multiplier).view(np.int32)
    return np.int32(offset) + ((product ^ sign) - sign)


@lru_cache(maxsize=1024)
def truncation(low: float | None, high: float | None) -> tuple[int, int]:
    """First quantile and number of quantiles whose draws all lie within ``[low, high]`` sigmas.

    Bisection on the integer table, so nothing depends on an ``erf``. Between quantiles the table
    may step back by `MARGIN` (measured over all words), so the search aims that much inside the
    bounds and no draw ever passes them.
    """
    first = 0 if low is None else _quantiles_below(low)
    above = 0 if high is None else _quantiles_below(-high)
    return first, 2**32 - above - first


def _quantiles_below(bound: float) -> int:
    z = math.ceil(math.ldexp(max(-_FAR, min(bound, _FAR)), 28)) + MARGIN
    count = 0
    for bit in reversed(range(32)):
        probe = np.array([(count + (1 << bit) - 1) ^ (1 << 31)], np.uint32)
        if normal(probe)[0] < z:
            count += 1 << bit
    return count


# --- values -----------------------------------------------------------------------------------


def values(z: NDArray[np.int32], factor: float, dtype: str) -> NDArray[Any]:
    """One conversion, one product; float16 and bfloat16 are the rounded float32 value."""
    if dtype == "float64":
        return z.astype(np.float64) * np.float64(factor)
    return _narrow(z.astype(np.float32) * np.float32(factor), dtype)


def cast(array: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Host values that were not drawn (constants, factored matrices), rounded alike."""
    return array if dtype == "float64" else _narrow(array.astype(np.float32), dtype)


def as_float(array: NDArray[Any]) -> NDArray[np.float64]:
    """Host values as float64; uint16 holds the bit patterns of bfloat16.

    >>> as_float(np.array([0x3F80, 0xC000], np.uint16)).tolist()
    [1.0, -2.0]
    """
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(invalid="ignore"):  # NaNs of every kind
        return array.astype(np.float64)


def _narrow(array: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype == "float16":
        return array.astype(np.float16)
    if dtype == "bfloat16":  # NumPy has none: the upper half of the float32, ties to even
        bits = array.view(np.uint32)
        even = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16)
    return array


def fill(plan: FillPlan, out: NDArray[Any], dtype: str) -> None:
    """Write a plan's values into ``out`` (any strides; uint16 for bfloat16), in chunks.

    A draw of kind ``words`` gives the words themselves, with ``dtype`` uint32.
    """
    from .draw import Draw  # noqa: PLC0415 (it needs `truncation` from here)

    draw = plan.content
    if not isinstance(draw, Draw):
        draw.write(plan, out, dtype, fill)
        return
    for block_key, view in plan.blocks(out):
        target = view.flat  # canonical order, whatever the strides
        for start, chunk in words(block_key, plan.geometry.counts, draw.purpose, plan.origin):
            target[start : start + chunk.size] = _drawn(draw, chunk, dtype)


def _drawn(draw: Draw, u: NDArray[np.uint32], dtype: str) -> NDArray[Any]:
    return u if draw.kind == "words" else values(integers(draw, u), draw.factor, dtype)


def _load_table() -> NDArray[np.uint32]:
    data = _TABLE_FILE.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != TABLE_DIGEST:
        advice = "The installation is damaged: reinstall initspec."
        raise InitspecError(str(_TABLE_FILE), digest, f"SHA-256 {TABLE_DIGEST}", advice)
    table = np.frombuffer(data, "<u4").reshape(4096, 2)
    return table.astype(np.uint32)


TABLE = _load_table()
TABLE.flags.writeable = False
