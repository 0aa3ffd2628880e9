"""The runner: what it checks, what it skips and says so, and what it refuses to start with."""

import itertools
import json

import numpy as np
import pytest
from processes import python

import initspec
from initspec.backend import Backend
from initspec.errors import BackendError, InitspecError, InitspecValueError
from initspec.registry import get_backend
from initspec_conformance import suite as suites
from initspec_conformance.results import ALPHA, FAILED, MOST_CHECKS, PASSED, RUN_ALPHA, SKIPPED
from initspec_conformance.suite import Suite

KINDS = {"bits", "rounded", "statistics", "refusal"}


class Other(Backend):
    """NumPy's tensors, by the name of another backend."""

    name = "other"

    def emit(self, plan, dtype, device):
        if device not in (None, "cpu", "xpu"):
            raise InitspecValueError("device", device, "cpu or xpu")
        return get_backend("numpy").emit(plan, dtype, None)

    def to_host(self, tensor):
        return get_backend("numpy").to_host(tensor)

    def devices(self):
        return {"xpu": "in words"}


def failures(report):
    return [outcome.message for outcome in report.outcomes if outcome.verdict == FAILED]


def test_the_threshold_is_for_a_whole_run():
    assert pytest.approx(RUN_ALPHA) == ALPHA * MOST_CHECKS


def test_numpy_conforms_in_every_kind_of_check():
    report = Suite(["numpy"], devices=["cpu"]).run()
    assert failures(report) == []
    assert report.conforms
    assert {outcome.kind for outcome in report.outcomes} == KINDS
    assert 100 < report.checks <= MOST_CHECKS
    assert {"python", "initspec", "stream", "kernel", "numpy"} <= set(report.versions)
    labels = [(o.subject, o.device, o.kind, o.case) for o in report.outcomes]
    assert len(set(labels)) == len(labels)


def test_a_backend_of_somebody_else_on_all_its_devices():
    suite = Suite([Other()], recipes=["glorot_uniform", "orthogonal"])
    report = suite.run()
    assert failures(report) == []
    assert {outcome.device for outcome in report.outcomes} == {"cpu", "xpu"}
    assert list(suite.missing) == ["cuda in other"]


def test_the_same_bits_are_examined_once(monkeypatch):
    calls = []
    real = suites.examine
    monkeypatch.setattr(suites, "examine", lambda *a: calls.append(a) or real(*a))
    report = Suite(["numpy", Other()], devices=["cpu"], recipes=["he_uniform"]).run()
    found = [outcome for outcome in report.outcomes if outcome.kind == "statistics"]
    assert len(calls) == len(found) / 2
    assert all(outcome.checks and outcome.picture for outcome in found)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"backends": ["nonsense"]}, InitspecValueError, "nonsense"),
        ({"backends": ["numpy"], "devices": ["cuda"]}, InitspecValueError, "no other"),
        ({"devices": ["nonsense"], "backends": ["numpy"]}, InitspecValueError, "nonsense"),
        ({"recipes": ["he_norml"]}, InitspecValueError, "he_normal"),
        ({"dtypes": ["int8"]}, InitspecError, "int8"),
        ({"seed": -1}, InitspecValueError, "seed"),
    ],
)
def test_what_is_asked_for_and_missing_is_an_error(options, error, text):
    with pytest.raises(error, match=text):
        Suite(**{"backends": ["numpy"], **options})


def test_a_backend_that_was_asked_for_is_not_left_out():
    for devices in (["xpu"], ["xpu", "cpu"]):
        with pytest.raises(InitspecValueError, match="numpy asks for None or 'cpu'"):
            Suite(["numpy", Other()], devices=devices)
    assert len(Suite(["numpy", Other()]).places) == 3  # nobody asked for devices


def test_a_backend_that_has_no_device_at_all():
    class Nowhere(Other):
        def emit(self, plan, dtype, device):
            raise InitspecValueError("device", device, "a machine that works")

    with pytest.raises(InitspecValueError, match="one that other has"):
        Suite([Nowhere()])


def test_more_cases_than_the_threshold_is_made_for_are_refused(monkeypatch):
    monkeypatch.setattr(suites, "MOST_CHECKS", 100)
    with pytest.raises(InitspecValueError, match="at most 2 statistical cases"):
        Suite(["numpy"])


def test_a_backend_may_refuse_a_device_in_its_own_way():
    class Odd(Other):
        def emit(self, plan, dtype, device):
            if device == "cuda":
                raise RuntimeError("no driver")
            return super().emit(plan, dtype, device)

    assert "no driver" in Suite([Odd()]).missing["cuda in other"]
    with pytest.raises(InitspecValueError, match="no driver"):
        Suite([Odd()], devices=["cuda"])


def test_the_last_seed_is_followed_by_the_first():
    options = {"recipes": ["torch.uniform"], "dtypes": ["float32"], "seed": 2**64 - 1}
    assert failures(Suite(["numpy"], devices=["cpu"], **options).run()) == []


def test_matrices_in_16_bits_may_round_the_other_way():
    class Near(Other):
        def emit(self, plan, dtype, device):
            made = super().emit(plan, dtype, device)
            if plan.promise == "rounded" and made.size:
                made.view(np.uint16).flat[0] ^= 1
            return made

    for dtype in ("bfloat16", "float16"):
        suite = Suite([Near()], devices=["cpu"], recipes=["orthogonal"], dtypes=[dtype])
        tasks = [task for task in suite.tasks() if task.kind == "statistics"]
        assert [task.run().message for task in tasks] == [""] * len(tasks)


def test_a_missing_framework_that_nobody_asked_for_is_said(monkeypatch):
    def only_numpy(name):
        if name != "numpy":
            raise BackendError("backend", name, f"{name} to be installed")
        return get_backend(name)

    monkeypatch.setattr(suites.registry, "get_backend", only_numpy)
    suite = Suite(devices=["cpu"], recipes=["zeros"])
    assert {"torch", "jax", "tensorflow", "keras"} <= set(suite.missing)
    assert "to be installed" in suite.missing["torch"]
    assert suite.run().conforms
    with pytest.raises(BackendError):
        Suite(["torch"])


def test_a_dtype_that_a_backend_cannot_do_is_a_skip_with_its_reason():
    class NoBfloat16(Other):
        def emit(self, plan, dtype, device):
            if dtype == "bfloat16":
                raise BackendError("dtype", dtype, "the ml_dtypes package", "pip install ml_dtypes")
            return super().emit(plan, dtype, device)

    report = Suite([NoBfloat16()], devices=["cpu"], recipes=["he_normal"]).run()
    assert report.conforms
    skipped = [outcome for outcome in report.outcomes if outcome.verdict == SKIPPED]
    assert skipped
    assert all("ml_dtypes" in outcome.message for outcome in skipped)
    assert {outcome.kind for outcome in skipped} == {"bits", "statistics"}


def test_numpy_as_reference_may_lack_a_dtype(monkeypatch):
    def lacking(self, case, backend, place):
        if backend.name == "numpy":
            raise suites.Unsupported("no bfloat16")
        return real(self, case, backend, place)

    real = Suite._digest
    monkeypatch.setattr(Suite, "_digest", lacking)
    report = Suite([Other()], devices=["cpu"], recipes=["he_normal"], dtypes=["bfloat16"]).run()
    assert report.conforms


@pytest.mark.parametrize(
    ("emit", "text"),
    [
        (lambda plan, dtype: 1 / 0, "ZeroDivisionError"),
        (lambda plan, dtype: np.zeros((3, 2), np.float32), "shape"),
        (lambda plan, dtype: np.zeros(plan.shape, np.float64), "float64"),
        (lambda plan, dtype: np.full(plan.shape, np.nan, np.float32), "NaN"),
    ],
)
def test_whatever_a_backend_does_is_an_outcome(emit, text):
    class Broken(Other):
        def emit(self, plan, dtype, device):
            return super().emit(plan, dtype, device) if plan.shape == (1,) else emit(plan, dtype)

    report = Suite([Broken()], devices=["cpu"], recipes=["he_normal"], dtypes=["float32"]).run()
    assert not report.conforms
    assert report.count(PASSED) <= 1  # the empty tensor
    for kind in ("bits", "statistics"):
        found = [o.message for o in report.outcomes if o.kind == kind and o.verdict == FAILED]
        assert found
        assert any(text in message for message in found)


def test_a_backend_that_refuses_nothing_fails():
    class Lenient(Other):
        def draw(self, initializer, shape, **options):
            return np.zeros(3)

    tasks = [task for task in Suite([Lenient()], devices=["cpu"]).tasks() if task.kind == "refusal"]
    found = [task.run() for task in tasks]
    assert len(found) > 300
    assert sum(outcome.verdict == FAILED for outcome in found) > 200  # others never get that far


def test_other_bits_with_the_right_law_are_found_and_explained():
    class Later(Other):
        def keys(self, plan, seed, name):
            return super().keys(plan, (seed or 0) + 1, name)

    suite = Suite([Later()], devices=["cpu"], recipes=["he_normal"], dtypes=["float32"])
    report = suite.run()
    found = [o for o in report.outcomes if o.kind == "statistics"]
    assert all("the key is that of the next seed" in o.message for o in found)
    assert all(check.passed for o in found for check in o.checks)


def test_neighbouring_draws_differ_in_one_thing():
    suite = Suite(["numpy"], devices=["cpu"], recipes=["he_normal"], dtypes=["float32"])
    case = next(suite._cases(get_backend("numpy")))
    pairs = [(seed, name) for seed, name, _ in suite._draws(case, get_backend("numpy"), None)]
    changes = [(a[0] != b[0], a[1] != b[1]) for a, b in itertools.pairwise(pairs)]
    assert set(changes) == {(True, False), (False, True)}
    assert len(set(pairs)) == len(pairs) >= 4


def test_a_thorough_run_draws_enough_for_a_thousandth():
    suite = Suite(["numpy"], devices=["cpu"], recipes=["torch.kaiming_normal"], thorough=True)
    case = next(suite._cases(get_backend("numpy")))
    assert suites.sizes(case, thorough=True) == 64_120_567
    assert suites.sizes(case, thorough=False) == 2**20


# --- the command ------------------------------------------------------------------------------


def command(*arguments, **variables):
    return python("-m", "initspec", "conformance", *arguments, **variables)


def test_the_command_writes_every_report(tmp_path):
    names = ["report.html", "report.xml", "report.json", "report.txt"]
    reports = [word for name in names for word in ("--report", str(tmp_path / name))]
    done = command("--backend", "numpy", "--recipe", "glorot_normal", "--json", *reports)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "report.json").read_text())
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "report.txt").read_text().splitlines()[-1].startswith("conforms")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--foreign", "numpy.random:standard_normal", "--as", "torch.normal"], 0, "conforms"),
        (["--foreign", "numpy.random:standard_normal", "--as", "normal"], 2, "he_normal"),
        (["--foreign", "numpy.random:standard_normal"], 2, "--as"),
        (["--foreign", "numpy.random:nonsense", "--as", "torch.normal"], 2, "nonsense"),
        (["--foreign", "nonsense:f", "--as", "torch.normal"], 2, "nonsense"),
        (
            ["--foreign", "numpy.random:random", "--as", "torch.uniform", "--layout", "IO"],
            2,
            "shape",
        ),
        (
            ["--foreign", "numpy.random:random", "--as", "torch.uniform", "--groups", "3"],
            2,
            "groups",
        ),
        (["--foreign", "numpy.random:random", "--as", "torch.uniform", "--seed", "-1"], 2, "seed"),
        (["--foreign", "", "--as", "torch.normal"], 2, "foreign"),
        (["--foreign", "numpy:ones", "--as", "torch.normal", "--shape", "8,8"], 2, "at least 1024"),
        (["--foreign", "numpy:ones", "--as", "torch.normal", "--seed", "0x80000000"], 2, "seed"),
        (["--backend", "numpy", "--json", "--github"], 2, "--github"),
        (["--backend", "numpy", "--seeds"], 2, "--foreign"),
        (["--shape", "3,4"], 2, "--foreign"),
        (["--shape", "1"], 2, "--foreign"),
        (["--blocks", "a,b"], 2, "--foreign"),
        (["--sizes", "H=3"], 2, "--foreign"),
        (["--as", "he_normal"], 2, "--foreign"),
        (["--report", "report.pdf"], 2, ".html"),
        (["--report", "nowhere/report.html"], 2, "folder"),
        (["--backend", "nonsense"], 2, "nonsense"),
        (["--backend", "numpy", "--device", "cuda"], 2, "cuda"),
    ],
)
def test_exit_codes(arguments, code, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert text in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_conform_is_1_and_annotated():
    foreign = ["--foreign", "numpy.random:standard_normal", "--as", "torch.trunc_normal"]
    done = command(*foreign, "--shape", "512,512", "--github")
    assert done.returncode == 1, done.stderr
    assert "looks untruncated" in done.stdout
    assert "::error" in done.stdout


def test_numpy_alone_is_enough():
    """Other frameworks and the extras are hidden; what was skipped is said."""
    hidden = ["torch", "tensorflow", "jax", "keras", "rich", "jinja2", "scipy", "ml_dtypes"]
    code = f"import sys; sys.modules.update(dict.fromkeys({hidden}))\n"
    code += "from initspec.cli import main; sys.exit(main(['conformance']))"
    done = python("-c", code)
    assert done.returncode == 0, done.stdout + done.stderr
    for framework in hidden[:4]:
        assert f"pip install 'initspec[{framework}]'" in done.stdout
    assert "bfloat16" in done.stdout


def test_suites_are_for_the_recipes_that_are_named():
    suite = Suite(["numpy"], devices=["cpu"], recipes=["torch.kaiming_normal"])
    tasks = list(suite.tasks())
    assert {task.kind for task in tasks} == {"bits", "statistics"}
    cases = [task for task in tasks if task.kind == "statistics"]
    assert len(cases) >= 2
    assert all("torch.kaiming_normal" in task.label for task in cases)
    assert initspec.get("torch.kaiming_normal") in suite.recipes.values()
