"""The vectors for backends, computed by the reference from the lists of cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initspec import stream
from initspec.digest import logical_digest
from initspec.registry import get_backend
from initspec.stream import as_float
from initspec_conformance.reference import NEAR
from initspec_conformance.vectors import (
    ERRORS,
    Refusal,
    Vector,
    layout_cases,
    refusal_cases,
    value_cases,
)
from initspec_conformance.vectors.check import FIRST
from initspec_conformance.vectors.flags import FLAGS
from initspec_conformance.vectors.layout_cases import Case

__all__ = ["SUITE", "text", "vectors"]

SUITE = 1  # edition
_WHOLE = 2**24  # values: larger tensors are never made whole


def vectors() -> dict[str, Any]:
    """All vectors as one JSON tree."""
    bits = [*layout_cases.coordinates(), *value_cases.values()]
    return {
        "stream": stream.VERSION,
        "suite": SUITE,
        "flags": FLAGS,
        "tensors": [
            *(_bits(case) for case in bits),
            *(_rounded(case) for case in value_cases.matrices()),
            *(_moments(case) for case in value_cases.samples()),
        ],
        "refusals": [_refusal(*case) for case in refusal_cases.cases()],
    }


def text(tree: Mapping[str, Any]) -> str:
    """The tree as JSON in ASCII, one vector a line."""
    parts = [f" {json.dumps(key)}: {_lines(value)}" for key, value in tree.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
    if isinstance(value, dict):
        rows = (f"  {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items())
        return "{\n" + ",\n".join(rows) + "\n }"
    return json.dumps(value)


def _common(case: Case, promise: str) -> dict[str, Any]:
    tree = {
        "id": case.id,
        "promise": promise,
        "initializer": case.init.to_dict(),
        "shape": list(case.shape),
        "layout": case.layout,
        "options": case.options,
        "seed": f"{case.seed:#018x}",
        "name": case.name,
        "dtype": case.dtype,
        "flags": list(dict.fromkeys(case.flags)),
    }
    if case.box is not None:
        tree["box"] = {"origin": list(case.box[0]), "shape": list(case.box[1])}
    return tree


def _bits(case: Case) -> dict[str, Any]:
    tree = _common(case, "bits")
    vector = Vector.of(tree)
    made = vector.reference()
    if vector.box is not None:
        _check_box(vector, made)
    first = vector.geometry.canonical(made).flat[:FIRST]
    tree["first"] = [value.hex() for value in as_float(first).tolist()]
    return tree | {"sha256": logical_digest(made, vector.geometry)}


def _check_box(vector: Vector, made: NDArray[Any]) -> None:
    """A box has to be what it is a part of: the whole, or single words where that is too large."""
    assert vector.box is not None
    sizes = list(zip(vector.box.origin, vector.box.shape, strict=True))
    if np.prod(vector.shape, dtype=float) > _WHOLE:
        expected = _by_words(vector, sizes)
    else:
        whole = replace(vector, box=None)
        counts = whole.geometry.counts
        canonical = whole.geometry.canonical(whole.reference()).reshape(counts)
        expected = canonical[tuple(slice(at, at + size) for at, size in sizes)]
    if not np.array_equal(made, expected):
        raise AssertionError(f"{vector.id}: the box is not a part of the whole")


def _by_words(vector: Vector, sizes: list[tuple[int, int]]) -> NDArray[Any]:
    """Value by value from the definition, in whole numbers of any size."""
    plan = vector.plan()
    assert plan.draw is not None
    words = [
        stream.philox4x32((j >> 2, o, s, plan.draw.purpose), plan.keys[0])[j & 3]
        for s, o, j in product(*(range(at, at + size) for at, size in sizes))
    ]
    z = stream.integers(plan.draw, np.array(words, np.uint32))
    return stream.values(z, plan.draw.factor, vector.dtype).reshape(plan.shape)


def _rounded(case: Case) -> dict[str, Any]:
    tree = _common(case, "rounded")
    vector = Vector.of(tree)
    values = vector.geometry.canonical(vector.reference()).reshape(-1)
    tree["values"] = [value.hex() for value in as_float(values).tolist()]
    return tree | {"tolerance": (NEAR[case.dtype] * case.init.gain).hex()}


def _moments(case: Case) -> dict[str, Any]:
    facts = case.init.describe(case.shape, case.layout, **case.options)
    numbers = {key: getattr(facts, key) for key in ("mean", "std", "low", "high", "kurtosis")}
    return _common(case, "moments") | {
        key: None if number is None else float(number).hex() for key, number in numbers.items()
    }


def _refusal(name: str, call: dict[str, Any], flags: tuple[str, ...], verdict: str) -> Any:
    tree = {"id": f"refused/{name}", "call": call, "verdict": verdict, "flags": list(flags)}
    refusal = Refusal.of(tree | {"error": "", "where": ""})
    try:
        refusal.make(get_backend("numpy"))
    except tuple(ERRORS.values()) as error:
        return tree | {"error": type(error).__name__, "where": error.where}
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__} is no answer") from error
    if verdict == "refused":
        raise AssertionError(f"{name}: was accepted")
    return tree | refusal_cases.OPEN[name]
