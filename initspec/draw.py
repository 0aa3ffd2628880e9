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

__all__ = [
    "FLOATS",
    "Draw",
    "check_range",
    "normal_draw",
    "quantiles",
    "truncated_draw",
    "uniform_draw",
]

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
    least: float  # smallest number that is not zero
    step: float = 0.0  # smallest spread beside values of size 1; wider types have `_COARSEST`


FLOATS = {
    "float32": FloatType(3.4028234663852886e38, 2.0**-95, 2.0**-149),
    "bfloat16": FloatType(3.3895313892515355e38, 2.0**-95, 2.0**-133, 2.0**-8),
    "float16": FloatType(65504.0, 2.0**-24, 2.0**-24, 2.0**-11),
    "float64": FloatType(2.0**1000, 2.0**-990, 2.0**-1074),
}
# 2**-95: then the factor of a uniform draw, 31 bits below, is still a normal float32. Frameworks
# differ in what they do with others.


@dataclass(frozen=True, slots=True)
class Draw:
    """Integer constants of one distribution; see `initspec.stream` for what is done with them.

    ``spread`` and ``reach`` are the standard scale and the largest magnitude, for range checks.
    """

    kind: str  # "uniform", "normal", "truncated_normal"; or "words": the words themselves
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
    reach, half = _finite(max(abs(low), abs(high))), high / 2 - low / 2
    if low == -high:
        return Draw("uniform", math.ldexp(high, -_UNIFORM_BITS), spread=half, reach=reach)
    unit = _unit(reach)
    first, last = math.ceil(math.ldexp(low, -unit)), math.floor(math.ldexp(high, -unit))
    offset = (first + last) >> 1
    multiplier = 2 * min(last - offset, offset - first)
    _check_multiplier(multiplier, "low, high", (low, high), -18)
    return Draw(
        "uniform", 2.0**unit, offset=offset, multiplier=multiplier, spread=half, reach=reach
    )


def normal_draw(std: float, mean: float = 0.0) -> Draw:
    """Normal with mean and standard deviation."""
    reach = _finite(abs(mean) + FARTHEST * std)
    if mean == 0.0:
        return Draw("normal", math.ldexp(std, -_NORMAL_BITS), spread=std, reach=reach)
    unit, offset, multiplier = _affine(std, mean)
    return Draw("normal", 2.0**unit, offset=offset, multiplier=multiplier, spread=std, reach=reach)


def truncated_draw(std: float, mean: float, low: float | None, high: float | None) -> Draw:
    """Normal with ``mean`` and ``std``, restricted to ``mean + [low, high] * std``."""
    lo, width = quantiles(low, high)
    if width == 2**32:  # the bounds lie beyond all draws
        return normal_draw(std, mean)
    ends = [FARTHEST if bound is None else min(abs(bound), FARTHEST) for bound in (low, high)]
    reach = _finite(abs(mean) + max(ends) * _finite(std))
    if mean == 0.0:
        factor = math.ldexp(std, -_NORMAL_BITS)
        return Draw("truncated_normal", factor, lo, width, spread=std, reach=reach)
    unit, offset, multiplier = _affine(std, mean)
    lo, width = quantiles(*_tighten(low, high, mean, std, (unit, offset, multiplier)))
    return Draw(
        "truncated_normal", 2.0**unit, lo, width, offset, multiplier, spread=std, reach=reach
    )


def _tighten(
    low: float | None, high: float | None, mean: float, std: float, step: tuple[int, int, int]
) -> tuple[float | None, float | None]:
    """Bounds that hold after the rounding of ``offset`` and ``multiplier``, too."""
    unit, offset, multiplier = step
    if low is not None and low > -FARTHEST:
        first = math.ceil(math.ldexp(mean + low * std, -unit))
        low = max(low, -_farthest(offset - first, multiplier))
    if high is not None and high < FARTHEST:
        last = math.floor(math.ldexp(mean + high * std, -unit))
        high = min(high, _farthest(last - offset, multiplier))
    return low, high


def _farthest(steps: int, multiplier: int) -> float:
    """The most sigmas that the affine step turns into no more than so many steps of its unit."""
    z = (((steps + 1) << 32) - 1 if steps >= 0 else steps << 32) // multiplier
    return math.ldexp(z, -_NORMAL_BITS)


def quantiles(low: float | None, high: float | None) -> tuple[int, int]:
    """First quantile and number of quantiles within ``[low, high]`` sigmas."""
    lo, width = stream.truncation(low, high)
    if width < _THINNEST:
        raise InitspecValueError(
            "low, high", (low, high), "bounds (in sigmas) that hold at least 2**-16 of the mass"
        )
    return lo, width


def _finite(reach: float) -> float:
    if not math.isfinite(reach):
        raise InitspecValueError("scale", reach, "finite values", "Use a smaller scale or gain.")
    return reach


def _unit(reach: float) -> int:
    """Exponent of the fixed-point unit in which ``reach`` is at most ``2**30``."""
    return math.frexp(_finite(reach))[1] - 30


def _affine(std: float, mean: float) -> tuple[int, int, int]:
    unit = _unit(abs(mean) + _NORMAL_REACH * std)
    multiplier = round(math.ldexp(std, 32 - _NORMAL_BITS - unit))
    _check_multiplier(multiplier, "std, mean", (std, mean), -21)
    return unit, round(math.ldexp(mean, -unit)), multiplier


def _check_multiplier(multiplier: int, where: str, given: tuple[float, float], least: int) -> None:
    if multiplier < _COARSEST:
        advice = "Draw around zero and add the mean yourself."
        raise InitspecValueError(
            where, given, f"a spread of at least 2**{least} of the mean", advice
        )


def check_range(content: object, dtype: str) -> None:
    """Refuse values that overflow or underflow in ``dtype``: never inf, never only zeros."""
    kind = FLOATS[dtype]
    drawn = getattr(content, "draw", content)  # what a sparse tensor keeps is drawn
    if isinstance(drawn, Draw):
        spread, reach, smallest = drawn.spread, drawn.reach, kind.smallest
        if drawn.multiplier and spread < reach * kind.step:
            expected = f"at least {kind.step:g} of the largest magnitude {reach:g} in {dtype}"
            advice = "It would be rounded away: draw around zero, or in float32."
            raise InitspecValueError("scale", spread, expected, advice)
    else:  # a constant, or the factor of a pattern
        spread = reach = abs(getattr(content, "value", getattr(content, "gain", 0.0)))
        smallest = kind.least
    small = reach > 0 and spread < smallest
    if small or reach > kind.largest:
        expected = f"magnitudes from {smallest:.3g} to {kind.largest:.5g}"
        advice = f"{dtype} cannot hold it: use another scale or dtype."
        raise InitspecValueError("scale", spread if small else reach, expected, advice)
