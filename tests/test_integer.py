"""The stream by torch's own integer operators: equal to the reference, and small in memory."""

from functools import partial

import numpy as np
import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import LAYOUTS, plan_for

from initspec import stream

torch = pytest.importorskip("torch")

import torch_checks  # noqa: E402
from torch_checks import any_shape, any_view, assert_only_written, turned  # noqa: E402

from initspec_torch import integer, strides  # noqa: E402
from initspec_torch.memory import NAMES  # noqa: E402

DRAWS = samples.DRAWS | samples.SUBNORMAL

pytestmark = pytest.mark.usefixtures("one_thread")
assert_equals_reference = partial(torch_checks.assert_equals_reference, integer.fill)


@pytest.mark.parametrize("dtype", NAMES, ids=str)
@pytest.mark.parametrize("draw", DRAWS)
def test_every_draw_in_every_dtype(draw, dtype):
    assert_equals_reference(
        plan_for("OI", (37, 1031), DRAWS[draw]), torch.empty(37, 1031, dtype=dtype)
    )


@pytest.mark.parametrize("pattern", LAYOUTS)
def test_every_layout_in_both_memory_orders(pattern):
    shape = LAYOUTS[pattern]
    for out in (torch.empty(shape), turned(shape)):
        assert_equals_reference(plan_for(pattern, shape), out)


@pytest.mark.parametrize("shape", [(1, 2**18 + 5), (2**18 + 5, 1), (300, 1001), (70000, 5)])
@pytest.mark.parametrize("chunk", [2**6, 2**18])
def test_chunks_meet_without_a_seam(monkeypatch, shape, chunk):
    if chunk == 2**6:
        shape = tuple(-(-n // 500) for n in shape)
    monkeypatch.setattr(integer, "_CHUNK", chunk)
    assert_equals_reference(plan_for("OI", shape), torch.empty(shape))


def test_a_box_of_a_larger_tensor():
    whole, part = torch.empty(3, 20, 40), torch.empty(2, 9, 21)
    integer.fill(plan_for("SOI", (3, 20, 40)), DRAWS["normal"], whole)
    integer.fill(plan_for("SOI", (2, 9, 21), origin=(1, 7, 12)), DRAWS["normal"], part)
    assert torch.equal(part, whole[1:, 7:16, 12:33])


def test_named_blocks_have_keys_of_their_own():
    plan = plan_for("(4 O) I", (20, 6), blocks=("i", "f", "g", "o"))
    out = torch.empty(20, 6)
    assert_equals_reference(plan, out)
    assert out.unique().numel() == out.numel()


@settings(max_examples=60)
@given(st.data())
def test_any_shape_and_strides_and_nothing_else_is_written(data):
    pattern, shape = any_shape(data)
    dtype = data.draw(st.sampled_from(list(NAMES)), label="dtype")
    base, out = any_view(data, shape, dtype=dtype)
    draw = DRAWS[data.draw(st.sampled_from(sorted(DRAWS)), label="draw")]
    assert_equals_reference(plan_for(pattern, shape, draw), out)
    assert_only_written(base, out)


def test_words_at_the_edges():
    """Signs, octaves and the last word: where a product or a rounding could go wrong."""
    edges = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1]
    edges += [2**k + d for k in range(2, 32) for d in (-1, 0, 1)]
    u = np.array(edges, np.uint32)
    words = torch.from_numpy(u.astype(np.int64))
    for draw in DRAWS.values():
        assert integer._integers(draw, words).tolist() == stream.integers(draw, u).tolist()


def test_an_octave_is_not_rounded_up():
    u = np.random.default_rng(0).integers(2**32, size=2**16, dtype=np.uint32)
    u = np.concatenate([u, ~(u >> 8) | 1, np.arange(2**12, dtype=np.uint32)])
    found = integer._quantile(torch.from_numpy(u.astype(np.int64)))
    assert np.array_equal(found.numpy(), stream.normal(u))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("pattern", ["OI", "VO"])
def test_all_temporaries_together_stay_below_8_mib(dtype, turned, pattern):
    from torch.profiler import ProfilerActivity, profile

    out = torch.empty(1100, 1000, dtype=dtype)
    out = out.T if turned else out
    plan = plan_for(pattern, tuple(out.shape), DRAWS["truncated one side"])
    integer.table(out.device)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        integer.fill(plan, plan.content, out)
    events = recorded.profiler.kineto_results.events()
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    peak = int(np.cumsum(sizes).max())
    assert 2**20 < peak < 2**23, "it was not seen" if peak <= 2**20 else "too much"


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_autograd_sees_that_it_was_written(mode):
    with mode():
        leaf = torch.nn.Parameter(torch.zeros(8, 3))
        before = None if leaf.is_inference() else leaf._version
        for part in (leaf, leaf.chunk(2)[0]):
            plan = plan_for("OI", tuple(part.shape))
            assert_equals_reference(plan, part)
    assert leaf.grad_fn is None
    assert before is None or leaf._version > before


def test_views_join_neighbours():
    plan = plan_for("(2 O) I H W", (6, 2, 3, 3), blocks=("a", "b"))
    first, second = strides.views(plan.geometry, (18, 9, 3, 1))
    assert (first.start, first.rows, first.columns) == (0, ((3, 18),), ((18, 1),))
    assert (second.start, second.reach) == (54, 53)
    [view] = strides.views(plan_for("SOI", (4, 5, 6)).geometry, (30, 6, 1))
    assert (view.rows, view.columns) == (((20, 6),), ((6, 1),))  # s and o in one
    [view] = strides.views(plan_for("OIHW", (4, 5, 3, 3)).geometry, (45, 1, 15, 5))
    assert view.columns == ((9, 5), (5, 1))  # channels last
