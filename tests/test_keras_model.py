"""Keras models: every layer computes with the logical weights that torch and NumPy compute with.

Keras fixes its backend when it is imported, so this file and test_keras_model_tree.py run once more
for each other backend.
"""

import math
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras_checks import quiet
from keras_rows import LAW, ROWS, SEED, data, filled, floating, piece, same, without_draws, write_of

import initspec
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models.model import Piece, Write
from initspec_keras.model import open_model

layers = keras.layers
ACTIVE = keras.backend.backend()
FILES = (__file__, Path(__file__).with_name("test_keras_model_tree.py"))
CHILD = "INITSPEC_TEST_KERAS_CHILD"
OTHERS = sorted({"tensorflow", "jax", "torch", "numpy"} - {ACTIVE})

pytestmark = quiet


@pytest.fixture(scope="module")
def runs():
    """The files on each other backend, all at once."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES]
    common = {**os.environ, CHILD: "1", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = {
        name: subprocess.Popen(command, env={**common, "KERAS_BACKEND": name}, **pipes)
        for name in OTHERS
    }
    yield started
    for run in started.values():
        run.kill()
        run.wait()
        run.stdout.close()


@pytest.mark.skipif(CHILD in os.environ, reason="the outer run starts these")
@pytest.mark.parametrize("name", OTHERS)
def test_on_the_other_backends(name, runs):
    output, _ = runs[name].communicate(timeout=300)
    assert runs[name].returncode == 0, output
    assert " passed" in output


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_draws(monkeypatch)


# --- every row --------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_forward(row):
    make, shape, expected = ROWS[row]
    layer, x = make(), data(*shape)
    layer.build(shape)
    opened = filled(layer)
    assert all(each.parts for each in opened.tensors() if floating(each))
    pins = {p.path for each in opened.tensors() for p in each.parts if p.value == 0.0}
    if pins:  # the second of two biases that add
        unpin(opened, pins)
    same(layer(x), expected(x))


def unpin(opened, pins):
    """Zeros where the slots say so."""
    for each in opened.tensors():
        chosen = [part for part in each.parts if part.path in pins]
        if chosen:
            zeros = tuple(piece(part, initspec.zeros) for part in chosen)
            opened.write([Write(each, zeros)])


# --- writing ------------------------------------------------------------------------------------


def bits(array):
    return array.view(f"u{array.dtype.itemsize}")


DTYPES = ["float32", "float16", "bfloat16", "float64"]
if ACTIVE == "numpy":  # where Keras itself narrows the values
    DTYPES.remove("float64")


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_of_every_dtype(dtype):
    layer = layers.Dense(300, dtype=dtype, name="d")
    layer.build((None, 40))
    opened = filled(layer)
    stored = opened.tensors()[0]
    kind = "float32" if ACTIVE == "jax" and dtype == "float64" else dtype
    assert stored.dtype == kind
    reference = initspec.registry.get_backend("numpy")
    drawn = LAW((40, 300), seed=SEED, name="kernel", layout="IO", dtype=kind)
    expected = reference.to_host(drawn)
    np.testing.assert_array_equal(bits(opened.read(stored.name)), bits(expected))
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == dtype


def test_only_a_part_is_written():
    layer = layers.GRU(3)
    layer.build((None, 5, 4))
    opened = open_model(layer, {})
    bias = next(each for each in opened.tensors() if each.path == "bias")
    before = opened.read(bias.name).copy()
    opened.write([write_of(bias, only="r/")])
    after = opened.read(bias.name)
    changed = np.argwhere(after != before)
    assert set(map(tuple, changed)) == {(row, column) for row in (0, 1) for column in (3, 4, 5)}


def test_numbers_go_into_integers():
    layer = layers.Normalization()
    layer.build((None, 5))
    opened = open_model(layer, {})
    count = next(each for each in opened.tensors() if each.path == "count")
    opened.write([Write(count, (Piece(count.parts[0], None, 7),))])
    assert opened.read(count.name) == 7
    assert opened.read(count.name).dtype == count.dtype


def test_the_model_is_returned():
    layer = layers.Dense(3)
    layer.build((None, 4))
    opened = open_model(layer, {})
    assert opened.write([]) is layer


def test_trainable_or_not_stays():
    net = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(2)])
    net.layers[1].trainable = False
    before = [each.trainable for each in net.variables]
    filled(net)
    assert [each.trainable for each in net.variables] == before


@pytest.mark.skipif(ACTIVE != "torch", reason="torch alone has tensors that are kept")
def test_torch_parameters_are_the_same_objects():
    layer = layers.Dense(3)
    layer.build((None, 4))
    before = list(layer.parameters())
    filled(layer)
    assert all(a is b for a, b in zip(before, layer.parameters(), strict=True))
    assert all(each.requires_grad for each in before)


@pytest.mark.skipif(ACTIVE != "jax", reason="Keras lays variables out over devices on JAX")
def test_shards_stay_where_they_are():
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((len(devices),), ["model"], devices)
    table = keras.distribution.LayoutMap(mesh)
    table["fc/kernel"] = (None, "model")
    layer = layers.Dense(6, name="fc")
    with keras.distribution.ModelParallel(layout_map=table).scope():
        layer.build((None, 5))
    before = layer.kernel.value.sharding
    assert len(before.device_set) == len(devices)
    opened = filled(layer)
    assert layer.kernel.value.sharding == before
    expected = LAW((5, 6), seed=SEED, name="kernel", layout="IO")
    np.testing.assert_array_equal(opened.read("fc/kernel"), expected)


@pytest.mark.skipif(ACTIVE != "jax", reason="JAX alone replaces arrays")
def test_an_array_stays_on_its_device():
    import jax

    layer = layers.Dense(6, use_bias=False)
    layer.build((None, 5))
    last = jax.devices()[-1]
    layer.kernel._value = jax.device_put(layer.kernel.value, last)
    filled(layer)
    assert layer.kernel.value.devices() == {last}


@pytest.mark.skipif(ACTIVE == "numpy", reason="Keras copies what is assigned on NumPy")
def test_memory_is_that_of_one_tensor():
    layer = layers.Embedding(2**18, 8)
    layer.build()
    opened = open_model(layer, {})
    (stored,) = opened.tensors()
    opened.write([write_of(stored)])
    tracemalloc.start()
    opened.write([write_of(stored)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 4 * math.prod(stored.shape)


# --- what cannot be written leaves the model as it was ------------------------------------------


def wrong_name(stored):
    return Write(replace(stored, name="d/kernle"), ())


def wrong_shape(stored):
    return Write(replace(stored, shape=(3, 5)), ())


def wrong_dtype(stored):
    return Write(replace(stored, dtype="float16"), ())


def wrong_plan(stored):
    plan = LAW.plan((5, 3), layout="IO")
    return Write(stored, (Piece(stored.parts[0], plan),))


def wrong_region(stored):
    part = replace(stored.parts[0], region=(0, 0, slice(None)))
    return Write(stored, (Piece(part, LAW.plan(part.shape, layout="IO")),))


def a_number(stored):
    return Write(stored, (Piece(stored.parts[0], None, 1.0),))


def nothing(stored):
    return Write(stored, (Piece(stored.parts[0], None),))


def too_large(stored):
    return write_of(stored, initspec.constant(1e39))


@pytest.mark.parametrize(
    "spoil",
    [
        wrong_name, wrong_shape, wrong_dtype, wrong_plan, wrong_region, a_number, nothing, too_large
    ],
)  # fmt: skip
def test_all_is_checked_before_anything_is_written(spoil):
    layer = layers.Dense(3, name="d")
    layer.build((None, 4))
    opened = open_model(layer, {})
    kernel, bias = opened.tensors()
    before = [opened.read(each.name).copy() for each in (kernel, bias)]
    with pytest.raises(InitspecError):
        opened.write([write_of(bias), spoil(kernel)])
    for each, values in zip((kernel, bias), before, strict=True):
        np.testing.assert_array_equal(opened.read(each.name), values)


def test_integers_take_no_plan():
    layer = layers.Normalization()
    layer.build((None, 5))
    opened = open_model(layer, {})
    count = next(each for each in opened.tensors() if each.path == "count")
    with pytest.raises(InitspecTypeError, match="float32"):
        opened.write([write_of(count, initspec.ones)])


def test_reading_a_name_that_is_not_there():
    layer = layers.Dense(3, name="d")
    layer.build((None, 4))
    with pytest.raises(InitspecValueError, match="Did you mean 'd/kernel'"):
        open_model(layer, {}).read("d/kernle")
