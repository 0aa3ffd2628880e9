"""One case: do these tensors follow that initializer?

Draws are compared with their law by statistics; constants and patterns exactly; matrices by what
makes them orthogonal; sparse ones by their zeros, and the rest by statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec.draw import Draw
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import STORAGE, FillPlan
from initspec.initializer import Initializer
from initspec.law import law
from initspec.layout import Geometry, Layout
from initspec.matrices import Matrices
from initspec.stream import as_float
from initspec.structured import Orthogonal, Sparse
from initspec_conformance.reference import reference
from initspec_conformance.results import Check, Picture
from initspec_conformance.statistics.checks import (
    counts,
    gaussian,
    impossible,
    rare,
    resolution,
)
from initspec_conformance.statistics.diagnosis import diagnose
from initspec_conformance.statistics.laws import Array, Target, atoms
from initspec_conformance.statistics.tally import Tally

__all__ = ["Examination", "examine"]

_ZERO = 2.0**-22  # P(a draw is 0), at the most: torch's are, once in 2**24
_STEPS = {"float32": 2.0**-23, "float64": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}


@dataclass(frozen=True, slots=True)
class Examination:
    """What the tensors of one case showed.

    Attributes:
        checks: all statistics.
        size: how many values there were.
        message: the diagnosis; empty if nothing failed.
        resolution: see `initspec_conformance.results.Outcome`.
        picture: where the values follow a law.
    """

    checks: tuple[Check, ...]
    size: int
    message: str
    resolution: float | None = None
    picture: Picture | None = None

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)


def examine(
    init: Initializer, geometry: Geometry, dtype: str, tensors: Iterable[NDArray[Any]]
) -> Examination:
    """Compare tensors with what an initializer promises.

    Args:
        init: the initializer.
        geometry: layout and shape of every tensor.
        dtype: float32, float64, bfloat16 or float16.
        tensors: host arrays as stored, drawn under neighbouring seeds or names; bfloat16 as uint16
            bit patterns.

    Returns:
        An `Examination` with all checks and, if one failed, the likely mistake.

    Raises:
        InitspecValueError: a tensor has another shape.
        InitspecTypeError: a tensor has another dtype.

    Example:
        >>> import initspec
        >>> geometry = initspec.Layout.parse("IO").bind((256, 200))
        >>> weights = [initspec.lecun_normal((256, 200), seed=0)]
        >>> examine(initspec.he_normal, geometry, "float32", weights).message
        "variance 1 / fan instead of 2 / fan (LeCun's for He's) (std -29.17%)"
    """
    arrays = (_checked(array, geometry, dtype) for array in tensors)
    content = law(init, geometry).content
    if isinstance(content, Draw):
        return _drawn(init, geometry, dtype, arrays)
    if isinstance(content, Sparse):
        return _sparse(content, geometry, dtype, arrays)
    if isinstance(content, Orthogonal):
        return _orthogonal(content, geometry, dtype, arrays)
    return _exact(init, geometry, dtype, arrays)


def _checked(array: NDArray[Any], geometry: Geometry, dtype: str) -> NDArray[Any]:
    if dtype not in STORAGE:
        raise InitspecTypeError("dtype", dtype, f"one of {', '.join(STORAGE)}")
    if array.shape != geometry.shape:
        raise InitspecValueError("shape", array.shape, f"{geometry.shape}, as asked for")
    if array.dtype != np.dtype(STORAGE[dtype]):
        raise InitspecTypeError("dtype", array.dtype, f"{STORAGE[dtype]} for {dtype}")
    return array


def _drawn(
    init: Initializer, geometry: Geometry, dtype: str, arrays: Iterable[NDArray[Any]]
) -> Examination:
    target = Target.of(init, geometry)
    assert target is not None, "a draw has a law"
    tally = Tally(target, dtype)
    for array in arrays:
        tally.add(array, geometry)
    checks = tally.checks()
    message = diagnose(tally, checks, init, geometry)
    power = resolution(tally.size, target.kurtosis) if tally.size else None
    return Examination(checks, tally.size, message, power, tally.picture())


# --- contents without a law of single values --------------------------------------------------


def _exact(
    init: Initializer, geometry: Geometry, dtype: str, arrays: Iterable[NDArray[Any]]
) -> Examination:
    """Constants and patterns: every value, up to one rounding."""
    keys = ((0, 0),) * max(1, len(geometry.layout.blocks))
    plan = FillPlan(geometry, law(init, geometry).content, keys)
    wanted = as_float(reference(plan, dtype))
    slack = _STEPS[dtype] * np.abs(wanted)
    wrong = size = 0
    for array in arrays:
        size += array.size
        wrong += int((~(np.abs(as_float(array) - wanted) <= slack)).sum())
    check = impossible("other than the pattern", wrong)
    words = f"{wrong} of {size} values differ from {law(init, geometry).formula}"
    return Examination((check,), size, words if wrong else "")


def _orthogonal(
    content: Orthogonal, geometry: Geometry, dtype: str, arrays: Iterable[NDArray[Any]]
) -> Examination:
    """Q Q^T = 1, and a fair coin for every sign on the diagonal.

    The Haar law does not change when a row changes its sign, so the signs of entries in different
    rows are independent and fair; ``P(|2 k - n| >= z sqrt(n)) <= 2 exp(-z**2 / 2)``. A QR
    factorisation without its sign correction makes them all equal.
    """
    matrices = Matrices.of(geometry)
    worst, positive, signs, stray, size = 0.0, 0, 0, 0, 0
    for array in arrays:
        size += array.size
        whole = geometry.canonical(as_float(array)).reshape(-1, matrices.rows, matrices.columns)
        if content.delta:
            centre = slice(matrices.tap(lambda k: (k - 1) // 2), None, matrices.taps)
            stray += int((whole != 0).sum()) - int((whole[:, :, centre] != 0).sum())
            whole = whole[:, :, centre]
        worst = max(worst, _distance(whole, content.gain))
        diagonal = np.diagonal(whole, axis1=1, axis2=2)
        positive, signs = positive + int((diagonal > 0).sum()), signs + diagonal.size
    z = (2 * positive - signs) / math.sqrt(max(1, signs))
    tolerance = 4 * _STEPS[dtype] + 2e-6 * math.sqrt(max(matrices.rows, matrices.columns))
    checks = (
        Check("distance from orthogonal", worst, 0.0, tolerance, float(worst <= tolerance)),
        impossible("not zero beside the centre", stray),
        Check("signs on the diagonal", z, 0.0, 1.0, min(1.0, 2 * math.exp(-z * z / 2))),
    )
    words = {
        "distance from orthogonal": "the matrices are not orthogonal",
        "not zero beside the centre": "values beside the centre of the kernel are not zero",
        "signs on the diagonal": (
            "not Haar: the signs on the diagonal are no fair coins (QR without sign correction?)"
        ),
    }
    return _judged(checks, size, words)


def _distance(matrices: Array, gain: float) -> float:
    """The largest entry of ``Q Q^T / gain**2 - 1``, or of ``Q^T Q`` for tall ones; NaN is inf."""
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.transpose(0, 2, 1)
    product = wide @ wide.transpose(0, 2, 1) / gain**2 - np.eye(wide.shape[1])
    return float(np.nan_to_num(np.abs(product), nan=math.inf).max(initial=0.0))


def _sparse(
    content: Sparse, geometry: Geometry, dtype: str, arrays: Iterable[NDArray[Any]]
) -> Examination:
    """As many zeros in every line as asked for, anywhere in it, and normals elsewhere."""
    matrices, target = Matrices.of(geometry), Target.normal(0.0, content.draw.factor * 2.0**28)
    tally = Tally(target, dtype)
    few = many = surplus = lines = size = 0
    places: Array = np.zeros(matrices.columns if content.per == "output" else matrices.rows)
    for array in arrays:
        size += array.size
        values = geometry.canonical(as_float(array)).reshape(-1, matrices.rows, matrices.columns)
        if content.per == "input":
            values = values.transpose(0, 2, 1)
        zero = (values == 0).reshape(-1, places.size)
        excess = zero.sum(1) - content.zeros_of(places.size)
        few, many = few + int((excess < 0).sum()), many + int((excess > 0).sum())
        surplus += int(excess.clip(0).sum())
        places, lines = places + zero.sum(0), lines + len(zero)
        kept = geometry.canonical(array).reshape(-1)
        kept = kept[as_float(kept) != 0]
        tally.add(kept, Layout.parse("I").bind(kept.shape))
    checks = (
        impossible("lines with too few zeros", few),
        rare("lines with too many zeros", many, surplus, tally.size * _zero(target, dtype)),
        *_positions(places, lines),
        *tally.checks(),
    )
    zeros = content.zeros_of(places.size)
    words = {
        "lines with too few zeros": f"{few} of {lines} lines have less than {zeros} zeros",
        "lines with too many zeros": f"{many} of {lines} lines have more than {zeros} zeros",
        "places of zeros": "zeros are not equally likely everywhere in a line",
    }
    return _judged(checks, size, words)


def _zero(target: Target, dtype: str) -> float:
    """P(a draw is 0), at the most; in 16 bits small values become 0, too."""
    if dtype not in ("bfloat16", "float16"):
        return _ZERO
    return _ZERO + float(atoms(target, dtype).mass[[0, 2**15]].sum())


def _positions(places: Array, lines: int) -> Iterator[Check]:
    """Zeros by their place in the line: chi-square of counts that add up to a constant."""
    size = places.size
    share = float(places.sum()) / max(1, size * lines)
    if size > 1 and 0 < share < 1 and lines * min(share, 1 - share) >= 32:
        uneven = float(((places - lines * share) ** 2).sum())
        unit = lines * share * (1 - share) * size / (size - 1)
        p = gaussian(counts(uneven, unit, size))
        error = math.sqrt(2 / (size - 1))
        yield Check("places of zeros", uneven / unit / (size - 1), 1.0, error, p)


def _judged(checks: tuple[Check, ...], size: int, words: dict[str, str]) -> Examination:
    """The words for the checks that failed, else the checks themselves."""
    failed = [words.get(check.name, str(check)) for check in checks if not check.passed]
    return Examination(checks, size, "; ".join(failed))
