"""Initializers as TensorFlow knows them: callables of a shape and a dtype."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from initspec import stream
from initspec.fill_plan import check_dtype
from initspec.initializer import Initializer
from initspec.layout import check_options
from initspec.registry import get_backend

from .graph import unconverted

__all__ = ["TensorFlowInitializer"]


class TensorFlowInitializer:
    """``f(shape, dtype=None)``, for ``tf.Variable(lambda: f((3, 4)))`` and whatever takes such.

    Every call makes new weights: without a seed a fresh one is drawn, with a seed the calls of one
    object use the names ``name``, ``name#1``, ``name#2``, ... So give each variable an object, or
    a name, of its own where the order of the calls may change. A traced ``tf.function`` calls the
    object when it is traced, not when it runs.

    Args:
        initializer: what to draw.
        seed: integer in ``[0, 2**64)``, or None.
        name: the name of the first tensor.
        **layout: layout, groups, blocks, stride, transposed, sizes, see `Layout.parse`.

    Example:
        >>> import initspec, tensorflow as tf
        >>> f = initspec.he_normal.bind("tensorflow", seed=0, name="fc")
        >>> tf.Variable(lambda: f((3, 4))).shape
        TensorShape([3, 4])
    """

    def __init__(
        self,
        initializer: Initializer,
        *,
        seed: Any = None,
        name: str = "",
        **layout: Any,
    ) -> None:
        self.initializer = initializer
        self.seed = None if seed is None else stream.check_seed(seed)
        stream.name_words(name)
        self.name = name
        self.layout = check_options(layout)
        self._calls = count()

    @unconverted
    def __call__(self, shape: Iterable[Any], dtype: Any = None) -> Any:
        """A new tensor; float32 if no dtype is given."""
        backend = get_backend("tensorflow")
        kind = "float32" if dtype is None else check_dtype(dtype)
        # Everything is checked before a name is spent on it.
        plan = backend.outline(self.initializer, shape, kind, self.layout)
        if self.initializer.draws:
            plan = plan.with_keys(backend.keys(plan, self.seed, self._next_name()))
        return backend.emit(plan, kind, None)

    def _next_name(self) -> str:
        if self.seed is None:
            return self.name
        number = next(self._calls)
        return f"{self.name}#{number}" if number else self.name

    def __repr__(self) -> str:
        given = {"seed": self.seed, "name": self.name, **self.layout}
        words = ", ".join(f"{key}={value!r}" for key, value in given.items())
        return f"{type(self).__name__}({self.initializer!r}, {words})"
