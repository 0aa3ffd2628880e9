"""Describe an initializer on a shape, and show what it draws.

Prints the fans, the formula, and the specified mean, std, support and kurtosis beside those of
the values that are really drawn, with a histogram. Of a large tensor only the first values are
drawn: nothing of its size is ever allocated.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from initspec import factories, registry
from initspec.description import Description
from initspec.draw import check_range
from initspec.errors import InitspecValueError, did_you_mean
from initspec.fill_plan import check_dtype
from initspec.gains import gain
from initspec.initializer import Initializer
from initspec.layout import LayoutOptions
from initspec.recipes import ALIASES, RECIPES, get
from initspec.terminal import columns

from . import picture
from .arguments import add_layout, integers, layout_options, seed
from .sample import Sample, take

__all__ = ["configure", "run"]

_CONVENTIONS = {"numpy": "IO", "torch": "OI", "tensorflow": "IO", "jax": "IO", "keras": "IO"}
_MEASURES = ("mean", "std", "low", "high", "kurtosis")
_WORDS = {"true": True, "false": False, "none": None}
_BAR = 50


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``initspec show``."""
    add = parser.add_argument
    add("recipe", help="a recipe or alias, or a distribution: he_normal, caffe.xavier, normal")
    add("shape", type=integers, help="the stored shape, as in 3,3,64,128")
    add_layout(parser)
    add(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="FIELD=VALUE",
        help="vary a field of the initializer, as in std=0.02 or gain=gelu; may be repeated",
    )
    add(
        "--convention",
        choices=_CONVENTIONS,
        help="whose default layout counts without --layout (default: the dialect's, else numpy)",
    )
    add("--dtype", default="float32", help="float32 (default), float64, bfloat16 or float16")
    add("--seed", type=seed, default=0, help="an integer in [0, 2**64) (default: 0)")
    add("--name", default="", help="the parameter's name (default: empty)")
    add("--json", action="store_true", help="print JSON")
    add("--png", type=Path, metavar="FILE", help="write the histogram there too (extra 'plot')")


def _home(recipe: str) -> str:
    """The convention of the system whose dialect a recipe is."""
    system = recipe.partition(".")[0]
    return system if "." in recipe and system in _CONVENTIONS else "numpy"


def run(options: argparse.Namespace) -> int:
    """Describe, draw, print."""
    init = _initializer(options.recipe, dict(options.set))
    layout = layout_options(options)
    convention = _CONVENTIONS[options.convention or _home(options.recipe)]
    description = init.describe(options.shape, convention=convention, **layout)
    sample = _draw(init, options, layout, convention)
    if options.png is not None:
        if sample is None:
            raise InitspecValueError("--png", str(options.png), "a tensor with a histogram")
        picture.save(options.png, f"{options.recipe} {description.shape}", description, sample)
    if options.json:
        print(json.dumps(_record(options, init, description, sample), indent=2, allow_nan=False))
    else:
        print(_text(options, description, sample))
    return 0


# --- reading the arguments --------------------------------------------------------------------


def _setting(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: expected FIELD=VALUE, as in std=0.02")
    if value.lower() in _WORDS:
        return field, _WORDS[value.lower()]
    try:
        return field, float(value)
    except ValueError:
        return field, value


def _initializer(name: str, settings: dict[str, Any]) -> Initializer:
    if isinstance(settings.get("gain"), str):
        settings["gain"] = gain(settings["gain"])
    if name in RECIPES or name in ALIASES:
        return get(name).replace(**settings)
    if name not in factories.__all__:
        known = [*RECIPES, *ALIASES, *factories.__all__]
        advice = did_you_mean(name, known) or "`initspec recipes` lists them."
        raise InitspecValueError("recipe", name, "a recipe, an alias or a distribution", advice)
    factory = getattr(factories, name)
    signature = inspect.signature(factory)
    try:
        signature.bind(**settings)
    except TypeError as error:
        expected = f"the parameters of {name}: {', '.join(signature.parameters)}"
        raise InitspecValueError("--set", settings, expected, f"{error}.") from error
    made: Initializer = factory(**settings)
    return made


def _draw(
    init: Initializer, options: argparse.Namespace, layout: LayoutOptions, convention: str
) -> Sample | None:
    dtype = check_dtype(options.dtype)
    plan = init.plan(options.shape, convention=convention, **layout)
    check_range(plan.content, dtype)
    keys = registry.get_backend("numpy").keys(plan, options.seed, options.name)
    return take(plan.with_keys(keys), dtype)


# --- writing the result -----------------------------------------------------------------------


def _record(
    options: argparse.Namespace, init: Initializer, description: Description, sample: Sample | None
) -> dict[str, Any]:
    drawn = None
    if sample is not None:
        counts, edges = sample.histogram
        drawn = {
            "count": sample.values.size,
            "of": sample.total,
            **sample.moments,
            "histogram": {"counts": counts, "edges": edges},
        }
    return {
        "recipe": options.recipe,
        "initializer": init.to_dict(),
        "description": description.to_dict(),
        "dtype": check_dtype(options.dtype),
        "seed": options.seed,
        "name": options.name,
        "drawn": drawn,
    }


def _text(options: argparse.Namespace, description: Description, sample: Sample | None) -> str:
    head = [
        ("recipe", options.recipe),
        ("shape", f"{description.shape} as {description.layout}"),
        ("fans", f"fan_in {description.fan_in:g}, fan_out {description.fan_out:g}"),
        ("formula", description.formula),
        ("promise", description.promise),
        ("drawn", _drawn(options, sample)),
    ]
    measured = {} if sample is None else sample.moments
    specified = description.to_dict()
    rows = [(m, _number(specified[m]), _number(measured.get(m))) for m in _MEASURES]
    parts = [columns(head), columns([("", "specified", "drawn"), *rows])]
    return "\n\n".join([*parts, _bars(sample)] if sample is not None else parts)


def _drawn(options: argparse.Namespace, sample: Sample | None) -> str:
    if sample is None:
        return "nothing: " + (
            "it is empty" if 0 in options.shape else "it is too large to make here"
        )
    first = "all" if sample.values.size == sample.total else f"the first {sample.values.size} of"
    dtype, seed, name = check_dtype(options.dtype), options.seed, options.name
    return f"{first} {sample.total} values, {dtype}, seed {seed}, name {name!r}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _bars(sample: Sample) -> str:
    counts, edges = sample.histogram
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    width = min(_BAR, max(10, shutil.get_terminal_size().columns - 24))
    rows = []
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        bar = block * round(width * count / max(counts))
        rows.append((f"{_middle(low, high):>10}", f"{count:>7}", bar))
    return columns(rows)


def _middle(low: float, high: float) -> str:
    """The middle of a bin, to the digits that tell it from the next one."""
    digits = 1 - math.floor(math.log10(high - low)) if high > low else 9
    middle = low / 2 + high / 2
    return f"{round(middle, digits) + 0.0:.{digits}f}" if 0 <= digits < 9 else f"{middle:.5g}"
