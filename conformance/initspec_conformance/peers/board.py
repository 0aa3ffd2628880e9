"""The scoreboard: initializers of frameworks against recipes, and what is found.

``python -m initspec_conformance.peers --write docs/peers.md`` runs every row of
`initspec_conformance.peers.rows` and writes the page.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from initspec.errors import InitspecError
from initspec.files import write
from initspec.recipes import get
from initspec_conformance.cases import Layer, layers
from initspec_conformance.foreign import SIZE, load, outcomes
from initspec_conformance.peers.rows import NOT_OFFERED, PROCESSES, ROWS, Process, Row
from initspec_conformance.results import ALPHA, FAILED, PASSED, SKIPPED
from initspec_conformance.statistics.checks import resolution

__all__ = ["Finding", "expected", "find", "main", "page"]

_EXTRA = {
    "stacked experts": Layer("stacked experts", "SIO", (8, 176, 304)),
    "embedding": Layer("embedding", "VI", (1088, 448)),
    "dense as torch": Layer("dense", "OI", (448, 1088)),
}
_MISSED = 1e-7  # P(a leak of the share that the page names does not show)
_VERDICTS = {PASSED: "conforms", FAILED: "**differs**", SKIPPED: NOT_OFFERED}


@dataclass(frozen=True)
class Finding:
    """What one row showed: the verdict, the diagnosis, and from how many values."""

    verdict: str
    message: str
    size: int


def find(row: Row, size: int = SIZE) -> Finding:
    """Run one row in this process.

    Args:
        row: the comparison.
        size: about how many values to draw.

    Raises:
        InitspecError: the initializer is not there, or cannot be called.
    """
    foreign = load(row.peer)
    init = get(row.recipe) if row.std is None else get(row.recipe).replace(std=row.std)
    outcome = next(outcomes(foreign, init, row.reference, [_layer(row)], [row.dtype], size))
    return Finding(outcome.verdict, outcome.message, outcome.size)


def expected(row: Row, finding: Finding) -> bool:
    """Whether it is what the row says."""
    if row.expected == NOT_OFFERED:
        return finding.verdict == SKIPPED
    verdict = FAILED if row.expected else PASSED
    return finding.verdict == verdict and row.expected in finding.message


def _layer(row: Row) -> Layer:
    framework = row.process.partition(" ")[0]
    known = {layer.name: layer for layer in layers(framework)} | _EXTRA
    return known[row.layer]


# --- processes --------------------------------------------------------------------------------


def _all(size: int) -> list[Finding]:
    """The findings of all rows, in their order; each kind of process runs its own."""
    found: dict[Row, Finding] = {}
    for process in PROCESSES:
        rows = [row for row in ROWS if row.process == process]
        print(f"{process}: {len(rows)} rows", file=sys.stderr, flush=True)
        found |= dict(zip(rows, _in_process(process, size), strict=True))
    return [found[row] for row in ROWS]


def _in_process(process: str, size: int) -> list[Finding]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    backend = PROCESSES[process].keras
    keras = {"KERAS_BACKEND": backend} if backend else {}
    command = [
        sys.executable,
        "-m",
        "initspec_conformance.peers",
        "--process",
        process,
        "--size",
        str(size),
    ]
    done = subprocess.run(
        command, env=os.environ | quiet | keras, stdout=subprocess.PIPE, check=True, text=True
    )
    return [Finding(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def _serve(process: str, size: int) -> None:
    """Run the rows of one process; the last line that is printed has the findings."""
    found = []
    for row in ROWS:
        if row.process == process:
            found.append(asdict(find(row, size)))
            print(f"  {row.name}: {found[-1]['message']}", file=sys.stderr, flush=True)
    print(json.dumps(found))


# --- the page ---------------------------------------------------------------------------------

_INTRODUCTION = """\
# Frameworks' own initializers

Initializers of torch, JAX, Keras, TensorFlow, Flax, Haiku and Equinox, run through the suite like
anybody else's. Each row draws tensors under consecutive seeds, {size:,} values or a few more
(matrices and patterns: see n), on the CPU, and compares them with a recipe. Many are compared
twice: with initspec's recipe of the same name, and with the framework's dialect of it, which
reproduces what that framework means. torch's `kaiming_normal_` is not `he_normal`, because it is
not truncated; it is `torch.kaiming_normal`.

- **conforms**: none of about 20 statistics is improbable at {alpha:.0e} each (see the
  [specification](spec.md) for what a recipe promises). The bits are never those of initspec.
- **differs**: at least one is. The diagnosis is made from the values alone.
- **not offered**: the initializer refuses the dtype.

That an initializer differs need not be a defect: it may mean another thing by the name. From
{size:,} values an error of the std of {error:.1f} % is found with probability 1 - 1e-6, and a share
of {share:.0f} in a million beyond a bound with 1 - 1e-7; what is smaller may be missed. Complex
dtypes are not covered: initspec has none. Nor are seeds that share values.

The sizes of the tensors are such that each slip with fans shows. `SIO` are stacked experts, `VI` is
an embedding; transposed convolutions have stride 2, the grouped one 5 groups.

`python -m initspec_conformance.peers --write docs/peers.md` makes this page again, in minutes, and
fails if a row does not come out as it did before.
"""
_HEAD = "| initializer | tensor | dtype | compared with | n | verdict | diagnosis |"
_RULE = "|---|---|---|---|---|---|---|"


def page(findings: Sequence[Finding], size: int) -> str:
    """The page as Markdown, from the findings of all rows in their order."""
    figures = {"error": 100 * resolution(size, 3.0), "share": -1e6 * math.log(_MISSED) / size}
    lines = [_INTRODUCTION.format(size=size, alpha=ALPHA, **figures)]
    for name, process in PROCESSES.items():
        pairs = [pair for pair in zip(ROWS, findings, strict=True) if pair[0].process == name]
        lines += [f"## {process.title}", "", f"{', '.join(_versions(process))}.", ""]
        lines += [_HEAD, _RULE, *(_line(*pair) for pair in pairs), ""]
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row, finding: Finding) -> str:
    words = finding.message if finding.verdict == FAILED else ""
    if not expected(row, finding):
        words += " (not expected)"
    layer = _layer(row)
    cells = [f"`{row.name}`", f"{layer.name} {layer.pattern}", row.dtype, f"`{row.reference}`"]
    cells += [f"{finding.size:,}", _VERDICTS[finding.verdict], words.replace("|", "\\|")]
    return "| " + " | ".join(cells) + " |"


def _versions(process: Process) -> Iterator[str]:
    for package in process.packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


# --- the command ------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the board; 1 if a row is not as expected."""
    parser = argparse.ArgumentParser(prog="python -m initspec_conformance.peers")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--size", type=int, default=SIZE, help="values of a row (%(default)s)")
    parser.add_argument("--process", choices=PROCESSES, help="run the rows of one kind here")
    options = parser.parse_args(arguments)
    try:
        if options.process:
            _serve(options.process, options.size)
            return 0
        findings = _all(options.size)
        if options.write:
            write(options.write, page(findings, options.size).encode(), "--write")
    except InitspecError as error:
        print(error, file=sys.stderr)
        return 1
    wrong = [pair for pair in zip(ROWS, findings, strict=True) if not expected(*pair)]
    for row, finding in wrong:
        print(
            f"{row.name} as {row.reference}, {row.layer}, {row.dtype}: {finding}; {row.expected!r}"
        )
    print(f"{len(findings)} rows, {len(wrong)} not as expected")
    return 1 if wrong else 0
