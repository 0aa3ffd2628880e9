"""The PyTorch adapter: memory, devices, generators, autograd, refusals."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initspec
import initspec_kernel
from initspec import InitspecError, InitspecTypeError, InitspecValueError, registry, stream

torch = pytest.importorskip("torch")

from torch_checks import NAME, SEED, assert_reference  # noqa: E402

from initspec_torch import backend  # noqa: E402

adapter = sys.modules["initspec_torch.backend"]  # the module, which the instance hides

DTYPES = ("float32", "float64", "bfloat16", "float16")
HE = initspec.he_normal
he_normal_ = HE.bind("torch")


# --- values at any strides ----------------------------------------------------------------------


def views(dtype):
    """Writable tensors of many strides, each with the memory that it is a part of."""
    kind = getattr(torch, dtype)
    plain = torch.full((6, 5, 3, 3), 7.0, dtype=kind)
    last = plain.clone(memory_format=torch.channels_last)
    wide = torch.full((12, 9, 4, 3), 7.0, dtype=kind)
    turned = torch.full((3, 3, 5, 6), 7.0, dtype=kind)
    return {
        "contiguous": (plain, plain),
        "channels_last": (last, last),
        "sliced": (wide[::2, 2:7, 1:], wide),
        "transposed": (turned.permute(3, 2, 0, 1), turned),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", views("float32"))
@pytest.mark.parametrize("init", [HE, initspec.sparse(0.3), initspec.dirac], ids=str)
def test_out_is_written_at_its_strides_and_nowhere_else(dtype, view, init):
    out, memory = views(dtype)[view]
    assert init(out=out, seed=SEED, name=NAME) is out
    assert_reference(out, init)
    out.zero_()
    assert memory.sum() == 7.0 * (memory.numel() - out.numel())


@settings(max_examples=40)
@given(st.data())
def test_any_view_gets_the_logical_values(data):
    rank = data.draw(st.integers(2, 4))
    steps = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    sizes = data.draw(st.lists(st.integers(0, 6), min_size=rank, max_size=rank))
    order = data.draw(st.permutations(range(rank)))
    base = torch.zeros([1 + n * k for n, k in zip(sizes, steps, strict=True)])
    cut = tuple(slice(1, 1 + n * k, k) for n, k in zip(sizes, steps, strict=True))
    out = base[cut].permute(order)
    he_normal_(out, seed=SEED, name=NAME)
    assert_reference(out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_new_tensor(dtype):
    made = HE((40, 30), backend="torch", dtype=dtype, seed=SEED, name=NAME)
    assert (type(made), made.dtype, made.device.type) == (
        torch.Tensor,
        getattr(torch, dtype),
        "cpu",
    )
    assert made.is_contiguous()
    assert not made.requires_grad
    assert_reference(made)


def test_axes_of_length_1_may_have_any_stride():
    assert_reference(he_normal_(torch.zeros(5).expand(1, 5), seed=SEED, name=NAME))
    assert_reference(he_normal_(torch.zeros(4).as_strided((4, 1), (1, 0)), seed=SEED, name=NAME))


def test_rank_0_and_empty_tensors():
    assert initspec.ones((), backend="torch").item() == 1.0
    scalar = initspec.normal(1.0)((), backend="torch", layout="", seed=SEED, name=NAME)
    assert_reference(scalar, initspec.normal(1.0), layout="")
    assert HE((0, 4), backend="torch", dtype="bfloat16").shape == (0, 4)
    assert he_normal_(torch.empty(4, 0)).shape == (4, 0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["INITSPEC_THREADS", "set_num_threads"])
def test_threads_are_bounded_and_change_no_bit(monkeypatch, how, threads):
    used = []
    run = initspec_kernel.threads.run

    def spy(calls, workers):
        used.append(workers)
        run(calls, workers)

    monkeypatch.setattr(initspec_kernel.threads, "run", spy)
    monkeypatch.setenv("INITSPEC_THREADS", str(threads) if how == "INITSPEC_THREADS" else "8")
    before = torch.get_num_threads()
    torch.set_num_threads(threads if how == "set_num_threads" else 8)
    try:
        made = HE((512, 640), backend="torch", seed=SEED, name=NAME)
    finally:
        torch.set_num_threads(before)
    assert used == ([threads] if initspec_kernel.info().active else [])
    assert_reference(made)


def test_dtypes_come_from_out_else_are_float32():
    torch.set_default_dtype(torch.float64)
    try:
        assert HE((4, 3), backend="torch").dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert he_normal_(torch.zeros(4, 3, dtype=torch.float16)).dtype == torch.float16
    assert HE((4, 3), backend="torch", dtype=torch.half).dtype == torch.float16


# --- devices ------------------------------------------------------------------------------------


def test_the_default_device_is_honoured():
    with torch.device("meta"):
        assert HE((4, 3), backend="torch").is_meta
        assert not HE((4, 3), backend="torch", device="cpu").is_meta
        layer = torch.zeros(4, 3, device="cpu")
        assert_reference(he_normal_(layer, seed=SEED, name=NAME))
        he_normal_(layer)  # the seed is drawn on the CPU whatever the default
    torch.set_default_device("meta")
    try:
        assert HE((4, 3), backend="torch").is_meta
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_meta_tensors_are_checked_and_not_filled(device, monkeypatch):
    monkeypatch.setattr(adapter, "fill", None)
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(1)
    made = HE((2**20, 2**20), backend="torch", device=device, dtype="bfloat16")
    assert (made.is_meta, made.dtype, made.shape) == (True, torch.bfloat16, (2**20, 2**20))
    assert he_normal_(made) is made
    he_normal_(made, generator=generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert generator.get_state().equal(torch.Generator().manual_seed(1).get_state())
    with pytest.raises(InitspecValueError, match="fans need at least 2 axes"):
        HE((4,), backend="torch", device=device)
    with pytest.raises(InitspecTypeError, match="dtype"):
        he_normal_(torch.zeros(4, 3, dtype=torch.int8, device=device))


def test_fake_tensors_are_checked_and_not_filled(monkeypatch):
    from torch._subclasses import FakeTensorMode

    monkeypatch.setattr(adapter, "fill", None)
    with FakeTensorMode():
        for device in ("cpu", "cuda"):
            made = HE((4, 3), backend="torch", device=device)
            assert (type(made).__name__, made.device.type) == ("FakeTensor", device)
            assert he_normal_(made) is made
        with pytest.raises(InitspecValueError, match="memory of its own"):
            he_normal_(torch.empty(1, 3).expand(4, 3))


def test_another_device_gets_a_copy_of_host_memory(monkeypatch):
    monkeypatch.setenv("INITSPEC_KERNEL", "off")
    copies = []
    out = SimpleNamespace(
        is_meta=False,
        is_cpu=False,
        device=SimpleNamespace(type="cuda"),
        dtype=torch.bfloat16,
        copy_=lambda host: copies.append((host, torch.is_grad_enabled())),
    )
    plan = HE.plan((6, 5), convention="OI").with_keys((stream.key(SEED, NAME),))
    with torch.device("meta"):  # the default device is not that of host memory
        backend.emit_into(plan, out)
    [(host, grad_enabled)] = copies
    assert not grad_enabled
    assert_reference(host)


def test_a_device_that_is_not_there_is_refused_in_a_plan_too():
    with pytest.raises(InitspecValueError, match="a device of this machine"):
        backend.emit(HE.plan((6, 5), convention="OI"), "float32", "nonsense")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda(dtype):
    assert_reference(HE((6, 5), backend="torch", dtype=dtype, device="cuda", seed=SEED, name=NAME))
    leaf = torch.zeros(5, 6, dtype=getattr(torch, dtype), device="cuda", requires_grad=True)
    version = leaf._version
    assert_reference(he_normal_(leaf.T, seed=SEED, name=NAME))
    assert leaf._version > version
    compiled = torch.compile(
        lambda: HE((6, 5), backend="torch", dtype=dtype, device="cuda", seed=SEED, name=NAME),
        backend="aot_eager",
    )
    assert_reference(compiled())


@pytest.mark.parametrize("device", ["abacus", "cuda:4711", "cpu:x", True, 1.5, object()])
def test_unusable_devices_are_refused(device):
    with pytest.raises(InitspecError, match=r"^device: got "):
        HE((4, 3), backend="torch", device=device)


# --- seeds --------------------------------------------------------------------------------------


def test_manual_seed_governs_what_has_no_seed():
    torch.manual_seed(5)
    first = [HE((4, 3), backend="torch"), he_normal_(torch.zeros(4, 3)), torch.rand(3)]
    torch.manual_seed(5)
    again = [HE((4, 3), backend="torch"), he_normal_(torch.zeros(4, 3)), torch.rand(3)]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], first[1])


def test_a_generator_governs_and_the_global_one_rests():
    before = torch.get_rng_state()
    draws = []
    for seed in (5, 5, 6):
        generator = torch.Generator().manual_seed(seed)
        draws += [he_normal_(torch.zeros(4, 3), generator=generator) for _ in range(2)]
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(draws[1], draws[3])
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[4])
    assert torch.equal(torch.get_rng_state(), before)


def test_fresh_seeds_have_64_bits():
    seeds = [backend.fresh_seed() for _ in range(64)]
    assert np.bitwise_or.reduce(np.array(seeds, np.uint64)) == 2**64 - 1
    assert np.bitwise_and.reduce(np.array(seeds, np.uint64)) == 0


def test_given_seeds_leave_the_generator_alone():
    before = torch.get_rng_state()
    he_normal_(torch.zeros(4, 3), seed=0)
    HE((4, 3), backend="torch", seed=0)
    initspec.zeros((4,), backend="torch")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"generator": 5}, InitspecTypeError, "generator: got 5"),
        ({"generator": torch.Generator(), "seed": 1}, InitspecValueError, "seed: got 1"),
        ({"seed": 2**64}, InitspecValueError, "seed"),
        ({"seed": 1.0}, InitspecTypeError, "seed"),
        ({"name": 1}, InitspecTypeError, "name"),
    ],
)
def test_bad_seeds_write_nothing(options, error, text):
    out = torch.zeros(4, 3)
    with pytest.raises(error, match=text):
        he_normal_(out, **options)
    assert not out.any()


# --- autograd -----------------------------------------------------------------------------------


def test_a_parameter_is_filled_outside_autograd():
    weight = torch.nn.Parameter(torch.zeros(4, 3))
    weight.grad = grad = torch.ones(4, 3)
    version = weight._version
    assert he_normal_(weight, seed=SEED, name=NAME) is weight
    assert_reference(weight)
    assert (weight.is_leaf, weight.requires_grad, weight.grad_fn) == (True, True, None)
    assert weight.grad is grad
    assert grad.eq(1).all()
    assert weight._version > version


def test_autograd_notices_that_a_saved_tensor_was_overwritten():
    weight = torch.nn.Parameter(torch.ones(4, 3))
    loss = (weight * weight).sum()
    he_normal_(weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_views_of_a_parameter_are_filled_one_by_one():
    fused = torch.nn.Parameter(torch.zeros(8, 3))
    for index, part in enumerate(fused.chunk(2)):
        assert he_normal_(part, seed=SEED, name=f"part{index}") is part
    he_normal_(fused.data[4:], seed=SEED, name="part1")
    assert_reference(fused[:4], name="part0")
    assert_reference(fused[4:], name="part1")
    assert fused.grad_fn is None


def test_inference_mode():
    with torch.inference_mode():
        made = HE((4, 3), backend="torch", seed=SEED, name=NAME)
        normal = torch.nn.Parameter(torch.zeros(4, 3))
        assert_reference(he_normal_(normal, seed=SEED, name=NAME))
        assert_reference(he_normal_(made.zero_(), seed=SEED, name=NAME))
    assert made.is_inference()
    assert_reference(made)


# --- refusals -----------------------------------------------------------------------------------


def inference_tensor():
    with torch.inference_mode():
        return torch.zeros(4, 3)


def freed(bytes_left, out=None):
    out = torch.zeros(24)[12:].view(4, 3) if out is None else out
    out.untyped_storage().resize_(bytes_left)
    return out


def wrapper():
    from torch.testing._internal.two_tensor import TwoTensor

    return TwoTensor(torch.zeros(4, 3), torch.zeros(4, 3))


def quantized():
    return torch.quantize_per_tensor(torch.zeros(4, 3), 0.1, 0, torch.qint8)


REFUSED = {
    "None": (lambda: None, TypeError, "NoneType.*backend 'torch'"),
    "array": (lambda: np.zeros((4, 3)), TypeError, "ndarray.*backend 'torch'"),
    "module": (lambda: torch.nn.Linear(3, 4), TypeError, "Linear.*one by one"),
    "sparse": (lambda: torch.zeros(4, 3).to_sparse(), TypeError, "sparse_coo.*dense"),
    "nested": (lambda: torch.nested.nested_tensor([torch.zeros(2)]), TypeError, "dense"),
    "quantized": (quantized, TypeError, "quantized.*dense"),
    "wrapper": (wrapper, TypeError, "TwoTensor.*DTensor"),
    "complex": (lambda: torch.zeros(4, 3, dtype=torch.complex64), TypeError, "dtype.*complex64"),
    "integer": (lambda: torch.zeros(4, 3, dtype=torch.int32), TypeError, "dtype.*int32"),
    "float8": (lambda: torch.zeros(4, 3).to(torch.float8_e5m2), TypeError, "dtype.*float8"),
    "expanded": (lambda: torch.zeros(1, 3).expand(4, 3), ValueError, "memory of its own"),
    "overlapping": (
        lambda: torch.zeros(9).as_strided((4, 3), (2, 1)),
        ValueError,
        r"shape \(4, 3\) with strides \(2, 1\).*memory of its own",
    ),
    "inference": (inference_tensor, ValueError, "inference tensor.*clone"),
    "lazy": (lambda: torch.nn.LazyLinear(3).weight, ValueError, "Run one batch"),
    "computed": (
        lambda: torch.zeros(4, 3, requires_grad=True) * 2,
        ValueError,
        "MulBackward0.*a leaf",
    ),
    "view of computed": (
        lambda: (torch.zeros(4, 3, requires_grad=True) * 2)[:2],
        ValueError,
        "a leaf",
    ),
    "freed": (lambda: freed(0), ValueError, "0 bytes.*96 bytes.*gather"),
    "freed in part": (lambda: freed(60), ValueError, "60 bytes.*96 bytes.*gather"),
    "freed between strides": (
        lambda: freed(52, torch.zeros(24).as_strided((4, 3), (6, 2))),
        ValueError,
        "52 bytes.*92 bytes.*gather",
    ),
    "negated": (
        lambda: torch.zeros(4, 3, dtype=torch.complex64).conj().imag,
        TypeError,
        "resolve_neg",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about nested and quantized tensors
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused(case, monkeypatch):
    monkeypatch.setattr(adapter, "fill", None)  # nothing gets so far
    make, kind, text = REFUSED[case]
    out = make()
    with pytest.raises(InitspecError, match=text) as caught:
        he_normal_(out, seed=0)
    assert isinstance(caught.value, kind)
    if out is not None:
        with pytest.raises(InitspecError, match=text):
            HE(out=out, backend="torch", seed=0)


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_tensor_is_refused():
    import torch.distributed as dist
    from torch.distributed.tensor import DeviceMesh, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        out = distribute_tensor(torch.zeros(4, 3), DeviceMesh("cpu", [0]))
        with pytest.raises(InitspecTypeError, match=r"DTensor.*distribute"):
            he_normal_(out)
    finally:
        dist.destroy_process_group()


def test_arguments_that_contradict_out_are_refused():
    out = torch.zeros(4, 3)
    for wrong in ({"shape": (3, 4)}, {"dtype": "float64"}, {"device": "cpu"}):
        with pytest.raises(InitspecValueError, match=next(iter(wrong))):
            HE(out=out, **wrong)
    assert not out.any()
    assert HE((4, 3), out=out, dtype=torch.float32) is out


# --- to the host --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_to_host(dtype):
    tensor = torch.randn(3, 4).to(getattr(torch, dtype)).T.requires_grad_()
    host = backend.to_host(tensor)
    assert host.shape == (4, 3)
    if dtype == "bfloat16":
        assert host.dtype == np.uint16
        host = (host.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(host, tensor.detach().to(torch.float64).numpy())


def test_to_host_takes_negated_views_and_refuses_what_has_no_values():
    negated = torch.tensor([1 + 2j]).conj().imag
    assert backend.to_host(negated).tolist() == [-2.0]
    for wrong in (torch.zeros(2, device="meta"), np.zeros(2), torch.zeros(2).to_sparse()):
        with pytest.raises(InitspecTypeError, match="tensor: got"):
            backend.to_host(wrong)


def test_the_registry_knows_tensors_and_parameters():
    for out in (torch.zeros(4, 3), torch.nn.Parameter(torch.zeros(4, 3))):
        assert registry.choose(None, out) is backend
