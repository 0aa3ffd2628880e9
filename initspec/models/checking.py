"""Checks: do the weights that a model has conform to a config?

Where a seed is known, bit for bit; else, or where the bits differ, by the statistics of the
conformance suite, with its error rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec import stream
from initspec.fill_plan import DTYPES, FillPlan
from initspec.initializer import Initializer
from initspec.layout import Geometry

from .plans import KEEP, Plan, Row
from .slots import Part
from .weights import expected, logical

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Checked", "Finding", "check_knobs", "check_plan"]

BITS, LAW, KNOB = "bits", "law", "knob"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found out about one logical tensor, or one knob.

    Attributes:
        path: canonical; of a knob, that of its layer.
        kind: ``bits``, ``law`` (statistics) or ``knob``.
        passed: whether it conforms.
        size: how many values were looked at.
        message: what is wrong, or what is only probable.
    """

    path: str
    kind: str
    passed: bool
    size: int = 0
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Checked:
    """All findings, and the rows that were not looked at since nothing is planned for them."""

    findings: tuple[Finding, ...]
    kept: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether everything conforms, and something was looked at."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that do not conform."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "passed": self.passed,
            "findings": [finding.to_dict() for finding in self.findings],
            "kept": [row.path for row in self.kept],
        }

    def __str__(self) -> str:
        lines = [f"{each.path}: {each.message}" for each in self.failures]
        good = len(self.findings) - len(self.failures)
        lines.append(f"{good} of {len(self.findings)} conform; {len(self.kept)} kept as they are")
        return "\n".join(lines)


def check_plan(plan: Plan, *, bits: bool | None = None) -> Checked:
    """Compare a model's weights with a plan.

    Args:
        plan: of the model that has the weights.
        bits: whether every bit must be the seed's; None: if the plan has a seed. False compares
            distributions alone, as for weights that another tool drew.

    Returns:
        `Checked`. A distribution fails by chance with a probability below 5e-11 for each statistic.
    """
    seed = plan.seed if bits is not False else None
    if bits and seed is None:
        from initspec.errors import InitspecValueError  # noqa: PLC0415

        raise InitspecValueError("bits", bits, "False or None: the config has no seed")
    rows = [row for row in plan.rows if row.action != KEEP and row.part is not None]
    findings = [*_tensors(plan, rows, seed), *check_knobs(plan)]
    kept = tuple(row for row in plan.rows if row.action == KEEP)
    return Checked(tuple(findings), kept)


def _tensors(plan: Plan, rows: list[Row], seed: int | None) -> Iterator[Finding]:
    """Stored tensor by stored tensor, so that each is read once and held alone."""
    name, array = "", np.empty(0)
    for row in rows:
        if row.stored.name != name:
            name, array = row.stored.name, plan.model.read(row.stored.name)
        yield _compare(row, array, None if seed is None else stream.key(seed, row.path))


def _compare(row: Row, array: NDArray[Any], key: stream.Key | None) -> Finding:
    part = row.part
    assert part is not None
    if key is None and row.stored.dtype in DTYPES:
        return _law(row, part, array)
    wanted = part.view(expected(row, key or (0, 0), array))
    found = part.view(array)
    wrong = _differing(row, wanted, found)
    if not wrong:
        return Finding(path=row.path, kind=BITS, passed=True, size=found.size)
    why = _explain(row, part, array)
    message = f"{wrong} of {found.size} values are not the seed's{why}"
    return Finding(path=row.path, kind=BITS, passed=False, size=found.size, message=message)


_STEPS = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-7, "float16": 2.0**-10}
_COMPUTED = 8  # steps that a parametrization may be off, there and back


def _differing(row: Row, wanted: NDArray[Any], found: NDArray[Any]) -> int:
    """How many values are not what they must be: equal, or near where only that is promised."""
    tolerance = _tolerance(row, wanted)
    if tolerance is None:
        bits = f"u{found.itemsize}"
        left, right = np.ascontiguousarray(wanted), np.ascontiguousarray(found)
        return int((left.view(bits) != right.view(bits)).sum())
    gap = np.abs(stream.as_float(wanted) - stream.as_float(found))
    return int((~(gap <= tolerance)).sum())


def _tolerance(row: Row, wanted: NDArray[Any]) -> Any:
    """None where every bit is promised."""
    assert row.part is not None
    assert row.law is not None
    dtype = row.stored.dtype
    if dtype not in DTYPES:
        return None
    slack = (
        _COMPUTED * _STEPS[dtype] * np.abs(stream.as_float(wanted)) if row.stored.computed else 0
    )
    if FillPlan(row.part.geometry, row.law.content, ()).promise == "bits":
        return slack if row.stored.computed else None
    near = import_module("initspec_conformance.reference").NEAR[dtype]
    return slack + near * max(1.0, row.initializer.gain if row.initializer else 1.0)


def _explain(row: Row, part: Part, array: NDArray[Any]) -> str:
    """Whether at least the distribution is the one of the rule."""
    if row.stored.dtype not in DTYPES or not part.shape:
        return ""
    law = _law(row, part, array)
    return "; but their distribution is right" if law.passed else f"; {law.message}"


def _law(row: Row, part: Part, array: NDArray[Any]) -> Finding:
    examine = import_module("initspec_conformance.examine").examine
    values, geometry = _without_zero_rows(part, np.array(logical(row, array)))
    found = examine(_absolute(row), geometry, row.stored.dtype, [values])
    return Finding(
        path=row.path, kind=LAW, passed=found.passed, size=values.size, message=found.message
    )


def _without_zero_rows(part: Part, values: NDArray[Any]) -> tuple[NDArray[Any], Geometry]:
    if not part.zero_rows:
        return values, part.geometry
    kept = np.delete(values, list(part.zero_rows), axis=0)
    return kept, part.layout.bind(kept.shape)


def _absolute(row: Row) -> Initializer:
    """The initializer that the plan's law came from; of a tied tensor's, by its numbers."""
    assert row.initializer is not None
    assert row.law is not None
    init = row.initializer
    if init.mode is None or row.part is None or not row.part.tied_from:
        return init
    if init.distribution == "uniform":
        return Initializer(distribution="uniform", low=row.law.low, high=row.law.high)
    std = {"std": row.law.std, "mode": None, "scale": 1.0, "gain": 1.0, "fan": None}
    return init.replace(**std, fan_rule="true")


def check_knobs(plan: Plan) -> Iterator[Finding]:
    """Whether the numbers that the config names are those of the model's layers."""
    for knob in plan.knobs:
        wanted = plan.config.knobs.get(knob.name)
        if wanted is None:
            continue
        same = abs(knob.value - wanted) <= 1e-9 * abs(wanted)
        message = f"{knob.name} is {knob.value:g}, expected {wanted:g}: the function differs"
        yield Finding(path=knob.path, kind=KNOB, passed=same, message="" if same else message)
