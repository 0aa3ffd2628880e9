"""The initializer: its fields, its serialised form, and what it refuses at construction."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import initspec
from initspec import Initializer, get
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.fill_plan import DTYPES
from initspec.initializer import FORMAT, MODES
from initspec.recipes import RECIPES

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
    (
        {"distribution": "constant", "value": None},
        InitspecTypeError,
        "value: got None; expected a ",
    ),
    (
        {"distribution": "sparse", "std": 1.0, "sparsity": 0.1, "per": "row"},
        InitspecValueError,
        "per",
    ),
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
    (
        {"distribution": "normal"},
        InitspecValueError,
        "std: got None; expected a number for 'normal'",
    ),
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
    (
        UNIFORM | {"low": 2.0},
        InitspecValueError,
        "low, high: got (2.0, 1.0); expected low below hi",
    ),
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
    (
        {"distribution": "sparse", "std": 1.0, "sparsity": 2.0},
        InitspecValueError,
        "a share in [0, 1]",
    ),
    (
        {"distribution": "sparse", "std": 1.0, "sparsity": -1},
        InitspecValueError,
        "a share in [0, 1]",
    ),
]


@pytest.mark.parametrize(("fields", "kind", "text"), BAD_FIELDS)
def test_a_bad_field_is_refused_at_construction(
    fields: Fields, kind: type[InitspecError], text: str
) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        Initializer(**fields)


@pytest.mark.parametrize(
    "value", [1, np.float32(0.5), np.int64(2), np.float16(0.5), Fraction(1, 4)]
)
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
    with pytest.raises(InitspecValueError, match=r"scale: got -1\.0"):
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
    assert all(
        math.isfinite(n) for n in (facts.mean, facts.std, *filter(None, (facts.low, facts.high)))
    )
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
    except InitspecError:
        return
    assert Initializer.from_dict(init.to_dict()) == init


@given(documents.map(json.dumps) | near_miss.map(json.dumps) | st.text(max_size=20) | st.binary())
def test_any_json_is_read_or_refused(text: str | bytes) -> None:
    try:
        init = Initializer.from_json(text)
    except InitspecError:
        return
    assert Initializer.from_json(init.to_json()) == init


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"distribution": "normal", "std": 1, "std": 2}', "got 'std'; expected every key once"),
        ('{"distribution": "normal", "std": NaN}', "got 'NaN'; expected finite numbers"),
        (
            '{"distribution": "normal", "std": -Infinity}',
            "got '-Infinity'; expected finite numbers",
        ),
        ('{"distribution": "normal", "std": 1e999}', "std: got inf; expected a finite number"),
        ('{"distribution": "normal", "std": "1e-3"}', "std: got '1e-3'; expected a real number"),
        ('{"distribution": "normal", "sdt": 1}', "Did you mean 'std'?"),
        ('{"std": 1}', "distribution: got None; expected one of"),
        (
            '{"initspec": 2, "distribution": "bilinear"}',
            "expected format 1. A newer initspec wrote",
        ),
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
