"""What an initializer says that it does, in numbers, against what it draws."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import initspec
from initspec import Initializer, get
from initspec.description import Description
from initspec.errors import InitspecValueError
from initspec.fill_plan import DTYPES
from initspec.recipes import RECIPES

CheckLaw = Callable[[NDArray[np.float64], Description], None]
NORMAL = initspec.normal(1.0)


# --- the numbers of a description -----------------------------------------------------------------

LARGE = {"HWIO": (3, 5, 72, 244), "IO": (256, 1024), "VI": (1024, 256)}  # 2**18 values each
DRAWN = [n for n in RECIPES if get(n).distribution in ("normal", "truncated_normal", "uniform")]


@pytest.mark.parametrize("name", DRAWN)
def test_a_recipes_numbers_are_those_of_its_draws(check_law: CheckLaw, name: str) -> None:
    layout = "VI" if "embedding" in name else "HWIO"
    drawn = get(name)(LARGE[layout], layout=layout, seed=2, name=name, dtype="float64")
    check_law(drawn, get(name).describe(LARGE[layout], layout))


OTHERS = {
    "mean": initspec.normal(0.5, mean=2.0),
    "negative mean": initspec.normal(0.01, mean=-1.0),
    "uniform off centre": initspec.uniform(-0.1, 0.35),
    "uniform far off": initspec.uniform(5.0, 6.0),
    "cut, with a mean": initspec.truncated_normal(0.5, mean=1.0),
    "cut, off centre": initspec.truncated_normal(1.0, -1.0, 3.0),
    "compensated": initspec.truncated_normal(0.1, compensate=True),
    "compensated, off centre": initspec.truncated_normal(1.0, -0.5, 2.5, mean=3.0, compensate=True),
    "absolute": initspec.truncated_normal(1.0, -1.0, 0.5, mean=0.25, absolute=True),
    "scaled, with a mean": Initializer(distribution="normal", mode="fan_in", mean=0.25),
    "fan_geo_avg": initspec.variance_scaling(2.0, "fan_geo_avg", "normal"),
    "gain": initspec.variance_scaling(1.0, "fan_out", "uniform", gain="relu"),
    "fan": initspec.variance_scaling(1.0, fan=10.0),
}


@pytest.mark.parametrize("case", OTHERS)
def test_numbers_of_other_initializers(check_law: CheckLaw, case: str) -> None:
    drawn = OTHERS[case](LARGE["IO"], seed=2, name=case, dtype="float64")
    check_law(drawn, OTHERS[case].describe(LARGE["IO"], "IO"))


@pytest.mark.parametrize("init", [initspec.truncated_normal(2.0, 0.0, None), OTHERS["absolute"]])
def test_one_sided_and_absolute_bounds_are_described(init: Initializer) -> None:
    facts = init.describe((512, 512))
    drawn = init((512, 512), seed=3, dtype="float64")
    assert facts.low is not None
    assert facts.low <= drawn.min() < facts.low + 0.001
    # the relative variance of a std is (kurtosis - 1) / 4n, n = 2**18
    assert facts.kurtosis is not None
    error = math.sqrt((facts.kurtosis - 1) / 4) / 512
    assert drawn.std() == pytest.approx(facts.std, rel=5 * error)
    assert drawn.mean() == pytest.approx(facts.mean, abs=5 * facts.std / 512)


def test_absolute_bounds_are_described_to_the_last_bit() -> None:
    init = initspec.truncated_normal(1.4, 0.2, 2.4, mean=0.7, absolute=True)
    facts = init.describe((4, 4))
    assert (facts.low, facts.high) == (0.2, 2.4)
    assert (0.2 - 0.7) / 1.4 * 1.4 + 0.7 != 0.2, "which a way there and back would lose"


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-0.5, 2.5), (0.25, None), (None, -1.0)])
def test_compensation_gives_the_mean_and_std_that_were_asked_for(
    low: float | None, high: float | None
) -> None:
    facts = initspec.truncated_normal(0.3, low, high, mean=1.5, compensate=True).describe((4, 4))
    assert facts.std == pytest.approx(0.3, rel=1e-15)
    assert facts.mean == pytest.approx(1.5, rel=1e-15)


STRUCTURED: dict[str, tuple[tuple[int, ...], str]] = {
    "orthogonal": ((400, 200), "OI"),
    "delta_orthogonal": ((3, 2, 60, 90), "HWIO"),
    "identity": ((12, 17), "IO"),
    "dirac": ((3, 4, 5, 7), "HWIO"),
    "bilinear": ((4, 5, 2, 3), "HWIO"),
    "torch.sparse": ((500, 400), "OI"),
    "zeros": ((3, 4), "OI"),
    "ones": ((3, 4), "OI"),
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_numbers_of_structured_contents(name: str) -> None:
    """Patterns exactly; orthogonal ones nearly so, as the sum of squares is fixed."""
    shape, layout = STRUCTURED[name]
    facts = get(name).describe(shape, layout)
    drawn = get(name)(shape, layout=layout, seed=4, dtype="float64")
    # A mean has a standard error of std / sqrt(n). That of a kurtosis K, from the values that are
    # not zero, is at most sqrt(24 n) K / n; neither matters for patterns.
    n, exact = drawn.size, name not in ("orthogonal", "delta_orthogonal", "torch.sparse")
    assert drawn.mean() == pytest.approx(
        facts.mean, abs=1e-15 if exact else 5 * facts.std / math.sqrt(n)
    )
    filled = int(np.count_nonzero(drawn))
    spread = 1e-14 if exact else 5 * 0.7071 / math.sqrt(filled)
    assert drawn.std() == pytest.approx(facts.std, rel=spread)
    if facts.kurtosis is None:
        assert drawn.std() == 0.0
    else:
        fourth = ((drawn - drawn.mean()) ** 4).mean() / drawn.std() ** 4
        slack = 1e-13 if exact else 5 * math.sqrt(24 / filled)
        assert fourth == pytest.approx(facts.kurtosis, rel=slack)
    if facts.low is not None and facts.high is not None:
        assert facts.low <= drawn.min()
        assert drawn.max() <= facts.high
        if exact:
            assert (facts.low, facts.high) == (drawn.min(), drawn.max())


def test_two_orthogonal_matrices_have_the_std_that_is_said() -> None:
    """The mean square of an orthogonal matrix is 1 / longest side, whatever was drawn."""
    for shape in [(40, 30), (30, 40)]:
        q = initspec.orthogonal(2.0)(shape, seed=0, dtype="float64")
        std = initspec.orthogonal(2.0).describe(shape).std
        assert math.sqrt((q**2).mean()) == pytest.approx(std, rel=1e-13)


def test_a_description_in_words() -> None:
    facts = initspec.he_normal.describe((3, 3, 64, 128), "HWIO")
    assert str(facts).split("\n") == [
        "shape      (3, 3, 64, 128) as HWIO",
        "fans       fan_in 576, fan_out 1152",
        "formula    truncated normal, std = sqrt(2 / fan_in) = 0.0589256, "
        "cut to [-2, 2] sigma, std after truncation, sigma = 0.0669894",
        "mean, std  0, 0.0589256",
        "support    [-0.133979, 0.133979]",
        "kurtosis   2.3655",
        "promise    bits",
    ]
    assert "[-inf, inf]" in str(NORMAL.describe((2, 2)))
    assert "kurtosis   none" in str(initspec.ones.describe((2, 2)))
    assert initspec.orthogonal().describe((2, 2)).promise == "rounded"
    assert facts.to_dict()["fan_in"] == 576


def test_nothing_is_allocated_to_describe() -> None:
    facts = initspec.he_normal.describe((2**29, 2**30), "OI")
    assert facts.std == math.sqrt(2 / 2**30)


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "init",
    [
        initspec.he_normal,
        initspec.truncated_normal(0.3, -1.0, 2.0),
        initspec.truncated_normal(0.3, -0.1, 0.1, mean=0.7),
        initspec.truncated_normal(1.0, -0.3, 0.9, mean=0.2, absolute=True),
        initspec.truncated_normal(1.0, 0.0, None, mean=0.2, absolute=True),
        initspec.glorot_uniform,
        initspec.uniform(0.1, 0.2),
    ],
)
def test_bounds_hold_in_every_dtype(init: Initializer, dtype: str) -> None:
    """Compared with the bound rounded to the dtype, by way of float32 as the values are."""
    facts = init.describe((128, 512))
    drawn = init((128, 512), seed=5, dtype=dtype)
    for bound, passed in ((facts.low, np.less), (facts.high, np.greater)):
        if bound is not None:
            end = np.array([bound])
            end = end if dtype == "float64" else end.astype("float32").astype(drawn.dtype)
            assert not passed(drawn.astype("float64"), end.astype("float64")).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("init", [initspec.he_normal, initspec.uniform(0.0, 1.0), NORMAL])
def test_narrow_dtypes_are_the_rounded_float32(init: Initializer, dtype: str) -> None:
    wide = init((64, 64), seed=6)
    narrow = init((64, 64), seed=6, dtype=dtype)
    assert np.array_equal(narrow, wide.astype(narrow.dtype))
    assert narrow.dtype.name == dtype


def test_float64_refines_float32() -> None:
    wide = NORMAL((64, 64), seed=6, dtype="float64")
    assert np.allclose(wide, NORMAL((64, 64), seed=6), rtol=2.0**-22, atol=0)


def test_the_mean_is_added() -> None:
    plain = initspec.normal(0.5)((50, 50), seed=6, dtype="float64")
    moved = initspec.normal(0.5, mean=3.0)((50, 50), seed=6, dtype="float64")
    assert np.abs(moved - plain - 3.0).max() < 2.0**-27


@pytest.mark.parametrize(
    ("init", "value"),
    [
        (initspec.normal(0.0), 0.0),
        (initspec.normal(0.0, mean=2.0), 2.0),
        (initspec.truncated_normal(0.0, mean=-1.0), -1.0),
        (initspec.truncated_normal(0.0, 0.0, 2.0, mean=1.0, absolute=True), 1.0),
        (initspec.uniform(0.25, 0.25), 0.25),
        (initspec.he_normal.replace(gain=0.0), 0.0),
        (initspec.he_uniform.replace(scale=0.0), 0.0),
        (initspec.constant(0.5), 0.5),
    ],
)
def test_no_spread_is_a_constant(init: Initializer, value: float) -> None:
    assert (init((3, 4), seed=0) == value).all()
    facts = init.describe((3, 4))
    assert (facts.mean, facts.std, facts.low, facts.high) == (value, 0.0, value, value)
    assert facts.kurtosis is None


def test_no_spread_outside_of_absolute_bounds_is_refused() -> None:
    init = initspec.truncated_normal(0.0, 1.0, 2.0, absolute=True)
    with pytest.raises(InitspecValueError, match=re.escape("mean: got 0.0; expected in [1, 2]")):
        init((3, 4), seed=0)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (3, 4, 0)])
def test_an_empty_shape_gives_an_empty_array(name: str, shape: tuple[int, ...]) -> None:
    """With no warning: warnings are errors here."""
    init = get(name)
    layout = "SIO" if init.distribution == "identity" else "WIO"
    empty = init(shape, layout=layout, seed=0)
    assert empty.shape == shape
    assert init.describe(shape, layout).std == 0.0


def test_numbers_by_hand() -> None:
    """A he_uniform limit and a he_normal std for fan_in 6: sqrt(6 / 6) and sqrt(2 / 6)."""
    assert initspec.he_uniform.describe((6, 4), "IO").high == 1.0
    assert initspec.he_normal.describe((6, 4), "IO").std == math.sqrt(1 / 3)
    assert initspec.glorot_uniform.describe((6, 4), "IO").high == math.sqrt(0.6)
