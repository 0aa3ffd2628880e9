"""The config: typed objects, the same tree in TOML, JSON and YAML, `extends`, lines, the schema."""

import dataclasses
import json
import pickle

import numpy as np
import processes
import pytest
from config_samples import CONFIGS
from hypothesis import given, settings

import initspec
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models.config import Config, Fused, Match, Rule, Stacked, Tensor, lines, reading
from initspec.models.config.inits import Init
from initspec.models.config.problems import At, ConfigError, PlanError, Problem, Problems
from initspec.models.config.reading import load, loads
from initspec.models.config.schema import SCHEMA, schema, schema_text
from initspec.models.config.writing import dump, dumps

FORMATS = ("toml", "json", "yaml")
TEXT = """\
#:schema initspec-1.schema.json
initspec  = 1
stream    = "v1"                  # the pinned algorithm
seed      = 20261121
unmatched = "error"

[[rule]]
name  = "embeddings"
match = { role = "embedding" }
init  = { type = "normal", std = 0.02 }

[[rule]]
name  = "residual branch outputs"
match = { path = "blocks/{i}/**/out/kernel" }
init  = { type = "truncated_normal", std = "0.02 / sqrt(2 * L)", cut = 2, compensate = true }

[[rule]]
name  = "convolutions"
match = { role = "kernel", layer = ["conv", "depthwise"], not = { path = "stem/**" } }
init  = { type = "he_normal", mode = "fan_out", nonlinearity = "relu" }

[[rule]]
name  = "everything else"
init  = "keep"

[tie]
"lm_head/kernel" = "tok/embedding"

[names.torch]
"ln.weight" = "ln/scale"
"h.{i}.attn.c_attn.weight" = { path = "h/{i}/{part}/kernel", layout = "IO", split = { axis = "out", parts = ["query", "key"] } }

[names.flax]
"params/blocks/w" = { path = "blocks/{i}/kernel", stack = { axis = 0, capture = "i" } }

[layers."package.Linear"]
weight = { path = "kernel", layout = "OI" }

[knobs]
norm_epsilon = 1e-05
"""  # noqa: E501  one statement
OBJECTS = Config(
    stream="v1",
    seed=20261121,
    unmatched="error",
    rules=[
        Rule("embeddings", role="embedding", init=initspec.normal(std=0.02)),
        Rule(
            "residual branch outputs",
            path="blocks/{i}/**/out/kernel",
            init={
                "type": "truncated_normal",
                "std": "0.02 / sqrt(2 * L)",
                "cut": 2,
                "compensate": True,
            },
        ),
        Rule(
            "convolutions",
            match=Match(role="kernel", layer=["conv", "depthwise"], exclude=Match(path="stem/**")),
            init=Init("he_normal", {"mode": "fan_out", "nonlinearity": "relu"}),
        ),
        Rule("everything else", init="keep"),
    ],
    tie={"lm_head/kernel": "tok/embedding"},
    names={
        "torch": {
            "ln.weight": "ln/scale",
            "h.{i}.attn.c_attn.weight": Tensor(
                path="h/{i}/{part}/kernel",
                layout="IO",
                split=Fused(axis="out", parts=["query", "key"]),
            ),
        },
        "flax": {
            "params/blocks/w": Tensor(path="blocks/{i}/kernel", stack=Stacked(axis=0, capture="i"))
        },
    },
    layers={"package.Linear": {"weight": Tensor(path="kernel", layout="OI")}},
    knobs={"norm_epsilon": 1e-5},
)


def problems_of(make):
    with pytest.raises(ConfigError) as caught:
        make()
    return [str(problem) for problem in caught.value.problems]


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


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.toml", "a.json", "a.yaml", "a.yml", "A.TOML"])
def test_files_of_every_format(tmp_path, name):
    path = tmp_path / name
    dump(OBJECTS, path)
    assert load(path) == OBJECTS == load(str(path))
    assert load(path).source == str(path)


def test_a_failing_dump_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.toml"
    dump(Config(seed=1), path)
    with pytest.raises(InitspecValueError, match=r"\.toml, \.json"):
        dump(OBJECTS, tmp_path / "a.ini")
    with pytest.raises(InitspecTypeError, match="a Config"):
        dump({"initspec": 1}, path)
    with pytest.raises(InitspecValueError, match="can be written"):
        dump(OBJECTS, tmp_path / "no" / "a.toml")
    assert load(path) == Config(seed=1)
    assert [each.name for each in tmp_path.iterdir()] == ["a.toml"]


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b"initspec = 1\n\n# \xe9\n")
    missing, folder, latin = (str(tmp_path / f"{name}.toml") for name in ("no", "folder", "latin"))
    advice = "No such file or directory."
    expected = f"a file that can be read. {advice}"
    assert problems_of(lambda: load(missing)) == [
        f"{missing}: config: got {missing!r}; expected {expected}"
    ]
    assert "a file that can be read" in problems_of(lambda: load(folder))[0]
    assert problems_of(lambda: load(latin)) == [
        f"{latin}:3: text: got b'\\xe9'; expected text in UTF-8. Save the file as UTF-8."
    ]
    assert "ends in one of .toml" in problems_of(lambda: load("init.ini"))[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: load(3), "the path of a config"),
        (lambda: loads(b"initspec = 1"), "the text of a config"),
        (lambda: loads("", "tml"), "Did you mean 'toml'?"),
        (lambda: dumps(Config(), "jsn"), "Did you mean 'json'?"),
        (lambda: dumps({"initspec": 1}), "a Config"),
    ],
)
def test_wrong_calls(call, words):
    with pytest.raises(InitspecError, match=words.replace("?", r"\?")):
        call()


def test_without_pyyaml_the_error_says_how_to_get_it():
    code = """
import sys
sys.modules["yaml"] = None
from initspec.models import Config
from initspec.models.config.reading import loads
from initspec.models.config.writing import dumps
for call in (lambda: loads("initspec: 1", "yaml"), lambda: dumps(Config(), "yaml")):
    try:
        call()
    except ValueError as error:
        print(error)
"""
    done = processes.python("-c", code)
    assert done.stdout.count("pip install 'initspec[yaml]'") == 2, done.stderr
    assert done.stdout.count("PyYAML") == 2


# --- extends ------------------------------------------------------------------------------------


@pytest.fixture
def family(tmp_path):
    """Own config, two parents, and a grandparent that both extend."""

    def write(name, text):
        (tmp_path / name).write_text(f"initspec = 1\n{text}")

    def rule(name, kind):
        return f'[[rule]]\nname = "{name}"\nmatch = {{ layer = "{kind}" }}\ninit = "zeros"\n'

    write(
        "own.toml",
        'extends = ["left.toml", "sub/../right.toml"]\nvars = { a = 1 }\n'
        + rule("mine", "conv")
        + '[names.torch]\na = "own/a"\n',
    )
    write(
        "left.toml",
        'seed = 5\nextends = "top.toml"\nvars = { a = 2, b = 2 }\n'
        + rule("mine", "lstm")
        + '[names.torch]\na = "left/a"\nb = "left/b"\n[names.flax]\na = "left/a"\n',
    )
    write(
        "right.toml",
        'seed = 6\nextends = ["top.toml"]\nunmatched = "warn"\nvars = { b = 3, c = 3 }\n'
        + rule("mine", "gru")
        + '[tie]\na = "b"\n[layers."p.C"]\nw = { path = "kernel", layout = "OI" }\n',
    )
    write(
        "top.toml",
        'unmatched = "keep"\nvars = { d = 4 }\n' + rule("top", "rnn") + "[knobs]\nnorm_epsilon = 1",
    )
    (tmp_path / "sub").mkdir()
    return tmp_path


def test_own_values_go_before_inherited_ones(family):
    flat = load(family / "own.toml").resolved()
    assert (flat.seed, flat.unmatched, flat.stream, flat.extends) == (5, "warn", "v1", ())
    assert flat.vars == {"a": 1, "b": 2, "c": 3, "d": 4}
    torch = {"a": Tensor(path="own/a"), "b": Tensor(path="left/b")}
    assert flat.names == {"torch": torch, "flax": {"a": Tensor(path="left/a")}}
    assert flat.tie == {"a": "b"}
    assert flat.knobs == {"norm_epsilon": 1}
    assert list(flat.layers) == ["p.C"]


def test_rules_come_in_order_once_and_under_names_of_their_own(family):
    flat = load(family / "own.toml").resolved()
    left, right = family / "left.toml", family / "sub/../right.toml"
    assert [rule.name for rule in flat.rules] == [
        "mine",
        f"mine ({left})",
        f"mine ({right})",
        "top",
    ]
    assert [rule.match.layer[0] for rule in flat.rules] == ["conv", "lstm", "gru", "rnn"]
    assert not any(rule.optional for rule in flat.rules)


def test_what_is_inherited_knows_where_it_stands(family):
    flat = load(family / "own.toml").resolved()
    assert flat.place("names", "torch", "a") == (str(family / "own.toml"), 9)
    assert flat.place("names", "torch", "b", "path") == (str(family / "left.toml"), 11)
    for number, rule in enumerate(flat.rules):
        assert flat.place("rule", number) == (rule.source, rule.line)


def test_a_resolved_config_is_a_config(family):
    flat = load(family / "own.toml").resolved()
    for form in FORMATS:
        assert loads(dumps(flat, form), form) == flat
    assert flat.resolved() == flat


def test_formulas_see_inherited_variables(family):
    text = 'initspec = 1\nextends = "own.toml"\n[[rule]]\nname = "x"\n'
    text += 'init = { type = "normal", std = "a + d" }\n'
    source = str(family / "more.toml")
    assert loads(text, source=source).resolved().vars["d"] == 4
    assert "std: got 'e'" in problems_of(lambda: loads(text.replace('d"', 'e"'), source=source))[0]


def test_a_circle_is_told_where_it_closes(family):
    top = family / "top.toml"
    top.write_text('initspec = 1\n\nextends = "own.toml"\n')
    found = problems_of(lambda: load(family / "own.toml"))
    way = "own.toml -> left.toml -> top.toml -> own.toml"
    assert any(line.startswith(f"{top}:3: extends: ") and line.endswith(way) for line in found)
    top.write_text('initspec = 1\nextends = ["top.toml"]\n')
    (line,) = problems_of(lambda: load(top))
    assert line.startswith(f"{top}:2: extends[0]: got 'top.toml'; expected no config that extends")


def test_problems_of_all_files_are_told_at_once(family):
    (family / "left.toml").write_text("initspec = 1\nseed = -1\nextends = 'initspec:no'\n")
    (family / "right.toml").write_text("initspec = \n")
    found = problems_of(lambda: load(family / "own.toml"))
    places = [line.split(": ")[0].rpartition("/")[2] for line in found]
    assert places == ["left.toml:2", "left.toml:3", "right.toml:1"]


@pytest.fixture
def presets(tmp_path, monkeypatch):
    folder = tmp_path / "presets"
    folder.mkdir()
    rule = '[[rule]]\nname = "biases"\nmatch = { role = "bias" }\ninit = "zeros"\n'
    (folder / "mine.toml").write_text(f"initspec = 1\n{rule}")
    (folder / "more.toml").write_text('initspec = 1\nextends = ["initspec:mine"]\nseed = 3\n')
    monkeypatch.setattr(reading, "PRESETS", folder)
    return folder


def test_rules_of_presets_may_decide_nothing(presets):
    config = Config(extends=["initspec:more"], rules=[Rule("biases", role="bias", init="ones")])
    own, inherited = config.resolved().rules
    assert (own.optional, inherited.optional) == (False, True)
    assert inherited.name == "biases (initspec:mine)"
    assert (inherited.source, inherited.line) == ("initspec:mine", 2)
    assert config.resolved().seed == 3
    assert load("initspec:more").resolved().rules[0].source == "initspec:mine"


def test_no_presets_behind_a_rule_for_everything(presets):
    config = Config(extends="initspec:mine", rules=[Rule("all", init="ones")])
    flat = config.resolved()
    assert [rule.name for rule in flat.rules] == ["all"]
    assert loads(dumps(flat)) == flat


def test_an_unknown_preset_gets_the_closest_name(presets):
    found = problems_of(lambda: Config(extends=["initspec:mine", "initspec:moer"]))
    expected = "one of the presets initspec:mine, initspec:more. Did you mean 'initspec:more'?"
    assert found == [f"extends[1]: got 'initspec:moer'; expected {expected}"]
    assert problems_of(lambda: load("initspec:../mine"))


def test_every_preset_that_is_shipped_can_be_read():
    for name in reading.preset_names():
        config = load(name)
        assert config.seed is None
        for form in FORMATS:
            assert loads(dumps(config.resolved(), form), form) == config.resolved()


# --- the schema ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.Draft4Validator.check_schema(schema())
    return jsonschema.Draft7Validator(schema())


def test_the_schema_that_is_shipped_is_fresh():
    command = f"python -m initspec.models.config.schema > {SCHEMA.name}"
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), command


@given(config=CONFIGS)
@settings(max_examples=25, deadline=None)
def test_the_schema_accepts_what_is_read(validator, config):
    validator.validate(config.to_dict())


def test_the_schema_accepts_files_of_ours(validator):
    validator.validate(OBJECTS.to_dict())
    validator.validate({"$schema": "x.json", "initspec": 1})
    for name in reading.preset_names():
        validator.validate(load(name).to_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"initspec": 2},
        {"initspec": None},
        {"sede": 1},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": True},
        {"stream": "v2"},
        {"unmatched": "eror"},
        {"vars": {"a": "b"}},
        {"knobs": {"norm_epsilom": 1}},
        {"tie": {"a": 1}},
        {"names": {"torch": {"a": 1}}},
        {"names": {"torch": {"a": {"pth": "b"}}}},
        {"names": {"torch": {"a": {"split": {"axis": "output", "parts": ["a"]}}}}},
        {"layers": {"a.B": {"w": []}}},
        {"rule": []},
        {"rule": [{"name": "a"}]},
        {"rule": [{"name": "a", "init": "he_norml"}]},
        {"rule": [{"name": "a", "init": {"std": 1}}]},
        {"rule": [{"name": "a", "init": {"type": "constant", "std": 1}}]},
        {"rule": [{"name": "a", "init": {"type": "normal", "std": True}}]},
        {"rule": [{"name": "a", "init": {"type": "keep", "std": 1}}]},
        {"rule": [{"name": "a", "init": "zeros", "match": {"role": "kernal"}}]},
        {"rule": [{"name": "a", "init": "zeros", "match": {"not": {"rol": "kernel"}}}]},
    ],
)
def test_the_schema_refuses_what_is_not_read(validator, change):
    tree = {"initspec": 1, **change}
    tree = {key: value for key, value in tree.items() if value is not None}
    assert not validator.is_valid(tree)
    assert problems_of(lambda: Config.from_dict(tree))


def test_the_schema_has_only_what_draft_4_has():
    later = {"const", "contains", "propertyNames", "if", "then", "else", "examples", "$defs"}
    later |= {"prefixItems", "exclusiveMinimum", "exclusiveMaximum", "$id"}

    def keywords(tree):
        if isinstance(tree, dict):
            yield from (key for key in tree if tree.get("properties") is not tree)
            for key, value in tree.items():
                inner = value.values() if key in ("properties", "definitions") else [value]
                for each in inner:
                    yield from keywords(each)
        elif isinstance(tree, list):
            for each in tree:
                yield from keywords(each)

    assert later.isdisjoint(keywords(schema()))


def test_editors_get_a_text_for_every_type_and_key():
    (names, *tables) = schema()["definitions"]["Init"]["anyOf"]
    assert len(names["enum"]) == len(names["enumDescriptions"]) > 60
    assert names["x-taplo"]["docs"]["enumValues"] == names["enumDescriptions"]
    assert sorted(
        name for table in tables for name in table["properties"]["type"]["enum"]
    ) == sorted(names["enum"])
    for form in [schema(), *schema()["definitions"].values(), *tables]:
        for name, described in form.get("properties", {}).items():
            assert name == "$schema" or described["description"], name


# --- what it costs ------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_for_a_toml_file():
    code = """
import sys
import initspec.models.config
from initspec.models.config.reading import loads
from initspec.models.config.writing import dumps
dumps(loads("initspec = 1"))
print({"yaml", "tomlkit", "jsonschema", "scipy", "torch"} & set(sys.modules))
"""
    done = processes.python("-c", code)
    assert done.stdout.strip() == "set()", done.stderr
