"""Plans, checks and differences as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from initspec.terminal import columns

from .plans import KEEP, PINNED

if TYPE_CHECKING:
    from .plans import Plan, Row

__all__ = ["plan_cells", "plan_headers", "plan_table"]

_HEADERS = ("canonical path", "stored as", "stored", "logical", "fans", "rule", "std")


def plan_headers(verbose: bool = False) -> tuple[str, ...]:
    """The heads of a plan's columns."""
    return (*_HEADERS, "layout", "init", "second rule") if verbose else _HEADERS


def plan_cells(row: Row, verbose: bool = False) -> tuple[str, ...]:
    """A row of a plan, one text per column."""
    part, law = row.part, row.law
    cells = (
        row.path,
        row.stored.name,
        _shape(row.stored.shape),
        _shape(part.logical_shape) if part else "",
        ", ".join(f"{fan:g}" for fan in row.fans) if row.fans else "",
        _decision(row),
        "" if law is None else f"{law.mean:.4g}" if not law.std else f"{law.std:.4g}",
    )
    if not verbose:
        return cells
    second = row.second.name if row.second else ""
    return (*cells, part.layout.pattern if part else "", law.formula if law else "", second)


def _decision(row: Row) -> str:
    name = row.rule.name if row.rule else ""
    if row.action == KEEP:
        return f"kept ({row.note or name})"
    if row.action == PINNED:
        return "pinned"
    tied = f" (tied from {row.part.tied_from})" if row.part and row.part.tied_from else ""
    return name + tied


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def plan_table(plan: Plan, verbose: bool = False) -> str:
    """A plan as columns of text."""
    body = [plan_cells(row, verbose) for row in plan.rows]
    return columns([plan_headers(verbose), *body])
