"""What the reports have in common: grouping, the words for a verdict, and text that is safe."""

from __future__ import annotations

import re

from initspec_conformance.results import FAILED, PASSED, SKIPPED, Outcome, Report

__all__ = [
    "chance",
    "clean",
    "detail",
    "failures",
    "groups",
    "judgement",
    "place",
    "probability",
    "skips",
    "verdict",
]

# Everything that XML 1.0 forbids, and the control characters that it only discourages: a terminal
# would obey them. Tab and newline stay.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    r"""Text without characters that a terminal obeys or that a file cannot hold.

    >>> clean("red: \x1b[31m, half a character: \ud800, σ")
    'red: \\x1b[31m, half a character: \\ud800, σ'
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def place(outcome: Outcome) -> str:
    """Who drew, and where: ``torch on cpu``."""
    return clean(f"{outcome.subject} on {outcome.device}")


def groups(report: Report) -> dict[tuple[str, str], Report]:
    """A report for each subject and device, in the order of their first outcomes."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in report.outcomes:
        found.setdefault((outcome.subject, outcome.device), []).append(outcome)
    return {
        key: Report(outcomes=tuple(some), seconds=sum(o.seconds for o in some))
        for key, some in found.items()
    }


def failures(report: Report) -> list[Outcome]:
    """The outcomes that failed."""
    return [outcome for outcome in report.outcomes if outcome.verdict == FAILED]


def skips(report: Report) -> dict[str, list[Outcome]]:
    """The outcomes that were skipped, by reason."""
    found: dict[str, list[Outcome]] = {}
    for outcome in report.outcomes:
        if outcome.verdict == SKIPPED:
            found.setdefault(clean(outcome.message) or "no reason given", []).append(outcome)
    return found


def detail(outcome: Outcome) -> str:
    """The message of a failure, and the checks that failed, a line each."""
    lines = [outcome.message, *(str(check) for check in outcome.checks if not check.passed)]
    return clean("\n".join(line for line in lines if line)) or "no reason given"


def probability(p: float) -> str:
    """A probability, to two digits.

    >>> probability(0.0312), probability(0.0)
    ('0.031', 'impossible')
    """
    return "impossible" if p == 0 else f"{p:.2g}"


def verdict(report: Report) -> str:
    """The last line: whether the run conforms, and the numbers.

    >>> verdict(Report(outcomes=()))
    'does not conform, for nothing passed: 0 passed, 0 failed, 0 skipped, 0 checks, 0.0 s'
    """
    numbers = [f"{report.count(word)} {word}" for word in (PASSED, FAILED, SKIPPED)]
    checks = "1 check" if report.checks == 1 else f"{report.checks} checks"
    numbers += [checks, f"{report.seconds:.1f} s"]
    if report.checks:
        numbers.append(f"probability of such a run: {chance(report)}")
    return f"{judgement(report)}: {', '.join(numbers)}"


def judgement(report: Report) -> str:
    """Whether the run conforms, in words."""
    if report.conforms:
        return "conforms"
    return "does not conform" + ("" if report.count(FAILED) else ", for nothing passed")


def chance(report: Report) -> str:
    """How likely a run as surprising is, if all initializers are honest: Bonferroni's bound."""
    p = report.smallest_p
    return "0" if p == 0 else "1" if p == 1 else f"at most {p:.2g}"
