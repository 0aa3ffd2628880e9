"""What every test file shares: quiet frameworks, one hypothesis profile, versions in the header."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from initspec.description import Description

# Frameworks read these when they are imported, and some test files import them at the top.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# The modules that test files share.
pytest.register_assert_rewrite(
    "jax_checks", "keras_checks", "samples", "tensorflow_checks", "torch_checks"
)

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


@pytest.fixture(scope="module")
def native() -> ModuleType:
    """The C kernel; without it the test is skipped, or fails where the kernel is required."""
    import initspec_kernel

    if initspec_kernel._kernel is None:
        require = os.environ.get("INITSPEC_KERNEL") == "require"
        (pytest.fail if require else pytest.skip)(initspec_kernel.info().reason)
    return initspec_kernel._kernel


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable says how the C kernel is used."""
    for name in ("INITSPEC_KERNEL", "INITSPEC_ISA", "INITSPEC_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small operators of torch by many threads take long on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def check_law() -> Callable[[NDArray[np.float64], Description], None]:
    """A check that a large sample follows the law of a description."""
    return _check_law


def _check_law(drawn: NDArray[np.float64], facts: Description) -> None:
    """The moments within five standard errors (a chance of 6e-7 each), and the same support.

    The variance of a sample's std is (kurtosis - 1) / 4n, relative to the std; a sample's kurtosis
    has a standard error of at most sqrt(24 / n), that of a normal.
    """
    n, kurtosis = drawn.size, facts.kurtosis
    assert kurtosis is not None
    assert drawn.mean() == pytest.approx(facts.mean, abs=5 * facts.std / math.sqrt(n))
    assert drawn.std() == pytest.approx(facts.std, rel=5 * math.sqrt((kurtosis - 1) / 4 / n))
    fourth = float(((drawn - drawn.mean()) ** 4).mean() / drawn.std() ** 4)
    assert fourth == pytest.approx(kurtosis, abs=5 * math.sqrt(24 / n))
    low, high = float(drawn.min()), float(drawn.max())
    if facts.low is None or facts.high is None:
        assert min(facts.mean - low, high - facts.mean) > 3.5 * facts.std, "not truncated"
        return
    length = facts.high - facts.low
    assert facts.low - 2.0**-22 * length <= low < facts.low + 0.01 * length
    assert facts.high + 2.0**-22 * length >= high > facts.high - 0.01 * length
