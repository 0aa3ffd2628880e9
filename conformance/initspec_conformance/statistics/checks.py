"""The laws of the statistics: from a statistic to the probability of one as far from its mean.

All samples are standardised with the mean and std that the specification gives, never with
estimated ones, so that every law below is that of a known distribution. A threshold is always
``p < ALPHA`` (see `initspec_conformance.results`); nothing else is tuned.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from initspec_conformance.results import ALPHA, RUN_ALPHA, Check

__all__ = [
    "bins_check",
    "chi_square",
    "counts",
    "extreme_check",
    "gaussian",
    "impossible",
    "largest_check",
    "legendre",
    "legendre_check",
    "mean_check",
    "needed",
    "products",
    "rare",
    "resolution",
    "squares",
    "std_check",
    "variety_check",
]

Array = NDArray[np.float64]
ORDERS = 4  # Legendre components: location, spread, skewness, kurtosis
_FAR = 1e12  # where p is 0 for certain, and squares do not overflow
NAMES = ("location", "spread", "skewness", "kurtosis")


def gaussian(z: float) -> float:
    """P(|Z| >= |z|) of a standard normal Z.

    >>> round(gaussian(1.959964), 4)
    0.05
    """
    return math.erfc(abs(z) / math.sqrt(2.0))


def chi_square(ratio: float, freedom: float) -> float:
    """A normal deviate as improbable as ``ratio = x / freedom`` is for x ~ chi2(freedom).

    Barndorff-Nielsen's formula for the gamma law, ``r + log(u / r) / r`` with
    ``r = sign(w - 1) sqrt(n (w - 1 - log w))`` and ``u = (w - 1) sqrt(n / 2)``: at 5e-11 it gives
    1.13 times the true p for n = 1, 1.02 times for n = 5, and never less than the true one.

    >>> round(chi_square(1.5, 100.0), 3)  # P(chi2(100) > 150) = 0.000904
    3.12
    """
    if ratio <= 0:
        return -math.inf
    ratio = min(ratio, _FAR)
    distance = ratio - 1 - math.log(ratio)
    if distance < 1e-12:
        return (ratio - 1) * math.sqrt(freedom / 2) + math.sqrt(2 / freedom) / 3
    r = math.copysign(math.sqrt(freedom * distance), ratio - 1)
    u = (ratio - 1) * math.sqrt(freedom / 2)
    return r + math.log(u / r) / r


def counts(squares: float, unit: float, places: int) -> float:
    """A normal deviate as improbable as the squares of counts around their mean.

    ``squares / unit ~ chi2(places - 1)`` for counts that add up to a constant. Counts are whole
    numbers, and each combination of them stands for a cell whose farthest corner is
    ``sqrt(places) / 2`` away: counts as even as that are nothing strange.

    Args:
        squares: the sum of the squared differences of the counts from their mean.
        unit: the variance of a count, times ``places / (places - 1)``.
        places: how many counts there are.
    """
    freedom = places - 1
    if squares < freedom * unit:
        farthest = (math.sqrt(squares) + math.sqrt(places) / 2) ** 2
        squares = min(farthest, freedom * unit)
    return chi_square(squares / unit / freedom, freedom)


def squares(ratio: float, kurtosis: float, size: float) -> float:
    """How improbable it is that a mean of n squares ``y**2`` of mean 1 is ``ratio``.

    ``n * ratio ~ chi2(n)``, exactly, for normal y. The squares of other y, of kurtosis k, have the
    variance ``k - 1``. For a symmetric bounded y their mean is more skew than a normal one and less
    than a gamma law of the same variance, ``chi2(2 n / (k - 1))``: the larger p of the two is a
    bound. With one bound only, the true tail at 5e-11 can be longer: for half a normal 1.9 times
    the nominal one at n = 2**14, 1.1 times at 2**20.

    >>> round(squares(1.5, 3.0, 100), 5)
    0.00181
    """
    gamma = gaussian(chi_square(ratio, 2 * size / (kurtosis - 1)))
    if kurtosis == 3.0:
        return gamma
    return max(gamma, gaussian((ratio - 1) / math.sqrt((kurtosis - 1) / size)))


def products(z: float, size: int) -> float:
    """A normal deviate as improbable as ``z = sum(y[i] y[i + lag]) / sqrt(n)``.

    For normal y the sum is a quadratic form whose eigenvalues are cosines. Its cumulants are those
    of ``K(t) = -n/2 log((1 + q) / 2)`` with ``q = sqrt(1 - 4 t**2)``, and the formula of
    `chi_square` turns them into a deviate: q solves ``K'(t) = z sqrt(n)``. Products of values that
    are bounded, or in no chain, have lighter tails.

    >>> round(products(6.57, 2**10), 2), round(products(6.57, 2**20), 2)
    (6.4, 6.57)
    """
    share = min(abs(z), _FAR) / math.sqrt(size)
    if share < 1e-4:  # q is 1, and so is the correction
        return z
    low, high = 0.0, 1.0
    for _ in range(60):
        q = (low + high) / 2
        low, high = (q, high) if math.sqrt((1 - q) / (1 + q)) > share * q else (low, q)
    t = math.sqrt((1 - q) * (1 + q)) / 2
    r = math.sqrt(size * (2 * t * share + math.log((1 + q) / 2)))
    u = t * math.sqrt(2 * size * (1 + q - q * q) / (q**3 * (1 + q)))
    return math.copysign(r + math.log(u / r) / r, z)


def impossible(name: str, count: int) -> Check:
    """What no honest initializer does, not even once: NaN, a value beyond a bound, a copied run."""
    return Check(name, float(count), 0.0, 0.0, 0.0 if count else 1.0)


def rare(name: str, value: float, count: int, mean: float) -> Check:
    """What happens by chance, ``mean`` times in all: ``P(N >= k) <= exp(k - mean) (mean / k)**k``.

    Chernoff's bound for a Poisson or binomial number N; ``value`` is what the check shows.
    """
    bound = count - mean - count * math.log(count / mean) if count > mean > 0 else 0.0
    return Check(name, value, 0.0, 0.0, 0.0 if count > mean == 0 else math.exp(bound))


def mean_check(mean: float, std: float, average: float, size: int) -> Check:
    """``sqrt(n) * (average - mean) / std ~ N(0, 1)``: exact for a normal, else asymptotic.

    The true tail at 5e-11 of a symmetric bounded law is lighter than the normal one.
    """
    error = std / math.sqrt(size)
    return Check("mean", average, mean, error, gaussian((average - mean) / error))


def std_check(std: float, ratio: float, kurtosis: float, size: int) -> Check:
    """The mean square deviation from the specified mean, ``ratio`` times the variance.

    Its law is that of `squares`: exact for a normal, else a bound.
    """
    error = std / 2 * math.sqrt((kurtosis - 1) / size)
    return Check("std", std * math.sqrt(ratio), std, error, squares(ratio, kurtosis, size))


def legendre(u: Array) -> Array:
    """Sums of the orthonormal Legendre polynomials of ``2u - 1``, orders 1 to 4."""
    x = 2 * u - 1
    square = x * x
    second = 1.5 * square - 0.5
    third = (2.5 * square - 1.5) * x
    fourth = (4.375 * square - 3.75) * square + 0.375
    sums = [float(part.sum()) for part in (x, second, third, fourth)]
    return np.array(sums) * np.sqrt(2 * np.arange(1, ORDERS + 1) + 1)


def legendre_check(order: int, total: float, size: int) -> Check:
    """Neyman's smooth components of U = F(x): ``sum / sqrt(n) ~ N(0, 1)``.

    The polynomials are bounded, so the approximation is good in the tails: at 5e-11 the true tail
    is within 0.7 to 2.0 times the nominal one for n = 256, within 1.07 for n = 4096. The fourth
    raw moment, by contrast, is tripped by one value in the tail.
    """
    error = 1 / math.sqrt(size)
    return Check(NAMES[order], total / size, 0.0, error, gaussian(total * error))


def bins_check(found: NDArray[np.int64], most: int = 1024) -> Check:
    """Pearson's chi-square of U = F(x) over k equal bins: ``~ chi2(k - 1)``, with n / k >= 32.

    ``found`` are the counts of a power of two of bins, which are joined until there are few enough.
    The value is the statistic per degree of freedom; too even is suspicious as well.
    """
    size = int(found.sum())
    while found.size > max(2, min(most, size // 32)):
        found = found.reshape(-1, 2).sum(1)
    mean = size / found.size
    freedom = found.size - 1
    uneven = float(((found - mean) ** 2).sum())
    p = gaussian(counts(uneven, mean, found.size))
    return Check("distribution", uneven / mean / freedom, 1.0, math.sqrt(2 / freedom), p)


def extreme_check(
    name: str, value: float, typical: float, short: float, beyond: float, size: int
) -> Check:
    """The largest of n values: ``P(all <= m) = F(m)**n``, exactly, and the same for the smallest.

    Args:
        name: ``largest`` or ``smallest``.
        value: the extreme value m.
        typical: its median.
        short: P(a value is more extreme than m), so that ``F(m) = 1 - short``: finds missing tails.
        beyond: P(a value is as extreme as m, or more): finds tails that are too long. In a 16-bit
            dtype the two differ by the mass of m; 1 for a law with a bound there.
        size: n.
    """
    inside = math.exp(size * math.log1p(-short)) if short < 1 else 0.0
    outside = -math.expm1(size * math.log1p(-beyond)) if beyond < 1 else 1.0
    return Check(name, value, typical, 0.0, min(1.0, 2 * min(inside, outside)))


def largest_check(name: str, values: Array, size: int, copies: float = 1.0) -> Check:
    """The largest of several normalised sums of n products, by Bonferroni's inequality.

    Args:
        name: of the check.
        values: the sums, each divided by ``sqrt(n)``.
        size: n, see `products`.
        copies: how many sums each of the values is the largest of.
    """
    worst = float(np.abs(values).max(initial=0.0))
    p = gaussian(products(worst, size)) * max(1.0, values.size * copies)
    return Check(name, worst, 0.0, 1.0, min(1.0, p))


def variety_check(found: int, mass: Array, size: int) -> Check:
    """Different values in a 16-bit dtype, against those that the law would give.

    The number is a sum of negatively associated indicators with mean ``E = sum 1 - (1 - p)**n``,
    so ``P(number <= E - d) <= exp(-d**2 / (2 E))``, by Chernoff's bound.
    """
    with np.errstate(divide="ignore"):
        expected = float(-np.expm1(size * np.log1p(-mass)).sum())
    lack = max(0.0, expected - found)
    p = math.exp(-(lack**2) / (2 * expected)) if expected else 1.0
    return Check("different values", float(found), expected, math.sqrt(expected), p)


def resolution(size: int, kurtosis: float) -> float:
    """The smallest relative error of the std that is found with probability 1 - 1e-6.

    A deviation of ``z(ALPHA) + z(1e-6)`` standard errors, each ``sqrt((k - 1) / (4 n))``.

    >>> round(resolution(2**20, 3.0), 4)
    0.0078
    """
    return (_Z_ALARM + _Z_POWER) * math.sqrt((kurtosis - 1) / (4 * size))


def needed(error: float, kurtosis: float) -> int:
    """How many values find a relative error of the std with probability 1 - 1e-6.

    >>> needed(0.01, 3.0)
    641206
    """
    return math.ceil(((_Z_ALARM + _Z_POWER) / error) ** 2 * (kurtosis - 1) / 4)


def _deviate(p: float) -> float:
    """The z with P(|Z| >= z) = p, by bisection: in far tails, too."""
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian(middle) > p else (low, middle)
    return high


_Z_ALARM = _deviate(ALPHA)
_Z_POWER = _deviate(2 * RUN_ALPHA)  # one-sided
