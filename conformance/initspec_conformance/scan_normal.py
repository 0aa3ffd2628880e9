"""Measure the fixed-point normal against the exact quantile.

    python -m initspec_conformance.scan_normal [--exhaustive] [--json PATH]

A word and its complement give opposite values, so the `2**31` odd `w` of the upper half stand for
all `2**32` words (see `generate_table` for `w`). They are visited in the order of growing quantile:

* by default a stratified sample: the first, middle and last word of every row, every `w < 2**20`,
  and `2**22` words spread evenly, whose complements are evaluated as well;
* with `--exhaustive` all of them (minutes), which also gives the moments of the discrete law.

Reported: the largest error and where it is; the monotonicity depth, i.e. how far a value can lie
below an earlier one; the moments. These stand beside the moments of the exact quantile at the same
bin centres: what that law lacks against 1 and 3 is due to 32-bit words, not to the table.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from initspec import files
from initspec.stream import normal

UNIT = 2.0**-28
# Small enough for the temporaries to stay in the cache.
CHUNK = 1 << 16

Words = NDArray[np.uint32]
Values = NDArray[np.int64]
Floats = NDArray[np.float64]


def upper_words(w: NDArray[np.int64]) -> Words:
    """The words of the upper half whose tail probability is `w / 2**33`."""
    return ((0xFFFFFFFF - w) >> 1).astype(np.uint32)


def all_w() -> Iterator[NDArray[np.int64]]:
    """Every odd `w`, from the median out to the tail."""
    for high in range(1 << 32, 0, -2 * CHUNK):
        yield np.arange(high - 1, high - 2 * CHUNK, -2, dtype=np.int64)


def row_edges() -> NDArray[np.int64]:
    """The first, middle and last odd `w` of every row that has more than one."""
    octave, index = np.divmod(np.arange(8 * 128, 32 * 128, dtype=np.int64), 128)
    width = np.int64(1) << (octave - 7)
    first = (128 + index) * width + 1
    return np.concatenate([first, first + ((width >> 2) << 1), first + width - 2])


def sample_w() -> NDArray[np.int64]:
    """The stratified sample, in the same order as `all_w`."""
    # An odd stride, so that the low bits vary; what it leaves out is far down the tail.
    spread = (1 << 32) - 1 - 2 * 511 * np.arange(1 << 22, dtype=np.int64)
    tail = np.arange(1, 1 << 20, 2, dtype=np.int64)
    return np.unique(np.concatenate([spread, tail, row_edges()]))[::-1]


@dataclass
class Moments:
    """Even moments of a law that is symmetric about zero, from its upper half."""

    count: int = 0
    squares: list[float] = field(default_factory=list)
    fourths: list[float] = field(default_factory=list)

    def add(self, x: NDArray[np.floating]) -> None:
        """Take in the values `x`; each stands for itself and its opposite."""
        square = x * x
        self.count += x.size
        self.squares.append(float(square.sum()))
        self.fourths.append(float((square * square).sum()))

    def summary(self) -> dict[str, float]:
        """Variance and kurtosis with their relative errors; the odd moments vanish by symmetry."""
        variance = math.fsum(self.squares) / self.count
        kurtosis = math.fsum(self.fourths) / self.count / variance**2
        return {
            "mean": 0.0,
            "variance": variance,
            "skewness": 0.0,
            "kurtosis": kurtosis,
            "variance_error": variance - 1,
            "kurtosis_error": kurtosis / 3 - 1,
        }


@dataclass
class Scan:
    """What is known after the words seen so far, which come in the order of growing quantile."""

    words: int = 0
    error: float = 0.0
    error_w: int = 0
    bias: float = 0.0
    peak: int = 0
    depth: int = 0
    depth_w: int = 0
    fixed: Moments = field(default_factory=Moments)
    centres: Moments = field(default_factory=Moments)

    def add(self, w: NDArray[np.int64]) -> None:
        """Take in one chunk of odd `w`, in falling order."""
        z = normal(upper_words(w)).astype(np.int64)
        x = -ndtri(w * 2.0**-33)
        self._compare(w, z - x / UNIT)
        self._follow(w, z)
        self.fixed.add(z * UNIT)
        self.centres.add(x)
        self.words += 2 * w.size

    def _compare(self, w: NDArray[np.int64], error: Floats) -> None:
        at = int(np.abs(error).argmax())
        self.bias += float(error.sum())
        if abs(error[at]) > self.error:
            self.error, self.error_w = float(abs(error[at])), int(w[at])

    def _follow(self, w: NDArray[np.int64], z: Values) -> None:
        peaks = np.maximum(np.maximum.accumulate(z), self.peak)
        at = int((peaks - z).argmax())
        if peaks[at] - z[at] > self.depth:
            self.depth, self.depth_w = int(peaks[at] - z[at]), int(w[at])
        self.peak = int(peaks[-1])

    def report(self) -> dict[str, object]:
        """The figures, ready for JSON."""
        return {
            "words": self.words,
            "max_error_units": self.error,
            "max_error": self.error * UNIT,
            "max_error_w": self.error_w,
            "mean_error_units": self.bias / (self.words / 2),
            "monotonicity_depth": self.depth,
            "monotonicity_depth_w": self.depth_w,
        }


def scan(exhaustive: bool) -> dict[str, object]:
    """Measure the table on all words or on the sample."""
    seen = Scan()
    if exhaustive:
        for w in all_w():
            seen.add(w)
        moments = {"moments": seen.fixed.summary(), "bin_centre_moments": seen.centres.summary()}
        return {**seen.report(), **moments}
    chosen = sample_w()
    for begin in range(0, chosen.size, CHUNK):
        seen.add(chosen[begin : begin + CHUNK])
    return {**seen.report(), "antisymmetric": antisymmetric(upper_words(chosen))}


def antisymmetric(words: Words) -> bool:
    """Whether complementary words give opposite values."""
    return bool(np.array_equal(normal(~words), -normal(words)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Scan the shipped table and print what was found."""
    parser = argparse.ArgumentParser(description="Measure the fixed-point normal.")
    parser.add_argument("--exhaustive", action="store_true", help="all words, and their moments")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report there as well")
    options = parser.parse_args(arguments)
    text = json.dumps(scan(options.exhaustive), indent=2)
    print(text)
    if options.json is not None:
        files.write(options.json, f"{text}\n".encode(), "--json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
