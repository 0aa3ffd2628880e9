"""The pytest plugin: the fixture ``conforms``, and the suite as items of a test run.

It is loaded in every run of pytest where initspec is installed. So it imports pytest alone; all
else is imported once somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["conforms", "pytest_addoption", "pytest_configure", "pytest_sessionstart"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the suite."""
    group = parser.getgroup("initspec", "weight initialisation (initspec)")
    group.addoption(
        "--initspec-backends",
        action="append",
        metavar="NAMES",
        help="also run the conformance suite for these backends, separated by commas; "
        "all: every one that is installed",
    )
    group.addoption(
        "--initspec-devices",
        action="append",
        metavar="NAMES",
        help="on these devices (default: the CPU, and every accelerator in reach)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "initspec: the items that --initspec-backends adds.")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Add the suite, if it was asked for; what is not there is an error at once."""
    options = ("--initspec-backends", "--initspec-devices")
    given = [session.config.getoption(option) for option in options]
    if given == [None, None]:
        return
    backends, devices = (None if words is None else ",".join(words) for words in given)
    from initspec_conformance.pytest_items import Items  # noqa: PLC0415 (heavy, and rarely needed)

    session.config.pluginmanager.register(Items.of(backends, devices), "initspec-items")


@pytest.fixture(scope="session")
def conforms() -> Callable[..., Any]:
    """Assert that a tensor, or what an initializer draws, follows a recipe.

    ``conforms(tensor_or_initializer, "he_normal", layout="OIHW")``; see
    `initspec_conformance.conforming.conforms`.
    """
    from initspec_conformance import conforming  # noqa: PLC0415

    return conforming.conforms
