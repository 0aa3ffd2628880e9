"""Verify that a config, and the weights of a model, still give what a lock says.

The digests are drawn afresh under the lock's seed and compared; then the weights with the values
that have these digests, bit for bit.

Exit codes: 0 all is as locked, 1 something is not, 2 usage or bad input.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from initspec.errors import InitspecValueError
from initspec.models.config.problems import ProblemsError
from initspec.models.config.reading import load
from initspec.models.locking import read_lock, verify_plan

from .check import add_weights
from .findings import add_reports, check_reports, report, report_problems
from .models import add_config, add_model, lock_file, make_model, make_plan
from .weights import with_weights

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec verify``."""
    add_config(parser)
    add_model(parser, seeded=False)
    text = "the lock (default: CONFIG.lock.toml beside the config)"
    parser.add_argument("--lock", type=Path, metavar="FILE", help=text)
    text = "compare the digests alone, not the weights"
    parser.add_argument("--no-weights", action="store_true", help=text)
    add_weights(parser)
    add_reports(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, report; 1 if anything is not as locked."""
    check_reports(options)
    if options.no_weights and options.weights:
        expected = "one of the two: a file is read to be compared"
        raise InitspecValueError("--weights, --no-weights", str(options.weights), expected)
    try:
        config = load(options.config)
        lock = read_lock(options.lock or lock_file(options.config))
        plan = make_plan(config, make_model(options.model, options.arg))
    except ProblemsError as error:
        report_problems(error, options)
        raise
    plan = replace(with_weights(plan, options.weights), seed=lock.seed)
    checked = verify_plan(plan, lock, weights=not options.no_weights)
    return report(checked, plan, config, options)
