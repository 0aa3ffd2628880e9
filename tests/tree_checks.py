"""What the tests of models that are trees share: one drawn value for every logical tensor."""

import numpy as np

import initspec
from initspec import stream
from initspec.fill_plan import DTYPES
from initspec.models.model import Piece, Write

SEED = 20261121
DRAW = initspec.normal(std=0.4)


def data(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def tensor(array):
    """For torch, whose forward passes are the reference."""
    import torch

    return torch.from_numpy(np.array(array))


def logical(path, shape, layout, **options):
    """The values that the tensor of this path has, in another framework's layout."""
    return DRAW(shape, layout=layout, seed=SEED, name=path, **options)


def vector(path, size):
    return logical(path, (size,), "O")


def write_for(stored, only=None):
    return Write(
        stored,
        tuple(
            _piece(part, stored.dtype) for part in stored.parts if only is None or part.path in only
        ),
    )


def _piece(part, dtype):
    if dtype not in DTYPES:
        return Piece(part, None, part.value)
    init = DRAW if part.value is None else initspec.constant(part.value)
    keys = (stream.key(SEED, part.path),)
    return Piece(part, init.plan(part.shape, layout=part.layout, keys=keys))


def writes(model, *, buffers=False):
    """Every tensor whose parts are known, under the key of each part's path."""
    known = (stored for stored in model.tensors() if stored.parts)
    return [write_for(stored) for stored in known if buffers or not stored.buffer]


def drawn(model, **options):
    """The model with all of it drawn."""
    return model.write(writes(model, **options))


def parts(model):
    """By canonical path."""
    return {part.path: part for stored in model.tensors() for part in stored.parts}


def stored(model):
    return {each.name: each for each in model.tensors()}


def close(actual, expected, tolerance=2e-5):
    np.testing.assert_allclose(
        np.asarray(actual), np.asarray(expected), rtol=tolerance, atol=tolerance
    )
