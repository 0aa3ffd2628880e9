"""Fans: how many inputs feed one output unit, and how many outputs one input unit feeds.

The ``true`` rule counts per unit: groups, stacks and fused blocks never count, and a stride thins
out a transposed convolution. The other rules reproduce what a framework computes from the shape
that it stores, right or wrong (a stack counts as kernel size, for instance), so that its
initializers can be reproduced exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .errors import InitspecValueError, did_you_mean
from .layout import SPATIAL, Geometry, Layout

__all__ = ["RULES", "Fans", "fans"]


@dataclass(frozen=True, slots=True)
class Fans:
    """Fan-in, fan-out (per unit; a fraction where a stride does not divide) and kernel size."""

    fan_in: int | float
    fan_out: int | float
    receptive_field: int


def _ratio(numerator: int, denominator: int) -> int | float:
    whole, rest = divmod(numerator, denominator)
    return whole if rest == 0 else numerator / denominator


def _true(geometry: Geometry) -> Fans:
    layout, field = geometry.layout, math.prod(geometry.spatial)
    fan_in, fan_out = geometry.size("I") * field, geometry.size("O") * field
    # Of a stride-2 transposed convolution's taps, only every second meets an input.
    thin_in, thin_out = (layout.stride, 1) if layout.transposed else (1, layout.stride)
    return Fans(_ratio(fan_in, thin_in), _ratio(fan_out, thin_out), field)


def _stored(geometry: Geometry) -> dict[str, int]:
    """Axis sizes by part (``k``: kernel), in order of storage, as a framework reads the shape.

    It sees whole axes: groups and fused blocks swell the output or input axis that holds them.
    """
    sizes: dict[str, int] = {}
    for axis, extents in zip(geometry.layout.axes, geometry.layout_extents(), strict=True):
        letters = {factor.letter for factor in axis}
        other = "k" if letters & set(SPATIAL) else "S"
        part = next((part for part in "IOVG" if part in letters), other)
        sizes[part] = sizes.get(part, 1) * math.prod(extents)
    return sizes


def _torch(geometry: Geometry) -> Fans:
    """torch: (axis 1, axis 0) of (out, in/g, ...) or, transposed, of (in, out/g, ...)."""
    sizes = _stored(geometry)
    ins, outs, stack, field = (sizes.get(part, 1) for part in "IOSk")
    groups = sizes.get("G", 1)
    if "V" in sizes:
        return Fans(ins * outs, sizes["V"], 1)
    if "S" in sizes:  # (experts, in, out) is read as a convolution with a kernel of size out
        order = "".join(sizes)
        last = (ins if order.find("O") < order.find("I") else outs * groups) * field
        return Fans(ins * outs * groups * field, stack * last, last)
    if geometry.layout.transposed:
        return Fans(outs * field, groups * ins * field, field)
    return Fans(ins * field, groups * outs * field, field)


def _keras(geometry: Geometry) -> Fans:
    """keras, TF: (axis -2, axis -1) of (..., in/g, out); depthwise is (..., channels, mult)."""
    sizes = _stored(geometry)
    if "I" not in sizes and "G" in sizes:
        return _last_two(sizes["G"], sizes.get("O", 1), sizes)
    return _jax(geometry, swapped=geometry.layout.transposed)


def _jax(geometry: Geometry, swapped: bool | None = None) -> Fans:
    """jax: (axis -2, axis -1) of (..., in/g, out), depthwise alike; of (..., out, in) swapped."""
    sizes = _stored(geometry)
    ins, outs = sizes.get("I", 1), sizes.get("O", 1) * sizes.get("G", 1)
    order = "".join(sizes)
    if "V" in sizes:
        rest = ins * outs
        return Fans(*((sizes["V"], rest) if order.startswith("V") else (rest, sizes["V"])), 1)
    if swapped is None:
        swapped = geometry.layout.transposed and "kOI" in order
    return _last_two(outs, ins, sizes) if swapped else _last_two(ins, outs, sizes)


def _last_two(ins: int, outs: int, sizes: dict[str, int]) -> Fans:
    field = sizes.get("k", 1) * sizes.get("S", 1)
    return Fans(ins * field, outs * field, field)


RULES: dict[str, Callable[[Geometry], Fans]] = {
    "true": _true,
    "torch": _torch,
    "keras": _keras,
    "jax": _jax,
}


def fans(
    shape: Iterable[Any],
    layout: str | Layout,
    *,
    groups: int | None = None,
    stride: int | tuple[int, ...] = 1,
    transposed: bool | None = None,
    sizes: dict[str, int] | None = None,
    rule: str = "true",
) -> Fans:
    """The fans of a stored tensor.

    ``fan_in = in * field`` and ``fan_out = out * field``, per group, expert and fused block;
    ``fan_in`` of a transposed convolution (``fan_out`` of any other) is divided by the stride.

    Args:
        shape: the stored shape.
        layout: the pattern of its axes, see `Layout.parse` (also for the next four arguments).
        groups: number of groups.
        stride: stride of the convolution.
        transposed: whether it is a transposed convolution, where the letters do not say.
        sizes: sizes of the factors of composite axes.
        rule: ``true``, or ``torch``, ``keras``, ``jax``: what that framework computes.

    Returns:
        `Fans` with ``fan_in``, ``fan_out`` and ``receptive_field``.

    Raises:
        InitspecValueError: the layout does not fit the shape.

    Example:
        >>> fans((3, 3, 64, 128), layout="HWIO")
        Fans(fan_in=576, fan_out=1152, receptive_field=9)

    Source: Glorot & Bengio 2010; He et al. 2015, section 2.2.
    """
    if not isinstance(rule, str) or rule not in RULES:
        raise InitspecValueError("rule", rule, f"one of {sorted(RULES)}", did_you_mean(rule, RULES))
    parsed = Layout.parse(layout, groups=groups, stride=stride, transposed=transposed, sizes=sizes)
    return RULES[rule](parsed.bind(shape))
