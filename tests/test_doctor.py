"""The doctor's findings; test_imports.py has broken frameworks, test_plugins.py has plugins."""

import json

import numpy as np
import pytest

import initspec
import initspec_kernel
from initspec import registry, stream
from initspec.cli import doctor, main, self_test
from initspec.errors import InitspecValueError


@pytest.fixture
def only_numpy(monkeypatch):
    """A doctor who looks at NumPy alone, quickly: no other process, no plugins."""
    for name in ("INITSPEC_KERNEL", "INITSPEC_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry, "FIRST_PARTY", {"numpy": registry.FIRST_PARTY["numpy"]})
    monkeypatch.setattr(registry, "offers", dict)
    monkeypatch.setattr(doctor, "_examine", lambda name, timeout: self_test.examine(name))
    kernel = initspec_kernel.KernelInfo(
        True, "it is there", "kernel.so", "avx2", 2, ("avx2", "portable")
    )
    monkeypatch.setattr(initspec_kernel, "info", lambda: kernel)


@pytest.fixture
def report(only_numpy, capsys):
    """Run the doctor: exit code, and the checks by name."""

    def run():
        code = main(["doctor", "--json"])
        captured = capsys.readouterr()
        assert captured.err == ""
        found = json.loads(captured.out)
        assert found["findings"] == sum(check["state"] == "finding" for check in found["checks"])
        return code, {check["name"]: check for check in found["checks"]}

    return run


def test_doctor_has_nothing_to_say(report, capsys):
    code, checks = report()
    assert code == 0
    assert {check["state"] for check in checks.values()} <= {"ok", "note"}
    assert checks["initspec"]["version"] == initspec.__version__
    assert checks["stream"]["version"] == stream.VERSION
    assert stream.TABLE_DIGEST.startswith(checks["stream"]["detail"].split()[1].strip(","))
    assert checks["kernel"]["version"] == "avx2"
    assert checks["numpy"]["version"] == np.__version__
    assert "equal the reference" in checks["numpy"]["detail"]
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("no findings\n")


@pytest.mark.parametrize(("mode", "state", "code"), [("off", "note", 0), ("auto", "finding", 1)])
def test_an_inactive_kernel_is_a_finding_unless_switched_off(
    report, monkeypatch, mode, state, code
):
    monkeypatch.setenv("INITSPEC_KERNEL", mode)
    missing = initspec_kernel.KernelInfo(False, "it was not built", None, "numpy", 1)
    monkeypatch.setattr(initspec_kernel, "info", lambda: missing)
    found, checks = report()
    assert (found, checks["kernel"]["state"]) == (code, state)
    assert checks["kernel"]["detail"] == "it was not built"
    assert checks["INITSPEC_KERNEL"]["detail"] == repr(mode)


def test_a_senseless_variable_is_a_finding(report, monkeypatch):
    def info():
        raise InitspecValueError("INITSPEC_KERNEL", "fast", "one of auto, on, require, off")

    monkeypatch.setattr(initspec_kernel, "info", info)
    code, checks = report()
    assert (code, checks["kernel"]["state"]) == (1, "finding")
    assert "'fast'" in checks["kernel"]["detail"]


def test_a_reference_that_draws_other_words_is_a_finding(report, monkeypatch):
    monkeypatch.setattr(stream, "_ROUNDS", 9)
    code, checks = report()
    assert (code, checks["stream"]["state"]) == (1, "finding")


def test_a_table_that_was_changed_is_a_finding(report, monkeypatch):
    damaged = stream.TABLE.copy()
    damaged[0, 0] ^= 1  # where the golden words do not look
    monkeypatch.setattr(stream, "TABLE", damaged)
    code, checks = report()
    assert (code, checks["stream"]["state"]) == (1, "finding")


def test_a_backend_that_draws_other_values_is_a_finding(report, monkeypatch):
    backend = registry.get_backend("numpy")
    emit = type(backend).emit

    def one_bit_off(self, plan, dtype, device):
        array = emit(self, plan, dtype, device)
        array.flat[-1] = np.nextafter(array.flat[-1], array.dtype.type(9))
        return array

    monkeypatch.setattr(type(backend), "emit", one_bit_off)
    code, checks = report()
    assert (code, checks["numpy"]["state"]) == (1, "finding")
    assert f"0 of {len(self_test.CASES)} self-tests" in checks["numpy"]["detail"]


def test_a_backend_that_raises_is_a_finding(report, monkeypatch):
    def fail(self, plan, dtype, device):
        raise ZeroDivisionError("no device")

    monkeypatch.setattr(type(registry.get_backend("numpy")), "emit", fail)
    code, checks = report()
    assert code == 1
    assert "ZeroDivisionError: no device" in checks["numpy"]["detail"]


def test_torchs_devices_are_listed_with_what_they_take(monkeypatch):
    pytest.importorskip("torch")
    from initspec_torch import device

    monkeypatch.setattr(device, "devices", lambda: {"cuda:0": "triton (Triton 3)"})
    found = self_test.examine("torch")
    assert found["detail"].endswith("equal the reference; cuda:0: triton (Triton 3)")
