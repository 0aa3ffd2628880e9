"""Backends with planted defects: the suite has to catch each, and to name it rightly.

They are tests of the suite, and shipped with it, so that whoever changes a threshold can see what
it still finds: ``MUTANTS`` lists them, `MutantBackend` runs one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import InitspecValueError
from initspec.fill_plan import STORAGE, FillPlan
from initspec.initializer import Initializer
from initspec.layout import LayoutOptions
from initspec.registry import get_backend

__all__ = ["MUTANTS", "Mutant", "MutantBackend"]

Values = NDArray[Any]
_LEAK = 4.286e-6  # Keras on torch: all of four candidates beyond two sigmas
_NAN_IN = 10**7


def _same(thing: Any) -> Any:
    return thing


def _unchanged(plan: FillPlan, dtype: str, values: Values) -> Values:
    return values


@dataclass(frozen=True)
class Mutant:
    """A defect.

    Attributes:
        name: unique.
        says: a phrase that the diagnosis has to contain.
        case: a word of the label of a case that shows it.
        kinds: the kinds of checks that have to catch it.
        rule: what it makes of an initializer.
        reading: what it makes of the layout's keywords.
        plan: what it makes of a plan.
        values: what it makes of the values; canonical order, lines of inputs.
        named: whether the name enters the key.
    """

    name: str
    says: str
    case: str = "he_normal, IO"
    kinds: tuple[str, ...] = ("bits", "statistics")
    rule: Callable[[Initializer], Initializer] = _same
    reading: Callable[[LayoutOptions], LayoutOptions] = _same
    plan: Callable[[FillPlan], FillPlan] = _same
    values: Callable[[FillPlan, str, Values], Values] = _unchanged
    named: bool = True


class MutantBackend(Backend):
    """The NumPy backend with one defect."""

    name: ClassVar[str] = "mutant"

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def outline(
        self, initializer: Initializer, shape: Any, dtype: str, layout: LayoutOptions
    ) -> FillPlan:
        """The plan of another rule, or of another reading of the layout."""
        rule, reading = self.mutant.rule(initializer), self.mutant.reading(layout)
        return super().outline(rule, shape, dtype, reading)

    def keys(self, plan: FillPlan, seed: Any, name: str) -> tuple[tuple[int, int], ...]:
        """Keys into which the name may not enter."""
        return super().keys(plan, seed, name if self.mutant.named else "")

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> Values:
        """Values of another plan, or other values."""
        if device not in (None, "cpu"):
            raise InitspecValueError("device", device, "None or 'cpu', as of NumPy")
        fill = import_module("initspec_kernel").fill
        stored = np.empty(plan.shape, STORAGE[dtype])
        fill(self.mutant.plan(plan), stored, dtype)
        if plan.draw is None or not stored.size:
            return stored
        view = plan.geometry.canonical(stored)
        lines = np.ascontiguousarray(view).reshape(-1, plan.geometry.counts[2])
        view[...] = self.mutant.values(plan, dtype, lines).reshape(view.shape)
        return stored

    def to_host(self, tensor: Any) -> Values:
        """The array itself."""
        return get_backend("numpy").to_host(tensor)


# --- defects of the law -------------------------------------------------------------------------


def _cut(**fields: Any) -> Callable[[Initializer], Initializer]:
    """Other fields, for truncated normals only."""

    def rule(init: Initializer) -> Initializer:
        return init.replace(**fields) if init.compensate and init.mode else init

    return rule


def _plain(distribution: str) -> Callable[[Initializer], Initializer]:
    def rule(init: Initializer) -> Initializer:
        if not (init.compensate and init.mode):
            return init
        kept = {name: getattr(init, name) for name in ("mode", "scale", "gain", "fan", "fan_rule")}
        return Initializer(distribution=distribution, **kept)

    return rule


def _contrib(init: Initializer) -> Initializer:
    if not (init.compensate and init.mode):
        return init
    return init.replace(compensate=False, scale=1.3 * init.scale)


def _wider(init: Initializer) -> Initializer:
    return init.replace(gain=1.01 * init.gain) if init.mode else init


def _swap_fans(init: Initializer) -> Initializer:
    other = {"fan_in": "fan_out", "fan_out": "fan_in"}
    return init.replace(mode=other[init.mode]) if init.mode in other else init


def _read_as_torch(layout: LayoutOptions) -> LayoutOptions:
    return {**layout, "layout": "OIHW"} if layout.get("layout") == "HWIO" else layout


def _without_groups(init: Initializer) -> Initializer:
    """Counts the inputs of all groups; the one case that it is tried on has four groups."""
    return init.replace(scale=init.scale / 4) if init.mode == "fan_in" else init


# --- defects of the stream ----------------------------------------------------------------------


def _move(s: int, o: int, j: int) -> Callable[[FillPlan], FillPlan]:
    def plan(right: FillPlan) -> FillPlan:
        at = right.origin
        return replace(right, origin=(at[0] + s, at[1] + o, at[2] + j))

    return plan


def _local(right: FillPlan) -> FillPlan:
    return replace(right, origin=(0, 0, 0))


def _in_blocks(change: Callable[[Values], Values]) -> Callable[[FillPlan, str, Values], Values]:
    """A change of the whole blocks of four values, lines by blocks by lanes."""

    def values(plan: FillPlan, dtype: str, lines: Values) -> Values:
        whole = lines.shape[1] // 4 * 4
        blocks = lines[:, :whole].reshape(len(lines), -1, 4)
        return np.hstack([change(blocks).reshape(len(lines), whole), lines[:, whole:]])

    return values


def _swap_lanes(blocks: Values) -> Values:
    return blocks[:, :, [1, 0, 2, 3]]


def _repeat_block(blocks: Values) -> Values:
    changed = blocks.copy()
    again = min(3, max(0, blocks.shape[1] - 3))
    changed[:, 3 : 3 + again] = blocks[:, :again]
    return changed


# --- defects of the values ----------------------------------------------------------------------


def _turn_sign(plan: FillPlan, dtype: str, lines: Values) -> Values:
    bits = lines.view(f"u{lines.itemsize}")
    sign = bits.dtype.type(1 << (8 * lines.itemsize - 1))
    turned: Values = (bits ^ sign).view(lines.dtype)
    return turned


def _cut_digits(plan: FillPlan, dtype: str, lines: Values) -> Values:
    if dtype != "bfloat16":
        return lines
    wide = np.empty(plan.shape, np.float32)
    import_module("initspec_kernel").fill(plan, wide, "float32")
    ordered = np.ascontiguousarray(plan.geometry.canonical(wide)).reshape(lines.shape)
    return (ordered.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def _one_nan(plan: FillPlan, dtype: str, lines: Values) -> Values:
    """A NaN in every 10**7 values, and one in every large tensor."""
    changed = lines.reshape(-1).copy()
    if changed.size >= 2**17:
        changed[_NAN_IN // 80 :: _NAN_IN] = 0x7FC0 if dtype == "bfloat16" else np.nan
    return changed.reshape(lines.shape)


def _leak(plan: FillPlan, dtype: str, lines: Values) -> Values:
    """A few values that no bound holds back."""
    if plan.draw is None or plan.draw.kind != "truncated_normal" or dtype != "float32":
        return lines
    rng = np.random.default_rng(plan.keys[0][0])
    changed = lines.reshape(-1).copy()
    out = np.flatnonzero(rng.random(changed.size) < _LEAK)
    changed[out] = np.abs(changed).max() * (1 + 0.5 * rng.random(out.size))
    return changed.reshape(lines.shape)


MUTANTS = (
    Mutant("std off by 1 %", "too large", rule=_wider, kinds=("statistics",)),
    Mutant("std off by 1 %, bits", "1.01 times the right ones", rule=_wider, kinds=("bits",)),
    Mutant("truncation missing", "looks untruncated", rule=_plain("normal")),
    Mutant("truncation not corrected", "without the correction", rule=_cut(compensate=False)),
    Mutant("uniform for normal", "uniform, not truncated normal", rule=_plain("uniform")),
    Mutant("fan_in and fan_out swapped", "std is that of fan_out", rule=_swap_fans),
    Mutant("HWIO read as OIHW", "HWIO is read as OIHW", "HWIO", reading=_read_as_torch),
    Mutant("groups ignored", "the groups are ignored", "groups", rule=_without_groups),
    Mutant("contrib's factor 1.3", "contrib", rule=_contrib),
    Mutant("leak past two sigmas", "the truncation leaks", values=_leak, kinds=("statistics",)),
    Mutant("one NaN", "NaN", values=_one_nan),
    Mutant("block repeated", "repeat", values=_in_blocks(_repeat_block)),
    Mutant("one key for two names", "are equal", named=False, kinds=("statistics",)),
    Mutant("one key for all names", "name does not enter", named=False, kinds=("bits",)),
    Mutant("bf16 cut off", "rounded towards zero", "bfloat16", values=_cut_digits),
    Mutant("counter off by one", "off by one block", plan=_move(0, 0, 4), kinds=("bits",)),
    Mutant("lanes swapped", "(1, 0, 2, 3)", values=_in_blocks(_swap_lanes), kinds=("bits",)),
    Mutant("sign bit wrong", "wrong sign", values=_turn_sign, kinds=("bits",)),
    Mutant(
        "shard in local coordinates", "from the shard's own corner", "box", ("bits",), plan=_local
    ),
)
