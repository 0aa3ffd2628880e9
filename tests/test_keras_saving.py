"""Keras: configs and saved models give the same initializers and weights.

test_keras.py runs this file too on each other Keras backend.
"""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from keras_checks import bound, dense, host, quiet, same

import initspec
from initspec.errors import InitspecError
from initspec_keras import KerasInitializer

layers = keras.layers
he, glorot = initspec.he_normal, initspec.glorot_uniform

pytestmark = quiet

OPTIONS = [
    {},
    {"seed": 2**64 - 1, "name": "a/{path}"},
    {"layout": "H W I (G O)", "groups": 4, "stride": (2, 2)},
    {"layout": "I (4 O)", "blocks": ["i", "f", "c", "o"]},
    {"layout": "(G O) I", "sizes": {"G": 2}, "transposed": False},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_config_round_trip(options):
    init = glorot.bind("keras", **options)
    config = json.loads(json.dumps(init.get_config()))
    twin = KerasInitializer.from_config(config)
    assert twin == init
    assert hash(twin) == hash(init)
    assert twin.get_config() == init.get_config()
    assert repr(twin) == repr(init)
    assert copy.deepcopy(init) == pickle.loads(pickle.dumps(init)) == init.clone() == init
    assert keras.initializers.deserialize(keras.initializers.serialize(init)) == init


def test_every_argument_counts_for_equality():
    different = [glorot.bind("keras", **options) for options in OPTIONS]
    different += [he.bind("keras"), glorot.bind("keras", seed=0), glorot.bind("keras", name="w")]
    assert len(set(different)) == len(different)
    assert glorot.bind("keras") != "glorot_uniform"


def test_told_axes_survive_the_config():
    init = KerasInitializer("he_normal", seed=0, input_axes=[0], output_axes=[1, 2])
    assert init.clone() == init != KerasInitializer("he_normal", seed=0)


def test_layers_take_a_plain_dictionary():
    config = {"initializer": "he_normal", "seed": 3}
    layer = dense({"class_name": "initspec>Initializer", "config": config})
    same(layer.kernel, he((5, 6), seed=3, name="fc/kernel"))


def network():
    init = bound()
    inputs = keras.Input((6, 8))
    attention = layers.MultiHeadAttention(2, 3, kernel_initializer=init, name="mha")
    lstm = layers.LSTM(4, kernel_initializer=init, recurrent_initializer=init, name="rnn")
    head = layers.Dense(3, kernel_initializer=init, name="head")
    return keras.Model(inputs, head(lstm(attention(inputs, inputs))))


def changed(model):
    model.layers[-1].kernel.assign(np.full((4, 3), 0.5, "float32"))
    return model


def weights(model):
    return [host(w).tobytes() for w in model.weights]


def test_saved_models_come_back(tmp_path):
    model = changed(network())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert weights(loaded) == weights(model)
    assert loaded.layers[-1].kernel_initializer == model.layers[-1].kernel_initializer


def test_clones_are_initialised_alike():
    model = network()
    start = weights(model)
    assert weights(keras.models.clone_model(changed(model))) == start


def test_bidirectional_layers_are_saved(tmp_path):
    lstm = layers.LSTM(4, kernel_initializer=bound(), recurrent_initializer=bound())
    model = keras.Sequential([keras.Input((6, 8)), layers.Bidirectional(lstm)])
    model.save(tmp_path / "model.keras")
    assert weights(keras.saving.load_model(tmp_path / "model.keras")) == weights(model)


def test_configs_that_cannot_be_read():
    config = bound().get_config()
    newer = {**config, "initializer": {**config["initializer"], "initspec": 99}}
    for wrong, where in [
        (newer, "initspec"),
        ({**config, "initializr": 1}, "initializr"),
        ({**config, "quantum": 1}, "quantum"),
        ({"seed": 1}, "initializer"),
    ]:
        with pytest.raises(InitspecError) as caught:
            KerasInitializer.from_config(wrong)
        assert caught.value.where == where


def test_newer_formats_in_saved_layers():
    config = layers.serialize(dense(bound()))
    config["config"]["kernel_initializer"]["config"]["initializer"]["initspec"] = 99
    with pytest.raises(TypeError, match="upgrade"):  # Keras wraps what it meets
        layers.deserialize(config)
