"""How the C kernel is chosen and used: threads, which path is active, fresh memory."""

import mmap
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import initspec
import initspec_kernel
from initspec import stream
from initspec.draw import normal_draw
from initspec.errors import BackendError, InitspecValueError
from initspec.fill_plan import FillPlan
from initspec.layout import Layout
from initspec_kernel import threads

PLAN = FillPlan(Layout.parse("OI").bind((3, 5)), normal_draw(0.05), ((1, 2),))

pytestmark = pytest.mark.usefixtures("plain_environment")
needs_kernel = pytest.mark.usefixtures("native")


# --- threads ------------------------------------------------------------------------------------


def test_an_error_in_a_worker_reaches_the_caller():
    done = []

    def broken():
        raise IndexError("from a worker")

    with pytest.raises(IndexError, match="from a worker"):
        threads.run([broken, *[lambda: done.append(1)] * 3], 1)
    assert done == []


def test_number_of_threads(monkeypatch):
    assert threads.count(3) == 3
    monkeypatch.setenv("INITSPEC_THREADS", "5")
    assert threads.count() == 5
    assert threads.count(2) == 2
    for text in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("INITSPEC_THREADS", text)
        with pytest.raises(InitspecValueError, match=r"INITSPEC_THREADS: got .*; expected a whole"):
            threads.count()
    for number in (0, -1, 1.5, True):
        with pytest.raises(InitspecValueError, match="threads: got"):
            threads.count(number)


@needs_kernel
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_work_in_a_forked_child():
    script = """
import os, warnings
import numpy as np, initspec_kernel
from initspec.draw import normal_draw
from initspec.layout import Layout
from initspec.fill_plan import FillPlan

plan = FillPlan(Layout.parse("OI").bind((600, 1000)), normal_draw(1.0), ((1, 2),))
parent, child = np.empty((2, 600, 1000), "f4")
initspec_kernel.fill(plan, parent, "float32", threads=2)
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    initspec_kernel.fill(plan, child, "float32", threads=2)
    os._exit(0 if (parent == child).all() else 3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# --- which path is active -----------------------------------------------------------------------


@needs_kernel
def test_info_of_the_kernel(native, monkeypatch):
    monkeypatch.setenv("INITSPEC_THREADS", "3")
    found = initspec_kernel.info()
    assert (found.active, found.path, found.isa) == (True, native.__file__, native.ISAS[0])
    assert found.threads == 3


@needs_kernel
def test_info_of_a_forced_instruction_set(native, monkeypatch):
    assert native.ISAS[-1] == "portable"
    for isa in native.ISAS:
        monkeypatch.setenv("INITSPEC_ISA", isa)
        assert initspec_kernel.info().isa == isa
    monkeypatch.setenv("INITSPEC_ISA", "avx3")
    expected = r"INITSPEC_ISA: got 'avx3'; expected an instruction set of this .*portable"
    with pytest.raises(InitspecValueError, match=expected):
        initspec_kernel.info()
    with pytest.raises(InitspecValueError, match=expected):
        initspec.he_normal((2, 2), layout="OI")


@needs_kernel
def test_the_forced_instruction_set_is_the_one_that_runs(native, monkeypatch):
    used = []
    watched = ModuleType("watched")
    watched.ISAS, watched.fill, watched.use = native.ISAS, native.fill, used.append
    monkeypatch.setattr(initspec_kernel, "_kernel", watched)
    for isa in native.ISAS:
        monkeypatch.setenv("INITSPEC_ISA", isa)
        initspec.he_normal((2, 2), layout="OI")
    initspec.he_normal((2, 2), layout="OI")
    assert used == list(native.ISAS)
    native.use(native.ISAS[0])
    with pytest.raises(ValueError, match="no such instruction set"):
        native.use("avx3")
    with pytest.raises(TypeError):
        native.use(3)


def test_the_kernel_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("INITSPEC_KERNEL", "off")
    assert not initspec_kernel.info().active
    assert initspec_kernel.info().reason == "INITSPEC_KERNEL=off"
    out, expected = np.empty((2, 3, 5), "f4")
    initspec_kernel.fill(PLAN, out, "float32")
    stream.fill(PLAN, expected, "float32")
    np.testing.assert_array_equal(out, expected)


def test_a_missing_kernel_is_never_silent(monkeypatch):
    monkeypatch.setattr(initspec_kernel, "_kernel", None)
    monkeypatch.setattr(initspec_kernel, "_problem", "no such file")
    found = initspec_kernel.info()
    assert not found.active
    assert found.reason == "the compiled kernel is missing: no such file"
    out = np.empty((3, 5), "f4")
    initspec_kernel.fill(PLAN, out, "float32")
    for mode in ("require",):
        monkeypatch.setenv("INITSPEC_KERNEL", mode)
        assert not initspec_kernel.info().active
        with pytest.raises(BackendError, match="a compiled kernel; no such file"):
            initspec_kernel.fill(PLAN, out, "float32")


def test_an_unknown_mode_is_an_error(monkeypatch):
    monkeypatch.setenv("INITSPEC_KERNEL", "requires")
    with pytest.raises(InitspecValueError, match=r"INITSPEC_KERNEL: .*Did you mean 'require'\?"):
        initspec_kernel.info()


# --- huge pages ---------------------------------------------------------------------------------


def has_huge_pages(address):
    """Whether the mapping of an address is marked for huge pages (``hg``)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        bounds = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if bounds:
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return " hg" in line
    return False


@needs_kernel
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no list of mappings here")
def test_huge_pages_are_asked_for_under_large_fresh_memory():
    with mmap.mmap(-1, 2**23) as memory:
        fresh = np.frombuffer(memory, np.float32)
        inside = fresh.ctypes.data + 2**22
        if has_huge_pages(inside):
            pytest.skip("this system marks all memory")
        initspec_kernel.prefer_huge_pages(fresh[: 2**18])
        assert not has_huge_pages(inside)
        initspec_kernel.prefer_huge_pages(fresh)
        found = has_huge_pages(inside)
        del fresh
    assert found
