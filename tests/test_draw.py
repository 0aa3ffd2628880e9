"""Draws: their integer constants make the law that they stand for, and never leave its bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import initspec
from initspec import stream
from initspec.draw import (
    FARTHEST,
    FLOATS,
    Draw,
    check_range,
    normal_draw,
    quantiles,
    truncated_draw,
    uniform_draw,
)
from initspec.errors import InitspecValueError
from initspec.moments import truncated_moments
from initspec.structured import Constant, Diagonal, Orthogonal, Sparse

# Words in the middle of 2**18 equal cells: a sum over them is an integral over the whole stream.
# Its error for a monotone function is at most (range / cells), and here far less, by symmetry.
CELLS = 2**18
WORDS = (np.arange(CELLS, dtype=np.uint64) * 2**14 + 2**13).astype(np.uint32)
ENDS = np.array([0, 2**32 - 1, 2**31, 2**31 - 1], np.uint32)  # smallest and largest in every law
LIKE_FLOAT = ("float64", "float32")


def values(draw: Draw, words: NDArray[np.uint32], dtype: str = "float64") -> NDArray[Any]:
    return stream.values(stream.integers(draw, words), draw.factor, dtype)


def law(draw: Draw) -> tuple[float, float]:
    drawn = values(draw, WORDS)
    return float(drawn.mean()), float(drawn.std())


# --- the law ----------------------------------------------------------------------------------

NORMALS = [(1.0, 0.0), (0.02, 0.0), (0.02, 1.0), (3.0, -7.5), (1e-3, 0.3), (1.0, 100.0)]


@pytest.mark.parametrize(("std", "mean"), NORMALS)
def test_normals_have_their_mean_and_std(std: float, mean: float) -> None:
    found_mean, found_std = law(normal_draw(std, mean))
    step = 2.0**-30 * (abs(mean) + 8 * std)  # of the affine path's fixed point
    assert found_mean == pytest.approx(mean, abs=1e-7 * std + step)
    assert found_std == pytest.approx(std, rel=4e-5)  # the outermost cells hide some variance


CUTS: list[tuple[float, float, float | None, float | None]] = [
    (1.0, 0.0, -2.0, 2.0),
    (0.02, 0.0, -1.0, 3.0),
    (0.02, 0.5, -2.0, 2.0),
    (2.0, -3.0, -0.5, None),
    (2.0, -3.0, None, 1.5),
    (1.0, 0.0, 1.0, 1.001),
    (1.0, 40.0, -0.01, 0.01),
]


@pytest.mark.parametrize(("std", "mean", "low", "high"), CUTS)
def test_cut_normals_have_the_moments_of_the_cut_normal(
    std: float, mean: float, low: float | None, high: float | None
) -> None:
    moments = truncated_moments(low, high)
    found_mean, found_std = law(truncated_draw(std, mean, low, high))
    slack = 2.0**-29 * (abs(mean) + 8 * std) + 3e-5 * std * moments.std
    assert found_mean == pytest.approx(mean + std * moments.mean, abs=slack)
    assert found_std == pytest.approx(std * moments.std, abs=slack)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-0.1, 0.35), (5.0, 5.001), (-8.0, -7.0)]
)
def test_uniforms_have_their_mean_and_std(low: float, high: float) -> None:
    found_mean, found_std = law(uniform_draw(low, high))
    step = 2.0**-29 * max(abs(low), abs(high))
    assert found_mean == pytest.approx((low + high) / 2, abs=step)
    assert found_std == pytest.approx((high - low) / math.sqrt(12), abs=step, rel=1e-9)


def test_a_uniform_round_zero_has_mean_zero_over_all_words() -> None:
    """Each word and its complement cancel, so no cell is needed to see it."""
    drawn = values(uniform_draw(-3.0, 3.0), WORDS)
    assert np.array_equal(drawn, -values(uniform_draw(-3.0, 3.0), ~WORDS))


def test_without_an_affine_step_the_factor_is_the_exact_scale() -> None:
    assert normal_draw(0.1).factor == 0.1 * 2.0**-28
    assert uniform_draw(-0.1, 0.1).factor == 0.1 * 2.0**-31
    assert truncated_draw(0.1, 0.0, -2.0, 2.0).factor == 0.1 * 2.0**-28
    assert normal_draw(0.1, 1.0).factor == 2.0**-29, "and with one a power of two"


# --- bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", LIKE_FLOAT)
@given(low=st.floats(-1e3, 1e3), length=st.floats(1e-2, 1e3))
def test_uniforms_stay_inside_and_reach_both_ends(low: float, length: float, dtype: str) -> None:
    high = low + length
    try:
        draw = uniform_draw(low, high)
    except InitspecValueError:
        assert length <= 2.0**-17 * max(abs(low), abs(high))
        return
    drawn = values(draw, ENDS, dtype)
    rounded = np.array([low, high], dtype)
    assert rounded[0] <= drawn.min()
    assert drawn.max() <= rounded[1]
    step = 3 * 2.0**-29 * max(abs(low), abs(high)) + np.spacing(abs(rounded)).max()
    assert drawn.min() - low <= step
    assert high - drawn.max() <= step


bound = st.floats(-4, 4) | st.sampled_from([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])


@given(
    std=st.floats(1e-4, 1e4),
    mean=st.just(0.0) | st.floats(-1e4, 1e4),
    ends=st.tuples(bound, bound).filter(lambda pair: pair[1] - pair[0] > 0.01),
)
def test_no_draw_passes_a_bound(std: float, mean: float, ends: tuple[float, float]) -> None:
    low, high = ends
    try:
        draw = truncated_draw(std, mean, low, high)
    except InitspecValueError:
        assert std < 2.0**-15 * abs(mean), "refused for its coarseness and for nothing else"
        return
    drawn = values(draw, ENDS)
    assert mean + low * std <= drawn.min()
    assert drawn.max() <= mean + high * std
    # and comes as near as the fixed point is fine and the thinnest tail is populated
    assert drawn.max() - drawn.min() > 0.999 * (high - low) * std - 2.0**-18 * abs(mean)
    check_float32(draw, mean + low * std, mean + high * std)


def check_float32(draw: Draw, low: float, high: float) -> None:
    """Rounded factors may pass a bound that is no power of two by an ulp or two, and no more."""
    drawn = values(draw, ENDS, "float32")
    ends = np.array([low, high], np.float32)
    slack = 2 * np.spacing(abs(ends)) if draw.multiplier == 0 else np.zeros(2, np.float32)
    assert ends[0] - slack[0] <= drawn.min()
    assert drawn.max() <= ends[1] + slack[1]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@given(std=st.floats(1e-3, 1e3))
def test_two_sigmas_are_exact_in_every_dtype(std: float, dtype: str) -> None:
    drawn = values(truncated_draw(std, 0.0, -2.0, 2.0), ENDS, dtype)
    limit = np.array([2 * std]).astype("float32" if dtype == "float16" else dtype).astype(dtype)
    assert drawn.max() <= limit[0]
    assert drawn.min() == -drawn.max()


def test_a_cut_at_zero_is_never_crossed() -> None:
    for mean in np.linspace(0.1, 3, 59).tolist():
        drawn = values(truncated_draw(0.7, mean, -mean / 0.7, None), ENDS)
        assert drawn.min() >= 0.0


@pytest.mark.parametrize("end", [-2.5, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0, 3.0])
def test_truncation_leaves_out_what_is_outside_and_no_more(end: float) -> None:
    """The first quantile inside is kept; its neighbour outside is a margin of units away."""
    lo, width = stream.truncation(end, None)
    assert lo + width == 2**32
    index = np.array([lo, max(lo, 64) - 64], np.uint64).astype(np.uint32)
    first, before = stream.normal(index ^ np.uint32(2**31)).astype(np.float64) * 2.0**-28
    assert first >= end
    assert before < end, "64 quantiles further out are outside"
    assert (stream.truncation(None, -end)[0], stream.truncation(None, -end)[1]) == (0, width)


def test_truncation_allows_for_the_steps_back_of_the_table() -> None:
    """Here and there a quantile is a unit below an earlier one; no bound may fall in between."""
    index = np.arange(2**20, dtype=np.uint64) + 2**31 + 2**29
    z = stream.normal((index ^ np.uint64(2**31)).astype(np.uint32)).astype(np.int64)
    back = np.flatnonzero(np.diff(z) < 0)
    assert back.size > 100
    for place in back[::10].tolist():
        bound = float(z[place]) * 2.0**-28
        lo, _ = stream.truncation(bound, None)
        assert (z[max(lo - 2**31 - 2**29, 0) :] >= z[place]).all()
        _, width = stream.truncation(None, -bound)
        assert width == 2**32 - lo, "and so it is on the other side"


def test_bounds_beyond_all_draws_do_nothing() -> None:
    assert truncated_draw(0.5, 0.0, -6.5, 6.5) == normal_draw(0.5)
    assert truncated_draw(0.5, 2.0, None, 100.0) == normal_draw(0.5, 2.0)
    assert float(abs(values(normal_draw(1.0), ENDS)).max()) <= FARTHEST < 6.339
    assert normal_draw(2.0, 3.0).reach == 3.0 + 2 * FARTHEST


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.00001), (4.5, None), (20.0, 21.0), (None, -9.0), (1.0, 1.0)]
)
def test_a_mass_too_thin_is_refused(low: float | None, high: float | None) -> None:
    with pytest.raises(InitspecValueError, match=r"at least 2\*\*-16 of the mass"):
        quantiles(low, high)
    with pytest.raises(InitspecValueError, match=r"at least 2\*\*-16 of the mass"):
        truncated_draw(1.0, 0.0, low, high)


@pytest.mark.parametrize(
    "make",
    [
        lambda: normal_draw(1e-7, 1.0),
        lambda: normal_draw(2.0**-22, -1.0),
        lambda: truncated_draw(1e-7, 1.0, -2.0, 2.0),
        lambda: uniform_draw(1.0, 1.0 + 2.0**-18),
    ],
)
def test_a_spread_lost_beside_the_mean_is_refused(make: Any) -> None:
    with pytest.raises(
        InitspecValueError, match=r"spread of at least 2\*\*-(21|18) of the mean"
    ) as e:
        make()
    assert e.value.advice == "Draw around zero and add the mean yourself."


def test_a_spread_just_wide_enough_is_drawn() -> None:
    for draw in (normal_draw(2.0**-21, 1.0), uniform_draw(1.0, 1.0 + 2.0**-16)):
        assert len(np.unique(values(draw, WORDS[::64]))) > 500


# --- the range of a dtype -----------------------------------------------------------------------

FITS: list[tuple[str, Any, bool]] = [
    ("float32", normal_draw(1.0), True),
    ("float32", normal_draw(5.3e37), True),
    ("float32", normal_draw(5.4e37), False),
    ("float32", normal_draw(2.0**-95), True),
    ("float32", normal_draw(1e-50), False),
    ("float32", uniform_draw(-3.4e38, 3.4e38), True),
    ("float32", uniform_draw(-3.5e38, 3.5e38), False),
    ("float32", uniform_draw(-(2.0**-95), 2.0**-95), True),
    ("float32", uniform_draw(-(2.0**-96), 2.0**-96), False),
    ("float32", truncated_draw(1.6e38, 0.0, -2.0, 2.0), True),
    ("float32", truncated_draw(1.8e38, 0.0, -2.0, 2.0), False),
    ("float16", normal_draw(1e4), True),
    ("float16", normal_draw(1e5), False),
    ("float16", normal_draw(1.1e4), False),
    ("float16", normal_draw(1e-8), False),
    ("bfloat16", uniform_draw(-3.39e38, 3.39e38), False),
    ("bfloat16", uniform_draw(-3.38e38, 3.38e38), True),
    ("float64", normal_draw(1e300), True),
    ("float64", normal_draw(1e302), False),
    ("float64", normal_draw(1e-297), True),
    ("float64", normal_draw(1e-300), False),
    ("float64", uniform_draw(-5e-324, 5e-324), False),
    ("float32", Constant(0.0), True),
    ("float32", Constant(-1e39), False),
    ("float32", Constant(1e-50), False),
    ("float32", Constant(1e-40), True),
    ("bfloat16", Constant(1e-40), True),
    ("bfloat16", Constant(1e-43), False),
    ("float16", Constant(65504.0), True),
    ("float16", Constant(65505.0), False),
    ("float32", Diagonal(1e39), False),
    ("float32", Orthogonal(1e39), False),
    ("float16", Orthogonal(1e-9), False),
    ("float32", Sparse(normal_draw(1e39), 0.5, "output"), False),
    ("float32", Sparse(normal_draw(1.0), 0.5, "output"), True),
]


@pytest.mark.parametrize(("dtype", "content", "fits"), FITS)
def test_range(dtype: str, content: Any, fits: bool) -> None:
    if fits:
        check_range(content, dtype)
        return
    with pytest.raises(InitspecValueError) as caught:
        check_range(content, dtype)
    error = caught.value
    assert error.where == "scale"
    assert error.expected.startswith("magnitudes from ")
    assert error.advice == f"{dtype} cannot hold it: use another scale or dtype."


def test_what_fits_is_finite_and_not_all_zero() -> None:
    for dtype, content, fits in FITS:
        if fits and isinstance(content, Draw) and dtype != "bfloat16":
            drawn = values(content, np.concatenate([ENDS, WORDS[::4096]]), dtype)
            assert np.isfinite(drawn).all()
            assert drawn.any()


def test_factors_are_never_subnormal() -> None:
    """A framework may flush a subnormal factor to zero: then the same plan would give zeros."""
    for content in (uniform_draw(-(2.0**-95), 2.0**-95), normal_draw(2.0**-95)):
        check_range(content, "float32")
        assert content.factor >= 2.0**-126
    double = FLOATS["float64"].smallest
    assert uniform_draw(-double, double).factor >= 2.0**-1022


@pytest.mark.parametrize(
    "make",
    [
        lambda: normal_draw(1e308),
        lambda: normal_draw(1e308, 1.0),
        lambda: normal_draw(2.5e307, 1.0),  # whose reach is finite, and 8 sigmas are not
        lambda: normal_draw(1.0, math.inf),
        lambda: uniform_draw(-math.inf, math.inf),
        lambda: truncated_draw(math.inf, 0.0, -2.0, 2.0),
        lambda: truncated_draw(math.inf, math.nan, -2.0, 2.0),
    ],
)
def test_what_is_not_finite_is_refused(make: Any) -> None:
    with pytest.raises(InitspecValueError, match="scale: got inf; expected finite values"):
        make()


@pytest.mark.parametrize(
    ("init", "dtype"),
    [
        (initspec.normal(1e-50), "float32"),
        (initspec.normal(1e39), "float32"),
        (initspec.normal(1e5), "float16"),
        (initspec.normal(1e39), "bfloat16"),
        (initspec.uniform(-1e39, 1e39), "float32"),
        (initspec.variance_scaling(1e-90), "float32"),
        (initspec.constant(1e39), "float32"),
        (initspec.ones.replace(value=1e5), "float16"),
        (initspec.identity(1e39), "float32"),
        (initspec.dirac.replace(gain=1e39), "float32"),
        (initspec.orthogonal(1e39), "float32"),
        (initspec.sparse(0.5, 1e39), "float32"),
    ],
)
def test_nothing_is_written_that_the_dtype_cannot_hold(init: Any, dtype: str) -> None:
    kind = {"bfloat16": pytest.importorskip("ml_dtypes").bfloat16}.get(dtype, dtype)
    shape = (3, 3, 4, 4) if init.distribution == "dirac" else (4, 4)
    out = np.full(shape, 7, kind)
    with pytest.raises(InitspecValueError, match=f"{dtype} cannot hold it"):
        init(out=out, seed=0)
    assert (out == 7).all()


# --- limits of the specification, just inside and just outside ----------------------------------


@pytest.mark.parametrize(
    ("dtype", "smallest"),
    [("float32", -95), ("bfloat16", -95), ("float16", -24), ("float64", -990)],
)
def test_the_smallest_spread(dtype: str, smallest: int) -> None:
    check_range(normal_draw(2.0**smallest), dtype)
    with pytest.raises(InitspecValueError, match="magnitudes"):
        check_range(normal_draw(math.nextafter(2.0**smallest, 0)), dtype)


def test_the_thinnest_interval() -> None:
    """2**16 quantiles beside the median, by bisection on the upper end; one fewer is refused."""
    low, high = 0.0, 1e-3
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if stream.truncation(0.0, middle)[1] >= 2**16 else (middle, high)
    # A bound moves by 2**-28, which is several quantiles here.
    assert 0 <= stream.truncation(0.0, high)[1] - 2**16 < 16
    assert 0 < 2**16 - stream.truncation(0.0, low)[1] < 16
    truncated_draw(1.0, 0.0, 0.0, high)
    with pytest.raises(InitspecValueError, match="2\\*\\*-16"):
        truncated_draw(1.0, 0.0, 0.0, low)


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 8), ("float16", 11)])
def test_a_spread_that_a_narrow_type_rounds_away(dtype: str, bits: int) -> None:
    check_range(normal_draw(1.1 * 2.0**-bits, mean=1.0), dtype)
    for draw in (normal_draw(0.9 * 2.0**-bits, mean=1.0), uniform_draw(1.0, 1 + 2.0**-bits)):
        check_range(draw, "float32")
        with pytest.raises(InitspecValueError, match="rounded away"):
            check_range(draw, dtype)
