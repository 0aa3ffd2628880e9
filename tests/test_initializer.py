"""The initializer: its fields, its serialised form, its numbers, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import initspec
from initspec import Initializer, get
from initspec.description import Description
from initspec.errors import BackendError, InitspecError, InitspecTypeError, InitspecValueError
from initspec.initializer import FORMAT, MODES
from initspec.plan import DTYPES
from initspec.recipes import RECIPES

CheckLaw = Callable[[NDArray[np.float64], Description], None]
NORMAL = initspec.normal(1.0)
FIELDS = [field.name for field in dataclasses.fields(Initializer)]


# --- fields -------------------------------------------------------------------------------------

Fields = dict[str, Any]
CUT: Fields = {"distribution": "truncated_normal", "std": 1.0, "low": -2.0, "high": 2.0}
UNIFORM: Fields = {"distribution": "uniform", "low": -1.0, "high": 1.0}
SCALED: Fields = {"distribution": "normal", "mode": "fan_in"}
FLAT: Fields = {"distribution": "normal", "std": 1.0}

BAD_FIELDS: list[tuple[Fields, type[InitspecError], str]] = [
    # kinds and names
    ({"distribution": 5}, InitspecTypeError, "distribution: got 5; expected one of ('normal', "),
    ({"distribution": "norml"}, InitspecValueError, "Did you mean 'normal'?"),
    (SCALED | {"mode": "fan-in"}, InitspecValueError, "Did you mean 'fan_in'?"),
    (SCALED | {"mode": 1}, InitspecTypeError, "mode: got 1; expected one of ('fan_in', 'fan_out'"),
    (SCALED | {"mode": ["fan_in"]}, InitspecTypeError, "mode: got ['fan_in']; expected one of"),
    (SCALED | {"fan_rule": "toch"}, InitspecValueError, "Did you mean 'torch'?"),
    (SCALED | {"fan_rule": None}, InitspecTypeError, "fan_rule: got None; expected one of ('true'"),
    (FLAT | {"per": None}, InitspecTypeError, "per: got None; expected one of ('output', 'input')"),
    (FLAT | {"mean": None}, InitspecTypeError, "mean: got None; expected a real number"),
    (SCALED | {"scale": None}, InitspecTypeError, "scale: got None; expected a real number"),
    (SCALED | {"gain": None}, InitspecTypeError, "gain: got None; expected a real number"),
    ({"distribution": "constant", "value": None}, InitspecTypeError, "value: got None; expected a "),
    ({"distribution": "sparse", "std": 1.0, "sparsity": 0.1, "per": "row"}, InitspecValueError, "per"),
    (CUT | {"absolute": 1}, InitspecTypeError, "absolute: got 1; expected True or False"),
    (CUT | {"compensate": "yes"}, InitspecTypeError, "compensate: got 'yes'; expected True or"),
    # numbers
    (FLAT | {"std": "1"}, InitspecTypeError, "std: got '1'; expected a real number"),
    (FLAT | {"std": True}, InitspecTypeError, "std: got True; expected a real number"),
    (FLAT | {"std": 1j}, InitspecTypeError, "std: got 1j; expected a real number"),
    (FLAT | {"std": np.ones(1)}, InitspecTypeError, "Traced values are not supported."),
    (FLAT | {"std": math.nan}, InitspecValueError, "std: got nan; expected a finite number"),
    (FLAT | {"std": math.inf}, InitspecValueError, "std: got inf; expected a finite number"),
    (FLAT | {"std": 10**400}, InitspecValueError, "expected a finite number"),
    (FLAT | {"std": -1.0}, InitspecValueError, "std: got -1.0; expected a number that is not neg"),
    (FLAT | {"mean": -math.inf}, InitspecValueError, "mean: got -inf; expected a finite number"),
    (SCALED | {"scale": -1.0}, InitspecValueError, "scale: got -1.0; expected a number that is no"),
    (SCALED | {"gain": -2.0}, InitspecValueError, "gain: got -2.0; expected a number that is not"),
    (SCALED | {"gain": math.nan}, InitspecValueError, "gain: got nan; expected a finite number"),
    (SCALED | {"fan": 0}, InitspecValueError, "fan: got 0.0; expected a positive number"),
    (SCALED | {"fan": -3}, InitspecValueError, "fan: got -3.0; expected a positive number"),
    ({"distribution": "constant", "value": math.nan}, InitspecValueError, "value: got nan"),
    # fields that belong together
    ({"distribution": "normal"}, InitspecValueError, "std: got None; expected a number for 'normal'"),
    ({"distribution": "uniform"}, InitspecValueError, "low: got None; expected a number for 'unif"),
    ({"distribution": "uniform", "low": 0}, InitspecValueError, "high: got None"),
    ({"distribution": "sparse", "std": 1.0}, InitspecValueError, "sparsity: got None"),
    ({"distribution": "sparse", "sparsity": 0.1}, InitspecValueError, "std: got None"),
    (SCALED | {"std": 1.0}, InitspecValueError, "None together with a mode. Use scale=."),
    (FLAT | {"low": 0.0}, InitspecValueError, "low: got 0.0; expected no such field for 'normal'"),
    (FLAT | {"sparsity": 0.5}, InitspecValueError, "no such field for 'normal': it has ('mode'"),
    ({"distribution": "constant", "std": 1.0}, InitspecValueError, "it has ('value',)"),
    ({"distribution": "orthogonal", "mode": "fan_in"}, InitspecValueError, "it has ('gain',)"),
    (FLAT | {"gain": 2.0}, InitspecValueError, "gain: got 2.0; expected its default: without a mo"),
    (FLAT | {"scale": 2.0}, InitspecValueError, "Give a mode, or multiply the numbers yourself."),
    (FLAT | {"fan": 2.0}, InitspecValueError, "without a mode it has no effect"),
    (FLAT | {"fan_rule": "jax"}, InitspecValueError, "without a mode it has no effect"),
    (UNIFORM | {"gain": 2.0}, InitspecValueError, "without a mode it has no effect"),
    (UNIFORM | {"mode": "fan_in"}, InitspecValueError, "low, high: got (-1.0, 1.0); expected None"),
    # bounds
    (UNIFORM | {"low": 2.0}, InitspecValueError, "low, high: got (2.0, 1.0); expected low below hi"),
    (CUT | {"low": 3.0}, InitspecValueError, "low below high. Swap them."),
    (CUT | {"low": 2.0}, InitspecValueError, "low, high: got (2.0, 2.0); expected low below high"),
    (CUT | {"low": None, "high": None}, InitspecValueError, "expected a bound. Or use 'normal'."),
    (CUT | {"high": 11.0}, InitspecValueError, "bounds that act: no draw lies beyond 6.338 sigma"),
    (CUT | {"low": 10.0, "high": 11.0}, InitspecValueError, "for values pass absolute=True"),
    (CUT | {"absolute": True, "compensate": True}, InitspecValueError, "absolute: got True"),
    (
        CUT | {"std": None, "mode": "fan_in", "absolute": True},
        InitspecValueError,
        "False together with a mode or compensate. Give sigmas.",
    ),
    ({"distribution": "sparse", "std": 1.0, "sparsity": 2.0}, InitspecValueError, "a share in [0, 1]"),
    ({"distribution": "sparse", "std": 1.0, "sparsity": -1}, InitspecValueError, "a share in [0, 1]"),
]


@pytest.mark.parametrize(("fields", "kind", "text"), BAD_FIELDS)
def test_a_bad_field_is_refused_at_construction(
    fields: Fields, kind: type[InitspecError], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        Initializer(**fields)


@pytest.mark.parametrize("value", [1, np.float32(0.5), np.int64(2), np.float16(0.5), Fraction(1, 4)])
def test_any_real_number_will_do(value: Any) -> None:
    std = initspec.normal(value).std
    assert type(std) is float
    assert std == float(value)


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1, initspec.constant(-0.0).value) == 1
    assert initspec.constant(-0.0)((1,)).tobytes() == initspec.zeros((1,)).tobytes()


def test_an_initializer_is_a_value() -> None:
    a, b = initspec.variance_scaling(2.0), initspec.variance_scaling(2)
    assert a == b == get("he_normal")
    assert len({a, b, a.replace(gain=2.0)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        a.scale = 3.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(a)) == a


def test_replace_checks_like_the_constructor() -> None:
    he = get("he_normal")
    assert he.replace(mode="fan_out").mode == "fan_out"
    assert he.replace() == he
    assert he.replace(gain=2.0).replace(gain=1.0) == he
    with pytest.raises(InitspecTypeError, match="Did you mean 'gain'"):
        he.replace(gian=2.0)
    with pytest.raises(InitspecValueError, match="scale: got -1.0"):
        he.replace(scale=-1.0)
    with pytest.raises(InitspecTypeError, match="distribution: got None"):
        he.replace(distribution=None)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_every_round_trip(name: str) -> None:
    init = get(name)
    assert Initializer.from_dict(init.to_dict()) == init
    assert Initializer.from_json(init.to_json()) == init
    assert Initializer.from_json(init.to_json().encode()) == init
    assert eval(repr(init), {"Initializer": Initializer}) == init
    assert init.to_dict()["initspec"] == FORMAT
    assert json.loads(init.to_json()) == init.to_dict()


# --- hypothesis: any valid initializer, and any JSON ----------------------------------------------

positive = st.floats(1e-6, 1e6)
number = st.floats(-1e6, 1e6)
sigma = st.floats(-4, 4, width=16)
scaling = st.fixed_dictionaries(
    {"mode": st.sampled_from(MODES)},
    optional={
        "scale": positive,
        "gain": positive,
        "fan": positive,
        "fan_rule": st.sampled_from(["true", "torch", "keras", "jax"]),
    },
)
spread = st.fixed_dictionaries({"std": positive}) | scaling
pairs = st.tuples(sigma, sigma).filter(lambda pair: pair[1] - pair[0] > 0.01)


@st.composite
def initializers(draw: st.DrawFn) -> Initializer:
    kind = draw(st.sampled_from(["normal", "truncated_normal", "uniform", "constant", "sparse"]))
    if kind == "constant":
        return initspec.constant(draw(number))
    if kind == "sparse":
        share, per = draw(st.floats(0, 1)), draw(st.sampled_from(["output", "input"]))
        return initspec.sparse(share, std=draw(positive), per=per)
    if kind == "uniform" and draw(st.booleans()):
        low, high = sorted(draw(st.tuples(number, number)))
        return initspec.uniform(low, high)
    fields: Fields = draw(scaling if kind == "uniform" else spread)
    if kind != "uniform":
        fields = fields | {"mean": draw(st.just(0.0) | st.floats(-1, 1))}
    if kind == "truncated_normal":
        low, high = draw(pairs)
        ends = draw(st.sampled_from([(low, high), (low, None), (None, high)]))
        fields = fields | dict(zip(("low", "high"), ends, strict=True))
        fields = fields | {"compensate": draw(st.booleans())}
    return Initializer(distribution=kind, **fields)


@given(initializers())
def test_any_initializer_survives_every_round_trip(init: Initializer) -> None:
    assert Initializer.from_json(init.to_json()) == init
    assert eval(repr(init), {"Initializer": Initializer}) == init
    assert init.replace() == init
    assert hash(init.replace()) == hash(init)


@given(initializers(), st.sampled_from(DTYPES))
def test_any_initializer_is_described_and_drawn_or_refused(init: Initializer, dtype: str) -> None:
    try:
        facts = init.describe((6, 10), "OI")
        drawn = init((6, 10), layout="OI", seed=1, dtype=dtype)
    except InitspecValueError:
        return
    assert np.isfinite(drawn.astype("float64")).all()
    assert all(math.isfinite(n) for n in (facts.mean, facts.std, *filter(None, (facts.low, facts.high))))
    for bound, sign in ((facts.low, -1), (facts.high, 1)):
        if bound is not None:  # rounded to the dtype, and by the one factor
            end = np.array(bound).astype("float32").astype(drawn.dtype).astype("float64")
            slack = 2.0**-22 * abs(bound) + (2.0**-8 * abs(bound) if "16" in dtype else 0)
            assert ((drawn.astype("float64") - end) * sign <= slack).all()


keys = st.sampled_from([*FIELDS, "initspec", "extra"]) | st.text(max_size=3)
words = st.sampled_from(["normal", "truncated_normal", "uniform", "fan_in", "true", "output", ""])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=3)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2)
)
documents = st.dictionaries(keys, leaves | anything, max_size=5) | anything
near_miss = initializers().flatmap(
    lambda init: st.dictionaries(keys, leaves, max_size=2).map(lambda more: init.to_dict() | more)
)


@given(documents | near_miss)
def test_any_dictionary_is_read_or_refused(data: Any) -> None:
    try:
        init = Initializer.from_dict(data)
        init.describe((3, 4, 5), "WIO")
    except InitspecError as error:
        assert str(error)
        return
    assert Initializer.from_dict(init.to_dict()) == init


@given(documents.map(json.dumps) | near_miss.map(json.dumps) | st.text(max_size=20) | st.binary())
def test_any_json_is_read_or_refused(text: str | bytes) -> None:
    try:
        init = Initializer.from_json(text)
    except InitspecError as error:
        assert str(error)
        return
    assert Initializer.from_json(init.to_json()) == init


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"distribution": "normal", "std": 1, "std": 2}', "got 'std'; expected every key once"),
        ('{"distribution": "normal", "std": NaN}', "got 'NaN'; expected finite numbers"),
        ('{"distribution": "normal", "std": -Infinity}', "got '-Infinity'; expected finite numbers"),
        ('{"distribution": "normal", "std": 1e999}', "std: got inf; expected a finite number"),
        ('{"distribution": "normal", "std": "1e-3"}', "std: got '1e-3'; expected a real number"),
        ('{"distribution": "normal", "sdt": 1}', "Did you mean 'std'?"),
        ('{"std": 1}', "distribution: got None; expected one of"),
        ('{"initspec": 2, "distribution": "bilinear"}', "expected format 1. A newer initspec wrote"),
        ('{"initspec": true, "distribution": "bilinear"}', "expected format 1"),
        ("[]", "initializer: got []; expected a dictionary from to_dict()"),
        ("{", "expected JSON text"),
        ("[" * 100_000, "expected JSON text"),
        ("1" * 5000, "expected JSON text"),
        (b"\xff\xfe", "expected JSON text"),
    ],
)
def test_bad_json_is_refused(text: str | bytes, expected: str) -> None:
    with pytest.raises(InitspecError, match=re.escape(expected)):
        Initializer.from_json(text)


def test_a_large_document_is_read_in_linear_time() -> None:
    text = "{" + ", ".join(f'"key{i}": 1' for i in range(20_000)) + "}"
    with pytest.raises(InitspecValueError, match="key0: got 1; expected one of the keys"):
        Initializer.from_json(text)


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
    facts = initspec.truncated_normal(0.7, -1.0, 2.0, mean=0.3, absolute=True).describe((4, 4))
    assert (facts.low, facts.high) == (-1.0, 2.0)


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


# --- bad calls ------------------------------------------------------------------------------------


def call(*args: Any, init: Initializer = initspec.he_normal, **options: Any) -> Any:
    return init(*args, **({"seed": 0} | options))


BAD_CALLS: list[tuple[str, Callable[[], Any], type[InitspecError], str]] = [
    ("no axes", lambda: call(()), InitspecValueError, "rank 0: fans need at least 2 axes. Pass lay"),
    ("one axis", lambda: call((5,)), InitspecValueError, "or give the fan: init.replace(fan=256)"),
    ("negative", lambda: call((3, -4)), InitspecValueError, "shape[1]: got -4; expected an integer "),
    ("float", lambda: call((4.0, 4)), InitspecTypeError, "shape[0]: got 4.0; expected an integer. "),
    ("float hint", lambda: call((4.0, 4)), InitspecTypeError, "write 4, not 4.0"),
    ("boolean", lambda: call((True, 4)), InitspecTypeError, "shape[0]: got True; expected an integer"),
    ("numpy boolean", lambda: call((np.bool_(True), 4)), InitspecTypeError, "shape[0]: got"),
    ("product", lambda: call((2**40, 2**40)), InitspecValueError, "fewer than 2**60 elements. Make"),
    ("one size", lambda: call((2**63, 1)), InitspecValueError, "fewer than 2**60 elements"),
    ("beyond bytes", lambda: call((2**31, 2**31)), InitspecValueError, "fewer than 2**60 elements"),
    ("huge integer", lambda: call((10**5000, 1)), InitspecValueError, "fewer than 2**60 elements"),
    ("text in it", lambda: call(("4", 4)), InitspecTypeError, "shape[0]: got '4'; expected an integ"),
    ("None in it", lambda: call((None, 4)), InitspecTypeError, "Build the model (or run one batch)"),
    ("nested", lambda: call(((4, 4),)), InitspecTypeError, "shape[0]: got (4, 4); expected an integ"),
    ("integer", lambda: call(4), InitspecTypeError, "shape: got 4; expected a tuple of integers. Wri"),
    ("hint", lambda: call(np.int64(4)), InitspecTypeError, "Write (4,) for one axis."),
    ("text", lambda: call("44"), InitspecTypeError, "shape: got '44'; expected a tuple of integers"),
    ("dictionary", lambda: call({4: 4}), InitspecTypeError, "shape: got {4: 4}; expected a tuple"),
    ("set", lambda: call({4, 5}), InitspecTypeError, "shape: got {4, 5}; expected a tuple"),
    ("33 axes", lambda: call((1,) * 33), InitspecValueError, "expected at most 32 axes"),
    ("endless", lambda: call(iter(int, 1)), InitspecValueError, "expected at most 32 axes"),
    ("nothing", lambda: call(), InitspecTypeError, "a tuple of integers, or a tensor as out="),
    ("letters", lambda: call((3, 4, 5), layout="OIHW"), InitspecValueError, "the layout has 4, the "),
    ("letter", lambda: call((3, 4), layout="OQ"), InitspecValueError, "Look here:\n  OQ\n   ^"),
    ("layout kind", lambda: call((3, 4), layout=5), InitspecTypeError, "layout: got 5; expected a pa"),
    ("groups", lambda: call((64, 4), groups=3, layout="OI"), InitspecValueError, "divides by 3 (G=3)"),
    ("no groups", lambda: call((64, 4), groups=0), InitspecValueError, "groups: got 0; expected an"),
    ("less", lambda: call((64, 4), groups=-1), InitspecValueError, "groups: got -1; expected an in"),
    ("keyword", lambda: call((4, 4), group=2), InitspecTypeError, "Did you mean 'groups'?"),
    ("int32", lambda: call((4, 4), dtype="int32"), InitspecTypeError, "dtype: got 'int32'; expected "),
    ("bool", lambda: call((4, 4), dtype=bool), InitspecTypeError, "one of float32, float64, bfloat16"),
    ("float", lambda: call((4, 4), dtype=float), InitspecTypeError, "dtype: got <class 'float'>; exp"),
    ("uint8", lambda: call((4, 4), dtype=np.uint8), InitspecTypeError, "Draw in float32 and convert"),
    ("complex", lambda: call((4, 4), dtype="complex64"), InitspecTypeError, "got 'complex64'; expect"),
    (
        "float8",
        lambda: call((4, 4), dtype=ml_dtypes.float8_e4m3fn),
        InitspecTypeError,
        "expected one of float32, float64, bfloat16, float16",
    ),
    ("dtype", lambda: call((4, 4), dtype="flaot32"), InitspecTypeError, "Did you mean 'float32'?"),
    ("device", lambda: call((4, 4), device="gpu"), InitspecValueError, "None or 'cpu': NumPy has no o"),
    ("backend", lambda: call((4, 4), backend="nunpy"), InitspecValueError, "Did you mean 'numpy'?"),
    ("seed", lambda: call((4, 4), seed=2**64), InitspecValueError, "seed: got 18446744073709551616; "),
    ("seed -1", lambda: call((4, 4), seed=-1), InitspecValueError, "seed: got -1; expected an integer "),
    ("seed 1.5", lambda: call((4, 4), seed=1.5), InitspecTypeError, "an integer in [0, 2**64). Seeds "),
    ("seed '0'", lambda: call((4, 4), seed="0"), InitspecTypeError, "seed: got '0'; expected an inte"),
    ("seed nan", lambda: call((4, 4), seed=math.nan), InitspecTypeError, "seed: got nan; expected an"),
    ("seed True", lambda: call((4, 4), seed=True), InitspecTypeError, "seed: got True; expected an in"),
    ("seed array", lambda: call((4, 4), seed=[1]), InitspecTypeError, "for a JAX key use init.bind('"),
    ("name", lambda: call((4, 4), name=5), InitspecTypeError, "name: got 5; expected a string"),
    ("name list", lambda: call((4, 4), name=["a"]), InitspecTypeError, "name: got ['a']; expected a "),
    ("name None", lambda: call((4, 4), name=None), InitspecTypeError, "name: got None; expected a st"),
    (
        "name of blocks",
        lambda: call((4, 4), name=5, layout="(2 O) I", blocks=("q", "k")),
        InitspecTypeError,
        "name: got 5; expected a string",
    ),
    ("NUL", lambda: call((4, 4), name="a\0b"), InitspecValueError, "at most 65536 bytes and no NUL"),
    ("long name", lambda: call((4, 4), name="a" * 65537), InitspecValueError, "at most 65536 bytes an"),
    ("half", lambda: call((4, 4), name="\ud800"), InitspecValueError, "text that UTF-8 can encode"),
    (
        "activation",
        lambda: initspec.variance_scaling(gain="reluu"),
        InitspecValueError,
        "Did you mean 'relu'?",
    ),
    ("recipe", lambda: get("he_norml"), InitspecValueError, "Did you mean 'he_normal'?"),
    (
        "identity of a kernel",
        lambda: call((3, 4, 5), init=initspec.identity()),
        InitspecValueError,
        "I and O and no spatial axis for it. For kernels use dirac.",
    ),
    (
        "orthogonal vector",
        lambda: call((5,), init=initspec.orthogonal()),
        InitspecValueError,
        "fans need at least 2 axes",
    ),
    (
        "orthogonal vector, said so",
        lambda: call((5,), init=initspec.orthogonal(), layout="O"),
        InitspecValueError,
        "output axes and input axes: a matrix to make orthogonal",
    ),
    (
        "six axes",
        lambda: call((1,) * 6, init=NORMAL),
        InitspecValueError,
        "no convention has 6 axes. Pass layout=, for example 'O' or 'SIO'.",
    ),
    ("zeros, seed", lambda: initspec.zeros((4,), seed=-1), InitspecValueError, "seed: got -1"),
    ("zeros, name", lambda: initspec.zeros((4,), name=5), InitspecTypeError, "name: got 5"),
]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [row[1:] for row in BAD_CALLS],
    ids=[row[0] for row in BAD_CALLS],
)
def test_a_bad_call_says_what_is_wrong(
    make: Callable[[], Any], kind: type[InitspecError], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)) as caught:
        make()
    assert caught.value.where
    assert caught.value.expected


def full(shape: tuple[int, ...] = (4, 4), dtype: Any = "float32") -> NDArray[Any]:
    return np.full(shape, 7, dtype)


FROZEN = full()
FROZEN.flags.writeable = False
BAD_OUTS: list[tuple[Any, Fields, type[InitspecError], str]] = [
    (full(), {"shape": (4, 5)}, InitspecValueError, "shape: got (4, 5); expected the shape of out"),
    (full(), {"dtype": "float16"}, InitspecValueError, "expected the dtype of out, float32"),
    (full(), {"device": "cpu"}, InitspecValueError, "device: got 'cpu'; expected None together wit"),
    (full(), {"layout": "OIHW"}, InitspecValueError, "the layout has 4, the shape 2"),
    (full(), {"seed": -1}, InitspecValueError, "seed: got -1"),
    (full(), {"name": "\0"}, InitspecValueError, "and no NUL"),
    (full(dtype="int32"), {}, InitspecTypeError, "dtype: got dtype('int32'); expected one of"),
    (full(dtype=">f4"), {}, InitspecValueError, "expected an array in the machine's byte order"),
    (full((5,)), {}, InitspecValueError, "rank 1: fans need at least 2 axes"),
    (FROZEN, {}, InitspecValueError, "expected a writable array"),
    (np.broadcast_to(full((1, 4)), (4, 4)), {}, InitspecValueError, "expected a writable array"),
    ([[1.0]], {}, InitspecTypeError, "out: got [[1.0]]; expected a tensor of"),
    ([[1.0]], {"backend": "numpy"}, InitspecTypeError, "expected a NumPy array"),
]


@pytest.mark.parametrize(("out", "options", "kind", "text"), BAD_OUTS)
def test_a_bad_out_is_not_touched(
    out: Any, options: Fields, kind: type[InitspecError], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        initspec.he_normal(**({"out": out, "seed": 0} | options))
    assert (np.asarray(out) == (7 if isinstance(out, np.ndarray) else 1)).all()


def test_bfloat16_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BackendError, match="pip install ml_dtypes"):
        initspec.he_normal((4, 4), dtype="bfloat16", seed=0)


def test_good_calls_that_look_odd() -> None:
    want = call((4, 6)).tobytes()
    for shape in ([4, 6], (n for n in (4, 6)), np.array([4, 6]), (np.int32(4), np.uint8(6)), range(4, 7, 2)):
        assert call(shape).tobytes() == want
    for dtype in ("float32", "f32", np.float32, np.dtype("float32"), None):
        assert call((4, 6), dtype=dtype).tobytes() == want
    for seed in (np.int64(0), np.uint64(0)):
        assert call((4, 6), seed=seed).tobytes() == want
    assert call((4, 6), backend="numpy", device="cpu").tobytes() == want
    assert call(out=np.empty((4, 6), "float32")).tobytes() == want
    assert call((4, 6), out=np.empty((4, 6), "float32")).tobytes() == want


def test_all_bits_of_a_seed_count() -> None:
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    assert len({call((4, 4), seed=seed).tobytes() for seed in seeds}) == len(seeds)


def test_names_are_normalised_and_separate() -> None:
    names = ["", "a", "b", "a/b", "a ", "A", "ä"]
    assert len({call((4, 4), name=name).tobytes() for name in names}) == len(names)
    assert call((4, 4), name="\u00e4").tobytes() == call((4, 4), name="a\u0308").tobytes()


def test_without_a_seed_numpys_generator_decides() -> None:
    np.random.seed(5)
    first, second = (initspec.he_normal((4, 4)) for _ in range(2))
    assert first.tobytes() != second.tobytes()
    np.random.seed(5)
    assert initspec.he_normal((4, 4)).tobytes() == first.tobytes()


def test_what_draws_nothing_moves_no_generator() -> None:
    np.random.seed(5)
    first = np.random.random()
    np.random.seed(5)
    for init in (initspec.zeros, initspec.identity(), initspec.bilinear):
        init((3, 3, 4, 4) if init is initspec.bilinear else (4, 4))
    assert np.random.random() == first


def test_plan_gives_every_named_block_a_key() -> None:
    plan = initspec.he_normal.plan((8, 3), layout="(4 O) I", blocks=("i", "f", "g", "o"))
    assert plan.keys == ((0, 0),) * 4
    assert initspec.he_normal.plan((8, 3)).keys == ((0, 0),)


def test_binding_to_numpy_says_what_to_do() -> None:
    with pytest.raises(InitspecValueError, match="Call the initializer itself, or bind to 'torch'"):
        initspec.he_normal.bind("numpy")
