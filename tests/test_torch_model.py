"""Modules of torch: names, ties, parametrizations, what is refused, and writing."""

import tracemalloc

import numpy as np
import pytest

from initspec import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models.model import Piece, Write
from initspec.models.slots import Slot, Split

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_model_checks import (  # noqa: E402
    QKV,
    assert_unchanged,
    by_name,
    drawn,
    initialise,
    logical,
    name_of,
    paths,
    plan_of,
    snapshot,
    values,
    write_of,
)

from initspec_torch import model as adapter  # noqa: E402
from initspec_torch.model import open_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


# --- names and paths ----------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(3, 3)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(3, 3), nn.ReLU()) for _ in range(2)])
        self.attend = nn.MultiheadAttention(6, 2)

    def forward(self, x):
        return self.blocks[1](self.blocks[0](self.module(x)))


NET_PATHS = [
    "module/kernel",
    "module/bias",
    *(f"blocks/{i}/0/{leaf}" for i in range(2) for leaf in ("kernel", "bias")),
    *(f"attend/{name}/{leaf}" for leaf in ("kernel", "bias") for name in QKV),
    "attend/out/kernel",
    "attend/out/bias",
]


def test_paths_are_attributes():
    model = open_model(Net())
    assert paths(model) == NET_PATHS
    stored = by_name(model)["attend.out_proj.weight"]
    assert (stored.path, stored.layer.rpartition(".")[2]) == (
        "attend/out_proj",
        "NonDynamicallyQuantizableLinear",
    )


def checkpointed(net):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    net.blocks[0] = checkpoint_wrapper(net.blocks[0])
    net.attend.out_proj = checkpoint_wrapper(net.attend.out_proj)
    return net


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # what the compiler imports
@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.optim.swa_utils.AveragedModel,
        torch.compile,
        lambda net: torch.compile(nn.DataParallel(net)),
        checkpointed,
    ],
)
def test_wrappers_leave_no_trace_in_paths(wrap):
    net = Net()
    model = open_model(wrap(net))
    assert paths(model) == NET_PATHS
    kept = [stored for stored in model.tensors() if not stored.parts]
    assert all(stored.buffer and not stored.problem for stored in kept)
    assert {name.count("module") for name in by_name(model)} <= {0, 1, 2}
    initialise(net)
    plain = logical(open_model(net))
    wrapped = logical(initialise(wrap(Net())))
    assert all((wrapped[path] == value).all() for path, value in plain.items())


def test_knobs():
    net = nn.Sequential(
        nn.BatchNorm1d(2, eps=1e-3, momentum=0.01),
        nn.LayerNorm(2),
        nn.LayerNorm(2, elementwise_affine=False, eps=1e-6),
        nn.RMSNorm(2),  # its epsilon depends on the dtype
        nn.BatchNorm1d(2, momentum=None),
        nn.BatchNorm1d(2, track_running_stats=False),
        nn.Linear(2, 2),
    )
    net.append(net[1])
    found = [(knob.path, knob.name, knob.value) for knob in open_model(net).knobs()]
    assert found == [
        ("0", "norm_epsilon", 1e-3),
        ("0", "batch_norm_momentum", 0.01),
        ("1", "norm_epsilon", 1e-5),
        ("2", "norm_epsilon", 1e-6),
        ("4", "norm_epsilon", 1e-5),
        ("5", "norm_epsilon", 1e-5),
    ]


def test_tied_tensors_are_stored_once():
    net = nn.ModuleDict({"tok": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    net["head"].weight = net["tok"].weight
    (stored,) = open_model(net).tensors()
    assert stored.name == "tok.weight"
    assert [part.path for part in stored.parts] == ["tok/embedding"]
    ((alias, parts),) = stored.aliases
    assert (alias, [part.path for part in parts]) == ("head.weight", ["head/kernel"])
    model = initialise(net)
    assert (model.read("head.weight") == model.read("tok.weight")).all()


def test_ties_through_memory_and_through_modules():
    shared = nn.Linear(3, 3)
    net = nn.ModuleList([shared, nn.Linear(3, 3), shared])
    net[1].weight.data = shared.weight.data
    found = {s.name: [name for name, _ in s.aliases] for s in open_model(net).tensors()}
    assert found == {"0.weight": ["1.weight", "2.weight"], "0.bias": ["2.bias"], "1.bias": []}
    bare = open_model(net.to("meta"))
    assert [s.name for s in bare.tensors()][:2] == ["0.weight", "0.bias"]


def test_ties_that_got_lost_are_noticed():
    with torch.device("meta"):
        net = nn.ModuleDict({"tok": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    net["head"].weight = net["tok"].weight
    model = open_model(net)
    net.to_empty(device="cpu")
    with pytest.raises(InitspecValueError, match=r"tok\.weight: .*head\.weight.*Tie them again"):
        model.write([write_of(stored) for stored in model.tensors()])
    net["head"].weight = net["tok"].weight
    model.write([write_of(stored) for stored in model.tensors()])
    assert (model.read("head.weight") == model.read("tok.weight")).all()


def test_memory_shared_in_part_is_a_problem():
    net = nn.ModuleList([nn.Linear(4, 4, bias=False) for _ in range(2)])
    net[1].weight = nn.Parameter(net[0].weight.data.t())
    first, second = open_model(net).tensors()
    assert not first.problem
    assert "shares a part of its memory with '0.weight'" in second.problem
    both = torch.zeros(4, 8)
    net[0].weight, net[1].weight = (nn.Parameter(half) for half in both.chunk(2, dim=1))
    assert not any(stored.problem for stored in open_model(net).tensors())


# --- tables of the user -------------------------------------------------------------------------


class Scaled(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        self.gamma = nn.Parameter(torch.ones(2))


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(2, 5, 12))
        self.child = nn.Linear(3, 4)
        self.register_buffer("table", torch.ones(3, dtype=torch.complex64).expand(2, 3))


def test_a_class_that_nobody_knows_has_no_parts():
    stored = by_name(open_model(Packed()))
    assert stored["kernel"].parts == ()
    assert (stored["kernel"].buffer, stored["kernel"].problem) == (False, "")
    assert (stored["table"].buffer, stored["table"].parts, stored["table"].problem) == (
        True,
        (),
        "",
    )
    assert stored["child.weight"].parts


def test_what_a_subclass_adds_is_unknown():
    stored = by_name(open_model(Scaled()))
    assert [bool(stored[name].parts) for name in ("weight", "bias", "gamma")] == [True, True, False]


def test_a_row_that_does_not_fit_is_no_guess():
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.zeros(4, 2, 3))
    stored = by_name(open_model(layer))["weight"]
    assert (stored.parts, stored.problem) == ((), "")


def test_the_user_comes_first():
    slot = Slot(path="own", role="kernel", layout="IO")
    layers = {name_of(Scaled): {"weight": (slot,)}}
    (part,) = by_name(open_model(Scaled(), layers))["weight"].parts
    assert (part.path, part.layout.pattern) == ("own", "IO")


def test_a_parent_speaks_for_its_children_and_the_user_for_both():
    parent = Slot(path="c/kernel", role="kernel", layout="IO")
    own = Slot(path="d/kernel", role="kernel", layout="OI")
    layers = {name_of(Packed): {"child.weight": (parent,)}}
    net = nn.ModuleDict({"net": Packed()})
    (part,) = by_name(open_model(net, layers))["net.child.weight"].parts
    assert (part.path, part.layout.pattern) == ("net/c/kernel", "IO")
    layers[name_of(nn.Linear)] = {"weight": (own,)}
    (part,) = by_name(open_model(net, layers))["net.child.weight"].parts
    assert part.path == "net/c/kernel"
    layers = {name_of(nn.Linear): {"weight": (own,)}}
    net = nn.ModuleDict({"net": nn.MultiheadAttention(6, 2)})
    (part,) = by_name(open_model(net, layers))["net.out_proj.weight"].parts
    assert part.path == "net/out_proj/d/kernel"


LAYER = Split(axis=0, parts=("0", "1"), capture="i", stacked=True)
PACKED = Slot(
    path="{i}/{part}",
    role="kernel",
    layout="WO",
    splits=(LAYER, Split(axis=2, parts=("a", "b", "c"))),
    flip=True,
    negate=("b",),
)


def test_stacks_splits_flips_and_signs():
    model = initialise(Packed(), layers={name_of(Packed): {"kernel": (PACKED,)}})
    stored = by_name(model)["kernel"]
    assert [part.path for part in stored.parts] == [f"{i}/{p}" for i in "01" for p in "abc"]
    for part in stored.parts:
        sign = -1 if part.path.endswith("b") else 1
        expected = sign * drawn(part, "float32").reshape(4, 5)
        assert (values(model, part, "kernel") == expected).all()


def test_a_user_s_layout_has_to_fit():
    layers = {name_of(Packed): {"kernel": (Slot(path="kernel", role="kernel", layout="OI"),)}}
    stored = by_name(open_model(Packed(), layers))["kernel"]
    assert stored.parts == ()
    assert "as many axes as the shape (2, 5, 12)" in stored.problem


# --- tensors without memory, or of other kinds --------------------------------------------------


def test_lazy_modules_ask_for_a_batch():
    net = nn.Sequential(nn.LazyConv2d(3, 2), nn.LazyBatchNorm2d())
    for stored in open_model(net).tensors():
        if stored.name != "1.num_batches_tracked" and not stored.name.endswith("0.bias"):
            assert "Run one batch through the model first" in stored.problem, stored
            assert (stored.shape, stored.parts) == ((), ())
    with pytest.raises(InitspecValueError, match="Run one batch"):
        open_model(net).write([Write(open_model(net).tensors()[0], ())])
    net(torch.zeros(1, 2, 4, 4))
    assert not any(stored.problem for stored in open_model(net).tensors())
    assert len(paths(initialise(net))) == 7


def test_meta_models_are_planned_and_not_written():
    with torch.device("meta"):
        net = Net()
    model = open_model(net)
    assert paths(model) == NET_PATHS
    assert not any(stored.problem for stored in model.tensors())
    with pytest.raises(InitspecValueError, match=r"blocks\.0\.0\.weight.*to_empty"):
        model.write([write_of(by_name(model)["blocks.0.0.weight"])])
    with pytest.raises(InitspecTypeError, match="to_empty"):
        model.read("module.weight")
    net.to_empty(device="cpu")
    model.write([write_of(stored) for stored in model.tensors()])  # the new tensors
    assert (model.read("module.weight") == logical(initialise(Net()))["module/kernel"]).all()


def test_one_meta_tensor_stops_all():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"))
    model, before = open_model(net), snapshot(net[0])
    with pytest.raises(InitspecValueError, match=r"1\.weight, 1\.bias"):
        model.write([write_of(stored) for stored in model.tensors()])
    assert_unchanged(net[0], before)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(3, 3, dtype=torch.complex64), "complex64"),
        (torch.zeros(3, 3).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (torch.zeros(3, 3, dtype=torch.int8), "int8"),
        (torch.zeros(3, 1).expand(3, 3), "memory of its own"),
        (torch.zeros(3, 3).to_sparse(), "dense"),
    ],
)
def test_what_cannot_be_written_is_a_problem_and_stops_all(tensor, words):
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    net[1].weight = nn.Parameter(tensor, requires_grad=False)
    model, before = open_model(net), snapshot(net[0])
    *good, bad = model.tensors()
    assert words in bad.problem
    assert not any(stored.problem for stored in good)
    with pytest.raises(InitspecError, match=words) as caught:
        model.write([*map(write_of, good), Write(bad, ())])
    assert caught.value.where == "1.weight"
    assert_unchanged(net[0], before)


def test_distributed_tensors_are_a_problem():
    from torch.testing._internal.two_tensor import TwoTensor  # wraps others, as a DTensor does

    layer = nn.Linear(3, 3)
    layer.weight = nn.Parameter(TwoTensor(torch.zeros(3, 3), torch.zeros(3, 3)))
    assert "DTensor" in by_name(open_model(layer))["weight"].problem


def test_freed_memory_is_a_problem():
    layer = nn.Linear(3, 3)
    layer.weight.untyped_storage().resize_(0)
    assert "gather the full parameters" in by_name(open_model(layer))["weight"].problem


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: Write(
            s, (Piece(s.parts[0], plan_of(open_model(nn.Linear(2, 2)).tensors()[0].parts[0])),)
        ),
        lambda s: Write(s, (Piece(s.parts[0], None, 1.0),)),
        lambda s: Write(open_model(nn.Linear(9, 9)).tensors()[0], ()),
        lambda s: Write(open_model(nn.Sequential(nn.Linear(3, 3))).tensors()[0], ()),
        lambda s: Write(open_model(nn.Linear(3, 3).double()).tensors()[0], ()),
    ],
    ids=["another shape", "no plan", "another model", "another name", "another dtype"],
)
def test_writes_that_do_not_fit_are_refused(spoil):
    layer = nn.Linear(3, 3)
    model, before = open_model(layer), snapshot(layer)
    weight, bias = model.tensors()
    with pytest.raises(InitspecValueError):
        model.write([write_of(bias), spoil(weight)])
    assert_unchanged(layer, before)


def test_what_changed_since_it_was_opened_is_noticed():
    layer = nn.Linear(3, 3)
    model, before = open_model(layer), layer.bias.detach().clone()
    layer.weight = nn.Parameter(torch.zeros(3, 1).expand(3, 3))
    with pytest.raises(InitspecValueError, match=r"weight: .*memory of its own"):
        model.write([write_of(stored) for stored in reversed(model.tensors())])
    assert layer.bias.equal(before)


def test_a_count_takes_no_plan():
    layer = nn.BatchNorm1d(3)
    model, before = open_model(layer), snapshot(layer)
    (stored,) = (s for s in model.tensors() if s.name == "num_batches_tracked")
    with pytest.raises(InitspecValueError, match="not floating-point"):
        model.write([Write(stored, (Piece(stored.parts[0], plan_of(stored.parts[0])),))])
    assert_unchanged(layer, before)


def test_what_is_frozen_stays_frozen_and_autograd_sees_the_write():
    layer = nn.Linear(3, 3)
    layer.weight.requires_grad_(False)
    objects, out = [layer.weight, layer.bias], layer.bias.exp()
    model = initialise(layer)
    assert [stored.trainable for stored in model.tensors()] == [False, True]
    assert [layer.weight.requires_grad, layer.bias.requires_grad] == [False, True]
    assert all(now is before for now, before in zip(layer.parameters(), objects, strict=True))
    assert layer.bias.grad_fn is None
    loss = (layer.bias**2).sum()
    initialise(layer)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    del out


def test_other_tensors_and_other_parts_are_left_alone():
    layer = nn.LSTM(3, 5)
    model, before = open_model(layer), layer.weight_ih_l0.detach().clone()
    versions = [parameter._version for parameter in layer.parameters()]
    stored = model.tensors()[0]
    model.write([Write(stored, (Piece(stored.parts[1], plan_of(stored.parts[1])),))])
    changed = (layer.weight_ih_l0 != before).all(dim=1).tolist()
    assert changed == [5 <= row < 10 for row in range(20)]
    assert (layer.weight_ih_l0 == before).all(dim=1).tolist() == [not each for each in changed]
    assert [p._version > v for p, v in zip(layer.parameters(), versions, strict=True)] == [
        True,
        False,
        False,
        False,
    ]


def test_any_strides():
    plain = initialise(nn.Conv2d(3, 4, 5))
    last = nn.Conv2d(3, 4, 5).to(memory_format=torch.channels_last)
    turned = nn.Conv2d(3, 4, 5)
    turned.weight = nn.Parameter(torch.zeros(5, 5, 3, 8)[..., ::2].permute(3, 2, 0, 1))
    for layer in (last, turned):
        strides = layer.weight.stride()
        assert (initialise(layer).read("weight") == plain.read("weight")).all()
        assert layer.weight.stride() == strides != plain._module.weight.stride()


def test_what_is_read_is_not_to_be_written():
    model = open_model(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="read-only"):
        model.read("weight")[0] = 1
    with pytest.raises(InitspecValueError, match="Did you mean 'weight'"):
        model.read("wieght")
    assert open_model(nn.Linear(3, 3).bfloat16()).read("weight").dtype == np.uint16


@pytest.mark.parametrize("given", [nn.Linear, {}, None])
def test_a_model_is_a_module(given):
    with pytest.raises(InitspecTypeError, match=r"torch\.nn\.Module"):
        open_model(given)


def test_other_devices_are_written_region_by_region(monkeypatch):
    centred = Slot(path="scale", role="scale", layout="O", kind="norm", shift=1.0)
    net = nn.ModuleList([Packed(), nn.LSTM(3, 5), nn.Embedding(5, 3, padding_idx=1)])
    net.extend([nn.BatchNorm1d(3), nn.LayerNorm(9), nn.LayerNorm(9).bfloat16()])
    layers = {name_of(Packed): {"kernel": (PACKED,)}, name_of(nn.LayerNorm): {"weight": (centred,)}}
    expected = logical(initialise(net, layers=layers))
    for tensor in net.state_dict().values():
        tensor.fill_(7)

    def fill(tensor, write):  # as on a device that is not the CPU
        for piece in write.pieces:
            adapter._fill_region(tensor, piece)

    monkeypatch.setattr(adapter, "_fill", fill)
    found = logical(initialise(net, layers=layers))
    assert all((found[path] == value).all() for path, value in expected.items())


def test_no_temporary_of_a_tensor_s_size():
    net = nn.Linear(2048, 2048)
    model = open_model(net)
    writes = [write_of(stored) for stored in model.tensors()]
    tracemalloc.start()
    model.write(writes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20  # of 2**24 bytes
