"""What all models of JAX share: leaves are read on the host, and new ones are made from writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from numpy.typing import NDArray

from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.fill_plan import check_dtype
from initspec.models.model import Write, write_pieces
from initspec_kernel import aligned, fill

from .backend import host_bits

__all__ = [
    "Leaf",
    "check_leaf",
    "dtype_name",
    "is_abstract",
    "is_leaf",
    "make_leaf",
    "read_leaf",
    "tracing",
]

Leaf: TypeAlias = "jax.Array | NDArray[Any] | jax.ShapeDtypeStruct"


@contextmanager
def tracing(model: Any) -> Iterator[None]:
    """An error of the user's code, run to see what it makes, says that this was done.

    Raises:
        InitspecValueError: in the place of any other, which is its cause.
    """
    try:
        yield
    except InitspecError:
        raise
    except Exception as error:  # a module may fail in any way
        reason = str(error).partition("\n")[0]
        expected = f"a model whose init runs on these inputs ({type(error).__name__}: {reason})"
        advice = "Give it what the model is called with: arrays, or jax.ShapeDtypeStruct."
        raise InitspecValueError("inputs", type(model), expected, advice) from error


def is_leaf(value: Any) -> bool:
    """Whether it is an array, or the abstract form of one."""
    return isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct))


def is_abstract(leaf: Any) -> bool:
    """Whether it has no values: a shape and a dtype, or a traced array."""
    return isinstance(leaf, (jax.ShapeDtypeStruct, jax.core.Tracer))


def dtype_name(leaf: Leaf) -> str:
    """As in `Stored.dtype`: ``bfloat16``; of PRNG keys what JAX calls them."""
    return str(leaf.dtype)


def read_leaf(leaf: Leaf, name: str = "leaf") -> NDArray[Any]:
    """The values on the host, a view where there is one; bfloat16 as uint16 bit patterns.

    Raises:
        InitspecValueError: it is abstract, or lies partly in other processes.
    """
    if is_abstract(leaf):
        advice = "Let a rule write all of it, or pass a model that has values."
        raise InitspecValueError(name, leaf, "an array with values", advice)
    if isinstance(leaf, jax.Array):
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            advice = "Let a rule write all of it, or gather it first."
            expected = "an array whose values are all in this process"
            raise InitspecValueError(name, leaf.sharding, expected, advice)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
    return host_bits(np.asarray(leaf))


def check_leaf(write: Write, old: Leaf) -> None:
    """Whether `make_leaf` can do it.

    Raises:
        InitspecTypeError, InitspecValueError: it cannot; nothing has been written.
    """
    stored = write.stored
    if (tuple(old.shape), dtype_name(old)) != (stored.shape, stored.dtype):
        expected = f"{stored.dtype}{list(stored.shape)}, as when the model was read"
        raise InitspecValueError(stored.name, old, expected, "Open the model again.")
    if isinstance(old, jax.core.Tracer):
        advice = "Initialise the model outside jit, or draw from initspec.get(...).bind('jax')."
        raise InitspecTypeError(stored.name, old, "an array that is not traced", advice)
    if any(piece.plan is not None for piece in write.pieces):
        check_dtype(stored.dtype)
    if write.keeps:
        read_leaf(old, stored.name)
    wide = stored.dtype in ("float64", "int64", "uint64")
    if wide and _is_jax(old) and jax.dtypes.canonicalize_dtype(old.dtype) != old.dtype:
        advice = "Call jax.config.update('jax_enable_x64', True) first."
        raise InitspecValueError(stored.name, old, "64-bit types to be enabled in JAX", advice)


def make_leaf(write: Write, old: Leaf) -> Any:
    """The new array: of the old one's kind, dtype and place, with the pieces written.

    Args:
        write: what to put where; the other parts keep their values.
        old: stays as it is. Of an abstract one the result is a `jax.Array`, on its sharding.

    Raises:
        InitspecError: see `check_leaf`.
    """
    check_leaf(write, old)
    array = aligned(write.stored.shape, jnp.dtype(write.stored.dtype))
    bits = host_bits(array)
    if write.keeps:
        bits[...] = read_leaf(old)
    write_pieces(bits, write, fill)
    return _placed(array, old) if _is_jax(old) else array


def _is_jax(leaf: Leaf) -> bool:
    return not isinstance(leaf, np.ndarray)


def _placed(array: NDArray[Any], old: Any) -> jax.Array:
    """On the old one's devices; where JAX chose them, it may choose again."""
    sharding: Sharding | None = old.sharding if getattr(old, "committed", True) else None
    if sharding is None or sharding.is_fully_addressable:
        placed: jax.Array = jax.device_put(array, sharding)
        return placed
    # Every process makes its own shards; device_put would compare the whole among all of them.
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
