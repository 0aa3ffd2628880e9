"""What the tests of torch modules share: layers, writes, and logical tensors."""

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.fill_plan import FillPlan
from initspec.layout import Layout
from initspec.models.model import Piece, Write

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from initspec_torch.model import open_model  # noqa: E402

SEED = 0xC90FDAA2_2168C234
INIT = initspec.normal(std=0.3)


def plan_of(part, init=INIT):
    init = init if part.value is None else initspec.constant(part.value)
    return init.plan(part.shape, layout=part.layout, keys=(stream.key(SEED, part.path),))


def write_of(stored, init=INIT):
    floating = stored.dtype not in ("int64", "int32")
    return Write(
        stored,
        tuple(
            Piece(part, plan_of(part, init)) if floating else Piece(part, None, part.value)
            for part in stored.parts
        ),
    )


def initialise(module, init=INIT, layers=None):
    """All known tensors drawn by path."""
    model = open_model(module, layers)
    written = model.write([write_of(s, init) for s in model.tensors() if s.parts])
    assert written is module
    return model


def values(model, part, name):
    """A logical tensor in canonical order, with a factor for each letter."""
    return part.geometry.canonical(part.view(model.read(name)))


def logical(model):
    """All logical tensors of a float32 or float64 model, by path."""
    return {
        part.path: np.array(values(model, part, stored.name), np.float64)
        for stored in model.tensors()
        for part in stored.parts
    }


def drawn(part, dtype):
    """What a part holds by its path and coordinates alone, in whatever layout it is stored."""
    geometry = Layout.parse("SOI").bind(part.geometry.counts)
    given = plan_of(part)
    storage = {"bfloat16": "u2"}.get(dtype, dtype)
    out = np.empty(geometry.shape, storage)
    stream.fill(FillPlan(geometry, given.content, given.keys), out, dtype)
    for row in part.zero_rows:
        out[:, row] = 0
    return out


def snapshot(module):
    """Every byte of the parameters and buffers, and every version."""
    found = [*module.named_parameters(), *module.named_buffers()]
    return [
        (name, t.detach().reshape(-1).view(torch.uint8).tolist(), t._version) for name, t in found
    ]


def assert_unchanged(module, before):
    assert snapshot(module) == before


def by_name(model):
    return {stored.name: stored for stored in model.tensors()}


def paths(model):
    return [part.path for stored in model.tensors() for part in stored.parts]


def name_of(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


# --- every layer of torch.nn --------------------------------------------------------------------


def biases(*names):
    return {f"{name}/bias": ("bias", (1, 5, 1)) for name in names}


def norm(*counts, statistics=False):
    scale = {name: (name, counts) for name in ("scale", "offset")}
    moving = dict.fromkeys(("mean", "variance"), ("statistic", counts))
    return scale | moving | {"count": ("statistic", (1, 1, 1))} if statistics else scale


def dense(out, into, leaf="kernel"):
    return {leaf: (leaf, (1, out, into)), "bias": ("bias", (1, out, 1))}


def gates(names, prefix="", into=3, state=5, hidden=5, second=True):
    found = {}
    for name in names:
        found |= {
            f"{prefix}{name}kernel": ("kernel", (1, hidden, into)),
            f"{prefix}{name}recurrent": ("recurrent", (1, hidden, state)),
        }
    for leaf in ("bias", "recurrent_bias") if second else ():
        found |= {f"{prefix}{name}{leaf}": ("bias", (1, hidden, 1)) for name in names}
    return found


LSTM, GRU, RNN = ("i/", "f/", "g/", "o/"), ("r/", "z/", "n/"), ("",)
QKV = ("query", "key", "value")


def attention(key=6, value=6, bias=True, added=False):
    into = {"query": 6, "key": key, "value": value, "out": 6}
    found = {f"{name}/kernel": ("kernel", (1, 6, size)) for name, size in into.items()}
    found |= {f"{name}/bias": ("bias", (1, 6, 1)) for name in into} if bias else {}
    return found | ({f"{n}/added": ("other", (1, 6, 1)) for n in ("key", "value")} if added else {})


LAYERS = {
    "linear": (lambda: nn.Linear(3, 2), "dense", dense(2, 3)),
    "linear, no bias": (
        lambda: nn.Linear(3, 2, bias=False),
        "dense",
        {"kernel": ("kernel", (1, 2, 3))},
    ),
    "a linear that quantises": (
        lambda: nn.modules.linear.NonDynamicallyQuantizableLinear(3, 2),
        "dense",
        dense(2, 3),
    ),
    "bilinear": (lambda: nn.Bilinear(3, 4, 2), "dense", dense(2, 12)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 5), "conv", dense(4, 15)),
    "conv2d": (lambda: nn.Conv2d(3, 4, (2, 5)), "conv", dense(4, 30)),
    "conv3d": (lambda: nn.Conv3d(3, 4, (2, 3, 5)), "conv", dense(4, 90)),
    "grouped": (lambda: nn.Conv2d(6, 9, (2, 1), groups=3), "conv", dense(9, 4)),
    "depthwise": (lambda: nn.Conv2d(3, 6, (2, 5), groups=3), "depthwise", dense(6, 10)),
    "one channel": (lambda: nn.Conv2d(1, 6, (2, 5)), "conv", dense(6, 10)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(3, 4, 5, 2), "conv_transpose", dense(4, 15)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(3, 4, (2, 5)), "conv_transpose", dense(4, 30)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(3, 4, 2), "conv_transpose", dense(4, 24)),
    "transposed, groups": (
        lambda: nn.ConvTranspose2d(6, 9, (2, 5), groups=3),
        "conv_transpose",
        dense(9, 20),
    ),
    "embedding": (
        lambda: nn.Embedding(7, 3, padding_idx=-1),
        "embedding",
        {"embedding": ("embedding", (1, 7, 3))},
    ),
    "bag": (
        lambda: nn.EmbeddingBag(7, 3),
        "embedding",
        {"embedding": ("embedding", (1, 7, 3))},
    ),
    "attention": (lambda: nn.MultiheadAttention(6, 2), "attention", attention()),
    "attention, all different": (
        lambda: nn.MultiheadAttention(6, 2, kdim=3, vdim=4, add_bias_kv=True),
        "attention",
        attention(3, 4, added=True),
    ),
    "attention, no bias": (
        lambda: nn.MultiheadAttention(6, 2, bias=False),
        "attention",
        attention(bias=False),
    ),
    "lstm": (lambda: nn.LSTM(3, 5), "lstm", gates(LSTM)),
    "lstm, no bias": (lambda: nn.LSTM(3, 5, bias=False), "lstm", gates(LSTM, second=False)),
    "lstm, projected": (
        lambda: nn.LSTM(3, 5, proj_size=2),
        "lstm",
        gates(LSTM, state=2) | {"projection/kernel": ("kernel", (1, 2, 5))},
    ),
    "lstm, two layers both ways": (
        lambda: nn.LSTM(3, 5, num_layers=2, bidirectional=True),
        "lstm",
        {
            key: value
            for layer, into in ((0, 3), (1, 10))
            for way in ("forward", "backward")
            for key, value in gates(LSTM, f"{layer}/{way}/", into).items()
        },
    ),
    "gru": (lambda: nn.GRU(3, 5), "gru", gates(GRU)),
    "rnn": (
        lambda: nn.RNN(3, 5, bidirectional=True),
        "rnn",
        gates(RNN, "forward/") | gates(RNN, "backward/"),
    ),
    "lstm cell": (lambda: nn.LSTMCell(3, 5), "lstm", gates(LSTM)),
    "gru cell": (lambda: nn.GRUCell(3, 5), "gru", gates(GRU)),
    "rnn cell": (lambda: nn.RNNCell(3, 5), "rnn", gates(RNN)),
    "layer norm": (lambda: nn.LayerNorm(3), "norm", norm(1, 3, 1)),
    "layer norm of two axes": (lambda: nn.LayerNorm((3, 4)), "norm", norm(1, 12, 1)),
    "rms norm": (lambda: nn.RMSNorm(3), "norm", {"scale": ("scale", (1, 3, 1))}),
    "group norm": (lambda: nn.GroupNorm(2, 4), "norm", norm(1, 4, 1)),
    "batch norm 1d": (lambda: nn.BatchNorm1d(3), "norm", norm(1, 3, 1, statistics=True)),
    "batch norm 2d": (lambda: nn.BatchNorm2d(3), "norm", norm(1, 3, 1, statistics=True)),
    "batch norm 3d": (lambda: nn.BatchNorm3d(3), "norm", norm(1, 3, 1, statistics=True)),
    "instance norm": (lambda: nn.InstanceNorm2d(3, affine=True), "norm", norm(1, 3, 1)),
    "prelu": (lambda: nn.PReLU(4), "other", {"slope": ("slope", (1, 4, 1))}),
}
