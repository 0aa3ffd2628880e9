"""How many values the statistics need to find a defect.

    python -m initspec_conformance.statistics.power [--samples 20]

For each defect: the smallest power of two at which every one of several samples, each with a fresh
seed, fails a check. A sample is two tensors that NumPy's PCG64 draws, with the defect planted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from initspec.layout import Layout
from initspec.stream import cast
from initspec_conformance.statistics.calibrate import LAWS
from initspec_conformance.statistics.laws import Array
from initspec_conformance.statistics.tally import Tally

__all__ = ["DEFECTS", "Defect", "Found", "caught", "main", "smallest", "table"]

_SMALLEST, _LARGEST = 2**5, 2**23
_LEAK = 4.286e-6  # of all draws of Keras on torch: four candidates, all beyond two sigmas
_BLOCK, _RUN = 2**12, 2**8
_LAW = {law.name: law for law in LAWS}
_CUT = _LAW["truncated"]

Plant = Callable[[np.random.Generator, list[Array]], list[Array]]


def _times(factor: float) -> Plant:
    return lambda rng, pair: [factor * values for values in pair]


def _other(name: str) -> Plant:
    """Values of another law with the same std."""
    law = _LAW[name]

    def plant(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
        factor = _CUT.target.std / law.target.std
        return [factor * law.draw(rng, values.size) for values in pair]

    return plant


def _leak(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
    for values in pair:
        out = np.flatnonzero(rng.random(values.size) < _LEAK)
        values[out] = np.copysign(2.0 + 1.5 * rng.random(out.size), values[out])
    return pair


def _cut_off(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
    bits = [values.astype(np.float32).view(np.uint32) for values in pair]
    return [(each & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64) for each in bits]


def _block(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
    return [np.resize(values[:_BLOCK], values.size) for values in pair]


def _run(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
    values = pair[0]
    if values.size >= 2 * _RUN:
        start = int(rng.integers(_RUN, values.size - _RUN + 1))
        values[start : start + _RUN] = values[:_RUN]
    return pair


def _same(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
    return [pair[0], pair[0]]


def _nan(rng: np.random.Generator, pair: list[Array]) -> list[Array]:
    pair[0][rng.integers(pair[0].size)] = math.nan
    return pair


@dataclass(frozen=True)
class Defect:
    """What is wrong, how an honest sample is made wrong, and the law that it should have."""

    name: str
    plant: Plant
    law: str = "truncated"


DEFECTS = (
    Defect("std +1 %, normal", _times(1.01), "normal"),
    Defect("std +1 %, truncated normal", _times(1.01)),
    Defect("std -1 %, truncated normal", _times(0.99)),
    Defect("std +1 %, uniform", _times(1.01), "uniform"),
    Defect("truncation missing", _other("normal")),
    Defect("truncated, std not corrected", _times(_CUT.target.std)),
    Defect("uniform for truncated normal", _other("uniform")),
    Defect("fans swapped, ratio 2", _times(math.sqrt(2.0))),
    Defect("HWIO (3, 3, 64, 128) read as OIHW", _times(math.sqrt(576 / 24576))),
    Defect("two groups ignored", _times(math.sqrt(0.5))),
    Defect("contrib's factor 1.3 (std +0.29 %)", _times(_CUT.target.std * math.sqrt(1.3))),
    Defect("leak of 4.3e-6 past two sigmas", _leak),
    Defect("bfloat16 cut off, not rounded", _cut_off, "truncated, bfloat16"),
    Defect("block of 4096 repeated", _block),
    Defect("one run of 256 copied", _run),
    Defect("one key for two names", _same),
    Defect("one NaN", _nan),
)


@dataclass(frozen=True)
class Found:
    """The number of values at which all samples were caught, and how often each check did it."""

    size: int
    checks: Counter[str]


def caught(defect: Defect, size: int, seed: int) -> list[str]:
    """The checks that a sample of so many values fails.

    >>> caught(DEFECTS[-1], 64, seed=0)
    ['not finite']
    """
    rng = np.random.Generator(np.random.PCG64([size, seed]))
    law = _LAW[defect.law]
    columns = 2 ** (int(math.log2(size // 2)) // 2)
    geometry = Layout.parse("OI").bind((size // 2 // columns, columns))
    tally = Tally(law.target, law.dtype)
    for values in defect.plant(rng, [law.draw(rng, size // 2) for _ in range(2)]):
        tally.add(_stored(values, law.dtype).reshape(geometry.shape), geometry)
    return [check.name for check in tally.checks() if not check.passed]


def _stored(values: Array, dtype: str) -> NDArray[np.generic]:
    with np.errstate(invalid="ignore"):  # NaN
        stored: NDArray[np.generic] = cast(values, dtype)
    return stored


def smallest(defect: Defect, samples: int = 20, largest: int = _LARGEST) -> Found | None:
    """The smallest power of two at which all samples are caught; None if there is none.

    >>> smallest(DEFECTS[-1], samples=2).size
    32
    """
    size = _SMALLEST
    while size <= largest:
        checks: Counter[str] = Counter()
        for seed in range(samples):
            names = caught(defect, size, seed)
            if not names:
                break
            checks.update(names)
        else:
            return Found(size, checks)
        size *= 2
    return None


def table(samples: int = 20, defects: Sequence[Defect] = DEFECTS) -> str:
    """The smallest sizes as a Markdown table."""
    lines = ["| defect | values | found by |", "|---|---|---|"]
    for defect in defects:
        found = smallest(defect, samples)
        lines.append(f"| {defect.name} | {_cells(found, samples)} |")
    return "\n".join(lines)


def _cells(found: Found | None, samples: int) -> str:
    if found is None:
        return f"more than 2^{int(math.log2(_LARGEST))} | -"
    always = [name for name, count in found.checks.items() if count == samples]
    names = always or [name for name, _ in found.checks.most_common(2)]
    return f"2^{int(math.log2(found.size))} | {', '.join(names)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the conformance statistics find, and when.")
    parser.add_argument("--samples", type=int, default=20)
    options = parser.parse_args(arguments)
    print(table(options.samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
