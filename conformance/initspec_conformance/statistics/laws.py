"""The laws that values are compared with: distribution functions, and what rounding makes of them.

A `Target` is a normal, a truncated normal or a uniform law with given parameters: never estimated
ones. In a 16-bit dtype the values are atoms; `Atoms` has the mass of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec.initializer import Initializer
from initspec.law import law
from initspec.layout import Geometry
from initspec.moments import truncated_moments
from initspec.stream import as_float

__all__ = ["Atoms", "Target", "atoms"]

Array = NDArray[np.float64]
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _phi(z: Any) -> Any:
    """The standard normal distribution function."""
    return 0.5 * np.asarray(_erfc(np.asarray(z) / -math.sqrt(2.0)), np.float64)


@dataclass(frozen=True)
class Target:
    """The law of one value.

    Attributes:
        kind: ``normal``, ``truncated_normal`` or ``uniform``.
        centre, sigma: of the normal before it is cut; the middle and half the width of a uniform.
        low, high: the support; infinite where there is no bound.
        mean, std, kurtosis: of the values, after the cut.
    """

    kind: str
    centre: float
    sigma: float
    low: float
    high: float
    mean: float = field(compare=False)
    std: float = field(compare=False)
    kurtosis: float = field(compare=False)

    @classmethod
    def normal(cls, mean: float, std: float) -> Target:
        """N(mean, std**2)."""
        return cls("normal", mean, std, -math.inf, math.inf, mean, std, 3.0)

    @classmethod
    def uniform(cls, low: float, high: float) -> Target:
        """U(low, high)."""
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        return cls("uniform", middle, half, low, high, middle, half / math.sqrt(3.0), 1.8)

    @classmethod
    def truncated(
        cls, centre: float, sigma: float, low: float | None, high: float | None
    ) -> Target:
        """N(centre, sigma**2) cut at ``low`` and ``high``, which count in sigmas."""
        cut = truncated_moments(low, high)
        return cls(
            "truncated_normal",
            centre,
            sigma,
            -math.inf if low is None else centre + sigma * low,
            math.inf if high is None else centre + sigma * high,
            centre + sigma * cut.mean,
            sigma * cut.std,
            cut.kurtosis,
        )

    @classmethod
    def of(cls, init: Initializer, geometry: Geometry) -> Target | None:
        """The law of an initializer's values; None if they are not independent draws.

        >>> import initspec
        >>> geometry = initspec.Layout.parse("IO").bind((50, 3))
        >>> Target.of(initspec.he_normal, geometry).std
        0.2
        """
        found = law(init, geometry)
        drawn = getattr(found.content, "kind", None)
        if drawn == "normal":
            return cls.normal(found.mean, found.std)
        if drawn == "uniform":
            assert found.low is not None and found.high is not None
            return cls.uniform(found.low, found.high)
        if drawn != "truncated_normal":
            return None
        if init.absolute:
            assert init.std is not None
            ends = [
                None if b is None else (b - init.mean) / init.std for b in (init.low, init.high)
            ]
            return cls.truncated(init.mean, init.std, *ends)
        cut = truncated_moments(init.low, init.high)
        sigma = found.std / cut.std
        return cls.truncated(found.mean - sigma * cut.mean, sigma, init.low, init.high)

    def scaled(self, factor: float) -> Target:
        """The law of the values times ``factor``."""
        low, high = self.low * factor, self.high * factor
        moments = (self.mean * factor, self.std * factor, self.kurtosis)
        return Target(self.kind, self.centre * factor, self.sigma * factor, low, high, *moments)

    def cdf(self, x: Any) -> Any:
        """P(value <= x), for an array or a number."""
        if self.kind == "uniform":
            return np.clip((np.asarray(x, np.float64) - self.low) / (2 * self.sigma), 0.0, 1.0)
        whole = _phi((np.asarray(x, np.float64) - self.centre) / self.sigma)
        return np.clip((whole - self._ends[0]) / self.mass, 0.0, 1.0)

    def sf(self, x: Any) -> Any:
        """P(value > x), accurate where it is small."""
        if self.kind == "uniform":
            return np.clip((self.high - np.asarray(x, np.float64)) / (2 * self.sigma), 0.0, 1.0)
        whole = _phi((self.centre - np.asarray(x, np.float64)) / self.sigma)
        return np.clip((whole - self._ends[1]) / self.mass, 0.0, 1.0)

    def quantile(self, share: Array) -> Array:
        """The values below which these shares of the law lie, by bisection."""
        reach = 40.0 * self.std
        low = np.full(share.shape, max(self.low, self.mean - reach))
        high = np.full(share.shape, min(self.high, self.mean + reach))
        for _ in range(60):
            middle = (low + high) / 2
            short = self.cdf(middle) < share
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return high

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The mass that a cut removes below and above."""
        below = float(_phi((self.low - self.centre) / self.sigma))
        return below, float(_phi((self.centre - self.high) / self.sigma))

    @property
    def mass(self) -> float:
        """What a cut leaves of the normal; 1 without one."""
        return 1.0 if self.kind == "uniform" else 1.0 - sum(self._ends)

    @property
    def name(self) -> str:
        """In words, with its standard deviation."""
        kind = self.kind.replace("_", " ")
        return f"{kind}, std {self.std:.6g}"


# --- rounding ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Atoms:
    """The mass of each of the 2**16 values of a 16-bit dtype, by bit pattern.

    A value stands for all real numbers that round to it, to nearest: its cell.

    Attributes:
        below: P(a draw falls short of the cell).
        mass: P(it falls into it); 0 for infinities and NaN.
        round_numbers: whether the value is a power of two, of either sign: there the cell is
            three quarters as wide as that of its neighbour above, if values are rounded to
            nearest; cutting digits off makes both equally wide.
    """

    below: Array
    mass: Array
    round_numbers: NDArray[np.bool_]

    def unfold(self, bits: NDArray[np.uint16], share: Array) -> Array:
        """U = F(x) of values somewhere in their cells: exactly uniform if ``share`` is."""
        drawn: Array = self.below[bits] + share * self.mass[bits]
        return drawn


@lru_cache(maxsize=64)
def atoms(target: Target, dtype: str) -> Atoms:
    """The atoms of a law in ``bfloat16`` or ``float16``."""
    values = _values(dtype)
    finite = np.isfinite(values)
    keys = (~np.signbit(values), np.where(finite, values, np.inf))  # -0 comes before 0
    order = np.lexsort(keys)[: finite.sum()]
    ascending = values[order]
    middles = (ascending[1:] + ascending[:-1]) / 2
    edges = np.concatenate([[0.0], target.cdf(middles), [1.0]])
    below, mass = np.zeros(2**16), np.zeros(2**16)
    below[order], mass[order] = edges[:-1], np.diff(edges)
    mantissa = 7 if dtype == "bfloat16" else 10
    empty = (np.arange(2**16) & (2**mantissa - 1)) == 0
    return Atoms(below, mass, empty & finite & (values != 0))


@lru_cache(maxsize=2)
def _values(dtype: str) -> Array:
    patterns = np.arange(2**16, dtype=np.uint16)
    return as_float(patterns if dtype == "bfloat16" else patterns.view(np.float16))
