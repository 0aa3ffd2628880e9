"""What the tests of Keras share: layers that are built, and comparisons with NumPy's draw."""

import keras
import numpy as np
import pytest

import initspec
from initspec.registry import get_backend

layers = keras.layers
he = initspec.he_normal
quiet = pytest.mark.filterwarnings(
    # Keras on NumPy traces with uninitialised arrays, and does not know of NumPy 2's copy keyword.
    "ignore:overflow",
    "ignore:invalid value",
    "ignore:__array__ implementation",
)


def host(tensor):
    return np.asarray(get_backend("keras").to_host(tensor))


def same(tensor, expected):
    found = host(tensor)
    bits = f"u{expected.dtype.itemsize}"
    assert found.shape == expected.shape
    assert found.dtype.itemsize == expected.dtype.itemsize
    np.testing.assert_array_equal(found.view(bits), expected.view(bits))


def built(layer, *shape):
    layer.build(shape)
    return layer


def dense(init, name="fc", **options):
    return built(layers.Dense(6, kernel_initializer=init, name=name, **options), None, 5)


def bound(layout=None, **options):
    return he.bind("keras", seed=3, layout=layout, **options)
