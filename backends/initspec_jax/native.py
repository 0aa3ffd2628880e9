"""Initializers as ``jax.nn.initializers`` knows them: functions of a key, a shape and a dtype."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from initspec import stream
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import check_dtype
from initspec.initializer import Initializer
from initspec.layout import check_options
from initspec.registry import get_backend

from . import traced

__all__ = ["JaxInitializer", "TracedSeed", "check_fit", "seed_of"]

_HINT = "Pass jax.random.key(7), or seed=7 to the initializer itself."


@dataclass(frozen=True, repr=False)
class JaxInitializer:
    """``f(key, shape, dtype=float32, out_sharding=None)``: the protocol of jax.nn.initializers.

    It serves as ``kernel_init`` in flax.linen and flax.nnx, and wherever such a function is taken.
    Haiku calls ``w_init(shape, dtype)``: pass ``lambda *args: f(hk.next_rng_key(), *args)``.

    ``f(jax.random.key(7), shape)`` is the draw of ``seed=7``: the two words of a key are the
    halves of the seed. Of a key of four words (``rbg``) the seed is the first two words of
    ``philox4x32(counter=words, key=(0, 0))``, the low one first.

    Args:
        initializer: what to draw.
        name: the stream's name; layers differ by their keys, so one name is enough.
        options: the layout keywords, sorted.

    Example:
        >>> import initspec, jax
        >>> init = initspec.he_normal.bind("jax")
        >>> init(jax.random.key(0), (256, 128)).shape
        (256, 128)
    """

    initializer: Initializer
    name: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, initializer: Initializer, *, name: str = "", **layout: Any) -> JaxInitializer:
        """Check the name and the layout keywords, as far as one can without a shape."""
        stream.name_words(name)
        given = check_options(layout).items()
        return cls(initializer, name, tuple(sorted((k, _hashable(v)) for k, v in given)))

    def __call__(
        self,
        key: Any,
        shape: Iterable[Any],
        dtype: Any = jnp.float32,
        out_sharding: NamedSharding | PartitionSpec | None = None,
    ) -> jax.Array:
        """The array for one parameter.

        Args:
            key: typed (``jax.random.key``) or raw; may be traced. Not looked at where nothing is
                random.
            shape: the stored shape.
            dtype: float32 if None.
            out_sharding: where its parts belong.
        """
        backend = get_backend("jax")
        kind = check_dtype(jnp.float32 if dtype is None else dtype)
        place = _sharding(out_sharding)
        seed = seed_of(key) if self.initializer.draws else 0
        options: Any = {k: dict(v) if k == "sizes" else v for k, v in self.options}
        plan = backend.plan(self.initializer, shape, kind, options, seed, self.name)
        check_fit("out_sharding", place, plan.shape)
        array: jax.Array = backend.emit(plan, kind, place)
        return array

    def __repr__(self) -> str:
        given = {"name": self.name} if self.name else {}
        options = "".join(f", {k}={v!r}" for k, v in (*given.items(), *self.options))
        return f"{self.initializer!r}.bind('jax'{options})"


def _hashable(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


def _sharding(out_sharding: Any) -> NamedSharding | None:
    """A specification becomes a sharding of the mesh that is set."""
    if out_sharding is None or isinstance(out_sharding, NamedSharding):
        return out_sharding
    if not isinstance(out_sharding, PartitionSpec):
        raise InitspecTypeError("out_sharding", out_sharding, "a NamedSharding or PartitionSpec")
    abstract = jax.sharding.get_abstract_mesh()
    if abstract.empty:
        advice = "Enter jax.set_mesh(mesh), or pass a NamedSharding."
        raise InitspecValueError("out_sharding", out_sharding, "a mesh to be set", advice)
    mesh = abstract if traced.tracing() else jax.sharding.get_mesh()
    return NamedSharding(mesh, out_sharding)


def check_fit(where: str, sharding: Sharding | None, shape: tuple[int, ...]) -> None:
    """JAX gives every device an equal share: refuse a shape that cannot be cut so."""
    try:
        if sharding is not None:
            sharding.shard_shape(shape)
    except ValueError as error:
        rule = f"a sharding that divides the shape {shape}: {error}"
        raise InitspecValueError(where, sharding, rule) from error


# --- keys -------------------------------------------------------------------------------------


class TracedSeed(NamedTuple):
    """The two words of a seed that is known when the compiled function runs."""

    low: jax.Array
    high: jax.Array


def seed_of(key: Any) -> int | TracedSeed:
    """The seed that a JAX key stands for.

    Raises:
        InitspecTypeError, InitspecValueError: it is no key, or more than one.
    """
    words = _words(key)
    if isinstance(words, jax.core.Tracer):
        four = tuple(words)
        low, high = traced.philox(four, (0, 0))[:2] if len(four) == 4 else four[::-1]
        return TracedSeed(low, high)
    known = tuple(np.asarray(words).tolist())
    low, high = stream.philox4x32(known, (0, 0))[:2] if len(known) == 4 else known[::-1]
    return int(low | high << 32)


def _words(key: Any) -> Any:
    """The two or four words of a typed or raw key."""
    if not isinstance(key, (jax.Array, np.ndarray)):
        raise InitspecTypeError("key", key, "a JAX key", _HINT)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    elif key.dtype != np.uint32:
        raise InitspecTypeError("key", key, "a JAX key (a raw one holds uint32 words)", _HINT)
    if key.ndim > 1 and key.shape[-1] in (2, 4):
        advice = "Map over the keys: jax.vmap(lambda key: init(key, shape))(keys)."
        raise InitspecValueError("key", key, f"one key, not {key.shape[:-1]} of them", advice)
    if key.shape not in ((2,), (4,)):
        raise InitspecValueError("key", key, "a key of 2 or 4 words", _HINT)
    return key
