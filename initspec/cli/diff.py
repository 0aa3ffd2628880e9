"""Say what differs between two configs, or between two models under one config.

`initspec diff A.toml B.toml` compares what the configs say, with all that they extend.
`initspec diff A.toml --model x:f --with y:g` compares two models, of any frameworks: their logical
tensors, what the config gives each, their weights, and knobs such as the epsilon of a norm.

Exit codes: 0 nothing differs, 1 something does, 2 usage or bad input.
"""

from __future__ import annotations

import argparse
from typing import Any

from initspec.errors import InitspecValueError
from initspec.models import api
from initspec.models.config.reading import load
from initspec.models.differences import Differences

from .findings import FINDINGS
from .models import add_arguments, add_config, add_model, make_model, make_plan, print_json, say

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec diff``."""
    add_config(parser)
    add = parser.add_argument
    add("other", nargs="?", help="another config")
    add_model(parser, required=False, seeded=False)
    add("--with", metavar="PACKAGE.MODULE:NAME", help="another model")
    add_arguments(parser, "--with-arg", "the other function")
    add("--no-weights", action="store_true", help="do not compare the values that the models have")
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Compare, print; 1 if anything differs."""
    _check(options)
    if options.other is not None:
        found = api.diff(load(options.config), load(options.other))
    else:
        found = _models(options)
    if options.json:
        print_json(found.to_dict())
    else:
        say(str(found))
    return 0 if found.same else FINDINGS


def _check(options: argparse.Namespace) -> None:
    models = [options.model, vars(options)["with"]]
    if options.other is not None and (any(models) or options.no_weights):
        expected = "either another config, or two models"
        raise InitspecValueError("other", options.other, expected)
    if options.other is None and not all(models):
        expected = "another config, or two models"
        advice = "Add B.toml, or --model PACKAGE.MODULE:NAME --with PACKAGE.MODULE:NAME."
        raise InitspecValueError("--model, --with", models, expected, advice)


def _models(options: argparse.Namespace) -> Differences:
    config = load(options.config)
    left: Any = make_model(options.model, options.arg)
    right: Any = make_model(vars(options)["with"], options.with_arg, "--with")
    plans = make_plan(config, left), make_plan(config, right)
    return api.diff(*plans, weights=not options.no_weights)
