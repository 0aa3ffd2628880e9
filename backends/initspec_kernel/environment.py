"""Variables of the environment, read at every draw, so that they may change while Python runs."""

from __future__ import annotations

import os

__all__ = ["variable"]

try:
    from ._kernel import getenv as _getenv
except ImportError:  # no kernel, or a system where Python's environment is not that of C
    _getenv = os.environ.get


def variable(name: str) -> str | None:
    """The value, or None.

    For a variable that is not set `os.environ` raises and catches errors, which takes as long as a
    small draw; so C is asked where it can be.
    """
    return _getenv(name)
