"""Moments of a truncated unit normal, correctly rounded on every platform.

The standard deviation of the cut normal enters the scale of every truncated draw, so its last bit
is part of the stream. Decimal arithmetic gives the same digits everywhere; libm does not.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Moments", "truncated_moments"]

_DIGITS = 60
_TAU = Decimal("6.28318530717958647692528676655900576839433879875021164194988918461563281257242")
_BEYOND = 12.0  # phi(12) is 2e-32: a bound out there changes no digit of a float64


class Moments(NamedTuple):
    """Mass inside the bounds, then mean, standard deviation and kurtosis of what is inside."""

    mass: float
    mean: float
    std: float
    kurtosis: float


@lru_cache(maxsize=1024)
def truncated_moments(low: float | None, high: float | None) -> Moments:
    """Moments of N(0, 1) restricted to ``[low, high]``; None is unbounded.

    ``m[k] = (k - 1) m[k-2] - (b**(k-1) phi(b) - a**(k-1) phi(a)) / mass``.

    >>> truncated_moments(-2.0, 2.0).std
    0.8796256610342398
    """
    with localcontext(Context(prec=_DIGITS)):  # whatever precision and traps the caller has
        bounds = [
            None if bound is None or abs(bound) > _BEYOND else Decimal(bound)
            for bound in (low, high)
        ]
        mass = _area(bounds[1], upper=True) - _area(bounds[0], upper=False)
        raw = [Decimal(0), Decimal(1)]  # m[-1], whose factor is zero, and m[0]
        for order in range(1, 5):
            edge = _edge(bounds[1], order - 1) - _edge(bounds[0], order - 1)
            raw.append((order - 1) * raw[-2] - edge / mass)
        mean, second, third, fourth = raw[2:]
        variance = second - mean**2
        central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
        kurtosis = central / variance**2
        return Moments(float(mass), float(mean), float(variance.sqrt()), float(kurtosis))


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp() / _TAU.sqrt()


def _edge(bound: Decimal | None, power: int) -> Decimal:
    if bound is None:
        return Decimal(0)
    return _density(bound) * (bound**power if power else 1)  # Decimal refuses 0**0


def _area(bound: Decimal | None, *, upper: bool) -> Decimal:
    """Integral of the density from 0 to ``bound``: ``phi(x) * sum x**(2k+1) / (2k+1)!!``."""
    if bound is None:
        return Decimal("0.5") if upper else Decimal("-0.5")
    term = total = bound
    odd = 1
    while abs(term) > abs(total) * Decimal(10) ** -_DIGITS:
        odd += 2
        term = term * bound * bound / odd
        total += term
    return _density(bound) * total
