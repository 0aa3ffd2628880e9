"""Which path makes the tensors of a device, and that every path gives the same bits.

Tensors of the CPU stand for those of a GPU here; test_cuda.py has the real ones.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path as File
from types import SimpleNamespace

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.errors import BackendError, InitspecValueError

torch = pytest.importorskip("torch")

from initspec_torch import backend, device, integer  # noqa: E402
from initspec_torch.device import HOST, TORCH, TRITON, Path  # noqa: E402
from initspec_torch.memory import NAMES, host_view  # noqa: E402

adapter = sys.modules["initspec_torch.backend"]  # the module, which the instance hides
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
INITIALIZERS = [
    initspec.he_normal,
    initspec.uniform(-1.0, 2.0),
    initspec.constant(0.1),
    initspec.constant(1 + 2.0**-11 + 2.0**-40),  # a tie in float16, once it is a float32
    initspec.constant(1 + 2.0**-8 + 2.0**-40),  # and in bfloat16
    initspec.zeros,
    initspec.dirac,
    initspec.sparse(0.3),
    initspec.orthogonal(),
]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch):
    monkeypatch.delenv("INITSPEC_KERNEL", raising=False)
    examine = device._examine
    examine.cache_clear()
    yield
    examine.cache_clear()


@pytest.fixture
def take(monkeypatch):
    """Send all tensors along one path."""
    return lambda name: monkeypatch.setattr(device, "path", lambda _: Path(name, "the test"))


def plan_for(init, shape=(6, 5, 3, 3)):
    plan = init.plan(shape, convention="OI", **({} if len(shape) == 4 else {"layout": "OI"}))
    return plan.with_keys((stream.key(7, "w"),))


def assert_equals_reference(plan, out):
    expected = np.empty(out.shape, host_view(out).dtype)
    if plan.draw is None:
        plan.content.write(plan, expected, NAMES[out.dtype], stream.fill)
    else:
        stream.fill(plan, expected, NAMES[out.dtype])
    assert np.ascontiguousarray(host_view(out.resolve_neg())).tobytes() == expected.tobytes()


# --- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NAMES, ids=str)
@pytest.mark.parametrize("init", INITIALIZERS, ids=str)
@pytest.mark.parametrize("name", [TORCH, HOST])
def test_both_paths_without_triton_write_the_same(take, name, init, dtype):
    take(name)
    plan = plan_for(init)
    turned = torch.empty(3, 3, 5, 6, dtype=dtype).permute(3, 2, 0, 1)
    for out in (torch.empty(6, 5, 3, 3, dtype=dtype), turned):
        device.fill(plan, out, adapter._fill)
        assert_equals_reference(plan, out)


def test_only_what_is_no_draw_passes_through_the_host(take):
    take(TORCH)
    passed = []

    def host(plan, out):
        passed.append(type(plan.content).__name__)
        adapter._fill(plan, out)

    for init in INITIALIZERS:
        device.fill(plan_for(init), torch.empty(6, 5, 3, 3), host)
    assert passed == ["Diagonal", "Sparse", "Orthogonal"]


def test_the_kernel_gets_the_draws_it_can_count_and_torch_the_others(take, monkeypatch):
    calls = []
    kernel = SimpleNamespace(
        fits=lambda plan, out: out.is_contiguous(), fill=lambda *_: calls.append("kernel")
    )
    monkeypatch.setattr(device, "_kernel", lambda: kernel)
    monkeypatch.setattr(device.integer, "fill", lambda *_: calls.append("torch"))
    take(TRITON)
    out = torch.zeros(6, 5, 3, 3, requires_grad=True)
    version = out._version
    device.fill(plan_for(initspec.he_normal), out, None)
    assert out._version > version
    device.fill(plan_for(initspec.he_normal), torch.zeros(6, 5, 6, 3)[:, :, ::2], None)
    assert calls == ["kernel", "torch"]


@pytest.mark.parametrize("name", [TORCH, TRITON])
def test_a_negated_view_keeps_its_sign(take, name):
    take(name)
    memory = torch.zeros(6, 5, dtype=torch.complex64)
    plan = plan_for(initspec.he_normal, (6, 5))
    device.fill(plan, memory.conj().imag, adapter._fill)
    assert_equals_reference(plan, -memory.imag.clone())


@pytest.mark.parametrize("name", [TORCH, HOST])
def test_a_leaf_is_written_outside_autograd(take, name):
    take(name)
    for init in INITIALIZERS:
        leaf = torch.nn.Parameter(torch.zeros(6, 5, 3, 3))
        version = leaf._version
        device.fill(plan_for(init), leaf, adapter._fill)
        assert (leaf.grad_fn, leaf.requires_grad) == (None, True)
        assert leaf._version > version


def test_real_tensors_among_fake_ones():
    from torch._subclasses import FakeTensorMode

    integer.table.cache_clear()
    out, plan = torch.empty(6, 5), plan_for(initspec.he_normal, (6, 5))
    with FakeTensorMode():
        device.fill(plan, out, adapter._fill)
    assert_equals_reference(plan, out)
    device.fill(plan, out.zero_(), adapter._fill)
    assert_equals_reference(plan, out)


# --- which path ---------------------------------------------------------------------------------


def test_a_device_without_a_kernel_takes_torchs_operators():
    assert device.path(CPU) == Path(TORCH, "there is no kernel for cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_does_nothing_is_served_by_the_host():
    found = device.path(CUDA)
    assert found.name == HOST
    assert "CUDA" in found.reason


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda *_: None, "wrong values in torch.float32, torch.bfloat16, torch.float16"),
        (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_path_that_does_not_make_the_right_values_is_not_taken(monkeypatch, write, reason):
    monkeypatch.setattr(integer, "fill", write)
    assert device.path(CPU) == Path(
        HOST, f"there is no kernel for cpu; torch's operators: {reason}"
    )


def test_subnormal_numbers_that_a_device_flushes_are_noticed(monkeypatch):
    fill = integer.fill

    def flush(plan, draw, out):
        fill(plan, draw, out)
        out[out.abs() < 2.0**-14] = 0.0

    monkeypatch.setattr(integer, "fill", flush)
    assert device.path(CPU).reason.endswith("wrong values in torch.float16")


def test_a_full_memory_says_nothing_about_the_path(monkeypatch):
    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(integer, "fill", fail)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            device.path(CPU)
    assert device.path(CPU).name == TORCH


def test_triton_is_taken_when_it_works_and_the_reason_is_told_when_not(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(device, "_agrees", lambda *_: True)
    kernel = SimpleNamespace(fill=None, VERSION="3.99")
    monkeypatch.setattr(device, "_kernel", lambda: kernel)
    assert device.path(CUDA) == Path(TRITON, "Triton 3.99")

    def missing():
        raise ModuleNotFoundError("No module named 'triton'\nand more")

    device._examine.cache_clear()
    monkeypatch.setattr(device, "_kernel", missing)
    reason = "Triton does not import: ModuleNotFoundError: No module named 'triton'"
    assert device.path(CUDA) == Path(TORCH, reason)


def test_triton_is_not_imported_after_tensorflow(monkeypatch):
    def fatal():
        pytest.fail("it would have ended the process")

    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr(device, "_kernel", fatal)
    monkeypatch.setattr(device, "_agrees", lambda *_: True)
    found = device.path(CUDA)
    assert found.name == TORCH
    assert found.reason.startswith("TensorFlow was imported before Triton")


def test_the_variable_governs_other_devices_too(monkeypatch):
    monkeypatch.setenv("INITSPEC_KERNEL", "off")
    assert device.path(CUDA) == Path(HOST, "INITSPEC_KERNEL=off")
    monkeypatch.setenv("INITSPEC_KERNEL", "nonsense")
    with pytest.raises(InitspecValueError, match="INITSPEC_KERNEL"):
        device.path(CPU)


def test_a_kernel_that_is_required_is_not_silently_missing(monkeypatch):
    monkeypatch.setenv("INITSPEC_KERNEL", "require")
    monkeypatch.setattr(device, "_examine", lambda _: Path(TORCH, "no Triton here"))
    with pytest.raises(BackendError, match="a working Triton; no Triton here"):
        device.path(CUDA)
    assert device.path(CPU).name == TORCH  # there can be none


def test_devices_are_listed_with_their_paths(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(device, "path", lambda of: Path("p", of.type))
    assert device.devices() == {"cuda:0": "p (cuda)", "cuda:1": "p (cuda)", "mps": "p (mps)"}


def test_the_adapter_asks_for_the_path(monkeypatch):
    asked = []
    monkeypatch.setattr(device, "fill", lambda plan, out, host: asked.append((plan, out, host)))
    out = SimpleNamespace(is_meta=False, is_cpu=False)
    backend.emit_into("the plan", out)
    assert asked == [("the plan", out, adapter._fill)]


# --- the report ---------------------------------------------------------------------------------


def test_the_report_on_a_gpu_runs_without_one(monkeypatch, capsys):
    file = File(__file__).parent / "benchmarks" / "gpu.py"
    spec = spec_from_file_location("gpu_report", file)
    report = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_report", report)
    spec.loader.exec_module(report)
    assert report.main(["--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "equal those of the CPU, bit for bit" in out
    assert out.count("| in place, ") == 7
    monkeypatch.setattr(report, "agrees", lambda *_: False)
    monkeypatch.setattr(report, "rows", lambda *_: [])
    assert report.main(["--device", "cpu", "--quick"]) == 1
