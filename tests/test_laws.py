"""The laws of values: their moments, distribution functions, and what rounding makes of them."""

import math

import ml_dtypes
import numpy as np
import pytest
from scipy import integrate, stats

import initspec
from initspec.draw import Draw
from initspec.errors import InitspecError
from initspec.law import law
from initspec.layout import Layout
from initspec.recipes import RECIPES
from initspec.stream import as_float, cast
from initspec_conformance.statistics.laws import Target, atoms

LAYOUTS = {
    "OI": ((12, 20), {}),
    "HWIO": ((3, 3, 8, 10), {}),
    "OIHW": ((12, 5, 3, 3), {"groups": 4}),
    "IOHW": ((8, 6, 4, 4), {"stride": 2}),
}
TARGETS = {
    "normal": (Target.normal(0.3, 2.0), stats.norm(0.3, 2.0)),
    "cut": (Target.truncated(0.0, 0.1, -2.0, 2.0), stats.truncnorm(-2, 2, scale=0.1)),
    "lopsided": (Target.truncated(1.0, 2.0, -1.0, 3.0), stats.truncnorm(-1, 3, 1.0, 2.0)),
    "half": (Target.truncated(0.0, 1.0, 0.0, None), stats.truncnorm(0, np.inf)),
    "below": (Target.truncated(0.0, 1.0, None, -1.0), stats.truncnorm(-np.inf, -1)),
    "far": (Target.truncated(0.0, 1.0, 3.0, None), stats.truncnorm(3, np.inf)),
    "uniform": (Target.uniform(-0.5, 2.0), stats.uniform(-0.5, 2.5)),
}
DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
each_target = pytest.mark.parametrize("name", TARGETS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def geometry(pattern):
    shape, options = LAYOUTS[pattern]
    return Layout.parse(pattern, **options).bind(shape)


# --- of an initializer --------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_the_moments_that_it_describes(recipe):
    init, seen = initspec.get(recipe), 0
    for pattern, (shape, options) in LAYOUTS.items():
        try:
            facts = init.describe(shape, pattern, **options)
        except InitspecError:  # no matrix in a kernel, for example
            continue
        seen += 1
        target = Target.of(init, geometry(pattern))
        assert (target is not None) == isinstance(law(init, geometry(pattern)).content, Draw)
        if target is not None:
            _same(target, facts)
    assert seen


def _same(target, facts):
    assert target.mean == pytest.approx(facts.mean, rel=1e-12, abs=1e-15 * target.std)
    assert target.std == pytest.approx(facts.std, rel=1e-12)
    assert target.kurtosis == pytest.approx(facts.kurtosis, rel=1e-12)
    assert target.low == pytest.approx(-math.inf if facts.low is None else facts.low, rel=1e-12)
    assert target.high == pytest.approx(math.inf if facts.high is None else facts.high, rel=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        {"std": 0.5, "mean": 2.0, "low": -1.0, "high": 3.0},
        {"std": 0.5, "mean": 2.0, "low": -1.0, "high": 3.0, "compensate": True},
        {"std": 0.5, "mean": 2.0, "low": 1.5, "high": 3.0, "absolute": True},
        {"std": 0.5, "mean": 2.0, "low": 1.5, "absolute": True},
        {"std": 1.0, "high": 0.5},
        {"std": 1.0, "low": 1.0, "compensate": True},
    ],
)
def test_every_kind_of_cut(fields):
    init = initspec.Initializer(distribution="truncated_normal", **fields)
    _same(Target.of(init, geometry("OI")), init.describe((12, 20), "OI"))


def test_what_is_not_drawn_has_no_law():
    for init in (initspec.zeros, initspec.orthogonal(), initspec.sparse(0.5, std=0.1)):
        assert Target.of(init, geometry("OI")) is None


def test_a_scaled_law():
    target = Target.truncated(1.0, 2.0, -1.0, 3.0)
    scaled = target.scaled(0.5)
    assert (scaled.mean, scaled.std) == (target.mean / 2, target.std / 2)
    assert np.allclose(scaled.cdf(np.linspace(-1, 4, 9) / 2), target.cdf(np.linspace(-1, 4, 9)))


# --- against SciPy ------------------------------------------------------------------------------


@each_target
def test_moments(name):
    target, theirs = TARGETS[name]
    mean, variance, kurtosis = theirs.stats("mvk")
    assert target.mean == pytest.approx(mean, rel=1e-6)
    assert target.std == pytest.approx(math.sqrt(variance), rel=1e-6)
    assert target.kurtosis == pytest.approx(kurtosis + 3, rel=1e-4)


@each_target
def test_kurtosis_is_that_of_the_density(name):
    target, theirs = TARGETS[name]
    ends = [
        max(target.low, target.mean - 40 * target.std),
        min(target.high, target.mean + 40 * target.std),
    ]
    fourth = integrate.quad(
        lambda x: theirs.pdf(x) * ((x - target.mean) / target.std) ** 4, *ends, limit=400
    )
    assert target.kurtosis == pytest.approx(fourth[0], rel=1e-6)


@each_target
def test_distribution_functions(name):
    target, theirs = TARGETS[name]
    reach = 6 * target.std
    x = np.linspace(
        max(target.low, target.mean - reach) - 0.1, min(target.high, target.mean + reach) + 0.1, 501
    )
    assert np.allclose(target.cdf(x), theirs.cdf(x), rtol=0, atol=1e-12)
    assert np.allclose(target.sf(x), theirs.sf(x), rtol=0, atol=1e-12)
    assert np.allclose(target.cdf(x) + target.sf(x), 1.0, rtol=0, atol=1e-12)


@each_target
def test_far_tails(name):
    """Relative errors, down to 1e-12 where the law has a tail."""
    target, theirs = TARGETS[name]
    for share in (1e-3, 1e-6, 1e-12):
        if math.isinf(target.low):
            assert target.cdf(theirs.ppf(share)) == pytest.approx(share, rel=1e-6)
        if math.isinf(target.high):
            assert target.sf(theirs.isf(share)) == pytest.approx(share, rel=1e-6)


@each_target
def test_outside_the_bounds_there_is_nothing(name):
    target, _ = TARGETS[name]
    if math.isfinite(target.low):
        assert target.cdf(target.low - 1.0) == 0.0
        assert target.sf(target.low - 1.0) == 1.0
    if math.isfinite(target.high):
        assert target.cdf(target.high + 1.0) == 1.0
        assert target.sf(target.high + 1.0) == 0.0


@each_target
def test_quantiles(name):
    target, theirs = TARGETS[name]
    share = np.array([1e-9, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999999])
    assert np.allclose(target.quantile(share), theirs.ppf(share), rtol=1e-7, atol=1e-7 * target.std)


def test_names_tell_the_std():
    assert "0.1" in Target.normal(0.0, 0.1).name


# --- rounding -----------------------------------------------------------------------------------


def test_bit_patterns_are_read():
    values = np.array([1.0, -2.5, 0.0, np.inf], ml_dtypes.bfloat16)
    assert as_float(values.view(np.uint16)).tolist() == [1.0, -2.5, 0.0, math.inf]
    assert as_float(values.astype(np.float16)).tolist() == [1.0, -2.5, 0.0, math.inf]


@each_dtype
@each_target
def test_masses_add_up(name, dtype):
    masses = atoms(TARGETS[name][0], dtype)
    assert masses.mass.sum() == pytest.approx(1.0, abs=1e-12)
    assert masses.mass.min() >= 0.0
    bits = np.arange(2**16, dtype=np.uint16)
    values = as_float(bits if dtype == "bfloat16" else bits.view(np.float16))
    assert not masses.mass[~np.isfinite(values)].any()


@each_dtype
def test_cells_are_those_of_rounding_to_nearest(dtype):
    """Reals just inside the edges of a cell round to its value, just outside to a neighbour."""
    target = Target.uniform(-4.0, 4.0)
    masses = atoms(target, dtype)
    bits = np.flatnonzero(masses.mass > 1e-7).astype(np.uint16)
    low = 8.0 * masses.below[bits] - 4.0
    high = 8.0 * (masses.below[bits] + masses.mass[bits]) - 4.0
    inside = np.abs(low) + np.abs(high) < 7.9
    near = 1e-4 * (high - low)
    for real in (low + near, high - near):
        assert np.array_equal(_rounded(real, dtype)[inside], bits[inside])
    for real in (low - near, high + near):
        assert not (_rounded(real, dtype)[inside] == bits[inside]).any()


def _rounded(reals, dtype):
    return reals.astype(DTYPES[dtype]).view(np.uint16)


@each_dtype
def test_minus_zero_lies_below_zero(dtype):
    least = 1e-38 if dtype == "bfloat16" else 1e-6
    masses = atoms(Target.uniform(-least, least), dtype)
    assert masses.below[0x8000] < masses.below[0] == pytest.approx(0.5)


@each_dtype
def test_powers_of_two_have_narrow_cells(dtype):
    masses = atoms(Target.uniform(-4.0, 4.0), dtype)
    one = int(np.array(1.0, DTYPES[dtype]).view(np.uint16))
    assert masses.mass[one] == pytest.approx(0.75 * masses.mass[one + 1])
    assert masses.round_numbers[one]
    assert not masses.round_numbers[[0, 0x8000, one + 1]].any()


@each_dtype
@each_target
def test_unfolded_values_are_uniform(name, dtype):
    target, theirs = TARGETS[name]
    source = np.random.Generator(np.random.PCG64(7))
    bits = _rounded(theirs.rvs(2**17, random_state=source), dtype)
    u = atoms(target, dtype).unfold(bits, source.random(bits.size))
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_our_cast_rounds_as_ml_dtypes_does():
    reals = np.random.Generator(np.random.PCG64(8)).standard_normal(4096)
    assert np.array_equal(cast(reals, "bfloat16"), _rounded(reals.astype(np.float32), "bfloat16"))
