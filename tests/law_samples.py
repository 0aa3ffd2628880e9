"""Honest samples of every law by NumPy's own methods, and the layouts to store them in."""

import math

import numpy as np

from initspec.layout import Layout
from initspec.stream import cast
from initspec_conformance.statistics.laws import Target

TARGETS = {
    "normal": Target.normal(0.0, 0.25),
    "truncated": Target.truncated(0.0, 0.5, -2.0, 2.0),
    "lopsided": Target.truncated(0.1, 0.5, -1.0, 2.5),
    "uniform": Target.uniform(-0.3, 0.3),
}
LAYOUTS = {
    "dense": ((96, 160), "OI", {}),
    "convolution": ((3, 3, 32, 48), "HWIO", {}),
    "groups": ((48, 24, 3, 3), "OIHW", {"groups": 4}),
    "blocks": ((192, 64), "(3 O) I", {"blocks": "qkv"}),
    "composite": ((64, 4, 48), "I (G O) S", {"sizes": {"G": 2}}),
    "vector": ((12_000,), "I", {}),
    "primes": ((127, 131), "OI", {}),
}
DTYPES = ("float32", "float64", "bfloat16", "float16")


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def bound(layout):
    shape, pattern, options = LAYOUTS[layout]
    return Layout.parse(pattern, **options).bind(shape)


def drawn(target, size, seed=0):
    """Values of the law by NumPy's own methods, in float64."""
    source = rng(seed)
    if target.kind == "uniform":
        return source.uniform(target.low, target.high, size)
    values = np.zeros(0)
    while values.size < size:
        more = source.normal(target.centre, target.sigma, size)
        values = np.concatenate([values, more[(more >= target.low) & (more <= target.high)]])
    return values[:size]


def stored(values, dtype, geometry):
    return cast(values, dtype).reshape(geometry.shape)


def samples(target, geometry, dtype="float32", count=2, seed=0):
    size = math.prod(geometry.shape)
    return [stored(drawn(target, size, 100 * seed + n), dtype, geometry) for n in range(count)]
