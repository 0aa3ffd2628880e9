"""Draw the weights of a model and write them to a file.

The tensors have the names that the framework gives them, tied ones all of theirs. Everything is
checked before the first is drawn, and the file appears as a whole or not at all. The values are
those that `initspec.models.apply` puts into the model, bit for bit; a model without memory (meta
tensors, abstract trees) will do.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from initspec.models.config.reading import load
from initspec.models.plans import Applied

from .models import add_config, add_model, make_model, make_plan, print_json, say, summary
from .weights import Drawing, check_path, write_weights

__all__ = ["configure", "run"]

_OUTPUT = "--output"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec apply``."""
    add_config(parser)
    add_model(parser)
    add = parser.add_argument
    text = "the file: .npz, with bfloat16 as float32, or .safetensors"
    add(_OUTPUT, required=True, type=Path, metavar="FILE", help=text)
    text = "a canonical path or glob; may be repeated"
    add("--only", action="append", default=[], metavar="GLOB", help=f"draw nothing else: {text}")
    add("--skip", action="append", default=[], metavar="GLOB", help=f"do not draw: {text}")
    add("--json", action="store_true", help="print JSON: what every tensor came from")


def run(options: argparse.Namespace) -> int:
    """Draw, write, and say what and with which seed."""
    check_path(options.output, _OUTPUT)
    config = load(options.config)
    plan = make_plan(config, make_model(options.model, options.arg), options.seed)
    drawing = replace(plan, model=Drawing(plan.model, {}))
    applied: Applied = drawing.apply(only=options.only, skip=options.skip)
    write_weights(applied.model, options.output, _OUTPUT)
    done = replace(plan, seed=applied.seed, rows=applied.rows)
    if options.json:
        print_json({"output": str(options.output), **done.to_dict()})
    else:
        say(f"{options.output}: {summary(done)}")
    return 0
