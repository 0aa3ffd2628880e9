"""Keras models: every layer computes with the logical weights that torch and NumPy compute with.

Keras fixes its backend when it is imported, so this file and test_keras_model_tree.py run once more
for each other backend.
"""

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras_checks import ACTIVE, OTHERS, assert_passed, host, on_other_backends, outer, quiet
from keras_rows import (
    ADAPTED,
    LAW,
    ROWS,
    SEED,
    data,
    filled,
    normalization,
    parts,
    piece,
    same,
    without_draws,
    write_of,
)

import initspec
import initspec_keras.model
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models import Config, apply
from initspec.models.model import Piece, Write
from initspec_keras.model import open_model

layers = keras.layers
FILES = (__file__, Path(__file__).with_name("test_keras_model_tree.py"))

pytestmark = quiet


@pytest.fixture(scope="module")
def runs():
    with on_other_backends(*FILES) as started:
        yield started


@outer
@pytest.mark.parametrize("name", OTHERS)
def test_on_the_other_backends(name, runs):
    assert_passed(runs[name])


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
    assert all(each.parts for each in opened.tensors() if not each.buffer)
    pins = {p.path for each in opened.tensors() for p in each.parts if p.value == 0.0}
    if pins:  # the second of two biases that add
        unpin(opened, pins)
    same(layer(x), expected(x))


def test_statistics_of_the_data_that_a_config_knows():
    layer, x = layers.Normalization(), data(2, 5)
    layer.build(x.shape)
    filled(layer, given=ADAPTED)
    same(layer(x), normalization(x))


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


def counting():
    """A model with a count, as a config knows it, and the count."""
    layer = layers.Normalization()
    layer.build((None, 5))
    opened = open_model(layer, ADAPTED)
    return opened, next(each for each in opened.tensors() if each.path == "count")


def test_numbers_go_into_integers():
    opened, count = counting()
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


# --- what a layer starts with --------------------------------------------------------------------


BASE = Config(
    seed=1,
    extends=["initspec:base"],
    rules=[{"name": "kernels", "match": {"role": "kernel"}, "init": "he_normal", "optional": True}],
)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (layers.Normalization, (2, 5)),
        (lambda: layers.STFTSpectrogram(frame_length=4, frame_step=2), (2, 16, 1)),
    ],
)
def test_data_and_fixed_numbers_are_kept(make, shape):
    layer = make()
    layer.build(shape)
    found = open_model(layer, {}).tensors()
    assert found
    assert all(each.buffer and not each.parts for each in found)
    before = [np.array(each) for each in layer.get_weights()]
    apply(layer, BASE)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_statistics_of_renorm_begin_as_in_keras():
    layer = layers.BatchNormalization(renorm=True)
    layer.build((None, 4))
    statistics = {path for path, part in parts(layer).items() if part.role == "statistic"}
    assert statistics == {"mean", "variance", "stddev", "renorm_mean", "renorm_stddev"}
    before = {each.name: host(each.value).copy() for each in layer.weights}
    filled(layer)
    apply(layer, BASE)
    for each in layer.weights:
        np.testing.assert_array_equal(host(each.value), before[each.name], each.name)


@pytest.mark.parametrize("inner", [layers.Dense, lambda n: layers.Conv2D(n, 3)])
def test_training_with_a_spectral_norm_after_apply(inner, monkeypatch):
    monkeypatch.undo()  # the vector begins as Keras draws it
    keras.utils.set_random_seed(1)
    layer = layers.SpectralNormalization(inner(3), power_iterations=30)
    x = data(2, 5, 5, 4)
    layer.build(x.shape)
    start = host(layer.vector_u.value).copy()
    apply(layer, BASE)
    np.testing.assert_array_equal(host(layer.vector_u.value), start)
    drawn = host(layer.kernel.value).reshape(-1, 3).copy()
    for _ in range(2):
        assert np.isfinite(host(layer(x, training=True))).all()
    kernel = host(layer.kernel.value).reshape(-1, 3)
    np.testing.assert_allclose(kernel * np.linalg.norm(drawn, 2), drawn, rtol=1e-3, atol=1e-4)


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


def no_such_row(stored):
    part = replace(stored.parts[0], zero_rows=(4,))
    return Write(stored, (replace(piece(part), part=part),))


@pytest.mark.parametrize(
    "spoil",
    [
        wrong_name, wrong_shape, wrong_dtype, wrong_plan, wrong_region, a_number, nothing,
        too_large, no_such_row,
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
    opened, count = counting()
    with pytest.raises(InitspecTypeError, match="float32"):
        opened.write([write_of(count, initspec.ones)])


@pytest.mark.parametrize("value", [1e30, 2**70, 0.5, math.nan])
def test_numbers_that_do_not_fit(value):
    opened, count = counting()
    mean = opened.tensors()[0]
    before = opened.read(mean.name).copy()
    with pytest.raises(InitspecValueError, match="can hold"):
        opened.write([write_of(mean), Write(count, (Piece(count.parts[0], None, value),))])
    np.testing.assert_array_equal(opened.read(mean.name), before)


def with_parts(opened):
    return [each for each in opened.tensors() if each.parts]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_comes_between_is_told_and_the_same_call_completes_the_model(monkeypatch, error):
    layer = layers.GRU(3)
    layer.build((None, 5, 4))
    opened = open_model(layer, {})
    *others, bias = with_parts(opened)
    writes = [*map(write_of, others), write_of(bias, only="r/")]
    assert writes[-1].keeps

    def break_off(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(initspec_keras.model, "_check_local", break_off)  # where old values are read
        patch.setattr(type(opened), "_check", lambda *_: None)
        with pytest.raises(error) as caught:
            opened.write(writes)
    (note,) = caught.value.__notes__
    assert f"{len(others)} of {len(writes)} variables are written, up to {bias.name!r}" in note
    opened.write(writes)
    again = layers.GRU(3)
    again.build((None, 5, 4))
    fresh = open_model(again, {})
    fresh.write([replace(w, stored=s) for w, s in zip(writes, with_parts(fresh), strict=True)])
    for one, other in zip(with_parts(opened), with_parts(fresh), strict=True):
        np.testing.assert_array_equal(opened.read(one.name), fresh.read(other.name))


@pytest.mark.skipif(ACTIVE != "torch", reason="torch alone has tensors without memory")
def test_tensors_without_memory_are_planned_but_not_written():
    with keras.device("meta"):
        layer = layers.Dense(3)
        layer.build((None, 4))
    opened = open_model(layer, {})
    assert all(each.parts and not each.problem for each in opened.tensors())
    with pytest.raises(InitspecValueError, match="meta"):
        filled(layer)
    with pytest.raises(InitspecValueError, match="meta"):
        opened.read(opened.tensors()[0].name)


@pytest.mark.skipif(ACTIVE != "jax", reason="JAX alone has arrays that were given away")
def test_a_deleted_array_is_written_as_a_whole_or_not_at_all():
    layer = layers.GRU(3)
    layer.build((None, 5, 4))
    opened = open_model(layer, {})
    kernel, _, bias = with_parts(opened)
    before = opened.read(kernel.name).copy()
    layer.cell.bias.value.delete()
    with pytest.raises(InitspecValueError, match="deleted"):
        opened.write([write_of(kernel), write_of(bias, only="r/")])
    np.testing.assert_array_equal(opened.read(kernel.name), before)
    opened.write([write_of(bias)])
    assert opened.read(bias.name).any()


def test_reading_a_name_that_is_not_there():
    layer = layers.Dense(3, name="d")
    layer.build((None, 4))
    with pytest.raises(InitspecValueError, match="Did you mean 'd/kernel'"):
        open_model(layer, {}).read("d/kernle")
