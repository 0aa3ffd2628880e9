"""Checks: do the weights that a model has conform to a config?

Where a seed is known, bit for bit; else, or where the bits differ, by the statistics of the
conformance suite, with its error rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec import stream
from initspec.draw import Draw
from initspec.errors import InitspecValueError
from initspec.fill_plan import DTYPES
from initspec.initializer import Initializer
from initspec.law import Law
from initspec.layout import Geometry, Layout
from initspec.moments import truncated_moments

from .plans import KEEP, Plan, Row
from .slots import Part
from .weights import expected, logical

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KNOB", "STEPS", "Checked", "Finding", "check_knobs", "check_plan"]

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
    wanted = expected(row, key or (0, 0), array)
    found = array[(*part.region, ...)]  # of a scalar, too, a view
    wrong = _differing(row, wanted, found)
    if not wrong:
        return Finding(path=row.path, kind=BITS, passed=True, size=found.size)
    why = _explain(row, part, array)
    message = f"{wrong} of {found.size} values are not the seed's{why}"
    return Finding(path=row.path, kind=BITS, passed=False, size=found.size, message=message)


STEPS = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-7, "float16": 2.0**-10}
_NEAR = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 1e-5, "float16": 1e-5}  # spec 8, per gain
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
    dtype = row.stored.dtype
    if dtype not in DTYPES:
        return None
    steps = STEPS[dtype] * np.abs(stream.as_float(wanted))
    slack = _COMPUTED * steps if row.stored.computed else 0 * steps
    if row.exact:
        return slack if row.stored.computed else None
    gain = row.initializer.gain if row.initializer else 1.0
    return slack + steps + _NEAR[dtype] * gain


def _explain(row: Row, part: Part, array: NDArray[Any]) -> str:
    """Whether at least the distribution is the one of the rule."""
    if row.stored.dtype not in DTYPES or not part.shape:
        return ""
    law = _law(row, part, array)
    return "; but their distribution is right" if law.passed else f"; {law.message}"


def _law(row: Row, part: Part, array: NDArray[Any]) -> Finding:
    examine = import_module("initspec_conformance.examine").examine
    values = logical(row, array)
    if part.zero_rows and part.geometry.canonical(values)[list(part.zero_rows)].any():
        message = f"the rows {list(part.zero_rows)} belong to a padding index, and are not zero"
        return Finding(path=row.path, kind=LAW, passed=False, size=values.size, message=message)
    init, geometry, sample = _sample(row, part, values)
    found = examine(init, geometry, row.stored.dtype, sample)
    return Finding(
        path=row.path, kind=LAW, passed=found.passed, size=found.size, message=found.message
    )


_BLOCK, _BLOCKS = 2**21, 8  # values: statistics take 20 times their memory


def _sample(
    row: Row, part: Part, values: NDArray[Any]
) -> tuple[Initializer, Geometry, Iterable[NDArray[Any]]]:
    """The tensor; of a large draw, or one with padding, blocks of rows from all over it."""
    assert row.law is not None
    assert row.initializer is not None
    large = values.size > _BLOCK and isinstance(row.law.content, Draw)
    if not large and not part.zero_rows:
        init = row.initializer if not part.tied_from else _absolute(row.initializer, row.law)
        return init, part.geometry, [values]
    whole = part.geometry.canonical(values).reshape(part.geometry.counts)
    if part.zero_rows:
        whole = np.delete(whole, list(part.zero_rows), axis=1)
    stacks, rows, inputs = whole.shape
    length = min(rows, max(1, _BLOCK // (stacks * inputs)))
    count = min(_BLOCKS, rows // length)
    starts = [number * (rows - length) // max(1, count - 1) for number in range(count)]
    geometry = Layout.parse("SOI").bind((stacks, length, inputs))
    blocks = (np.ascontiguousarray(whole[:, start : start + length]) for start in starts)
    return _absolute(row.initializer, row.law), geometry, blocks


def _absolute(init: Initializer, law: Law) -> Initializer:
    """An initializer by its numbers, for a shape whose fans are not the plan's."""
    if init.mode is None:
        return init
    if init.distribution == "uniform":
        return Initializer(distribution="uniform", low=law.low, high=law.high)
    std = {"std": law.std, "mode": None, "scale": 1.0, "gain": 1.0, "fan": None}
    if not init.compensate and init.distribution == "truncated_normal":
        std["std"] = law.std / truncated_moments(init.low, init.high).std
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
