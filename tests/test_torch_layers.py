"""Every layer of torch.nn: its logical tensors, their values, and the function they make."""

import numpy as np
import pytest
from samples import bits

import initspec

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_model_checks import LAYERS, QKV, drawn, initialise, logical, values  # noqa: E402

from initspec_torch.model import open_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_holds_its_logical_tensors(name):
    make, kind, expected = LAYERS[name]
    model = open_model(nn.ModuleDict({"layer": make()}))
    parts = [part for stored in model.tensors() for part in stored.parts]
    assert len({part.path for part in parts}) == len(parts)
    found = {part.path: (part.role, part.geometry.counts) for part in parts}
    assert found == {f"layer/{path}": value for path, value in expected.items()}
    assert {part.kind for part in parts} == {kind}
    assert not any(stored.problem for stored in model.tensors())


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_part_gets_the_values_of_its_path(name, dtype):
    module = LAYERS[name][0]().to(getattr(torch, dtype))
    for tensor in module.state_dict().values():
        tensor.fill_(7)
    model = initialise(module)
    for stored in model.tensors():
        for part in stored.parts:
            given = values(model, part, stored.name).reshape(part.geometry.counts)
            expected = drawn(part, stored.dtype) if stored.dtype == dtype else np.zeros(1, "i8")
            assert bits(given).tolist() == bits(expected.reshape(given.shape)).tolist(), part.path
    assert not any((tensor == 7).any() for tensor in module.state_dict().values())


def test_what_no_rule_decides():
    pinned = {
        part.path: part.value
        for name in ("lstm", "gru", "rnn cell", "batch norm 2d")
        for part in (p for s in open_model(LAYERS[name][0]()).tensors() for p in s.parts)
        if part.value is not None
    }
    gates = ("i", "f", "g", "o", "r", "z")
    expected = {f"{gate}/recurrent_bias" for gate in gates} | {"recurrent_bias", "count"}
    assert pinned == dict.fromkeys(expected, 0.0)  # not n: its second bias is scaled by r


def test_layouts_know_strides_and_groups():
    layer = nn.ConvTranspose2d(6, 4, 3, stride=(2, 3), groups=2)
    layout = open_model(layer).tensors()[0].parts[0].layout
    assert (layout.pattern, layout.stride, layout.transposed) == ("(G I) O H W", 6, True)


# --- the function of a layer, from its logical tensors ------------------------------------------


def run(module, *inputs):
    with torch.no_grad():
        out = module(*(torch.from_numpy(each) for each in inputs))
    return (out[0] if isinstance(out, tuple) else out).numpy()


def sample(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def windows(size, kernel):
    return np.ndindex(*(n - k + 1 for n, k in zip(size, kernel, strict=True)))


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "grouped", "depthwise"])
def test_convolutions(name):
    layer = LAYERS[name][0]().double()
    found, x = (
        logical(initialise(layer)),
        sample(1, layer.in_channels, *(6, 7, 6)[: layer.weight.ndim - 2]),
    )
    kernel = found["kernel"].reshape(layer.groups, -1, *layer.weight.shape[1:])
    groups = x.reshape(layer.groups, -1, *x.shape[2:])
    expected = np.zeros(run(layer, x).shape[1:])
    for at in windows(x.shape[2:], layer.kernel_size):
        cut = tuple(slice(a, a + k) for a, k in zip(at, layer.kernel_size, strict=True))
        seen = groups[(slice(None), slice(None), *cut)]
        axes = tuple(range(2, kernel.ndim))
        each = (kernel * seen[:, None]).sum(axis=axes)
        expected[(slice(None), *at)] = each.ravel() + found["bias"]
    assert run(layer, x)[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("transposed")])
def test_transposed_convolutions(name):
    layer = LAYERS[name][0]().double()
    found, x = (
        logical(initialise(layer)),
        sample(1, layer.in_channels, *(3, 4, 3)[: layer.weight.ndim - 2]),
    )
    made = run(layer, x)
    per = layer.in_channels // layer.groups
    kernel = found["kernel"].reshape(layer.groups, -1, per, *layer.kernel_size)  # G O I and space
    expected = np.zeros((layer.groups, kernel.shape[1], *made.shape[2:]))
    for at in np.ndindex(*x.shape[2:]):
        where = (a * s for a, s in zip(at, layer.stride, strict=True))
        cut = tuple(slice(a, a + k) for a, k in zip(where, layer.kernel_size, strict=True))
        value = x[(0, slice(None), *at)].reshape(layer.groups, per)
        expected[(..., *cut)] += np.einsum("goi...,gi->go...", kernel, value)
    expected = expected.reshape(made.shape[1:]) + found["bias"].reshape(-1, *[1] * (x.ndim - 2))
    assert made[0] == pytest.approx(expected)


def test_linear_and_bilinear():
    layer, x, y = nn.Linear(3, 2).double(), sample(4, 3), sample(4, 5)
    found = logical(initialise(layer))
    assert run(layer, x) == pytest.approx(x @ found["kernel"].T + found["bias"])
    layer = nn.Bilinear(3, 5, 2).double()
    found = logical(initialise(layer))
    expected = np.einsum("bi,oij,bj->bo", x, found["kernel"], y) + found["bias"]
    assert run(layer, x, y) == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [(6, 6), (3, 4)])
def test_attention(sizes):
    layer = nn.MultiheadAttention(6, 2, kdim=sizes[0], vdim=sizes[1], add_bias_kv=True).double()
    given = {"query": sample(3, 6), "key": sample(4, sizes[0]), "value": sample(4, sizes[1])}
    found = logical(initialise(layer))
    seen = {
        name: x @ found[f"{name}/kernel"].T + found[f"{name}/bias"] for name, x in given.items()
    }
    for name in ("key", "value"):
        seen[name] = np.vstack([seen[name], found[f"{name}/added"].reshape(1, 6)])
    query, key, value = (seen[name].reshape(-1, 2, 3).swapaxes(0, 1) for name in QKV)
    weights = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(3))
    heads = weights / weights.sum(-1, keepdims=True) @ value
    expected = heads.swapaxes(0, 1).reshape(3, 6) @ found["out/kernel"].T + found["out/bias"]
    assert run(layer, *given.values()) == pytest.approx(expected)


def lstm(w, x, state):
    h, c = state
    i, f, g, o = (w[f"{n}/kernel"] @ x + w[f"{n}/bias"] + w[f"{n}/recurrent"] @ h for n in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return w["projection/kernel"] @ h if "projection/kernel" in w else h, c


def gru(w, x, state):
    (h,) = state
    r, z = (sigmoid(w[f"{n}/kernel"] @ x + w[f"{n}/bias"] + w[f"{n}/recurrent"] @ h) for n in "rz")
    again = w["n/recurrent"] @ h + w["n/recurrent_bias"]
    return ((1 - z) * np.tanh(w["n/kernel"] @ x + w["n/bias"] + r * again) + z * h,)


def rnn(w, x, state):
    return (np.tanh(w["kernel"] @ x + w["bias"] + w["recurrent"] @ state[0]),)


STEPS = {"lstm": lstm, "gru": gru, "rnn": rnn}


def unrolled(step, w, xs, hidden, state):
    state = (np.zeros(hidden),) if step is not lstm else (np.zeros(hidden), np.zeros(state))
    out = []
    for x in xs:
        state = step(w, x, state)
        out.append(state[0])
    return np.stack(out)


def below(found, prefix):
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


@pytest.mark.parametrize(
    ("name", "layers", "ways", "hidden"),
    [
        ("lstm", ("",), ("",), 5),
        ("lstm, projected", ("",), ("",), 2),
        ("lstm, two layers both ways", ("0/", "1/"), ("forward/", "backward/"), 5),
        ("gru", ("",), ("",), 5),
        ("rnn", ("",), ("forward/", "backward/"), 5),
    ],
)
def test_recurrent_layers(name, layers, ways, hidden):
    module, x = LAYERS[name][0]().double(), sample(4, 3)
    found, seen = logical(initialise(module)), x
    for layer in layers:
        outs = []
        for way in ways:
            turn = slice(None, None, -1 if way == "backward/" else 1)
            w = below(found, layer + way)
            outs.append(unrolled(STEPS[name[:4].strip(",")], w, seen[turn], hidden, 5)[turn])
        seen = np.concatenate(outs, axis=1)
    assert run(module, x) == pytest.approx(seen)


@pytest.mark.parametrize("name", ["lstm cell", "gru cell", "rnn cell"])
def test_cells(name):
    module, x = LAYERS[name][0]().double(), sample(1, 3)
    expected = unrolled(STEPS[name.partition(" ")[0]], logical(initialise(module)), x, 5, 5)
    assert run(module, x) == pytest.approx(expected)


def test_embeddings_and_norms():
    table = nn.Embedding(7, 3, padding_idx=2).double()
    found = logical(initialise(table))["embedding"]
    assert run(table, np.array([2, 5])) == pytest.approx(found[[2, 5]])
    assert not found[2].any()
    assert found[[0, 1, 3, 4, 5, 6]].all()
    layer, x = nn.BatchNorm1d(3).double().eval(), sample(4, 3)
    initialise(layer, initspec.uniform(0.5, 2.0))
    w = logical(open_model(layer))
    normed = (x - w["mean"]) / np.sqrt(w["variance"] + layer.eps)
    assert run(layer, x) == pytest.approx(normed * w["scale"] + w["offset"])
    assert layer.num_batches_tracked == 0
