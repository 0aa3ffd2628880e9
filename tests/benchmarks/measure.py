"""From samples to figures: both sides in turn, medians, their ratio and how sure it is."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "UNITS",
    "Call",
    "Case",
    "Contender",
    "Rival",
    "Row",
    "Sample",
    "Setting",
    "UnavailableError",
    "measure",
    "reported",
    "timed",
]

Call = Callable[[], object]
Sample = Callable[[], float]  # seconds, or bytes

_PAUSE = 0.002  # seconds: threads of the other side that wait by spinning have gone to sleep then
_MOST = 400  # rounds
_RESAMPLES = 400
_FAILED = "failed: "


class UnavailableError(Exception):
    """One side cannot be measured here, and why."""


@dataclass(frozen=True)
class Unit:
    """How seconds (or bytes) and a size become a value; a rate is better when it is larger.

    Of what may be nothing at all there are no ratios.
    """

    rate: bool
    factor: float
    ratios: bool = True


UNITS = {
    "M/s": Unit(True, 1e-6),
    "µs": Unit(False, 1e6),
    "ms": Unit(False, 1e3),
    "MiB": Unit(False, 2.0**-20, ratios=False),
}


@dataclass(frozen=True)
class Contender:
    """One side: a function at the top of a module, so that another process can have it, too."""

    name: str
    make: Callable[..., Call]
    arguments: tuple[object, ...] = ()

    def prepare(self) -> Call:
        """What is to be measured; all that need not be has been done then."""
        return self.make(*self.arguments)


@dataclass(frozen=True)
class Rival:
    """Whom a case is compared with, and the ratio to reach; no peer: a limit of its own value.

    ``size`` is what the peer's sample holds, where that differs.
    """

    peer: Contender | None = None
    target: float | None = None
    size: int | None = None


@dataclass(frozen=True)
class Setting:
    """The process in which a case runs: one core or all of them (0), and the kernel's code."""

    cores: int = 0
    isa: str = ""
    kernel: str = ""


@dataclass(frozen=True)
class Case:
    """What is compared: data only.

    ``size`` is what one sample holds (elements, or calls), ``take`` how a sample is taken (a
    function of a contender that gives a `Sample`), ``least`` the fewest rounds, ``warm`` whether
    a first round is thrown away.
    """

    section: str
    what: str
    ours: Contender
    rivals: tuple[Rival, ...]
    take: Callable[[Contender], Sample]
    unit: str = "M/s"
    size: int = 1
    setting: Setting = Setting()
    least: int = 5
    warm: bool = True

    @property
    def label(self) -> str:
        """For selecting it on the command line."""
        return f"{self.section} | {self.what}"


@dataclass(frozen=True)
class Row:
    """One line of the report: medians, and the ratio of ours to theirs with its interval.

    For rates the ratio is a speed-up, for all else a cost. ``note`` says why figures are missing.
    """

    section: str
    what: str
    unit: str
    rate: bool
    ours: float | None
    peer: str | None
    target: float | None
    theirs: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    met: bool | None = None
    note: str = ""
    failed: bool = False


def timed(contender: Contender) -> Sample:
    """Seconds of one call, without those that freeing its result takes."""
    call = contender.prepare()

    def sample() -> float:
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
        del result
        return seconds

    return sample


def reported(contender: Contender) -> Sample:
    """What the call itself says."""
    call = contender.prepare()
    return lambda: float(str(call()))


def measure(case: Case, budget: float, absent: str = "") -> list[Row]:
    """Take both sides in turn for so many seconds, and compare; or say why there is nothing."""
    if absent:
        return [_noted(case, rival, absent) for rival in case.rivals]
    ours = _attempt(case, case.ours)
    theirs = [rival.peer and _attempt(case, rival.peer) for rival in case.rivals]
    if isinstance(ours, str):
        return [_noted(case, rival, ours) for rival in case.rivals]
    present = [ours, *(side for side in theirs if callable(side))]
    try:
        if case.warm:
            _interleave(present, 0, 1)
        samples = iter(_interleave(present, budget, case.least))
    except Exception as error:
        return [_noted(case, rival, _reason(error)) for rival in case.rivals]
    own, rows = _values(case, next(samples)), []
    for rival, side in zip(case.rivals, theirs, strict=True):
        if isinstance(side, str):
            rows.append(_noted(case, rival, side, statistics.median(own)))
        elif rival.peer is None:
            rows.append(_limited(case, rival, own))
        else:
            rows.append(_compared(case, rival, own, _values(case, next(samples), rival.size)))
    return rows


def _attempt(case: Case, side: Contender) -> Sample | str:
    """The samples of one side, or why there are none."""
    try:
        return case.take(side)
    except Exception as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    """What the report says of a side that raised this; "failed" marks a defect."""
    if isinstance(error, UnavailableError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name} is not installed"
    text = (str(error).splitlines() or [""])[0]
    return f"{_FAILED}{type(error).__name__}: {text}"


def _interleave(samples: Sequence[Sample], budget: float, least: int) -> list[list[float]]:
    """Rounds of one sample each, every other one in reverse order."""
    taken: list[list[float]] = [[] for _ in samples]
    pairs = list(zip(samples, taken, strict=True))
    start = time.perf_counter()
    while (rounds := len(taken[0])) < least or (
        time.perf_counter() - start < budget and rounds < _MOST
    ):
        gc.collect()
        for sample, values in pairs if rounds % 2 else reversed(pairs):
            time.sleep(_PAUSE)
            values.append(sample())
    return taken


def _values(case: Case, samples: Sequence[float], size: int | None = None) -> list[float]:
    """Samples in the case's unit."""
    unit, size = UNITS[case.unit], size or case.size
    if unit.rate:
        return [size * unit.factor / sample for sample in samples]
    return [sample * unit.factor / size for sample in samples]


def _limited(case: Case, rival: Rival, ours: Sequence[float]) -> Row:
    """A row without a peer."""
    own = statistics.median(ours)
    return _row(case, rival, own, rounds=len(ours), met=_met(case, rival, own))


def _compared(case: Case, rival: Rival, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    own, other = statistics.median(ours), statistics.median(theirs)
    figures: dict[str, Any] = {"theirs": other, "rounds": len(ours)}
    if UNITS[case.unit].ratios:
        low, high = _interval(ours, theirs)
        met = _met(case, rival, own / other)
        figures.update(ratio=own / other, low=low, high=high, met=met)
    return _row(case, rival, own, **figures)


def _interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Where the ratio of medians lies in 90 % of the runs that such rounds could make up."""
    rounds, pick = list(zip(ours, theirs, strict=True)), random.Random(0)
    ratios = []
    for _ in range(_RESAMPLES):
        one, other = zip(*pick.choices(rounds, k=len(rounds)), strict=True)
        ratios.append(statistics.median(one) / statistics.median(other))
    cuts = statistics.quantiles(ratios, n=20, method="inclusive")
    return cuts[0], cuts[-1]


def _met(case: Case, rival: Rival, figure: float) -> bool | None:
    if rival.target is None:
        return None
    return figure >= rival.target if UNITS[case.unit].rate else figure <= rival.target


def _noted(case: Case, rival: Rival, note: str, own: float | None = None) -> Row:
    """A row that says why it has no figures."""
    return _row(case, rival, own, note=note, failed=note.startswith(_FAILED))


def _row(case: Case, rival: Rival, own: float | None, **figures: Any) -> Row:
    name, rate = rival.peer.name if rival.peer else None, UNITS[case.unit].rate
    target = rival.target
    return Row(case.section, case.what, case.unit, rate, own, name, target, **figures)
