"""On a real GPU: bits equal to the CPU by every path, little memory, streams, graphs, compilers.

Throughput is the business of ``python tests/benchmarks/gpu.py``.
"""

import sys
from functools import partial

import pytest
import samples
from hypothesis import given, settings
from hypothesis import strategies as st

import initspec
from initspec import stream

torch = pytest.importorskip("torch")

import torch_checks  # noqa: E402
from torch_checks import any_extents, any_view, assert_only_written, turned  # noqa: E402

from initspec_conformance.results import FAILED  # noqa: E402
from initspec_conformance.suite import Suite  # noqa: E402
from initspec_torch import device, integer  # noqa: E402
from initspec_torch.memory import NAMES, host_view  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

DRAWS = samples.DRAWS | samples.SUBNORMAL
LAYOUTS = {
    "I": (1301,),
    "O": (2100,),
    "OI": (129, 512),
    "IO": (515, 130),
    "OIHW": (65, 3, 3, 3),
    "HWIO": (3, 3, 7, 65),
    "OIDHW": (4, 3, 2, 3, 5),
    "IOO": (6, 3, 11),
    "SIO": (4, 5, 9),
    "(G O) I H W": (12, 2, 3, 3),
}
SHAPE, GIVEN = (48, 20, 3, 3), {"backend": "torch", "seed": 7, "name": "w"}
plan_for = partial(samples.plan_for, key=samples.NEGATIVE_KEYS)


def kernel(plan, _, out):
    device.fill(plan, out, None)  # nothing may pass through the host


def assert_equals_reference(plan, out, write=None):
    torch_checks.assert_equals_reference(write or kernel, plan, out)


def test_the_kernel_is_active():
    found = device.path(torch.device("cuda", 0))
    if found.name != device.TRITON and "tensorflow" in sys.modules:
        pytest.skip(f"{found.reason}: run this file alone")
    assert found.name == device.TRITON, found.reason


@pytest.mark.parametrize("write", [None, integer.fill], ids=["kernel", "operators"])
@pytest.mark.parametrize("dtype", NAMES, ids=str)
@pytest.mark.parametrize("draw", DRAWS)
def test_every_draw_in_every_dtype(write, draw, dtype):
    plan = plan_for("OI", (37, 1031), DRAWS[draw])
    assert_equals_reference(plan, torch.empty(37, 1031, dtype=dtype, device="cuda"), write)


@pytest.mark.parametrize("write", [None, integer.fill], ids=["kernel", "operators"])
@pytest.mark.parametrize("order", [torch.empty, turned])
@pytest.mark.parametrize("pattern", LAYOUTS)
def test_every_layout_in_both_memory_orders(write, pattern, order):
    shape = LAYOUTS[pattern]
    assert_equals_reference(plan_for(pattern, shape), order(shape, device="cuda"), write)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 64, 129, 2048, 2051])
@pytest.mark.parametrize("outputs", [1, 2, 16, 129, 513])
def test_sizes_around_the_edges_of_blocks_vectors_and_tiles(dtype, outputs, inputs):
    shape = (outputs, inputs)
    for order in (torch.empty, turned):
        assert_equals_reference(plan_for("OI", shape), order(shape, dtype=dtype, device="cuda"))


@settings(max_examples=25)
@given(st.data())
def test_any_strides_and_nothing_else_is_written(data):
    shape = any_extents(data, 4)
    base, out = any_view(data, shape, device="cuda")
    assert_equals_reference(plan_for("OIHW", shape), out)
    assert_only_written(base, out)


@pytest.mark.parametrize("dtype", NAMES, ids=str)
@pytest.mark.parametrize(
    "init",
    [
        initspec.he_normal,
        initspec.glorot_uniform,
        initspec.constant(0.1),
        initspec.dirac,
        initspec.sparse(0.3),
        initspec.orthogonal(),
    ],
    ids=str,
)
def test_a_new_tensor_is_that_of_the_cpu(init, dtype):
    host = init(SHAPE, dtype=dtype, device="cpu", **GIVEN)
    made = init(SHAPE, dtype=dtype, device="cuda", **GIVEN)
    assert made.is_cuda
    assert torch.equal(made.cpu(), host)


def test_the_reference_serves_when_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("INITSPEC_KERNEL", "off")
    made = initspec.he_normal(SHAPE, device="cuda", **GIVEN)
    monkeypatch.delenv("INITSPEC_KERNEL")
    assert torch.equal(made, initspec.he_normal(SHAPE, device="cuda", **GIVEN))


def test_a_parameter_is_written_outside_autograd():
    leaf = torch.nn.Parameter(torch.zeros(SHAPE, device="cuda"))
    version = leaf._version
    assert initspec.he_normal.bind("torch")(leaf, seed=7, name="w") is leaf
    assert leaf._version > version
    assert (leaf.is_leaf, leaf.grad_fn) == (True, None)


@pytest.mark.parametrize("shape", [(2**31 + 4096, 1), (1, 2**31 + 4096), (2**16, 2**15 + 64)])
def test_more_elements_than_32_bits_count(shape):
    if torch.cuda.mem_get_info()[0] < 6 * 2**30:
        pytest.skip("not enough memory on the device")
    out = torch.empty(shape, dtype=torch.bfloat16, device="cuda")
    plan = plan_for("OI", shape)
    device.fill(plan, out, None)
    rows, columns = min(shape[0], 64), min(shape[1], 64)
    at = (shape[0] - rows, (shape[1] - columns) // 4 * 4)
    corner = out[at[0] :, at[1] :].contiguous()
    expected = torch.empty_like(corner, device="cpu")
    box = plan_for("OI", tuple(corner.shape), origin=(0, *at))
    stream.fill(box, host_view(expected), "bfloat16")
    assert torch.equal(corner.cpu(), expected)


@pytest.mark.parametrize(("write", "most"), [(None, 0), (integer.fill, 2**23)])
def test_memory_beside_the_tensor(write, most):
    out = torch.empty(2048, 2048, device="cuda")
    plan = plan_for("OI", (2048, 2048), DRAWS["truncated one side"])
    assert_equals_reference(plan, out, write)  # which uploads the table
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    device.fill(plan, out, None) if write is None else write(plan, plan.content, out)
    assert torch.cuda.max_memory_allocated() - before <= most


def test_the_current_stream_is_used():
    init = initspec.he_normal.bind("torch")
    out, side = torch.empty(4096, 4096, device="cuda"), torch.cuda.Stream()
    init(out, seed=1)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(10**8)
        init(out, seed=2)
        late = side.record_event()
        assert not late.query()  # had it run elsewhere, it would not have waited
    side.synchronize()
    assert torch.equal(out, init(torch.empty_like(out), seed=2))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_another_gpu_than_the_current_one():
    with torch.cuda.device(0):
        made = initspec.he_normal(SHAPE, device="cuda:1", **GIVEN)
        assert torch.cuda.current_device() == 0
    assert made.device.index == 1
    assert torch.equal(made.cpu(), initspec.he_normal(SHAPE, device="cpu", **GIVEN))


def test_a_cuda_graph_draws_again():
    init, out = initspec.he_normal.bind("torch"), torch.empty(64, 64, device="cuda")
    expected = init(out, seed=3).clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        init(out, seed=3)
    out.zero_()
    graph.replay()
    assert torch.equal(out, expected)


@pytest.mark.parametrize("compiler", ["eager", "aot_eager", "inductor"])
def test_torch_compile(compiler):
    def make():
        return initspec.he_normal(SHAPE, device="cuda", **GIVEN) * 2

    made = torch.compile(make, backend=compiler, fullgraph=True)()
    assert torch.equal(made, make())


def test_the_suite_conforms_on_the_gpu():
    report = Suite(["torch"], devices=["cuda"]).run()
    wrong = [outcome.message for outcome in report.outcomes if outcome.verdict == FAILED]
    assert wrong == []
    assert {outcome.device for outcome in report.outcomes} == {"cuda"}
