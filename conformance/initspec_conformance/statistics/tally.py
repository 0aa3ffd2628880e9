"""A tally of sample tensors: everything that the checks need, in bounded memory.

Tensors come one by one, drawn under neighbouring seeds or names; a `Tally` keeps sums of them, and
its checks compare the sums with the law.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec.layout import Geometry
from initspec.stream import as_float
from initspec_conformance.results import ALPHA, Check, Picture
from initspec_conformance.statistics.checks import (
    ORDERS,
    bins_check,
    extreme_check,
    gaussian,
    impossible,
    largest_check,
    legendre,
    legendre_check,
    mean_check,
    products,
    squares,
    std_check,
    variety_check,
)
from initspec_conformance.statistics.laws import Array, Target, atoms

__all__ = ["Tally"]

_FINE = 1024  # bins of U
_SEGMENT = 2**18  # values in one Fourier transform
_SHORTEST = 64  # values that an autocorrelation needs
_KEPT = 2**20  # values kept for pictures and for the diagnosis
_SEARCHED = 2**22  # values searched for repeated runs
_ULPS = {"float32": 4 * 2.0**-23, "float64": 4 * 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-11}
_DRAWN = 2.0**-22  # P(two draws are equal), at the most, of a generator with 23 bits
_FARTHEST = 1e15  # standard deviations: sums of fourth powers stay finite
_LINES = 32  # so many that rounding cannot make the sums along all of them vanish
_ODD = np.uint64(0x9E3779B97F4A7C15)
_PICTURE_BINS, _PICTURE_REACH = 60, 4.5


@dataclass
class _Axis:
    """Sums along one axis of the stored tensors."""

    name: str
    products: float = 0.0
    pairs: int = 0
    squares: float = 0.0
    lines: int = 0
    length: int = 0


class Tally:
    """What a sample of tensors of one law has shown so far.

    Args:
        target: the law.
        dtype: of the tensors.

    Example:
        >>> import initspec
        >>> geometry = initspec.Layout.parse("IO").bind((64, 64))
        >>> tally = Tally(Target.of(initspec.he_normal, geometry), "float32")
        >>> tally.add(initspec.he_normal((64, 64), seed=0), geometry)
        >>> [check.name for check in tally.checks() if not check.passed]
        []
    """

    def __init__(self, target: Target, dtype: str) -> None:
        self.target, self.dtype = target, dtype
        self.size = self.strange = self.beyond = 0
        self.first = self.second = 0.0  # sums of y and of y**2
        self.ends = (math.inf, -math.inf)
        self.components = np.zeros(ORDERS)
        self.bins = np.zeros(_FINE, np.int64)
        self.patterns = np.zeros(2**16, np.int64)
        self.axes: list[_Axis] = []
        self.spectrum: Array = np.zeros(0)
        self.segments = self._length = 0
        self.kept: list[Array] = []
        self._neighbour: NDArray[np.complex128] | None = None
        self._crossed: list[Array] = []
        self._stored_runs: list[NDArray[np.uint64]] = []
        self._canonical_runs: list[NDArray[np.uint64]] = []
        # Where in its cell a rounded value was, nobody knows: any fixed uniform numbers will do.
        self._shares = np.random.Generator(np.random.PCG64(0x243F6A88))

    @property
    def narrow(self) -> bool:
        """Whether the dtype has so few values that each has a mass."""
        return self.dtype in ("bfloat16", "float16")

    # --- adding -------------------------------------------------------------------------------

    def add(self, array: NDArray[Any], geometry: Geometry) -> None:
        """Count one tensor, as stored; bfloat16 as uint16 bit patterns."""
        values = as_float(array)
        finite = np.isfinite(values)
        self.strange += values.size - int(finite.sum())
        mean, reach = self.target.mean, _FARTHEST * self.target.std
        values = np.clip(np.where(finite, values, mean), mean - reach, mean + reach)
        standard = (values - mean) / self.target.std
        self._add_axes(standard, geometry)
        flat = np.ascontiguousarray(geometry.canonical(standard)).reshape(-1)
        self._add_values(values.reshape(-1), flat)
        self._add_uniforms(array.reshape(-1), values.reshape(-1), finite.reshape(-1))
        self._add_spectrum(flat)
        canonical = geometry.canonical(array).reshape(-1)
        self._add_runs(array.reshape(-1), self._stored_runs)
        if not np.shares_memory(canonical, array):  # else the two orders are one
            self._add_runs(canonical, self._canonical_runs)

    def _add_values(self, values: Array, standard: Array) -> None:
        if self.size < _KEPT:
            self.kept.append(values[: _KEPT - self.size].copy())  # a view would keep the tensor
        self.size += values.size
        self.first += float(standard.sum())
        self.second += float(standard @ standard)
        if values.size:
            low, high = float(values.min()), float(values.max())
            self.ends = (min(self.ends[0], low), max(self.ends[1], high))
        self.beyond += self.outside(values, self.target)

    def outside(self, values: Array, target: Target) -> int:
        """How many values are beyond the bounds of a law, but for the rounding to the dtype."""
        ends = [abs(end) for end in (target.low, target.high) if math.isfinite(end)]
        slack = _ULPS[self.dtype] * max(ends, default=0.0)
        return int(((values < target.low - slack) | (values > target.high + slack)).sum())

    def _add_uniforms(self, array: NDArray[Any], values: Array, finite: NDArray[np.bool_]) -> None:
        if self.narrow:
            bits = array.view(np.uint16)[finite]
            self.patterns += np.bincount(bits, minlength=2**16)
            share = self._shares.random(bits.size)
            u = atoms(self.target, self.dtype).unfold(bits, share)
        else:
            u = self.target.cdf(values[finite])
        self.components += legendre(u)
        place = np.minimum((u * _FINE).astype(np.int64), _FINE - 1)
        self.bins += np.bincount(place, minlength=_FINE)

    def _add_axes(self, standard: Array, geometry: Geometry) -> None:
        if not self.axes:
            words = _axis_names(geometry)
            self.axes = [_Axis(word) for word in words]
        for axis, sums in enumerate(self.axes):
            length = standard.shape[axis]
            lines = standard.size // max(1, length)
            if length < 2:
                continue
            along = np.moveaxis(standard, axis, 0)
            sums.products += float((along[1:] * along[:-1]).sum())
            sums.pairs += (length - 1) * lines
            sums.squares += float((along.sum(0) ** 2).sum()) / length
            sums.lines, sums.length = sums.lines + lines, length

    def _add_spectrum(self, flat: Array) -> None:
        length = self._length or min(_SEGMENT, flat.size)
        if not _SHORTEST <= length <= flat.size:
            return
        first = None
        for start in range(0, flat.size - length + 1, length):
            transform = np.fft.rfft(flat[start : start + length])
            power = np.abs(transform) ** 2
            self.spectrum = power if self.segments == 0 else self.spectrum + power
            self.segments += 1
            first = transform if first is None else first
        if self._neighbour is not None and first is not None:
            crossed = np.fft.irfft(np.conj(self._neighbour) * first, length)
            self._crossed.append(np.abs(crossed).max(keepdims=True) / math.sqrt(length))
        self._neighbour, self._length = first, length

    def _add_runs(self, array: NDArray[Any], seen: list[NDArray[np.uint64]]) -> None:
        """Hashes of all runs of k values: k so long that none occurs twice by chance."""
        room = _SEARCHED - sum(part.size for part in seen)
        bits = array.view(f"u{array.dtype.itemsize}")[: max(0, room)].astype(np.uint64)
        length = self._run_length()
        if bits.size < length:
            return
        hashes = np.zeros(bits.size - length + 1, np.uint64)
        for shift in range(length):
            part = bits[shift : shift + hashes.size]
            hashes = (hashes ^ part) * _ODD
            hashes ^= hashes >> np.uint64(29)
        seen.append(hashes)

    def _run_length(self) -> int:
        """The k for which ``n**2 P(two values equal)**k`` is at most ALPHA."""
        if self.narrow:
            equal = max(2.0**-14, float((atoms(self.target, self.dtype).mass ** 2).sum()))
        else:  # digits go where the mean is large beside the std, and draws where a cut leaves few
            equal = _DRAWN * (1 / self.target.mass + abs(self.target.mean) / self.target.std)
        return math.ceil(math.log(_SEARCHED**2 / ALPHA) / -math.log(min(0.5, equal)))

    # --- judging ------------------------------------------------------------------------------

    def checks(self) -> tuple[Check, ...]:
        """All checks of the sample."""
        return (*self._values(), *self._shape(), *self._structure())

    def _values(self) -> Iterator[Check]:
        yield impossible("not finite", self.strange)
        yield impossible("beyond the bounds", self.beyond)
        if not self.size:
            return
        target = self.target
        yield from self._extremes()
        average = target.mean + target.std * self.first / self.size
        yield mean_check(target.mean, target.std, average, self.size)
        yield std_check(target.std, self.second / self.size, target.kurtosis, self.size)

    def _extremes(self) -> Iterator[Check]:
        target = self.target
        median = 0.5 ** (1 / self.size)
        typical = target.quantile(np.array([1 - median, median])).tolist()
        for side, (short, reached) in enumerate(self._tails()):
            bound = (target.low, target.high)[side]
            beyond = 1.0 if math.isfinite(bound) else reached
            name = ("smallest", "largest")[side]
            yield extreme_check(name, self.ends[side], typical[side], short, beyond, self.size)

    def _tails(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """For either end: P(a value is more extreme), and P(it is as extreme, or more)."""
        if not self.narrow:
            low, high = float(self.target.cdf(self.ends[0])), float(self.target.sf(self.ends[1]))
            return (low, low), (high, high)
        masses = atoms(self.target, self.dtype)
        drawn = np.flatnonzero(self.patterns)
        below, above = masses.below[drawn], masses.below[drawn] + masses.mass[drawn]
        smallest = (float(below.min()), float(above.min()))
        return smallest, (float(1 - above.max()), float(1 - below.max()))

    def _shape(self) -> Iterator[Check]:
        if not self.size:
            return
        for order, total in enumerate(self.components):
            yield legendre_check(order, float(total), self.size)
        if self.bins.any():  # else no value is finite
            yield bins_check(self.bins)
        if self.narrow:
            masses = atoms(self.target, self.dtype)
            found = int((self.patterns > 0).sum())
            yield variety_check(found, masses.mass, self.size)
            yield from self._rounding(masses.mass[masses.round_numbers].sum())

    def _rounding(self, share: float) -> Iterator[Check]:
        """Values that are powers of two: binomial, and normal where 100 are expected."""
        expected = self.size * share
        if expected < 100:
            return
        masses = atoms(self.target, self.dtype)
        count = int(self.patterns[masses.round_numbers].sum())
        error = math.sqrt(expected * (1 - share))
        p = gaussian((count - expected) / error)
        yield Check("powers of two", count, expected, error, p)

    def _structure(self) -> Iterator[Check]:
        for axis in self.axes:
            if axis.pairs:
                z = axis.products / math.sqrt(axis.pairs)
                p = gaussian(products(z, axis.pairs))
                yield Check(f"correlation along {axis.name}", z, 0.0, 1.0, p)
            if axis.lines >= _LINES:
                yield self._sums(axis)
        length = self._length
        if self.segments:
            yield largest_check("autocorrelation", self._lags(), length * self.segments)
        if self._crossed:
            crossed = np.concatenate(self._crossed)
            yield largest_check("correlation of neighbours", crossed, length, length)
        yield impossible("repeated runs", self.repeats)

    def _sums(self, axis: _Axis) -> Check:
        """Squares of sums along an axis: see `squares`; exact for normals.

        A sum S of m standardised values has variance m and kurtosis ``3 + (k - 3) / m``.
        """
        kurtosis = 3 + (self.target.kurtosis - 3) / axis.length
        ratio = axis.squares / axis.lines
        error = math.sqrt((kurtosis - 1) / axis.lines)
        p = squares(ratio, kurtosis, axis.lines)
        return Check(f"sums along {axis.name}", ratio, 1.0, error, p)

    def _lags(self) -> Array:
        """Autocorrelations at all distances from 1 to half the segment, as normal deviates."""
        sums: Array = np.fft.irfft(self.spectrum, self._length)[1 : (self._length + 1) // 2]
        return sums / math.sqrt(self._length * self.segments)

    @property
    def period(self) -> int:
        """The distance at which values correlate most; 0 where no correlation was computed."""
        return 1 + int(np.abs(self._lags()).argmax()) if self.segments else 0

    @property
    def highest_correlation(self) -> float:
        """The deviate of the correlation of two equal segments, whatever their spread."""
        return math.sqrt(self._length) * self.second / max(1, self.size)

    @property
    def plain_correlation(self) -> float:
        """The most that independent values of this mean and spread correlate by."""
        mean, square = self.first / max(1, self.size), self.second / max(1, self.size)
        return 9 * square + 2 * mean**2 * math.sqrt(self._length * self.segments)

    @property
    def spread(self) -> float:
        """The root of the mean square deviation from the specified mean."""
        return self.target.std * math.sqrt(self.second / max(1, self.size))

    @property
    def repeats(self) -> int:
        """Runs seen before; equal hashes (64 bits) are taken for equal runs if there are several.

        A single pair of equal hashes is a coincidence of probability ``n**2 / 2**65``, 5e-7 for
        the most runs that are searched; a run that is copied for real repeats longer than k.
        """
        return _equal_pairs(self._stored_runs) + _equal_pairs(self._canonical_runs)

    # --- showing ------------------------------------------------------------------------------

    def sample(self) -> Array:
        """The first values, at most 2**20."""
        return np.concatenate(self.kept) if self.kept else np.zeros(0)

    def picture(self) -> Picture:
        """A histogram beside the law, and quantiles against quantiles."""
        target, values = self.target, self.sample()
        reach = _PICTURE_REACH * target.std
        bounded = math.isfinite(target.low) and math.isfinite(target.high)
        margin = 0.15 * (target.high - target.low) if bounded else 0.0
        low = target.low - margin if bounded else target.mean - reach
        high = target.high + margin if bounded else target.mean + reach
        edges = np.linspace(low, high, _PICTURE_BINS + 1)
        counts, _ = np.histogram(np.clip(values, low, high), edges)
        expected = np.diff(target.cdf(edges)) * values.size
        shares = np.concatenate([[0.001, 0.003], np.linspace(0.01, 0.99, 50), [0.997, 0.999]])
        found = np.quantile(values, shares) if values.size else shares * 0
        pairs = zip(target.quantile(shares).tolist(), found.tolist(), strict=True)
        return Picture(
            tuple(edges.tolist()), tuple(counts.tolist()), tuple(expected.tolist()), tuple(pairs)
        )


def _equal_pairs(hashes: list[NDArray[np.uint64]]) -> int:
    ordered = np.sort(np.concatenate(hashes)) if hashes else np.zeros(0)
    equal = int((ordered[1:] == ordered[:-1]).sum())
    return equal if equal > 1 else 0


def _axis_names(geometry: Geometry) -> list[str]:
    """``H``, ``W``, ``I``, ``O``; a letter that names two axes comes with their numbers."""
    letters = ["".join(factor.letter for factor in axis) for axis in geometry.layout.axes]
    return [
        word if letters.count(word) == 1 else f"{word} (axis {place})"
        for place, word in enumerate(letters)
    ]
