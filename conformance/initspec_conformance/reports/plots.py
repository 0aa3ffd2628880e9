"""The geometry of a picture's two plots: paths and ticks of an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from initspec_conformance.results import Picture

__all__ = ["Axis", "Plot", "histogram", "quantiles"]

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 44  # the margins, for ticks and labels
_SMALLEST, _LARGEST = 1e-290, 1e300  # beyond them, differences underflow or overflow
_MOST_POINTS = 200

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A linear map from values to pixels, with round ticks.

    Attributes:
        low, high: the ends, in values.
        start, end: the same, in pixels.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value.

        >>> Axis(0.0, 10.0, 100.0, 200.0)(2.5)
        125.0
        """
        part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Pixels and labels of two to six round values.

        >>> [label for _, label in Axis(-0.11, 0.12, 0.0, 1.0).ticks]
        ['-0.1', '-0.05', '0', '0.05', '0.1']
        """
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6)
        values = [number * step for number in range(first, last + 1)]
        return [(self(value), _label(value, step)) for value in values]


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return min(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9))


def _label(value: float, step: float) -> str:
    """A tick to the digits that tell it from the next one."""
    if value == 0:
        return "0"
    if 1 <= step < 1e5:
        return f"{value:,.0f}"
    digits = min(15, max(1, math.floor(math.log10(abs(value) / step) + 1e-9) + 2))
    return f"{value:.{digits}g}"


@dataclass(frozen=True)
class Plot:
    """One drawing.

    Attributes:
        name: what it is, for a reader who does not see it.
        x, y: the axes.
        labels: of the axes.
        bars, line, points: paths of SVG; empty where there is nothing of the kind.
        left_out: how many points or bins were not finite.
    """

    name: str
    x: Axis
    y: Axis
    labels: tuple[str, str]
    bars: str = ""
    line: str = ""
    points: str = ""
    left_out: int = 0


def histogram(picture: Picture) -> Plot | None:
    """Bars of the sample's counts, and the law's as a line; None if nothing is finite."""
    edges = zip(picture.edges[:-1], picture.edges[1:], strict=True)
    every = list(zip(edges, picture.counts, picture.expected, strict=True))
    bins = [bin for bin in every if _finite(*bin[0], bin[2])]
    if not bins:
        return None
    low, high = _widened(bins[0][0][0], bins[-1][0][1])
    x = Axis(low, high, LEFT, WIDTH - RIGHT)
    top = max(max(count, expected) for _, count, expected in bins)
    y = Axis(0.0, 1.05 * top if top > _SMALLEST else 1.0, HEIGHT - BOTTOM, TOP)
    bars = "".join(_bar(x(a), x(b), y(0.0), y(count)) for (a, b), count, _ in bins if count)
    line = _polyline(
        [(pixel, y(expected)) for (a, b), _, expected in bins for pixel in (x(a), x(b))]
    )
    name = "Histogram: bars are the sample, the line is the law"
    left_out = len(every) - len(bins)
    return Plot(name, x, y, ("value", "count"), bars=bars, line=line, left_out=left_out)


def quantiles(picture: Picture) -> Plot | None:
    """The sample's quantiles over the law's, and the diagonal; None if nothing is finite."""
    pairs = [pair for pair in picture.quantiles if _finite(*pair)]
    if not pairs:
        return None
    values = [value for pair in pairs for value in pair]
    low, high = _widened(min(values), max(values), margin=0.03)
    x, y = Axis(low, high, LEFT, WIDTH - RIGHT), Axis(low, high, HEIGHT - BOTTOM, TOP)
    points = "".join(f"M{_at((x(a), y(b)))}h0" for a, b in _thinned(pairs))
    line = _polyline([(x(low), y(low)), (x(high), y(high))])
    name = "Quantile plot: a sample that follows the law is on the diagonal"
    labels = ("quantile of the law", "quantile of the sample")
    left_out = len(picture.quantiles) - len(pairs)
    return Plot(name, x, y, labels, line=line, points=points, left_out=left_out)


def _finite(*values: float) -> bool:
    return all(abs(value) <= _LARGEST for value in values)


def _widened(low: float, high: float, margin: float = 0.0) -> Point:
    """The ends with a margin; with room around them if they are all but equal."""
    span = high - low
    size = max(abs(low), abs(high))
    if span <= max(1e-9 * size, _SMALLEST):
        half = size / 2 if size > _SMALLEST else 0.5
        return low - half, high + half
    return low - margin * span, high + margin * span


def _thinned(pairs: Sequence[Point]) -> Sequence[Point]:
    """Evenly chosen pairs, the first and the last among them: a page has many plots."""
    if len(pairs) <= _MOST_POINTS:
        return pairs
    last = len(pairs) - 1
    return [pairs[round(i * last / (_MOST_POINTS - 1))] for i in range(_MOST_POINTS)]


def _bar(left: float, right: float, bottom: float, top: float) -> str:
    return f"M{_at((left, bottom))}V{_number(top)}H{_number(right)}V{_number(bottom)}z"


def _polyline(points: Sequence[Point]) -> str:
    return "M" + "L".join(_at(point) for point in points)


def _at(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(pixel: float) -> str:
    return f"{round(pixel, 1) + 0.0:g}"
