"""The demonstration tells equal from different, and says what is missing."""

import numpy as np
import pytest

from initspec import registry
from initspec_conformance import demo


class OtherBits(type(registry.get_backend("numpy"))):
    """NumPy, but for the last bit of the first value."""

    def to_host(self, tensor):
        host = super().to_host(tensor).copy()
        host.view(np.uint8).flat[0] ^= 1
        return host


@pytest.fixture
def show_off(monkeypatch, capsys):
    """The demonstration with these backends and missing frameworks: exit code and output."""

    # The demonstration sets them for its own process; the tests that follow must not see them.
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")

    def run(backends, missing, *words):
        monkeypatch.setattr(demo, "_available", lambda: (backends, missing))
        return demo.main(words), capsys.readouterr().out

    return run


def test_demo_finds_equal_backends_equal(show_off):
    numpy = registry.get_backend("numpy")
    code, out = show_off([numpy, numpy], {}, "--require")
    assert code == 0
    assert out.count("  all equal\n") == len(demo.CASES) >= 12
    assert f"All equal: {len(demo.CASES)} cases" in out


def test_demo_finds_one_bit(show_off):
    code, out = show_off([registry.get_backend("numpy"), OtherBits()], {})
    assert code == 1
    assert f"DIFFERENT in {len(demo.CASES)} of {len(demo.CASES)} cases" in out


def test_demo_skips_what_is_missing_unless_required(show_off):
    numpy = registry.get_backend("numpy")
    code, out = show_off([numpy], {"jax": "jax is not installed"})
    assert code == 0
    assert "skipped jax: jax is not installed" in out
    assert show_off([numpy], {"jax": "jax is not installed"}, "--require")[0] == 1


def test_demo_stores_the_same_tensor_in_every_layout():
    for case in demo.CASES:
        sizes = {case.stored(name).geometry.counts for name in demo.FRAMEWORKS}
        assert len(sizes) == 1, case.title
