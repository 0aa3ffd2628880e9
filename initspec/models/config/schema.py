"""JSON Schema of the config, for editors and validators; made from the forms and the recipes.

Draft 7, and of it only what draft 4 has, too: some editors know no other. After a change of the
format: ``python -m initspec.models.config.schema > initspec/models/config/initspec-1.schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from initspec.fans import RULES
from initspec.initializer import DISTRIBUTIONS, FIELDS, MODES, NUMBERS
from initspec.recipes import ALIASES, RECIPES

from .inits import EXTRA_FIELDS, KEEP, TYPES
from .kinds import Form, keys_of, required
from .objects import FORMAT, Config, Fused, Match, Rule, Stacked, Tensor

__all__ = ["SCHEMA", "schema", "schema_text"]

SCHEMA = Path(__file__).parent / f"initspec-{FORMAT}.schema.json"
_SCALING = "variance_scaling"
_SHORT = {"low": ("cut",), "scale": ("nonlinearity", "param")}  # what stands for a field
_DOCS = {
    "mode": "The fan that std depends on; without one, std is absolute.",
    "scale": "Numerator of the variance: std = gain * sqrt(scale / fan).",
    "gain": "Factor of the standard deviation.",
    "fan": "Instead of the fan computed from the shape.",
    "fan_rule": "Fans as this framework counts them.",
    "std": "Standard deviation: a number, or a formula such as '0.02 / sqrt(2 * L)'.",
    "mean": "Mean.",
    "low": "Lower end of the interval; of a truncated normal, in standard deviations.",
    "high": "Upper end of the interval; of a truncated normal, in standard deviations.",
    "absolute": "The bounds of a truncated normal are values, not standard deviations.",
    "compensate": "std is that after truncation, not before.",
    "value": "The value of all elements.",
    "sparsity": "Share of zeros.",
    "per": "What has this share of zeros: each output or each input.",
    "distribution": "Of the scaled values.",
    **EXTRA_FIELDS,
}
_CHOICES: dict[str, Sequence[str]] = {
    "mode": MODES,
    "fan_rule": tuple(RULES),
    "per": ("output", "input"),
    "distribution": ("truncated_normal", "normal", "uniform"),
}
_OWN_DOCS = {
    KEEP: "The framework's own values stay.",
    _SCALING: "std = gain * sqrt(scale / fan); truncated normal, normal or uniform.",
    "normal": "N(mean, std**2), not truncated.",
    "truncated_normal": "N(mean, std**2) between low and high.",
    "uniform": "U(low, high).",
    "constant": "One value.",
    "sparse": "Normal values, a share of them zero.",
}


def schema() -> dict[str, Any]:
    """The schema as a plain tree."""
    top = _form(Config)
    top["properties"] = {"$schema": {"type": "string"}, **top["properties"]}  # in JSON files
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"initspec config, format {FORMAT}",
        **top,
        "definitions": {
            **{form.__name__: _form(form) for form in (Match, Rule, Tensor, Fused, Stacked)},
            "Init": _init(),
        },
    }


def schema_text() -> str:
    """The schema as it is shipped."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _form(form: type[Form]) -> dict[str, Any]:
    known = keys_of(form)
    properties = {
        name: _described(declared.kind.schema(), declared.doc)
        for name, (_, declared) in known.items()
    }
    needed = [name for name, (each, declared) in known.items() if required(each, declared)]
    listed = {"required": needed} if needed else {}
    return {"type": "object", "properties": properties, **listed, "additionalProperties": False}


def _described(plain: dict[str, Any], doc: str) -> dict[str, Any]:
    """Beside a reference nothing else would count."""
    return {"description": doc, **({"allOf": [plain]} if "$ref" in plain else plain)}


# --- init ---------------------------------------------------------------------------------------


def _init() -> dict[str, Any]:
    """A name, or for each group of types with equal fields a table of these."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in TYPES:
        groups.setdefault(_fields(name), []).append(name)
    tables = [_group(types, fields) for fields, types in groups.items()]
    return {"anyOf": [_types(TYPES), *tables]}


def _fields(name: str) -> tuple[str, ...]:
    """What may stand beside a type."""
    if name == KEEP:
        return ()
    if name == _SCALING:
        return ("distribution", *_extended(FIELDS["truncated_normal"]))
    recipe = RECIPES.get(ALIASES.get(name, name))
    distribution = (
        name if recipe is None or name in DISTRIBUTIONS else recipe.initializer.distribution
    )
    return _extended(FIELDS[distribution])


def _extended(fields: Sequence[str]) -> tuple[str, ...]:
    """With what is short for others."""
    return tuple(each for name in fields for each in (name, *_SHORT.get(name, ())))


def _group(types: list[str], fields: tuple[str, ...]) -> dict[str, Any]:
    properties = {name: {"description": _DOCS[name], **_value(name)} for name in fields}
    return {
        "type": "object",
        "properties": {"type": _types(types), **properties},
        "required": ["type"],
        "additionalProperties": False,
    }


def _value(name: str) -> dict[str, Any]:
    if name in _CHOICES:
        return {"enum": list(_CHOICES[name])}
    if name in NUMBERS or name in ("cut", "param"):
        return {"anyOf": [{"type": "number"}, {"type": "string", "minLength": 1}]}
    return {"type": "string" if name == "nonlinearity" else "boolean"}


def _types(names: Sequence[str]) -> dict[str, Any]:
    """The names, and what each means: for editors of JSON and YAML, and for those of TOML."""
    docs = [_doc(name) for name in names]
    return {
        "description": "The initializer.",
        "enum": list(names),
        "enumDescriptions": docs,
        "x-taplo": {"docs": {"enumValues": docs}},
    }


def _doc(name: str) -> str:
    if name in _OWN_DOCS:
        return _OWN_DOCS[name]
    recipe = RECIPES[ALIASES.get(name, name)]
    return f"{recipe.formula} ({recipe.source})"


if __name__ == "__main__":
    print(schema_text(), end="")
