"""What the verbs for whole models share: config, model and seed, and how problems are printed."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import json
import math
import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError, did_you_mean
from initspec.models import api
from initspec.models.config.objects import PRESET, Config
from initspec.models.plans import KEEP, Plan
from initspec.terminal import printable

from .arguments import seed

__all__ = [
    "add_config",
    "add_model",
    "counts",
    "lock_file",
    "make_model",
    "make_plan",
    "print_json",
    "say",
    "summary",
]

_FORM = "package.module:factory, as in my_nets.small:make"


def add_config(parser: argparse.ArgumentParser) -> None:
    """The config, which every verb but one takes."""
    text = "the file (.toml, .yaml, .json), or a preset such as initspec:torch-defaults"
    parser.add_argument("config", help=text)


def add_model(
    parser: argparse.ArgumentParser, *, required: bool = True, seeded: bool = True
) -> None:
    """The model: what makes it, with which arguments, under which seed."""
    add = parser.add_argument
    text = "a model, or a function or class that makes one; modules in this folder will do"
    add("--model", required=required, metavar="PACKAGE.MODULE:NAME", help=text)
    add_arguments(parser, "--arg", "the function")
    if seeded:
        add("--seed", type=seed, metavar="N", help="in place of the config's")


def add_arguments(parser: argparse.ArgumentParser, flag: str, whose: str) -> None:
    """Arguments for a factory."""
    text = f"an argument of {whose}, the value as JSON or else as text; may be repeated"
    parser.add_argument(
        flag, action="append", default=[], type=_argument, metavar="NAME=VALUE", help=text
    )


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE, as in width=64")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


# --- models ---------------------------------------------------------------------------------------


def make_model(
    target: str, arguments: Sequence[tuple[str, Any]] = (), where: str = "--model"
) -> Any:
    """The model that ``package.module:name`` is or makes.

    What it prints goes to stderr: stdout is for results.

    Raises:
        InitspecError: it cannot be imported, is not there, or fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when it is imported
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module, _, path = target.partition(":")
    if not module or not path:
        raise InitspecValueError(where, target, _FORM)
    with contextlib.redirect_stdout(sys.stderr):
        found = _attribute(_imported(module, where), target, path, where)
        return _called(found, target, dict(arguments), where)


def _imported(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the user's module does
        advice = f"The current folder is {os.getcwd()}." if _is_missing(error, name) else ""
        expected = f"a module that can be imported ({_cause(error)})"
        raise InitspecValueError(where, name, expected, advice) from error


def _is_missing(error: BaseException, name: str) -> bool:
    """Whether the module itself is not there, and not one that it imports."""
    return isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")


def _attribute(module: ModuleType, target: str, path: str, where: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            known = [each for each in dir(found) if not each.startswith("_")]
            expected = f"a name in {module.__name__}, which has no {name!r}"
            raise InitspecValueError(where, target, expected, did_you_mean(name, known))
        found = getattr(found, name)
    return found


def _called(found: Any, target: str, arguments: Mapping[str, Any], where: str) -> Any:
    if not (inspect.isroutine(found) or isinstance(found, (type, partial))):
        if arguments:
            expected = "a function or a class, since there are arguments for it"
            raise InitspecTypeError(where, target, expected)
        return found  # models can be called, too, but not to make one
    try:
        return found(**arguments)
    except InitspecError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's function does
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        expected = f"a function that returns a model; {target}({given}) failed ({_cause(error)})"
        advice = "Give its arguments with --arg NAME=VALUE." if isinstance(error, TypeError) else ""
        raise InitspecValueError(where, target, expected, advice) from error


def _cause(error: BaseException) -> str:
    """The error in a line, and the last place in the user's code."""
    text = " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())
    steps = traceback.extract_tb(error.__traceback__)
    own = [step for step in steps if not _is_foreign(step.filename)]
    return f"{text}, at {own[-1].filename}:{own[-1].lineno}" if own else text


def _is_foreign(file: str) -> bool:
    """Whether it belongs to this program, to Python or to an installed package."""
    library = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return file == __file__ or file.startswith(("<", *library))


# --- plans ----------------------------------------------------------------------------------------


def make_plan(config: Config, model: Any, number: int | None = None) -> Plan:
    """The plan of a model; warnings go to stderr, a line each.

    Raises:
        PlanError: the config does not fit the model.
    """
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        plan = api.plan(model, config, seed=number)
    for message in dict.fromkeys(str(each.message) for each in found):
        print(f"warning: {message}", file=sys.stderr)
    return plan


def counts(plan: Plan) -> dict[str, int]:
    """How much a plan is about: stored tensors, logical ones, values, tensors that are kept."""
    stored = {row.stored.name: math.prod(row.stored.shape) for row in plan.rows}
    return {
        "tensors": len(stored),
        "logical": len({row.path for row in plan.rows if row.part is not None}),
        "values": sum(stored.values()),
        "kept": sum(row.action == KEEP for row in plan.rows),
    }


def summary(plan: Plan) -> str:
    """The counts and the seed in one line."""
    found = counts(plan)
    words = {"tensors": "tensor" if found["tensors"] == 1 else "tensors"}
    seed = "no seed" if plan.seed is None else f"seed {plan.seed}"
    return ", ".join([*(f"{n} {words.get(name, name)}" for name, n in found.items()), seed])


def lock_file(config: str) -> Path:
    """Where the lock of a config is, unless it is said: beside it; of a preset in this folder."""
    return Path(config.removeprefix(PRESET)).with_suffix(".lock.toml")


# --- output ---------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a result, whatever the terminal's encoding."""
    print(printable(text))


def print_json(tree: Any) -> None:
    """Print a result for machines."""
    print(json.dumps(tree, indent=2, allow_nan=False))
