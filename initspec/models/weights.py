"""The values of logical tensors: those that a plan would draw, and those that a model has."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec.digest import logical_digest
from initspec.fill_plan import STORAGE, FillPlan
from initspec.stream import as_float, cast

from .model import Write, write_pieces
from .plans import Row, piece

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from initspec.stream import Key

__all__ = ["drawn_digest", "expected", "fill", "logical"]


def fill(plan: FillPlan, out: NDArray[Any], dtype: str) -> None:
    """Write a plan's values into host memory, by the kernel where there is one."""
    import_module("initspec_kernel").fill(plan, out, dtype)  # by name: the core imports no backend


def expected(row: Row, key: Key, found: NDArray[Any]) -> NDArray[Any]:
    """The row's region of a stored tensor as the plan would write it; ``found`` is what is there.

    The region alone: a stack of many layers is not copied whole for each of them.
    """
    assert row.part is not None
    region = found[(*row.part.region, ...)].copy()
    alone = replace(row, part=replace(row.part, region=(slice(None),) * region.ndim))
    write_pieces(region, Write(row.stored, (piece(alone, key),)), fill)
    return region


def drawn_digest(row: Row, key: Key) -> str:
    """The digest of what a row draws, in float32, whatever the dtype it is stored in."""
    assert row.part is not None
    assert row.law is not None
    array = np.empty(row.part.shape, STORAGE["float32"])
    fill(FillPlan(row.part.geometry, row.law.content, (key,)), array, "float32")
    row.part.clear(array)
    return logical_digest(array, row.part.geometry)


def logical(row: Row, array: NDArray[Any]) -> NDArray[Any]:
    """The row's part of a stored array, as all frameworks mean it: sign and shift undone."""
    assert row.part is not None
    view = row.part.view(array)
    if not (row.part.negate or row.part.shift):
        return view
    values = as_float(view) + row.part.shift
    return cast(-values if row.part.negate else values, row.stored.dtype)
