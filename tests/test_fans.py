"""Fans: the true ones, case by case, and those that frameworks compute, against the frameworks."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
import pytest
import torch
from jax._src.nn.initializers import _compute_fans as jax_fans
from keras.src.initializers.random_initializers import compute_fans as keras_fans

import initspec
from initspec import Fans, fans
from initspec.errors import InitspecTypeError, InitspecValueError

torch_fans = torch.nn.init._calculate_fan_in_and_fan_out

# --- the truth: what one output unit sums over, what one input unit feeds -----------------------

TRUE: dict[str, tuple[tuple[int, ...], str, dict[str, Any], tuple[float, float]]] = {
    "dense, torch": ((512, 256), "OI", {}, (256, 512)),
    "dense, keras": ((256, 512), "IO", {}, (256, 512)),
    "convolution, torch": ((64, 32, 3, 5), "OIHW", {}, (32 * 15, 64 * 15)),
    "convolution, jax": ((3, 5, 32, 64), "HWIO", {}, (32 * 15, 64 * 15)),
    "1-d convolution": ((7, 32, 64), "WIO", {}, (32 * 7, 64 * 7)),
    "3-d convolution": ((64, 32, 2, 3, 5), "OIDHW", {}, (32 * 30, 64 * 30)),
    "strided convolution": ((64, 32, 4, 4), "OIHW", {"stride": 2}, (32 * 16, 64 * 4)),
    "stride that does not divide": ((3, 2, 3, 3), "OIHW", {"stride": 2}, (18, 6.75)),
    "grouped convolution, torch": ((64, 4, 3, 3), "OIHW", {"groups": 8}, (4 * 9, 8 * 9)),
    "grouped convolution, keras": ((3, 3, 4, 64), "HWIO", {"groups": 8}, (4 * 9, 8 * 9)),
    "depthwise, torch": ((64, 1, 3, 3), "OIHW", {"groups": 32}, (9, 2 * 9)),
    "depthwise, keras": ((3, 3, 32, 2), "HWGO", {}, (9, 2 * 9)),
    "depthwise, flax": ((3, 3, 1, 64), "HWIO", {"groups": 32}, (9, 2 * 9)),
    "transposed, torch": ((32, 64, 3, 5), "IOHW", {}, (32 * 15, 64 * 15)),
    "transposed, keras": ((3, 5, 64, 32), "HWOI", {}, (32 * 15, 64 * 15)),
    "transposed, flax": ((3, 5, 32, 64), "HWIO", {"transposed": True}, (32 * 15, 64 * 15)),
    "transposed, stride 2": ((32, 64, 4, 4), "IOHW", {"stride": 2}, (32 * 16 / 4, 64 * 16)),
    "transposed, strides 2 and 1": (
        (32, 64, 4, 4),
        "IOHW",
        {"stride": (2, 1)},
        (32 * 16 / 2, 64 * 16),
    ),
    "transposed, grouped": ((32, 16, 3, 3), "IOHW", {"groups": 4}, (8 * 9, 16 * 9)),
    "experts, in and out": ((8, 256, 512), "SIO", {}, (256, 512)),
    "experts, out and in": ((8, 512, 256), "SOI", {}, (256, 512)),
    "layers of a scan": ((12, 3, 3, 32, 64), "SHWIO", {}, (32 * 9, 64 * 9)),
    "fused QKV, torch": ((3 * 256, 256), "(3 O) I", {}, (256, 256)),
    "fused QKV, keras": ((256, 3 * 256), "I (3 O)", {}, (256, 256)),
    "fused gates, torch": ((4 * 128, 64), "(4 O) I", {}, (64, 128)),
    "fused gates, keras": ((64, 4 * 128), "I (4 O)", {}, (64, 128)),
    "query kernel (E, h, d)": ((256, 8, 32), "IOO", {}, (256, 256)),
    "query kernel (h, E, d)": ((8, 256, 32), "OIO", {}, (256, 256)),
    "output kernel (h, d, E)": ((8, 32, 256), "IIO", {}, (256, 256)),
    "unshared convolution": ((30, 3 * 32, 64), "_IO", {}, (3 * 32, 64)),
    "unshared, kernel apart": ((30, 3, 32, 64), "_WIO", {}, (3 * 32, 3 * 64)),
    "DenseGeneral, batch dims": ((16, 64, 128), "SIO", {}, (64, 128)),
    "embedding read as a head": ((1000, 64), "VI", {}, (64, 1)),
    "embedding as a lookup": ((1000, 64), "VO", {}, (1, 64)),
    "bias": ((64,), "O", {}, (1, 64)),
    "scalar": ((), "", {}, (1, 1)),
    "empty": ((0, 4), "OI", {}, (4, 0)),
}


@pytest.mark.parametrize("case", TRUE)
def test_true_fans(case: str) -> None:
    shape, layout, options, (fan_in, fan_out) = TRUE[case]
    found = fans(shape, layout, **options)
    assert (found.fan_in, found.fan_out) == (fan_in, fan_out)
    for fan in (found.fan_in, found.fan_out):
        assert isinstance(fan, int) or not fan.is_integer(), "whole numbers are ints"


def test_the_receptive_field() -> None:
    assert fans((3, 3, 64, 128), "HWIO") == Fans(576, 1152, 9)
    assert fans((64, 128), "IO").receptive_field == 1
    assert fans((8, 3, 4), "SIO").receptive_field == 1


def test_fans_and_layouts_agree() -> None:
    """A layout is data: however a tensor is stored, its fans are the same."""
    want = fans((8, 4, 3, 5), "OIHW", stride=(2, 1))
    assert fans((3, 5, 4, 8), "HWIO", stride=(2, 1)) == want
    assert fans((15 * 4, 8), "(H W I) O", sizes={"H": 3, "W": 5}, stride=(2, 1)) == want


# --- what frameworks compute from the shape they store ------------------------------------------

TORCH: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "linear": ((6, 10), "OI", {}),
    "convolution": ((6, 10, 3, 5), "OIHW", {}),
    "grouped": ((6, 5, 3, 5), "OIHW", {"groups": 2}),
    "depthwise": ((20, 1, 3, 5), "OIHW", {"groups": 10}),
    "transposed": ((6, 10, 3, 5), "IOHW", {}),
    "transposed, stride": ((6, 10, 3, 5), "IOHW", {"stride": 2}),
    "transposed, grouped": ((6, 5, 3, 5), "IOHW", {"groups": 2}),
    "experts, in and out": ((7, 6, 10), "SIO", {}),
    "experts, out and in": ((7, 10, 6), "SOI", {}),
    "experts of convolutions": ((7, 10, 6, 3, 5), "SOIHW", {}),
    "one expert": ((1, 6, 10), "SIO", {}),
    "fused QKV": ((30, 10), "(3 O) I", {}),
    "named gates": ((40, 6), "(4 O) I", {"blocks": ("i", "f", "g", "o")}),
    "embedding, rows are outputs": ((100, 6), "VI", {}),
    "embedding, rows are looked up": ((100, 6), "VO", {}),
}


@pytest.mark.parametrize("case", TORCH)
def test_the_torch_rule_is_what_torch_computes(case: str) -> None:
    shape, layout, options = TORCH[case]
    found = rule("torch", shape, layout, options)
    assert (found.fan_in, found.fan_out) == torch_fans(torch.empty(shape))


LAST_TWO: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "dense": ((10, 6), "IO", {}),
    "convolution": ((3, 5, 10, 6), "HWIO", {}),
    "1-d convolution": ((3, 10, 6), "WIO", {}),
    "grouped": ((3, 5, 5, 6), "HWIO", {"groups": 2}),
    "transposed": ((3, 5, 6, 10), "HWOI", {}),
    "experts": ((7, 10, 6), "SIO", {}),
    "experts of convolutions": ((7, 3, 5, 10, 6), "SHWIO", {}),
    "fused gates": ((6, 40), "I (4 O)", {}),
    "named gates": ((6, 40), "I (4 O)", {"blocks": ("i", "f", "g", "o")}),
    "unshared convolution": ((20, 30, 6), "_IO", {}),
    "embedding": ((100, 6), "VO", {}),
    "embedding, rows are outputs": ((100, 6), "VI", {}),
    "head": ((6, 100), "IV", {}),
}
KERAS = LAST_TWO | {"depthwise": ((3, 5, 10, 2), "HWGO", {})}
JAX = LAST_TWO | {
    "depthwise": ((3, 5, 1, 20), "HWIO", {"groups": 10}),
    "transposed": ((3, 5, 10, 6), "HWIO", {"transposed": True}),
    "transposed, stored like a gradient": ((3, 5, 6, 10), "HWOI", {}),
}


@pytest.mark.parametrize("case", KERAS)
def test_the_keras_rule_is_what_keras_computes(case: str) -> None:
    shape, layout, options = KERAS[case]
    found = rule("keras", shape, layout, options)
    assert (found.fan_in, found.fan_out) == keras_fans(shape)


@pytest.mark.parametrize("case", JAX)
def test_the_jax_rule_is_what_jax_computes(case: str) -> None:
    shape, layout, options = JAX[case]
    found = rule("jax", shape, layout, options)
    assert (found.fan_in, found.fan_out) == jax_fans(shape)


def test_the_jax_rule_for_kernels_that_flax_flattens() -> None:
    """DenseGeneral gives its initializers the (in, out) matrix, whatever the axes."""
    found = rule("jax", (16, 4, 8), "IOO", {})
    assert (found.fan_in, found.fan_out) == jax_fans((16, 32))


def test_a_rule_does_not_depend_on_how_we_store_the_tensor() -> None:
    """The torch rule is about the tensor that torch would store."""
    for name in ("torch", "keras"):
        assert rule(name, (3, 5, 10, 6), "HWIO", {}) == rule(name, (6, 10, 3, 5), "OIHW", {})
        assert rule(name, (3, 5, 6, 10), "HWOI", {}) == rule(name, (10, 6, 3, 5), "IOHW", {})


def rule(name: str, shape: tuple[int, ...], layout: str, options: dict[str, Any]) -> Fans:
    """Through describe, because fans() knows no blocks."""
    init = initspec.variance_scaling(fan_rule=name)
    facts = init.describe(shape, layout, **options)
    return Fans(facts.fan_in, facts.fan_out, 0)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
def test_modes_against_jax(mode: str) -> None:
    """The variance that jax's own variance_scaling divides by; Keras has no fan_geo_avg."""
    shape = (3, 5, 10, 6)
    peer = jax.nn.initializers.variance_scaling(2.0, mode, "uniform")  # type: ignore[arg-type]
    ours = initspec.variance_scaling(2.0, mode, "uniform", fan_rule="jax")
    drawn = peer(jax.random.key(0), shape, "float32")
    limit = ours.describe(shape, "HWIO").high
    assert limit is not None
    # The largest of 900 uniforms is within 3 % of the end, but for a chance of 0.97**900 = 1e-12.
    assert 0.97 * limit < float(abs(drawn).max()) <= limit * (1 + 2**-20)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InitspecValueError, match="Did you mean 'torch'"):
        fans((2, 3), "OI", rule="toch")
    with pytest.raises(InitspecValueError, match=re.escape("rule: got ['torch']")):
        fans((2, 3), "OI", rule=["torch"])  # type: ignore[arg-type]


def test_fans_checks_its_arguments() -> None:
    with pytest.raises(InitspecValueError, match="the layout has 4, the shape 2"):
        fans((2, 3), "OIHW")
    with pytest.raises(InitspecTypeError, match="layout: got 5"):
        fans((2, 3), 5)  # type: ignore[arg-type]
    with pytest.raises(InitspecTypeError, match=re.escape("shape[0]: got 2.0")):
        fans((2.0, 3), "OI")


def test_a_fan_may_be_given() -> None:
    init = initspec.he_normal.replace(fan=64)
    assert init.describe((10,), "O").std == math.sqrt(2 / 64)
    assert init.describe((10, 3), "OI").std == math.sqrt(2 / 64)


def test_strides_have_a_limit() -> None:
    with pytest.raises(InitspecValueError, match="stride"):
        fans((4, 4, 3, 3), "IOHW", stride=10**200)
