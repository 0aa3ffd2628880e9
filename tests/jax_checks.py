"""What the tests of JAX share: a seed as a key, and the comparison with the reference."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

SEED = 0x9E3779B97F4A7C15
RAW_KEY = np.array([SEED >> 32, SEED & 0xFFFFFFFF], np.uint32)


def reference(init, shape, dtype="float32", seed=SEED, name="", **layout):
    return init(shape, dtype=dtype, seed=seed, name=name, **layout)


def same(actual, expected):
    """Bits, shape and dtype."""
    assert isinstance(actual, jax.Array)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    unsigned = f"u{expected.dtype.itemsize}"
    np.testing.assert_array_equal(np.asarray(actual).view(unsigned), expected.view(unsigned))
