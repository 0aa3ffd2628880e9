"""What the Triton kernel must do, without a GPU; test_triton.py runs it in processes of its own.

In one the kernel is interpreted, in the other it is compiled for a GPU and the result is run on the
CPU, instruction by instruction.
"""

import ctypes
import os
from functools import partial

import numpy as np
import pytest
import samples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from samples import DRAWS
from samples import NEGATIVE_KEYS as KEYS

from initspec import stream
from initspec.draw import normal_draw, uniform_draw

torch = pytest.importorskip("torch")

from torch_checks import (  # noqa: E402
    any_shape,
    any_view,
    assert_equals_reference,
    assert_only_written,
    turned,
)

from initspec_torch.memory import NAMES  # noqa: E402

MODE = os.environ.get("INITSPEC_TEST_TRITON")
interpreted = pytest.mark.skipif(MODE != "interpreted", reason="it would take too long")
compiled = pytest.mark.skipif(MODE != "compiled", reason="nothing is compiled")
NORMAL = DRAWS["normal"]
LAYOUTS = samples.LAYOUTS | {
    "OIHW": (65, 3, 3, 3),
    "HWIO": (3, 3, 3, 65),
    "SOI": (5, 9, 4),
    "H W G O": (3, 3, 8, 1),
}
plan_for = partial(samples.plan_for, key=KEYS)


@pytest.fixture(scope="module")
def kernel():
    from initspec_torch import triton_kernel

    return triton_kernel


# --- interpreted --------------------------------------------------------------------------------


@interpreted
@pytest.mark.parametrize("dtype", NAMES, ids=str)
@pytest.mark.parametrize("draw", DRAWS)
def test_every_draw_in_every_dtype(kernel, draw, dtype):
    plan = plan_for("OI", (9, 131), DRAWS[draw])
    assert_equals_reference(kernel.fill, plan, torch.empty(9, 131, dtype=dtype))


@interpreted
@pytest.mark.parametrize("order", [torch.empty, turned])
@pytest.mark.parametrize("pattern", LAYOUTS)
def test_every_layout_in_both_memory_orders(kernel, pattern, order):
    shape = LAYOUTS[pattern]
    assert_equals_reference(kernel.fill, plan_for(pattern, shape), order(shape))


@interpreted
def test_more_axes_than_it_counts_in_are_left_to_others(kernel):
    plan = plan_for("OIDHW", (4, 3, 2, 3, 5))
    assert kernel.fits(plan, torch.empty(plan.shape))
    assert not kernel.fits(plan, turned(plan.shape))


@interpreted
@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 64, 129])
@pytest.mark.parametrize("outputs", [1, 2, 16, 129])
@pytest.mark.parametrize("order", [torch.empty, turned])
def test_sizes_around_the_edges_of_blocks_and_vectors(kernel, outputs, inputs, order):
    shape = (outputs, inputs)
    assert_equals_reference(kernel.fill, plan_for("OI", shape), order(shape))


@interpreted
@pytest.mark.parametrize("order", [torch.empty, turned])
@pytest.mark.parametrize("shape", [(3, 2051), (2051, 3), (40, 516)])
def test_many_tiles(kernel, shape, order):
    plan = plan_for("OI", shape, DRAWS["uniform"])
    assert_equals_reference(kernel.fill, plan, order(shape, dtype=torch.bfloat16))


@interpreted
@pytest.mark.parametrize("order", [torch.empty, turned])
def test_wide_indices(kernel, monkeypatch, order):
    monkeypatch.setattr(kernel, "_FAR", 0)
    kernel._launch.cache_clear()
    for shape in ((3, 5, 17), (2, 9, 64)):
        assert_equals_reference(kernel.fill, plan_for("SOI", shape), order(shape))
    kernel._launch.cache_clear()


@interpreted
def test_memory_that_reaches_beyond_32_bits(kernel):
    try:
        memory = torch.empty(2**31 + 64, dtype=torch.bfloat16)  # of which a few pages are touched
    except RuntimeError:
        pytest.skip("no 4 GiB of address space")
    out = memory.as_strided((3, 9), (2**30, 2))
    assert kernel._launch(plan_for("OI", (3, 9)).geometry.counts, view_of(out)).options["WIDE"]
    assert_equals_reference(kernel.fill, plan_for("OI", (3, 9)), out)


def view_of(out):
    from initspec_torch.strides import views

    return views(plan_for("OI", tuple(out.shape)).geometry, out.stride())[0]


@interpreted
def test_a_box_of_a_larger_tensor(kernel):
    for origin in [(1, 7, 12), (2**32 - 3, 2**32 - 9, 2**34 - 24)]:
        plan = plan_for("SOI", (2, 9, 21), origin=origin)
        assert_equals_reference(kernel.fill, plan, torch.empty(2, 9, 21))


@interpreted
@pytest.mark.parametrize(
    "key", [(0, 0), (1, 0), (16, 0), (5, 2**32 - 1), (2**31, 2**31), (2**32 - 1, 2**32 - 1)]
)
def test_keys_of_any_size(kernel, key):
    assert_equals_reference(kernel.fill, plan_for("OI", (5, 9), key=key), torch.empty(5, 9))


@interpreted
def test_named_blocks_have_keys_of_their_own(kernel):
    plan = plan_for("(4 O) I", (20, 6), blocks=("i", "f", "g", "o"))
    out = torch.empty(20, 6)
    assert_equals_reference(kernel.fill, plan, out)
    assert out.unique().numel() == out.numel()


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("exponent", [*range(-40, -22), *range(-1, 5)])
def test_rounding_from_subnormal_to_overflow(kernel, dtype, exponent):
    # Integers of 14 bits times a power of two, or nearly: many ties, from nothing to infinity.
    plan = plan_for("I", (600,), uniform_draw(-1.0, 1.0))
    object.__setattr__(plan.content, "multiplier", 2**15)
    for factor in (1.37, 1.0):
        object.__setattr__(plan.content, "factor", factor * 2.0**exponent)
        with np.errstate(over="ignore"):
            assert_equals_reference(kernel.fill, plan, torch.empty(600, dtype=dtype))


@interpreted
@pytest.mark.parametrize(("o", "j"), [(0, 8076760), (5, 9872296), (11, 10458212)])
def test_an_octave_is_not_rounded_up(kernel, o, j):
    plan = plan_for("OI", (1, 4), origin=(0, o, j))  # of its words one is nearly a power of two
    [(_, words)] = stream.words(KEYS, (1, 1, 4), 0, plan.origin)
    w = (words ^ (words >> 31) * np.uint32(2**32 - 1)).astype(np.int64) * 2 ^ (2**32 - 1)
    assert (np.frexp(w.astype(np.float32))[1] != np.frexp(w.astype(float))[1]).any()
    assert_equals_reference(kernel.fill, plan, torch.empty(1, 4))


@interpreted
@pytest.mark.parametrize(("width", "first"), [(9, 0), (12, 1), (9, 3)])
def test_rows_that_begin_anywhere(kernel, width, first):
    out = torch.empty(6 * width + first)[first:].view(6, width)[:, :8]
    assert_equals_reference(kernel.fill, plan_for("OI", (6, 8)), out)


@interpreted
@settings(max_examples=40)
@given(st.data())
def test_any_shape_and_strides_and_nothing_else_is_written(kernel, data):
    pattern, shape = any_shape(data)
    base, out = any_view(data, shape)
    plan = plan_for(pattern, shape)
    assume(kernel.fits(plan, out))
    assert_equals_reference(kernel.fill, plan, out)
    assert_only_written(base, out)


# --- compiled -----------------------------------------------------------------------------------


class Driver:
    """What Triton asks of a GPU before it compiles."""

    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


@pytest.fixture
def compile_for(kernel, monkeypatch):
    """A way to write like the kernel's, that only compiles; what was compiled, in a list."""
    import triton
    from triton.backends.compiler import GPUTarget

    tile, made = kernel._tile, []

    class Compiler:
        def __getitem__(self, grid):
            def launch(*arguments, **options):
                binary = tile.warmup(*arguments, grid=grid, **options)
                made.append((binary, grid[0], arguments))

            return launch

    def choose(*target):
        triton.runtime.driver.set_active(Driver(GPUTarget(*target)))
        monkeypatch.setattr(kernel, "_tile", Compiler())
        return made

    return choose


@pytest.fixture
def write(kernel, compile_for):
    """Compile for an NVIDIA GPU, and run that."""
    import ptx

    made = compile_for("cuda", 90, 32)

    def run(plan, draw, out):
        made.clear()
        kernel.fill(plan, draw, out)
        for binary, grid, (memory, table, *numbers) in made:
            buffers = dict(map(bytes_of, (memory, table)))
            arguments = [memory.data_ptr(), table.data_ptr(), *numbers]
            ptx.run(binary.asm["ptx"], arguments, grid, buffers)

    return run


def bytes_of(tensor):
    storage = tensor.untyped_storage()
    memory = (ctypes.c_uint8 * storage.nbytes()).from_address(storage.data_ptr())
    return storage.data_ptr(), np.frombuffer(memory, np.uint8)


COMPILED = [
    ("normal", "OI", (5, 1032), torch.float32, torch.empty),
    ("truncated one side", "OI", (37, 1031), torch.float32, torch.empty),
    ("normal", "OI", (37, 130), torch.float32, turned),
    ("normal", "OI", (5, 64), torch.float32, torch.empty(325)[5:].view),
    ("normal", "OIHW", (80, 3, 3, 3), torch.bfloat16, torch.empty),
    ("uniform", "HWIO", (3, 3, 20, 37), torch.bfloat16, torch.empty),
    ("normal with mean", "SOI", (3, 5, 64), torch.float16, torch.empty),
    ("uniform off centre", "SIO", (3, 7, 9), torch.float64, torch.empty),
    (
        "normal",
        "OIHW",
        (4, 3, 3, 5),
        torch.float32,
        lambda n: torch.empty(5, 6, 6, 9)[1:, 1::2, ::2, :5],
    ),
]


@compiled
@pytest.mark.parametrize("case", COMPILED, ids=lambda case: f"{case[0]} {case[1]}")
def test_the_compiled_kernel_equals_the_reference_and_writes_nothing_else(write, case):
    draw, pattern, shape, dtype, order = case
    out = order(shape)
    out = out if out.dtype == dtype else out.to(dtype)
    base = torch.empty(0, dtype=dtype).set_(out.untyped_storage()).fill_(7.0)
    assert_equals_reference(write, plan_for(pattern, shape, DRAWS[draw]), out)
    assert_only_written(base, out)


@compiled
def test_one_binary_serves_all_keys_and_scales(kernel, compile_for):
    made = compile_for("cuda", 90, 32)
    for key in [(1, 0), (16, 0), (0, 1), KEYS, (2**32 - 1, 2**31)]:
        for std in (1.0, 2.0**-20, 0.3):
            plan = plan_for("OI", (48, 64), normal_draw(std), key=key)
            kernel.fill(plan, plan.content, torch.empty(48, 64))
    assert len({binary.hash for binary, _, _ in made}) == 1


@compiled
def test_whole_blocks_are_stored_at_once_and_wait_for_nobody(kernel, compile_for):
    made = compile_for("cuda", 90, 32)
    plan = plan_for("OI", (64, 4096))
    kernel.fill(plan, NORMAL, torch.empty(64, 4096))
    kernel.fill(plan, NORMAL, turned((64, 4096)))
    (rows, _, _), (columns, _, _) = made
    assert "st.global.v4.b32" in rows.asm["ptx"]
    assert rows.metadata.shared == columns.metadata.shared == 0


@compiled
@pytest.mark.parametrize("target", [("cuda", 80, 32), ("hip", "gfx942", 64)], ids=str)
def test_it_compiles_for_other_gpus(kernel, compile_for, target):
    made = compile_for(*target)
    plan = plan_for("OI", (37, 1031), DRAWS["truncated one side"])
    kernel.fill(plan, plan.content, torch.empty(37, 1031, dtype=torch.bfloat16))
    assert len(made) == 1
