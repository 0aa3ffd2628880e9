"""What is wrong with a config is told with line, value, rule and advice; all of it at once."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed_configs import JSON, TOML, YAML

from initspec.models.config import Config
from initspec.models.config.problems import ConfigError
from initspec.models.config.reading import loads
from initspec.models.config.writing import dumps

CASES = [
    pytest.param(text, form, expected, id=f"{form}: {title}")
    for form, table in (("toml", TOML), ("json", JSON), ("yaml", YAML))
    for title, (text, expected) in table.items()
]


@pytest.mark.parametrize(("text", "form", "expected"), CASES)
def test_every_problem_has_its_line_and_its_words(text, form, expected):
    if form == "yaml":
        pytest.importorskip("yaml")
    with pytest.raises(ConfigError) as caught:
        loads(text, form, source="init.conf")
    found = str(caught.value).split("\n")
    assert len(found) == len(expected) == len(caught.value.problems), found
    for line, (number, words) in zip(found, expected, strict=True):
        assert line.startswith(f"init.conf:{number}: "), line
        assert words in line


def test_there_are_enough_of_them():
    assert len(CASES) >= 40
    assert sum(len(case.values[2]) > 1 for case in CASES) >= 8


# --- anything at all ----------------------------------------------------------------------------

TREE = loads("""\
initspec = 1
seed = 5
extends = ["initspec:base"]
vars = { depth = 12 }
[[rule]]
name = "a"
match = { path = ["x/{i}/**", "y/{i}"], role = "kernel", not = { layer = "lstm" } }
init = { type = "truncated_normal", std = "1 / sqrt(depth * L)", cut = 2, compensate = true }
[[rule]]
name = "b"
init = "zeros"
[tie]
"head/{i}" = "tok/{i}"
[names.torch]
"h.{i}.w" = { path = "{i}/{part}/bias", layout = "O", split = { axis = 0, parts = ["q", "k"] } }
w = { path = "c/{k}/bias", stack = { axis = 0, capture = "k" } }
[layers."a.B"]
w = { path = "kernel", layout = "OIW", groups = 2, stride = [2], sizes = { W = 3 }, flip = true }
[knobs]
norm_epsilon = 1e-5
""").to_dict()
JUNK = [
    None,
    True,
    -1,
    0,
    2**64,
    10**400,
    0.5,
    math.nan,
    -math.inf,
    "",
    "x",
    "{i}",
    "{",
    "**",
    "a/",
]
JUNK += ["re:(", "1 / 0", "L", "\n", "\ud800", [], [[]], ["x", "x"], [None], {}, {"x": 1}, {"": {}}]
JUNK += [{"type": []}, {"type": "normal", "std": {}}, {1: 2}, b"x", 1j, object()]


def ways(tree, way=()):
    """The ways to all values of a tree."""
    if isinstance(tree, (dict, list)):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield (*way, key)
            yield from ways(tree[key], (*way, key))


def changed(tree, way, value):
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[way[0]] = value if len(way) == 1 else changed(tree[way[0]], way[1:], value)
    return copy


def outcome(read, *arguments):
    """The config, or the text of the error that it deserves; any other error is one of ours."""
    try:
        return read(*arguments)
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("way", list(ways(TREE)), ids=lambda way: ".".join(map(str, way)))
def test_no_value_anywhere_breaks_the_reader(way):
    for junk in JUNK:
        found = outcome(Config.from_dict, changed(TREE, way, junk))
        for form in ("toml", "json") if isinstance(found, Config) else ():  # it makes sense there
            assert loads(dumps(found, form), form) == found
    assert outcome(Config.from_dict, changed(TREE, way, object())).count(": got <object object at")


@pytest.mark.parametrize("form", ["toml", "json", "yaml"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_slip_of_the_pen_breaks_the_reader(form, data):
    text = dumps(Config.from_dict(TREE), form)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    typed = data.draw(st.text(alphabet="\n\t []{}\"'=:,.#&*-1a\\\x00é", max_size=3))
    assert outcome(loads, text[:start] + typed + text[end:], form)
