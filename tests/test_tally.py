"""Tallies and examinations: honest samples pass, and each defect fails the checks made for it."""

import math
import tracemalloc

import numpy as np
import pytest
from law_samples import DTYPES, LAYOUTS, TARGETS, bound, drawn, samples, stored

from initspec.layout import Layout
from initspec.stream import cast
from initspec_conformance.statistics.checks import bins_check
from initspec_conformance.statistics.laws import Target
from initspec_conformance.statistics.tally import Tally

SHAPE = {"distribution", "location", "spread", "skewness", "kurtosis"}
ENDS = {"smallest", "largest"}


def tallied(arrays, target, geometry, dtype="float32"):
    tally = Tally(target, dtype)
    for array in arrays:
        tally.add(array, geometry)
    return tally


def failed(tally):
    return {check.name for check in tally.checks() if not check.passed}


# --- honest samples -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", TARGETS)
def test_honest_samples_pass_in_every_layout(law, dtype):
    for number, layout in enumerate(LAYOUTS):
        arrays = samples(TARGETS[law], bound(layout), dtype, seed=number)
        tally = tallied(arrays, TARGETS[law], bound(layout), dtype)
        assert failed(tally) == set(), layout
        assert all(0 <= check.p <= 1 for check in tally.checks())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", TARGETS)
@pytest.mark.parametrize("size", [*range(1, 8), 31, 63, 64, 65, 100])
def test_honest_samples_of_a_few_values_pass(law, dtype, size):
    geometry = Layout.parse("I").bind((size,))
    for seed in range(3):
        arrays = samples(TARGETS[law], geometry, dtype, 1, seed)
        assert failed(tallied(arrays, TARGETS[law], geometry, dtype)) == set()


@pytest.mark.parametrize("size", [2, 4, 32])
def test_two_halves_that_balance_are_no_alarm(size):
    """Even counts, and sums that are exactly zero, happen in small tensors."""
    values = np.tile([0.125, -0.125], size // 2)
    tally = Tally(TARGETS["normal"], "bfloat16")
    geometry = Layout.parse("IO").bind((2, 1))
    for pair in values.reshape(-1, 2):
        tally.add(cast(pair, "bfloat16").reshape(2, 1), geometry)
    assert not failed(tally) & {"sums along I", "distribution", "mean"}


def test_a_large_mean_makes_equal_values_likely():
    target = Target.normal(4000.0, 0.01)
    arrays = samples(target, Layout.parse("I").bind((2**17,)), count=2)
    tally = tallied(arrays, target, Layout.parse("I").bind((2**17,)))
    assert tally.repeats == 0


@pytest.mark.parametrize("shape", [(2**18 + 77,), (2**18 - 5, 2), (3, 87_383)])
def test_tensors_longer_than_a_fourier_segment(shape):
    geometry = Layout.parse("IO"[: len(shape)]).bind(shape)
    tally = tallied(samples(TARGETS["uniform"], geometry), TARGETS["uniform"], geometry)
    assert failed(tally) == set()
    assert tally.segments == 2 * (math.prod(shape) // tally._length)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0)])
def test_empty_tensors_show_nothing(shape):
    geometry = Layout.parse("OI"[: len(shape)]).bind(shape)
    tally = tallied([np.zeros(shape, np.float32)] * 2, TARGETS["normal"], geometry)
    assert (tally.size, failed(tally)) == (0, set())
    assert tally.sample().size == 0
    assert sum(tally.picture().counts) == 0


def test_no_tensors_at_all():
    assert failed(Tally(TARGETS["normal"], "float32")) == set()


# --- defects ------------------------------------------------------------------------------------


def _copied(values):
    values[20_000:20_256] = values[3_000:3_256]
    return values


def _held(values):
    values[1::2] = values[::2]
    return values


def _column(values):
    values.reshape(192, 256)[:, 17] += 0.3
    return values


def _zeroed(values):
    return np.where(np.arange(values.size) % 64 == 0, 0.0, values)


# What it does to 2**15 * 1.5 values of a normal; what has to fail, and what may.
DEFECTS = {
    "shifted mean": (lambda v: v + 0.0125, {"mean", "location"}, {"distribution", "sums"}),
    "too wide": (lambda v: 1.05 * v, {"std", "spread", "distribution"}, {"kurtosis"}),
    "too narrow": (
        lambda v: 0.9 * v,
        {"std", "spread", "distribution"},
        {"kurtosis", "sums", *ENDS},
    ),
    "absolute values": (
        np.abs,
        {"mean", "smallest", "location"},
        SHAPE | {"sums", "correlation", "autocorrelation"},
    ),
    "skew": (lambda v: v + v**2 - 0.0625, {"skewness", "distribution"}, SHAPE | ENDS | {"std"}),
    "short tails": (lambda v: v.clip(-0.55, 0.55), {"smallest", "largest"}, SHAPE | {"std"}),
    "one huge value": (lambda v: np.append(v[1:], 1e30), {"largest"}, None),
    "one far value": (lambda v: np.append(v[1:], 2.5), {"largest"}, set()),
    "NaN": (lambda v: np.append(v[1:], np.nan), {"not finite"}, set()),
    "infinity": (lambda v: np.append(v[1:], np.inf), {"not finite"}, set()),
    "a copied run": (_copied, {"repeated runs"}, set()),
    "held values": (_held, {"autocorrelation", "correlation along I"}, {"sums", "distribution"}),
    "sorted": (np.sort, {"autocorrelation", "correlation along O", "sums along O"}, None),
    "one odd column": (_column, {"sums along O"}, {"autocorrelation", "mean"}),
    "zeros": (_zeroed, {"distribution"}, {"std", "kurtosis", "spread", "repeated runs"}),
    "all equal": (lambda v: 0 * v + 0.1, {"mean", "distribution", "repeated runs"}, None),
    "periodic": (lambda v: np.tile(v[:4096], 12), {"autocorrelation", "repeated runs"}, None),
    "few digits": (lambda v: np.round(v, 1), {"distribution"}, None),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_fails_its_checks_and_no_others(defect):
    change, must, may = DEFECTS[defect]
    geometry, target = Layout.parse("OI").bind((192, 256)), TARGETS["normal"]
    with np.errstate(invalid="ignore"):
        arrays = [
            stored(change(drawn(target, 192 * 256, seed)), "float32", geometry) for seed in (1, 2)
        ]
    found = failed(tallied(arrays, target, geometry))
    assert must <= found
    if may is not None:
        rest = {name for name in found - must if not name.startswith(tuple(may) or ("?",))}
        assert rest == set()


@pytest.mark.parametrize("value", [1e200, -1e308])
def test_a_value_whose_square_overflows_is_found(value):
    geometry, target = bound("dense"), TARGETS["normal"]
    arrays = samples(target, geometry, "float64")
    arrays[1][4, 7] = value
    tally = tallied(arrays, target, geometry, "float64")
    assert {"std", "largest" if value > 0 else "smallest"} <= failed(tally)
    assert all(0 <= check.p <= 1 for check in tally.checks())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_nan_fails_nothing_else_in_narrow_dtypes(dtype):
    geometry, target = bound("dense"), TARGETS["normal"]
    arrays = samples(target, geometry, dtype)
    arrays[0].view(np.uint16)[3, 5] = 0x7FC0 if dtype == "bfloat16" else 0x7E00
    tally = tallied(arrays, target, geometry, dtype)
    assert failed(tally) == {"not finite"}
    assert tally.strange == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("law", ["truncated", "lopsided", "uniform"])
def test_values_beyond_a_bound_are_found_and_those_on_it_are_not(law, dtype):
    target, geometry = TARGETS[law], bound("dense")
    arrays = samples(target, geometry, dtype, 1)
    arrays[0][0, 0] = cast(np.array([target.high]), dtype)[0]
    arrays[0][0, 1] = cast(np.array([target.low]), dtype)[0]
    assert failed(tallied(arrays, target, geometry, dtype)) == set()
    arrays[0][0, 0] = cast(np.array([1.02 * target.high]), dtype)[0]
    tally = tallied(arrays, target, geometry, dtype)
    assert (tally.beyond, failed(tally)) == (1, {"beyond the bounds"})


def test_neighbours_that_are_equal_or_share_a_part():
    geometry, target = bound("dense"), TARGETS["normal"]
    first, second = samples(target, geometry)
    assert "correlation of neighbours" in failed(tallied([first, first], target, geometry))
    second.reshape(-1)[100:5000] = first.reshape(-1)[700:5600]
    assert "correlation of neighbours" in failed(tallied([first, second], target, geometry))


@pytest.mark.parametrize("order", ["stored", "canonical"])
def test_repeated_runs_are_found_in_both_orders(order):
    shape, pattern, options = (3, 3, 32, 48), "HWIO", {}
    geometry, target = Layout.parse(pattern, **options).bind(shape), TARGETS["normal"]
    (array,) = samples(target, geometry, count=1)
    lines = array.reshape(-1) if order == "stored" else geometry.canonical(array).reshape(-1)
    lines = np.array(lines)
    lines[9000:9064] = lines[100:164]
    if order == "stored":
        array = lines.reshape(shape)
    else:
        view = geometry.canonical(array)
        view[...] = lines.reshape(view.shape)
    assert failed(tallied([array], target, geometry)) == {"repeated runs"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_digits_that_are_cut_off(dtype):
    target, geometry = TARGETS["normal"], Layout.parse("I").bind((2**20,))
    values = drawn(target, 2**20)
    if dtype == "bfloat16":
        cut = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        near = values.astype(np.float16)
        cut = np.where(np.abs(near) > np.abs(values), np.nextafter(near, np.float16(0)), near)
    assert "powers of two" in failed(tallied([cut], target, geometry, dtype))


def test_values_on_a_coarse_grid_are_too_few():
    target, geometry = Target.uniform(-1.0, 1.0), Layout.parse("I").bind((2**16,))
    values = np.floor(drawn(target, 2**16) * 128) / 128
    tally = tallied([cast(values, "bfloat16")], target, geometry, "bfloat16")
    assert "different values" in failed(tally)


@pytest.mark.parametrize("size", [64, 65, 100])
def test_lags_are_those_of_the_definition_each_pair_once(size):
    geometry, target = Layout.parse("I").bind((size,)), TARGETS["normal"]
    arrays = samples(target, geometry, count=2)
    standard = np.array(arrays, np.float64) / target.std
    sums = [(standard * np.roll(standard, lag, axis=1)).sum() for lag in range(1, (size + 1) // 2)]
    lags = tallied(arrays, target, geometry)._lags()
    assert np.allclose(lags, np.array(sums) / math.sqrt(2 * size))


def test_axes_bear_their_letters():
    tally = tallied(samples(TARGETS["normal"], bound("groups")), TARGETS["normal"], bound("groups"))
    assert [axis.name for axis in tally.axes] == ["GO", "I", "H", "W"]
    stacks = Layout.parse("SISO").bind((2, 3, 4, 5))
    array = np.zeros(stacks.shape, np.float32)
    names = [axis.name for axis in tallied([array], TARGETS["normal"], stacks).axes]
    assert names == ["S (axis 0)", "I", "S (axis 2)", "O"]


# --- what it keeps ------------------------------------------------------------------------------


def test_memory_stays_bounded(monkeypatch):
    monkeypatch.setattr("initspec_conformance.statistics.tally._KEPT", 2**15)
    monkeypatch.setattr("initspec_conformance.statistics.tally._SEARCHED", 2**16)
    geometry, target = Layout.parse("I").bind((2**13,)), TARGETS["normal"]
    tally = Tally(target, "float32")
    array = samples(target, geometry, count=1)[0]
    tracemalloc.start()
    try:
        for _ in range(10):
            tally.add(array, geometry)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            tally.add(array, geometry)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2**15  # a single tensor takes 2**16 bytes in float64
    assert tally.sample().size == 2**15
    assert all(part.base is None for part in tally.kept)  # no view of a whole tensor


def test_a_picture_is_that_of_the_sample():
    geometry, target = bound("dense"), TARGETS["truncated"]
    picture = tallied(samples(target, geometry), target, geometry).picture()
    assert len(picture.edges) == len(picture.counts) + 1 == len(picture.expected) + 1
    assert sum(picture.counts) == 2 * math.prod(geometry.shape)
    assert sum(picture.expected) == pytest.approx(sum(picture.counts))
    for expected, found in picture.quantiles:
        assert found == pytest.approx(expected, abs=0.1 * target.std)
    assert list(picture.quantiles) == sorted(picture.quantiles)


def test_one_tensor_or_many_make_the_same_sums():
    target = TARGETS["normal"]
    values = drawn(target, 2**14)
    whole = tallied([values.astype("f4")], target, Layout.parse("I").bind((2**14,)))
    parts = tallied(values.astype("f4").reshape(4, -1), target, Layout.parse("I").bind((2**12,)))
    assert whole.first == pytest.approx(parts.first)
    assert whole.second == pytest.approx(parts.second)
    assert np.array_equal(whole.bins, parts.bins)
    assert bins_check(whole.bins) == bins_check(parts.bins)
