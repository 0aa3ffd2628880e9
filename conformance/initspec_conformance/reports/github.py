"""The report as workflow commands of GitHub Actions, which become annotations of the run."""

from __future__ import annotations

from initspec_conformance.results import Report

from .summary import clean, detail, failures, place, skips, verdict

__all__ = ["command", "render"]


def render(report: Report) -> str:
    """The report as workflow commands, one a line.

    GitHub shows the first ten errors and the first ten notices of a step, and the rest in its log
    only. So the verdict comes first, and skips come by reason.

    Args:
        report: what a run found.

    Returns:
        An ``::error`` for each failure, a ``::notice`` for each reason to skip.

    Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands

    >>> print(render(Report(outcomes=(), missing={"torch": "not installed"})), end="")
    ::error title=initspec conformance::does not conform, for nothing passed: 0 passed, 0 failed, \
0 skipped, 0 checks, 0.0 s
    ::notice title=torch is missing::not installed
    """
    level = "notice" if report.conforms else "error"
    commands = [command(level, "initspec conformance", verdict(report))]
    for outcome in failures(report):
        title = f"{place(outcome)}, {outcome.kind}: {outcome.case}"
        commands.append(command("error", title, detail(outcome)))
    for reason, outcomes in skips(report).items():
        places = ", ".join(dict.fromkeys(map(place, outcomes)))
        commands.append(command("notice", f"{len(outcomes)} skipped: {places}", reason))
    for name, reason in report.missing.items():
        commands.append(command("notice", f"{name} is missing", reason))
    return "".join(f"{command}\n" for command in commands)


def command(level: str, title: str, message: str, *, file: str = "", line: str = "") -> str:
    """One workflow command, escaped.

    Args:
        level: ``error``, ``warning`` or ``notice``.
        title, message: what it says.
        file, line: what it is about, in the repository; left out where empty.

    >>> command("error", "rule 'head'", "matches nothing", file="init.toml", line="3")
    "::error file=init.toml,line=3,title=rule 'head'::matches nothing"
    """
    given = {"file": file, "line": line, "title": title}
    properties = (f"{key}={_property(clean(text))}" for key, text in given.items() if text)
    return f"::{level} {','.join(properties)}::{_data(clean(message))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
