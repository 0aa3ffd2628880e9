"""Third-party backends: a real one is installed and used; clashes and failures are named."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import initspec
from initspec import registry
from initspec.registry import FIRST_PARTY, GROUP

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "tests" / "plugin_package"
NO_FRAMEWORKS = "import sys; sys.modules.update(dict.fromkeys({names!r}))"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A folder with the plugin installed by pip; built from a copy, so the checkout stays clean."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, folder / "source")
    # Offline where the build tool is here already.
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    target = folder / "site"
    subprocess.run([*pip, "--no-deps", *isolation, "--target", target, source], check=True)
    return target


def offer(folder, distribution, name, value="initspec_lists:backend"):
    """The metadata of an installed distribution that offers a backend."""
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")
    return folder


def python(code, *folders):
    """Run code with these folders importable; what it printed as JSON."""
    path = os.pathsep.join([*map(str, folders), *sys.path])
    command = [sys.executable, "-c", f"import json, initspec\n{code}"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failure(call, *folders):
    """The message of the `BackendError` that a call of the registry raises."""
    return python(
        f"""
from initspec import registry
try:
    print(json.dumps("no error: " + str(registry.{call})))
except initspec.BackendError as error:
    print(json.dumps(str(error)))
""",
        *folders,
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_a_plugin_draws_what_numpy_draws(plugin, dtype):
    code = f"""
options = dict(seed=3, name="w", dtype={dtype!r})
print(json.dumps(initspec.he_normal((2, 3), backend="lists", **options)))
"""
    expected = initspec.he_normal((2, 3), seed=3, name="w", dtype=dtype).tolist()
    assert python(code, plugin) == expected


def test_a_plugin_conforms(plugin):
    path = os.pathsep.join([str(plugin), *sys.path])
    command = [sys.executable, "-m", "initspec", "conformance", "--backend", "lists", "--json"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    outcomes = json.loads(done.stdout)["outcomes"]
    assert {outcome["subject"] for outcome in outcomes} == {"lists"}
    assert {outcome["verdict"] for outcome in outcomes} == {"passed"}


def test_a_tensor_of_a_plugin_names_its_backend(monkeypatch):
    monkeypatch.setattr(registry, "offers", lambda: {"lists": []})
    tensor = type("Tensor", (list,), {"__module__": "lists.core"})
    assert registry._owner(tensor()) == registry._owner(type("Sub", (tensor,), {})()) == "lists"


def test_a_plugin_is_found_by_its_entry_point(plugin):
    code = """
from initspec import registry
before = "initspec_lists" in sys.modules
names = registry.backend_names()
imported = "initspec_lists" in sys.modules
print(json.dumps([before, names, imported, registry.get_backend("lists").name]))
"""
    names = [*FIRST_PARTY, "lists"]
    assert python("import sys" + code, plugin) == [False, names, False, "lists"]


def test_the_shared_checks_guard_a_plugin(plugin):
    code = """
try:
    initspec.he_normal((2, -3), backend="lists")
except initspec.InitspecValueError as error:
    print(json.dumps(error.where))
"""
    assert python(code, plugin) == "shape[1]"


def test_two_distributions_with_one_name_are_both_named(plugin, tmp_path):
    offer(tmp_path, "lists-for-everyone", "lists")
    message = failure("get_backend('lists')", plugin, tmp_path)
    assert "initspec-lists" in message
    assert "lists-for-everyone" in message
    assert "Uninstall" in message


def test_nobody_else_may_offer_torch(tmp_path):
    offer(tmp_path, "torch-impostor", "torch")
    message = failure("get_backend('torch')", tmp_path)
    assert "'torch'" in message
    assert "initspec and torch-impostor" in message


def test_an_impostor_is_never_imported(tmp_path):
    offer(tmp_path, "numpy-impostor", "numpy", "impostor:backend")
    (tmp_path / "impostor.py").write_text("raise SystemExit('imported the impostor')")
    assert "initspec and numpy-impostor" in failure("get_backend('numpy')", tmp_path)


def test_a_clash_is_the_matter_of_its_name_alone(plugin, tmp_path):
    offer(tmp_path, "first", "odd")
    offer(tmp_path, "second", "odd")
    code = "print(json.dumps(initspec.ones((2,), layout='I', backend='lists')))"
    assert python(code, plugin, tmp_path) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise OSError('libodd.so is missing')", "OSError: libodd.so is missing"),
        ("import a_module_that_nobody_has", "a_module_that_nobody_has to be installed"),
        ("raise ModuleNotFoundError('said without a name')", "said without a name"),
        ("backend = 3", "an initspec Backend named 'odd'"),
        ("from initspec_numpy import backend", "an initspec Backend named 'odd'"),
        ("", "AttributeError"),
    ],
)
def test_a_plugin_that_fails_is_named(tmp_path, text, reason):
    offer(tmp_path, "odd-backend", "odd", "odd:backend")
    (tmp_path / "odd.py").write_text(text)
    message = failure("get_backend('odd')", tmp_path)
    assert reason in message
    assert "odd-backend" in message


LAYERS = """
from initspec.models import Slot, Split

parts = (Split(axis=0, parts=("gate", "up")),)
LAYERS = {
    "layers_of_mine.Gated": {
        "w": Slot(path="{part}/kernel", role="kernel", layout="OI", kind="dense", splits=parts),
        "b": (Slot(path="{part}/bias", role="bias", layout="O", kind="dense", splits=parts),),
    }
}
BROKEN = {"layers_of_mine.Gated": {"w": "OI"}}
"""
USE_LAYERS = """
import json, types
import torch, initspec

class Gated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.b = torch.nn.Parameter(torch.ones(6, 2)), torch.nn.Parameter(torch.ones(6))

Gated.__module__ = "layers_of_mine"
config = {"initspec": 1, "extends": "initspec:torch-defaults"}
try:
    print(json.dumps([row.path for row in initspec.plan(Gated(), config).rows]))
except initspec.InitspecError as error:
    print(json.dumps(str(error)))
"""


def describe(folder, distribution, value):
    """A distribution that describes layers of torch."""
    (folder / "layers_of_mine.py").write_text(LAYERS)
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[initspec.layouts]\nmine = {value}\n")


def test_layers_of_third_parties_are_known_by_their_entry_point(tmp_path):
    pytest.importorskip("torch")
    assert "torch" in python(USE_LAYERS, tmp_path)  # nobody has told: the error names the layer
    describe(tmp_path, "mine", "layers_of_mine:LAYERS")
    assert python(USE_LAYERS, tmp_path) == [
        f"{part}/{leaf}" for leaf in ("kernel", "bias") for part in ("gate", "up")
    ]
    describe(tmp_path, "rival", "layers_of_mine:LAYERS")
    assert "one distribution to describe layers_of_mine.Gated" in python(USE_LAYERS, tmp_path)


@pytest.mark.parametrize("value", ["layers_of_mine:BROKEN", "layers_of_mine:NONE", "nowhere:L"])
def test_a_broken_description_of_layers_is_named(tmp_path, value):
    pytest.importorskip("torch")
    describe(tmp_path, "mine", value)
    message = python(USE_LAYERS, tmp_path)
    assert value in message
    assert "a mapping of layer classes" in message


def test_an_unknown_name_suggests_a_plugin(plugin):
    code = """
from initspec import registry
try:
    registry.get_backend("list")
except initspec.InitspecValueError as error:
    print(json.dumps(str(error)))
"""
    assert "Did you mean 'lists'?" in python(code, plugin)


def doctor(folder, *folders):
    """Exit code and checks of a doctor who has no frameworks to examine."""
    frameworks = [name for name in FIRST_PARTY if name != "numpy"]
    (folder / "sitecustomize.py").write_text(NO_FRAMEWORKS.format(names=frameworks))
    environment = {
        **os.environ,
        "INITSPEC_KERNEL": "off",
        "PYTHONPATH": os.pathsep.join([str(folder), *map(str, folders), *sys.path]),
    }
    command = [sys.executable, "-P", "-m", "initspec", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    checks = json.loads(done.stdout)["checks"]
    return done.returncode, {check["name"]: check for check in checks}


def test_doctor_examines_plugins(plugin, tmp_path):
    code, checks = doctor(tmp_path, plugin)
    assert checks["lists"]["state"] == "ok", checks
    assert checks["lists"]["version"] == "0.1.0"
    assert "initspec-lists" in checks["lists"]["detail"]
    assert code == 0


def test_doctor_finds_rivals(tmp_path):
    offer(tmp_path, "torch-impostor", "torch")
    offer(tmp_path, "first", "odd")
    offer(tmp_path, "second", "odd")
    code, checks = doctor(tmp_path)
    findings = {
        name: check["detail"] for name, check in checks.items() if check["state"] == "finding"
    }
    assert set(findings) == {"plugin torch", "plugin odd"}
    assert "initspec and torch-impostor" in findings["plugin torch"]
    assert "first and second" in findings["plugin odd"]
    assert code == 1


def test_our_entry_points_are_the_registrys_table():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == FIRST_PARTY
