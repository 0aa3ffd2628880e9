"""The laws of the statistics, each against SciPy, an exact sum or a simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from scipy import stats

from initspec_conformance.results import ALPHA, MOST_CHECKS, RUN_ALPHA, Check
from initspec_conformance.statistics import checks as statistics
from initspec_conformance.statistics.checks import (
    bins_check,
    chi_square,
    counts,
    extreme_check,
    gaussian,
    impossible,
    largest_check,
    legendre,
    legendre_check,
    mean_check,
    needed,
    products,
    resolution,
    squares,
    std_check,
    variety_check,
)
from initspec_conformance.statistics.laws import Target

LEVELS = (0.3, 1e-2, 1e-6, 5e-11, 1e-20, 1e-100)
BOUNDED = (Target.uniform(-1.0, 1.0), Target.truncated(0.0, 1.0, -2.0, 2.0))


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


# --- thresholds ---------------------------------------------------------------------------------


def test_a_whole_run_raises_an_alarm_less_than_once_in_a_million():
    assert pytest.approx(RUN_ALPHA, rel=1e-12) == ALPHA * MOST_CHECKS
    assert RUN_ALPHA == 1e-6
    assert stats.norm.isf(ALPHA / 2) == pytest.approx(6.57, abs=0.005)


@pytest.mark.parametrize(
    ("p", "passed"), [(1.0, True), (ALPHA, True), (0.99 * ALPHA, False), (0, False)]
)
def test_a_check_fails_below_alpha(p, passed):
    assert Check("x", 0.0, 0.0, 0.0, p).passed is passed


def test_a_check_that_is_not_a_number_fails():
    assert not Check("x", 0.0, 0.0, 0.0, math.nan).passed


def test_impossible_things_fail_once_they_are_seen():
    assert impossible("x", 0).passed
    assert not impossible("x", 1).passed


# --- the laws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [0.0, 0.5, -1.0, 3.0, 6.57, -12.0, 30.0])
def test_gaussian_is_that_of_scipy(z):
    assert gaussian(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 31, 63, 1023, 2**14, 2**20, 12.5])
@pytest.mark.parametrize("p", LEVELS)
def test_chi_square_is_that_of_scipy(freedom, p):
    upper, lower = stats.chi2.isf(p / 2, freedom), stats.chi2.ppf(p / 2, freedom)
    most = 1 + 0.17 / freedom  # never less than the true p: no more false alarms than promised
    for value in (upper, lower):
        found = gaussian(chi_square(value / freedom, freedom)) / p
        assert 1 - 2e-3 <= found <= most + 2e-3, (value, found)


def test_chi_square_goes_through_its_mean_smoothly():
    near = [chi_square(1 + d, 100.0) for d in (-1e-4, -1e-6, -1e-7, 0.0, 1e-7, 1e-6, 1e-4)]
    assert near == sorted(near)
    assert np.diff(near).min() > 0
    assert chi_square(0.0, 5.0) == -math.inf


@pytest.mark.parametrize("target", BOUNDED, ids=lambda t: t.kind)
@pytest.mark.parametrize("size", [64, 256, 1024])
def test_squares_bound_the_exact_law(target, size):
    """The law of a mean of squares by convolution; the promised p is never less than the true."""
    mass, step = _squares_of(target)
    length = 2 ** math.ceil(math.log2(mass.size * size))
    exact = np.fft.irfft(np.fft.rfft(mass, length) ** size, length).clip(0)
    value = np.arange(length) * step / size
    below, above = np.cumsum(exact), np.cumsum(exact[::-1])[::-1]
    for level in (1e-2, 1e-4, 1e-7, ALPHA / 2):
        for tail, at in ((above, np.argmax(above < level)), (below, np.argmax(below > level))):
            assert squares(value[at], target.kurtosis, size) >= 0.98 * 2 * tail[at]


def _squares_of(target, cells=2**11):
    """The squares of the standardised values, on a grid, each value split between neighbours."""
    edges = np.linspace(target.low, target.high, 20_001)
    mass = np.diff(target.cdf(edges))
    square = (((edges[1:] + edges[:-1]) / 2 - target.mean) / target.std) ** 2
    step = square.max() / cells
    place = np.floor(square / step).astype(int)
    part = square / step - place
    grid = np.bincount(place, mass * (1 - part), cells + 2)
    return grid + np.bincount(place + 1, mass * part, cells + 2), step


@pytest.mark.parametrize("kurtosis", [1.8, 2.3655, 3.0])
def test_squares_agree_with_the_normal_law_where_samples_are_large(kurtosis):
    size = 2**24
    for z in (-6.57, -2.0, 2.0, 6.57):
        ratio = 1 + z * math.sqrt((kurtosis - 1) / size)
        assert squares(ratio, kurtosis, size) == pytest.approx(gaussian(z), rel=0.1)


@pytest.mark.parametrize("size", [64, 256])
def test_products_have_the_law_of_sums_along_a_ring(size):
    drawn = rng(1).standard_normal((10 * 2**14 * 64 // size, size))
    sums = np.abs((drawn * np.roll(drawn, 1, axis=1)).sum(axis=1)) / math.sqrt(size)
    for level in (1e-1, 1e-2, 1e-3):
        at = float(np.quantile(sums, 1 - level))
        noise = 5 / math.sqrt(level * sums.size)
        assert gaussian(products(at, size)) == pytest.approx(level, rel=noise)


def test_products_far_out_have_the_tail_of_the_exact_determinant():
    """Chernoff's bound of the ring's own cumulants, from its eigenvalues, is just above the p."""
    size, z = 128, 9.0
    cosines = np.cos(2 * np.pi * np.arange(size) / size)
    t = np.linspace(0.01, 0.49, 2000)
    cumulants = -0.5 * np.log1p(-2 * t[:, None] * cosines).sum(axis=1)
    bound = math.exp((cumulants - t * z * math.sqrt(size)).min())
    assert 0.01 * bound < gaussian(products(z, size)) / 2 < bound


def test_products_are_odd_and_rise():
    found = [products(z, 100) for z in np.linspace(-12, 12, 97)]
    assert found == sorted(found)
    assert products(-5.0, 100) == -products(5.0, 100)
    assert products(0.0, 100) == 0.0
    assert products(1e30, 100) > 100


# --- Legendre -----------------------------------------------------------------------------------


def test_the_polynomials_are_orthonormal():
    nodes, weights = leggauss(20)
    u, weights = (nodes + 1) / 2, weights / 2
    each = np.array([legendre(np.array([x])) for x in u])
    assert np.allclose((each * weights[:, None]).T @ each, np.eye(4), atol=1e-12)
    assert np.allclose(weights @ each, 0.0, atol=1e-12)


@pytest.mark.parametrize("order", range(4))
def test_a_component_is_a_standard_normal(order):
    sums = [legendre(row)[order] for row in rng(order).random((4000, 256))]
    p = [legendre_check(order, total, 256).p for total in sums]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert legendre_check(order, 6.6 * 16, 256).p < ALPHA < legendre_check(order, 6.5 * 16, 256).p


# --- checks of values ---------------------------------------------------------------------------


def test_mean_and_std_of_normals_are_exact():
    drawn = rng(3).normal(2.0, 0.5, 1000)
    found = mean_check(2.0, 0.5, drawn.mean(), drawn.size)
    assert found.p == pytest.approx(stats.ttest_1samp(drawn, 2.0).pvalue, rel=0.1)
    ratio = float((((drawn - 2) / 0.5) ** 2).mean())
    tail = stats.chi2(1000).cdf(1000 * ratio)
    assert std_check(0.5, ratio, 3.0, 1000).p == pytest.approx(2 * min(tail, 1 - tail), rel=1e-3)


def test_the_std_says_what_it_found():
    found = std_check(2.0, 1.21, 1.8, 10**6)
    assert (found.value, found.expected) == (pytest.approx(2.2), 2.0)
    assert found.error == pytest.approx(2 * math.sqrt(0.8 / 4e6))
    assert not found.passed


@pytest.mark.parametrize("size", [2**12, 2**16, 10**6 + 3])
def test_bins_are_those_of_scipy(size):
    fine = np.bincount((rng(size).random(size) ** 1.01 * 1024).astype(int), minlength=1024)
    bins = 2 ** int(math.log2(min(1024, size // 32)))
    theirs = stats.chisquare(fine.reshape(bins, -1).sum(axis=1))
    found = bins_check(fine)
    assert found.value * (bins - 1) == pytest.approx(theirs.statistic)
    if theirs.statistic > bins - 1:
        assert found.p / 2 == pytest.approx(theirs.pvalue, rel=1e-2)


@pytest.mark.parametrize("size", [1, 2, 31, 64, 100, 128, 256])
def test_few_values_that_are_even_are_no_alarm(size):
    fine = np.bincount(np.arange(size) * 1024 // size, minlength=1024)
    assert bins_check(fine).p > 1e-7


def test_many_values_that_are_even_are_an_alarm():
    assert not bins_check(np.full(1024, 64)).passed


@pytest.mark.parametrize(("size", "places"), [(20, 2), (30, 3), (64, 2)])
def test_counts_bound_the_exact_law_where_they_are_small(size, places):
    """All ways in which values fall into two or three places, with their probabilities."""
    splits = [(k,) for k in range(size + 1)]
    if places == 3:
        splits = [(k, j) for k in range(size + 1) for j in range(size + 1 - k)]
    cases = np.array([(*split, size - sum(split)) for split in splits])
    chance = stats.multinomial(size, np.full(places, 1 / places)).pmf(cases)
    mean = size / places
    uneven = ((cases - mean) ** 2).sum(axis=1)
    for value in np.unique(uneven.round(9)):
        below = chance[uneven <= value + 1e-9].sum()
        if below < 0.3:
            assert gaussian(counts(float(value), mean, places)) / 2 >= 0.9 * below


# --- extremes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 10**6])
@pytest.mark.parametrize("value", [0.5, 3.0, 5.0, 7.0])
def test_extremes_follow_the_exact_formula(size, value):
    tail = float(stats.norm.sf(value))
    found = extreme_check("largest", value, 0.0, tail, tail, size)
    inside = (1 - tail) ** size
    exact = 2 * min(inside, -math.expm1(size * math.log1p(-tail)))
    assert found.p == pytest.approx(min(1.0, exact), rel=1e-9)


def test_extremes_are_uniform_in_a_simulation():
    largest = rng(5).standard_normal((4000, 100)).max(axis=1)
    tails = [float(tail) for tail in stats.norm.sf(largest)]
    p = [extreme_check("largest", 0.0, 0.0, tail, tail, 100).p for tail in tails]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_extremes_at_a_bound_only_ask_whether_it_is_reached():
    assert extreme_check("largest", 1.0, 1.0, 0.0, 1.0, 1000).p == 1.0
    assert not extreme_check("largest", 0.9, 1.0, 0.05, 1.0, 1000).passed


def test_the_largest_of_several_pays_for_all():
    values = np.array([0.1, -4.0, 2.0])
    found = largest_check("x", values, 2**20)
    assert found.value == 4.0
    assert found.p == pytest.approx(3 * gaussian(products(4.0, 2**20)))
    assert largest_check("x", values, 2**20, 10.0).p == pytest.approx(10 * found.p)
    assert largest_check("x", np.zeros(0), 64).p == 1.0


# --- different values ---------------------------------------------------------------------------


def test_the_bound_of_different_values_bounds():
    """The exact law of the number of occupied cells, by recursion over draws."""
    cells, size = 64, 60
    chance = np.zeros(cells + 1)
    chance[0] = 1.0
    known = np.arange(cells + 1)
    for _ in range(size):
        chance = chance * known / cells + np.roll(chance * (1 - known / cells), 1)
    mass = np.full(cells, 1 / cells)
    for found in range(1, cells):
        check = variety_check(found, mass, size)
        assert check.expected == pytest.approx(chance @ known)
        assert check.p >= min(1.0, chance[: found + 1].sum())


def test_the_bound_of_different_values_bounds_where_they_are_rare():
    """Nine in ten draws fall into one cell, the others into a million: almost a binomial law."""
    mass = np.append(np.full(10**6, 1e-7), 0.9)
    for found in range(1, 61, 4):
        exact = stats.binom(600, 0.1).cdf(found - 1)
        assert variety_check(found, mass, 600).p >= exact


def test_cells_of_all_the_mass_and_of_none():
    assert variety_check(1, np.array([1.0, 0.0]), 10).p == 1.0
    assert variety_check(0, np.zeros(4), 10).p == 1.0
    assert not variety_check(128, np.full(4096, 1 / 4096), 2**20).passed


# --- power --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kurtosis", [1.8, 2.36554, 3.0])
@pytest.mark.parametrize("error", [0.1, 0.01, 0.001])
def test_resolution_and_needed_say_the_same(kurtosis, error):
    size = needed(error, kurtosis)
    assert resolution(size, kurtosis) <= error < resolution(size - 1, kurtosis)


def test_the_deviates_of_the_power():
    assert pytest.approx(stats.norm.isf(ALPHA / 2), rel=1e-9) == statistics._Z_ALARM
    assert pytest.approx(stats.norm.isf(RUN_ALPHA), rel=1e-9) == statistics._Z_POWER


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_what_is_needed_is_enough(kind, sign):
    """An error of 3 % is found in each of 60 samples of the size that `needed` gives."""
    kurtosis = 3.0 if kind == "normal" else 1.8
    size = needed(0.03, kurtosis)
    for seed in range(60):
        source = rng(seed)
        drawn = source.standard_normal(size) if kind == "normal" else _uniform(source, size)
        drawn *= 1 + sign * 0.03
        assert not std_check(1.0, float((drawn**2).mean()), kurtosis, size).passed


def _uniform(source, size):
    return source.uniform(-math.sqrt(3), math.sqrt(3), size)


# --- ranges -------------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
sizes = st.integers(1, 2**40)
shares = st.floats(0.0, 1.0)


@given(finite, st.floats(0.0, 1e300), st.floats(1.01, 100.0), sizes)
def test_deviates_give_probabilities(z, ratio, kurtosis, size):
    for p in (
        gaussian(z),
        gaussian(chi_square(ratio, size)),
        gaussian(products(z, size)),
        squares(ratio, kurtosis, size),
        gaussian(counts(ratio, 1.0, 1 + size)),
        mean_check(0.0, 1.0, z, size).p,
        std_check(1.0, ratio, kurtosis, size).p,
        legendre_check(0, z, size).p,
    ):
        assert 0.0 <= p <= 1.0


@given(shares, shares, sizes)
def test_extremes_give_probabilities(short, beyond, size):
    assert 0.0 <= extreme_check("x", 0.0, 0.0, short, beyond, size).p <= 1.0


@given(st.lists(shares, min_size=1, max_size=20), st.integers(0, 20), sizes)
def test_variety_gives_probabilities(mass, found, size):
    assert 0.0 <= variety_check(found, np.array(mass), size).p <= 1.0


@given(st.lists(st.integers(0, 10**6), min_size=16, max_size=16).filter(any))
def test_bins_give_probabilities(found):
    assert 0.0 <= bins_check(np.array(found)).p <= 1.0
