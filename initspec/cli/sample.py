"""Values as they are really drawn: all of them, or the first ones of a tensor that is large."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec import stream
from initspec.draw import Draw
from initspec.fill_plan import FillPlan

__all__ = ["LIMIT", "Sample", "take"]

LIMIT = 2**20  # values: drawn in a moment, and enough for three digits
BINS = 25  # odd, so that one bin is centred on the middle


@dataclass(frozen=True)
class Sample:
    """Drawn values, and how many the tensor has in all."""

    values: NDArray[np.float64]
    total: int

    @property
    def moments(self) -> dict[str, float | None]:
        """Mean, std, ends and kurtosis (None for a constant), as in a `Description`."""
        scale = float(np.abs(self.values).max()) or 1.0  # squares of 1e200 would overflow
        scaled = self.values / scale
        mean, std = float(scaled.mean()), float(scaled.std())
        unit = (scaled - mean) / std if std else None
        return {
            "mean": mean * scale,
            "std": std * scale,
            "low": float(self.values.min()),
            "high": float(self.values.max()),
            "kurtosis": None if unit is None else float((unit**4).mean()),
        }

    @cached_property
    def histogram(self) -> tuple[list[int], list[float]]:
        """Counts, and the edges of the bins; one bin without width where all values are equal."""
        low, high = float(self.values.min()), float(self.values.max())
        if low == high:
            return [self.values.size], [low, high]
        counts, edges = np.histogram(self.values, BINS)
        return counts.tolist(), edges.tolist()


def take(plan: FillPlan, dtype: str) -> Sample | None:
    """The first values of a plan, at most `LIMIT`.

    None if there are none, or if they cannot be had without making a tensor that is too large.
    """
    total = math.prod(plan.shape)
    if total == 0 or (plan.draw is None and total > LIMIT):
        return None
    drawn = _whole(plan, dtype) if plan.draw is None else _first(plan, plan.draw, dtype)
    return Sample(stream.as_float(drawn), total)


def _whole(plan: FillPlan, dtype: str) -> NDArray[Any]:
    out = np.empty(plan.shape, stream.cast(np.zeros(1), dtype).dtype)
    stream.fill(plan, out, dtype)
    return out.reshape(-1)


def _first(plan: FillPlan, draw: Draw, dtype: str) -> NDArray[Any]:
    """The same number of values from every named block, in canonical order."""
    share = max(1, LIMIT // len(plan.keys))
    return np.concatenate([c for key in plan.keys for c in _chunks(plan, draw, key, share, dtype)])


def _chunks(
    plan: FillPlan, draw: Draw, key: stream.Key, share: int, dtype: str
) -> Iterator[NDArray[Any]]:
    for start, words in stream.words(key, plan.geometry.counts, draw.purpose):
        if start >= share:
            return
        yield stream.values(stream.integers(draw, words[: share - start]), draw.factor, dtype)
