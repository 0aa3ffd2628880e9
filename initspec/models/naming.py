"""A model's tensors under their canonical paths; what is wrong with names and ties is noted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from initspec.errors import InitspecError, did_you_mean

from .config.globs import Glob
from .config.problems import NOTHING, Problem, Problems
from .model import Model, Stored
from .names import Names, Ties, untied, with_kernels

if TYPE_CHECKING:
    from .config import Config

__all__ = ["how_to_name", "name_tensors"]


def name_tensors(model: Model, config: Config, problems: Problems) -> list[Stored]:
    """The tensors of a model as the config calls them: named, then tied."""
    named = _named(with_kernels(model.tensors()), model.framework, config, problems)
    _check_layers(model, config, problems)
    tied = Ties(config.tie).apply(with_kernels(named))
    for stored in tied:
        _check_ties(stored, problems)
    _check_doubles(tied, problems)
    _check_tie_names(config, named, problems)
    return tied


def _named(
    tensors: Sequence[Stored], framework: str, config: Config, problems: Problems
) -> list[Stored]:
    names, found = Names(config.names.get(framework, {})), []

    def problem(key: str, given: object, expected: str, advice: str) -> None:
        file, line = config.place("names", framework, key)
        where = {"path": f"names.{framework}", "file": file, "line": line}
        problems.add(Problem(given=given, expected=expected, advice=advice, **where))  # type: ignore[arg-type]

    for stored in tensors:
        try:
            found.append(names.apply(stored))
        except InitspecError as error:
            told = f"{error.expected} ({error.where} of {names.latest!r}, for {stored.name})"
            problem(names.latest, error.given, told, error.advice)
    known = [*(each.name for each in tensors), *(part.path for t in tensors for part in t.parts)]
    for key in names.unused:
        problem(key, key, "the name of a tensor", did_you_mean(key, known))
    return found


def _check_ties(stored: Stored, problems: Problems) -> None:
    own = [part.geometry.counts for part in stored.parts]
    for name, parts in stored.aliases:
        if own != [part.geometry.counts for part in parts]:
            mine, theirs = (", ".join(p.path for p in each) for each in (stored.parts, parts))
            expected = f"one tensor with the same parts under each name: {mine}; {theirs}"
            advice = "Name its parts in [names] for both, with a split where it is fused."
            problems.add(Problem(path=name, given=stored.name, expected=expected, advice=advice))
            return
    for path, target in untied(stored):
        expected = f"a tie: it is one tensor with {target!r} in the model ({stored.name})"
        advice = f'Add to [tie]: "{path}" = "{target}"'
        problems.add(Problem(path=path, given=NOTHING, expected=expected, advice=advice))


def _check_layers(model: Model, config: Config, problems: Problems) -> None:
    """A class of the model's has every attribute that [layers] gives it."""
    has: dict[str, set[str]] = {}
    for stored in model.tensors():
        names = [stored.name, *(name for name, _ in stored.aliases)]
        leaves = {re.split(r"[./]", name)[-1] for name in names}
        has.setdefault(stored.layer, set()).update(leaves)
    for layer, attributes in config.layers.items():
        for attribute in attributes:
            known = has.get(layer)
            if known is not None and attribute not in known and not set("./") & set(attribute):
                file, line = config.place("layers", layer, attribute)
                at = {"path": f'layers."{layer}"', "file": file, "line": line}
                expected = f"a tensor of that layer: {', '.join(sorted(known))}"
                advice = did_you_mean(attribute, known)
                problems.add(Problem(given=attribute, expected=expected, advice=advice, **at))  # type: ignore[arg-type]


def _check_tie_names(config: Config, tensors: Iterable[Stored], problems: Problems) -> None:
    """A tie may lack one side, which another framework has; one that lacks both is a slip."""
    paths = [part.path for stored in tensors for part in stored.all_parts]
    for key, target in config.tie.items():
        sides = Glob.parse(key), Glob.parse(target)
        if paths and not any(side.match(path) is not None for side in sides for path in paths):
            file, line = config.place("tie", key)
            advice = did_you_mean(key, paths) or did_you_mean(target, paths)
            expected = f"paths of the model: it has neither that nor {target!r}"
            at = {"path": "tie", "file": file, "line": line}
            problems.add(Problem(given=key, expected=expected, advice=advice, **at))  # type: ignore[arg-type]


def _check_doubles(tensors: Iterable[Stored], problems: Problems) -> None:
    """Two tensors may have one path only where a tie says so."""
    seen: dict[str, str] = {}
    for stored in tensors:
        for path in (part.path for part in stored.parts if not part.tied_from):
            other = seen.setdefault(path, stored.name)
            if other != stored.name:
                expected = f"a path of its own: {other} and {stored.name} have the same"
                advice = "Rename one in [names], or tie them in [tie]."
                problems.add(
                    Problem(path=path, given=stored.name, expected=expected, advice=advice)
                )


def how_to_name(stored: Stored, framework: str) -> str:
    """The lines of a config that would tell what an unknown tensor holds."""
    leaf, layout = _LIKELY.get(len(stored.shape), ("kernel", "..."))
    own, _, attribute = stored.name.replace(".", "/").rpartition("/")
    path = f"{own or attribute}/{leaf}"
    names = f'[names.{framework}] "{stored.name}" = {{ path = "{path}", layout = "{layout}" }}'
    if stored.layer:
        slot = f'{{ path = "{leaf}", layout = "{layout}" }}'
        names = f'[layers."{stored.layer}"] {attribute} = {slot}, or {names}'
    order = "; OI has the outputs first, IO the inputs" if layout == "OI" else ""
    hint = _LINEN if framework == "jax" and stored.name.startswith("params/") else ""
    return f"Say what it holds, as in {names}{order}.{hint}"


_LIKELY = {0: ("other", ""), 1: ("bias", "O"), 2: ("kernel", "OI")}
_LINEN = " Variables of a linen module: pass initspec_jax.Linen(module, inputs, variables=...)."
