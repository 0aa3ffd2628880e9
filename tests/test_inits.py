"""The init of a rule: types, fields, formulas, and what they become."""

import math
import re

import pytest

import initspec
from initspec import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models.config.inits import TYPES, Init
from initspec.recipes import ALIASES, RECIPES

CUT = {"low": -2.0, "high": 2.0, "compensate": True}
GOOD = [
    ("he_normal", {}, initspec.he_normal),
    ("kaiming_uniform", {}, initspec.he_uniform),
    ("torch.kaiming_normal", {}, initspec.get("torch.kaiming_normal")),
    ("he_normal", {"nonlinearity": "relu"}, initspec.he_normal),
    ("he_normal", {"mode": "fan_out"}, initspec.he_normal.replace(mode="fan_out")),
    ("glorot_uniform", {"gain": "1 / sqrt(L)"}, initspec.glorot_uniform.replace(gain=0.5)),
    ("normal", {"std": "0.02 / sqrt(L)"}, initspec.normal(0.01)),
    ("normal", {"mode": "fan_avg"}, initspec.Initializer(distribution="normal", mode="fan_avg")),
    ("uniform", {"low": "-1 / L", "high": 0.25}, initspec.uniform(-0.25, 0.25)),
    ("uniform", {"low": "-L", "high": -2}, initspec.uniform(-4, -2)),
    ("truncated_normal", {"std": 1, "cut": 2}, initspec.truncated_normal()),
    (
        "truncated_normal",
        {"std": 1, "cut": "L - 1", "compensate": True},
        initspec.truncated_normal(low=-3, high=3, compensate=True),
    ),
    ("constant", {"value": 1}, initspec.ones),
    ("orthogonal", {"gain": 2}, initspec.orthogonal(2)),
    ("sparse", {"sparsity": 0.5, "std": 0.1}, initspec.sparse(0.5, 0.1)),
    ("variance_scaling", {"scale": 2}, initspec.he_normal),
    (
        "variance_scaling",
        {"distribution": "uniform", "mode": "fan_avg"},
        initspec.glorot_uniform,
    ),
    (
        "lecun_uniform",
        {"nonlinearity": "leaky_relu", "param": math.sqrt(5)},
        initspec.lecun_uniform.replace(scale=initspec.gain("leaky_relu", math.sqrt(5)) ** 2),
    ),
]
BAD = [
    ("he_norml", {}, "type", "Did you mean 'he_normal'?"),
    ("he_normal", {"std": 1}, "std", "None together with a mode"),
    ("normal", {}, "std", "a number for 'normal'"),
    ("normal", {"stdd": 1}, "stdd", "Did you mean 'std'?"),
    ("normal", {"std": "a b"}, "std", "a formula"),
    ("normal", {"std": True}, "std", "a real number"),
    ("normal", {"std": -1}, "std", "not negative"),
    ("keep", {"std": 1}, "std", "no fields"),
    ("truncated_normal", {"std": 1}, "low, high", "a bound"),
    ("truncated_normal", {"std": 1, "cut": 2, "low": 1}, "cut", "either cut, or low and high"),
    ("truncated_normal", {"std": 1, "cut": -2}, "cut", "a positive number"),
    ("truncated_normal", {"std": 1, "cut": [2]}, "cut", "a number of standard deviations"),
    ("truncated_normal", {"std": 1, "cut": 99}, "low, high", "bounds that act"),
    ("he_normal", {"nonlinearity": "rellu"}, "activation", "Did you mean 'relu'?"),
    ("he_normal", {"nonlinearity": "relu", "gain": 2}, "gain", "either nonlinearity, or"),
    ("he_normal", {"param": 2}, "param", "a nonlinearity beside it"),
    ("he_normal", {"nonlinearity": 2}, "nonlinearity", "the name of an activation"),
    ("he_normal", {"mode": "fan"}, "mode", "one of"),
    ("he_normal", {"distribution": "normal"}, "distribution", "one of the fields"),
    ("uniform", {"low": 2, "high": 1}, "low, high", "low below high"),
]


@pytest.mark.parametrize(("kind", "fields", "wanted"), GOOD)
def test_resolves_to_the_initializer(kind, fields, wanted):
    init = Init(kind, fields)
    init.check()
    assert init.resolve({"L": 4.0}) == wanted


@pytest.mark.parametrize(("kind", "fields", "where", "words"), BAD)
def test_what_can_never_be_is_refused(kind, fields, where, words):
    with pytest.raises(InitspecError, match=re.escape(words)) as caught:
        Init(kind, fields).check()
    assert caught.value.where == where


def test_every_type_is_one_that_resolves():
    needed = {"normal": {"std": 1}, "uniform": {"low": 0, "high": 1}}
    needed["truncated_normal"] = {"std": 1, "cut": 2}
    needed["sparse"] = {"std": 1, "sparsity": 0.1}
    assert set(RECIPES) | set(ALIASES) <= set(TYPES)
    for kind in TYPES:
        init = Init(kind, needed.get(kind, {}))
        init.check()
        assert init.keeps or init.resolve({})


@pytest.mark.parametrize("name", RECIPES)
def test_an_initializer_goes_in_and_comes_out(name):
    wanted = initspec.get(name)
    init = Init.of(wanted)
    init.check()
    assert init.resolve({}) == wanted
    assert Init.of(init.to_plain()) == init


def test_forms_that_are_one_thing():
    assert Init.of("he_normal") == Init.of({"type": "he_normal"}) == Init("he_normal")
    assert hash(Init.of("he_normal")) == hash(Init("he_normal"))
    assert Init.of({"type": "normal", "std": 1}).to_plain() == {"type": "normal", "std": 1}
    for wrong in (3, None):
        with pytest.raises(InitspecTypeError, match="a name, a table"):
            Init.of(wrong)
    with pytest.raises(InitspecValueError, match="a table with 'type'"):
        Init.of({"std": 1})


def test_a_formula_without_its_value_names_it():
    with pytest.raises(InitspecValueError, match="Did you mean 'L'"):
        Init("normal", {"std": "1 / LL"}).resolve({"L": 2.0})
