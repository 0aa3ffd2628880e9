"""What no single value of a config can tell: names in formulas, captures, ties, layouts.

Looks at objects in which `BAD` may stand where a value could not be read; that has been told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from initspec.errors import InitspecError, did_you_mean
from initspec.layout import Layout
from initspec.models.slots import ROLES

from .expressions import FUNCTIONS
from .globs import Glob
from .inits import SIZES, Init
from .kinds import BAD
from .objects import Config, Fused, Match, Rule, Tensor
from .problems import NOTHING, At
from .values import name_glob

__all__ = ["check"]

_PART = "part"  # what a path calls the parts of a split
_INDEX = "i"  # the capture whose count is L
_OF_LAYOUT = ("groups", "stride", "transposed", "sizes", "flip", "split")


def check(config: Config, variables: Iterable[str], at: At) -> None:
    """Note what is wrong between the values of a config.

    ``variables``: names that formulas may use beside the captures of their rule.
    """
    _check_rules(_readable(config.rules), tuple(variables), at / "rule")
    _check_ties(_table(config.tie), at / "tie")
    for framework, entries in _table(config.names).items():
        for name, tensor in _table(entries).items():
            captures = name_glob(name).captures
            _check_tensor(tensor, captures, at / "names" / framework / name)
    for layer, attributes in _table(config.layers).items():
        for name, tensors in _table(attributes).items():
            below = at / "layers" / layer / name
            several = _readable(tensors)
            for number, tensor in several:
                place = below / number if len(several) > 1 else below
                _check_slot(tensor, place)


def _readable(values: Any) -> list[tuple[int, Any]]:
    return list(enumerate(values)) if isinstance(values, tuple) else []


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# --- rules --------------------------------------------------------------------------------------


def _check_rules(rules: Sequence[tuple[int, Any]], variables: tuple[str, ...], at: At) -> None:
    names: dict[str, int] = {}
    for number, rule in rules:
        if not isinstance(rule, Rule):
            continue
        first = names.setdefault(rule.name, number)
        if isinstance(rule.name, str) and first != number:
            (at / number / "name").problem(rule.name, f"a name of its own: rule[{first}] has it")
        if rule.match == Match() and number != len(rules) - 1:
            expected = "a path, role or layer: no rule behind one for everything is reached"
            (at / number / "match").problem(NOTHING, expected, "Move the rule to the end.")
        if isinstance(rule.match, Match):
            _check_capture_names(rule.match.path, variables, at / number / "match" / "path")
        if isinstance(rule.init, Init) and isinstance(rule.match, Match):
            _check_names(rule.init, rule.match.path, variables, at / number / "init")


def _check_capture_names(paths: Any, variables: tuple[str, ...], at: At) -> None:
    """A capture with the name of something else would silently take its place in formulas."""
    for path in paths if isinstance(paths, tuple) else ():
        for name in Glob.parse(path).captures:
            if name in (*SIZES, *FUNCTIONS, *variables, "L") or name.startswith("L_"):
                at.problem(f"{{{name}}}", "a capture whose name formulas have no other use for")


def _check_names(init: Init, paths: Any, variables: tuple[str, ...], at: At) -> None:
    """Every name in the formulas has a value, whichever of the paths matches."""
    if not isinstance(paths, tuple):
        return
    captures = [Glob.parse(path).captures for path in paths] or [()]
    common = [name for name in captures[0] if all(name in each for each in captures)]
    counts = [f"L_{name}" for name in common] + ["L"] * (_INDEX in common)
    known = [*common, *counts, *SIZES, *variables]
    for field, formula in init.formulas.items():
        for name in sorted(formula.names - set(known)):
            expected = f"one of the names {', '.join(known)}"
            (at / field).problem(name, expected, _advice(name, known))


def _advice(name: str, known: Sequence[str]) -> str:
    if name == "L":
        return "L counts the values of a capture {i} in the rule's path; or set it in [vars]."
    return did_you_mean(name, known) or "Capture it in the rule's path, or set it in [vars]."


# --- ties ---------------------------------------------------------------------------------------


def _check_ties(ties: Mapping[str, Any], at: At) -> None:
    good = {source: target for source, target in ties.items() if isinstance(target, str)}
    for source, target in good.items():
        place = at / source
        if _unknown(target, Glob.parse(source).captures, place):
            continue
        if source == target:
            place.problem(target, "another path: it is tied to itself", "Remove the line.")
            continue
        way = _way(source, good)
        if way[-1] in way[:-1]:
            place.problem(target, f"no circle of ties: {' -> '.join(way)}")
        elif len(way) > 2:
            expected = f"a path that is not tied itself; it is tied to {way[-1]!r}"
            place.problem(target, expected, f"Tie {source!r} to {way[-1]!r}.")


def _way(source: str, ties: Mapping[str, str]) -> list[str]:
    """The paths that a tie leads to, one after the other; the last may be one of the others."""
    way = [source]
    while way[-1] in ties and way[-1] not in way[:-1]:
        way.append(ties[way[-1]])
    return way


def _unknown(target: str, captures: Iterable[str], at: At, allowed: str = "") -> bool:
    """Whether a path asks for captures that there are not, other than one that is allowed."""
    have = list(captures)
    missing = [name for name in Glob.names(target) if name not in (*have, allowed)]
    for name in missing:
        braced = [f"{{{each}}}" for each in have]
        expected = f"captures of the name: {', '.join(braced) or 'it has none'}"
        at.problem(f"{{{name}}}", expected, did_you_mean(name, have))
    return bool(missing)


# --- names and layers ---------------------------------------------------------------------------


def _check_tensor(tensor: Any, captures: tuple[str, ...], at: At) -> None:
    if not isinstance(tensor, Tensor):
        return
    if tensor == Tensor():
        at.problem({}, "a path, a role, a layer or a layout")
    if tensor.layout is None:
        _check_renamed(tensor, at)
    else:
        _check_layout(tensor, at)
    if tensor.path is None and (tensor.layout is not None or tensor.stack is not None):
        (at / "path").problem(NOTHING, "a canonical path such as 'blocks/{i}/mlp/kernel'")
    _check_captures(tensor, captures, at)


def _check_renamed(tensor: Tensor, at: At) -> None:
    for name in _OF_LAYOUT:
        value = getattr(tensor, name)
        if value is not None and value is not False:
            shown = value.to_dict() if isinstance(value, Fused) else value
            (at / name).problem(shown, "a layout beside it", "As in layout = 'OI'.")


def _check_layout(tensor: Tensor, at: At) -> None:
    if tensor.role is None and isinstance(tensor.path, str) and tensor.named_role is None:
        expected = f"one of the roles {', '.join(ROLES)}: the path does not end in one"
        (at / "role").problem(NOTHING, expected)
    options = {name: getattr(tensor, name) for name in ("groups", "stride", "transposed", "sizes")}
    options = {name: value for name, value in options.items() if value not in (None, BAD)}
    if not isinstance(tensor.layout, str):
        return
    try:
        Layout.parse(tensor.layout, **options)
    except InitspecError as error:
        where = error.where if error.where in options else "layout"
        (at / where).problem(error.given, error.expected, error.advice)


def _check_captures(tensor: Tensor, captures: tuple[str, ...], at: At) -> None:
    path, have = tensor.path, list(captures)
    below: list[tuple[str, str, Any]] = []
    if tensor.split is not None:
        below.append(("split", _PART, tensor.split))
    if tensor.stack is not None:
        below.append(("stack", getattr(tensor.stack, "capture", _PART), tensor.stack))
    for name, capture, form in below:
        _check_parts(form, at / name)
        if not isinstance(capture, str) or not isinstance(path, str):
            return
        if capture in have:
            (at / name).problem(f"{{{capture}}}", "a capture that nothing else has")
        elif capture not in Glob.names(path):
            expected = f"{{{capture}}} in it: otherwise all parts have one path"
            (at / "path").problem(path, expected)
        have.append(capture)
    if isinstance(path, str):
        # Where the layer is known, its own fused tensors have parts, too.
        _unknown(path, have, at / "path", _PART if tensor.layout is None else "")


def _check_parts(form: Any, at: At) -> None:
    parts, sizes = getattr(form, "parts", None), getattr(form, "sizes", None)
    if not isinstance(parts, tuple):
        return
    for number, part in enumerate(parts):
        if part in parts[:number]:
            (at / "parts" / number).problem(part, "every part once")
        elif isinstance(part, str) and ("/" in part or "{" in part or "}" in part):
            (at / "parts" / number).problem(part, "one component of a path")
    if isinstance(sizes, tuple) and len(sizes) != len(parts):
        (at / "sizes").problem(list(sizes), f"{len(parts)} sizes, one for each part")


def _check_slot(tensor: Any, at: At) -> None:
    """A tensor of [layers]: nobody else knows its layout."""
    if isinstance(tensor, Tensor) and tensor.layout is None:
        (at / "layout").problem(NOTHING, "one letter per axis", "As in layout = 'OI'.")
    if isinstance(tensor, Tensor):
        _check_tensor(tensor, (), at)
