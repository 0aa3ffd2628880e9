"""Plans become JAX arrays: filled on the host and handed over, or computed where JAX traces."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding, SingleDeviceSharding
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import FillPlan
from initspec.initializer import Initializer
from initspec_kernel import aligned, fill, key

from . import traced
from .native import JaxInitializer, TracedSeed, check_fit

__all__ = ["JaxBackend", "host_bits"]


class JaxBackend(Backend):
    """Arrays of JAX: equal bits eager and traced, on one device and sharded.

    ``device`` is a ``jax.Device``, a ``jax.sharding.Sharding``, or a platform's name such as
    ``"cpu"`` or ``"gpu:1"``.
    """

    name: ClassVar[str] = "jax"
    key = staticmethod(key)

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Any:
        """A new array; inside a transformation of JAX the operations that compute it."""
        if dtype == "float64" and jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
            advice = "Call jax.config.update('jax_enable_x64', True) first, or draw in float32."
            raise InitspecValueError("dtype", dtype, "64-bit types to be enabled in JAX", advice)
        place = _place(device, plan.shape)
        keyed = any(isinstance(word, jax.core.Tracer) for key in plan.keys for word in key)
        # What is only rounded alike elsewhere is exact when known keys let the host factor it.
        if keyed or (traced.tracing() and plan.promise == "bits"):
            return _put_traced(plan, dtype, place)
        array = aligned(plan.shape, jnp.dtype(dtype))
        fill(plan, host_bits(array), dtype)
        return jax.device_put(array, place)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """A host copy, or a view where there is one."""
        return host_bits(np.asarray(tensor))

    def fresh_seed(self) -> int:
        """From the operating system, for JAX has no global generator."""
        if traced.tracing():
            advice = "Pass seed=, or a key to the initializer from bind('jax')."
            rule = "a seed inside jit, vmap and the like, where a fresh one would be frozen in"
            raise InitspecValueError("seed", None, rule, advice)
        return super().fresh_seed()

    def keys(self, plan: FillPlan, seed: Any, name: str) -> tuple[tuple[Any, Any], ...]:
        """As in every backend; of a JAX key that is traced, traced words."""
        if not isinstance(seed, TracedSeed):
            return super().keys(plan, seed, name)
        words: traced.Keys = traced.derive(plan.names(name), seed.low, seed.high)
        return words

    def bind(self, initializer: Initializer, **options: Any) -> JaxInitializer:
        """``f(key, shape, dtype, out_sharding)``; options: ``name`` and the layout keywords."""
        return JaxInitializer.of(initializer, **options)


def host_bits(array: NDArray[Any]) -> NDArray[Any]:
    """A view of bfloat16 as uint16; of another type the array itself."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _place(device: Any, shape: tuple[int, ...]) -> Sharding | None:
    """Where the user wants the array; None leaves it to JAX."""
    if device is None:
        return None
    if isinstance(device, str):
        device = _named_device(device)
    if isinstance(device, jax.Device):
        return SingleDeviceSharding(device)
    if not isinstance(device, Sharding):
        expected = "a jax.Device, a jax.sharding.Sharding or a platform's name"
        raise InitspecTypeError("device", device, expected)
    check_fit("device", device, shape)
    return device


def _named_device(name: str) -> jax.Device:
    platform, _, number = name.partition(":")
    try:
        return jax.local_devices(backend=platform)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        known = [f"{each.platform}:{each.id}" for each in jax.local_devices()]
        raise InitspecValueError("device", name, f"a device that JAX has, as {known}") from error


def _put_traced(plan: FillPlan, dtype: str, place: Sharding | None) -> Any:
    make = partial(traced.make, plan, dtype)
    word = partial(jnp.asarray, dtype=jnp.uint32)
    keys = tuple((word(k0), word(k1)) for k0, k1 in plan.keys)
    if isinstance(place, NamedSharding) and (axes := place.mesh.explicit_axes):
        # Inside, XLA shares the work out; without this every device would do all of it.
        return jax.sharding.auto_axes(make, axes=axes, out_sharding=place)(keys)
    if place is None:
        return make(keys)
    # device_put would do nothing inside jit, and not say so.
    return jax.lax.with_sharding_constraint(make(keys), place)  # type: ignore[no-untyped-call]
