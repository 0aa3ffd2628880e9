"""Check whether the weights of a model conform to a config.

With a seed they have to be that seed's, bit for bit (orthogonal matrices up to their last bits).
Without one, or with --no-bits, their distributions are tested with the statistics of the
conformance suite. Knobs that the config names are compared, too.

Exit codes: 0 all conform, 1 some do not, 2 usage or bad input.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from initspec.models.checking import check_plan
from initspec.models.config.problems import ProblemsError
from initspec.models.config.reading import load

from .findings import add_reports, check_reports, report, report_problems
from .models import add_config, add_model, make_model, make_plan
from .weights import with_weights

__all__ = ["add_weights", "configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec check``."""
    add_config(parser)
    add_model(parser)
    parser.add_argument(
        "--bits",
        action=argparse.BooleanOptionalAction,
        help="whether every bit must be the seed's (default: if there is a seed)",
    )
    add_weights(parser)
    add_reports(parser)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The file that the weights are in, where the model has others."""
    text = "the weights, as .npz or .safetensors (default: those the model has)"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=text)


def run(options: argparse.Namespace) -> int:
    """Check, report; 1 if anything does not conform."""
    check_reports(options)
    try:
        config = load(options.config)
        plan = make_plan(config, make_model(options.model, options.arg), options.seed)
    except ProblemsError as error:
        report_problems(error, options)
        raise
    plan = with_weights(plan, options.weights)
    return report(check_plan(plan, bits=options.bits), plan, config, options)
