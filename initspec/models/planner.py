"""Planning: names, ties and rules turn a model's tensors into the rows of a plan."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from initspec.draw import check_range
from initspec.errors import InitspecError, InitspecValueError
from initspec.fans import RULES
from initspec.fill_plan import DTYPES
from initspec.initializer import Initializer
from initspec.law import Law, law
from initspec.layout import Geometry

from .config.inits import Init
from .config.problems import NOTHING, PlanError, Problem, Problems
from .model import Model, Stored
from .naming import how_to_name, name_tensors
from .plans import PINNED, WRITE, Plan, Row
from .rules import Decision, Rules, variables
from .slots import Part

if TYPE_CHECKING:
    from .config import Config

__all__ = ["fan_variables", "make_plan"]


_OWN_FANS = ("kernel", "recurrent", "embedding", "position")


def fan_variables(part: Part) -> dict[str, float]:
    """The sizes in `SIZES`; of a bias those of its layer's kernel, and none without a kernel."""
    own = part.geometry if part.role in _OWN_FANS else part.kernel
    found = {} if own is None else _sizes(own)
    if part.kernel is not None:
        found["layer_inputs"] = float(part.kernel.size("I"))
        found["layer_outputs"] = float(part.kernel.size("O"))
    return found


def _sizes(geometry: Geometry) -> dict[str, float]:
    fans = RULES["true"](geometry)
    return {
        "fan_in": float(fans.fan_in),
        "fan_out": float(fans.fan_out),
        "inputs": float(geometry.size("I")),
        "outputs": float(geometry.size("OV")),
        "groups": float(geometry.size("G")),
        "taps": float(fans.receptive_field),
    }


class Planner:
    """Makes the rows of a plan, collecting every problem on the way."""

    def __init__(
        self, framework: str, config: Config, tensors: Sequence[Stored], problems: Problems
    ) -> None:
        self.framework = framework
        self.config = config
        self.tensors = tensors
        self.problems = problems
        self._mains = _mains(tensors)
        self._rules = Rules(config.rules, self._mains.values())
        self._broken = False  # a tensor is: then nobody knows which rules are dead
        self._made: dict[Any, Initializer] = {}
        self._laws: dict[str, tuple[Initializer, Law] | None] = {}

    def rows(self) -> list[Row]:
        """One row for each logical tensor and each tensor that is kept as a whole."""
        return [row for stored in self.tensors for row in self._of(stored)]

    def problem(self, path: str, given: object, expected: str, advice: str = "", **at: Any) -> None:
        """Note what is wrong, and go on."""
        problem = Problem(path=path, given=given, expected=expected, advice=advice, **at)
        self.problems.add(problem)

    def _of(self, stored: Stored) -> Iterator[Row]:
        if stored.problem and not self._may_stay(stored):
            self._broken = True
            self.problem(stored.name, stored.layer, f"what can be initialised: {stored.problem}")
        elif stored.problem:
            yield from self._stay(stored)
        elif stored.parts:
            yield from (self._row(stored, part) for part in stored.parts)
        else:
            if not stored.buffer:
                self._unknown(stored)
            note = "a buffer" if stored.buffer else "an unknown layer"
            yield Row(path=stored.name.replace(".", "/"), stored=stored, note=note)

    def _may_stay(self, stored: Stored) -> bool:
        """Whether a rule, or the config, leaves alone what could not be initialised anyway."""
        decisions = [self._rules.decide(part.path) for part in stored.parts]
        if self.config.unmatched == "keep" and not any(decisions):
            return True
        return bool(decisions) and all(each and each.rule.init.keeps for each in decisions)

    def _stay(self, stored: Stored) -> Iterator[Row]:
        paths = [part.path for part in stored.parts] or [stored.name.replace(".", "/")]
        return (Row(path=path, stored=stored, note=stored.problem) for path in paths)

    def _unknown(self, stored: Stored) -> None:
        expected = f"a known layer; {stored.layer or 'a plain tree'} stores it: {stored.shape}"
        advice = how_to_name(stored, self.framework)
        self._unmatched(stored.name, stored.layer or NOTHING, expected, advice)

    def _row(self, stored: Stored, part: Part) -> Row:
        decision = self._rules.decide(part.path)
        found: dict[str, Any] = {}
        if decision is not None:
            found = {"rule": decision.rule, "second": decision.second}
        if stored.loaded or (decision is not None and decision.rule.init.keeps):
            note = "from a checkpoint" if stored.loaded else ""
            return Row(path=part.path, stored=stored, part=part, note=note, **found)
        if part.value is not None:
            note = "its layer starts it so, and no rule decides it"
            return _drawn(stored, part, PINNED, self._constant(part), note=note)
        if decision is None:
            return self._ruleless(stored, part)
        made = self._law(part.path, decision)
        if made is None:
            return Row(path=part.path, stored=stored, part=part, **found)
        self._fits(stored, part, made[1])
        return _drawn(stored, part, WRITE, made, **found)

    def _ruleless(self, stored: Stored, part: Part) -> Row:
        expected = f"a rule for it (role {part.role}, layer {part.kind}, stored as {stored.name})"
        advice = "Add a [[rule]], extend 'initspec:base', or set unmatched = \"keep\"."
        self._unmatched(part.path, NOTHING, expected, advice)
        return Row(path=part.path, stored=stored, part=part, note="no rule")

    def _constant(self, part: Part) -> tuple[Initializer, Law]:
        init = Initializer(distribution="constant", value=part.value or 0.0)
        return init, law(init, part.geometry)

    def _unmatched(self, path: str, given: object, expected: str, advice: str) -> None:
        """An error, a warning, or nothing, as the config wants it."""
        if self.config.unmatched == "error":
            self.problem(path, given, expected, advice)
        elif self.config.unmatched == "warn":
            warnings.warn(f"{path}: kept as it is; expected {expected}", stacklevel=6)

    def _law(self, path: str, decision: Decision) -> tuple[Initializer, Law] | None:
        """One for each path: tied tensors share it, whatever their layouts."""
        if path not in self._laws:
            self._laws[path] = self._guarded(path, decision)
        return self._laws[path]

    def _guarded(self, path: str, decision: Decision) -> tuple[Initializer, Law] | None:
        try:
            return self._make(path, decision)
        except InitspecError as error:
            rule = decision.rule
            where = f"{path} (rule {rule.name!r}, {error.where})"
            at = {"file": rule.source, "line": rule.line}
            self.problem(where, error.given, error.expected, error.advice, **at)
            return None

    def _make(self, path: str, decision: Decision) -> tuple[Initializer, Law]:
        part, init = self._mains[path], decision.rule.init
        values = {
            **fan_variables(part),
            **self._rules.counts[id(decision.rule)],
            **variables(decision.captures),
            **self.config.vars,  # so that L may be said, where a model holds a part of the blocks
        }
        initializer = self._initializer(init, init.numbers(values))
        _check_inputs(initializer, part)
        return initializer, law(initializer, part.geometry)

    def _initializer(self, init: Init, numbers: tuple[tuple[str, float], ...]) -> Initializer:
        """Made once for all tensors of a rule that have the same numbers."""
        key = (id(init), numbers)
        if key not in self._made:
            self._made[key] = init.made(numbers)
        return self._made[key]

    def _fits(self, stored: Stored, part: Part, made: Law) -> None:
        main = self._mains[part.path]
        if part.geometry.counts != main.geometry.counts:
            expected = f"the logical shape of the tensor it is tied to, {main.logical_shape}"
            self.problem(part.tied_from or part.path, part.logical_shape, expected)
        try:
            if stored.dtype in DTYPES:
                check_range(made.content, stored.dtype)
            elif not _holds(stored.dtype, made):
                expected = f"a tensor that can hold {made.formula}"
                self.problem(part.path, stored.dtype, expected, "Keep it, or make it float32.")
        except InitspecError as error:
            self.problem(part.path, error.given, error.expected, error.advice)

    def finish(self) -> None:
        """Rules that decide nothing, and the error that tells everything."""
        for rule, reason in () if self._broken else self._rules.dead():
            advice = f"Remove the rule, or set optional = true: {reason}"
            at = {"file": rule.source, "line": rule.line}
            self.problem(
                f"rule {rule.name!r}", NOTHING, "a parameter that it decides", advice, **at
            )
        self.problems.raise_as(PlanError)


def _holds(dtype: str, made: Law) -> bool:
    """Whether a tensor of integers can hold a law's values: a whole constant in its range."""
    try:
        kind = np.dtype(dtype)
    except TypeError:  # of an accelerator's own, or a key of a generator
        return False
    if made.std or kind.kind not in "iub":
        return False
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return made.mean == int(made.mean) and low <= made.mean <= high


def _drawn(
    stored: Stored, part: Part, action: str, made: tuple[Initializer, Law], **found: Any
) -> Row:
    init, facts = made
    return Row(
        path=part.path,
        stored=stored,
        part=part,
        action=action,
        initializer=init,
        law=facts,
        **found,
    )


def _mains(tensors: Iterable[Stored]) -> dict[str, Part]:
    """For each path the part that has it by its own right, else the first that is tied to it."""
    found: dict[str, Part] = {}
    for part in (part for each in tensors for part in each.all_parts):
        if part.path not in found or (found[part.path].tied_from and not part.tied_from):
            found[part.path] = part
    return found


def _check_inputs(init: Initializer, part: Part) -> None:
    """A bias has no inputs: to scale it by a fan of its own would be by accident."""
    if init.needs_fans and init.mode is not None and not part.geometry.input:
        expected = "a tensor with input axes: a vector has no fans of its own"
        advice = "Scale it by its layer's, as in std = '1 / sqrt(fan_in)'."
        raise InitspecValueError("mode", init.mode, expected, advice)


def make_plan(model: Model, config: Config, seed: int | None) -> Plan:
    """The plan of a model under a config without ``extends``.

    Raises:
        PlanError: with every problem that was found.
    """
    problems = Problems()
    tensors = name_tensors(model, config, problems)
    planner = Planner(model.framework, config, tensors, problems)
    rows = planner.rows()
    planner.finish()
    return Plan(model, config, config.seed if seed is None else seed, tuple(rows))
