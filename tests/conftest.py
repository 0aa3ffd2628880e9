"""What every test file shares: quiet frameworks, one hypothesis profile, versions in the header."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import pytest
from hypothesis import HealthCheck, settings

# Frameworks read these when they are imported, and some test files import them at the top.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

PACKAGES = ("numpy", "torch", "tensorflow", "tensorflow-cpu", "jax", "keras", "scipy", "hypothesis")

# The same examples in every run, and no time limit: a slow machine is not a failure.
settings.register_profile(
    "initspec",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("initspec")


def pytest_report_header(config: pytest.Config) -> list[str]:
    found = [f"{name} {number}" for name in PACKAGES if (number := _version(name))]
    return ["with: " + ", ".join(found), f"kernel: {_kernel()}"]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _kernel() -> str:
    import initspec_kernel

    return str(initspec_kernel.info())
