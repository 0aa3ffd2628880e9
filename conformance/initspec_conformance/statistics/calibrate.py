"""How often the statistics raise a false alarm: honest samples, many of them.

    python -m initspec_conformance.statistics.calibrate [--runs N] > docs/calibration.md

A run is a sample of two small tensors of each law, drawn by NumPy's PCG64 and NumPy's own methods:
nothing of initspec's stream takes part. The run's p-values are compared with their nominal levels,
and the run is an alarm if one of them is below ALPHA.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from initspec.layout import Layout
from initspec.stream import cast
from initspec_conformance.results import ALPHA
from initspec_conformance.statistics.laws import Target
from initspec_conformance.statistics.tally import Tally

__all__ = ["LAWS", "Law", "Rates", "main", "simulate"]

LEVELS = (1e-2, 1e-3, 1e-4)
_FAMILY = 1e-2  # whole runs that may fail, if the threshold is made for that
_GEOMETRY = Layout.parse("OI").bind((32, 32))
_TENSORS = 2

Sampler = Callable[[np.random.Generator, int], NDArray[np.float64]]


@dataclass(frozen=True)
class Law:
    """A law, a dtype, and how NumPy draws from it."""

    name: str
    target: Target
    dtype: str
    draw: Sampler


def _cut_normal(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Normals within two sigmas, by rejection."""
    drawn = rng.standard_normal(2 * size)
    return drawn[np.abs(drawn) <= 2.0][:size]


def _uniform(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    return rng.uniform(-1.0, 1.0, size)


def _normal(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    return rng.standard_normal(size)


LAWS = (
    Law("normal", Target.normal(0.0, 1.0), "float32", _normal),
    Law("truncated", Target.truncated(0.0, 1.0, -2.0, 2.0), "float32", _cut_normal),
    Law("uniform", Target.uniform(-1.0, 1.0), "float32", _uniform),
    Law("truncated, bfloat16", Target.truncated(0.0, 1.0, -2.0, 2.0), "bfloat16", _cut_normal),
    Law("normal, float16", Target.normal(0.0, 1.0), "float16", _normal),
)


@dataclass
class Rates:
    """Counts over runs.

    Attributes:
        runs: how many.
        below: of each law and check: how often p was below each of `LEVELS`.
        smallest: the smallest p of each.
        alarms: runs with a p below ALPHA.
        family: runs that would have failed, had the threshold been made for `_FAMILY`.
        checks: in one run.
    """

    runs: int = 0
    below: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    smallest: dict[tuple[str, str], float] = field(default_factory=dict)
    alarms: int = 0
    family: int = 0
    checks: int = 0

    def add(self, found: dict[tuple[str, str], float]) -> None:
        """Count one run."""
        self.runs, self.checks = self.runs + 1, len(found)
        for key, p in found.items():
            counts = self.below.setdefault(key, [0] * len(LEVELS))
            for place, level in enumerate(LEVELS):
                counts[place] += p < level
            self.smallest[key] = min(p, self.smallest.get(key, 1.0))
        self.alarms += not all(p >= ALPHA for p in found.values())  # NaN is one, too
        self.family += min(found.values()) < _FAMILY / len(found)

    def merge(self, other: Rates) -> None:
        """Add the counts of another process."""
        for key, counts in other.below.items():
            mine = self.below.setdefault(key, [0] * len(LEVELS))
            self.below[key] = [a + b for a, b in zip(mine, counts, strict=True)]
            self.smallest[key] = min(other.smallest[key], self.smallest.get(key, 1.0))
        self.runs, self.checks = self.runs + other.runs, max(self.checks, other.checks)
        self.alarms, self.family = self.alarms + other.alarms, self.family + other.family


def simulate(runs: int, seed: int, process: int = 0) -> Rates:
    """Honest runs, and what the checks said of them.

    >>> simulate(2, seed=0).alarms
    0
    """
    rng = np.random.Generator(np.random.PCG64([seed, process]))
    rates = Rates()
    for _ in range(runs):
        rates.add({key: p for law in LAWS for key, p in _run(law, rng)})
    return rates


def _run(law: Law, rng: np.random.Generator) -> Iterator[tuple[tuple[str, str], float]]:
    tally = Tally(law.target, law.dtype)
    size = _GEOMETRY.counts[1] * _GEOMETRY.counts[2]
    for _ in range(_TENSORS):
        tally.add(cast(law.draw(rng, size), law.dtype).reshape(_GEOMETRY.shape), _GEOMETRY)
    for check in tally.checks():
        yield (law.name, check.name), check.p


def _both(runs: int, seed: int) -> Rates:
    """The runs, shared by as many processes as there are cores."""
    workers = max(1, os.cpu_count() or 1)
    shares = [runs // workers + (place < runs % workers) for place in range(workers)]
    total = Rates()
    with ProcessPoolExecutor(workers) as pool:
        for rates in pool.map(simulate, shares, [seed] * workers, range(workers)):
            total.merge(rates)
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page; 1 if there was an alarm."""
    parser = argparse.ArgumentParser(description="False alarms of the conformance statistics.")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rates = _both(options.runs, options.seed)
    print(page(rates, options.seed))
    return 1 if rates.alarms else 0


def page(rates: Rates, seed: int) -> str:
    """The rates as a page of the documentation."""
    names = list(dict.fromkeys(check for _, check in rates.below))
    lines = [_HEAD.format(**_figures(rates, seed)), _row(["check", *(law.name for law in LAWS)])]
    lines.append(_row(["---"] * (1 + len(LAWS))))
    for name in names:
        cells = [_ratios(rates, (law.name, name)) for law in LAWS]
        lines.append(_row([name, *cells]))
    return "\n".join(lines)


def _figures(rates: Rates, seed: int) -> dict[str, object]:
    return {
        "runs": rates.runs,
        "checks": rates.checks,
        "alpha": ALPHA,
        "alarms": rates.alarms,
        "most": 3.0 / rates.runs,
        "family": rates.family / rates.runs,
        "level": _FAMILY,
        "smallest": min(rates.smallest.values()),
        "total": rates.runs * rates.checks,
        "seed": seed,
        "n": _TENSORS * _GEOMETRY.counts[1] * _GEOMETRY.counts[2],
        "errors": ", ".join(f"{(1 / (level * rates.runs)) ** 0.5:.2f}" for level in LEVELS),
    }


def _ratios(rates: Rates, key: tuple[str, str]) -> str:
    if key not in rates.below:
        return "-"
    counts = zip(rates.below[key], LEVELS, strict=True)
    return " ".join(f"{count / level / rates.runs:.2f}" for count, level in counts)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_HEAD = """\
# False alarms

<!-- Made by python -m initspec_conformance.statistics.calibrate; do not edit. -->

{runs} honest runs, seed {seed}, drawn by NumPy's PCG64 with NumPy's own methods; each run is a
sample of {n} values of five laws, {checks} checks in all.

| | |
|---|---|
| runs with an alarm, at the threshold of the suite (p < {alpha:.1e}) | {alarms} of {runs} |
| 95 % confidence bound of that rate, if it is 0 | {most:.1e} |
| runs that fail at a threshold made for {level:.0%} of all runs | {family:.3%} |
| smallest of {total} p-values | {smallest:.2g} |

The table has, for each check and law, the share of p-values below 0.01, 0.001 and 0.0001, divided
by that level: 1 is exact, less is cautious. The standard error of one entry is {errors}. What no
honest sample can do stays at 0; bounds stay below 1: the smallest and largest value of a law that
has bounds, the lower tail of the distribution, sums of laws that are not normal, different values.
"""


if __name__ == "__main__":
    sys.exit(main())
