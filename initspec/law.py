"""From an initializer and a geometry to numbers: what is written, and the law that it follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from .draw import Draw, normal_draw, quantiles, truncated_draw, uniform_draw
from .errors import InitspecValueError
from .fans import RULES
from .fill_plan import Content
from .layout import Geometry
from .moments import truncated_moments
from .structured import Bilinear, Constant, Diagonal, Matrices, Orthogonal, Sparse

if TYPE_CHECKING:
    from .initializer import Initializer

__all__ = ["Law", "law"]


@dataclass(frozen=True, slots=True)
class Law:
    """What a backend writes, and the moments and support of the values (None: unbounded)."""

    content: Draw | Content
    mean: float
    std: float
    low: float | None
    high: float | None
    kurtosis: float | None
    formula: str


@lru_cache(maxsize=4096)
def law(init: Initializer, geometry: Geometry) -> Law:
    """The law of an initializer's values on a tensor of this geometry."""
    if 0 in geometry.shape:
        return _constant(0.0, "empty")
    return _LAWS[init.distribution](init, geometry)


def _constant(value: float, formula: str) -> Law:
    return Law(Constant(value), value, 0.0, value, value, None, formula)


def _spread(init: Initializer, geometry: Geometry) -> tuple[float, str]:
    """``gain * sqrt(scale / n)``, or the absolute standard deviation, and how it came about."""
    if init.mode is None:
        std = 0.0 if init.std is None else init.std
        return std, f"{std:g}"
    std = init.gain * math.sqrt(init.scale / _fan(init, geometry))
    gain = "" if init.gain == 1.0 else f"{init.gain:g} * "
    name = init.mode if init.fan is None else f"{init.fan:g}"
    return std, f"{gain}sqrt({init.scale:g} / {name}) = {std:.6g}"


def _fan(init: Initializer, geometry: Geometry) -> float:
    if init.fan is not None:
        return init.fan
    fans = RULES[init.fan_rule](geometry)
    if init.mode == "fan_avg":
        return (fans.fan_in + fans.fan_out) / 2
    if init.mode == "fan_geo_avg":
        return math.sqrt(fans.fan_in * fans.fan_out)
    return float(fans.fan_in if init.mode == "fan_in" else fans.fan_out)


def _normal(init: Initializer, geometry: Geometry) -> Law:
    std, formula = _spread(init, geometry)
    if std == 0.0:
        return _constant(init.mean, "std = 0")
    draw = normal_draw(std, init.mean)
    return Law(draw, init.mean, std, None, None, 3.0, f"normal, std = {formula}")


def _truncated_normal(init: Initializer, geometry: Geometry) -> Law:
    std, formula = _spread(init, geometry)
    if std == 0.0:
        _check_inside(init)
        return _constant(init.mean, "std = 0")
    low, high = _sigmas(init, std)
    quantiles(low, high)  # refuses a mass too thin for its moments to mean anything
    moments = truncated_moments(low, high)
    sigma, mean = std, init.mean
    if init.compensate:  # std and mean are those of the result: widen and shift the parent
        sigma = std / moments.std
        mean = init.mean - sigma * moments.mean
    ends = [init.low, init.high]
    if not init.absolute:
        ends = [None if bound is None else mean + bound * sigma for bound in (low, high)]
    note = f"std after truncation, sigma = {sigma:.6g}" if init.compensate else "std before it"
    cut = f"cut to [{_sigma(low, '-')}, {_sigma(high, '')}] sigma, {note}"
    return Law(
        truncated_draw(sigma, mean, low, high),
        mean + sigma * moments.mean,
        sigma * moments.std,
        ends[0],
        ends[1],
        moments.kurtosis,
        f"truncated normal, std = {formula}, {cut}",
    )


def _sigma(bound: float | None, sign: str) -> str:
    return f"{sign}inf" if bound is None else f"{bound:g}"


def _check_inside(init: Initializer) -> None:
    low = -math.inf if init.low is None else init.low
    high = math.inf if init.high is None else init.high
    if init.absolute and not low <= init.mean <= high:
        raise InitspecValueError("mean", init.mean, f"in [{low:g}, {high:g}], as std = 0")


def _sigmas(init: Initializer, std: float) -> tuple[float | None, float | None]:
    if not init.absolute:
        return init.low, init.high
    low, high = ((None if b is None else (b - init.mean) / std) for b in (init.low, init.high))
    return low, high


def _uniform(init: Initializer, geometry: Geometry) -> Law:
    if init.mode is None:
        assert init.low is not None and init.high is not None
        low, high, formula = init.low, init.high, f"uniform on [{init.low:g}, {init.high:g}]"
    else:
        high = init.gain * math.sqrt(3.0 * init.scale / _fan(init, geometry))
        low = -high
        formula = f"uniform on +-sqrt(3) * std, std = {_spread(init, geometry)[1]}"
    if low == high:
        return _constant(low, formula)
    std = (high / 2 - low / 2) / math.sqrt(3.0)
    return Law(uniform_draw(low, high), low / 2 + high / 2, std, low, high, 1.8, formula)


def _value(init: Initializer, geometry: Geometry) -> Law:
    return _constant(init.value, f"constant {init.value:g}")


def _diagonal(init: Initializer, geometry: Geometry) -> Law:
    dirac = init.distribution == "dirac"
    fitting = geometry.has("I") and geometry.has("O") and not geometry.has("V")
    if not fitting or bool(geometry.spatial) != dirac:
        wanted = "I, O and spatial axes" if dirac else "I and O and no spatial axis"
        advice = "" if dirac else "For kernels use dirac."
        raise InitspecValueError("layout", geometry.layout.pattern, f"{wanted} for it", advice)
    matrices = Matrices.of(geometry)
    share = min(matrices.rows, matrices.inputs) / (matrices.rows * matrices.columns)
    spread = share * (1 - share)
    return Law(
        Diagonal(init.gain),
        init.gain * share,
        init.gain * math.sqrt(spread),
        0.0,
        init.gain,
        (1 - 3 * spread) / spread if spread else None,
        f"{init.gain:g} where output i meets input i, else 0",
    )


def _bilinear(init: Initializer, geometry: Geometry) -> Law:
    if not geometry.spatial:
        raise InitspecValueError("layout", geometry.layout.pattern, "spatial axes for bilinear")
    # The kernel is a product over axes, and so are its raw moments, its least and largest value.
    profiles = [Bilinear().profile(k) for k in geometry.spatial]
    mean, second, third, fourth = (
        math.prod(float((row**n).mean()) for row in profiles) for n in (1, 2, 3, 4)
    )
    variance = max(0.0, second - mean**2)
    central = fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4
    low, high = (math.prod(float(end(row)) for row in profiles) for end in (min, max))
    constant = low == high
    std, kurtosis = (0.0, None) if constant else (math.sqrt(variance), central / variance**2)
    formula = "prod over axes of 1 - |x / ceil(k / 2) - centre|"
    return Law(Bilinear(), mean, std, low, high, kurtosis, formula)


def _orthogonal(init: Initializer, geometry: Geometry) -> Law:
    _need_matrix(geometry)
    matrices = Matrices.of(geometry)
    longest = max(matrices.rows, matrices.columns)
    std = init.gain / math.sqrt(longest)
    if init.gain == 0.0:
        return _constant(0.0, "gain = 0")
    formula = f"{init.gain:g} * Q of QR(normals {matrices.rows} x {matrices.columns})"
    kurtosis = 3 * longest / (longest + 2)
    return Law(Orthogonal(init.gain), 0.0, std, -init.gain, init.gain, kurtosis, formula)


def _delta_orthogonal(init: Initializer, geometry: Geometry) -> Law:
    _need_matrix(geometry)
    matrices = Matrices.of(geometry)
    if not geometry.spatial or matrices.inputs > matrices.rows:
        given = f"{geometry.layout.pattern} of {geometry.shape}"
        rule = "spatial axes and no more inputs than outputs (per group) for delta_orthogonal"
        raise InitspecValueError("layout, shape", given, rule)
    if init.gain == 0.0:
        return _constant(0.0, "gain = 0")
    std = init.gain / math.sqrt(matrices.rows * matrices.taps)
    kurtosis = 3 * matrices.rows / (matrices.rows + 2) * matrices.taps
    formula = f"{init.gain:g} * Q of QR(normals {matrices.rows} x {matrices.inputs}) in the centre"
    content = Orthogonal(init.gain, delta=True)
    return Law(content, 0.0, std, -init.gain, init.gain, kurtosis, formula)


def _need_matrix(geometry: Geometry) -> None:
    letters = {factor.letter for factor in geometry.factors}
    if not (letters & set("OVG") and letters - set("OVGS_#")) or {"V", "G"} <= letters:
        expected = "output axes and input axes: a matrix to make orthogonal"
        raise InitspecValueError("layout", geometry.layout.pattern, expected)


def _sparse(init: Initializer, geometry: Geometry) -> Law:
    _need_matrix(geometry)
    assert init.sparsity is not None and init.std is not None
    matrices = Matrices.of(geometry)
    if init.std == 0.0:
        return _constant(0.0, "std = 0")
    content = Sparse(normal_draw(init.std), init.sparsity, init.per)
    line = matrices.columns if init.per == "output" else matrices.rows
    kept = 1 - content.zeros_of(line) / line
    if kept == 0.0:
        return _constant(0.0, "all zero")
    formula = f"normal, std = {init.std:g}, {content.zeros_of(line)} of {line} zero per {init.per}"
    return Law(content, 0.0, init.std * math.sqrt(kept), None, None, 3.0 / kept, formula)


_LAWS: dict[str, Callable[[Initializer, Geometry], Law]] = {
    "normal": _normal,
    "truncated_normal": _truncated_normal,
    "uniform": _uniform,
    "constant": _value,
    "identity": _diagonal,
    "dirac": _diagonal,
    "bilinear": _bilinear,
    "orthogonal": _orthogonal,
    "delta_orthogonal": _delta_orthogonal,
    "sparse": _sparse,
}
