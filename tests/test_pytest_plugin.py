"""The pytest plugin: what it costs, the fixture, and the suite as items of a run."""

import importlib
import re
import xml.etree.ElementTree as ElementTree
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import python

from initspec import registry
from initspec_conformance import conforming, pytest_items
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Check
from initspec_conformance.suite import Suite, Task

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
MODULE = "initspec_conformance.pytest_plugin"
INSTALLED = any(point.value == MODULE for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", MODULE)
LOADED = (conforming, pytest_items)  # what runs inside would otherwise import them each time
# Imported here: pytester forgets what its tests import, and torch cannot be imported twice.
TORCH = find_spec("torch") and importlib.import_module("initspec_torch")
# What pytest says where initspec is installed in editable mode.
EDITABLE = "ignore:Module already imported so cannot:pytest.PytestAssertRewriteWarning"
NUMPY = ("--initspec-backends", "numpy", "--initspec-devices", "cpu")


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest in an empty folder, in this process."""
    monkeypatch.setenv("COLUMNS", "200")  # the summary has whole messages then
    options = (*PLUGIN, "-p", "no:xdist", "-W", EDITABLE)
    return lambda *arguments: pytester.runpytest_inprocess(*options, *arguments)


# --- what it costs ------------------------------------------------------------------------------


COST = f"""
import sys, time
import pytest
before, start = set(sys.modules), time.perf_counter()
import {MODULE}
seconds = time.perf_counter() - start
print(seconds, *sorted(set(sys.modules) - before))
"""


def test_the_plugin_imports_nothing_in_less_than_5_ms(tmp_path):
    cache = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    found = [python("-c", COST, **cache).stdout.split() for _ in range(6)]
    assert {tuple(names) for _, *names in found} == {("initspec_conformance", MODULE)}
    assert min(float(seconds) for seconds, *_ in found) < 0.005, found


def test_a_run_that_does_not_use_it_imports_nothing_more(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            heavy = {"numpy", "initspec", "initspec_conformance.conforming"}
            assert not heavy & set(sys.modules)
        """
    )
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = python("-m", "pytest", "-p", MODULE, str(pytester.path), **alone)
    assert "1 passed" in done.stdout, done.stdout


def test_the_entry_point_is_declared():
    text = (ROOT / "pyproject.toml").read_text()
    assert f'[project.entry-points.pytest11]\ninitspec = "{MODULE}"\n' in text


# --- the fixture --------------------------------------------------------------------------------


def test_conforms_shows_the_finding_and_nothing_of_its_own_code(run, pytester):
    pytester.makepyfile(
        """
        import initspec
        import pytest

        @pytest.mark.parametrize("recipe", ["he_normal", "lecun_normal"])
        def test_weights(conforms, recipe):
            weights = initspec.he_normal((300, 64), seed=0)
            assert conforms(weights, recipe).size == 300 * 64
        """
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*assert conforms(weights, recipe).size == 300 * 64",
            "E * AssertionError: variance 2 / fan instead of 1 / fan *",
            "E * std: 0.08*, expected 0.0577* +- 0.000* sigma)",
            "E * recipe:  lecun_normal: truncated normal, std = sqrt(1 / fan_in) = 0.0577*",
            "E * layout:  IO (300, 64), float32, numpy",
            "E * fans:    fan_in 300, fan_out 64",
            "FAILED *::test_weights?lecun_normal? - AssertionError: variance 2 / fan*",
        ]
    )
    result.stdout.no_fnmatch_line("*conforming.py*")


def test_conforms_can_be_used_by_fixtures_of_any_scope(run, pytester):
    pytester.makepyfile(
        """
        import initspec
        import pytest

        @pytest.fixture(scope="session")
        def weights(conforms):
            drawn = initspec.he_normal((300, 64), seed=0)
            conforms(drawn, "he_normal", seed=0)
            return drawn

        def test_shape(weights):
            assert weights.shape == (300, 64)
        """
    )
    run().assert_outcomes(passed=1)


def test_the_fixture_is_listed(run):
    run("--fixtures").stdout.fnmatch_lines(
        ["conforms ?session scope? -- *", "*Assert that a tensor, or what an initializer draws*"]
    )


# --- the items ----------------------------------------------------------------------------------


def ids(result):
    return [line for line in result.outlines if line.startswith("initspec::")]


def test_the_suite_runs_without_a_test_file(run):
    result = run(*NUMPY, "-k", "rounded", "-v")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "initspec: numpy",
            "initspec::numpy-cpu-rounded?orthogonal/OI/float32? PASSED*",
            "*18 passed, * deselected in *",
        ]
    )


def test_items_have_the_same_unique_names_each_time(run):
    first = ids(run(*NUMPY, "--collect-only", "-q"))
    assert first == ids(run(*NUMPY, "--collect-only", "-q"))
    assert len(set(first)) == len(first) > 900
    kinds = {name.partition("[")[0] for name in first}
    assert kinds == {
        f"initspec::numpy-cpu-{kind}" for kind in ("bits", "rounded", "refusal", "statistics")
    }


def test_options_may_be_repeated(run):
    for order in (("numpy", "nonsense"), ("nonsense", "numpy")):
        result = run(*(word for name in order for word in ("--initspec-backends", name)))
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*got 'nonsense'*"])


def test_the_suite_runs_beside_test_files(run, pytester):
    pytester.makepyfile("def test_mine():\n    pass")
    both = run(*NUMPY, "-k", "rounded or mine")
    both.assert_outcomes(passed=19, deselected=both.parseoutcomes()["deselected"])
    only = run(*NUMPY, "-m", "initspec", "-k", "rounded", "--strict-markers")
    assert only.parseoutcomes()["passed"] == 18
    assert run("-m", "not initspec", *NUMPY).parseoutcomes()["passed"] == 1


def test_without_the_option_nothing_is_added(run, pytester):
    pytester.makepyfile("def test_mine():\n    pass")
    result = run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*initspec: *")


def test_the_help_explains_the_options(run):
    run("--help").stdout.fnmatch_lines(
        ["weight initialisation (initspec):", "*--initspec-backends=NAMES", "*--initspec-devices=*"]
    )


USAGE = {
    ("--initspec-backends", "numpi"): "*got 'numpi'; expected one of *Did you mean 'numpy'?",
    ("--initspec-backends", ""): "*--initspec-backends: got ''; expected names separated by commas",
    ("--initspec-backends", "numpy,"): "*got 'numpy,'; expected names separated by commas",
    ("--initspec-devices", "cpu"): "*--initspec-devices: give --initspec-backends as well",
    (*NUMPY, "--initspec-devices", "tpu"): "*device: got 'tpu'; expected a device of this machine*",
}


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_what_is_not_there_is_a_usage_error(run, arguments):
    result = run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([USAGE[arguments]])


@pytest.fixture
def no_jax(monkeypatch):
    """JAX is not installed."""
    monkeypatch.setattr(registry, "_loaded", {"numpy": registry.get_backend("numpy")})
    for name in ("torch", "tensorflow", "keras"):
        monkeypatch.delitem(registry.FIRST_PARTY, name)
    monkeypatch.setitem(registry.FIRST_PARTY, "jax", "a_framework_that_nobody_has:backend")


@pytest.mark.usefixtures("no_jax")
def test_a_missing_backend_is_an_error_if_it_was_asked_for_and_a_skip_if_not(run):
    result = run("--initspec-backends", "numpy,jax")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*a_framework_that_nobody_has to be installed*Try: pip install*"])
    result = run("--initspec-backends", "all", "--initspec-devices", "cpu", "-rs", "-k", "missing")
    result.assert_outcomes(skipped=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["SKIPPED * missing?jax?: backend: got 'jax'; expected *"])


# --- verdicts -----------------------------------------------------------------------------------

BAD = Check("std", 0.2, 0.1, 0.001, 0.0)
FINE = Check("mean", 0.0, 0.0, 0.001, 1.0)


def task(label, verdict, message="", **fields):
    made = Task("numpy", "cpu", "bits", label, lambda: made.outcome(verdict, message, **fields))
    return made


def crash():
    raise RuntimeError("a crash")


@pytest.fixture
def stubs(monkeypatch):
    """One task for each verdict, one that crashes, one that warns."""
    tasks = [
        task("good", PASSED),
        task("bad", FAILED, "looks untruncated", checks=(BAD, FINE)),
        task("none", SKIPPED, "no float64 here"),
        Task("numpy", "cpu", "bits", "crash", crash),
    ]
    monkeypatch.setattr(Suite, "tasks", lambda suite: iter(tasks))
    return tasks


@pytest.mark.usefixtures("stubs")
def test_verdicts_are_outcomes_of_pytest(run):
    result = run(*NUMPY, "-rs")
    result.assert_outcomes(passed=1, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "initspec .FsF*",
            "*numpy-cpu-bits?bad?*",
            "looks untruncated",
            "  std: 0.2, expected 0.1 +- 0.001 (impossible)",
            "*RuntimeError: a crash",
            "SKIPPED ?1? *: no float64 here",
        ]
    )
    result.stdout.no_fnmatch_line("*mean: 0*")


@pytest.mark.usefixtures("stubs")
def test_the_run_stops_at_the_first_failure_if_asked(run):
    run(*NUMPY, "-x").assert_outcomes(passed=1, failed=1)


@pytest.mark.usefixtures("stubs")
def test_junit_has_the_finding(run, pytester):
    run(*NUMPY, "--junitxml=report.xml")
    cases = {case.get("name"): case for case in ElementTree.parse("report.xml").iter("testcase")}
    assert set(cases) == {f"numpy-cpu-bits[{name}]" for name in ("good", "bad", "none", "crash")}
    assert {case.get("classname") for case in cases.values()} == {"initspec"}
    assert "looks untruncated" in cases["numpy-cpu-bits[bad]"].find("failure").get("message")
    assert "no float64" in cases["numpy-cpu-bits[none]"].find("skipped").get("message")


def test_a_warning_of_a_framework_is_no_finding(run, pytester, monkeypatch):
    def warns():
        import warnings

        warnings.warn("an old function", DeprecationWarning, stacklevel=1)
        return made.outcome(PASSED)

    made = Task("numpy", "cpu", "bits", "warns", warns)
    monkeypatch.setattr(Suite, "tasks", lambda suite: iter([made]))
    pytester.makeini("[pytest]\nfilterwarnings = error")
    run(*NUMPY).assert_outcomes(passed=1, warnings=1)


def test_a_defect_of_a_backend_is_found_and_named(run, monkeypatch):
    backend = registry.get_backend("numpy")
    emit = type(backend).emit
    monkeypatch.setattr(type(backend), "emit", lambda *args: -emit(*args))
    result = run(*NUMPY, "-k", "bits and he_normal and float32 and not recipe")
    assert result.parseoutcomes()["failed"] > 0
    assert "passed" not in result.parseoutcomes()
    result.stdout.fnmatch_lines(["*values have the wrong sign*", "FAILED initspec::numpy-cpu-*"])


def test_items_are_shared_among_processes(pytester):
    pytest.importorskip("xdist")
    result = pytester.runpytest_subprocess(*PLUGIN, *NUMPY, "-n", "2", "-k", "rounded")
    result.assert_outcomes(passed=18)


# --- the documentation --------------------------------------------------------------------------


def test_the_tests_of_the_page_run(run, pytester):
    if not TORCH:
        pytest.skip("torch is not installed")
    text = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    pytester.makepyfile(code)
    result = run()
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_weights - AssertionError: looks untruncated*"])


def test_the_page_names_the_options_and_real_items(run):
    text = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"`(initspec::.*?)`", text)
    assert shown.replace("torch", "numpy") in ids(run(*NUMPY, "--collect-only", "-q"))
    assert set(re.findall(r"--initspec-\w+", text)) == {"--initspec-backends", "--initspec-devices"}
