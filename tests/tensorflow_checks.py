"""What the tests of TensorFlow share: its modes, and what the reference says."""

import importlib

import pytest
import samples

from initspec.registry import get_backend

tf = pytest.importorskip("tensorflow")
backend = get_backend("tensorflow")
graph = importlib.import_module("initspec_tensorflow.graph")
adapter = importlib.import_module("initspec_tensorflow.backend")

MODES = {
    "eager": lambda make: make,
    "graph": lambda make: tf.function(make, autograph=False),
    "xla": lambda make: tf.function(make, autograph=False, jit_compile=True),
}
in_each_mode = pytest.mark.parametrize("mode", MODES)


def reference(init, shape, dtype="float32", seed=1, name="w", **layout):
    """What the specification in NumPy says."""
    plan = get_backend("numpy").plan(init, shape, dtype, layout, seed, name)
    return samples.reference(plan, dtype)
