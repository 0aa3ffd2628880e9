"""What the tests of torch share: strided tensors, and comparisons with the reference."""

import numpy as np
import pytest
from hypothesis import strategies as st
from samples import reference

import initspec
from initspec import stream

torch = pytest.importorskip("torch")

from initspec_torch import backend  # noqa: E402
from initspec_torch.memory import NAMES, host_view  # noqa: E402

SEED, NAME = 0xC90FDAA2_2168C234, "layer.weight"  # more than 63 bits


def assert_reference(tensor, init=initspec.he_normal, *, seed=SEED, name=NAME, **layout):
    """The tensor has the bits that the NumPy reference writes."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    plan = init.plan(tensor.shape, convention="OI", **layout).with_keys((stream.key(seed, name),))
    assert backend.to_host(tensor).tobytes() == reference(plan, dtype).tobytes()


def assert_equals_reference(write, plan, out):
    """A function that writes plans gives a tensor, of any device, the bits of the reference."""
    write(plan, plan.content, out)
    expected = reference(plan, NAMES[out.dtype])
    assert np.ascontiguousarray(host_view(out.cpu())).tobytes() == expected.tobytes()


def turned(shape, **options):
    """A tensor whose axes lie in memory in the opposite order."""
    return torch.empty(shape[::-1], **options).permute(tuple(reversed(range(len(shape)))))


def any_shape(data):
    """A pattern, and a shape that fits it."""
    rank = data.draw(st.integers(1, 5), label="rank")
    pattern = "".join(data.draw(st.permutations("SOIHW"), label="roles")[:rank])
    return ("O" if pattern == "S" else pattern), any_extents(data, rank)


def any_extents(data, rank):
    extents = st.lists(st.integers(1, 9), min_size=rank, max_size=rank)
    return tuple(data.draw(extents, label="shape"))


def any_view(data, shape, **options):
    """A tensor of any strides, after the memory, full of sevens, that it is a part of."""
    rank = len(shape)
    order = data.draw(st.permutations(range(rank)), label="memory order")
    steps = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank), label="steps")
    base = torch.full([1 + shape[axis] * steps[axis] for axis in order], 7.0, **options)
    cuts = tuple(slice(1, 1 + shape[axis] * steps[axis], steps[axis]) for axis in order)
    return base, base[cuts].permute(*np.argsort(order).tolist())


def assert_only_written(base, out):
    out.fill_(7.0)
    assert base.eq(7.0).all()
