"""The kinds of value that a config has: globs, paths, initializers, frameworks, classes."""

# ruff: noqa: D102  (`Kind` says what its methods do)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initspec.errors import InitspecError, InitspecValueError, did_you_mean
from initspec.initializer import Initializer
from initspec.registry import offers

from .expressions import FUNCTIONS
from .globs import REGEX, Glob
from .inits import SIZES, Init
from .kinds import BAD, Kind, Text, Whole
from .problems import NOTHING, At

__all__ = [
    "CAPTURE",
    "CLASS",
    "COUNT",
    "FRAMEWORK",
    "FRAMEWORKS",
    "GLOB",
    "NAME",
    "PATH",
    "TEXT",
    "VARIABLE",
    "Axis",
    "InitKind",
    "name_glob",
]

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax", "nnx", "haiku", "equinox", "numpy")
_RESERVED = (*SIZES, *FUNCTIONS)


def name_glob(text: str) -> Glob:
    """The glob of a framework's name, in which dots count as slashes."""
    return Glob.parse(text if text.startswith(REGEX) else text.replace(".", "/"))


def _target(text: str) -> Glob:
    """A canonical path with captures to fill in, and nothing else to match."""
    if "*" in Glob.parse(text).text or text.startswith(REGEX):
        raise InitspecValueError("path", text, "a path such as 'blocks/{i}/kernel', no wildcards")
    return Glob.parse(text)


def _identifier(text: str) -> str:
    if not (text.isidentifier() and text.isascii()):
        raise InitspecValueError("name", text, "a name of letters, digits and underscores")
    return text


def _variable(text: str) -> str:
    if text in _RESERVED:
        raise InitspecValueError("vars", text, "a name that formulas have no other use for")
    return _identifier(text)


def _framework(text: str) -> str:
    if text not in FRAMEWORKS and text not in offers():
        expected = f"one of the frameworks {', '.join(FRAMEWORKS)}"
        raise InitspecValueError("names", text, expected, did_you_mean(text, FRAMEWORKS))
    return text


def _class(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")) or "." not in text:
        raise InitspecValueError("layers", text, "a class as 'package.module.Class'")
    return text


@dataclass(frozen=True)
class Name(Text):
    """A key that is read by a function with an advice of its own."""

    def read(self, value: Any, at: At) -> Any:
        assert self.parse is not None
        plain = Text(self.expected).read(value, at)
        return BAD if plain is BAD or at.attempt(self.parse, value) is None else value


class InitKind(Kind):
    """The init of a rule: a name, or a table with type and fields."""

    expected = "an initializer: 'he_normal', or { type = 'normal', std = 0.02 }"

    def normal(self, value: Any) -> Any:
        known = isinstance(value, (str, Init, Initializer))
        named = isinstance(value, Mapping) and "type" in value
        return Init.of(value) if known or named else value

    def read(self, value: Any, at: At) -> Any:
        if not isinstance(value, (str, Mapping)):
            return self.refuse(value, at)
        if isinstance(value, Mapping) and "type" not in value:
            (at / "type").problem(NOTHING, "the name of an initializer, as in type = 'he_normal'")
            return BAD
        init = Init.of(value)
        before = len(at.problems)
        _check_init(init, at, alone=isinstance(value, str))
        return init if len(at.problems) == before else BAD

    def plain(self, value: Any) -> Any:
        if not isinstance(value, Init):
            return value
        fields = {name: _plain_number(number) for name, number in value.fields.items()}
        return {"type": value.type, **fields} if fields else value.type

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/definitions/Init"}


def _plain_number(value: Any) -> Any:
    """NumPy's numbers as Python's, which every format can hold."""
    known = value is None or type(value) in (bool, int, float, str)
    return value if known or not hasattr(value, "item") else value.item()


def _check_init(init: Init, at: At, *, alone: bool) -> None:
    """All fields at fault: each is taken out, and the rest looked at again.

    ``alone``: the type stands without a table.
    """
    rest = dict(init.fields)
    while True:
        try:
            return Init(init.type, rest).check()
        except InitspecError as error:
            name = _field(error, rest)
            if name in rest or len(rest) == len(init.fields):  # else it may be for what was taken
                given = NOTHING if error.given is None else error.given
                place = at if name == "type" and alone else at / name
                place.problem(given, error.expected, error.advice)
            if name not in rest:
                return None
            del rest[name]


def _field(error: InitspecError, fields: Mapping[str, Any]) -> str:
    """The field at fault: where the error says, or where the value that it shows is from."""
    name = error.where.split(", ")[0]  # "low, high" is told at low
    if name in fields or name == "type":
        return name
    return next((each for each, value in fields.items() if value is error.given), name)


class Axis(Kind):
    """An axis by number, or by the part that it plays."""

    expected = "'out', 'in' or the number of an axis"

    def read(self, value: Any, at: At) -> Any:
        known = value in ("out", "in") if isinstance(value, str) else type(value) is int
        return value if known else self.refuse(value, at)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": ["out", "in"]}, {"type": "integer"}]}


TEXT = Text()
GLOB = Text("a glob such as 'blocks/{i}/**/kernel'", Glob.parse)
PATH = Text("a canonical path such as 'blocks/{i}/attn/query/kernel'", _target)
COUNT = Whole("a whole number of at least 1", low=1)
VARIABLE = Name("a name", _variable)
CAPTURE = Name("a name", _identifier)
FRAMEWORK = Name("a framework", _framework)
CLASS = Name("a class", _class)
NAME = Text("a glob such as 'h.{i}.attn.weight'", name_glob)
