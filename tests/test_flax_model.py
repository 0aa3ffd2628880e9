"""Modules of flax.linen and flax.nnx as whole models: structure, values, places, mistakes."""

import numpy as np
import pytest
from flax_checks import LAW, SEED, abstract, filled, fully, parts, piece, reference, sample, writes
from processes import python

from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.models.model import Knob, Piece, Write
from initspec.models.slots import Slot

jax = pytest.importorskip("jax")
pytest.importorskip("flax")

import flax.linen as nn  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402
from flax.core import FrozenDict, freeze  # noqa: E402

from initspec_jax import Linen  # noqa: E402
from initspec_jax.linen import linen_model  # noqa: E402
from initspec_jax.nnx import nnx_model  # noqa: E402

# --- linen: structures --------------------------------------------------------------------------


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, name="norm", momentum=0.9)(x)
        return x + nn.Dense(4, name="fc")(x), None


class Scanned(nn.Module):
    """Three blocks whose weights are stacked, behind all the wrappers that Flax has."""

    axis: int = 0
    lift: str = "class"

    @nn.compact
    def __call__(self, x):
        options = {
            "variable_axes": {"params": self.axis, "batch_stats": -1},
            "split_rngs": {"params": True},
            "length": 3,
        }
        if self.lift == "class":
            x, _ = nn.scan(nn.jit(nn.remat(Block)), **options)(name="blocks")(x)
        else:
            x, _ = nn.scan(lambda module, x: Block(name="blocks")(x), **options)(self, x)
        return nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])(x)


class Plain(nn.Module):
    """The same, block by block."""

    @nn.compact
    def __call__(self, x):
        for number in range(3):
            x, _ = Block(name=f"blocks_{number}")(x)
        x = nn.relu(nn.Dense(4)(x))
        return nn.Dense(2)(x)


def stack_free(path):
    return path.replace("blocks_", "blocks/")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scanned_layers_are_layers_of_their_own(axis):
    x = jnp.asarray(sample(2, 4))
    scanned = linen_model(Linen(Scanned(axis), x), {})
    plain = linen_model(Linen(Plain(), x), {})
    found = parts(scanned)
    assert found.keys() == {stack_free(path) for path in parts(plain)}
    assert found["blocks/1/fc/kernel"].geometry.counts == (1, 4, 4)
    for piece_ in (piece(part) for part in parts(plain).values()):
        other = found[stack_free(piece_.part.path)]
        assert other.geometry.counts == piece_.part.geometry.counts
    renamed = [
        Write(
            w.stored,
            tuple(
                Piece(p.part, piece(p.part.moved(stack_free(p.part.path))).plan) for p in w.pieces
            ),
        )
        for w in writes(plain)
    ]
    expected = Plain().apply(plain.write(renamed), x)
    actual = Scanned(axis).apply(filled(scanned), x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_a_scanned_body_counts_what_it_holds():
    model = linen_model(Linen(Scanned(lift="body"), abstract(2, 4)), {})
    assert {"0/blocks/fc/kernel", "2/blocks/norm/variance"} <= parts(model).keys()


def test_stacks_in_stacks():
    inner = nn.vmap(
        nn.Dense,
        variable_axes={"params": 1},
        split_rngs={"params": True},
        in_axes=None,
        axis_size=2,
    )

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return x, inner(3, name="experts")(x)

    class Top(nn.Module):
        @nn.compact
        def __call__(self, x):
            scan = nn.scan(
                Outer, variable_axes={"params": 0}, split_rngs={"params": True}, length=5
            )
            return scan(name="blocks")(x, None)[1]

    x = jnp.asarray(sample(2, 4))
    model = linen_model(Linen(Top(), x), {})
    kernel = next(s for s in model.tensors() if s.name.endswith("kernel"))
    assert kernel.shape == (5, 4, 2, 3)
    assert kernel.parts[3].path == "blocks/1/experts/1/kernel"
    variables = filled(model)
    outputs = Top().apply(variables, x)
    part = parts(model)["blocks/4/experts/1/kernel"]
    bias = parts(model)["blocks/4/experts/1/bias"]
    np.testing.assert_allclose(
        outputs[4, 1], np.asarray(x) @ reference(part) + reference(bias), rtol=1e-5
    )


def test_stacks_of_fused_tensors():
    cells = nn.vmap(
        nn.ConvLSTMCell, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=2
    )(3, (1,))
    x = abstract(2, 1, 5, 4)
    carry = (abstract(2, 1, 5, 3), abstract(2, 1, 5, 3))
    model = linen_model(Linen(cells, carry, x), {})
    found = parts(model)
    everything = slice(None)
    assert found["1/g/bias"].region == (1, slice(3, 6))
    assert found["1/f/recurrent"].region == (1, everything, everything, slice(6, 9))
    kernel = filled(model)["params"]["ih"]["kernel"]
    expected = reference(found["1/o/kernel"])
    np.testing.assert_array_equal(kernel[1, :, :, 9:], expected)


def test_knobs():
    found = linen_model(Linen(Scanned(), abstract(2, 4)), {}).knobs()
    assert Knob(path="blocks/2/norm", name="norm_epsilon", value=1e-5) in found
    assert Knob(path="blocks/0/norm", name="batch_norm_momentum", value=0.1) in found
    assert len(found) == 6
    model = nnx_model(nnx.Sequential(nnx.BatchNorm(3, momentum=0.9, rngs=nnx.Rngs(0))), {})
    assert model.knobs() == [
        Knob(path="0", name="norm_epsilon", value=1e-5),
        Knob(path="0", name="batch_norm_momentum", value=0.1),
    ]


class Shared(nn.Module):
    def setup(self):
        self.dropout = nn.Dropout(0.5)
        self.embed = nn.Embed(7, 4)
        self.dense = nn.Dense(4)
        self.scale = self.param("scale", nn.initializers.ones, (4,))

    def __call__(self, tokens):
        return self.embed.attend(self.dense(self.dense(self.embed(tokens))) * self.scale)

    def encode(self, tokens, *, deterministic):
        return self.dropout(self.embed(tokens), deterministic=deterministic)


def test_a_shared_module_is_one_and_a_parameter_of_ones_own_is_not_known():
    model = linen_model(Linen(Shared(), abstract(1, 3, dtype=jnp.int32)), {})
    assert parts(model).keys() == {"embed/embedding", "dense/kernel", "dense/bias"}
    scale = next(stored for stored in model.tensors() if not stored.parts)
    assert (scale.name, scale.path, scale.buffer) == ("params/scale", "scale", False)
    assert scale.layer == f"{__name__}.Shared"
    slot = Slot(path="gain", role="scale", layout="O", kind="norm")
    model = linen_model(
        Linen(Shared(), abstract(1, 3, dtype=jnp.int32)),
        {f"{__name__}.Shared": {"scale": (slot,)}, "flax.linen.Dense": {"bias": (slot,)}},
    )
    assert parts(model).keys() == {"embed/embedding", "gain", "dense/gain"}


def test_a_lifted_class_is_not_taken_for_its_parent():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x):
            kernel = self.param("kernel", nn.initializers.ones, (4, 4))
            return nn.remat(nn.Dense)(4, name="fc")(x @ kernel)

    model = linen_model(Linen(Own(), abstract(2, 4)), {})
    assert parts(model).keys() == {"fc/kernel", "fc/bias"}


def test_another_method_and_constant_arguments():
    wrapper = Linen(Shared(), abstract(1, 3, dtype=jnp.int32), method="encode", deterministic=True)
    model = linen_model(wrapper, {})
    assert {stored.name for stored in model.tensors()} == {
        "params/embed/embedding",
        "params/scale",
    }


def test_einsum_and_dense_general_with_batch_axes():
    def kernel(module, *shapes):
        found = parts(linen_model(Linen(module, *(abstract(*shape) for shape in shapes)), {}))
        return found["kernel"].layout.pattern, found["bias"].layout.pattern

    assert kernel(nn.Einsum((3, 4, 5), "bha,hac->bhc"), (2, 3, 4)) == ("SIO", "SO")
    assert kernel(nn.Einsum((5, 4, 3), "...ab,dba->...d"), (2, 3, 4)) == ("OII", "O")
    assert kernel(nn.DenseGeneral(5, axis=-1, batch_dims=(0,)), (2, 3, 4)) == ("SIO", "SO")
    assert kernel(nn.ConvLocal(5, (2,)), (2, 3, 4)) == ("SIO", "SO")
    called = linen_model(Linen(nn.Einsum((4, 5)), abstract(2, 4), "na,ab->nb"), {})
    assert parts(called)["kernel"].layout.pattern == "IO"


# --- linen: variables ---------------------------------------------------------------------------


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        norm = nn.BatchNorm(use_running_average=True, name="norm")
        self.variable("cache", "seen", lambda: jnp.full((2,), 7, jnp.int32))
        return nn.Dense(3, name="fc")(norm(x))


def test_what_nobody_writes_comes_from_init():
    x = abstract(2, 4)
    model = linen_model(Linen(Normed(), x), {})
    variables = model.write(fully(model, "fc/kernel"))
    own = Normed().init(jax.random.key(0), jnp.zeros((2, 4)))
    kernel = variables["params"]["fc"].pop("kernel")
    np.testing.assert_array_equal(kernel, reference(parts(model)["fc/kernel"]))
    del own["params"]["fc"]["kernel"]
    jax.tree.map(np.testing.assert_array_equal, variables, own)
    assert isinstance(variables["batch_stats"]["norm"]["var"], jax.Array)
    np.testing.assert_array_equal(model.read("cache/seen"), [7, 7])
    stored = {each.name: each for each in model.tensors()}
    assert stored["cache/seen"].buffer and not stored["cache/seen"].parts
    assert not stored["batch_stats/norm/mean"].trainable


def test_initial_values_that_need_an_input_ask_for_it():
    class Sized(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x - self.variable("stats", "first", lambda: x).value

    model = linen_model(Linen(Sized(), abstract(2, 4)), {})
    with pytest.raises(InitspecValueError, match="stats/first depend on them"):
        model.write([])
    x = jnp.asarray(sample(2, 4))
    variables = linen_model(Linen(Sized(), x), {}).write([])
    np.testing.assert_array_equal(variables["stats"]["first"], x)


@pytest.mark.parametrize("wrap", [dict, freeze])
def test_given_variables_are_kept(wrap):
    x = abstract(2, 4)
    given = wrap(Normed().init(jax.random.key(5), jnp.zeros((2, 4))))
    model = linen_model(Linen(Normed(), x, variables=given), {})
    before = jax.tree.map(np.array, given)
    variables = model.write(fully(model, "fc/kernel", "norm/mean"))
    assert isinstance(variables, FrozenDict if wrap is freeze else dict)
    jax.tree.map(np.testing.assert_array_equal, given, before)
    assert (variables["params"]["fc"]["kernel"] != given["params"]["fc"]["kernel"]).all()
    np.testing.assert_array_equal(variables["params"]["norm"]["scale"], 1)
    assert variables["batch_stats"]["norm"]["mean"].min() > 0
    again = linen_model(Linen(Normed(), x, variables=variables), {})
    np.testing.assert_array_equal(
        again.read("params/fc/kernel"), reference(parts(model)["fc/kernel"])
    )


def test_some_parts_of_a_tensor_are_kept():
    x = jnp.asarray(sample(2, 4))
    given = Scanned().init(jax.random.key(0), x)
    model = linen_model(Linen(Scanned(), x, variables=given), {})
    variables = model.write(fully(model, "blocks/1/fc/kernel"))
    old, new = (tree["params"]["blocks"]["fc"]["kernel"] for tree in (given, variables))
    np.testing.assert_array_equal(new[1], reference(parts(model)["blocks/1/fc/kernel"]))
    np.testing.assert_array_equal(new[::2], old[::2])
    fresh = linen_model(Linen(Scanned(), x), {}).write(fully(model, "blocks/1/fc/kernel"))
    np.testing.assert_array_equal(fresh["params"]["blocks"]["fc"]["kernel"], new)
    cell = nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0))
    cell.dense_h.bias.set_value(jnp.arange(16.0))
    model = nnx_model(cell, {})
    model.write(fully(model, "f/bias"))
    bias = cell.dense_h.bias[...]
    np.testing.assert_array_equal(bias[4:8], reference(parts(model)["f/bias"]))
    np.testing.assert_array_equal(np.delete(bias, range(4, 8)), [*range(4), *range(8, 16)])


def test_only_a_collection_is_given():
    params = Normed().init(jax.random.key(5), jnp.zeros((2, 4)))["params"]
    model = linen_model(Linen(Normed(), abstract(2, 4), variables={"params": params}), {})
    variables = model.write([])
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], params["fc"]["kernel"])
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["var"], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["fc"].update(kernel=jnp.zeros((4, 4))), r"params/fc/kernel.*\(4, 3\)"),
        (lambda p: p.pop("fc"), "params/fc/bias.*'nothing'"),
        (lambda p: p.update(head=jnp.zeros(3)), "params/head.*no such variable"),
    ],
)
def test_variables_of_another_module(change, message):
    params = Normed().init(jax.random.key(5), jnp.zeros((2, 4)))["params"]
    change(params)
    with pytest.raises(InitspecValueError, match=message):
        linen_model(Linen(Normed(), abstract(2, 4), variables={"params": params}), {})


def test_bad_wrappers():
    with pytest.raises(InitspecTypeError, match=r"a module of flax\.linen"):
        Linen(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), abstract(2, 2))
    with pytest.raises(InitspecTypeError, match="a dictionary of collections"):
        linen_model(Linen(Normed(), abstract(2, 4), variables=[1]), {})
    model = linen_model(Linen(Normed(), abstract(2, 4)), {})
    with pytest.raises(InitspecValueError, match="Did you mean 'params/fc/kernel'"):
        model.read("params/fc/kernal")


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_dtypes(name):
    module = nn.Dense(3, param_dtype=jnp.dtype(name))
    model = linen_model(Linen(module, abstract(2, 4)), {})
    variables = filled(model)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {name}
    part = parts(model)["kernel"]
    expected = LAW(part.shape, layout=part.layout, seed=SEED, name="kernel", dtype=name)
    actual = linen_model(Linen(module, abstract(2, 4), variables=variables), {})
    bits = expected.view(np.uint16) if name == "bfloat16" else expected
    np.testing.assert_array_equal(actual.read("params/kernel"), bits)


def test_boxes_stay():
    kernel = nn.with_partitioning(nn.initializers.ones, (None, "model"))
    bias = nn.with_logical_partitioning(nn.initializers.ones, ("mlp",))

    class Cell(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(4, kernel_init=kernel, bias_init=bias, name="fc")(x), None

    module = nn.scan(
        Cell,
        variable_axes={"params": 1},
        split_rngs={"params": True},
        length=3,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )()
    x = jnp.asarray(sample(2, 4))
    model = linen_model(Linen(module, x, None), {})
    assert "2/fc/kernel" in parts(model)
    variables = filled(model)
    boxes = variables["params"]["fc"]
    assert isinstance(boxes["kernel"], nn.Partitioned)
    assert boxes["kernel"].names == (None, "layers", "model")
    assert isinstance(boxes["bias"], nn.LogicallyPartitioned)
    own = jax.eval_shape(lambda: module.init(jax.random.key(0), x, None))
    assert jax.tree.structure(own) == jax.tree.structure(variables)
    np.testing.assert_array_equal(
        boxes["kernel"].value[:, 2], reference(parts(model)["2/fc/kernel"])
    )
    unboxed = linen_model(Linen(module, x, None, variables=nn.unbox(variables)), {})
    assert parts(unboxed).keys() == parts(model).keys()
    jax.tree.map(np.testing.assert_array_equal, unboxed.write([]), nn.unbox(variables))


def test_normalised_kernels_are_a_problem():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.WeightNorm(nn.Dense(4, name="a"))(x)
            x = nn.SpectralNorm(nn.Dense(4, name="b"))(x, update_stats=False)
            return nn.Dense(4, name="c")(x)

    model = linen_model(Linen(Model(), abstract(2, 4)), {})
    bad = {stored.name for stored in model.tensors() if "by its norm" in stored.problem}
    assert bad == {
        "params/a/kernel",
        "params/WeightNorm_0/a/kernel/scale",
        "params/b/kernel",
    }
    module = nnx.WeightNorm(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    module.other = nnx.SpectralNorm(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    model = nnx_model(module, {})
    bad = {stored.name for stored in model.tensors() if "by its norm" in stored.problem}
    assert bad == {"layer_instance/kernel", "other/layer_instance/kernel"}


# --- many devices -------------------------------------------------------------------------------

DEVICES = """
import jax, jax.numpy as jnp, numpy as np
import flax.linen as nn
from flax import nnx
from flax_checks import filled, parts, reference
from jax.sharding import NamedSharding, PartitionSpec as P
from initspec_jax import Linen
from initspec_jax.linen import linen_model
from initspec_jax.nnx import nnx_model

mesh = jax.make_mesh((4, 2), ("data", "model"))
place = NamedSharding(mesh, P("data", "model"))
module, x = nn.Dense(6), jax.ShapeDtypeStruct((2, 8), jnp.float32)
shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((2, 8))))
shapes["params"]["kernel"] = shapes["params"]["kernel"].update(sharding=place)
model = linen_model(Linen(module, x, variables=shapes), {})
kernel = filled(model)["params"]["kernel"]
assert kernel.sharding == place, kernel.sharding
expected = reference(parts(model)["kernel"])
np.testing.assert_array_equal(kernel, expected)
kept = model.write([])["params"]["kernel"]
assert kept.sharding == place and float(jnp.abs(kept).max()) > 0
values = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
values["params"]["kernel"] = jax.device_put(values["params"]["kernel"], place)
model = linen_model(Linen(module, x, variables=values), {})
variables = filled(model)
assert variables["params"]["kernel"].sharding == place
assert not variables["params"]["bias"].committed
np.testing.assert_array_equal(variables["params"]["kernel"], expected)

linear = nnx.Linear(8, 6, rngs=nnx.Rngs(0))
linear.kernel.set_value(jax.device_put(linear.kernel[...], place))
filled(nnx_model(linear, {}))
assert linear.kernel[...].sharding == place
np.testing.assert_array_equal(linear.kernel[...], expected)
"""


def test_shardings_stay():
    run = python("-c", DEVICES, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    assert run.returncode == 0, run.stderr


def test_flax_is_imported_late():
    run = python("-c", "import initspec_jax, sys; assert 'flax' not in sys.modules")
    assert run.returncode == 0, run.stderr


class Picky(nn.Module):
    def __call__(self, x):
        return x.shape[0] + x


@pytest.mark.parametrize("inputs", [(), ("x",), (jnp.ones(()),)])
def test_inputs_that_the_module_does_not_take(inputs):
    with pytest.raises(InitspecValueError, match="whose init runs on these inputs") as told:
        linen_model(Linen(Picky(), *inputs), {})
    assert told.value.__cause__ is not None
