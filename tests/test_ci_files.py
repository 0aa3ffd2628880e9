"""The workflow and the hook that other repositories use: their commands are commands of ours."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from initspec.cli import make_parser

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "conformance.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"


@pytest.fixture(scope="module")
def workflow():
    return yaml.load(WORKFLOW.read_text(encoding="utf-8"), yaml.BaseLoader)  # on is no boolean


@pytest.fixture(scope="module")
def steps(workflow):
    found = workflow["jobs"]["conformance"]["steps"]
    return {step.get("name", step.get("uses")): step for step in found}


@pytest.fixture(scope="module")
def hook():
    (found,) = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    return found


# --- the workflow -------------------------------------------------------------------------------

STUB = """#!{python}
import json, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def shell(tmp_path):
    """Run a step as the runner does; what the commands in it are called with."""
    for name in ("initspec", "python"):
        (tmp_path / name).write_text(STUB.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)

    def run(step, **variables):
        assert step["shell"] == "bash"
        given = {name: variables.get(name, "") for name in step["env"]}
        assert set(variables) <= set(given)
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            env={**os.environ, **given, "PATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    return run


def test_the_check_is_a_command_of_ours(steps, shell):
    options = make_parser().parse_args(shell(steps["Check"]))
    assert options.verb == "conformance"
    assert options.github
    assert [path.name for path in options.report] == ["conformance.html", "conformance.xml"]
    assert (options.backend, options.device, options.thorough) == ([], [], False)


def test_inputs_become_options(steps, shell):
    arguments = shell(
        steps["Check"],
        BACKENDS="torch  jax",
        DEVICES="cpu\ncuda",
        ARGUMENTS="--thorough --dtype bfloat16",
    )
    options = make_parser().parse_args(arguments)
    assert (options.backend, options.device) == (["torch", "jax"], ["cpu", "cuda"])
    assert options.thorough
    assert options.dtype == ["bfloat16"]


def test_inputs_are_words_and_nothing_else(steps, shell, tmp_path):
    trap = "$(touch trapped) ; touch trapped * `touch trapped`"
    arguments = shell(steps["Check"], BACKENDS=trap, DEVICES=trap, ARGUMENTS=trap)
    assert not (tmp_path / "trapped").exists()
    assert arguments.count("*") == 3


def test_what_is_installed(steps, shell):
    install = ["-m", "pip", "install"]
    assert shell(steps["Install"]) == [*install, "initspec[report]"]
    assert shell(steps["Install"], VERSION="==0.1.0", REQUIREMENTS="torch==2.13.0 .[test]") == [
        *install,
        "initspec[report]==0.1.0",
        "torch==2.13.0",
        ".[test]",
    ]


def test_every_input_is_described_and_used(workflow):
    inputs = workflow["on"]["workflow_call"]["inputs"]
    used = re.findall(r"\$\{\{ inputs\.([\w-]+) \}\}", WORKFLOW.read_text(encoding="utf-8"))
    assert sorted(used) == sorted(inputs)
    for name, facts in inputs.items():
        assert set(facts) == {"description", "type", "default"}, name


def test_the_workflow_may_do_no_more_than_it_must(workflow, steps):
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["conformance"]
    assert "secrets" not in WORKFLOW.read_text(encoding="utf-8")
    for step in steps.values():
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v0"))
        assert "${{" not in step.get("run", "")


def test_reports_are_kept_also_after_a_failure(steps):
    keep = steps["Keep the reports"]
    assert keep["if"] == "${{ !cancelled() }}"
    assert keep["with"]["path"] == "conformance.*"


# --- the hook -----------------------------------------------------------------------------------


def test_the_hook_is_a_command_of_ours(hook):
    program, *arguments = shlex.split(hook["entry"])
    assert program == "initspec"
    assert make_parser().parse_args(arguments).verb == "conformance"


def test_the_hook_runs_as_it_should(hook):
    assert hook["id"] == "initspec-conformance"
    assert hook["language"] == "python"
    assert hook["always_run"] is True
    assert hook["pass_filenames"] is False
    assert hook["stages"] == ["pre-push", "manual"]


# --- their documentation ------------------------------------------------------------------------


def blocks():
    text = (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8")
    return [
        yaml.load(block, yaml.BaseLoader) for block in re.findall(r"```yaml\n(.*?)```", text, re.S)
    ]


def test_the_page_calls_the_workflow_with_inputs_that_it_has(workflow, steps, shell):
    (calling,) = [block for block in blocks() if "jobs" in block]
    inputs = workflow["on"]["workflow_call"]["inputs"]
    for job in calling["jobs"].values():
        assert job["uses"].partition("@")[0].endswith(str(WORKFLOW.relative_to(ROOT)))
        assert set(job["with"]) <= set(inputs)
        words = shell(steps["Check"], ARGUMENTS=job["with"].get("arguments", ""))
        make_parser().parse_args(words)


def test_the_page_configures_the_hook_with_options_that_it_has(hook):
    (config,) = [block for block in blocks() if "repos" in block]
    ((used,),) = [repo["hooks"] for repo in config["repos"]]
    assert used["id"] == hook["id"]
    words = [*shlex.split(hook["entry"])[1:], *used["args"]]
    assert make_parser().parse_args(words).verb == "conformance"
