"""What is imported when, what it costs, and what happens when a framework is broken."""

import ast
import json
import sys
from pathlib import Path

import processes
import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("torch", "tensorflow", "jax", "keras")
NOT_NEEDED = (*FRAMEWORKS, "jaxlib", "flax", "haiku", "equinox", "scipy", "ml_dtypes", "triton")
NOT_NEEDED += ("matplotlib", "rich", "jinja2", "mpmath", "initspec.cli", "argparse")


def python(code, *folders, **variables):
    """Run code with these folders first on the path; what its last line is, as JSON."""
    done = run(["-c", code], *folders, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def run(arguments, *folders, **variables):
    return processes.python(*arguments, folders=folders, **variables)


# --- import initspec ----------------------------------------------------------------------------


def test_import_initspec_imports_no_framework():
    code = "import json, sys, initspec; print(json.dumps(list(sys.modules)))"
    loaded = set(python(code))
    assert loaded & set(NOT_NEEDED) == set()
    assert not any(name.startswith("initspec_") and "editable" not in name for name in loaded)


def test_import_initspec_costs_less_than_60_ms_over_numpy(tmp_path):
    code = """
import time
import numpy
start = time.perf_counter()
import initspec
print(time.perf_counter() - start)
"""
    # Compiled files have to be there, as in any installation: the first run writes them.
    cache = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    seconds = [python(code, **cache) for _ in range(6)]
    assert min(seconds) < 0.060, seconds


ONLY_NUMPY = """
import json, sys
import numpy

class OnlyNumpy:
    tried = []
    allowed = {*sys.stdlib_module_names, "numpy", "initspec", "initspec_kernel", "initspec_numpy"}
    allowed |= {"org"}  # of Jython: the standard library's copy module looks for it

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            self.tried.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyNumpy())
import initspec
array = initspec.he_normal((256, 256), seed=0)
print(json.dumps([OnlyNumpy.tried, array.tobytes().hex()]))
"""


def test_numpy_alone_is_enough_with_and_without_the_kernel():
    tried, values = python(ONLY_NUMPY, INITSPEC_KERNEL="off")
    assert tried == []
    assert python(ONLY_NUMPY, INITSPEC_KERNEL="auto") == [[], values]


# --- frameworks that do not work ----------------------------------------------------------------

FAULTS = {
    "empty": ("", "installed but does not import"),
    "OSError": ("raise OSError('libfake.so.9: cannot open')", "libfake.so.9: cannot open"),
    "RuntimeError": ("raise RuntimeError('the driver is too old')", "the driver is too old"),
    "syntax": ("def broken(:", "SyntaxError"),
    "dependency": ("import a_module_that_nobody_has", "a_module_that_nobody_has to be installed"),
}
USE_ALL = """
import json, sys
import initspec

def attempt(name):
    try:
        return "no error: " + str(initspec.he_normal((2, 3), backend=name, seed=0))
    except initspec.BackendError as error:
        assert isinstance(error, ImportError)
        return [str(error), type(error.__cause__).__name__]

first = {name: attempt(name) for name in FRAMEWORKS}
again = {name: attempt(name) for name in FRAMEWORKS}
works = initspec.he_normal((2, 3), seed=0).shape
print(json.dumps([first, first == again, works]))
"""
USE_ALL = f"FRAMEWORKS = {FRAMEWORKS!r}\n{USE_ALL}"


def fake(folder, text, names=FRAMEWORKS):
    """A folder with packages of these names and this content."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text)
    return folder


def hide(folder, names=FRAMEWORKS):
    """A folder that makes Python start without packages of these names."""
    text = f"import sys; sys.modules.update(dict.fromkeys({list(names)!r}))"
    (folder / "sitecustomize.py").write_text(text)
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_framework_is_one_clear_error_and_the_others_work(tmp_path, fault):
    text, reason = FAULTS[fault]
    results, same_again, shape = python(USE_ALL, fake(tmp_path, text))
    for name, (message, cause) in results.items():
        assert f"got {name!r}" in message
        assert reason in message
        assert f"initspec[{name}]" in message
        assert cause != "NoneType"
    assert same_again
    assert shape == [2, 3]


def test_a_missing_framework_is_one_clear_error_and_the_others_work(tmp_path):
    results, same_again, shape = python(USE_ALL, hide(tmp_path))
    for name, (message, cause) in results.items():
        assert f"expected {name} to be installed" in message
        assert f"pip install 'initspec[{name}]'" in message
        assert cause == "ModuleNotFoundError"
    assert same_again
    assert shape == [2, 3]


def test_a_broken_framework_leaves_the_other_ones_usable(tmp_path):
    pytest.importorskip("jax")
    code = """
import json
import initspec
try:
    initspec.ones((2,), layout="I", backend="torch")
except initspec.BackendError:
    print(json.dumps(initspec.ones((2,), layout="I", backend="jax").tolist()))
"""
    assert python(code, fake(tmp_path, "raise OSError", ["torch"])) == [1.0, 1.0]


# --- doctor -------------------------------------------------------------------------------------


def doctor(folder, *arguments):
    """Exit code and checks; the kernel is off, which is no finding."""
    done = run(["-m", "initspec", "doctor", "--json", *arguments], folder, INITSPEC_KERNEL="off")
    assert "Traceback" not in done.stderr
    checks = json.loads(done.stdout)["checks"]
    return done.returncode, {check["name"]: check for check in checks}


def test_doctor_takes_a_missing_framework_as_it_is(tmp_path):
    code, checks = doctor(hide(tmp_path))
    assert {checks[name]["state"] for name in FRAMEWORKS} == {"absent"}
    assert "pip install 'initspec[jax]'" in checks["jax"]["detail"]
    assert (code, checks["numpy"]["state"]) == (0, "ok")


def test_doctor_finds_broken_crashing_and_hanging_frameworks(tmp_path):
    fake(tmp_path, "", ["torch"])
    fake(tmp_path, "raise OSError('libfake.so.9')", ["tensorflow"])
    fake(tmp_path, "import os; os.abort()", ["jax"])
    fake(tmp_path, "import time; time.sleep(30)", ["keras"])
    code, checks = doctor(tmp_path, "--timeout", "4")
    assert {checks[name]["state"] for name in FRAMEWORKS} == {"finding"}
    assert "installed but does not import" in checks["torch"]["detail"]
    assert "libfake.so.9" in checks["tensorflow"]["detail"]
    assert "SIGABRT" in checks["jax"]["detail"]
    assert "no answer within 4 s" in checks["keras"]["detail"]
    assert (code, checks["numpy"]["state"]) == (1, "ok")


# --- who may import whom ------------------------------------------------------------------------

CORE = {"numpy", "initspec"}
EXTRAS = {"rich", "yaml"}  # imported where they are needed; others are named at run time
OWN = {
    "initspec_kernel": set(),
    "initspec_numpy": {"ml_dtypes"},
    "initspec_torch": {"torch", "triton"},
    "initspec_tensorflow": {"tensorflow"},
    "initspec_jax": {"jax", "jaxlib", "flax", "haiku", "equinox"},
    "initspec_keras": {"keras", "jax", "torch", "tensorflow", "ml_dtypes"},  # the engines
}


def imports(text):
    """All modules that the source imports by statement, however deep."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign(folder, allowed):
    """What the package in a folder imports beside the standard library and what it may."""
    found = {
        (str(file.relative_to(folder)), name)
        for file in folder.rglob("*.py")
        for name in imports(file.read_text(encoding="utf-8"))
    }
    known = allowed | sys.stdlib_module_names | {folder.name}
    return {(file, name) for file, name in found if name.partition(".")[0] not in known}


def test_imports_are_seen_however_deep():
    text = "if 1:\n def f():\n  import torch.nn as n\n  from jax import numpy\nfrom . import x"
    assert set(imports(text)) == {"torch.nn", "jax.numpy"}


def test_the_core_imports_no_framework_and_no_backend():
    assert foreign(ROOT / "initspec", CORE | EXTRAS) == set()


@pytest.mark.parametrize("package", OWN)
def test_a_backend_imports_the_core_the_kernel_and_its_own_framework(package):
    allowed = CORE | {"initspec_kernel"} | OWN[package]
    assert foreign(ROOT / "backends" / package, allowed) == set()


def test_every_backend_has_a_rule():
    assert {path.name for path in (ROOT / "backends").iterdir() if path.is_dir()} == set(OWN)


def test_conformance_reaches_frameworks_through_the_registry():
    found = foreign(ROOT / "conformance" / "initspec_conformance", CORE)
    assert {name for _, name in found if name.partition(".")[0] in (*FRAMEWORKS, *OWN)} == set()


def test_nothing_imports_the_command_line():
    users = {
        str(file.relative_to(ROOT))
        for folder in ("initspec", "backends", "conformance")
        for file in (ROOT / folder).rglob("*.py")
        for name in imports(file.read_text(encoding="utf-8"))
        if name.startswith("initspec.cli")
    }
    assert {user for user in users if not user.startswith("initspec/cli/")} == {
        "initspec/__main__.py"
    }
