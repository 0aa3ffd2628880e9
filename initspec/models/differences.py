"""Differences between two configs, or between two models under their plans, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec.fill_plan import DTYPES
from initspec.stream import as_float

from .checking import STEPS
from .plans import Plan, Row
from .weights import logical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import Config

__all__ = ["Difference", "Differences", "diff_configs", "diff_plans"]


@dataclass(frozen=True)
class Difference:
    """Something that is not the same: where, and in which way."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Differences:
    """All differences; ``compared`` says how many things were."""

    found: tuple[Difference, ...]
    compared: int

    @property
    def same(self) -> bool:
        """Whether there are none."""
        return not self.found

    def to_dict(self) -> dict[str, Any]:
        """The differences as plain values."""
        found = [{"where": each.where, "message": each.message} for each in self.found]
        return {"same": self.same, "compared": self.compared, "differences": found}

    def __str__(self) -> str:
        lines = [str(each) for each in self.found]
        count = "1 difference" if len(lines) == 1 else f"{len(lines)} differences"
        return "\n".join([*lines, f"{count} in {self.compared} compared"])


# --- configs --------------------------------------------------------------------------------------


def diff_configs(left: Config, right: Config) -> Differences:
    """What two configs say differently; both without ``extends``."""
    first, second = left.to_dict(), right.to_dict()
    rules = [{rule["name"]: rule for rule in each.pop("rule", [])} for each in (first, second)]
    found = [*_values(first, second, ""), *_rules(*rules)]
    return Differences(tuple(found), len({*first, *second}) + len({*rules[0], *rules[1]}))


def _values(left: Mapping[str, Any], right: Mapping[str, Any], where: str) -> Iterator[Difference]:
    for key in dict.fromkeys([*left, *right]):
        path = f"{where}.{key}" if where else key
        if key not in right or key not in left:
            side, value = ("left", left[key]) if key in left else ("right", right[key])
            yield Difference(path, f"only on the {side}: {value!r}")
        elif isinstance(left[key], Mapping) and isinstance(right[key], Mapping):
            yield from _values(left[key], right[key], path)
        elif left[key] != right[key]:
            yield Difference(path, f"{left[key]!r} became {right[key]!r}")


def _rules(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys([*left, *right]):
        where = f"rule {name!r}"
        if name not in right or name not in left:
            yield Difference(where, f"only on the {'left' if name in left else 'right'}")
        else:
            yield from _values(left[name], right[name], where)
    common = [name for name in left if name in right]
    order = [name for name in right if name in left]
    if common != order:
        yield Difference("rules", f"another order: {', '.join(common)} became {', '.join(order)}")


# --- models ---------------------------------------------------------------------------------------


def diff_plans(left: Plan, right: Plan, *, weights: bool = True) -> Differences:
    """What two models have differently under their plans: tensors, rules, weights, knobs.

    Args:
        left, right: plans of models of any frameworks.
        weights: whether to compare the values, too.
    """
    mine, theirs = _by_path(left), _by_path(right)
    found: list[Difference] = []
    for path in dict.fromkeys([*mine, *theirs]):
        if path in mine and path in theirs:
            found += _row(left, right, mine[path], theirs[path], weights)
        else:
            side, row = ("left", mine[path]) if path in mine else ("right", theirs[path])
            found.append(Difference(path, f"only on the {side}, stored as {row.stored.name}"))
    found += _knobs(left, right)
    return Differences(tuple(found), len({*mine, *theirs}))


def _by_path(plan: Plan) -> dict[str, Row]:
    """Logical tensors of either; what one framework alone has is no difference."""
    rows = (row for row in plan.rows if row.part is not None and row.part.value is None)
    return {row.path: row for row in rows if row.stored.dtype in DTYPES}


def _row(left: Plan, right: Plan, mine: Row, other: Row, weights: bool) -> list[Difference]:
    assert mine.part is not None
    assert other.part is not None
    shapes = mine.part.geometry.counts, other.part.geometry.counts
    if shapes[0] != shapes[1]:
        message = f"logical shape {mine.part.logical_shape} became {other.part.logical_shape}"
        return [Difference(mine.path, message)]
    messages = [
        f"{name} {one} became {two}"
        for name, one, two in (
            ("role", mine.part.role, other.part.role),
            ("law", *(row.law.formula if row.law else "kept" for row in (mine, other))),
            ("dtype", mine.stored.dtype, other.stored.dtype),
            ("trainable", mine.stored.trainable, other.stored.trainable),
        )
        if one != two
    ]
    if weights:
        rounding = _rounding(mine) + _rounding(other)
        messages += _weights(_canonical(left, mine), _canonical(right, other), rounding)
    return [Difference(mine.path, message) for message in messages]


def _canonical(plan: Plan, row: Row) -> NDArray[Any]:
    assert row.part is not None
    array = as_float(logical(row, plan.model.read(row.stored.name)))
    return row.part.geometry.canonical(array).reshape(row.part.geometry.counts)


def _rounding(row: Row) -> float:
    """How far a value may be off that is stored less by a shift; relative to 1."""
    assert row.part is not None
    return STEPS[row.stored.dtype] * abs(row.part.shift)


def _weights(left: NDArray[Any], right: NDArray[Any], rounding: float) -> list[str]:
    near = np.abs(left - right) <= rounding * np.maximum(1.0, np.abs(left))
    wrong = ~(near | (left == right) | (np.isnan(left) & np.isnan(right)))
    if not wrong.any():
        return []
    gap = float(np.nanmax(np.abs(left - right)))
    return [f"{int(wrong.sum())} of {left.size} weights differ, by up to {gap:.3g}"]


def _knobs(left: Plan, right: Plan) -> Iterator[Difference]:
    """Layer by layer where the paths are the same; else the values as sets."""
    mine, theirs = (
        {(knob.path, knob.name): knob.value for knob in plan.knobs} for plan in (left, right)
    )
    for path, name in [key for key in mine if key in theirs]:
        one, two = mine[path, name], theirs[path, name]
        if not math.isclose(one, two):
            yield Difference(path, f"{name} {one:g} became {two:g}: the function differs")
    for name in dict.fromkeys(name for _, name in (*mine, *theirs)):
        sides = [
            sorted({value for (path, known), value in each.items() if known == name})
            for each in (mine, theirs)
        ]
        if sides[0] != sides[1] and not any((path, name) in theirs for path, _ in mine):
            yield Difference(name, f"{_numbers(sides[0])} became {_numbers(sides[1])}")


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "nothing"
