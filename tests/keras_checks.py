"""What the tests of Keras share: layers that are built, and comparisons with NumPy's draw."""

import os
import subprocess
import sys
from contextlib import contextmanager

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


ACTIVE = keras.backend.backend()
OTHERS = sorted({"tensorflow", "jax", "torch", "numpy"} - {ACTIVE})
_CHILD = "INITSPEC_TEST_KERAS_CHILD"
outer = pytest.mark.skipif(_CHILD in os.environ, reason="the outer run starts these")


@contextmanager
def on_other_backends(*files):
    """The tests of these files on each other backend, all at once: a process for each."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    common = {**os.environ, _CHILD: "1", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
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


def assert_passed(run):
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert " passed" in output


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
