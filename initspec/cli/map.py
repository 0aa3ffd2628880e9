"""Propose names for one model's tensors, so that it shares a config with another.

`initspec map A B` matches two models of any frameworks by the roles and sizes of their tensors,
by order and by names, and prints the `[names]` of B as TOML: under them B has the canonical paths
of A. What only the order decides, and what has no counterpart, is told on stderr.

Exit codes: 0 every tensor has its counterpart, 1 something is unmatched, 2 usage or bad input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from initspec.errors import InitspecValueError
from initspec.models.config.reading import format_of, load
from initspec.models.config.writing import dump
from initspec.models.mapping import NameMap, propose
from initspec.terminal import printable

from .findings import FINDINGS
from .models import add_arguments, make_model, print_json, say

__all__ = ["configure", "run"]

_MODEL = "PACKAGE.MODULE:NAME"
_SIDES = ("left", "right")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec map``."""
    add = parser.add_argument
    add("left", help=f"the model whose paths count, {_MODEL}")
    add("right", help="the model to be mapped")
    for side in _SIDES:
        add_arguments(parser, f"--{side}-arg", f"the {side} model's function")
    add("--config", metavar="FILE", help="a config with names that are known already")
    add("--output", type=Path, metavar="FILE", help="write there instead: .toml, .yaml or .json")
    add("--json", action="store_true", help="print the pairs and all the rest as JSON")


def run(options: argparse.Namespace) -> int:
    """Propose, print; 1 if anything is unmatched."""
    config = None if options.config is None else load(options.config)
    if options.output is not None:
        _check_output(options.output)
    models = (
        make_model(options.left, options.left_arg, "left"),
        make_model(options.right, options.right_arg, "right"),
    )
    found = propose(*models, config)
    _write(found, options)
    return 0 if found.complete else FINDINGS


def _check_output(path: Path) -> None:
    """Refuse what cannot work before anything takes time."""
    format_of(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InitspecValueError("--output", str(path), "a file in a folder that exists")


def _write(found: NameMap, options: argparse.Namespace) -> None:
    if options.output is not None:
        dump(found.to_config(), options.output)
    if options.json:
        print_json(found.to_dict())
    elif options.output is None:
        say(found.dumps().rstrip())
    for line in str(found).splitlines():
        print(printable(f"# {line}"), file=sys.stderr)
