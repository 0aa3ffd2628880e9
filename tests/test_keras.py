"""Keras: every layer's weights are the NumPy draw, on every Keras backend.

Keras fixes its backend when it is imported, so this file and test_keras_saving.py run
once more for each other backend.
"""

import random
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras_checks import (
    ACTIVE,
    OTHERS,
    assert_passed,
    bound,
    built,
    dense,
    host,
    on_other_backends,
    outer,
    quiet,
    same,
)

import initspec
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.registry import get_backend
from initspec_keras import KerasInitializer
from initspec_keras import native as native_module

layers = keras.layers
FILES = (__file__, Path(__file__).with_name("test_keras_saving.py"))
he = initspec.he_normal

pytestmark = quiet
trains = pytest.mark.skipif(ACTIVE == "numpy", reason="Keras does not train on NumPy")


@pytest.fixture(scope="module")
def runs():
    with on_other_backends(*FILES) as started:
        yield started


@outer
@pytest.mark.parametrize("name", OTHERS)
def test_on_the_other_backends(name, runs):
    assert_passed(runs[name])


@pytest.fixture(autouse=True)
def _policies():
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")


# --- the same bits ----------------------------------------------------------------------------


def test_verbatim_name_is_the_plain_call():
    layer = dense(he.bind("keras", seed=7, name="stem"))
    same(layer.kernel, he((5, 6), seed=7, name="stem"))


def test_path_of_the_variable_is_the_name():
    layer = dense(he.bind("keras", seed=7))
    assert layer.kernel.path == "fc/kernel"
    same(layer.kernel, he((5, 6), seed=7, name="fc/kernel"))


def test_path_within_a_name():
    layer = dense(he.bind("keras", seed=7, name="encoder/{path}"))
    same(layer.kernel, he((5, 6), seed=7, name="encoder/fc/kernel"))


KERNELS = {
    "conv": (lambda: layers.Conv2D(6, 3, kernel_initializer=bound()), (None, 8, 8, 4), "HWIO"),
    "grouped": (
        lambda: layers.Conv2D(6, 3, groups=2, kernel_initializer=bound(groups=2)),
        (None, 8, 8, 4),
        "H W I (G O)",
    ),
    "conv1d": (lambda: layers.Conv1D(6, 3, kernel_initializer=bound()), (None, 8, 4), "WIO"),
    "transposed": (
        lambda: layers.Conv2DTranspose(6, 3, kernel_initializer=bound("HWOI")),
        (None, 8, 8, 4),
        "HWOI",
    ),
    "depthwise": (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, depthwise_initializer=bound("HWGO")),
        (None, 8, 8, 4),
        "HWGO",
    ),
    "embedding": (
        lambda: layers.Embedding(11, 5, embeddings_initializer=bound("VO")),
        (None, 3),
        "VO",
    ),
    "einsum": (
        lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), kernel_initializer=bound()),
        (None, 7, 4),
        "IOO",
    ),
    "fused": (
        lambda: layers.LSTM(
            5,
            kernel_initializer=bound("I (4 O)", blocks=("i", "f", "c", "o")),
            recurrent_initializer="zeros",
        ),
        (None, 3, 4),
        "I (4 O)",
    ),
}


@pytest.mark.parametrize("kind", KERNELS)
def test_kernels_of_layers(kind):
    make, shape, layout = KERNELS[kind]
    layer = built(make(), *shape)
    variable = layer.weights[0]
    extras = {"grouped": {"groups": 2}, "fused": {"blocks": ("i", "f", "c", "o")}}.get(kind, {})
    expected = he(tuple(variable.shape), seed=3, name=variable.path, layout=layout, **extras)
    same(variable, expected)


def test_separable_convolution():
    depthwise, pointwise = bound("HWGO"), bound()
    layer = layers.SeparableConv2D(
        6, 3, depthwise_initializer=depthwise, pointwise_initializer=pointwise, name="sep"
    )
    first, second = built(layer, None, 8, 8, 4).weights[:2]
    same(first, he((3, 3, 4, 1), seed=3, name=first.path, layout="HWGO"))
    same(second, he((1, 1, 4, 6), seed=3, name=second.path))


DTYPES = ["float16", "bfloat16", "float64"]
if ACTIVE in ("jax", "numpy"):  # JAX has a mode for it; on NumPy Keras itself narrows the values
    DTYPES.remove("float64")


@pytest.mark.skipif(ACTIVE != "jax", reason="only JAX lacks 64-bit types by default")
def test_float64_is_not_narrowed_silently():
    with pytest.raises(InitspecValueError, match="jax_enable_x64"):
        dense(bound(), dtype="float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes(dtype):
    layer = dense(bound(), dtype=dtype)
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == dtype
    reference = get_backend("numpy")
    same(layer.kernel, reference.to_host(he((5, 6), seed=3, name="fc/kernel", dtype=dtype)))


def test_mixed_precision_keeps_float32_variables():
    keras.config.set_dtype_policy("mixed_bfloat16")
    same(dense(bound()).kernel, he((5, 6), seed=3, name="fc/kernel"))


def test_floatx_is_the_default_dtype():
    keras.config.set_floatx("float16")
    same(bound(name="w")((5, 6)), he((5, 6), seed=3, name="w", dtype="float16"))


# --- one object, many tensors -----------------------------------------------------------------


def test_layers_that_share_an_object_differ():
    init = bound()
    first, second = dense(init, "a"), dense(init, "b")
    assert not np.array_equal(host(first.kernel), host(second.kernel))
    same(second.kernel, he((5, 6), seed=3, name="b/kernel"))


def test_a_name_that_comes_back_is_numbered():
    init = bound(name="w")
    names = ["w", "w#1", "w#2"]
    for name in names:
        same(init((4, 3)), he((4, 3), seed=3, name=name))
    same(init.clone()((4, 3)), he((4, 3), seed=3, name="w"))


def test_recurrent_kernels_that_share_an_object_differ():
    init = bound()
    lstm = layers.LSTM(4, kernel_initializer=init, recurrent_initializer=init, name="rnn")
    cell = built(lstm, None, 3, 4).cell
    same(cell.kernel, he((4, 16), seed=3, name="rnn/lstm_cell/kernel"))
    same(cell.recurrent_kernel, he((4, 16), seed=3, name="rnn/lstm_cell/recurrent_kernel"))


def test_both_directions_differ():
    gru = layers.GRU(4, kernel_initializer=bound(), recurrent_initializer=bound(), name="rnn")
    both = built(layers.Bidirectional(gru, name="both"), None, 3, 4)
    found = {host(w).tobytes() for w in both.weights if "bias" not in w.path}
    assert len(found) == 4


def test_attention_kernels_differ_and_have_their_own_fans():
    attention = layers.MultiHeadAttention(2, 3, kernel_initializer=bound(), name="mha")
    attention.build((None, 7, 8), (None, 7, 8))
    found = {w.path: w for w in attention.weights if "kernel" in w.path}
    assert len({host(w).tobytes() for w in found.values()}) == 4
    for path, weight in found.items():
        layout = "IIO" if "output" in path else "IOO"  # by rank it would be a convolution
        same(weight, he(tuple(weight.shape), seed=3, name=path, layout=layout))


def test_a_layout_stands_against_the_equation():
    layer = layers.EinsumDense("abc,cde->abde", (None, 2, 3), kernel_initializer=bound("IWO"))
    kernel = built(layer, None, 7, 4).weights[0]
    same(kernel, he((4, 2, 3), seed=3, name=kernel.path, layout="IWO"))


# --- where Keras calls from -------------------------------------------------------------------


class Postponed(keras.Model):
    """Its layers are built while Keras traces: their variables are made when it is done."""

    def __init__(self, init):
        super().__init__(name="net")
        self.first = layers.Dense(4, kernel_initializer=init, name="first")
        self.second = layers.Dense(3, kernel_initializer=init, name="second")

    def call(self, x):
        return self.second(self.first(x))


def symbolic(model):
    model(keras.Input((5,)))


def eager(model):
    model(np.zeros((2, 5), "float32"))


@pytest.mark.parametrize("build", [symbolic, eager])
def test_postponed_variables_have_their_own_names(build):
    model = Postponed(bound())
    build(model)
    same(model.first.kernel, he((5, 4), seed=3, name="net/first/kernel"))
    same(model.second.kernel, he((4, 3), seed=3, name="net/second/kernel"))


def test_stand_ins_have_the_dtype_of_the_variable():
    keras.config.set_dtype_policy("float16")
    layer = layers.Dense(3, kernel_initializer=bound(), use_bias=False)
    with keras.StatelessScope():
        layer.build((None, 5))
        stand_in = layer.kernel.value
    assert keras.backend.standardize_dtype(stand_in.dtype) == "float16"
    assert tuple(stand_in.shape) == (5, 3)


def test_stand_ins_cost_no_draw():
    keras.utils.set_random_seed(5)
    model = Postponed(he.bind("keras"))
    symbolic(model)
    keras.utils.set_random_seed(5)
    same(model.first.kernel, he((5, 4), seed=random.getrandbits(64)))
    same(model.second.kernel, he((4, 3), seed=random.getrandbits(64)))


def test_names_of_sequential_and_functional_models():
    init = bound()
    inputs = keras.Input((5,))
    functional = layers.Dense(4, kernel_initializer=init, name="f")
    keras.Model(inputs, functional(inputs), name="m")
    stack = keras.Sequential([inputs, layers.Dense(4, kernel_initializer=init, name="s")], name="q")
    same(functional.kernel, he((5, 4), seed=3, name="f/kernel"))
    same(stack.layers[0].kernel, he((5, 4), seed=3, name="q/s/kernel"))


def test_a_model_that_is_built_again_is_the_same():
    init = bound()

    def build():
        keras.utils.clear_session()
        dense = layers.Dense(4, kernel_initializer=init, name="a")
        return keras.Sequential([keras.Input((5,)), dense], name="net").layers[0].kernel

    expected = he((5, 4), seed=3, name="net/a/kernel")
    for kernel in (build(), build()):
        same(kernel, expected)


def test_numbered_layer_names_depend_on_history_until_the_session_is_cleared():
    def kernel():
        return host(built(layers.Dense(4, kernel_initializer=bound()), None, 5).kernel)

    keras.utils.clear_session()
    first, second = kernel(), kernel()
    keras.utils.clear_session()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, kernel())


def test_outside_a_variable_the_scope_is_the_path():
    with keras.name_scope("block"), keras.name_scope("inner"):
        same(bound()((4, 3)), he((4, 3), seed=3, name="block/inner"))
    same(bound()((4, 3)), he((4, 3), seed=3, name=""))


def test_outside_a_variable_and_without_scopes_there_is_no_path(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.src.backend.common.name_scope", None)
    with keras.name_scope("block"):
        same(bound()((4, 3)), he((4, 3), seed=3, name=""))


@trains
def test_training_builds_and_moves_the_weights():
    model = Postponed(bound())
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    model.fit(np.ones((4, 5), "float32"), np.ones((4, 3), "float32"), verbose=0)
    start = he((5, 4), seed=3, name="net/first/kernel")
    moved = np.abs(host(model.first.kernel) - start).max()
    assert 0 < moved < 1


@pytest.mark.skipif(ACTIVE != "jax", reason="Keras passes device layouts on JAX")
def test_device_layout_is_no_layout_pattern():
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((len(devices),), ["model"], devices)
    table = keras.distribution.LayoutMap(mesh)
    table["fc/kernel"] = (None, "model")
    with keras.distribution.ModelParallel(layout_map=table).scope():
        kernel = dense(bound()).kernel
    assert len(kernel.value.sharding.device_set) == len(devices)
    same(kernel, he((5, 6), seed=3, name="fc/kernel"))
    spread = bound(name="w")((4, 6), layout=keras.distribution.TensorLayout((None, "model"), mesh))
    same(spread, he((4, 6), seed=3, name="w"))


# --- seeds ------------------------------------------------------------------------------------


def test_unseeded_objects_follow_set_random_seed():
    init = he.bind("keras")

    def draws():
        keras.utils.set_random_seed(11)
        return [host(dense(init).kernel) for _ in range(2)]

    (a, b), (c, d) = draws(), draws()
    assert not np.array_equal(a, b)
    assert np.array_equal(a, c)
    assert np.array_equal(b, d)


def test_unseeded_draws_do_not_depend_on_names():
    keras.utils.set_random_seed(11)
    first = host(dense(he.bind("keras"), "a").kernel)
    keras.utils.set_random_seed(11)
    assert np.array_equal(first, host(dense(he.bind("keras"), "b").kernel))


def test_constants_leave_the_generator_alone():
    keras.utils.set_random_seed(11)
    state = random.getstate()
    dense(initspec.zeros.bind("keras"))
    assert random.getstate() == state


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"name": 3}, "name"),
        ({"layout": "HWQO"}, "layout"),
        ({"layout": initspec.Layout.parse("IO")}, "layout"),
        ({"layot": "IO"}, "layot"),
        ({"layout": "IO", "groups": 0}, "groups"),
        ({"input_axes": [0.5]}, "axis"),
    ],
)
def test_arguments_are_checked_when_bound(options, where):
    with pytest.raises(InitspecError) as caught:
        he.bind("keras", **options)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        ((None, 3), None, InitspecTypeError),
        ((5,), None, InitspecValueError),
        ((4, 3), "int32", InitspecTypeError),
        ((4, -3), None, InitspecValueError),
        (4, None, InitspecTypeError),
    ],
)
def test_a_call_that_fails_spends_no_name(shape, dtype, error):
    init = bound(name="w")
    with pytest.raises(error):
        init(shape, dtype)
    same(init((4, 3)), he((4, 3), seed=3, name="w"))


def test_axes_that_the_tensor_lacks():
    init = KerasInitializer("he_normal", input_axes=[0], output_axes=[3])
    with pytest.raises(InitspecValueError, match="rank 2"):
        init((4, 3))


# --- the backend ------------------------------------------------------------------------------


def test_tensors_of_the_active_backend():
    tensor = he((5, 6), backend="keras", seed=1, name="w", dtype="bfloat16")
    assert keras.ops.is_tensor(tensor)
    assert type(tensor) is type(keras.ops.zeros((5, 6), "bfloat16"))
    reference = get_backend("numpy")
    same(tensor, reference.to_host(he((5, 6), seed=1, name="w", dtype="bfloat16")))
    same(
        initspec.orthogonal()((4, 4), backend="keras", seed=1),
        initspec.orthogonal()((4, 4), seed=1),
    )


def test_the_convention_is_that_of_keras_on_torch_too():
    same(he((3, 3, 4, 6), backend="keras", seed=1), he((3, 3, 4, 6), seed=1, layout="HWIO"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_variables_are_assigned(dtype):
    variable = keras.Variable(np.zeros((5, 6)), dtype=dtype, name="v")
    assert he(out=variable, seed=1, name="w") is variable
    same(variable, get_backend("numpy").to_host(he((5, 6), seed=1, name="w", dtype=dtype)))
    with pytest.raises(InitspecValueError, match="dtype"):
        he(out=variable, dtype="float16")
    with pytest.raises(InitspecError):
        he(out=keras.Variable(np.zeros((5, 6)), dtype="int32", trainable=False))


def test_raw_tensors_are_the_frameworks_affair():
    tensor = keras.ops.zeros((5, 6))
    if ACTIVE in ("numpy", "torch"):
        same(he(out=tensor, backend="keras", seed=1), he((5, 6), seed=1))
    else:
        with pytest.raises(InitspecTypeError, match="out"):
            he(out=tensor, backend="keras", seed=1)


def test_fresh_seeds_come_from_pythons_generator():
    backend = get_backend("keras")
    random.seed(4)
    first = backend.fresh_seed()
    random.seed(4)
    assert backend.fresh_seed() == first == random.Random(4).getrandbits(64)


def test_the_registered_name_does_not_change():
    assert keras.saving.get_registered_name(KerasInitializer) == "initspec>Initializer"
    assert keras.saving.get_registered_object("initspec>Initializer") is KerasInitializer
    assert native_module.PATH == "{path}"
