"""The config: typed objects, the same tree in TOML, JSON and YAML, problems, lines."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
from config_samples import CONFIGS, FORMATS, OBJECTS, TEXT, problems_of
from hypothesis import given, settings

import initspec
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.models.config import Config, Match, Rule, Tensor, lines
from initspec.models.config.inits import Init
from initspec.models.config.problems import At, ConfigError, PlanError, Problem, Problems
from initspec.models.config.reading import load, loads
from initspec.models.config.writing import dumps

# --- one tree in four forms ---------------------------------------------------------------------


def test_a_file_and_typed_objects_are_equal():
    assert loads(TEXT) == OBJECTS
    assert Config.from_dict(OBJECTS.to_dict()) == OBJECTS


def test_every_part_of_it_counts():
    tree = OBJECTS.to_dict()
    for key in list(tree)[1:]:
        assert Config.from_dict({k: v for k, v in tree.items() if k != key}) != OBJECTS, key


@pytest.mark.parametrize("form", FORMATS)
@given(config=CONFIGS)
@settings(max_examples=25, deadline=None)
def test_nothing_is_lost(form, config):
    text = dumps(config, form)
    assert loads(text, form) == config
    assert dumps(loads(text, form), form) == text


def test_toml_is_written_as_a_person_would():
    body = TEXT.partition("\n")[2].replace("                  # the pinned algorithm", "")
    wanted = "\n".join(
        " ".join(line.split()) if not line.startswith('"h') else line for line in body.split("\n")
    )
    assert dumps(OBJECTS) == wanted


def test_keys_come_in_the_order_of_the_format_and_without_defaults():
    config = Config(knobs={"norm_epsilon": 1e-5}, seed=0, unmatched="keep")
    assert list(config.to_dict()) == ["initspec", "seed", "unmatched", "knobs"]
    rule = Rule("a", init="zeros", match=Match(layer="conv", path="a"))
    assert rule.to_dict() == {
        "name": "a",
        "match": {"path": "a", "layer": "conv"},
        "init": "zeros",
    }


def test_yaml_has_numbers_as_in_version_1_2():
    tree = loads("initspec: 1\nvars:\n  a: 1e-5\n  b: 010\n  c: +.5\n", "yaml").vars
    assert tree == {"a": 1e-5, "b": 10, "c": 0.5}


def test_yaml_is_the_same_to_readers_of_version_1_1():
    yaml = pytest.importorskip("yaml")
    rules = [Rule(name, init="zeros", path="a") for name in ("no", "2026-11-22", "1:30", "0o7")]
    config = Config(rules=rules, vars={"a": 1e-05, "b": 1e20})
    assert yaml.safe_load(dumps(config, "yaml")) == config.to_dict()


def test_a_json_file_may_name_its_schema():
    assert loads('{"$schema": "x.json", "initspec": 1}', "json") == Config()


def test_a_byte_order_mark_and_carriage_returns_are_no_problem(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load(path) == OBJECTS
    assert load(path).place("knobs", "norm_epsilon") == (str(path), TEXT.count("\n"))


# --- typed objects ------------------------------------------------------------------------------


def test_rules_are_short_or_with_a_match():
    short = Rule("a", path="x", role=["bias"], layer="conv", exclude=Match(path="y"), init="zeros")
    match = Match(path=("x",), role="bias", layer=("conv",), exclude=Match(path="y"))
    assert short == Rule("a", match=match, init="zeros")
    with pytest.raises(InitspecTypeError, match="either match or role"):
        Rule("a", match=Match(path="x"), role="bias", init="zeros")


def test_an_initializer_is_its_distribution_and_fields():
    rule = Rule("a", init=initspec.truncated_normal(std=np.float32(0.5)))
    assert rule.init == Init("truncated_normal", {"std": 0.5, "low": -2.0, "high": 2.0})
    numbers = {"type": "normal", "std": np.float32(0.5), "mean": np.int64(2)}
    for form in FORMATS:
        config = Config(rules=[Rule("a", init=numbers)])
        assert loads(dumps(config, form), form) == config


def test_objects_are_values():
    rule = Rule("a", role="bias", init={"type": "normal", "std": 1.0})
    assert hash(rule) == hash(Rule("a", role=["bias"], init=initspec.normal()))
    assert dataclasses.replace(OBJECTS, seed=3).seed == 3
    assert pickle.loads(pickle.dumps(OBJECTS)) == OBJECTS
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.name = "b"


def test_where_a_rule_stands_is_no_part_of_it():
    rule = loads(TEXT, source="a.toml").rules[1]
    assert (rule.source, rule.line) == ("a.toml", 12)
    assert rule == dataclasses.replace(rule, source="b.toml", line=1)


def test_plain_trees_may_stand_for_objects():
    tree = OBJECTS.to_dict()
    parts = {name: tree[name] for name in ("seed", "tie", "names", "layers", "knobs", "stream")}
    assert Config(rules=tree["rule"], unmatched="error", **parts) == OBJECTS


def test_objects_are_checked_as_files_are():
    rules = [Rule("a", role="kernal", init="zero"), {"name": "b"}, 3]
    found = problems_of(lambda: Config(seed=-1, rules=rules, names=[], initspec=True))
    assert [line.split(":")[0] for line in found] == [
        "initspec",
        "seed",
        "rule[0].match.role",
        "rule[0].init",
        "rule[1].init",
        "rule[2]",
        "names",
    ]
    assert problems_of(lambda: dataclasses.replace(OBJECTS, seed=-1))[0].startswith("seed: got -1")


@pytest.mark.parametrize("wrong", [None, 3, "text", [], {"initspec": 1, 2: 3}, {"initspec": 1j}])
def test_any_tree_is_read_or_refused(wrong):
    assert problems_of(lambda: Config.from_dict(wrong))


def test_a_role_may_be_in_the_path():
    assert Tensor(path="a/{i}/bias").named_role == "bias"
    assert Tensor(path="bias", role="offset").named_role == "offset"
    assert Tensor(path="a/proj").named_role is None


# --- problems -----------------------------------------------------------------------------------


def test_all_problems_are_one_error():
    with pytest.raises(ConfigError) as caught:
        loads("initspec = 2\nseed = -1\nsteam = 3\n", source="a.toml")
    error = caught.value
    assert isinstance(error, InitspecValueError)
    assert str(error).count("\n") == 2
    assert [problem.line for problem in error.problems] == [1, 2, 3]
    assert (error.where, error.given, error.expected) == ("initspec", 2, "1")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_problems_come_in_the_order_of_the_file_and_once():
    problems = Problems()
    at = At(problems, {("b",): ("f", 1), ("a",): ("f", 2), ("c",): ("e", 1)})
    for key in ("a", "b", "a", "c"):
        (at / key / "x").problem(0, "1")
    with pytest.raises(PlanError) as caught:
        problems.raise_as(PlanError)
    assert [problem.path for problem in caught.value.problems] == ["b.x", "a.x", "c.x"]
    Problems().raise_as(PlanError)


def test_a_problem_without_a_file_has_no_place():
    assert str(Problem("a", 1, "2")) == "a: got 1; expected 2"
    assert str(Problem("a", 1, "2", "Do.", "f")) == "f: a: got 1; expected 2. Do."


# --- lines --------------------------------------------------------------------------------------


def test_every_key_of_a_toml_file_has_its_line():
    text = """\
a = 1
b.c = [
  1, # a ] in a remark
  { d = 2 },
]
e = '''
[f]
g = 1
'''
[[h]]
i = 1
[h.j]
k = 1
[[h]]
[[h.l]]
[[h.l]]
m = { "n o" = 1 }
[p.q]
"r.s" = "#"
"""
    tree, found = lines.parse(text, "toml", "", Problems())
    assert found == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 2,
        ("b", "c", 0): 2,
        ("b", "c", 1): 2,
        ("b", "c", 1, "d"): 2,
        ("e",): 6,
        ("h",): 10,
        ("h", 0): 10,
        ("h", 0, "i"): 11,
        ("h", 0, "j"): 12,
        ("h", 0, "j", "k"): 13,
        ("h", 1): 14,
        ("h", 1, "l"): 15,
        ("h", 1, "l", 0): 15,
        ("h", 1, "l", 1): 16,
        ("h", 1, "l", 1, "m"): 17,
        ("h", 1, "l", 1, "m", "n o"): 17,
        ("p",): 18,
        ("p", "q"): 18,
        ("p", "q", "r.s"): 19,
    }
    assert tree["h"][1]["l"][1]["m"] == {"n o": 1}


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_every_key_of_the_other_formats_has_its_line(form):
    text = '{\n"a": [1,\n{"b":\n"\\n\\" } ]"}, [],\n{}\n],\n"c": {},\n\n"d": -1.5}'
    tree, found = lines.parse(text, form, "", Problems())
    assert tree == json.loads(text)
    assert found == {
        (): 1,
        ("a",): 2,
        ("a", 0): 2,
        ("a", 1): 3,
        ("a", 1, "b"): 3,
        ("a", 2): 4,
        ("a", 3): 5,
        ("c",): 7,
        ("d",): 9,
    }


@pytest.mark.parametrize("form", FORMATS)
@given(config=CONFIGS)
@settings(max_examples=15, deadline=None)
def test_every_key_has_a_line_that_names_it(form, config):
    text = dumps(config, form)
    _, found = lines.parse(text, form, "", Problems())
    every = text.split("\n")
    for keys, line in found.items():
        name = keys[-1] if keys else ""
        if form == "toml" and isinstance(name, str):
            assert json.dumps(name, ensure_ascii=False).strip('"') in every[line - 1]
        assert 1 <= line <= len(every)
