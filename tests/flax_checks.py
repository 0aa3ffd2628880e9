"""What the tests of Flax models share: models filled without a config, part by part."""

import numpy as np
import pytest

import initspec
from initspec import stream
from initspec.models.model import Piece, Write

jax = pytest.importorskip("jax")

SEED = 20261121
LAW = initspec.uniform(0.05, 0.4)  # positive, so that it may be a variance


def sample(*shape):
    return np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)


def abstract(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def piece(part, zero=()):
    """The values that the part's canonical path names; zero where a name ends so."""
    value = 0.0 if part.path.endswith(zero) else part.value
    law = LAW if value is None else initspec.constant(value)
    keys = (stream.key(SEED, part.path),)
    return Piece(part, law.plan(part.shape, layout=part.layout, keys=keys))


def writes(model, zero=()):
    return [
        Write(stored, tuple(piece(part, zero) for part in stored.parts))
        for stored in model.tensors()
        if stored.parts and stored.dtype != "int64"
    ]


def filled(model, zero=()):
    """What `Model.write` returns after every part that is known has been written."""
    return model.write(writes(model, zero))


def fully(model, *paths):
    """Writes of these parts alone."""
    return [
        Write(stored, pieces)
        for stored in model.tensors()
        if (pieces := tuple(piece(part) for part in stored.parts if part.path in paths))
    ]


def parts(model):
    """The parts by canonical path; no two are the same."""
    found = [part for stored in model.tensors() for part in stored.parts]
    by_path = {part.path: part for part in found}
    assert len(by_path) == len(found)
    return by_path


def reference(part):
    """The stored values of a part as NumPy draws them."""
    return LAW(part.shape, layout=part.layout, seed=SEED, name=part.path, dtype=np.float32)
