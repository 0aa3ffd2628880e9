"""Equinox: every row of the layer table in a forward pass against torch with the same tensors."""

import copy

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
    writes,
)

from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models.slots import Slot

eqx = pytest.importorskip("equinox")
jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jnp = jax.numpy
equinox_model = pytest.importorskip("initspec_jax.equinox").equinox_model

F = torch.nn.functional
nn = eqx.nn
KEY = jax.random.PRNGKey(0)


class Net(eqx.Module):
    """One layer under one name."""

    layer: eqx.Module

    def __call__(self, *inputs, **options):
        return self.layer(*inputs, **options)


def batched(layer, *args, **options):
    """The model of an abstract layer, and the new one, over a batch."""
    model = equinox_model(eqx.filter_eval_shape(lambda: Net(layer(*args, **options))), {})
    return model, jax.jit(jax.vmap(drawn(model)))


def test_a_linear_layer():
    x = data(5, 3)
    model, net = batched(nn.Linear, 3, 4, key=KEY)
    kernel, bias = logical("layer/kernel", (3, 4), "IO"), vector("layer/bias", 4)
    close(net(x), x @ kernel + bias)
    assert [each.name for each in model.tensors()] == ["layer/weight", "layer/bias"]
    assert stored(model)["layer/weight"].layer == "equinox.nn._linear.Linear"


def test_scalars_go_through_a_linear_layer_too():
    model, net = batched(nn.Linear, "scalar", 4, key=KEY)
    close(
        net(data(5)),
        data(5)[:, None] * logical("layer/kernel", (1, 4), "IO") + vector("layer/bias", 4),
    )
    assert parts(model)["layer/kernel"].geometry.counts == (1, 4, 1)
    _, net = batched(nn.Linear, 3, "scalar", key=KEY)
    x = data(5, 3)
    close(net(x), (x @ logical("layer/kernel", (3, 1), "IO") + vector("layer/bias", 1))[:, 0])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("groups", "out"), [(1, 6), (2, 6), (4, 8)])
def test_a_convolution(rank, groups, out):
    kinds = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    kernel, spatial = (2, 3, 2)[:rank], "DHW"[3 - rank :]
    x = data(2, 4, *(5, 6, 7)[:rank])
    model, net = batched(kinds[rank], 4, out, kernel, 2, groups=groups, key=KEY)
    shape = (out, 4 // groups, *kernel)
    weight = tensor(logical("layer/kernel", shape, f"OI{spatial}", groups=groups))
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    bias = tensor(vector("layer/bias", out))
    close(net(x), convolve(tensor(x), weight, bias, stride=2, groups=groups))
    assert {p.kind for p in parts(model).values()} == {"depthwise" if groups == 4 else "conv"}
    assert parts(model)["layer/bias"].geometry.counts == (1, out, 1)
    assert parts(model)["layer/kernel"].geometry.size("G") == groups  # which the fans go by


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_with_a_stride(rank, groups):
    kinds = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
    kernel, spatial = (3, 2, 4)[:rank], "DHW"[3 - rank :]
    x = data(2, 4, *(4, 3, 5)[:rank])
    model, net = batched(kinds[rank], 4, 6, kernel, 2, groups=groups, key=KEY)
    options = {"groups": groups, "stride": 2}
    shape = (4, 6 // groups, *kernel)
    weight = logical("layer/kernel", shape, f"IO{spatial}", transposed=True, **options)
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    close(net(x), convolve(tensor(x), tensor(weight), tensor(vector("layer/bias", 6)), **options))
    part = parts(model)["layer/kernel"]
    assert part.geometry.counts == (1, 6, 4 // groups * np.prod(kernel))
    assert part.geometry.layout.stride == 2**rank
    assert part.geometry.size("G") == groups


def test_an_embedding():
    model, net = batched(nn.Embedding, 5, 3, key=KEY)
    ids = np.array([1, 4, 0])
    close(net(ids), logical("layer/embedding", (5, 3), "VI")[ids])
    assert parts(model)["layer/embedding"].role == "embedding"


def cell_of(kind, gates, inputs, hidden):
    cell = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[kind](inputs, hidden)
    with torch.no_grad():
        for name, leaf, shape in (
            ("weight_ih", "kernel", (hidden, inputs)),
            ("weight_hh", "recurrent", (hidden, hidden)),
        ):
            blocks = [logical(f"layer/{gate}/{leaf}", shape, "OI") for gate in gates]
            getattr(cell, name).copy_(tensor(np.concatenate(blocks)))
        biases = [vector(f"layer/{gate}/bias", hidden) for gate in gates]
        cell.bias_ih.copy_(tensor(np.concatenate(biases)))
        cell.bias_hh.zero_()
    return cell


def test_an_lstm():
    x, h, c = data(2, 3), data(2, 4), data(2, 4) * 2
    model, net = batched(nn.LSTMCell, 3, 4, key=KEY)
    found = net(x, (h, c))
    expected = cell_of("lstm", "ifgo", 3, 4)(tensor(x), (tensor(h), tensor(c)))
    for one, other in zip(found, expected, strict=True):
        close(one, other.detach())
    assert parts(model)["layer/f/kernel"].geometry.counts == (1, 4, 3)


def test_a_gru_with_its_second_bias():
    x, h = data(2, 3), data(2, 4)
    model, net = batched(nn.GRUCell, 3, 4, key=KEY)
    cell = cell_of("gru", "rzn", 3, 4)
    with torch.no_grad():
        cell.bias_hh[8:] = tensor(vector("layer/n/recurrent_bias", 4))
    close(net(x, h), cell(tensor(x), tensor(h)).detach())
    assert parts(model)["layer/n/recurrent_bias"].value is None


def test_attention():
    x = data(2, 5, 6)
    biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
    model, net = batched(nn.MultiheadAttention, 2, 6, **biases, key=KEY)
    layer = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    names = ("query", "key", "value")
    with torch.no_grad():
        kernels = [logical(f"layer/{name}/kernel", (6, 6), "OI") for name in names]
        layer.in_proj_weight.copy_(tensor(np.concatenate(kernels)))
        vectors = [vector(f"layer/{name}/bias", 6) for name in names]
        layer.in_proj_bias.copy_(tensor(np.concatenate(vectors)))
        layer.out_proj.weight.copy_(tensor(logical("layer/out/kernel", (6, 6), "OI")))
        layer.out_proj.bias.copy_(tensor(vector("layer/out/bias", 6)))
    close(net(x, x, x), layer(*[tensor(x)] * 3)[0].detach())
    assert {part.kind for part in parts(model).values()} == {"attention"}


def test_norms():
    x = data(2, 4, 3)
    model, net = batched(nn.LayerNorm, (4, 3))
    scale, offset = (tensor(logical(f"layer/{n}", (4, 3), "OO")) for n in ("scale", "offset"))
    close(net(x), F.layer_norm(tensor(x), (4, 3), scale, offset), 1e-4)
    knobs = [(knob.path, knob.name, knob.value) for knob in model.knobs()]
    assert knobs == [("layer", "norm_epsilon", 1e-5)]
    _, net = batched(nn.GroupNorm, 2, 4)
    scale, offset = tensor(vector("layer/scale", 4)), tensor(vector("layer/offset", 4))
    close(net(x), F.group_norm(tensor(x), 2, scale, offset), 1e-4)
    _, net = batched(nn.RMSNorm, 4, use_bias=False)
    close(net(data(2, 4)), F.rms_norm(tensor(data(2, 4)), (4,), scale, eps=1e-5), 1e-4)


def test_prelu():
    x = data(3, 2)
    model, net = batched(nn.PReLU)
    close(net(x), np.where(x > 0, x, x * logical("layer/slope", (), "")))
    assert parts(model)["layer/slope"].geometry.counts == (1, 1, 1)
    _, net = batched(nn.PReLU, jnp.zeros(2))
    close(net(x), np.where(x > 0, x, x * vector("layer/slope", 2)))


def test_a_perceptron_is_its_layers():
    x = data(5, 3)
    _, net = batched(nn.MLP, 3, 2, 4, 2, key=KEY)
    for i, (rows, columns) in enumerate([(3, 4), (4, 4), (4, 2)]):
        kernel = logical(f"layer/layers/{i}/kernel", (rows, columns), "IO")
        x = x @ kernel + vector(f"layer/layers/{i}/bias", columns)
        x = np.maximum(x, 0) if i < 2 else x
    close(net(data(5, 3)), x)


class Normed(eqx.Module):
    norm: nn.BatchNorm
    mode: str = eqx.field(static=True)

    def __init__(self, mode):
        self.norm, self.mode = nn.BatchNorm(3, "batch", mode=mode, momentum=0.9), mode

    def __call__(self, x, state):
        return self.norm(x, state, inference=True)


@pytest.mark.parametrize("mode", ["ema", "batch"])
@pytest.mark.parametrize("abstract", [False, True])
def test_a_batch_norm_with_its_state(mode, abstract):
    make = nn.make_with_state(Normed)
    pair = eqx.filter_eval_shape(make, mode) if abstract else make(mode)
    model = equinox_model(pair, {})
    module, state = drawn(model)
    assert all(
        isinstance(leaf, jax.Array)
        for leaf in jax.tree.leaves(eqx.filter((module, state), eqx.is_array))
    )
    scale, offset = tensor(vector("norm/scale", 3)), tensor(vector("norm/offset", 3))
    x = data(4, 3, 2)
    if abstract or mode == "batch":
        run = jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        expected = F.batch_norm(tensor(x), torch.zeros(3), torch.ones(3), scale, offset)
        close(run(x, state)[0], expected, 1e-4)
    names = {path: each.buffer for each in model.tensors() for path in [each.name]}
    index = f"norm/{mode}_state_index"
    assert names[f"{index}/0"]
    assert not names["norm/weight"]
    assert [part.path for part in stored(model)[f"{index}/1"].parts] == ["norm/variance"]
    knobs = {knob.name: knob.value for knob in model.knobs()}
    assert knobs == {"norm_epsilon": 1e-5, "batch_norm_momentum": 0.1}


@pytest.mark.parametrize("mode", ["ema", "batch"])
def test_a_trained_batch_norm_starts_anew(mode):
    x = data(4, 3, 2)
    module, fresh = nn.make_with_state(Normed)(mode)
    train = jax.vmap(
        lambda x, state: module.norm(x, state, inference=False),
        axis_name="batch",
        in_axes=(0, None),
        out_axes=(0, None),
    )
    _, trained = train(x + 80, fresh)
    new, state = drawn(equinox_model((module, trained), {}), buffers=True)
    if mode == "batch":
        count = state.get(new.norm.batch_counter)
        assert (count, count.dtype) == (0, jnp.int32)
        return
    first = state.get(new.norm.ema_first_time_index)
    assert first and first.dtype == bool
    _, state = train(x, state)
    close(state.get(module.norm.ema_state_index)[0], x.mean((0, 2)))


def test_statistics_are_written_where_a_rule_names_them():
    pair = nn.make_with_state(Normed)("batch")
    module, state = drawn(equinox_model(pair, {}), buffers=True)
    close(state.get(module.norm.batch_state_index)[0], vector("norm/mean", 3))


def test_a_state_that_is_still_in_the_module():
    model = equinox_model(Normed("batch"), {})
    drawn_state = nn.State(drawn(model, buffers=True))
    close(jax.tree.leaves(drawn_state)[1], vector("norm/mean", 3))


def test_of_a_state_and_the_values_it_was_made_from_the_state_counts():
    module = Normed("batch")
    model = equinox_model((module, nn.State(module)), {})
    new, state = drawn(model, buffers=True)
    close(state.get(new.norm.batch_state_index)[0], vector("norm/mean", 3))
    close(new.norm.batch_state_index.init[0], np.zeros(3))
    foreign = equinox_model((module, nn.State(Normed("batch"))), {})
    assert all(each.buffer for each in foreign.tensors() if each.name.startswith("1/"))


class Tied(eqx.Module):
    shared: nn.Shared

    def __init__(self, get=lambda pair: pair[0].weight):
        pair = nn.Embedding(5, 3, key=KEY), nn.Linear(3, 5, key=KEY)
        self.shared = nn.Shared(pair, lambda pair: pair[1].weight, get)

    def __call__(self, i):
        embedding, linear = self.shared()
        return linear(embedding(i))


def test_shared_arrays_have_two_names():
    for module in (Tied(), eqx.filter_eval_shape(Tied)):
        tied = stored(equinox_model(module, {}))["shared/pytree/0/weight"]
        assert [part.path for part in tied.parts] == ["shared/0/embedding"]
        ((alias, found),) = tied.aliases
        assert alias == "shared/pytree/1/weight"
        assert [(part.path, part.layout.pattern) for part in found] == [("shared/1/kernel", "OI")]
    ids = np.array([1, 4])
    matrix = logical("shared/0/embedding", (5, 3), "VI")
    net = drawn(equinox_model(Tied(), {}))
    close(jax.vmap(net)(ids), matrix[ids] @ matrix.T + vector("shared/1/bias", 5))


def test_what_a_shared_array_is_computed_to_be_is_no_alias():
    module = Tied(get=lambda pair: pair[0].weight * 2)
    assert not any(each.aliases for each in equinox_model(module, {}).tensors())


@pytest.mark.parametrize("square", [False, True])
def test_stacked_modules_are_the_users_to_name(square):
    keys = jax.random.split(KEY, 4)
    many = eqx.filter_vmap(lambda key: nn.Linear(4 if square else 3, 4, key=key))
    for each in equinox_model(Net(eqx.filter_eval_shape(many, keys)), {}).tensors():
        assert each.parts == ()
        assert len(each.slots) == 1


@pytest.mark.parametrize("wrap", [nn.WeightNorm, lambda x: nn.SpectralNorm(x, "weight", key=KEY)])
def test_normalised_weights_have_a_problem(wrap):
    net = eqx.filter_eval_shape(lambda: Net(wrap(nn.Linear(3, 4, key=KEY))))
    found = stored(equinox_model(net, {}))
    weight = found["layer/layer/weight"]
    assert "initialise" in weight.problem
    assert weight.parts == ()
    assert [part.path for part in found["layer/layer/bias"].parts] == ["layer/bias"]
    assert all(each.buffer or each.problem or each.parts for each in found.values())


def test_an_abstract_module_becomes_real():
    make = lambda: nn.MLP(3, 2, 4, 1, key=KEY, dtype=jnp.bfloat16)  # noqa: E731
    model = equinox_model(eqx.filter_eval_shape(make), {})
    net = drawn(model)
    assert net.layers[0].weight.dtype == jnp.bfloat16
    assert net.layers[0].in_features == 3
    kernel = logical("layers/0/kernel", (4, 3), "OI", dtype="bfloat16")
    np.testing.assert_array_equal(np.asarray(net.layers[0].weight), kernel)
    with pytest.raises(InitspecValueError, match="layers/1/bias"):
        model.write([w for w in writes(model) if w.stored.name != "layers/1/bias"])


def test_what_nothing_writes_and_what_is_no_array_stays():
    old = nn.MLP(3, 2, 4, 1, key=KEY, activation=jax.nn.gelu)
    before = copy.deepcopy(np.asarray(old.layers[0].weight))
    model = equinox_model(old, {})
    new = model.write([write_for(stored(model)["layers/0/weight"])])
    assert new.layers[1].weight is old.layers[1].weight
    assert new.activation is old.activation
    np.testing.assert_array_equal(old.layers[0].weight, before)
    close(model.read("layers/0/weight"), before)


class Odd(eqx.Module):
    w: jax.Array
    steps: jax.Array
    scale: float = 2.0

    def __init__(self):
        self.w, self.steps = jnp.zeros((2, 3)), jnp.arange(4)


def test_unknown_classes_are_no_guess_unless_described():
    plain = stored(equinox_model(Odd(), {}))
    assert plain["w"].parts == plain["w"].slots == ()
    assert plain["steps"].buffer
    assert plain["w"].layer.endswith("test_equinox_model.Odd")
    slot = Slot(path="kernel", role="kernel", layout="IO", kind="dense")
    known = equinox_model([Odd()], {plain["w"].layer: {"w": (slot,)}})
    assert [*parts(known)] == ["0/kernel"]


class Wide(nn.Linear):
    pass


def test_a_subclass_is_what_it_extends_and_the_users_slots_go_first():
    wide = Wide(3, 4, key=KEY)
    assert parts(equinox_model(wide, {}))["kernel"].geometry.counts == (1, 4, 3)
    slot = Slot(path="mine", role="kernel", layout="OI")
    for name in ("equinox.nn._linear.Linear", "equinox.nn.Linear"):
        user = {name: {"weight": (slot,)}}
        assert [*parts(equinox_model(wide, user))] == ["mine", "bias"]


def test_without_arrays_there_is_no_model():
    with pytest.raises(InitspecTypeError, match="arrays"):
        equinox_model(nn.Identity(), {})
    assert issubclass(InitspecTypeError, InitspecError)
