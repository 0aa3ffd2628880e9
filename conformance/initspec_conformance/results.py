"""What a conformance run finds: checks, outcomes, and the report that holds them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

__all__ = [
    "ALPHA",
    "FAILED",
    "MOST_CHECKS",
    "PASSED",
    "RUN_ALPHA",
    "SKIPPED",
    "Check",
    "Outcome",
    "Picture",
    "Report",
]

RUN_ALPHA = 1e-6  # a whole run of honest initializers fails at most this often
MOST_CHECKS = 20_000  # in one run
ALPHA = RUN_ALPHA / MOST_CHECKS  # of each check, by Bonferroni's inequality: 5e-11, or 6.57 sigma

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One statistic of one sample, and how surprising it is under the law.

    Attributes:
        name: what was measured, such as ``std`` or ``beyond the bounds``.
        value: what was found.
        expected: what the law says.
        error: the standard error of ``value`` under the law; 0 for a check that is exact.
        p: the probability of a deviation as large under the law; 0 where it is impossible.
    """

    name: str
    value: float
    expected: float
    error: float
    p: float

    @property
    def passed(self) -> bool:
        """Whether an honest initializer could have given this."""
        return self.p >= ALPHA

    def __str__(self) -> str:
        spread = f" +- {self.error:.2g}" if self.error else ""
        p = "impossible" if self.p == 0 else f"p = {self.p:.2g}"
        return f"{self.name}: {self.value:.6g}, expected {self.expected:.6g}{spread} ({p})"


@dataclass(frozen=True, slots=True)
class Picture:
    """What a sample looks like beside its law: a histogram and a quantile plot.

    Attributes:
        edges: of the bins, one more than there are bins.
        counts: values in each bin.
        expected: how many the law puts there.
        quantiles: pairs of the law's quantile and the sample's, ascending.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    expected: tuple[float, ...]
    quantiles: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One case of one subject.

    Attributes:
        subject: the backend or the foreign initializer.
        device: where it drew.
        case: recipe, layout, shape and dtype, in words; unique for a subject, device and kind.
        kind: ``bits``, ``rounded``, ``refusal``, ``statistics`` or ``seeds``.
        verdict: ``passed``, ``failed`` or ``skipped``.
        message: why it failed, with the diagnosis, or why it was skipped; empty if it passed.
        checks: all statistics, where there are any.
        size: how many values were looked at.
        resolution: the smallest relative error of the std that would have been found with
            probability 1 - 1e-6; None where nothing was estimated.
        picture: of a statistical case.
        seconds: how long it took.
    """

    subject: str
    device: str
    case: str
    kind: str
    verdict: str
    message: str = ""
    checks: tuple[Check, ...] = ()
    size: int = 0
    resolution: float | None = None
    picture: Picture | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All outcomes of a run.

    Attributes:
        outcomes: in the order in which they were made.
        versions: of Python, initspec, the stream, NumPy, and each framework that took part.
        missing: what was not there and had not been asked for, with the reason.
        seconds: of the whole run.
    """

    outcomes: tuple[Outcome, ...]
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, verdict: str) -> int:
        """How many outcomes have this verdict."""
        return Counter(outcome.verdict for outcome in self.outcomes)[verdict]

    @property
    def checks(self) -> int:
        """How many statistics there were in all."""
        return sum(len(outcome.checks) for outcome in self.outcomes)

    @property
    def conforms(self) -> bool:
        """Whether nothing failed, and something was looked at."""
        return self.count(FAILED) == 0 and self.count(PASSED) > 0

    @property
    def smallest_p(self) -> float:
        """The smallest p, times the number of checks: how surprising the whole run is."""
        found = (0.0 if math.isnan(c.p) else c.p for o in self.outcomes for c in o.checks)
        smallest = min(found, default=math.inf)
        return min(1.0, smallest * self.checks)
