"""List the named initializers: ours, their aliases, and what other systems mean by theirs."""

from __future__ import annotations

import argparse
import json
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from initspec.errors import InitspecValueError, did_you_mean
from initspec.recipes import ALIASES, RECIPES, Recipe

from .table import print_table

__all__ = ["configure", "run"]

_OURS = "initspec"  # how the rows without a system are called here
_HEADERS = ("recipe", "also called", "formula", "source")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec recipes``."""
    systems = sorted({_system(recipe) for recipe in RECIPES.values()})
    parser.add_argument(
        "pattern", nargs="?", help="part of a name or alias, or a pattern with * and ?"
    )
    parser.add_argument("--system", choices=systems, help="only the recipes of this system")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the recipes that match."""
    found = [
        recipe
        for recipe in RECIPES.values()
        if options.system in (None, _system(recipe)) and _matches(options.pattern, recipe)
    ]
    if not found:
        advice = did_you_mean(options.pattern, [*RECIPES, *ALIASES]) or "Leave it away to see all."
        raise InitspecValueError("pattern", options.pattern, "part of a recipe's name", advice)
    if options.json:
        print(json.dumps([_record(recipe) for recipe in found], indent=2))
    else:
        _print(found)
    return 0


def _system(recipe: Recipe) -> str:
    """The first word of a dialect: ``tf1`` of ``tf1.contrib.xavier``."""
    return recipe.system.partition(".")[0] or _OURS


def _aliases(recipe: Recipe) -> list[str]:
    return [alias for alias, name in ALIASES.items() if name == recipe.name]


def _matches(pattern: str | None, recipe: Recipe) -> bool:
    if pattern is None:
        return True
    wild = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    return any(fnmatchcase(name, wild.lower()) for name in (recipe.name, *_aliases(recipe)))


def _record(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "system": _system(recipe),
        "aliases": _aliases(recipe),
        "formula": recipe.formula,
        "source": recipe.source,
        "initializer": recipe.initializer.to_dict(),
    }


def _print(found: list[Recipe]) -> None:
    for position, (system, group) in enumerate(groupby(found, _system)):
        if position:
            print()
        rows = [(r.name, ", ".join(_aliases(r)) or "-", r.formula, r.source) for r in group]
        print_table(_HEADERS, rows, title=f"[{system}]")
