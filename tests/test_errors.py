"""Errors: one root, structured fields, and messages that can always be shown."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import initspec
from initspec.errors import (
    BackendError,
    InitspecError,
    InitspecTypeError,
    InitspecValueError,
    did_you_mean,
)

KINDS = [InitspecError, InitspecValueError, InitspecTypeError, BackendError]


def test_one_root_and_the_builtin_kinds() -> None:
    assert all(issubclass(kind, InitspecError) for kind in KINDS)
    assert issubclass(InitspecValueError, ValueError)
    assert issubclass(InitspecTypeError, TypeError)
    assert issubclass(BackendError, ImportError)
    for kind in KINDS:
        assert getattr(initspec, kind.__name__) is kind


@pytest.mark.parametrize("kind", KINDS)
def test_fields_and_text(kind: type[InitspecError]) -> None:
    error = kind("std", -1.0, "a number that is not negative", "Use abs().")
    assert (error.where, error.given, error.expected, error.advice) == error.args
    assert str(error) == "std: got -1.0; expected a number that is not negative. Use abs()."
    assert str(kind("std", "x", "a number")) == "std: got 'x'; expected a number"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel_between_processes(kind: type[InitspecError]) -> None:
    error = kind("a", (1, None), "b", "c")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.args == error.args


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("x" * 500, "'" + "x" * 119 + "..."),
        (list(range(1000)), "..."),
        (10**6000, "<int without a representation>"),  # Python refuses to print it
        (Silent(), "<Silent without a representation>"),
    ],
    ids=["long text", "long list", "long integer", "broken"],
)
def test_any_value_can_be_shown_and_none_floods_the_screen(given: Any, shown: str) -> None:
    text = str(InitspecValueError("where", given, "what"))
    assert shown in text
    assert len(text) < 180


def test_suggestions() -> None:
    assert did_you_mean("he_norml", ["he_normal", "zeros"]) == "Did you mean 'he_normal'?"
    assert did_you_mean("quux", ["he_normal", "zeros"]) == ""
    assert did_you_mean(5, ["he_normal"]) == ""
    assert did_you_mean("fan-in", ["fan_in", "fan_out"]) == "Did you mean 'fan_in'?"
