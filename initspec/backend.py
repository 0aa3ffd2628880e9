"""The backend protocol: what an adapter has to provide, and what it gets for free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from . import stream
from .draw import check_range
from .errors import InitspecTypeError, InitspecValueError
from .fill_plan import FillPlan, check_dtype
from .layout import Layout, LayoutOptions, check_known
from .shape import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .initializer import Initializer

__all__ = ["Backend"]

_MOST_PLANS = 4096
_plans: dict[tuple[Any, ...], FillPlan] = {}  # without keys
_EXACT = frozenset((str, int, bool, type(None), Layout))


class Backend(ABC):
    """An adapter to one framework. All the thought is in the plan: an adapter runs it.

    Attributes:
        name: what users write as ``backend=``.
        convention: the default layouts, ``"OI"`` (torch) or ``"IO"``.
    """

    name: ClassVar[str]
    convention: ClassVar[str] = "IO"

    @abstractmethod
    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Any:
        """A new tensor with the values of the plan."""

    @abstractmethod
    def to_host(self, tensor: Any) -> NDArray[Any]:
        """The tensor as a host array in its own layout; bfloat16 as uint16 bit patterns."""

    def emit_into(self, plan: FillPlan, out: Any) -> None:
        """Write the values of the plan into a tensor that `inspect` accepted, at its strides."""
        raise self._immutable(out)

    def inspect(self, out: Any) -> tuple[Iterable[Any], Any]:
        """Shape and dtype of a tensor given as ``out``, once it is sure that it can be written."""
        raise self._immutable(out)

    def _immutable(self, out: Any) -> InitspecTypeError:
        advice = "Leave out= away and use the tensor that is returned."
        return InitspecTypeError(
            "out", type(out), f"none: {self.name} has no writable tensors", advice
        )

    def fresh_seed(self) -> int:
        """A seed from the framework's global generator, or from the operating system."""
        import secrets  # noqa: PLC0415

        return secrets.randbits(64)

    def devices(self) -> dict[str, str]:
        """The accelerators in reach, and in words how tensors are made there."""
        return {}

    def bind(self, initializer: Initializer, **options: Any) -> Any:
        """The initializer as the framework's own kind of object."""
        advice = "Call the initializer itself, or bind to 'torch', 'tensorflow', 'jax' or 'keras'."
        raise InitspecValueError("backend", self.name, "a framework with initializers", advice)

    def draw(
        self,
        initializer: Initializer,
        shape: Iterable[Any] | None,
        *,
        dtype: Any,
        device: Any,
        seed: Any,
        name: str,
        out: Any,
        layout: LayoutOptions,
    ) -> Any:
        """Check everything, make the plan, then emit it."""
        if out is not None:
            shape, dtype = self._of_out(out, shape, dtype, device)
        elif shape is None:
            raise InitspecTypeError("shape", None, "a tuple of integers, or a tensor as out=")
        kind = "float32" if dtype is None else check_dtype(dtype)
        plan = self.plan(initializer, shape, kind, layout, seed, name)
        if out is None:
            return self.emit(plan, kind, device)
        self.emit_into(plan, out)
        return out

    def plan(
        self,
        initializer: Initializer,
        shape: Iterable[Any],
        dtype: str,
        layout: LayoutOptions,
        seed: Any,
        name: str,
    ) -> FillPlan:
        """The plan of a tensor, checked against its dtype, under the keys of seed and name."""
        plan = self.outline(initializer, shape, dtype, layout)
        if seed is None and not initializer.draws:
            seed = 0  # checked like any other, but no generator moves for it
        return plan.with_keys(self.keys(plan, seed, name))

    def outline(
        self, initializer: Initializer, shape: Iterable[Any], dtype: str, layout: LayoutOptions
    ) -> FillPlan:
        """The plan but for its keys, which are zeros. Kept: many tensors of a model share it."""
        dims, options = check_shape(shape), _exact(layout)
        key = (initializer, dims, dtype, self.convention, options)
        found = None if options is None else _plans.get(key)
        if found is not None:
            return found
        check_known(layout)  # or a wrong keyword could pass for one of plan's own
        made = initializer.plan(dims, convention=self.convention, **layout)
        check_range(made.content, dtype)
        if options is not None:
            if len(_plans) >= _MOST_PLANS:
                _plans.clear()
            _plans[key] = made
        return made

    def keys(self, plan: FillPlan, seed: Any, name: str) -> tuple[tuple[int, int], ...]:
        """One key per named block: ``name``, or ``name#block``."""
        if not isinstance(name, str):  # with blocks, formatting would make it one
            raise InitspecTypeError("name", name, "a string")
        number = stream.check_seed(self.fresh_seed() if seed is None else seed)
        return tuple([self.key(number, each) for each in plan.names(name)])

    @staticmethod
    def key(seed: int, name: str) -> stream.Key:
        """`initspec.stream.key`, or whatever yields the same sooner."""
        return stream.key(seed, name)

    def _of_out(
        self, out: Any, shape: Iterable[Any] | None, dtype: Any, device: Any
    ) -> tuple[tuple[int, ...], str]:
        found_shape, found_dtype = self.inspect(out)
        dims, kind = check_shape(found_shape, "out.shape"), check_dtype(found_dtype)
        if shape is not None and check_shape(shape) != dims:
            raise InitspecValueError("shape", shape, f"the shape of out, {dims}")
        if dtype is not None and check_dtype(dtype) != kind:
            raise InitspecValueError("dtype", dtype, f"the dtype of out, {kind}")
        if device is not None:
            raise InitspecValueError("device", device, "None together with out")
        return dims, kind


def _exact(options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Keywords in a form that can be looked up; None for values of unusual types.

    The types are part of it, for True equals 1, and only one of them is a number of groups.
    """
    key: list[Any] = []
    for name, value in options.items():
        kind = type(value)
        parts = value if kind in (tuple, list) else (value,)
        if kind is dict:
            parts = (*value, *value.values())
        kinds = tuple(map(type, parts))
        if not _EXACT.issuperset(kinds):
            return None
        key += (name, kind, kinds, *parts)
    return tuple(key)
