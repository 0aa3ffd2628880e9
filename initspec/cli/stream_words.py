"""Write the stream itself, for batteries of tests of random numbers.

Little-endian 32-bit words go to stdout, without end or up to --bytes. The orders are those in which
a keyed counter could fail: consecutive seeds, consecutive names, coordinates that take turns.

The kinds normal and uniform test the draws, too. Every value is mapped back to its probability,
of which the upper 16 bits are written; the first of two values is the lower half of a word. So many
are reliable: a normal value is one of 2**28 per sigma and stands for 6 or 7 words at the centre, so
it maps back to within 11 words of its own. Cells of 2**16 words hide that grid: it shifts their
probabilities by 4e-5 of themselves, which takes more than 2**38 values to see. A battery would
find the grid, and not the generator, in finer cells.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec import stream
from initspec.draw import Draw, normal_draw, uniform_draw
from initspec.errors import InitspecValueError, did_you_mean
from initspec.fill_plan import FillPlan
from initspec.layout import Layout

from . import arguments

__all__ = ["KINDS", "ORDERS", "configure", "run", "stream_bytes"]

_DRAWS = MappingProxyType(
    {"words": Draw("words", 1.0), "normal": normal_draw(1.0), "uniform": uniform_draw(-1.0, 1.0)}
)
KINDS = tuple(_DRAWS)
_UNITS = {"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_CHUNK = 2**16  # words in flight: they stay in the cache
_CHUNKS = 2**35  # chunks that every order can give
_MOST = 2**52  # bytes that every order and kind can give
_TENSORS, _SIDE = 2**10, 8  # a chunk of small tensors, and the rows and columns of one
_GRID = 2**11  # pieces of one sigma, see `_cdf`
_REACH = 7  # sigmas: beyond all draws

Keys = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Order:
    """The order of the words: chunks of one layout, each with its own origin or its own keys.

    ``origin`` gives ``s, o, j`` from the number of a chunk; ``keys`` gives the keys of many small
    tensors from the number of the first one, the seed and the name.
    """

    help: str
    pattern: str
    shape: tuple[int, ...]
    origin: Callable[[int], tuple[int, int, int]] = lambda chunk: (0, 0, 0)
    keys: Callable[[int, int, str], Keys] | None = None

    def plans(self, draw: Draw, seed: int, name: str) -> Iterator[FillPlan]:
        """The plans of all chunks."""
        blocks = None if self.keys is None else map(str, range(self.shape[0]))
        geometry = Layout.parse(self.pattern, blocks=blocks).bind(self.shape)
        one = (stream.key(seed, name),)
        for chunk in range(_CHUNKS):
            keys = one if self.keys is None else self.keys(chunk * _TENSORS, seed, name)
            yield FillPlan(geometry, draw, keys, self.origin(chunk))


def _rows(chunk: int) -> tuple[int, int, int]:
    o, part = divmod(chunk, 2**4)
    return 0, o, part * _CHUNK


def _tiles(chunk: int) -> tuple[int, int, int]:
    s, o = divmod(chunk, 2**12)
    return 2**7 * s, 2**7 * o, 0


def _columns(chunk: int) -> tuple[int, int, int]:
    s, block = divmod(chunk, 2**18)
    return s, 0, 4 * block


def _seeds(first: int, seed: int, name: str) -> Keys:
    seeds: Any = np.arange(_TENSORS, dtype=np.uint64) + np.uint64(seed + first)
    return _pairs(stream.name_words(name), (seeds & np.uint64(stream.MASK), seeds >> np.uint64(32)))


def _names(first: int, seed: int, name: str) -> Keys:
    numbers = range(first, first + _TENSORS)
    digests = np.array([stream.name_words(f"{name}{n}") for n in numbers], np.uint64)
    w0, w1, w2, w3 = digests.T
    return _pairs((w0, w1, w2, w3), (seed & stream.MASK, seed >> 32))


def _pairs(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> Keys:
    """`stream.key` of many tensors at once."""
    k0, k1, _, _ = stream.philox4x32(counter, key)
    return tuple(zip(k0.tolist(), k1.tolist(), strict=True))


_SMALL = (_TENSORS, _SIDE, _SIDE)
ORDERS = MappingProxyType(
    {
        "plain": Order("rows of 2**20 words, one after another", "OI", (1, _CHUNK), _rows),
        "transposed": Order("2**14 rows column by column", "IO", (4, 2**14), _columns),
        "interleaved": Order("s, then o, then 4 columns", "IOS", (4, 2**7, 2**7), _tiles),
        "seeds": Order("8 x 8 words of each seed from --seed on", "SOI", _SMALL, keys=_seeds),
        "names": Order("8 x 8 words of NAME0, NAME1, ...", "SOI", _SMALL, keys=_names),
    }
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec stream-words``."""
    add = parser.add_argument
    orders = "; ".join(f"{name}: {order.help}" for name, order in ORDERS.items())
    add("--order", choices=ORDERS, default="plain", help=f"{orders} (default: plain)")
    add("--kind", choices=KINDS, default="words", help="what is written (default: words)")
    add("--bytes", type=_bytes, metavar="N", help="how many, as in 64GiB (default: without end)")
    add("--seed", type=arguments.seed, default=0, help="an integer in [0, 2**64) (default: 0)")
    add("--name", default="w", help="the tensor's name, or how all names begin (default: w)")
    add(
        "--reversed-bits",
        action="store_true",
        help="the lowest bit of a word becomes the highest, for tests that weigh the high ones",
    )


def run(options: argparse.Namespace) -> int:
    """Write the bytes."""
    if sys.stdout.isatty():
        advice = "For example: initspec stream-words | RNG_test stdin32"
        raise InitspecValueError("stdout", "a terminal", "a pipe or a file", advice)
    left = _MOST if options.bytes is None else options.bytes
    chunks = stream_bytes(options.order, options.kind, options.seed, options.name)
    for chunk in chunks:
        part = chunk[:left]
        sys.stdout.buffer.write(_reversed(part) if options.reversed_bits else part)
        left -= len(part)
        if left <= 0:
            break
    return 0


def stream_bytes(order: str, kind: str, seed: int, name: str) -> Iterator[bytes]:
    """Chunks of the stream as little-endian words, in one of `ORDERS` and `KINDS`.

    Raises `InitspecValueError` for an unknown order or kind, and that or `InitspecTypeError` for a
    seed or name that the order cannot count from.

    >>> next(stream_bytes("plain", "words", 1, "golden"))[:8].hex()
    'b49a7b74473ee1db'
    """
    _check(order, kind, seed, name)
    return _chunks(ORDERS[order], kind, seed, name)


def _check(order: str, kind: str, seed: int, name: str) -> None:
    for where, given, known in (("--order", order, tuple(ORDERS)), ("--kind", kind, KINDS)):
        if given not in known:
            expected = f"one of {', '.join(known)}"
            raise InitspecValueError(where, given, expected, did_you_mean(given, known))
    stream.key(seed, f"{name}{_CHUNKS * _TENSORS}" if order == "names" else name)
    if order == "seeds" and seed >= 2**63:
        advice = "The seeds count up from it."
        raise InitspecValueError("--seed", seed, "an integer in [0, 2**63)", advice)


def _chunks(order: Order, kind: str, seed: int, name: str) -> Iterator[bytes]:
    fill = import_module("initspec_kernel").fill
    dtype = "uint32" if kind == "words" else "float64"  # which holds the drawn integers exactly
    out = np.empty(order.shape, dtype)
    for plan in order.plans(_DRAWS[kind], seed, name):
        fill(plan, out, dtype, threads=1)
        yield _words(kind, out).tobytes()


def _words(kind: str, out: NDArray[Any]) -> NDArray[Any]:
    """What is written of the values: little-endian words, or the upper halves of probabilities."""
    if kind == "words":
        return out.astype("<u4", copy=False)
    u = _cdf(out) if kind == "normal" else (out + 1.0) / 2
    return (u * 2**16).astype("<u2")


# --- mapping back -----------------------------------------------------------------------------


def _cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal CDF, by its Taylor series around the middle of one of many pieces.

    Three terms: the error is at most ``h**3 / 6 * max|phi''|`` = 1e-12 with ``h`` = 2**-12.
    """
    row = ((z + _REACH) * _GRID).astype(np.intp)
    middle, cdf, density = (column[row] for column in _pieces())
    d = z - middle
    result: NDArray[np.float64] = cdf + d * density * (1 - d * middle / 2)
    return result


@cache
def _pieces() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    middle = (np.arange(2 * _REACH * _GRID) + 0.5) / _GRID - _REACH
    cdf = np.array([math.erfc(-z * math.sqrt(0.5)) / 2 for z in middle.tolist()])
    return middle, cdf, np.exp(-(middle**2) / 2) / math.sqrt(2 * math.pi)


# --- bits and bytes ---------------------------------------------------------------------------


def _reversed(data: bytes) -> bytes:
    """Little-endian words with their bits in reverse order."""
    return _MIRROR[np.frombuffer(data, np.uint8).reshape(-1, 4)[:, ::-1]].tobytes()


def _bytes(text: str) -> int:
    match = re.fullmatch(rf"([0-9]{{1,19}})({'|'.join(_UNITS)})", text)
    number = int(match[1]) << _UNITS[match[2]] if match else 0
    if not 0 < number <= _MOST or number % 4:
        expected = "a multiple of 4 up to 4096TiB, as in 512MiB or 64GiB"
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}")
    return number


_MIRROR = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1])
