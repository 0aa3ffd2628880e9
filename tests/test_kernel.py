"""The C kernel equals the reference in NumPy bit for bit, and refuses whatever it cannot do."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import DRAWS, KEYS, LAYOUTS, STORAGE, bits, plan_for, reference

import initspec_kernel
from initspec import stream
from initspec.draw import Draw, uniform_draw
from initspec.fill_plan import FillPlan
from initspec.layout import Layout
from initspec_kernel import threads

TABLE = initspec_kernel._TABLE

pytestmark = pytest.mark.usefixtures("plain_environment")
needs_kernel = pytest.mark.usefixtures("native")


def blank(shape, dtype, order="C"):
    """A buffer whose every byte is 0xA5: what must not be written can be seen."""
    kind = np.dtype(STORAGE[dtype])
    return np.ndarray(
        shape, kind, bytearray(b"\xa5" * math.prod(shape) * kind.itemsize), order=order
    )


def assert_equals_reference(plan, out, dtype, **options):
    """On every instruction set of this machine, each forced."""
    expected = reference(plan, dtype)
    untouched = bits(out).copy()
    for isa in initspec_kernel._kernel.ISAS:
        bits(out)[...] = untouched
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("INITSPEC_ISA", isa)
            initspec_kernel.fill(plan, out, dtype, **options)
        np.testing.assert_array_equal(bits(out), bits(expected), err_msg=isa)


# --- values -------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("draw", DRAWS)
def test_every_draw_in_every_dtype(draw, dtype):
    plan = plan_for("OI", (37, 1031), DRAWS[draw])
    assert_equals_reference(plan, blank((37, 1031), dtype), dtype)


@needs_kernel
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("pattern", LAYOUTS)
def test_every_layout_in_both_memory_orders(pattern, order):
    plan = plan_for(pattern, LAYOUTS[pattern], DRAWS["normal"])
    assert_equals_reference(plan, blank(LAYOUTS[pattern], "float32", order), "float32")


@needs_kernel
@pytest.mark.parametrize("inputs", [0, 1, 3, 4, 5, 511, 512, 513, 515])
@pytest.mark.parametrize("outputs", [0, 1, 2, 127, 128, 129])
@pytest.mark.parametrize("order", "CF")
def test_sizes_around_the_edges_of_blocks_and_tiles(outputs, inputs, order):
    plan = plan_for("OI", (outputs, inputs), DRAWS["normal"])
    assert_equals_reference(plan, blank((outputs, inputs), "float32", order), "float32")


@needs_kernel
def test_rows_longer_than_a_stretch():
    plan = plan_for("IO", (7, 9001), DRAWS["truncated"])
    assert_equals_reference(plan, blank((7, 9001), "bfloat16"), "bfloat16")


@needs_kernel
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("exponent", [*range(-62, -40), *range(-20, -12)])
def test_rounding_from_subnormal_to_overflow(dtype, exponent):
    plan = plan_for("I", (4096,), uniform_draw(-1.0, 1.0))
    object.__setattr__(plan.draw, "factor", 1.37 * 2.0**exponent)
    with np.errstate(over="ignore"):
        assert_equals_reference(plan, blank((4096,), dtype), dtype)


@needs_kernel
def test_float16_rounds_ties_to_even(native):
    # Integers times a power of two: every third float32 is a tie, or next to one.
    for exponent in range(-58, -36):
        out = np.empty(8192, "f2")
        exact = np.empty(8192, "f8")
        for dtype, target in ((3, out), (1, exact)):
            box = (0, 1, 0, 1, 0, 8192)
            draw = (0, 0, 0, 2.0**exponent, -4096, 2**15, 0)
            native.fill(target, 0, 0, dtype, *KEYS, *draw, TABLE, (0, 0, 0), box)
        np.testing.assert_array_equal(bits(out), bits(exact.astype("f4").astype("f2")))


@needs_kernel
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_shape_strides_and_threads(data):
    rank = data.draw(st.integers(1, 5), label="rank")
    pattern = "".join(data.draw(st.permutations("SOIHW"), label="roles")[:rank])
    if pattern == "S":
        pattern = "O"
    shape = tuple(data.draw(st.lists(st.integers(0, 9), min_size=rank, max_size=rank)))
    dtype = data.draw(st.sampled_from(sorted(STORAGE)), label="dtype")
    draw = DRAWS[data.draw(st.sampled_from(sorted(DRAWS)), label="draw")]
    memory = data.draw(st.permutations(range(rank)), label="memory order")
    steps = data.draw(st.lists(st.sampled_from([1, -1, 2, -3]), min_size=rank, max_size=rank))
    base = blank(tuple(shape[axis] * abs(steps[axis]) for axis in memory), dtype)
    before = base.copy()
    out = base.transpose(np.argsort(memory))[tuple(slice(None, None, step) for step in steps)]
    assert out.shape == shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initspec_kernel, "_SHARED_FROM", 0)
        assert_equals_reference(plan_for(pattern, shape, draw), out, dtype, threads=2)
    out[...] = before.transpose(np.argsort(memory))[tuple(slice(None, None, s) for s in steps)]
    np.testing.assert_array_equal(bits(base), bits(before))  # nothing else was touched


@needs_kernel
def test_unaligned_memory():
    raw = np.zeros(4 * 35 + 1, "u1")
    out = raw[1:].view("f4").reshape(5, 7)
    assert not out.flags.aligned
    assert_equals_reference(plan_for("OI", (5, 7), DRAWS["normal"]), out, "float32")


@needs_kernel
def test_named_blocks_have_keys_of_their_own():
    plan = plan_for("(4 O) I", (4 * 5, 6), DRAWS["normal"], blocks=("i", "f", "g", "o"))
    out = blank((20, 6), "float32")
    assert_equals_reference(plan, out, "float32", threads=2)
    assert len(np.unique(out)) == out.size


@needs_kernel
@pytest.mark.parametrize("pattern", ["SOI", "ISO"])
def test_a_box_of_a_larger_tensor_by_its_origin(pattern):
    whole = plan_for("SOI", (5, 9, 48), DRAWS["normal"])
    large = np.empty((5, 9, 48), "f4")
    stream.fill(whole, large, "float32")
    geometry = Layout.parse(pattern).bind({"SOI": (3, 4, 30), "ISO": (30, 3, 4)}[pattern])
    part = FillPlan(geometry, whole.content, whole.keys, (2, 5, 16))
    out = blank(geometry.shape, "float32")
    assert_equals_reference(part, out, "float32")
    np.testing.assert_array_equal(geometry.canonical(out), large[2:, 5:, 16:46])


# --- words --------------------------------------------------------------------------------------


def words(native, view, key, box, purpose=0):
    """The words of a box but for their last bit: a uniform draw with factor 1, in float64."""
    kind = (0, 0, 0, 1.0, 0, 0, purpose)
    native.fill(view, 1, 1, 1, *key, *kind, TABLE, (0, 0, 0), box)


@needs_kernel
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 40, 1), (1, 3, 700), (300, 2, 5)])
@pytest.mark.parametrize("order", "CF")
def test_raw_words(shape, order):
    plan = FillPlan(Layout.parse("SOI").bind(shape), Draw("words", 1.0, purpose=1), (KEYS,))
    out = np.empty(shape, np.uint32, order=order)
    expected = np.concatenate([chunk for _, chunk in stream.words(KEYS, shape, 1)])
    for isa in initspec_kernel._kernel.ISAS:
        out[...] = 0
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("INITSPEC_ISA", isa)
            initspec_kernel.fill(plan, out, "uint32")
        np.testing.assert_array_equal(out.ravel(), expected, err_msg=isa)


@needs_kernel
def test_known_answer_of_random123(native):
    out = np.empty((1, 1, 4))
    words(native, out, (0, 0), (0, 1, 0, 1, 0, 4))
    known = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint32)
    np.testing.assert_array_equal(out[0, 0], (known | 1).view(np.int32))


@pytest.mark.parametrize(
    ("counter", "key", "known"),
    [
        (4 * [0], 2 * [0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (4 * [0xFFFFFFFF], 2 * [0xFFFFFFFF], "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_hold_for_the_reference_that_the_kernel_is_compared_to(counter, key, known):
    found = stream.philox4x32(tuple(counter), tuple(key))
    assert " ".join(f"{word:08x}" for word in found) == known


@needs_kernel
@pytest.mark.parametrize("purpose", [0, 1, 0xFFFFFFFF])
@pytest.mark.parametrize(
    "extents",
    [(2**32, 1, 4), (1, 2**32, 4), (1, 1, 2**34), (2**10, 2**12, 2**33), (3, 2**24, 2**34)],
)
def test_the_farthest_coordinates(native, extents, purpose):
    store = np.empty(4)  # a view as large as the counter can count lies over four values
    view = np.lib.stride_tricks.as_strided(store, extents, (0, 0, 0))
    key = (0xFFFFFFFF, 0x299F31D0)
    s, o, j = (extent - 1 for extent in extents)
    last = stream.philox4x32((j >> 2, o, s, purpose), key)
    words(native, view, key, (s, s + 1, o, o + 1, j - 3, j + 1), purpose)
    assert store[0] == np.array([last[3] | 1], np.uint32).view(np.int32)[0]


# --- boxes --------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_boxes_cover_what_the_whole_covers_and_nothing_else(native, order):
    shape = (3, 37, 41)
    whole = np.empty(shape)
    words(native, whole, KEYS, (0, 3, 0, 37, 0, 41))
    rng = np.random.default_rng(order)
    for _ in range(40):
        low = [int(rng.integers(0, n + 1)) for n in shape]
        high = [int(rng.integers(begin, n + 1)) for begin, n in zip(low, shape, strict=True)]
        low[2] -= low[2] % 4
        out = np.full([shape[axis] for axis in order], np.nan).transpose(np.argsort(order))
        words(native, out, KEYS, tuple(itertools.chain(*zip(low, high, strict=True))))
        inside = tuple(slice(b, e) for b, e in zip(low, high, strict=True))
        np.testing.assert_array_equal(out[inside], whole[inside])
        out[inside] = np.nan
        assert np.isnan(out).all()


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 1000])
@pytest.mark.parametrize("counts", [(1, 1, 1), (5, 1, 3), (1, 64, 7), (2, 3, 4099), (0, 4, 4)])
def test_boxes_are_disjoint_and_complete(counts, parts):
    seen = np.zeros(counts, int)
    found = threads.boxes(counts, (0, 4, 8), parts)
    for s0, s1, o0, o1, j0, j1 in found:
        assert j0 % 4 == 0
        seen[s0:s1, o0:o1, j0:j1] += 1
    assert (seen == 1).all()
    assert 1 <= len(found) <= parts


# --- threads ------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("order", "CF")
def test_threads_never_change_a_bit(order, workers):
    plan = plan_for("OI", (611, 1003), DRAWS["normal"])
    assert_equals_reference(plan, blank((611, 1003), "float32", order), "float32", threads=workers)


# --- bad arguments ------------------------------------------------------------------------------


def arguments(**changes):
    given = {
        "view": np.full((2, 3, 8), np.nan, "f4"),
        "stack_axes": 1,
        "out_axes": 1,
        "dtype": 0,
        "key0": 0,
        "key1": 0,
        "kind": 0,
        "lo": 0,
        "width": 0,
        "factor": 1.0,
        "offset": 0,
        "multiplier": 0,
        "purpose": 0,
        "table": TABLE,
        "origin": (0, 0, 0),
        "box": (0, 2, 0, 3, 0, 8),
    }
    assert changes.keys() <= given.keys()
    return list((given | changes).values())


def read_only():
    view = np.zeros((2, 3, 8), "f4")
    view.flags.writeable = False
    return view


BAD_VALUES = {
    "view": [
        np.zeros((2, 3, 8)),
        np.zeros((2, 3, 8), "i4"),
        np.zeros((2, 3, 8), "f2"),
        np.zeros((2, 3, 8), np.dtype("f4").newbyteorder()),
        np.zeros((2, 3, 8), "f4,f4"),
        read_only(),
        bytes(192),
    ],
    "stack_axes": [-1, 3, 4, 2**40],
    "out_axes": [-1, 3, 2**31 - 1],
    "dtype": [-1, 1, 2, 3, 4, 5],
    "key0": [-1, 2**32, 2**70],
    "key1": [-1, 2**32],
    "kind": [-1, 3, 4],
    "lo": [-1, 2**32],
    "width": [-1, 2**32],
    "factor": [float("inf"), float("nan"), 1e39],
    "offset": [-(2**31) - 1, 2**31],
    "multiplier": [-1, 2**32],
    "purpose": [-1, 2**32],
    "table": [b"", bytes(32767), bytes(32769)],
    "origin": [(-1, 0, 0), (0, 2**32 - 2, 0), (2**32 - 1, 0, 0), (0, 0, 2**34 - 4), (0, 0, 2)],
    "box": [
        (0, 3, 0, 3, 0, 8),
        (0, 2, 0, 4, 0, 8),
        (0, 2, 0, 3, 0, 9),
        (0, 2, 0, 3, 1, 8),
        (1, 0, 0, 3, 0, 8),
        (-1, 2, 0, 3, 0, 8),
        (0, 2, 0, 3, 0, 2**64),
    ],
}
BAD_TYPES = {name: [None, 1.0, "1"] for name in BAD_VALUES} | {
    "view": [None, 1, "text"],
    "table": [None, 1, "text"],
    "factor": ["1.0", None],
    "origin": [None, [0, 0, 0], (0, 0), (0, 0, 4.0)],
    "box": [None, [0, 2, 0, 3, 0, 8], (0, 2), (0, 2, 0, 3, 0, 8.0)],
}


def bad(cases):
    return [pytest.param(name, value, id=name) for name in cases for value in cases[name]]


@needs_kernel
@pytest.mark.parametrize(("name", "value"), bad(BAD_VALUES))
def test_values_out_of_range(native, name, value):
    given = arguments(**{name: value})
    with pytest.raises(ValueError, match=r"must|range|match dtype|beyond|read-only|alone"):
        native.fill(*given)
    assert name == "view" or np.isnan(given[0]).all()


@needs_kernel
@pytest.mark.parametrize(("name", "value"), bad(BAD_TYPES))
def test_wrong_types(native, name, value):
    given = arguments(**{name: value})
    with pytest.raises(TypeError, match=r"must|required|interpreted"):
        native.fill(*given)
    assert name == "view" or np.isnan(given[0]).all()


@needs_kernel
def test_words_are_no_floats(native):
    for view, dtype, kind in [("f4", 4, 3), ("u4", 0, 0), ("i4", 4, 3), ("u4", 4, 0), ("f4", 0, 3)]:
        given = arguments(view=np.zeros((2, 3, 8), view), dtype=dtype, kind=kind)
        with pytest.raises(ValueError, match=r"does not match dtype|alone"):
            native.fill(*given)
        assert not given[0].any()


@needs_kernel
def test_an_interval_beyond_the_quantiles(native):
    with pytest.raises(ValueError, match=r"lo \+ width"):
        native.fill(*arguments(kind=2, lo=2, width=2**32 - 1))


@needs_kernel
def test_more_indices_than_a_coordinate_counts(native):
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, "f4"), (2**32 + 1, 1, 1), (0, 0, 0))
    with pytest.raises(ValueError, match="more indices"):
        native.fill(*arguments(view=huge, box=(0, 1, 0, 1, 0, 1)))


@needs_kernel
def test_number_of_arguments(native):
    with pytest.raises(TypeError):
        native.fill(*arguments()[:-1])
    with pytest.raises(TypeError):
        native.fill(*arguments(), 0)
