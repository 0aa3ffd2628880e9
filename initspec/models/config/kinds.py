"""What may stand at a key of a config, said once: reading, writing and the schema follow from it.

A form is a frozen dataclass whose fields have a `key`: a kind of value and a description.
"""

# ruff: noqa: D102  (`Kind` says what its methods do)

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from initspec.errors import did_you_mean

from .problems import NOTHING, At

__all__ = [
    "BAD",
    "Choice",
    "Flag",
    "Form",
    "Items",
    "Key",
    "Kind",
    "Many",
    "Mapped",
    "Number",
    "Table",
    "Text",
    "Whole",
    "assemble",
    "key",
    "keys_of",
    "read_form",
    "required",
]


class _Bad:
    """Stands for a value that could not be read; a problem tells why."""


BAD = _Bad()
Schema = dict[str, Any]


class Kind(ABC):
    """A kind of value."""

    expected = "a value"

    def normal(self, value: Any) -> Any:
        """The form in which an object keeps what a caller of Python may write in several ways."""
        return value

    @abstractmethod
    def read(self, value: Any, at: At) -> Any:
        """The value of a plain tree in normal form; `BAD`, and a problem, if it cannot be."""

    def plain(self, value: Any) -> Any:
        """The value as a plain tree; what is no such value stays, and `read` will refuse it."""
        return value

    @abstractmethod
    def schema(self) -> Schema:
        """As JSON Schema."""

    def refuse(self, value: Any, at: At) -> Any:
        """Note that the value is none of this kind."""
        at.problem(value, self.expected)
        return BAD


@dataclass(frozen=True)
class Text(Kind):
    """Printable text, not empty, that ``parse`` accepts."""

    expected: str = "text"
    parse: Callable[[str], object] | None = None

    def read(self, value: Any, at: At) -> Any:
        if not isinstance(value, str) or not value:
            return self.refuse(value, at)
        if not value.isprintable():  # it is printed in tables and messages
            at.problem(value, f"{self.expected}, of printable characters")
            return BAD
        if self.parse and at.attempt(self.parse, value, given=value) is None:
            return BAD
        return value

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Choice(Kind):
    """One of several words, or of several whole numbers."""

    options: tuple[str | int, ...]

    @property
    def expected(self) -> str:  # type: ignore[override]
        one = "" if len(self.options) == 1 else "one of "
        return one + ", ".join(str(option) for option in self.options)

    def read(self, value: Any, at: At) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            return self.refuse(value, at)
        if value not in self.options:
            at.problem(value, self.expected, did_you_mean(value, map(str, self.options)))
            return BAD
        return value

    def schema(self) -> Schema:
        return {"enum": list(self.options)}


class Flag(Kind):
    """True or false."""

    expected = "true or false"

    def read(self, value: Any, at: At) -> Any:
        return value if isinstance(value, bool) else self.refuse(value, at)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number, in ``low <= value < end``."""

    expected: str = "a whole number"
    low: int | None = None
    end: int | None = None

    def read(self, value: Any, at: At) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or (self.low is not None and value < self.low):
            return self.refuse(value, at)
        return value if self.end is None or value < self.end else self.refuse(value, at)

    def schema(self) -> Schema:
        low = {} if self.low is None else {"minimum": self.low}
        high = {} if self.end is None else {"maximum": self.end - 1}
        return {"type": "integer", **low, **high}


@dataclass(frozen=True)
class Number(Kind):
    """A finite number."""

    expected: str = "a finite number"

    def read(self, value: Any, at: At) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # A whole number may be too large to be a float at all.
        if not number or not abs(value) <= 1.7976931348623157e308 or math.isnan(value):
            return self.refuse(value, at)
        return value

    def schema(self) -> Schema:
        return {"type": "number"}


@dataclass(frozen=True)
class Items(Kind):
    """A list with at least one item; a tuple in Python."""

    item: Kind

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a list, each item {self.item.expected}"

    def normal(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(self.item.normal(item) for item in value)
        return value

    def read(self, value: Any, at: At) -> Any:
        if not isinstance(value, list) or not value:
            return self.refuse(value, at)
        found = tuple(self.item.read(item, at / number) for number, item in enumerate(value))
        return BAD if any(item is BAD for item in found) else found

    def plain(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self.item.plain(item) for item in value]
        return value

    def schema(self) -> Schema:
        return {"type": "array", "minItems": 1, "items": self.item.schema()}


@dataclass(frozen=True)
class Many(Items):
    """One item or a list of them; in Python a tuple, unless ``lone`` keeps one as it is."""

    lone: bool = False

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"{self.item.expected}, or a list of such"

    def normal(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return super().normal(value)
        one = self.item.normal(value)
        return one if self.lone else (one,)

    def read(self, value: Any, at: At) -> Any:
        if isinstance(value, list):
            return super().read(value, at)
        one = self.item.read(value, at)
        return one if self.lone or one is BAD else (one,)

    def plain(self, value: Any) -> Any:
        if isinstance(value, tuple):
            items = super().plain(value)
            return items[0] if len(items) == 1 and not self.lone else items
        return self.item.plain(value)

    def schema(self) -> Schema:
        return {"anyOf": [self.item.schema(), super().schema()]}


@dataclass(frozen=True)
class Mapped(Kind):
    """A table of any keys that ``name`` accepts."""

    item: Kind
    name: Kind
    expected: str = "a table"

    def normal(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self.item.normal(item) for name, item in value.items()}
        return value

    def read(self, value: Any, at: At) -> Any:
        if not isinstance(value, Mapping):
            return self.refuse(value, at)
        found = {}
        for name, item in value.items():
            good = self.name.read(name, at / str(name))
            found[good] = self.item.read(item, at / str(name))
        return {name: item for name, item in found.items() if name is not BAD}

    def plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self.item.plain(item) for name, item in value.items()}
        return value

    def schema(self) -> Schema:
        item = self.item.schema()
        if isinstance(self.name, Choice):
            properties = {str(name): item for name in self.name.options}
            return {"type": "object", "properties": properties, "additionalProperties": False}
        return {"type": "object", "additionalProperties": item}


@dataclass(frozen=True)
class Table(Kind):
    """A table with the keys of a form."""

    form: Callable[[], type[Form]]  # called late: a form may hold its own kind

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a table of {', '.join(keys_of(self.form()))}"

    def normal(self, value: Any) -> Any:
        form = self.form()
        known = keys_of(form)
        needed = {name for name, (each, _) in known.items() if _default(each) is MISSING}
        if not isinstance(value, Mapping) or not needed <= set(value) <= set(known):
            return value  # which `read` takes, or says what is wrong
        return form(**{known[name][0].name: item for name, item in value.items()})

    def read(self, value: Any, at: At) -> Any:
        return read_form(self.form(), value, at)

    def plain(self, value: Any) -> Any:
        return value.to_dict() if isinstance(value, self.form()) else value

    def schema(self) -> Schema:
        return {"$ref": f"#/definitions/{self.form().__name__}"}


# --- forms --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """What a field of a form stands for in a file."""

    kind: Kind
    doc: str
    name: str = ""
    always: bool = False  # written even if it has its default; required in files


def required(each: Field[Any], known: Key) -> bool:
    """Whether a file must have the key."""
    return known.always or _default(each) is MISSING


def key(kind: Kind, doc: str, *, name: str = "", always: bool = False) -> dict[str, Key]:
    """The metadata of a form's field: its kind and description, and its name if that is another."""
    return {"key": Key(kind, doc, name, always)}


def keys_of(form: type[Form]) -> dict[str, tuple[Field[Any], Key]]:
    """The keys of a form, in the order of the format."""
    found = ((each, each.metadata.get("key")) for each in fields(form))  # type: ignore[arg-type]
    return {known.name or each.name: (each, known) for each, known in found if known is not None}


class Form:
    """Base of the typed objects: the same tree as in a file."""

    def __post_init__(self) -> None:
        for each, known in keys_of(type(self)).values():
            value = getattr(self, each.name)
            if value is not None:
                object.__setattr__(self, each.name, known.kind.normal(value))

    def to_dict(self) -> dict[str, Any]:
        """The plain tree, without defaults; keys in the order of the format."""
        return dict(self._plain())

    def _plain(self) -> Iterator[tuple[str, Any]]:
        for name, (each, known) in keys_of(type(self)).items():
            value = getattr(self, each.name)
            if known.always or value != _default(each):
                yield name, known.kind.plain(value)


def _default(each: Field[Any]) -> Any:
    """The default of a field; MISSING if it has to be given."""
    return each.default_factory() if each.default_factory is not MISSING else each.default


def read_form(form: type[Form], tree: Any, at: At) -> Any:
    """The object of a plain tree; `BAD` stands where a value could not be read."""
    known = keys_of(form)
    if not isinstance(tree, Mapping):
        at.problem(tree, f"a table of {', '.join(known)}")
        return BAD
    for name in tree:
        if name not in known:
            expected = f"one of the keys {', '.join(known)}"
            (at / str(name)).problem(name, expected, did_you_mean(name, known))
    values = {}
    for name, (each, declared) in known.items():
        if name in tree:
            values[each.name] = declared.kind.read(tree[name], at / name)
        elif required(each, declared):
            (at / name).problem(NOTHING, declared.kind.expected)
            values[each.name] = BAD
    return assemble(form, values)


def assemble(form: type[Form], values: Mapping[str, Any]) -> Any:
    """An object of values in normal form; where one is missing, its default."""
    made = object.__new__(form)
    for each in fields(form):  # type: ignore[arg-type]
        value = values[each.name] if each.name in values else _default(each)
        object.__setattr__(made, each.name, value)
    return made
