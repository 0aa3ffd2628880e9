"""Draws: a distribution reduced to the few integers and the one factor that make its values.

``value = float(z) * factor`` with an integer ``z``. Where a mean or an interval off centre has to
be added, it is added to the integer and the factor is a power of two: a float addition would be
fused with the product by some compilers and not by others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import stream
from .errors import InitspecValueError

__all__ = ["FLOATS", "Draw", "normal_draw", "truncated_draw", "uniform_draw"]

_NORMAL_BITS, _UNIFORM_BITS = 28, 31
_NORMAL_REACH = 8.0  # no normal draw is beyond: Q3.28 has three integer bits
FARTHEST = 6.338  # sigmas that a normal draw can reach: tail probability 2**-33
_THINNEST = 2**16  # quantiles; fewer would make a histogram with visible steps
_COARSEST = 2**12  # smallest multiplier: keeps the spread to 12 bits beside a large mean


@dataclass(frozen=True, slots=True)
class FloatType:
    """What the magnitude check needs to know of a floating-point type."""

    largest: float
    smallest: float  # smallest spread that does not underflow


FLOATS = {
    "float32": FloatType(3.4028234663852886e38, 2.0**-98),  # 28 bits above the least normal
    "bfloat16": FloatType(3.3895313892515355e38, 2.0**-98),
    "float16": FloatType(65504.0, 2.0**-24),
    "float64": FloatType(2.0**1000, 2.0**-990),
}


@dataclass(frozen=True, slots=True)
class Draw:
    """Integer constants of one distribution; see `initspec.stream` for what is done with them.

    ``spread`` and ``reach`` are the standard scale and the largest magnitude, for range checks.
    """

    kind: str  # "uniform", "normal" or "truncated_normal"
    factor: float
    lo: int = 0
    width: int = 0
    offset: int = 0
    multiplier: int = 0  # 0: no affine step
    purpose: int = 0
    spread: float = 1.0
    reach: float = 1.0


def uniform_draw(low: float, high: float) -> Draw:
    """Uniform on ``[low, high]``."""
    reach, half = max(abs(low), abs(high)), high / 2 - low / 2
    if low == -high:
        return Draw("uniform", math.ldexp(high, -_UNIFORM_BITS), spread=half, reach=reach)
    unit = _unit(reach)
    first, last = math.ceil(math.ldexp(low, -unit)), math.floor(math.ldexp(high, -unit))
    offset = (first + last) >> 1
    multiplier = 2 * min(last - offset, offset - first)
    _check_multiplier(multiplier, ("low, high", (low, high)))
    return Draw(
        "uniform", 2.0**unit, offset=offset, multiplier=multiplier, spread=half, reach=reach
    )


def normal_draw(std: float, mean: float = 0.0) -> Draw:
    """Normal with mean and standard deviation."""
    reach = abs(mean) + FARTHEST * std
    if mean == 0.0:
        return Draw("normal", math.ldexp(std, -_NORMAL_BITS), spread=std, reach=reach)
    unit, offset, multiplier = _affine(std, mean)
    return Draw(
        "normal", 2.0**unit, offset=offset, multiplier=multiplier, spread=std, reach=reach
    )


def truncated_draw(std: float, mean: float, low: float | None, high: float | None) -> Draw:
    """Normal with ``mean`` and ``std``, restricted to ``mean + [low, high] * std``."""
    lo, width = stream.truncation(low, high)
    if width < _THINNEST:
        raise InitspecValueError(
            "low, high", (low, high), "bounds (in sigmas) that hold at least 2**-16 of the mass"
        )
    if width == 2**32:  # the bounds lie beyond all draws
        return normal_draw(std, mean)
    ends = [FARTHEST if bound is None else min(abs(bound), FARTHEST) for bound in (low, high)]
    reach = abs(mean) + max(ends) * std
    if mean == 0.0:
        factor = math.ldexp(std, -_NORMAL_BITS)
        return Draw("truncated_normal", factor, lo, width, spread=std, reach=reach)
    unit, offset, multiplier = _affine(std, mean)
    return Draw(
        "truncated_normal", 2.0**unit, lo, width, offset, multiplier, spread=std, reach=reach
    )


def _unit(reach: float) -> int:
    """Exponent of the fixed-point unit in which ``reach`` is at most ``2**30``."""
    return math.frexp(reach)[1] - 30


def _affine(std: float, mean: float) -> tuple[int, int, int]:
    unit = _unit(abs(mean) + _NORMAL_REACH * std)
    multiplier = round(math.ldexp(std, 32 - _NORMAL_BITS - unit))
    _check_multiplier(multiplier, ("std, mean", (std, mean)))
    return unit, round(math.ldexp(mean, -unit)), multiplier


def _check_multiplier(multiplier: int, given: tuple[str, tuple[float, float]]) -> None:
    if multiplier < _COARSEST:
        advice = "Draw around zero and add the mean yourself."
        raise InitspecValueError(*given, "a spread of at least 2**-20 of the mean", advice)


def check_range(content: object, dtype: str) -> None:
    """Refuse values that overflow or underflow in ``dtype``: never inf, never only zeros."""
    kind = FLOATS[dtype]
    reach = getattr(content, "reach", None) or abs(getattr(content, "value", 0.0))
    spread = getattr(content, "spread", kind.smallest)
    if reach > kind.largest or spread < kind.smallest:
        expected = f"a spread of at least {kind.smallest:.3g} and values up to {kind.largest:.5g}"
        advice = f"{dtype} cannot hold it: use another scale or dtype."
        raise InitspecValueError("scale", (spread, reach), expected, advice)
