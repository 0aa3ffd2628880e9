"""Shapes: a tuple of plain integers, checked once, before anything is allocated."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Set
from itertools import islice
from typing import Any

import numpy as np

from .errors import InitspecTypeError, InitspecValueError

__all__ = ["LARGEST", "check_count", "check_shape", "overlaps"]

LARGEST = 2**60 - 1  # elements: of eight bytes each, what a signed 64-bit offset reaches
MOST_AXES = 32  # what every NumPy can hold


def check_shape(shape: Iterable[Any], where: str = "shape") -> tuple[int, ...]:
    """``shape`` as a tuple of non-negative ints; generators are read once, nothing is coerced.

    >>> check_shape(n for n in (3, 4))
    (3, 4)
    """
    if type(shape) is tuple and len(shape) <= MOST_AXES and _is_plain(shape):
        return shape
    if isinstance(shape, (str, bytes, Mapping, Set)) or not hasattr(shape, "__iter__"):
        hint = f"Write ({shape},) for one axis." if _is_count(shape) else ""
        raise InitspecTypeError(where, shape, "a tuple of integers", hint)
    dims = tuple(
        check_count(dim, f"{where}[{axis}]", minimum=0) for axis, dim in enumerate(_items(shape))
    )
    if math.prod(dim for dim in dims if dim) > LARGEST or max(dims, default=0) > LARGEST:
        raise InitspecValueError(where, dims, "fewer than 2**60 elements", "Make it smaller.")
    return dims


def _is_plain(shape: tuple[Any, ...]) -> bool:
    """Whether the shape is what nearly all are: correct, and of plain ints."""
    size = 1
    for dim in shape:
        if type(dim) is not int or dim < 0:
            return False
        size *= dim or 1
    return size <= LARGEST


def _items(shape: Iterable[Any]) -> list[Any]:
    try:
        items = list(islice(shape, MOST_AXES + 1))
    except Exception as error:  # e.g. a tf.TensorShape of unknown rank, a traced array
        advice = "Build the layer first, so that its shape is known."
        raise InitspecTypeError("shape", shape, "a shape of known rank", advice) from error
    if len(items) > MOST_AXES:
        raise InitspecValueError("shape", shape, f"at most {MOST_AXES} axes")
    return items


def _is_count(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def check_count(value: Any, where: str, minimum: int = 1) -> int:
    """``value`` as a plain int of at least ``minimum``; booleans and floats are refused.

    >>> check_count(8, "groups")
    8
    """
    if isinstance(value, (bool, np.bool_)):
        raise InitspecTypeError(where, value, "an integer", "A boolean is not a size.")
    if value is None:
        advice = "Build the model (or run one batch) so that every size is known."
        raise InitspecTypeError(where, value, "an integer", advice)
    try:
        number = operator.index(value)
    except Exception as error:  # jax raises its own error for a traced size
        advice = "Sizes are static integers; write 4, not 4.0, and never a traced value."
        raise InitspecTypeError(where, value, "an integer", advice) from error
    if number < minimum:
        raise InitspecValueError(where, number, f"an integer of at least {minimum}")
    return number


def overlaps(shape: Iterable[int], strides: Iterable[int], itemsize: int = 1) -> bool:
    """Whether two elements of a tensor may share memory, judged by its strides.

    >>> overlaps((3, 4), (0, 1)), overlaps((3, 4), (4, 1))
    (True, False)
    """
    axes = sorted((abs(stride), size) for stride, size in zip(strides, shape, strict=True))
    if any(size == 0 for _, size in axes):
        return False
    reach = itemsize - 1  # of the axes with smaller strides
    for stride, size in axes:
        if size > 1 and stride <= reach:
            return True
        reach += stride * (size - 1)
    return False
