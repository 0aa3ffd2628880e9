"""The command line: one file per verb.

Results go to stdout and everything else to stderr. Exit codes: 0 all is well, 1 findings, 2 usage
or bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import MappingProxyType

import initspec
from initspec.errors import InitspecError
from initspec.models.config.problems import ProblemsError

from . import (
    apply,
    check,
    conformance,
    diff,
    doctor,
    lock,
    map,
    plan,
    recipes,
    schema,
    show,
    stream_words,
    verify,
)

__all__ = ["BAD_INPUT", "VERBS", "main", "make_parser"]

BAD_INPUT = 2  # what argparse exits with, too
_INTERRUPTED, _NO_READER = 130, 141  # what a shell reports for SIGINT and SIGPIPE

# A verb is a module: its docstring is the help, `configure` adds arguments, `run` does the work.
VERBS = MappingProxyType(
    {
        "show": show,
        "recipes": recipes,
        "plan": plan,
        "apply": apply,
        "check": check,
        "lock": lock,
        "verify": verify,
        "diff": diff,
        "map": map,
        "schema": schema,
        "doctor": doctor,
        "conformance": conformance,
        "stream-words": stream_words,
    }
)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; each sets ``run`` to its own function."""
    parser = argparse.ArgumentParser(
        "initspec",
        description="Neural-network weight initialisation: one seed, the same bits everywhere.",
        epilog="Exit codes: 0 all is well, 1 findings, 2 usage or bad input.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"initspec {initspec.__version__}",
        help="print the version and exit",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb", required=True)
    for name, module in VERBS.items():
        text = module.__doc__ or ""
        verb = verbs.add_parser(
            name, help=text.partition("\n")[0], description=text, allow_abbrev=False
        )
        module.configure(verb)
        verb.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ProblemsError as error:  # a line each, and first where it is: editors jump there
        for problem in error.problems:
            print(problem if problem.file else f"{options.config}: {problem}", file=sys.stderr)
        return BAD_INPUT
    except InitspecError as error:
        print(f"initspec {options.verb}: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except KeyboardInterrupt:
        return _INTERRUPTED
