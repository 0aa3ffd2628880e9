"""The ``init`` of a rule: an initializer whose numbers may be small formulas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean
from initspec.gains import gain
from initspec.initializer import DISTRIBUTIONS, NUMBERS, Initializer
from initspec.recipes import ALIASES, RECIPES, get

from .expressions import Expression

__all__ = ["EXTRA_FIELDS", "KEEP", "SIZES", "TYPES", "Init"]

KEEP = "keep"  # the framework's own values stay
SIZES = {  # what formulas call the sizes of a tensor, or of its layer's kernel
    "fan_in": "inputs of one output unit",
    "fan_out": "outputs that one input unit feeds",
    "inputs": "input channels, per group",
    "outputs": "output channels, per group",
    "groups": "groups; the channels of a depthwise convolution",
    "taps": "positions of the kernel",
    "layer_inputs": "input channels of the layer, for its recurrent kernel, too",
    "layer_outputs": "output channels of the layer",
}
_SCALING = "variance_scaling"
TYPES = (
    KEEP,
    _SCALING,
    *DISTRIBUTIONS,
    *(n for n in (*RECIPES, *ALIASES) if n not in DISTRIBUTIONS),
)
EXTRA_FIELDS = {
    "cut": "truncation at +-cut standard deviations: short for low = -cut, high = cut",
    "nonlinearity": "an activation, whose gain takes the place of scale: std = gain / sqrt(fan)",
    "param": "of the nonlinearity, such as the slope of leaky_relu",
}
_FIELDS = tuple(each.name for each in fields(Initializer) if each.name != "distribution")
_FORMULAS = (*NUMBERS, "cut", "param")


@dataclass(frozen=True)
class Init:
    """An initializer by type and fields; numbers may be formulas.

    Args:
        type: ``keep``, a recipe (``he_normal``), a dialect (``torch.kaiming_normal``), a
            distribution (``normal``, ``uniform``, ...) or ``variance_scaling``.
        fields: those of `initspec.Initializer`, and ``cut``, ``nonlinearity``, ``param``.

    >>> Init("normal", {"std": "0.02 / sqrt(2 * L)"}).resolve({"L": 8.0})
    Initializer(distribution='normal', std=0.005)
    """

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any) -> Init:
        """From a type's name, a mapping with ``type``, an `Initializer`, or an `Init`."""
        if isinstance(given, Init):
            return given
        if isinstance(given, Initializer):
            data = given.to_dict()
            del data["initspec"]
            return cls(data.pop("distribution"), data)
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping):
            raise InitspecTypeError("init", given, "a name, a table with 'type', or an Initializer")
        if "type" not in given:
            raise InitspecValueError("init", dict(given), "a table with 'type', as in 'he_normal'")
        return cls(given["type"], {key: value for key, value in given.items() if key != "type"})

    def to_plain(self) -> str | dict[str, Any]:
        """What `of` reads back: the name alone, where there are no fields."""
        return {"type": self.type, **self.fields} if self.fields else self.type

    def __hash__(self) -> int:
        return hash((self.type, tuple(sorted(self.fields.items(), key=str))))

    @property
    def keeps(self) -> bool:
        """Whether the framework's own values stay."""
        return self.type == KEEP

    @cached_property
    def formulas(self) -> dict[str, Expression]:
        """The fields that are formulas."""
        return {
            name: Expression.parse(value, name)
            for name, value in self.fields.items()
            if name in _FORMULAS and isinstance(value, str)
        }

    @property
    def names(self) -> frozenset[str]:
        """The variables that the formulas ask for."""
        return frozenset().union(*(formula.names for formula in self.formulas.values()))

    def check(self) -> None:
        """Refuse what no variables could make valid: types, fields, formulas.

        Raises:
            InitspecTypeError, InitspecValueError: ``where`` is the field at fault.
        """
        if not isinstance(self.type, str):
            raise InitspecTypeError("type", self.type, "the name of an initializer")
        if self.type not in TYPES:
            advice = did_you_mean(self.type, TYPES) or "`initspec recipes` lists them."
            raise InitspecValueError("type", self.type, "an initializer", advice)
        known = () if self.keeps else (*_FIELDS, *EXTRA_FIELDS)
        known += ("distribution",) if self.type == _SCALING else ()
        for name, value in self.fields.items():
            if name not in known:
                expected = f"one of the fields {', '.join(known)}" if known else "no fields"
                raise InitspecValueError(name, value, expected, did_you_mean(name, known))
        if not self.keeps:
            self._make({name: self._probe(name) for name in self.formulas})

    def _probe(self, name: str) -> float:
        """A value that no other field rules out: the formula's own is not known yet."""
        low, high = self.fields.get("low"), self.fields.get("high")
        if name == "low":
            return high - 1.0 if isinstance(high, (int, float)) else -1.0
        if name == "high":
            return low + 1.0 if isinstance(low, (int, float)) else 1.0
        return 0.5 if name == "sparsity" else 1.0

    def resolve(self, values: Mapping[str, float]) -> Initializer:
        """The initializer with these variables.

        Raises:
            InitspecValueError: a formula without a value, or a result that cannot be.
        """
        return self.made(self.numbers(values))

    def numbers(self, values: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
        """What the formulas give with these variables, by field."""
        return tuple((name, each.evaluate(values, name)) for name, each in self.formulas.items())

    def made(self, numbers: Iterable[tuple[str, float]]) -> Initializer:
        """The initializer with these numbers in place of the formulas."""
        return self._make(dict(numbers))

    def _make(self, numbers: Mapping[str, float]) -> Initializer:
        given = {**self.fields, **numbers}
        _cut(given)
        _nonlinearity(given)
        if self.type == _SCALING:
            return _variance_scaling(given)
        if self.type in DISTRIBUTIONS:
            return Initializer(distribution=self.type, **given)
        return get(self.type).replace(**given)


def _cut(given: dict[str, Any]) -> None:
    if "cut" not in given:
        return
    cut = given.pop("cut")
    if "low" in given or "high" in given:
        raise InitspecValueError("cut", cut, "either cut, or low and high")
    if isinstance(cut, bool) or not isinstance(cut, (int, float)):
        raise InitspecTypeError("cut", cut, "a number of standard deviations")
    if not cut > 0:
        raise InitspecValueError("cut", cut, "a positive number of standard deviations")
    given |= {"low": -cut, "high": cut}


def _nonlinearity(given: dict[str, Any]) -> None:
    param = given.pop("param", None)
    if "nonlinearity" not in given:
        if param is not None:
            raise InitspecValueError("param", param, "a nonlinearity beside it")
        return
    activation = given.pop("nonlinearity")
    for name in ("scale", "gain"):
        if name in given:
            raise InitspecValueError(name, given[name], "either nonlinearity, or scale and gain")
    if not isinstance(activation, str):
        raise InitspecTypeError("nonlinearity", activation, "the name of an activation")
    # As scale: so relu gives he_normal's own 2, to the last bit.
    square = gain(activation, param) ** 2
    given["scale"] = float(round(square)) if abs(square - round(square)) < 1e-9 else square


def _variance_scaling(given: dict[str, Any]) -> Initializer:
    distribution = given.pop("distribution", "truncated_normal")
    given.setdefault("mode", "fan_in")
    if distribution == "truncated_normal" and not {"low", "high"} & set(given):
        given |= {"low": -2.0, "high": 2.0}
    if distribution == "truncated_normal":
        given.setdefault("compensate", True)
    return Initializer(distribution=distribution, **given)
