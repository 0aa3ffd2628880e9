"""Moments of the truncated normal against 80-digit arithmetic, to the last bit."""

from __future__ import annotations

import decimal
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initspec.moments import Moments, truncated_moments

mp = mpmath.mp.clone()
mp.dps = 80


def density(x: mpmath.mpf) -> mpmath.mpf:
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def exact(low: float | None, high: float | None) -> Moments:
    """By error functions, with m2 and m4 in closed form: other formulas than ours."""
    a, b = (-mp.inf if low is None else mp.mpf(low)), (mp.inf if high is None else mp.mpf(high))
    mass = (mp.erf(b / mp.sqrt(2)) - mp.erf(a / mp.sqrt(2))) / 2

    def edges(power: int) -> mpmath.mpf:
        """``a**power phi(a) - b**power phi(b)``, over the mass."""
        at_a, at_b = (0 if mp.isinf(x) else x**power * density(x) for x in (a, b))
        return (at_a - at_b) / mass

    mean = edges(0)
    variance = 1 + edges(1) - mean**2
    third, fourth = 2 * mean + edges(2), 3 + 3 * edges(1) + edges(3)
    central = fourth - 4 * mean * third + 6 * mean**2 * (1 + edges(1)) - 3 * mean**4
    numbers = (mass, mean, mp.sqrt(variance), central / variance**2)
    return Moments(*(float(number) for number in numbers))


KNOWN = [
    (-1.0, 1.0, 0.539560093754896973),
    (-2.0, 2.0, 0.87962566103423975),
    (-3.0, 3.0, 0.986578392558108621),
    (-4.0, 4.0, 0.999464501807079602),
]


@pytest.mark.parametrize(("low", "high", "std"), KNOWN)
def test_known_deviations(low: float, high: float, std: float) -> None:
    assert truncated_moments(low, high).std == std


BOUNDS: list[tuple[float | None, float | None]] = [
    (-2.0, 2.0),
    (0.0, None),
    (None, 0.0),
    (0.0, 1.0),
    (-1.0, 0.0),
    (1.0, 2.0),
    (-1e-3, 1e-3),
    (0.1, 0.1001),
    (-4.2, -4.0),
    (3.9, None),
    (None, -3.9),
    (None, 6.0),
    (-6.3, 6.3),
    (-11.9, 11.9),
    (-5.0, 0.3),
    (2.0, 2.0 + 2.0**-10),
    (math.pi, math.pi + 1),
]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_moments_to_the_last_bit(low: float | None, high: float | None) -> None:
    assert truncated_moments(low, high) == exact(low, high)


@given(
    low=st.none() | st.floats(-6, 4, allow_subnormal=False),
    length=st.none() | st.floats(1e-3, 8),
)
def test_any_moments_to_the_last_bit(low: float | None, length: float | None) -> None:
    high = length if low is None or length is None else low + length
    assert truncated_moments(low, high) == exact(low, high)


@given(st.floats(1e-3, 9))
def test_symmetry(bound: float) -> None:
    both = truncated_moments(-bound, bound)
    assert both.mean == 0.0
    low, high = truncated_moments(-bound, 1.5 * bound), truncated_moments(-1.5 * bound, bound)
    assert (low.mean, low.std, low.kurtosis) == (-high.mean, high.std, high.kurtosis)


@pytest.mark.parametrize("bounds", [(None, None), (-13.0, None), (-1e300, 1e300), (None, math.inf)])
def test_bounds_that_change_no_digit(bounds: tuple[float | None, float | None]) -> None:
    assert truncated_moments(*bounds) == (1.0, 0.0, 1.0, 3.0)


def test_the_formulas_against_an_integral() -> None:
    """A third way: the definition, by quadrature."""
    low, high = -0.7, 2.3
    mass, mean, std, kurtosis = truncated_moments(low, high)
    with mpmath.workdps(25):

        def moment(power: int, centre: float) -> float:
            value = mpmath.quad(
                lambda x: (x - centre) ** power * mpmath.npdf(x), np.linspace(low, high, 7).tolist()
            )
            return float(value)

        assert moment(0, 0.0) == pytest.approx(mass, rel=1e-15)
        assert moment(1, 0.0) / mass == pytest.approx(mean, rel=1e-14)
        assert moment(2, mean) / mass == pytest.approx(std**2, rel=1e-14)
        assert moment(4, mean) / mass / std**4 == pytest.approx(kurtosis, rel=1e-14)


def test_the_callers_decimal_context_counts_for_nothing() -> None:
    with decimal.localcontext() as context:
        context.prec = 3
        context.traps[decimal.Inexact] = True
        truncated_moments.cache_clear()
        assert truncated_moments(-2.0, 2.0).std == 0.87962566103423975
