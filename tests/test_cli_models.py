"""The verbs for whole models: results on stdout, problems on stderr, 0, 1 and 2 as exit codes."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import processes
import pytest
from cli_checks import CONFIG, NAMES, NETS, answers, config_and_nets, runner, write

from initspec import models
from initspec.cli.models import lock_file
from initspec.models.config.reading import preset_names


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    yield from config_and_nets(tmp_path, monkeypatch)


@pytest.fixture
def call(capsys):
    return runner(capsys)


@pytest.fixture
def answer(call):
    return answers(call)


# --- plan -----------------------------------------------------------------------------------------

TABLE = """\
canonical path  stored as  stored  logical  fans  rule          std
stem/kernel     stem/w     (3, 4)  (4, 3)   3, 4  kernels       0.8165
stem/bias       stem/b     (4)     (4)            base: biases  0
head/kernel     head/w     (4, 2)  (2, 4)   4, 2  head          0.01

3 tensors, 3 logical, 24 values, 0 kept, seed 7
"""


def test_plan_prints_the_table_and_nothing_else(call):
    assert call("plan init.toml --model nets:make") == (0, TABLE, "a module may print\n")


def test_plan_verbose_has_the_second_rule_layout_and_formula(call):
    _, out, _ = call("plan init.toml --model nets:make --verbose")
    head = next(line for line in out.splitlines() if line.startswith("head/kernel"))
    assert head.split()[-1] == "kernels"
    assert "IO" in head
    assert "normal, std = 0.01" in head


def test_plan_as_json(answer):
    found = answer("plan init.toml --model nets:make --seed 0x10")
    assert list(found) == ["config", "framework", "counts", "seed", "rows"]
    assert found["seed"] == 16
    assert found["framework"] == "numpy"
    assert found["counts"] == {"tensors": 3, "logical": 3, "values": 24, "kept": 0}
    assert [row["rule"] for row in found["rows"]] == ["kernels", "base: biases", "head"]


@pytest.mark.parametrize(
    "model", ["nets:make", "nets:Zoo.make", "nets:constant", "nets:initialised"]
)
def test_a_model_is_an_object_or_what_a_function_makes(call, model):
    assert call(f"plan init.toml --model {model}")[:2] == (0, TABLE)


def test_arguments_are_json_or_text(answer):
    found = answer("plan init.toml --model nets:make --arg width=5 --arg dtype=float16")
    assert found["rows"][0]["stored_shape"] == [3, 5]
    assert found["rows"][0]["dtype"] == "float16"


def test_modules_of_the_current_folder_go_first_and_packages_work(call, folder):
    (folder / "zoo" / "small").mkdir(parents=True)
    write("zoo/small/nets.py", NETS)
    assert call("plan init.toml --model zoo.small.nets:make")[:2] == (0, TABLE)
    assert sys.path[0] == str(folder)


@pytest.mark.parametrize("model", ["", "--model nets:make"])
def test_any_name_can_be_printed_on_any_terminal(model):
    write("init.toml", (CONFIG + NAMES).replace('"kernels"', '"kernels σ"'))
    words = ["-m", "initspec", "plan", "init.toml", *model.split()]
    done = processes.python(*words, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr.replace("a module may print\n", "")) == (0, "")
    assert r"kernels \u03c3" in done.stdout


def test_what_is_kept_is_counted_and_warned_about(call):
    write("init.toml", f'unmatched = "warn"\n{CONFIG.replace("initspec:base", "deep.toml")}{NAMES}')
    write("deep.toml", "initspec = 1")
    code, out, err = call("plan init.toml --model nets:make")
    assert code == 0
    assert out.splitlines()[-1] == "3 tensors, 3 logical, 24 values, 1 kept, seed 7"
    assert "warning: stem/bias: kept as it is" in err
    assert ".py" not in err


# --- plan without a model -------------------------------------------------------------------------


def test_a_config_alone_is_checked_and_shown(call):
    write(
        "deep.toml", 'initspec = 1\n[[rule]]\nname = "all"\ninit = { type = "normal", std = 2 }\n'
    )
    write("top.toml", 'initspec = 1\nextends = "deep.toml"\n')
    code, out, err = call("plan top.toml")
    assert (code, err) == (0, "")
    assert out == (
        "rule  match       init           where\n"
        "all   everything  normal(std=2)  deep.toml:2\n\n"
        "1 rule, what no rule matches: error, no seed\n"
    )


def test_a_match_is_shown_in_words(call):
    match = 'match = { role = ["kernel", "bias"], not = { layer = "conv" } }'
    write("top.toml", f'initspec = 1\n[[rule]]\nname = "a"\n{match}\ninit = "zeros"\n')
    assert "role kernel or bias, not (layer conv)" in call("plan top.toml")[1]


def test_a_config_alone_as_json_is_the_config_resolved(answer):
    found = answer("plan init.toml")
    assert list(found) == ["config", "resolved", "places"]
    resolved = models.load("init.toml").resolved()
    assert models.Config.from_dict(found["resolved"]) == resolved
    assert found["places"][0] == {"file": "init.toml", "line": 5}
    assert len(found["places"]) == len(resolved.rules)


@pytest.mark.parametrize("preset", preset_names())
def test_presets_are_configs(call, preset):
    code, out, err = call(f"plan {preset}")
    assert (code, err) == (0, "")
    assert f"{preset}:" in out


# --- problems -------------------------------------------------------------------------------------

VERBS = ("plan", "apply", "check", "lock", "verify", "diff")


def command(verb, config="init.toml", model="nets:make"):
    more = {"apply": " --output w.npz", "diff": f" --with {model}"}.get(verb, "")
    return f"{verb} {config} --model {model}{more}"


@pytest.mark.parametrize("verb", VERBS)
def test_all_problems_of_a_config_are_told_with_their_lines(call, verb):
    write("bad.toml", CONFIG.replace("std", "sdt").replace('role = "kernel"', 'role = "colonel"'))
    code, out, err = call(command(verb, "bad.toml"))
    assert (code, out) == (2, "")
    assert [line.split(": ")[0] for line in err.splitlines()] == ["bad.toml:8", "bad.toml:12"]
    assert "Did you mean 'std'?" in err


@pytest.mark.parametrize("verb", VERBS)
def test_a_config_that_does_not_fit_is_told_with_its_lines(call, verb):
    assert call(command("lock"))[0] == 0
    write("init.toml", CONFIG.replace("head/kernel", "heat/kernel") + NAMES.replace("stem/b", "b"))
    code, out, err = call(command(verb))
    lines = err.splitlines()
    assert code == 2
    assert "init.toml: " not in out
    assert any(line.startswith("init.toml:5: rule 'head'") for line in lines)
    assert all(line.startswith("init.toml:") for line in lines if line != "a module may print")


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("nets", "package.module:factory"),
        ("nets:", "package.module:factory"),
        (":make", "package.module:factory"),
        ("nests:make", "No module named 'nests'). The current folder is"),
        ("nets.more:make", "is not a package"),
        ("nets:mak", "Did you mean 'make'?"),
        ("nets:Zoo.mak", "Did you mean 'make'?"),
        ("nets:fails", "RuntimeError: no weights, at "),
        ("nets:leaves", "SystemExit: 3"),
        ("nets:nothing", "got None"),
        ("nets:np", "got <module 'numpy'"),
        ("broken:make", "SyntaxError"),
        ("imports:make", "No module named 'not_there', at"),
        ("raises:make", "ZeroDivisionError: division by zero, at"),
    ],
)
def test_a_model_that_cannot_be_made_is_one_message(call, model, complaint):
    write("broken.py", "def make(:\n")
    write("imports.py", "import not_there\n")
    write("raises.py", "\n\n1 / 0\n")
    code, out, err = call(f"plan init.toml --model {model}")
    last = [line for line in err.splitlines() if line != "a module may print"]
    assert (code, out) == (2, "")
    assert len(last) == 1
    assert last[0].startswith("initspec plan: ")
    assert complaint in last[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_of_a_model_that_cannot_be_made(call, verb):
    assert call(command("lock"))[0] == 0
    code, out, err = call(command(verb, model="nets:fails"))
    assert (code, out) == (2, "")
    assert err.startswith(f"initspec {verb}: --model: got 'nets:fails'; expected a function")
    assert not Path("w.npz").exists()


def test_the_other_model_is_named_as_it_is_given(call):
    _, _, err = call("diff init.toml --model nets:make --with nets:fails")
    assert "initspec diff: --with: got 'nets:fails'" in err


def test_the_line_of_the_users_code_is_told(call):
    code, _, err = call("plan init.toml --model nets:fails")
    assert code == 2
    line = NETS.splitlines().index('    raise RuntimeError("no\\nweights")') + 1
    assert f"nets.py:{line})" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--model nets:make --arg widt=4", "--arg NAME=VALUE"),
        ("--model nets:constant --arg width=4", "a function or a class"),
        ("--model nets:make --arg width", "expected NAME=VALUE, as in width=64"),
        ("--model nets:make --arg 1=2", "expected NAME=VALUE, as in width=64"),
        ("--model nets:make --seed -1", "[0, 2**64)"),
        ("--model nets:make --seed x", "expected an integer"),
    ],
)
def test_bad_arguments(call, arguments, complaint):
    code, out, err = call(f"plan init.toml {arguments}")
    assert (code, out) == (2, "")
    assert complaint in err


@pytest.mark.parametrize("config", ["none.toml", "nets.py", ".", "initspec:gpt3"])
def test_a_config_that_is_not_there(call, config):
    code, out, err = call(f"plan {config}")
    assert (code, out) == (2, "")
    assert config in err
    assert "Traceback" not in err


# --- check ----------------------------------------------------------------------------------------


def test_check_of_what_conforms(call, answer):
    assert call("check init.toml --model nets:initialised")[:2] == (
        0,
        "3 of 3 conform; 0 kept as they are\n",
    )
    found = answer("check init.toml --model nets:initialised")
    assert list(found) == ["config", "seed", "passed", "findings", "kept"]
    assert found["passed"] is True
    assert {each["kind"] for each in found["findings"]} == {"bits"}


def test_check_of_what_does_not(call, answer):
    code, out, _ = call("check init.toml --model nets:make")
    assert code == 1
    assert out.startswith("stem/kernel: 12 of 12 values are not the seed's")
    assert out.endswith("1 of 3 conform; 0 kept as they are\n")
    assert answer("check init.toml --model nets:make", 1)["passed"] is False


def test_another_seed_is_the_right_distribution(call):
    model = "--model nets:initialised --arg width=300"
    assert call(f"check init.toml {model} --seed 8")[0] == 1
    assert call(f"check init.toml {model} --seed 8 --no-bits")[0] == 0
    write("none.toml", CONFIG.replace("seed = 7\n", "") + NAMES)
    assert call(f"check none.toml {model}")[0] == 0
    code, _, err = call(f"check none.toml {model} --bits")
    assert code == 2
    assert "seed" in err


# --- reports of check -----------------------------------------------------------------------------


def test_annotations_are_at_the_line_of_the_rule(call):
    code, out, _ = call("check init.toml --model nets:make --github")
    commands = [line for line in out.splitlines() if line.startswith("::")]
    assert code == 1
    assert [each.split("::")[1] for each in commands] == [
        "error file=init.toml,line=10,title=stem/kernel",
        "error file=init.toml,line=5,title=head/kernel",
    ]
    assert call("check init.toml --model nets:initialised --github")[1].count("::") == 0


def test_annotations_of_a_presets_rule_are_where_it_is_named(call):
    write("nets.py", NETS.replace('"b": np.zeros(width', '"b": np.ones(width'))
    _, out, _ = call("check init.toml --model nets:make --github")
    assert "::error file=init.toml,line=3,title=stem/bias::" in out


def test_annotations_of_problems(call):
    write("bad.toml", CONFIG.replace("std", "sdt"))
    code, out, err = call("check bad.toml --model nets:make --github")
    assert (code, err.startswith("bad.toml:8: ")) == (2, True)
    assert out.startswith("::error file=bad.toml,line=8,title=rule[0].init.sdt::")
    write("bad.toml", CONFIG)
    code, out, _ = call("check bad.toml --model nets:make --github")
    assert code == 2
    assert all(line.startswith("::error file=bad.toml,") for line in out.splitlines())
    assert len(out.splitlines()) >= 3


def test_junit_has_a_case_for_each_logical_tensor(call):
    write("init.toml", CONFIG.replace('init = "he_normal"', 'init = "keep"') + NAMES)
    assert call("check init.toml --model nets:make --junit out.xml")[0] == 1
    root = ET.parse("out.xml").getroot()
    cases = {case.get("name"): [each.tag for each in case] for case in root.iter("testcase")}
    assert cases == {
        "bits: stem/bias": [],
        "bits: head/kernel": ["failure"],
        "kept: stem/kernel": ["skipped"],
    }
    assert root.find("testsuite").get("name") == "init.toml on numpy"
    assert root.get("failures") == "1"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--json --github", "one of the two"),
        ("--junit none/out.xml", "a folder that exists"),
        ("--junit .", "a folder that exists"),
    ],
)
def test_reports_that_cannot_be_are_refused_before_the_model_is_made(call, arguments, complaint):
    code, out, err = call(f"check init.toml --model nets:fails {arguments}")
    assert (code, out) == (2, "")
    assert complaint in err


def test_nothing_that_could_conform_does_not(call):
    write("init.toml", 'initspec = 1\nunmatched = "keep"\n' + NAMES)
    code, out, _ = call("check init.toml --model nets:make --github")
    assert code == 1
    assert "0 of 0 conform; 3 kept" in out
    assert "::error file=init.toml" in out


# --- lock, verify ---------------------------------------------------------------------------------


def test_lock_is_beside_the_config(call, answer, folder):
    (folder / "sub").mkdir()
    write("sub/my.init.toml", CONFIG + NAMES)
    code, out, _ = call("lock sub/my.init.toml --model nets:make")
    name = str(Path("sub", "my.init.lock.toml"))
    assert (code, out) == (0, f"{name}: 3 logical tensors, seed 7\n")
    import nets

    assert Path(name).read_text() == models.lock(nets.make(), "init.toml").dumps()
    found = answer("lock init.toml --model nets:make --output there.toml --seed 9")
    assert list(found) == ["output", "seed", "stream", "tensors"]
    assert (found["output"], found["seed"], len(found["tensors"])) == ("there.toml", 9, 3)
    assert Path("there.toml").exists()


def test_where_locks_are():
    assert lock_file("init.toml") == Path("init.lock.toml")
    assert lock_file("a/b.yaml") == Path("a/b.lock.toml")
    assert lock_file("initspec:gpt2") == Path("gpt2.lock.toml")


def test_a_lock_without_a_seed_is_none(call):
    write("init.toml", CONFIG.replace("seed = 7\n", "") + NAMES)
    code, out, err = call("lock init.toml --model nets:make")
    assert (code, out) == (2, "")
    assert "seed" in err
    assert not Path("init.lock.toml").exists()


def test_verify(call, answer):
    assert call("lock init.toml --model nets:make")[0] == 0
    assert call("verify init.toml --model nets:initialised")[0] == 0
    assert call("verify init.toml --model nets:make --no-weights")[0] == 0
    code, out, _ = call("verify init.toml --model nets:make")
    assert code == 1
    assert "stem/kernel: 12 of 12 values" in out
    write("init.toml", (CONFIG + NAMES).replace("0.01", "0.02"))
    code, out, _ = call("verify init.toml --model nets:make --no-weights --github")
    assert code == 1
    assert out.startswith("head/kernel: is drawn by")
    assert "::error file=init.toml,line=5,title=head/kernel::" in out
    assert answer("verify init.toml --model nets:make --no-weights", 1)["seed"] == 7


def test_the_seed_is_the_locks(call, answer):
    assert call("lock init.toml --model nets:make --seed 9 --output nine.toml")[0] == 0
    verify = "verify init.toml --model nets:make --lock nine.toml"
    assert answer(f"{verify} --no-weights")["seed"] == 9
    for seed, code in ((9, 0), (7, 1)):
        apply = f"apply init.toml --model nets:make --output w.npz --seed {seed}"
        assert call(apply)[0] == 0
        assert call(f"{verify} --weights w.npz")[0] == code


@pytest.mark.parametrize("lock", ["", "--lock nets.py", "--lock none.toml", "--lock init.toml"])
def test_what_is_no_lock(call, lock):
    code, out, err = call(f"verify init.toml --model nets:make {lock}")
    assert (code, out) == (2, "")
    assert "lock" in err


def test_weights_and_no_weights(call):
    code, _, err = call("verify init.toml --model nets:make --no-weights --weights w.npz")
    assert code == 2
    assert "one of the two" in err


# --- diff -----------------------------------------------------------------------------------------


def test_diff_of_configs(call, answer):
    write("other.toml", (CONFIG + NAMES).replace("0.01", "0.02").replace("seed = 7", "seed = 8"))
    assert call("diff init.toml init.toml")[0] == 0
    code, out, _ = call("diff init.toml other.toml")
    assert code == 1
    assert out.splitlines()[0] == "seed: 7 became 8"
    assert "0.01 became 0.02" in out
    found = answer("diff init.toml other.toml", 1)
    assert list(found) == ["same", "compared", "differences"]
    assert found["same"] is False
    assert [each["message"] for each in found["differences"]] == [
        "7 became 8",
        "0.01 became 0.02",
    ]


def test_diff_of_models(call):
    pair = "--model nets:make --with nets:initialised"
    code, out, _ = call(f"diff init.toml {pair}")
    assert code == 1
    assert "stem/kernel: 12 of 12 weights differ" in out
    assert call(f"diff init.toml {pair} --no-weights")[:2] == (0, "0 differences in 3 compared\n")
    code, out, _ = call(f"diff init.toml {pair} --no-weights --with-arg width=5")
    assert code == 1
    assert "logical shape (4, 3) became (5, 3)" in out
    assert call(f"diff init.toml {pair} --no-weights --with-arg width=5 --arg width=5")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--model nets:make",
        "--with nets:make",
        "init.toml --model nets:make --with nets:make",
        "init.toml --no-weights",
    ],
)
def test_diff_of_one_thing_or_of_three(call, arguments):
    code, out, err = call(f"diff init.toml {arguments}")
    assert (code, out) == (2, "")
    assert err.startswith("initspec diff: ")


# --- schema ---------------------------------------------------------------------------------------


def test_schema(call):
    code, out, err = call("schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["title"].startswith("initspec config")
    assert call("schema --output s.json")[0] == 0
    assert Path("s.json").read_text(encoding="utf-8") == out
    assert call("schema --output none/s.json")[0] == 2
