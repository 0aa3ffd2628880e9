"""One exception root with structured fields; every message says what, expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BackendError",
    "InitspecError",
    "InitspecTypeError",
    "InitspecValueError",
    "did_you_mean",
]

_LONGEST = 120  # a message stays readable when somebody passes a tensor where a number belongs


def _show(given: object) -> str:
    try:
        text = repr(given)
    except Exception:  # an error about a bad value must not fail for the same reason
        text = f"<{type(given).__name__} without a representation>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class InitspecError(Exception):
    """Root of all errors that initspec raises on purpose.

    Fields: ``where`` (the argument or path at fault), ``given`` (the value that came),
    ``expected`` (the rule) and ``advice`` (what to do; may be empty).
    """

    def __init__(self, where: str, given: object, expected: str, advice: str = "") -> None:
        self.where = where
        self.given = given
        self.expected = expected
        self.advice = advice
        self.args = (where, given, expected, advice)  # torch.compile cannot trace super()

    def __str__(self) -> str:
        text = f"{self.where}: got {_show(self.given)}; expected {self.expected}"
        return f"{text}. {self.advice}" if self.advice else text


class InitspecValueError(InitspecError, ValueError):
    """The type is right and the value is not."""


class InitspecTypeError(InitspecError, TypeError):
    """The type is wrong; nothing is coerced silently."""


class BackendError(InitspecError, ImportError):
    """A backend is unknown, not installed, or its framework does not import."""


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Advice for a name that is not in ``known``: the closest one, or the empty string.

    >>> did_you_mean("he_norml", ["he_normal", "zeros"])
    "Did you mean 'he_normal'?"
    """
    close = difflib.get_close_matches(str(given), list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""
