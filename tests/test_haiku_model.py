"""Haiku: every row of the layer table in a forward pass against torch with the same tensors."""

import numpy as np
import pytest
from tree_checks import (
    close,
    data,
    drawn,
    logical,
    parts,
    stored,
    tensor,
    vector,
    write_for,
)

import initspec
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.models.model import Piece, Write
from initspec.models.slots import Slot

hk = pytest.importorskip("haiku")
jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jnp = jax.numpy
module = pytest.importorskip("initspec_jax.haiku")
Haiku, haiku_model = module.Haiku, module.haiku_model

F = torch.nn.functional


def of(layer, *args, **options):
    """A function that makes a layer and calls it, as Haiku wants it."""

    def net(inputs):
        return layer(*args, **options)(inputs)

    return net


def run(net, *inputs, **options):
    """The model of a function, and its output with all tensors drawn."""
    function = hk.transform(net)
    model = haiku_model(Haiku(function, *inputs), {})
    return model, np.asarray(function.apply(drawn(model), None, *inputs))


def first(array):
    """Channels first."""
    return tensor(np.moveaxis(array, -1, 1))


def last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def test_a_linear_layer():
    x = data(5, 3)
    model, y = run(of(hk.Linear, 4, name="fc"), x)
    close(y, x @ logical("fc/kernel", (3, 4), "IO") + vector("fc/bias", 4))
    assert parts(model)["fc/kernel"].geometry.counts == (1, 4, 3)
    assert stored(model)["fc/w"].layer == "haiku._src.basic.Linear"


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("groups", "out"), [(1, 6), (2, 6), (4, 8)])
def test_a_convolution(rank, groups, out):
    kinds = {1: hk.Conv1D, 2: hk.Conv2D, 3: hk.Conv3D}
    kernel, spatial = (2, 3, 2)[:rank], "DHW"[3 - rank :]
    x = data(2, *(5, 6, 7)[:rank], 4)
    layer = {"kernel_shape": kernel, "feature_group_count": groups, "padding": "VALID", "stride": 2}
    model, y = run(of(kinds[rank], out, name="conv", **layer), x)
    weight = logical("conv/kernel", (out, 4 // groups, *kernel), f"OI{spatial}", groups=groups)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    bias = tensor(vector("conv/bias", out))
    close(y, last(convolve(first(x), tensor(weight), bias, stride=2, groups=groups)))
    kind = "depthwise" if groups == 4 else "conv"
    assert {part.kind for part in parts(model).values()} == {kind}
    assert parts(model)["conv/kernel"].geometry.size("G") == groups  # which the fans go by


def test_channels_first():
    x = data(2, 4, 5, 6)
    _, y = run(of(hk.Conv2D, 3, 2, data_format="NCHW", padding="VALID", name="conv"), x)
    weight = tensor(logical("conv/kernel", (3, 4, 2, 2), "OIHW"))
    close(y, F.conv2d(tensor(x), weight, tensor(vector("conv/bias", 3))))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_transposed_convolution_with_a_stride(rank):
    kinds = {1: hk.Conv1DTranspose, 2: hk.Conv2DTranspose, 3: hk.Conv3DTranspose}
    kernel, spatial = (3, 2, 4)[:rank], "DHW"[3 - rank :]
    x = data(2, *(4, 3, 5)[:rank], 3)
    layer = {"kernel_shape": kernel, "stride": 2, "padding": "VALID", "name": "up"}
    model, y = run(of(kinds[rank], 5, **layer), x)
    weight = tensor(logical("up/kernel", (3, 5, *kernel), f"IO{spatial}", stride=2))
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    close(y, last(convolve(first(x), weight, tensor(vector("up/bias", 5)), stride=2)))
    kernel_part = parts(model)["up/kernel"]
    assert kernel_part.kind == "conv_transpose"
    assert kernel_part.geometry.layout.stride == 2**rank


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_depthwise_convolution(rank):
    kinds = {1: hk.DepthwiseConv1D, 2: hk.DepthwiseConv2D, 3: hk.DepthwiseConv3D}
    kernel, spatial = (2, 3, 2)[:rank], "DHW"[3 - rank :]
    x = data(2, *(5, 6, 4)[:rank], 3)
    layer = {"kernel_shape": kernel, "padding": "VALID", "name": "deep"}
    model, y = run(of(kinds[rank], 2, **layer), x)
    weight = tensor(logical("deep/kernel", (6, 1, *kernel), f"OI{spatial}", groups=3))
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    close(y, last(convolve(first(x), weight, tensor(vector("deep/bias", 6)), groups=3)))
    assert parts(model)["deep/kernel"].kind == "depthwise"
    assert parts(model)["deep/kernel"].geometry.size("G") == 3


def test_a_spatially_separable_convolution_is_two_depthwise_ones():
    x = data(1, 5, 6, 3)
    layer = {"channel_multiplier": 2, "kernel_shape": (2, 3), "padding": "VALID"}
    model, y = run(of(hk.SeparableDepthwiseConv2D, **layer, name="sep"), x)
    expected = first(x)
    for name, window in (("depthwise_conv2_d", (2, 1)), ("depthwise_conv2_d_1", (1, 3))):
        channels = expected.shape[1]
        outputs = parts(model)[f"sep/{name}/kernel"].geometry.counts[1]
        kernel = logical(f"sep/{name}/kernel", (outputs, 1, *window), "OIHW", groups=channels)
        bias = f"sep/{name}/bias"
        offset = tensor(vector(bias, outputs)) if bias in parts(model) else None
        expected = F.conv2d(expected, tensor(kernel), offset, groups=channels)
    close(y, last(expected))
    assert {part.kind for part in parts(model).values()} == {"depthwise"}


def test_an_embedding_and_a_bias():
    ids = np.array([[1, 4], [0, 2]])
    model, y = run(lambda i: hk.Bias(name="bias")(hk.Embed(5, 3, name="tok")(i)), ids)
    expected = logical("tok/embedding", (5, 3), "VI")[ids]
    close(y, expected + logical("bias/bias", (2, 3), "OO"))
    assert parts(model)["tok/embedding"].role == "embedding"


def torch_lstm(path, inputs, hidden):
    cell = torch.nn.LSTM(inputs, hidden, batch_first=True)
    gates = "ifgo"
    with torch.no_grad():
        for name, leaf, shape in (
            ("weight_ih_l0", "kernel", (hidden, inputs)),
            ("weight_hh_l0", "recurrent", (hidden, hidden)),
        ):
            blocks = [logical(f"{path}/{gate}/{leaf}", shape, "OI") for gate in gates]
            getattr(cell, name).copy_(tensor(np.concatenate(blocks)))
        biases = [vector(f"{path}/{gate}/bias", hidden) for gate in gates]
        cell.bias_ih_l0.copy_(tensor(np.concatenate(biases)))
        cell.bias_hh_l0.zero_()
    return cell


def unrolled(core):
    def net(x):
        rnn = core()
        return hk.dynamic_unroll(rnn, x, rnn.initial_state(len(x)), time_major=False)[0]

    return net


def test_an_lstm_whose_code_adds_one_to_the_forget_gate():
    x = data(2, 6, 3)
    model, y = run(unrolled(lambda: hk.LSTM(4, name="rnn")), x)
    close(y, torch_lstm("rnn", 3, 4)(tensor(x))[0].detach())
    assert parts(model)["rnn/f/bias"].geometry.counts == (1, 4, 1)
    assert {part.kind for part in parts(model).values()} == {"lstm"}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_forget_bias_of_one_is_stored_as_zero(dtype):
    def step(x):
        rnn = hk.LSTM(4, name="rnn")
        return rnn(x, jax.tree.map(lambda h: h.astype(x.dtype), rnn.initial_state(2)))[0]

    x = jax.ShapeDtypeStruct((2, 3), dtype)
    model = haiku_model(Haiku(hk.transform(step), x), {})
    bias = stored(model)["rnn/linear/b"]
    one = initspec.constant(1.0)
    pieces = [Piece(p, one.plan(p.shape, layout=p.layout)) for p in bias.parts]
    others = [write_for(each) for each in model.tensors() if each.name != bias.name]
    params = model.write([Write(bias, tuple(pieces)), *others])
    assert params["rnn/linear"]["b"].dtype == dtype
    np.testing.assert_array_equal(
        params["rnn/linear"]["b"].astype("float32"), np.repeat([1, 1, 0, 1], 4)
    )


def test_a_gru_whose_update_gate_means_the_opposite():
    """Against its definition: torch multiplies by the reset gate after the matrix, haiku before."""
    x, size = data(2, 5, 3), 4
    _, y = run(unrolled(lambda: hk.GRU(size, name="rnn")), x)
    kernel = {g: logical(f"rnn/{g}/kernel", (3, size), "IO") for g in "rzn"}
    recurrent = {g: logical(f"rnn/{g}/recurrent", (size, size), "IO") for g in "rzn"}
    bias = {g: vector(f"rnn/{g}/bias", size) for g in "rzn"}
    h = np.zeros((2, size))

    def gate(g, t, h):
        return x[:, t] @ kernel[g] + h @ recurrent[g] + bias[g]

    for t in range(5):
        r, z = (1 / (1 + np.exp(-gate(g, t, h))) for g in "rz")
        h = (1 - z) * np.tanh(gate("n", t, r * h)) + z * h  # z keeps, as in torch and keras
        close(y[:, t], h)


def test_a_plain_recurrent_layer():
    x = data(2, 5, 3)
    model, y = run(unrolled(lambda: hk.VanillaRNN(4, name="rnn")), x)
    cell = torch.nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        cell.weight_ih_l0.copy_(tensor(logical("rnn/kernel", (4, 3), "OI")))
        cell.weight_hh_l0.copy_(tensor(logical("rnn/recurrent", (4, 4), "OI")))
        cell.bias_ih_l0.copy_(tensor(vector("rnn/bias", 4)))
        cell.bias_hh_l0.zero_()
    close(y, cell(tensor(x))[0].detach())
    assert parts(model)["rnn/recurrent_bias"].value == 0.0


def test_a_deep_recurrent_layer_is_its_layers():
    x = data(2, 5, 3)
    _, y = run(unrolled(lambda: hk.DeepRNN([hk.LSTM(4), hk.LSTM(2)])), x)
    middle = torch_lstm("lstm", 3, 4)(tensor(x))[0]
    close(y, torch_lstm("lstm_1", 4, 2)(middle)[0].detach())


def test_a_convolutional_lstm():
    x, size = data(1, 3, 5, 6, 2), 3
    model, y = run(unrolled(lambda: hk.Conv2DLSTM((5, 6), size, 3, name="rnn")), x)

    def weights(leaf, inputs):
        shape = (size, inputs, 3, 3)
        return torch.cat([tensor(logical(f"rnn/{g}/{leaf}", shape, "OIHW")) for g in "ifgo"])

    bias = torch.cat([tensor(vector(f"rnn/{g}/bias", size)) for g in "ifgo"])
    h = c = torch.zeros(1, size, 5, 6)
    for t in range(3):
        gates = F.conv2d(first(x[:, t]), weights("kernel", 2), bias, padding=1)
        gates = gates + F.conv2d(h, weights("recurrent", size), padding=1)
        i, f, g, o = gates.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        close(y[:, t], last(h))
    assert parts(model)["rnn/f/recurrent_bias"].value == 0.0


def test_attention():
    x, heads = data(2, 5, 6), 2
    init = hk.initializers.Constant(0)

    def net(x):
        return hk.MultiHeadAttention(heads, 3, w_init=init, model_size=6, name="attn")(x, x, x)

    model, y = run(net, x)
    layer = torch.nn.MultiheadAttention(6, heads, batch_first=True)
    names = ("query", "key", "value")
    with torch.no_grad():
        kernels = [logical(f"attn/{name}/kernel", (6, 6), "OI") for name in names]
        layer.in_proj_weight.copy_(tensor(np.concatenate(kernels)))
        biases = [vector(f"attn/{name}/bias", 6) for name in names]
        layer.in_proj_bias.copy_(tensor(np.concatenate(biases)))
        layer.out_proj.weight.copy_(tensor(logical("attn/out/kernel", (6, 6), "OI")))
        layer.out_proj.bias.copy_(tensor(vector("attn/out/bias", 6)))
    close(y, layer(*[tensor(x)] * 3)[0].detach())
    assert {part.kind for part in parts(model).values()} == {"attention"}


NORMS = {
    "layer": of(hk.LayerNorm, -1, True, True, name="norm"),
    "group": of(hk.GroupNorm, 2, name="norm"),
    "instance": of(hk.InstanceNorm, True, True, name="norm"),
    "rms": of(hk.RMSNorm, -1, name="norm"),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm(name):
    x = data(2, 3, 5, 4)
    model, y = run(NORMS[name], x)
    scale, offset = tensor(vector("norm/scale", 4)), tensor(vector("norm/offset", 4))
    expected = {
        "layer": lambda: F.layer_norm(tensor(x), (4,), scale, offset),
        "group": lambda: last(F.group_norm(first(x), 2, scale, offset)),
        "instance": lambda: last(F.instance_norm(first(x), weight=scale, bias=offset)),
        "rms": lambda: F.rms_norm(tensor(x), (4,), scale, eps=1e-5),
    }[name]()
    close(y, expected, 1e-4)
    assert [(k.path, k.name, k.value) for k in model.knobs()] == [("norm", "norm_epsilon", 1e-5)]


def test_given_parameters_keep_their_values():
    x, function = data(4, 3), hk.transform(of(hk.Linear, 2, name="fc"))
    params = {"fc": {"w": jnp.full((3, 2), 7.0), "b": jnp.full(2, 8.0)}}
    model = haiku_model(Haiku(function, x, params=params), {})
    new = model.write([write_for(stored(model)["fc/w"])])
    close(new["fc"]["w"], logical("fc/kernel", (3, 2), "IO"))
    assert new["fc"]["b"] is params["fc"]["b"]
    close(model.read("fc/w"), np.full((3, 2), 7.0))


def test_bad_wrappers():
    function, x = hk.transform(of(hk.Linear, 2, name="fc")), data(4, 3)
    params = {"fc": {"w": jnp.zeros((2, 3)), "b": jnp.zeros(2)}}
    with pytest.raises(InitspecValueError, match=r"(?s)params\['fc'\]\['w'\].*float32\[3, 2\]"):
        haiku_model(Haiku(function, x, params=params), {})
    with pytest.raises(InitspecValueError, match="state"):
        haiku_model(Haiku(function, x, state={"a": {"b": jnp.zeros(1)}}), {})
    with pytest.raises(InitspecTypeError, match=r"haiku\.transform"):
        Haiku(lambda x: x)


class Net(hk.Module):
    def __init__(self, **options):
        super().__init__(**options)
        self.first = hk.Linear(4)

    def __call__(self, x):
        return self.second(jax.nn.relu(self.first(x)))

    def second(self, x):
        return hk.Linear(2, name="head")(x)


def test_paths_have_no_marks_of_where_a_module_is_made():
    model, _ = run(of(Net, name="net"), data(5, 3))
    assert {"net/~/linear/w", "net/~second/head/w"} <= set(stored(model))
    assert {"net/linear/kernel", "net/second/head/kernel"} <= set(parts(model))


def test_stacked_layers_are_told_apart():
    x = data(5, 4)

    def net(x):
        return hk.layer_stack(3, name="blocks")(lambda x: jnp.tanh(hk.Linear(4, name="fc")(x)))(x)

    model, y = run(net, x)
    assert stored(model)["blocks/fc/w"].shape == (3, 4, 4)
    for i in range(3):
        kernel = logical(f"blocks/{i}/fc/kernel", (4, 4), "IO")
        x = np.tanh(x @ kernel + vector(f"blocks/{i}/fc/bias", 4))
    close(y, x)


def test_stacks_in_a_stack_of_fused_gates():
    def step(x):
        rnn = hk.LSTM(4, name="rnn")
        return rnn(x, rnn.initial_state(len(x)))[0]

    def net(x):
        inner = hk.layer_stack(2, name="inner")
        return hk.layer_stack(3, name="outer")(inner(step))(x)

    x = data(5, 4)
    model, y = run(net, x)
    assert stored(model)["outer/inner/rnn/linear/w"].shape == (3, 2, 8, 16)
    for i in range(3):
        for j in range(2):
            path = f"outer/{i}/inner/{j}/rnn"
            x = torch_lstm(path, 4, 4)(tensor(x[:, None]))[0].detach().numpy()[:, 0]
    close(y, x)


def lifted(x, *, out_axes=None):
    """A layer from another function, once or, along an axis, four times."""
    inner = hk.transform(of(hk.Linear, 4, name="fc"))

    def init(key):
        return inner.init(key, x)

    def many():
        keys = jax.random.split(jax.random.PRNGKey(0), 4)
        return jax.vmap(init, out_axes=out_axes)(keys)

    hk.lift(many if out_axes else lambda: init(hk.next_rng_key()), name="inner")()
    return x


def test_axes_that_other_transformations_add_are_the_users_to_name():
    model = haiku_model(Haiku(hk.transform(lifted), data(4, 4), out_axes=1), {})
    kernel = stored(model)["inner/fc/w"]
    assert kernel.shape == (4, 4, 4)
    assert kernel.parts == ()
    assert [slot.path for slot in kernel.slots] == ["kernel"]
    once = haiku_model(Haiku(hk.transform(lifted), data(4, 4)), {})
    assert [part.path for part in stored(once)["inner/fc/w"].parts] == ["inner/fc/kernel"]


class Around(hk.Module):
    def __call__(self, x):
        return hk.layer_stack(2, name="blocks")(of(hk.Linear, 4, name="fc"))(x)


def test_what_a_layer_says_of_a_stack_in_it_is_no_stack_of_the_layer():
    slot = Slot(path="kernel", role="kernel", layout="IO")
    function = hk.transform(of(Around, name="net"))
    name = f"{Around.__module__}.Around"
    model = haiku_model(Haiku(function, data(3, 4)), {name: {"blocks/fc/w": (slot,)}})
    assert stored(model)["net/blocks/fc/w"].parts == ()


def test_modules_inside_a_scanned_function_do_not_hide_those_of_the_same_name():
    def net(x):
        x = hk.layer_stack(2)(of(hk.Linear, 4, name="x"))(x)
        return hk.LayerNorm(-1, True, True, name="x")(x)

    model, _ = run(net, data(3, 4))
    assert stored(model)["x/scale"].parts[0].role == "scale"


class Odd(hk.Module):
    def __call__(self, x):
        return x @ hk.get_parameter("w", (x.shape[-1], 3), init=jnp.zeros)


def test_unknown_classes_are_no_guess_unless_described():
    function = hk.transform(
        lambda x: Odd(name="odd")(x) + hk.get_parameter("c", [3], init=jnp.ones)
    )
    model = haiku_model(Haiku(function, data(2, 4)), {})
    assert stored(model)["odd/w"].parts == stored(model)["~/c"].parts == ()
    layer = stored(model)["odd/w"].layer
    assert layer.endswith("test_haiku_model.Odd")
    slot = Slot(path="kernel", role="kernel", layout="IO", kind="dense")
    known = haiku_model(Haiku(function, data(2, 4)), {layer: {"w": (slot,)}})
    assert [part.path for part in stored(known)["odd/w"].parts] == ["odd/kernel"]


class Wide(hk.Linear):
    pass


def test_a_subclass_is_what_it_extends_and_the_users_slots_go_first():
    function = hk.transform(of(Wide, 3, name="fc"))
    plain = haiku_model(Haiku(function, data(2, 4)), {})
    assert parts(plain)["fc/kernel"].geometry.counts == (1, 3, 4)
    slot = Slot(path="mine", role="kernel", layout="IO")
    for name in ("haiku._src.basic.Linear", "haiku.Linear"):
        user = haiku_model(Haiku(function, data(2, 4)), {name: {"w": (slot,)}})
        assert [*parts(user)] == ["fc/bias", "fc/mine"]


def test_a_public_name_may_lie_in_a_package_of_the_package():
    function = hk.transform(of(hk.nets.MLP, [2], name="mlp"))
    slot = Slot(path="mine", role="kernel", layout="IO")
    for name, path in (("haiku.nets.MLP", "mlp/mine"), ("haiku.MLP", "mlp/linear_0/kernel")):
        model = haiku_model(Haiku(function, data(2, 4)), {name: {"linear_0/w": (slot,)}})
        assert path in parts(model)


def test_inputs_may_be_abstract_and_of_any_kind():
    def net(x, scale, *, mode, mask=None):
        return hk.Linear({"small": 2, "large": 8}[mode], name="fc")(x["a"]) * scale

    x = {"a": jax.ShapeDtypeStruct((4, 3), jnp.float32)}
    model = haiku_model(Haiku(hk.transform(net), x, 2, mode="large"), {})
    assert stored(model)["fc/w"].shape == (3, 8)
    params = model.write([write_for(stored(model)["fc/w"])])
    close(params["fc"]["b"], np.zeros(8))
