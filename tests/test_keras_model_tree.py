"""Keras models as they are seen: paths, kinds, buffers, aliases, what is not built or not known."""

from dataclasses import replace

import keras
import pytest
from keras_checks import quiet
from keras_rows import Wrapped, data, parts, without_draws

from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.models.model import Write
from initspec.models.slots import Slot
from initspec_keras.model import open_model

layers = keras.layers
ACTIVE = keras.backend.backend()

pytestmark = quiet


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_draws(monkeypatch)


# --- where a layer lies -------------------------------------------------------------------------


def paths(model):
    return list(dict.fromkeys(path.rpartition("/")[0] for path in parts(model)))


class Net(keras.Model):
    """Attributes, a list, a dictionary, a tuple, something private."""

    def __init__(self):
        super().__init__()
        self.stem = layers.Dense(3, name="other")
        self.blocks = [layers.Dense(3), keras.Sequential([layers.ReLU(), layers.Dense(3)])]
        self.heads = {"a": layers.Dense(2), "b": (layers.Dense(2), layers.Dense(2))}
        self._last = layers.Dense(1)

    def call(self, x):
        for layer in (self.stem, *self.blocks, self.heads["a"], *self.heads["b"], self._last):
            x = layer(x)
        return x


def test_attributes_give_the_path():
    net = Net()
    net(data(2, 5))
    inner = ["stem", "blocks/0", "blocks/1/1", "heads/a", "heads/b/0", "heads/b/1", "_last"]
    assert paths(net) == inner


def test_numbers_in_a_sequential_model():
    net = keras.Sequential(
        [keras.Input((4, 5)), layers.Dense(4), layers.ReLU(), layers.Dense(3, name="head")]
    )
    net.add(keras.Sequential([layers.TimeDistributed(layers.Dense(2))]))
    assert paths(net) == ["0", "head", "3/0"]


def test_a_functional_model_counts_its_own_layers():
    def build():
        inputs = keras.Input((5,))
        x = layers.Dense(4)(layers.Dense(4, name="first")(inputs))
        x = layers.Conv2DTranspose(2, 1)(layers.Reshape((2, 2, 1))(x))
        x = layers.Flatten()(layers.Conv2DTranspose(1, 1, name="dense")(x))
        return keras.Model(inputs, layers.Dense(2)(layers.Dense(3)(x)))

    expected = ["first", "dense_1", "conv2d_transpose", "dense", "dense_2", "dense_3"]
    assert paths(build()) == paths(build()) == expected


def test_a_loaded_model_has_the_same_paths(tmp_path):
    inputs = keras.Input((5,))
    inner = keras.Sequential([layers.Dense(4), layers.Dense(3, name="head")])
    net = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    net.save(tmp_path / "net.keras")
    layers.Dense(1), layers.Dense(1)
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert paths(loaded) == paths(net) == ["sequential/0", "sequential/head", "dense"]


def test_one_cell_needs_no_number():
    layer = layers.RNN([layers.SimpleRNNCell(3)])  # Keras cannot call it on JAX
    layer.build((None, 5, 4))
    assert list(parts(layer)) == ["kernel", "recurrent", "bias"]


class Drawn(keras.Model):
    """A functional model that is a class, with a layer beside its graph."""

    def __init__(self):
        inputs = keras.Input((5,))
        inside = layers.Dense(3)
        super().__init__(inputs, inside(inputs))
        self.inside = inside
        self.beside = layers.Dense(2)


def test_layers_beside_the_graph():
    net = Drawn()
    net.beside.build((None, 3))
    assert paths(net) == ["dense", "beside"]
    assert not any(each.aliases for each in open_model(net, {}).tensors())


def test_a_layer_alone_has_no_path():
    layer = layers.Dense(3)
    layer.build((None, 5))
    assert list(parts(layer)) == ["kernel", "bias"]


class Loose(keras.Model):
    """Layers that no attribute names, and one that has a public and a private name."""

    def __init__(self):
        super().__init__()
        self._twin = self.twin = layers.Dense(2)
        self.bag = {layers.Dense(2)}

    def call(self, x):
        return self.twin(x)


def test_layers_without_a_name():
    net = Loose()
    next(iter(net.bag)).build((None, 3))
    net(data(2, 5))
    assert paths(net) == ["twin", "dense_1"]
    assert not any(each.aliases for each in open_model(net, {}).tensors())


class Shared(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(5, name="d")
        self.again = [self.first]
        self.second = layers.Dense(5, name="d")

    def call(self, x):
        return self.second(self.again[0](self.first(x)))


def test_a_shared_layer_is_one_tensor_with_two_names():
    net = Shared()
    net(data(2, 5))
    kernel, bias, *others = open_model(net, {}).tensors()
    assert [part.path for part in kernel.parts] == ["first/kernel"]
    ((name, (alias,)),) = kernel.aliases
    assert (name, alias.path) == ("again/0/kernel", "again/0/kernel")
    assert alias.geometry == kernel.parts[0].geometry
    assert bias.aliases and not any(each.aliases for each in others)


def test_names_are_those_of_keras_and_differ():
    net = Shared()
    net(data(2, 5))
    names = [each.name for each in open_model(net, {}).tensors()]
    plain = [each.path for each in net.variables]
    assert names == [*plain[:2], f"{plain[0]}#1", f"{plain[1]}#1"]


class Reference(keras.Model):
    """It holds the variable of a layer that it holds."""

    def __init__(self):
        super().__init__()
        self.embed = layers.Embedding(7, 3)
        self.embed.build()
        self.table = self.embed.embeddings

    def call(self, x):
        return keras.ops.matmul(self.embed(x), keras.ops.transpose(self.table))


def test_a_mere_reference_is_no_alias():
    (stored,) = open_model(Reference(), {}).tensors()
    assert [part.path for part in stored.parts] == ["embed/embedding"]
    assert not stored.aliases


def test_a_variable_that_two_layers_share():
    first, second = layers.Dense(3, use_bias=False), layers.Dense(3, use_bias=False)
    for layer in (first, second):
        layer.build((None, 4))
    second._tracker.unlock()
    second._kernel = first._kernel
    net = keras.Sequential([first, second])
    stored = next(each for each in open_model(net, {}).tensors() if each.aliases)
    assert [part.path for part in stored.all_parts] == ["0/kernel", "1/kernel"]


# --- what is told of a tensor -------------------------------------------------------------------


def by_path(model, given=None):
    return {each.path: each for each in open_model(model, given or {}).tensors()}


def test_statistics_counts_and_seeds_are_buffers():
    net = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Normalization(),
            layers.Dropout(0.5),
            layers.BatchNormalization(),
            layers.SpectralNormalization(layers.Dense(3)),
        ]
    )
    found = by_path(net)
    buffers = {path for path, each in found.items() if each.buffer}
    assert buffers == {
        "0/adapt_mean",
        "0/adapt_variance",
        "0/count",
        "1/seed_generator/state",
        "2/moving_mean",
        "2/moving_variance",
        "3/vector_u",
    }
    kept = {part.path for path in buffers for part in found[path].parts}
    assert kept == {"2/mean", "2/variance"}
    roles = {part.role for path in buffers for part in found[path].parts}
    assert roles == {"statistic"}
    assert not found["1/seed_generator/state"].parts
    assert found["0/count"].dtype.startswith("int")


def test_a_frozen_layer_is_no_buffer():
    layer = layers.Dense(3)
    layer.trainable = False
    layer.build((None, 4))
    assert {(each.trainable, each.buffer) for each in open_model(layer, {}).tensors()} == {
        (False, False)
    }


@pytest.mark.skipif(ACTIVE == "numpy", reason="Keras does not train on NumPy")
def test_variables_of_optimizers_and_metrics_are_none_of_the_model():
    net = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    net.compile("adam", "mse", metrics=["mae"])
    net.fit(data(4, 5), data(4, 1), verbose=0)
    assert [each.path for each in open_model(net, {}).tensors()] == ["0/kernel", "0/bias"]


KINDS = {
    "dense": (lambda: layers.Dense(3), (2, 4)),
    "conv": (lambda: layers.Conv2D(4, 3, groups=2), (2, 5, 5, 4)),
    "depthwise": (lambda: layers.Conv2D(4, 3, groups=4), (2, 5, 5, 4)),
    "conv_transpose": (lambda: layers.Conv2DTranspose(4, 3, strides=2), (2, 5, 5, 4)),
    "lstm": (lambda: layers.LSTM(3), (2, 5, 4)),
    "gru": (lambda: layers.GRU(3), (2, 5, 4)),
    "rnn": (lambda: layers.SimpleRNN(3), (2, 5, 4)),
    "attention": (lambda: Wrapped(layers.MultiHeadAttention(2, 3, use_gate=True)), (2, 5, 4)),
    "embedding": (lambda: layers.Embedding(7, 3, mask_zero=True), (2, 4)),
    "norm": (lambda: layers.BatchNormalization(renorm=True), (2, 4)),
    "other": (layers.PReLU, (2, 5, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    make, shape = KINDS[kind]
    layer = make()
    layer.build(shape)
    found = parts(layer)
    assert found
    assert {part.kind for part in found.values()} == {kind}
    assert not any(part.zero_rows for part in found.values())


def test_depthwise_of_one_channel_is_a_convolution():
    for layer in (layers.DepthwiseConv2D(3), layers.Conv2D(2, 3)):
        layer.build((None, 5, 5, 1))
        assert {part.kind for part in parts(layer).values()} == {"conv"}


def test_groups_and_shared_axes_are_known():
    conv, slopes = layers.Conv2D(4, 3, groups=2), layers.PReLU(shared_axes=[1, 2])
    for layer in (conv, slopes):
        layer.build((None, 5, 5, 4))
    assert parts(conv)["kernel"].logical_shape == (2, 2, 2, 3, 3)
    assert parts(slopes)["slope"].layout.pattern == "__O"


def test_fans_of_a_transposed_convolution():
    layer = layers.Conv2DTranspose(6, 4, strides=2)
    layer.build((None, 5, 5, 3))
    part = parts(layer)["kernel"]
    assert part.layout.transposed
    assert part.layout.stride == 4
    assert part.geometry.counts == (1, 6, 48)


def test_roles():
    found = {}
    for layer in (
        layers.LSTM(3),
        layers.GRU(3),
        layers.ReversibleEmbedding(7, 3, tie_weights=False),
    ):
        layer.build((2, 5, 4))
        found |= {path: part.role for path, part in parts(layer).items()}
    expected = {"o/kernel": "kernel", "o/recurrent": "recurrent", "n/recurrent_bias": "bias"}
    expected |= {"embedding": "embedding", "reverse/kernel": "kernel"}
    assert expected.items() <= found.items()


def test_attention_names_its_projections():
    layer = layers.MultiHeadAttention(2, 3, value_dim=5, output_shape=7, use_gate=True)
    layer.build((None, 4, 6), (None, 4, 8))
    shapes = {path: part.logical_shape for path, part in parts(layer).items()}
    assert {path.split("/")[0] for path in shapes} == {"query", "key", "value", "gate", "out"}
    assert shapes["value/kernel"] == (2, 5, 8)
    assert shapes["out/kernel"] == (7, 2, 5)
    assert shapes["query/bias"] == (2, 3)


def test_knobs():
    net = keras.Sequential(
        [
            keras.Input((4,)),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-4),
            layers.LayerNormalization(),
            layers.RMSNormalization(),
            layers.GroupNormalization(2),
            layers.UnitNormalization(),
        ]
    )
    found = {(knob.path, knob.name): knob.value for knob in open_model(net, {}).knobs()}
    assert found == {
        ("0", "norm_epsilon"): 1e-4,
        ("0", "batch_norm_momentum"): 0.1,
        ("1", "norm_epsilon"): 1e-3,
        ("2", "norm_epsilon"): 1e-6,
        ("3", "norm_epsilon"): 1e-3,
    }


def test_knobs_of_a_shared_norm_are_told_once():
    norm = layers.LayerNormalization()
    net = keras.Sequential([keras.Input((4,)), norm, keras.Sequential([norm])])
    assert [knob.path for knob in open_model(net, {}).knobs()] == ["0"]


@pytest.mark.skipif(ACTIVE == "jax", reason="JAX takes half a minute to make these models")
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_models_of_keras_applications(name):
    net = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3))
    found = open_model(net, {}).tensors()
    weights = [each for each in found if "seed_generator" not in each.path]
    assert len(weights) == len(net.weights)
    assert all((each.parts or each.buffer) and not each.problem for each in weights)
    every = [part.path for each in weights for part in each.parts]
    assert len(every) == len(set(every))
    assert {"conv", "depthwise", "norm", "dense"} == {p.kind for e in weights for p in e.parts}


# --- not built, not known -----------------------------------------------------------------------


def problems(model):
    return {each.name: each.problem for each in open_model(model, {}).tensors() if each.problem}


def test_layers_that_are_not_built():
    net = Net()
    found = problems(net)
    assert set(found) == {
        "stem", "blocks/0", "blocks/1/1", "heads/a", "heads/b/0", "heads/b/1", "_last"
    }  # fmt: skip
    assert all("model.build" in text and "one batch" in text for text in found.values())
    net(data(2, 5))
    assert not problems(net)


class Late(layers.Layer):
    """It makes its weight when it is built."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        return x @ self.w


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dense(3),
        lambda: layers.MultiHeadAttention(2, 3),
        lambda: layers.Bidirectional(layers.LSTM(3)),
        lambda: layers.TimeDistributed(layers.Dense(3)),
        Late,
        lambda: keras.Sequential([layers.ReLU(), Late()]),
    ],
)
def test_each_of_them_is_told(make):
    assert problems(make())
    assert not any(each.parts for each in open_model(make(), {}).tensors())


class Idle(layers.Layer):
    def call(self, x):
        return x


def test_layers_that_get_no_weights_are_no_problem():
    model = keras.Sequential([layers.ReLU(), layers.Flatten(), layers.Concatenate(), Idle()])
    assert not problems(model)


def test_an_unbuilt_layer_is_not_written():
    opened = open_model(layers.Dense(3, name="d"), {})
    with pytest.raises(InitspecValueError, match="one batch"):
        opened.write([Write(opened.tensors()[0], ())])


def test_a_variable_without_values():
    layer = layers.Dense(3, use_bias=False)
    with keras.StatelessScope():
        layer.build((None, 4))
        (stored,) = open_model(layer, {}).tensors()
    assert "no values" in stored.problem
    assert stored.shape == (4, 3)


def test_a_class_that_nobody_knows():
    layer = Late()
    layer.build((None, 4))
    (stored,) = open_model(layer, {}).tensors()
    assert not stored.parts
    assert not stored.buffer
    assert stored.layer == f"{__name__}.Late"


OI = (Slot(path="weight", role="kernel", layout="OI", kind="dense"),)


@pytest.mark.parametrize("key", ["w", "kernel"])
def test_slots_of_a_class_that_the_config_knows(key):
    layer = Late()
    layer.build((None, 4))
    (part,) = parts(layer, {f"{__name__}.Late": {key: OI}}).values()
    assert part.path == "weight"
    assert part.geometry.counts == (1, 4, 3)


class Deeper(layers.Dense):
    def build(self, shape):
        super().build(shape)
        self._gate = self.add_weight(shape=(shape[-1],), name="vector")


def test_a_subclass_is_its_base_and_what_it_adds():
    layer = Deeper(3)
    layer.build((None, 4))
    assert set(parts(layer)) == {"kernel", "bias"}
    gate = (Slot(path="gate", role="scale", layout="O"),)
    assert set(parts(layer, {f"{__name__}.Deeper": {"gate": gate}})) == {"kernel", "bias", "gate"}


def test_slots_of_the_config_go_before_the_table():
    layer = Deeper(3)
    layer.build((None, 4))
    assert parts(layer, {"keras.layers.Dense": {"kernel": OI}})["weight"].role == "kernel"


def test_slots_that_do_not_fit_are_a_problem():
    layer = Late()
    layer.build((None, 4))
    wrong = (replace(OI[0], layout="OIHW"),)
    (stored,) = open_model(layer, {f"{__name__}.Late": {"w": wrong}}).tensors()
    assert "Late" in stored.problem
    assert not stored.parts


@pytest.mark.skipif(ACTIVE == "numpy", reason="Keras does not quantize on NumPy")
def test_quantized_weights():
    layer = layers.Dense(3)
    layer.build((None, 4))
    layer.quantize("int8")
    assert "quantized" in by_path(layer)["kernel"].problem


def test_something_else_is_no_model():
    with pytest.raises(InitspecTypeError, match=r"keras\.Model"):
        open_model(object(), {})
