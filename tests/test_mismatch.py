"""Why bits differ: each slip is planted, and has to be named."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.fill_plan import STORAGE
from initspec_conformance.mismatch import explain

SEED, NAME = 2**40 + 77, "layer.weight"
LAYOUTS = {
    "OI": ((24, 64), {}),
    "HWIO": ((3, 3, 8, 16), {}),
    "OIHW": ((16, 4, 3, 3), {"groups": 4}),
    "(3 O) I": ((48, 32), {"blocks": ("q", "k", "v")}),
    "SOI": ((3, 12, 40), {}),
}
DTYPES = tuple(STORAGE)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
narrow = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])


def plan_of(layout="OI", init=initspec.he_normal, seed=SEED, name=NAME):
    shape, options = LAYOUTS[layout]
    plan = init.plan(shape, layout=layout, **options)
    return plan.with_keys(tuple(stream.key(seed, each) for each in plan.names(name)))


def filled(plan, dtype="float32"):
    out = np.empty(plan.shape, STORAGE[dtype])
    stream.fill(plan, out, dtype)
    return out


def said(found, plan=None, dtype="float32", init=initspec.he_normal, seed=SEED):
    return explain(init, plan or plan_of(), dtype, seed, NAME, found)


def lines(plan, array):
    """A copy in canonical order, lines of inputs."""
    return np.array(plan.geometry.canonical(array)).reshape(-1, plan.geometry.counts[2])


def put(plan, array, changed):
    view = plan.geometry.canonical(array)
    view[...] = changed.reshape(view.shape)
    return array


# --- honest -------------------------------------------------------------------------------------


@each_dtype
@each_layout
def test_the_right_bits_need_no_reason(layout, dtype):
    plan = plan_of(layout)
    assert said(filled(plan, dtype), plan, dtype) == ""


@pytest.mark.parametrize("init", [initspec.zeros, initspec.ones, initspec.orthogonal()])
def test_the_right_pattern_needs_no_reason(init):
    plan = plan_of(init=init)
    assert said(filled(plan), plan, init=init) == ""


def test_another_honest_tensor_needs_no_reason():
    assert said(filled(plan_of(seed=3, name="other"))) == ""


def test_an_empty_tensor_needs_no_reason():
    plan = initspec.he_normal.plan((0, 4), layout="OI", keys=(stream.key(0, NAME),))
    assert said(np.zeros((0, 4), np.float32), plan, seed=0) == ""


# --- another key --------------------------------------------------------------------------------


@each_dtype
@each_layout
@pytest.mark.parametrize(
    ("seed", "name", "words"),
    [
        (SEED, "", "the name does not enter the key"),
        (SEED & 0xFFFFFFFF, NAME, "only the low half of the seed counts"),
        (SEED + 1, NAME, "the key is that of the next seed"),
        (0, NAME, "the key is that of seed 0"),
    ],
)
def test_another_key(seed, name, words, layout, dtype):
    found = filled(plan_of(layout, seed=seed, name=name), dtype)
    assert said(found, plan_of(layout), dtype) == words


@each_layout
def test_the_seed_as_key(layout):
    plan = plan_of(layout)
    bare = plan.with_keys(((SEED & 0xFFFFFFFF, SEED >> 32),) * len(plan.keys))
    assert said(filled(bare), plan).startswith("the seed itself is the key")


def test_the_last_seed_is_followed_by_the_first():
    found = filled(plan_of(seed=0))
    assert (
        said(found, plan_of(seed=2**64 - 1), seed=2**64 - 1) == "the key is that of the next seed"
    )


def test_a_few_wrong_values_do_not_hide_a_wrong_key():
    found = filled(plan_of(name=""))
    found[0, :8] = 1.0
    assert said(found) == "the name does not enter the key"


# --- other coordinates --------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ((0, 0, 4), "the counter is off by one block of four words"),
        ((0, 1, 0), "the output coordinate is off by one"),
        ((1, 0, 0), "the stack coordinate is off by one"),
    ],
)
def test_coordinates_off_by_one(step, words, dtype):
    plan = plan_of("SOI")
    assert said(filled(replace(plan, origin=step), dtype), plan, dtype) == words


def test_a_counter_that_is_behind():
    plan = replace(plan_of(), origin=(0, 0, 8))
    found = filled(replace(plan, origin=(0, 0, 4)))
    assert said(found, plan) == "the counter is off by one block of four words"


def test_a_shard_in_its_own_coordinates():
    plan = replace(plan_of(), origin=(0, 48, 8))
    words = "coordinates count from the shard's own corner, not from the whole tensor's"
    assert said(filled(replace(plan, origin=(0, 0, 0))), plan) == words


# --- rounding -----------------------------------------------------------------------------------


@narrow
def test_digits_cut_off(dtype):
    wide = filled(plan_of())
    if dtype == "bfloat16":
        found = (wide.view(np.uint32) >> 16).astype(np.uint16)
    else:
        near = wide.astype(np.float16)
        found = np.where(np.abs(near) > np.abs(wide), np.nextafter(near, np.float16(0)), near)
    assert said(found, dtype=dtype) == "rounded towards zero, not to nearest"


@each_dtype
def test_a_few_steps(dtype):
    found = filled(plan_of(), dtype)
    bits = found.view(f"u{found.itemsize}")
    bits[::2] += 2
    message = said(found, dtype=dtype)
    assert message.startswith(f"768 of 1536 values differ by up to 2 steps of {dtype}")


# --- what the two have in common ----------------------------------------------------------------


@each_dtype
def test_nan(dtype):
    found = filled(plan_of(), dtype)
    found.reshape(-1)[[3, 500]] = 0x7FC0 if dtype == "bfloat16" else np.nan
    assert said(found, dtype=dtype) == "2 of 1536 values are NaN or infinite"


@each_dtype
@each_layout
def test_a_wrong_sign(layout, dtype):
    plan = plan_of(layout)
    found = filled(plan, dtype)
    bits = found.view(f"u{found.itemsize}").reshape(-1)
    bits[: bits.size // 2] ^= bits.dtype.type(1 << (8 * found.itemsize - 1))
    message = said(found, plan, dtype)
    assert message.endswith(f"of {found.size} values have the wrong sign")
    assert int(message.split()[0]) == pytest.approx(found.size / 2, abs=2)


@pytest.mark.parametrize("order", list(permutations(range(4)))[1:])
def test_lanes_in_another_order(order):
    """The value of lane k is found in place ``order[k]``."""
    plan = plan_of()
    right = lines(plan, filled(plan)).reshape(-1, 4)
    wrong = np.empty_like(right)
    wrong[:, order] = right
    found = wrong.reshape(plan.shape)
    assert said(found, plan) == f"the four words of each block are in the order {order}"


def test_lanes_of_a_kernel():
    plan = plan_of("HWIO")
    found = filled(plan)
    blocks = lines(plan, found).reshape(-1, 4)[:, ::-1]
    assert "order (3, 2, 1, 0)" in said(put(plan, found, blocks), plan)


@each_dtype
def test_blocks_that_repeat(dtype):
    plan = plan_of()
    found = filled(plan, dtype)
    found[:, 16:20] = found[:, :4]
    assert said(found, plan, dtype) == "24 blocks of four values repeat others"


@each_layout
def test_the_right_values_in_other_places(layout):
    plan = plan_of(layout)
    found = np.ascontiguousarray(filled(plan).reshape(-1)[::-1]).reshape(plan.shape)
    assert said(found, plan).startswith("the right values in other places")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_factor_that_is_known(dtype):
    message = said(filled(plan_of(init=initspec.lecun_normal), dtype), dtype=dtype)
    assert message.startswith("all values are 0.70")
    assert "LeCun" in message


def test_a_factor_that_is_not_known():
    assert said(np.float32(1.01) * filled(plan_of())) == "all values are 1.01 times the right ones"


def test_values_that_are_all_zero():
    assert said(np.zeros((24, 64), np.float32)) == "all values equal 0"


def test_another_law():
    source = np.random.Generator(np.random.PCG64(0))
    init = initspec.he_normal
    shape = LAYOUTS["OI"][0]
    found = source.normal(0.0, init.describe(shape, "OI").std, shape).astype(np.float32)
    assert said(found) == "looks untruncated"


def test_too_few_values_say_nothing_about_a_law():
    plan = initspec.he_normal.plan((4, 8), layout="OI", keys=(stream.key(SEED, NAME),))
    source = np.random.Generator(np.random.PCG64(0))
    assert said(source.standard_normal((4, 8)).astype(np.float32), plan) == ""
