"""JAX: the program that XLA makes of a draw, and that it fits into all others."""

import dataclasses
import re

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.registry import get_backend

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax_checks import RAW_KEY, reference, same  # noqa: E402

from initspec_jax.words import Grid  # noqa: E402

DRAWS = {
    "uniform": initspec.glorot_uniform,
    "normal": initspec.variance_scaling(2.0, "fan_out", "normal"),
    "normal with mean": initspec.normal(0.05, mean=-1.0),
    "truncated": initspec.he_normal,
}


# --- alone -------------------------------------------------------------------------------------


SHAPES = [
    ((384, 500), {}),
    ((500, 384), {"layout": "OI"}),
    ((3, 3, 128, 160), {}),
    ((160, 128, 3, 3), {"layout": "OIHW"}),
    ((4, 200, 250), {"layout": "SIO"}),
    ((128, 8, 200), {"layout": "IOO"}),
    ((250, 800), {"layout": "I (4 O)", "blocks": ("i", "f", "g", "o")}),
    ((2003, 100), {"layout": "VI"}),
]
APART = (3, 6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the program of the CPU is looked at")
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("case", range(len(SHAPES)))
def test_one_loop_makes_the_tensor(case, draw):
    """Neither words nor draws are kept in memory, nor the loop's constants, which slows it down.

    Where the innermost axis of what is stored is not the loop's, the loop is apart from the rest.
    """
    shape, layout = SHAPES[case]
    bound = DRAWS[draw].bind("jax", name="fc", **layout)
    for dtype in ("float32", "bfloat16"):
        program = jax.jit(lambda key, dtype=dtype: bound(key, shape, dtype)).lower(RAW_KEY)
        compiled = program.compile()
        assert compiled.memory_analysis().temp_size_in_bytes < 2**15
        around = compiled.as_text().partition("\nENTRY")[2]
        assert not re.search(r"u64\[\] constant\([1-9]", around)
        assert ("conditional(" in around) == (case in APART)
        same(compiled(RAW_KEY), reference(DRAWS[draw], shape, dtype, name="fc", **layout))


def test_short_axes_are_counted_through_and_long_ones_are_left_to_the_devices():
    def grid(shape, layout):
        plan = get_backend("jax").plan(
            initspec.normal(), shape, "float32", {"layout": layout}, 0, ""
        )
        return Grid.stored(plan).shape

    assert grid((64, 32, 3, 3), "OIHW") == (64, 288)
    assert grid((3, 3, 64, 32), "HWIO") == (9, 64, 32)
    assert grid((512, 16, 64), "IOO") == (512, 16, 64)
    assert grid((512, 64, 16), "IOO") == (512, 1024)
    assert grid((1, 5, 1), "OIS") == (5,)


@pytest.mark.parametrize("layout", ["SIO", "SOI"])
def test_a_box_of_a_larger_tensor(layout):
    plan = get_backend("jax").plan(DRAWS["normal"], (2, 9, 7), "float32", {"layout": layout}, 1, "")
    plan = dataclasses.replace(plan, origin=(3, 5, 8))
    expected = np.empty(plan.shape, np.float32)
    stream.fill(plan, expected, "float32")
    same(jax.jit(lambda: get_backend("jax").emit(plan, "float32", None))(), expected)


def test_equal_layers_are_traced_once_and_hold_no_weights():
    bound = initspec.he_normal.bind("jax")

    def layers(key):
        return [bound(each, (512, 512)) for each in jax.random.split(key, 20)]

    text = jax.jit(layers).lower(jax.random.key(0)).as_text()
    assert text.count("func.func private @_compiled") == 1
    static = jax.jit(lambda: initspec.he_normal((2048, 2048), backend="jax", seed=1))
    assert len(static.lower().as_text()) < 200_000  # the table is 32 KiB, the weights 16 MiB
    assert len(jax.jit(lambda: initspec.ones((2048, 2048), backend="jax")).lower().as_text()) < 2000


# --- among others --------------------------------------------------------------------------------


CAREFUL = {
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "dtype promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "leaks": jax.checking_leaks,
    "64-bit types": lambda: jax.enable_x64(True),
}


@pytest.mark.parametrize("setting", CAREFUL)
def test_in_every_setting_and_order_of_transformations(setting):
    """The 64-bit integers of the program never meet what is outside, where there may be none."""
    bound = initspec.he_normal.bind("jax", layout="OIHW")

    def draw(key):
        return bound(key, (5, 4, 3, 3), "bfloat16")

    keys = jax.random.split(jax.random.key(3), 3)
    expected = np.stack([np.asarray(draw(key)) for key in keys])
    with CAREFUL[setting]():
        for mapped in (jax.vmap(jax.jit(draw)), jax.jit(jax.vmap(draw)), jax.vmap(draw)):
            same(mapped(keys), expected)
        jaxpr = jax.make_jaxpr(draw)(keys[0])
        same(jax.core.eval_jaxpr(jaxpr.jaxpr, jaxpr.consts, keys[0])[0], expected[0])
        shaped = jax.eval_shape(draw, keys[0])
        assert (shaped.shape, shaped.dtype) == ((5, 4, 3, 3), jnp.bfloat16)


def test_export():
    pytest.importorskip("flatbuffers")
    bound = initspec.he_normal.bind("jax", layout="OIHW")
    exported = jax.export.export(
        jax.jit(lambda key: bound(key, (5, 4, 3, 3))), platforms=("cpu", "cuda", "tpu")
    )(jnp.asarray(RAW_KEY))
    loaded = jax.export.deserialize(exported.serialize())
    same(loaded.call(RAW_KEY), reference(initspec.he_normal, (5, 4, 3, 3), layout="OIHW"))
