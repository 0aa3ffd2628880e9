"""Globs over paths: what matches, what is captured, what is refused."""

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initspec import InitspecTypeError, InitspecValueError
from initspec.models.config.globs import Glob

MATCHES = [
    ("kernel", "kernel", {}),
    ("**", "a", {}),
    ("**", "a/b/c", {}),
    ("**/kernel", "kernel", {}),
    ("**/kernel", "a/b/kernel", {}),
    ("a/**", "a", {}),
    ("a/**", "a/b/c", {}),
    ("a/**/b", "a/b", {}),
    ("a/**/b", "a/x/y/b", {}),
    ("*/kernel", "a/kernel", {}),
    ("layer*/kernel", "layer12/kernel", {}),
    ("blocks/{i}/**/kernel", "blocks/3/attn/out/kernel", {"i": "3"}),
    ("h_{i}/{rest**}", "h_3/a/b", {"i": "3", "rest": "a/b"}),
    ("{a}/{a}", "x/x", {"a": "x"}),
    ("{aa}/{a}", "x/y", {"aa": "x", "a": "y"}),
    ("{side}_{i}/kernel", "left_2/kernel", {"side": "left", "i": "2"}),
    ("re:(?P<z>.*)/k", "a/b/k", {"z": "a/b"}),
    ("a.b", "a.b", {}),
    ("w(1)+", "w(1)+", {}),
]
MISSES = [
    ("kernel", "a/kernel"),
    ("kernel", "kernels"),
    ("*/kernel", "a/b/kernel"),
    ("*/kernel", "kernel"),
    ("a/**/b", "a/xb"),
    ("a/**", "ab"),
    ("{a}/{a}", "x/y"),
    ("blocks/{i}/kernel", "blocks/1/2/kernel"),
    ("a.b", "axb"),
    ("re:a", "ab"),
]
BAD = {
    "": "a glob such as",
    "a//b": "empty component",
    "/a": "empty component",
    "a/": "empty component",
    "a**/b": "'**' as a whole component",
    "{1}/b": "a name in braces",
    "{a": "a name in braces",
    "a}": "a name in braces",
    "re:(": "a regular expression",
}


@pytest.mark.parametrize(("glob", "path", "captures"), MATCHES)
def test_matches(glob, path, captures):
    assert Glob.parse(glob).match(path) == captures


@pytest.mark.parametrize(("glob", "path"), MISSES)
def test_misses(glob, path):
    assert Glob.parse(glob).match(path) is None


@pytest.mark.parametrize("glob", BAD)
def test_refused(glob):
    with pytest.raises(InitspecValueError, match=re.escape(BAD[glob])):
        Glob.parse(glob)


def test_only_text_is_a_glob():
    with pytest.raises(InitspecTypeError, match="a glob such as"):
        Glob.parse(3)


def test_templates_are_filled():
    assert Glob.fill("b/{i}/{rest}", {"i": "3", "rest": "x/y"}) == "b/3/x/y"
    with pytest.raises(InitspecValueError, match=r"captures of the left side: \['i'\]"):
        Glob.fill("b/{j}", {"i": "3"})


NAMES = st.text("ab1_", min_size=1, max_size=3)
COMPONENTS = st.one_of(NAMES, st.just("*"), st.just("**"), NAMES.map(lambda n: f"{n}*"))


def _by_pathlib(pattern, path):
    """As pathlib of Python 3.13 has it: by hand, component by component."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_by_pathlib(pattern[1:], path[n:]) for n in range(len(path) + 1))
    if not path or not PurePosixPath(path[0]).match(pattern[0]):
        return False
    return _by_pathlib(pattern[1:], path[1:])


@given(st.lists(COMPONENTS, min_size=1, max_size=4), st.lists(NAMES, min_size=1, max_size=5))
def test_it_means_what_pathlib_means(pattern, path):
    found = Glob.parse("/".join(pattern)).match("/".join(path))
    assert (found is not None) == _by_pathlib(pattern, path)
