"""Every named initializer against the peer that it is named after, or against its formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from flax.linen.linear import default_embed_init
from numpy.typing import NDArray

import initspec
from initspec import Initializer, get
from initspec.description import Description
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.recipes import ALIASES, RECIPES

# Shapes of about 2**18 weights whose fans differ, so that no two of them can be mistaken.
DENSE, KERNEL, GROUPS = (256, 1024), (3, 5, 72, 244), 4
SPREAD = 0.87962566103423975  # std of a unit normal cut at two sigmas
Sample = Callable[[], Any]
CheckLaw = Callable[[NDArray[np.float64], Description], None]
Case = tuple[str, tuple[int, ...], str, dict[str, Any], Sample]


def to_torch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(kernel, in, out) as (out, in, kernel)."""
    return (shape[-1], shape[-2], *shape[:-2])


# --- peers that are installed -------------------------------------------------------------------


def filled(fill: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    return fill(torch.empty(shape))


def torch_cases() -> list[Case]:
    nn, fill = torch.nn, torch.nn.init
    linear, kernel = to_torch(DENSE), to_torch(KERNEL)
    cases: list[Case] = [
        ("torch.uniform", linear, "OI", {}, lambda: fill.uniform_(torch.empty(linear))),
        ("torch.normal", linear, "OI", {}, lambda: fill.normal_(torch.empty(linear))),
        ("torch.trunc_normal", linear, "OI", {}, lambda: fill.trunc_normal_(torch.empty(linear))),
        ("torch.embedding", DENSE, "VI", {}, lambda: nn.Embedding(*DENSE).weight),
        ("torch.linear", linear, "OI", {}, lambda: nn.Linear(*DENSE).weight),
        ("torch.conv", kernel, "OIHW", {}, lambda: nn.Conv2d(72, 244, (3, 5)).weight),
        (
            "torch.conv",
            (244, 18, 3, 5),
            "OIHW",
            {"groups": GROUPS},
            lambda: nn.Conv2d(72, 244, (3, 5), groups=GROUPS).weight,
        ),
        (
            "torch.conv",
            (16384, 1, 3, 5),
            "OIHW",
            {"groups": 8192},
            lambda: nn.Conv2d(8192, 16384, (3, 5), groups=8192).weight,
        ),
        (
            "torch.conv",
            (72, 244, 3, 5),
            "IOHW",
            {"stride": 2},
            lambda: nn.ConvTranspose2d(72, 244, (3, 5), stride=2).weight,
        ),
    ]
    for name in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"):
        peer = getattr(fill, f"{name}_")
        for shape, layout, options in [
            (linear, "OI", {}),
            (kernel, "OIHW", {}),
            ((244, 72, 3, 5), "OIHW", {"groups": GROUPS}),
            ((244, 72, 3, 5), "IOHW", {}),
            ((8, 128, 256), "SIO", {}),
        ]:
            sample = partial(filled, peer, shape)
            cases.append((f"torch.{name}", shape, layout, options, sample))
    return cases


VARYING = [f"{name}_{law}" for name in ("glorot", "he", "lecun") for law in ("normal", "uniform")]


def keras_cases() -> list[Case]:
    peers = keras.initializers
    plain: dict[str, Sample] = {
        "random_normal": lambda: peers.RandomNormal(seed=3)(DENSE),
        "random_uniform": lambda: peers.RandomUniform(seed=3)(DENSE),
        "truncated_normal": lambda: peers.TruncatedNormal(seed=3)(DENSE),
        "variance_scaling": lambda: peers.VarianceScaling(seed=3)(DENSE),
        "embedding": lambda: keras.layers.Embedding(*DENSE).embeddings_initializer(DENSE),
    }
    cases: list[Case] = [(f"keras.{name}", DENSE, "IO", {}, f) for name, f in plain.items()]
    shapes: list[tuple[tuple[int, ...], str]] = [
        (DENSE, "IO"),
        (KERNEL, "HWIO"),
        ((3, 5, 4096, 4), "HWGO"),
        ((3, 5, 72, 244), "HWOI"),
    ]
    for name in VARYING:
        make = getattr(peers, "".join(word.title() for word in name.split("_")))
        for shape, layout in shapes:
            cases.append((f"keras.{name}", shape, layout, {}, partial(make(seed=3), shape)))
    return cases


def jax_cases() -> list[Case]:
    peers, key = jax.nn.initializers, jax.random.key(5)
    cases: list[Case] = [
        ("jax.uniform", DENSE, "IO", {}, lambda: peers.uniform()(key, DENSE)),
        ("jax.normal", DENSE, "IO", {}, lambda: peers.normal()(key, DENSE)),
        (
            "jax.truncated_normal",
            DENSE,
            "IO",
            {},
            lambda: peers.truncated_normal()(key, DENSE),
        ),
        ("jax.embedding", DENSE, "VI", {}, lambda: default_embed_init(key, DENSE, "float32")),
    ]
    for name in VARYING:
        make = getattr(peers, name)
        cases.append((f"jax.{name}", KERNEL, "HWIO", {}, partial(make(), key, KERNEL)))
    depthwise = (3, 5, 1, 16384)
    cases.append(
        (
            "jax.glorot_uniform",
            depthwise,
            "HWIO",
            {"groups": 8192},
            lambda: peers.glorot_uniform()(key, depthwise),
        )
    )
    return cases


def tf1_cases() -> list[Case]:
    v1 = tf.compat.v1
    peers = {
        "truncated_normal": v1.truncated_normal_initializer(seed=3),
        "random_normal": v1.random_normal_initializer(seed=3),
        "random_uniform": v1.random_uniform_initializer(seed=3),
    }
    return [
        (f"tf1.{name}", DENSE, "IO", {}, partial(peer, DENSE, tf.float32))
        for name, peer in peers.items()
    ]


PEERS = torch_cases() + keras_cases() + jax_cases() + tf1_cases()
IDS = [f"{name} {layout} {'x'.join(map(str, shape))}" for name, shape, layout, _, _ in PEERS]


@pytest.mark.parametrize(("name", "shape", "layout", "options", "sample"), PEERS, ids=IDS)
def test_the_dialect_is_the_peers_law(
    check_law: CheckLaw,
    name: str,
    shape: tuple[int, ...],
    layout: str,
    options: dict[str, Any],
    sample: Sample,
) -> None:
    torch.manual_seed(3)
    keras.utils.set_random_seed(3)
    facts = get(name).describe(shape, layout, **options)
    with torch.no_grad():
        check_law(np.asarray(sample(), np.float64), facts)


@pytest.mark.parametrize("std", [0.02, 1.0, 3.0])
def test_torch_cuts_at_values_and_not_at_sigmas(std: float) -> None:
    torch.manual_seed(3)
    shape = to_torch(DENSE)
    facts = get("torch.trunc_normal").replace(std=std).describe(shape, "OI")
    drawn = torch.nn.init.trunc_normal_(torch.empty(shape), std=std).numpy().astype(float)
    assert drawn.std() == pytest.approx(facts.std, rel=0.006)
    assert (facts.low, facts.high) == (-2.0, 2.0)
    if std == 0.02:  # the bounds are 100 sigmas away: it is a plain normal
        assert facts.kurtosis == 3.0
        assert abs(drawn).max() > 4 * std


FIXED: dict[str, tuple[tuple[int, ...], str, Sample]] = {
    "torch.zeros": ((3, 4), "OI", lambda: torch.nn.init.zeros_(torch.empty(3, 4))),
    "torch.ones": ((3, 4), "OI", lambda: torch.nn.init.ones_(torch.empty(3, 4))),
    "torch.eye": ((3, 4), "OI", lambda: torch.nn.init.eye_(torch.empty(3, 4))),
    "torch.dirac": ((4, 3, 4), "OIW", lambda: torch.nn.init.dirac_(torch.empty(4, 3, 4))),
    "keras.zeros": ((3, 4), "IO", lambda: keras.initializers.Zeros()((3, 4))),
    "keras.ones": ((3, 4), "IO", lambda: keras.initializers.Ones()((3, 4))),
    "keras.constant": ((3, 4), "IO", lambda: keras.initializers.Constant()((3, 4))),
    "keras.identity": ((3, 4), "IO", lambda: keras.initializers.Identity()((3, 4))),
    "jax.zeros": ((3, 4), "IO", lambda: jax.nn.initializers.zeros(jax.random.key(0), (3, 4))),
    "jax.ones": ((3, 4), "IO", lambda: jax.nn.initializers.ones(jax.random.key(0), (3, 4))),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_dialect_without_chance_is_the_peers_value(name: str) -> None:
    shape, layout, sample = FIXED[name]
    assert np.array_equal(get(name)(shape, layout=layout), np.asarray(sample()))


MATRICES: dict[str, tuple[tuple[int, ...], str, Sample]] = {
    "torch.orthogonal": (
        (24, 10),
        "OI",
        lambda: torch.nn.init.orthogonal_(torch.empty(24, 10)),
    ),
    "keras.orthogonal": ((10, 24), "IO", lambda: keras.initializers.Orthogonal(seed=1)((10, 24))),
    "jax.orthogonal": (
        (10, 24),
        "IO",
        lambda: jax.nn.initializers.orthogonal()(jax.random.key(0), (10, 24)),
    ),
    "jax.delta_orthogonal": (
        (3, 10, 24),
        "WIO",
        lambda: jax.nn.initializers.delta_orthogonal()(jax.random.key(0), (3, 10, 24)),
    ),
}


@pytest.mark.parametrize("name", MATRICES)
def test_an_orthogonal_dialect_has_the_peers_scale_and_place(name: str) -> None:
    shape, layout, sample = MATRICES[name]
    ours, peer = get(name)(shape, layout=layout, seed=0), np.asarray(sample())
    assert np.array_equal(ours != 0, peer != 0)
    for drawn in (ours, peer):
        gram = np.einsum("wio,wjo->ij", *[drawn.reshape(-1, *shape[-2:])] * 2)
        if name == "torch.orthogonal":
            gram = drawn.T @ drawn
        assert np.abs(gram - np.eye(10)).max() < 1e-5


def test_torchs_sparse() -> None:
    torch.manual_seed(0)
    peer = torch.nn.init.sparse_(torch.empty(50, 4000), 0.1).numpy()
    ours = get("torch.sparse")((50, 4000), layout="OI", seed=0)
    for drawn in (ours, peer):
        assert ((drawn == 0).sum(axis=0) == 5).all()
        # 180,000 normals: a relative standard error of the std of 0.7071 / 424
        assert drawn[drawn != 0].std() == pytest.approx(0.01, rel=5 * 0.7071 / 424)


# --- formulas -----------------------------------------------------------------------------------

FAN_IN, FAN_OUT = 72 * 15, 244 * 15
AVERAGE = (FAN_IN + FAN_OUT) / 2


def uniform(limit: float) -> tuple[float, float, float]:
    return limit / math.sqrt(3), limit, 1.8


def normal(std: float) -> tuple[float, None, float]:
    return std, None, 3.0


def cut(std: float) -> tuple[float, float, float]:
    """A normal of that std, cut at two sigmas, which makes it narrower."""
    return std * SPREAD, 2 * std, 2.36553672


def corrected(std: float) -> tuple[float, float, float]:
    return cut(std / SPREAD)


FORMULAS: dict[str, tuple[float, float | None, float]] = {
    "he_normal": corrected(math.sqrt(2 / FAN_IN)),
    "he_uniform": uniform(math.sqrt(6 / FAN_IN)),
    "glorot_normal": corrected(math.sqrt(1 / AVERAGE)),
    "glorot_uniform": uniform(math.sqrt(3 / AVERAGE)),
    "lecun_normal": corrected(math.sqrt(1 / FAN_IN)),
    "lecun_uniform": uniform(math.sqrt(3 / FAN_IN)),
    "glorot_sigmoid": uniform(4 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "tf1.contrib.xavier": uniform(math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "tf1.contrib.xavier_normal": cut(math.sqrt(2.6 / (FAN_IN + FAN_OUT))),
    "tf1.contrib.variance_scaling": cut(math.sqrt(1.3 * 2 / FAN_IN)),
    "tf1.contrib.variance_scaling_uniform": uniform(math.sqrt(3 * 2 / FAN_IN)),
    "caffe.xavier": uniform(math.sqrt(3 / FAN_IN)),
    "caffe.msra": normal(math.sqrt(2 / FAN_IN)),
    "prettytensor.xavier": uniform(math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "prettytensor.xavier_normal": cut(math.sqrt(3 / (FAN_IN + FAN_OUT))),
    "lasagne.normal": normal(0.01),
    "lasagne.uniform": uniform(0.01),
    "lasagne.glorot_normal": normal(math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "lasagne.glorot_uniform": uniform(math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "lasagne.he_normal": normal(math.sqrt(1 / FAN_IN)),
    "lasagne.he_uniform": uniform(math.sqrt(3 / FAN_IN)),
    "mxnet.xavier": uniform(math.sqrt(3 / AVERAGE)),
    "mxnet.xavier_gaussian": normal(math.sqrt(3 / AVERAGE)),
    "mxnet.msra_prelu": normal(math.sqrt(2 / (1 + 0.25**2) / AVERAGE)),
    "mxnet.uniform": uniform(0.07),
    "mxnet.normal": normal(0.01),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_recipe_follows_its_formula(name: str) -> None:
    std, high, kurtosis = FORMULAS[name]
    facts = get(name).describe(KERNEL, "HWIO")
    assert facts.mean == 0.0
    assert facts.std == pytest.approx(std, rel=1e-14)
    assert (facts.high is None) == (high is None)
    if facts.high is not None and facts.low is not None:
        assert facts.high == pytest.approx(high, rel=1e-14)
        assert facts.low == -facts.high
    assert facts.kurtosis == pytest.approx(kurtosis, rel=1e-8)
    assert get(name).describe(to_torch(KERNEL), "OIHW").std == facts.std, "in any layout"


@pytest.mark.parametrize(
    ("name", "other", "percent"),
    [
        ("tf1.contrib.xavier_normal", "glorot_normal", 0.2928),
        ("tf1.contrib.variance_scaling", "he_normal", 0.2928),
        ("prettytensor.xavier_normal", "glorot_normal", 7.7317),
        ("mxnet.xavier_gaussian", "glorot_normal", 100 * (math.sqrt(3) - 1)),
        ("lasagne.he_normal", "torch.kaiming_normal", 100 * (1 / math.sqrt(2) - 1)),
        ("glorot_sigmoid", "glorot_uniform", 300.0),
        ("torch.linear", "keras.he_uniform", 100 * (math.sqrt(1 / 6) - 1)),
        ("keras.he_normal", "torch.kaiming_normal", 0.0),
    ],
)
def test_how_far_apart_two_systems_are(name: str, other: str, percent: float) -> None:
    ours, theirs = (get(each).describe(DENSE, "IO").std for each in (name, other))
    assert 100 * (ours / theirs - 1) == pytest.approx(percent, abs=5e-5)


def test_numbers_that_users_quote() -> None:
    assert get("tf1.truncated_normal").describe((2, 2), "IO").std == SPREAD
    assert get("tf1.contrib.xavier_normal").describe(DENSE, "IO").std == pytest.approx(
        1.41835376 / math.sqrt(sum(DENSE)), rel=1e-8
    )
    assert get("prettytensor.xavier_normal").describe(DENSE, "IO").std == pytest.approx(
        1.52355634 / math.sqrt(sum(DENSE)), rel=1e-8
    )
    he = get("he_normal").describe(DENSE, "IO")
    assert he.high is not None
    assert he.high / he.std == pytest.approx(2.27369447, rel=1e-8)


# --- the table ----------------------------------------------------------------------------------

OWN_PATTERNS = {"zeros", "ones", "identity", "dirac", "orthogonal", "delta_orthogonal", "bilinear"}


def test_every_row_has_a_test() -> None:
    tested = {name for name, *_ in PEERS} | set(FORMULAS) | set(FIXED) | set(MATRICES)
    assert tested | OWN_PATTERNS | {"torch.sparse"} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_row_is_complete(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.formula
    assert recipe.source
    assert name == f"{recipe.system}.{name.rpartition('.')[2]}".lstrip(".")
    assert get(name) is recipe.initializer


def test_aliases_lead_to_rows() -> None:
    for alias, name in ALIASES.items():
        assert alias not in RECIPES
        assert get(alias) is RECIPES[name].initializer


def test_module_names_are_recipes() -> None:
    for name in (
        "he_normal",
        "kaiming_uniform",
        "xavier_normal",
        "lecun_uniform",
        "zeros",
        "dirac",
    ):
        assert getattr(initspec, name) is get(name)


def test_get_takes_names_dictionaries_and_initializers() -> None:
    init = initspec.he_normal.replace(gain=2.0)
    assert get(init) is init
    assert get(init.to_dict()) == init
    assert isinstance(get("he_normal"), Initializer)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("he_norml", "Did you mean 'he_normal'?"),
        ("caffe.xaver", "Did you mean 'caffe.xavier'?"),
        ("tf1.contrib.xavier_nrmal", "Did you mean 'tf1.contrib.xavier_normal'?"),
        ("quux", "`initspec recipes` lists them."),
        ("", "`initspec recipes` lists them."),
    ],
)
def test_an_unknown_name_is_met_with_a_suggestion(name: str, advice: str) -> None:
    with pytest.raises(InitspecValueError, match="expected the name of a recipe") as caught:
        get(name)
    assert caught.value.advice == advice


@pytest.mark.parametrize("identifier", [None, 5, ["he_normal"], b"he_normal"])
def test_get_refuses_other_things(identifier: Any) -> None:
    with pytest.raises(InitspecTypeError, match="a name, a dictionary or an Initializer"):
        get(identifier)
