"""Config files: reading and writing them, `extends`, the schema, what an import costs."""

import processes
import pytest
from config_samples import CONFIGS, FORMATS, OBJECTS, problems_of
from hypothesis import given, settings

from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.models.config import Config, Rule, Tensor, reading
from initspec.models.config.reading import load, loads
from initspec.models.config.schema import SCHEMA, schema, schema_text
from initspec.models.config.writing import dump, dumps

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
