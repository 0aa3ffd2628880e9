"""Why a tensor does not have the bits of the stream: the likely mistakes are tried in turn.

Each mistake is planted in the reference; the one that then gives the tensor that was found names
the defect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec import stream
from initspec.fill_plan import FillPlan
from initspec.initializer import Initializer
from initspec.stream import as_float
from initspec_conformance.reference import reference
from initspec_conformance.statistics.diagnosis import diagnose, likely_scales
from initspec_conformance.statistics.laws import Array, Target
from initspec_conformance.statistics.tally import Tally

__all__ = ["explain"]

_MOSTLY = 0.98  # of the values have to agree
_FEW = 4  # steps of the dtype: the same value, computed in another way
_ENOUGH = 256  # values that say something about a law


def explain(
    init: Initializer, plan: FillPlan, dtype: str, seed: int, name: str, found: NDArray[Any]
) -> str:
    """What somebody probably did to get ``found`` instead of the values of ``plan``; or nothing.

    >>> import initspec
    >>> plan = initspec.he_normal.plan((8, 64), keys=(stream.key(0, "w"),), layout="OI")
    >>> other = initspec.he_normal((8, 64), layout="OI", seed=0, name="v")
    >>> explain(initspec.he_normal, plan, "float32", 0, "w", other)
    ''
    >>> other = initspec.he_normal((8, 64), layout="OI", seed=0, name="")
    >>> explain(initspec.he_normal, plan, "float32", 0, "w", other)
    'the name does not enter the key'
    """
    expected = reference(plan, dtype)
    if expected.tobytes() == found.tobytes():
        return ""
    for words, guess in _guesses(plan, dtype, seed, name):
        if _agree(found, guess) and not _agree(expected, guess):
            return words
    ours, theirs = _canonical(plan, expected), _canonical(plan, found)
    for finding in (_strange, _constant, _signs, _lanes, _steps, _repeats, _order):
        if words := finding(ours, theirs, dtype):
            return words
    return _scale(init, plan, ours, theirs) or _law(init, plan, dtype, found)


def _canonical(plan: FillPlan, array: NDArray[Any]) -> NDArray[Any]:
    """Lines of inputs, in canonical order."""
    inputs = plan.geometry.counts[2]
    flat = np.ascontiguousarray(plan.geometry.canonical(array)).reshape(-1)
    return flat.reshape(-1, inputs) if inputs else flat.reshape(0, 1)


def _agree(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Whether nearly all bits are equal: a few wrong values do not hide a mistake."""
    bits = f"u{left.itemsize}"
    equal = np.ascontiguousarray(left).view(bits) == np.ascontiguousarray(right).view(bits)
    return bool(equal.size) and float(equal.mean()) > _MOSTLY


# --- the reference with a mistake -------------------------------------------------------------


def _guesses(
    plan: FillPlan, dtype: str, seed: int, name: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    if dtype in ("bfloat16", "float16"):
        yield "rounded towards zero, not to nearest", _cut_off(reference(plan, "float32"), dtype)
    if dtype == "float64":
        yield "drawn in float32, not in float64", reference(plan, "float32").astype(np.float64)
    if plan.origin != (0, 0, 0):
        words = "coordinates count from the shard's own corner, not from the whole tensor's"
        yield words, reference(replace(plan, origin=(0, 0, 0)), dtype)
    for step, words in _STEPS:
        s, o, j = (at + by for at, by in zip(plan.origin, step, strict=True))
        if min(s, o, j) >= 0:
            yield words, reference(replace(plan, origin=(s, o, j)), dtype)
    for words, other_seed, other_name in (
        ("the name does not enter the key", seed, ""),
        ("only the low half of the seed counts", seed & 0xFFFFFFFF, name),
        ("the key is that of the next seed", (seed + 1) % 2**64, name),
        ("the key is that of seed 0", 0, name),
    ):
        keys = tuple(stream.key(other_seed, each) for each in plan.names(other_name))
        yield words, reference(plan.with_keys(keys), dtype)
    bare = ((seed & 0xFFFFFFFF, seed >> 32),) * len(plan.keys)
    yield (
        "the seed itself is the key: the name does not enter it",
        reference(plan.with_keys(bare), dtype),
    )


_STEPS = (
    ((0, 0, 4), "the counter is off by one block of four words"),
    ((0, 0, -4), "the counter is off by one block of four words"),
    ((0, 1, 0), "the output coordinate is off by one"),
    ((1, 0, 0), "the stack coordinate is off by one"),
)


def _cut_off(wide: NDArray[Any], dtype: str) -> NDArray[Any]:
    """A float32 with its last digits cut off."""
    if dtype == "bfloat16":
        high: NDArray[Any] = (wide.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return high
    near = wide.astype(np.float16)
    over = np.abs(near.astype(np.float32)) > np.abs(wide)
    return np.where(over, np.nextafter(near, np.float16(0)), near)


# --- what the two have in common --------------------------------------------------------------


def _strange(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    wrong = int((~np.isfinite(as_float(theirs))).sum())
    return f"{wrong} of {theirs.size} values are NaN or infinite" if wrong else ""


def _constant(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    values = as_float(theirs).reshape(-1)
    equal = values.size > 1 and bool((values == values[0]).all())
    return f"all values equal {values[0]:g}" if equal else ""


def _signs(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    left, right = as_float(ours), as_float(theirs)
    turned = (left == -right) & (left != 0)
    if not turned.any() or not _agree(np.abs(left), np.abs(right)):
        return ""
    return f"{int(turned.sum())} of {ours.size} values have the wrong sign"


def _lanes(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    inputs = ours.shape[1] // 4 * 4
    if not inputs:
        return ""
    blocks = theirs[:, :inputs].reshape(-1, 4)
    for order in list(permutations(range(4)))[1:]:
        if _agree(blocks[:, order], ours[:, :inputs].reshape(-1, 4)):
            return f"the four words of each block are in the order {order}"
    return ""


def _steps(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    signed = f"i{ours.itemsize}"
    distance = np.abs(ours.view(signed).astype(np.int64) - theirs.view(signed).astype(np.int64))
    if not distance.size or distance.max() > _FEW:
        return ""
    count = np.count_nonzero(distance)
    return (
        f"{count} of {distance.size} values differ by up to {distance.max()} steps of {dtype}: "
        "computed in floating point, or rounded in another way"
    )


def _repeats(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    again = _twice(theirs) - _twice(ours)
    return f"{again} blocks of four values repeat others" if again > 0 else ""


def _twice(lines: NDArray[Any]) -> int:
    """How many blocks of four occurred before."""
    whole = lines.shape[1] // 4 * 4
    blocks = np.ascontiguousarray(lines[:, :whole]).reshape(-1, 4)
    return len(blocks) - len(np.unique(blocks, axis=0))


def _order(ours: NDArray[Any], theirs: NDArray[Any], dtype: str) -> str:
    if not np.array_equal(np.sort(ours, axis=None), np.sort(theirs, axis=None)):
        return ""
    return "the right values in other places: is the layout read rightly?"


def _scale(init: Initializer, plan: FillPlan, ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    left, right = as_float(ours), as_float(theirs)
    sound = (left != 0) & np.isfinite(right)
    if not sound.any():
        return ""
    ratios: Array = right[sound] / left[sound]
    ratio = float(np.median(ratios))
    if (
        abs(ratio - 1) < 1e-6
        or not float((np.abs(ratios / (ratio or 1) - 1) < 1e-2).mean()) > _MOSTLY
    ):
        return ""
    target = Target.of(init, plan.geometry)
    known = likely_scales(init, plan.geometry, target) if target else []
    fitting = [words for words, factor in known if abs(ratio / factor - 1) < 1e-3]
    reason = f": {fitting[0]}" if fitting else ""
    return f"all values are {ratio:.6g} times the right ones{reason}"


def _law(init: Initializer, plan: FillPlan, dtype: str, found: NDArray[Any]) -> str:
    target = Target.of(init, plan.geometry)
    if target is None or found.size < _ENOUGH:
        return ""
    tally = Tally(target, dtype)
    tally.add(found, plan.geometry)
    return diagnose(tally, tally.checks(), init, plan.geometry)
