"""Compute the inverse-normal table of stream version 1: `initspec/data/normal_v1.bin`.

    python -m initspec_conformance.generate_table [--check] [--out PATH]

A word gives an odd `w < 2**32` whose upper-tail probability is `w / 2**33`. Its leading bit (the
octave) and the next seven bits name one of 32 * 128 rows; the bits that remain are `t`, a 0.32
fraction. With unsigned 32-bit arithmetic the row gives the quantile in units of 2**-28:

    z = c0 - mulhi(t, c1 - mulhi(t, c2))

How a row is made:

1. **The exact curve.** mpmath gives the quantile in the middle of the row to 60 digits
   (`sqrt(2) * erfinv(1 - 2p)`, its residual checked through `erfc`). The derivatives of the normal
   quantile are polynomials in the quantile over powers of the density, so the Taylor series is
   exact too; a row is at most 1/128 as long as its distance from the singularity, and eight terms
   leave less than 1e-11 units.
2. **Start.** The cubic and quartic terms are folded into a quadratic by Chebyshev economisation.
3. **Search.** Around that start all pairs (c1, c2) of a grid are run through the true evaluation,
   floors included, first on few and then, for the best ones, on many of the fractions that odd
   words can reach. c0 centres the error. Pairs whose worst-case error is within `SLACK` of the
   least are equally good; among them the one wins that best cancels the mean error of the octave's
   rows so far, so that the floors leave the moments alone.

The result does not depend on the machine: mpmath computes in integers, float64 is used only for
single additions and multiplications, and whatever is compared is an integer.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mp
from numpy.typing import NDArray

SHA256 = "4617a902d6895bf76412c919475247566a01b960ded2344dcc474473a672e459"

DIGITS = 60
OCTAVES = 32
ROWS_PER_OCTAVE = 128
# Below this octave a row is met by one word at most, and c0 alone says everything.
FIRST_CURVED_OCTAVE = 9
TAYLOR_TERMS = 8
# Errors are compared as integers, in 2**-16 of the table's own unit of 2**-28.
ERROR_BITS = 16
# A worst-case error this much (1/16 unit) above the least is as good; then the mean error decides.
SLACK = (1 << ERROR_BITS) // 16
GRID_C1 = 2 * np.arange(-6, 7, dtype=np.int64)
GRID_C2 = np.arange(-9, 10, dtype=np.int64)
COARSE, DENSE = 1 << 9, 1 << 17
FINALISTS = 32

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
Row = tuple[int, int, int]


def quantile(w: mpmath.mpf) -> mpmath.mpf:
    """The x that a standard normal exceeds with probability `w / 2**33`."""
    tail = w / mpmath.mpf(2) ** 33
    x = mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * tail)
    if abs(mpmath.erfc(x / mpmath.sqrt(2)) / 2 - tail) > tail * mpmath.mpf(10) ** (10 - DIGITS):
        raise ArithmeticError(f"erfinv missed the quantile of w = {w}")
    return x


def derivative_polynomials(count: int) -> list[list[int]]:
    """P[n] with d^n x / dp^n = P[n](x) / density**n: P[1] = 1, P[n+1] = P[n]' + n x P[n]."""
    polynomials = [[0], [1]]
    while len(polynomials) < count:
        n, last = len(polynomials) - 1, polynomials[-1]
        derived = [*(i * c for i, c in enumerate(last) if i), 0, 0]
        raised = [0, *(n * c for c in last)]
        polynomials.append([a + b for a, b in zip(derived, raised, strict=True)])
    return polynomials


def taylor(octave: int, index: int, polynomials: Sequence[Sequence[int]]) -> list[float]:
    """The quantile along a row, in units of 2**-28, as a series in `t - 1/2`."""
    width = mpmath.mpf(2) ** (octave - 7)
    x = quantile((ROWS_PER_OCTAVE + index + mpmath.mpf(0.5)) * width)
    # The tail probability grows along the row, hence the minus.
    step = -width / mpmath.mpf(2) ** 33 / mpmath.npdf(x)
    scale = mpmath.mpf(2) ** 28
    series = [scale * x]
    for n in range(1, TAYLOR_TERMS):
        value = mpmath.polyval(list(reversed(polynomials[n])), x)
        series.append(scale * value * step**n / mpmath.factorial(n))
    return [float(term) for term in series]


def reachable(octave: int, limit: int) -> Words:
    """Fractions `t` that odd words of this octave leave: all, or `limit` well spread ones."""
    count = 1 << (octave - 8)
    if count <= limit:
        k = np.arange(count, dtype=np.uint64)
    else:
        # One from each of `limit` cells, at a place that varies (Weyl), so that low bits vary too.
        cell = np.uint64(count // limit)
        k = np.arange(limit, dtype=np.uint64)
        place = (k * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF)
        k = k * cell + ((place * cell) >> np.uint64(32))
        k[0], k[-1] = 0, count - 1
    return (2 * k + np.uint64(1)) << np.uint64(39 - octave)


def exact(series: Sequence[float], t: Words) -> Ints:
    """The quantile at the fractions `t`, in 2**-ERROR_BITS units."""
    y = (t.astype(np.int64) - (1 << 31)).astype(np.float64) * 2.0**-32
    value = np.full(t.shape, series[-1])
    for term in reversed(series[:-1]):
        value = value * y
        value = value + term
    return np.rint(value * 2.0**ERROR_BITS).astype(np.int64)


def fall(t: Words, c1: Words | np.uint64, c2: Words | np.uint64) -> Ints:
    """How far z lies below c0: the true evaluation, both floors included."""
    inner = c1 - ((t * c2) >> np.uint64(32))
    return ((t * inner) >> np.uint64(32)).astype(np.int64)


def start(series: Sequence[float]) -> tuple[int, int]:
    """Integer (c1, c2) next to the economised quadratic, written in powers of t."""
    linear = series[1] + series[3] * 3.0 / 16.0
    square = series[2] + series[4] / 4.0
    # The inner floor adds t/2 on average; c1 takes it back.
    c1 = square - linear - 0.5
    return 2 * round(c1 / 2.0), round(square)


def centre(low: Ints, high: Ints) -> Ints:
    """The c0 that balances errors which, for c0 = 0, span [low, high]."""
    unit = 1 << ERROR_BITS
    return (unit - low - high) // (2 * unit)


def coarse_search(octave: int, series: Sequence[float]) -> list[tuple[int, int]]:
    """The most promising pairs (c1, c2) of the grid."""
    t = reachable(octave, COARSE)
    c1_start, c2_start = start(series)
    c1, c2 = (grid.ravel() for grid in np.meshgrid(c1_start + GRID_C1, c2_start + GRID_C2))
    drop = fall(t[None, :], c1.astype(np.uint64)[:, None], c2.astype(np.uint64)[:, None])
    error = -(drop << ERROR_BITS) - exact(series, t)
    low, high = error.min(axis=1), error.max(axis=1)
    shift = centre(low, high) << ERROR_BITS
    order = np.argsort(np.maximum(high + shift, -low - shift), kind="stable")[:FINALISTS]
    return [(int(c1[i]), int(c2[i])) for i in order]


def curved_row(octave: int, series: Sequence[float], carry: int) -> tuple[Row, int]:
    """The best (c0, c1, c2) of a row that many words share, and `carry` plus its summed error."""
    t = reachable(octave, DENSE)
    target = exact(series, t)
    scored: list[tuple[int, int, Row]] = []
    for c1, c2 in coarse_search(octave, series):
        error = -(fall(t, np.uint64(c1), np.uint64(c2)) << ERROR_BITS) - target
        low, high = error.min(), error.max()
        c0 = int(centre(low, high))
        shift = c0 << ERROR_BITS
        worst = max(int(high) + shift, -int(low) - shift)
        scored.append((worst, carry + int(error.sum()) + shift * t.size, (c0, c1, c2)))
    good = min(worst for worst, _, _ in scored) + SLACK
    _, _, row, total = min((abs(s), worst, row, s) for worst, s, row in scored if worst <= good)
    return row, total


def single_row(octave: int, index: int) -> Row:
    """A row met by one word at most; rows that no odd word meets follow the same rule."""
    width = mpmath.mpf(2) ** (octave - 7)
    # In octave 8 the first word of a row is even, so the second is the one that counts.
    w = (ROWS_PER_OCTAVE + index) * width + (1 if octave == 8 else 0)
    return int(mpmath.nint(mpmath.ldexp(quantile(w), 28))), 0, 0


def rows() -> Iterator[Row]:
    """All rows, by octave, then by index."""
    polynomials = derivative_polynomials(TAYLOR_TERMS)
    for octave in range(OCTAVES):
        carry = 0
        for index in range(ROWS_PER_OCTAVE):
            if octave < FIRST_CURVED_OCTAVE:
                yield single_row(octave, index)
            else:
                row, carry = curved_row(octave, taylor(octave, index, polynomials), carry)
                yield row


def pack(row: Row) -> tuple[int, int]:
    """The two words of a row, or an error where a field or a difference could overflow."""
    c0, c1, c2 = row
    if c1 % 2 or not 0 <= c1 < 1 << 21 or not 0 <= c2 < 1 << 12:
        raise OverflowError(f"row {row} does not fit its fields")
    if c1 < c2 or not 0 <= c0 < 1 << 31:
        raise OverflowError(f"row {row} could turn negative on the way")
    return c0, (c1 >> 1) << 12 | c2


def build() -> bytes:
    """The table: 4096 rows of two little-endian 32-bit words."""
    with mp.workdps(DIGITS):
        words = [pack(row) for row in rows()]
    return np.array(words, dtype="<u4").tobytes()


def shipped_path() -> Path:
    """Where the package keeps its table."""
    # Found, not imported: the package refuses to start without the table that is made here.
    spec = importlib.util.find_spec("initspec")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("initspec is not installed")
    return Path(spec.submodule_search_locations[0]) / "data" / "normal_v1.bin"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or check the one that is there."""
    parser = argparse.ArgumentParser(description="Compute the normal table of stream version 1.")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    parser.add_argument("--out", type=Path, metavar="PATH", help="instead of the shipped file")
    options = parser.parse_args(arguments)
    path = options.out or shipped_path()
    data = build()
    digest = hashlib.sha256(data).hexdigest()
    print(f"sha256 {digest}")
    if digest != SHA256:
        # The table is frozen: other bytes would be another stream.
        print(f"differs from the pinned digest {SHA256}", file=sys.stderr)
        return 1
    if not options.check:
        write_atomically(path, data)
    elif not path.is_file() or path.read_bytes() != data:
        print(f"{path} is missing or holds other bytes", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
