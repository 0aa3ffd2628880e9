"""The command that proposes names, and what it tells of: who is matched, and what cannot be."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest

from initspec.errors import InitspecError
from initspec.models import loads
from initspec.models.mapping import propose
from initspec.models.mapping.matching import Leaf, match

torch = pytest.importorskip("torch")

nn = torch.nn
pytestmark = pytest.mark.usefixtures("one_thread")


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def nets(monkeypatch):
    module = ModuleType("mapping_nets")
    module.left = lambda: nn.Linear(4, 3)
    module.right = lambda width=3: nn.ModuleDict({"fc": nn.Linear(4, width)})
    module.table = {"t": np.zeros((4, 4), "float32")}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return [f"mapping_nets:{name}" for name in ("left", "right")]


@pytest.fixture
def call(capsys):
    from initspec.cli import main

    def run(*words):
        try:
            code = main(["map", *words])
        except SystemExit as exit:
            code = exit.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_command_prints_toml(call, nets):
    expected = 'initspec = 1\n\n[names.torch]\n"fc/{rest**}" = "{rest}"\n'
    code, out, err = call(*nets)
    assert (code, out) == (0, expected)
    assert err == "# 2 tensors matched, 0 only left, 0 only right\n"


def test_command_writes_a_file(call, nets, tmp_path):
    path = tmp_path / "names.toml"
    code, out, _ = call(*nets, "--output", str(path))
    assert (code, out) == (0, "")
    assert loads(path.read_text()).names["torch"]["fc/{rest**}"].path == "{rest}"


def test_command_extends_a_config(call, nets, tmp_path):
    path = tmp_path / "init.toml"
    path.write_text('initspec = 1\n[names.torch]\n"fc/kernel" = "kernel"\n"fc/bias" = "bias"\n')
    assert call(*nets, "--config", str(path))[:2] == (0, "initspec = 1\n")


def test_command_tells_what_is_unmatched(call, nets):
    code, out, err = call(*nets, "--right-arg", "width=5", "--json")
    tree = json.loads(out)
    assert code == 1
    assert tree["left_only"] == ["kernel", "bias"]
    assert tree["right_only"] == ["fc/kernel", "fc/bias"]
    assert not tree["complete"]
    assert all(line.startswith("# ") for line in err.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("{0}",),
        ("{0}", "{1}", "{1}"),
        ("{0}", "nowhere:f"),
        ("{0}", "{1}", "--output", "names.txt"),
        ("{0}", "{1}", "--output", "no/where.toml"),
        ("{0}", "{1}", "--config", "missing.toml"),
    ],
)
def test_command_refuses(call, nets, words):
    code, out, err = call(*(word.format(*nets) for word in words))
    assert (code, out) == (2, "")
    assert err.startswith(("initspec map: ", "missing.toml: ", "usage: "))


# --- what has no partner --------------------------------------------------------------------------


def test_layer_without_its_bias():
    left = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(3, 2, bias=False)})
    right = nn.ModuleDict({"x": nn.Linear(4, 3), "y": nn.Linear(3, 2)})
    found = propose(left, right)
    assert dict(found.pairs) == {"x/kernel": "a/kernel", "x/bias": "a/bias", "y/kernel": "b/kernel"}
    assert (found.left_only, found.right_only) == ((), ("y/bias",))


def test_unknown_layouts_are_told():
    class Free(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(4, 4))
            self.head = nn.Linear(4, 2)

    found = propose(nn.ModuleDict({"head": nn.Linear(4, 2)}), Free())
    assert found.right_only == found.unknown == ("table",)
    assert "layout" in str(found)


def test_lazy_model():
    with pytest.raises(InitspecError, match="weight"):
        propose(nn.Linear(2, 2), nn.LazyLinear(2))


# --- matching -----------------------------------------------------------------------------------


def leaves(*paths, sizes=(1, 2, 3)):
    return [Leaf(tuple(p.split("/")), "kernel", "dense", sizes, i) for i, p in enumerate(paths)]


def matched(left, right):
    pairs = match(leaves(*left), leaves(*right)).pairs
    return {"/".join(b.path): "/".join(a.path) for a, b in pairs}


def test_nesting_does_not_matter():
    found = matched(["a/0/w", "a/1/w", "b/0/w"], ["a_0/w", "a_1/w", "b_0/w"])
    assert found == {"a_0/w": "a/0/w", "a_1/w": "a/1/w", "b_0/w": "b/0/w"}


def test_kinds_of_layers_go_first():
    left = [
        Leaf(("x", "w"), "kernel", "dense", (1, 2, 3), 0),
        Leaf(("y", "w"), "kernel", "conv", (1, 2, 3), 1),
    ]
    right = [
        Leaf(("a", "w"), "kernel", "conv", (1, 2, 3), 0),
        Leaf(("b", "w"), "kernel", "dense", (1, 2, 3), 1),
    ]
    found = match(left, right)
    assert {(a.path[0], b.path[0]) for a, b in found.pairs} == {("x", "b"), ("y", "a")}
    assert not found.ambiguous


def test_another_kind_of_layer_will_do():
    left = Leaf(("x", "w"), "kernel", "attention", (1, 2, 3), 0)
    right = Leaf(("a", "w"), "kernel", "dense", (1, 2, 3), 0)
    assert match([left], [right]).pairs == [(left, right)]


def test_numbers_are_no_words():
    found = matched(["0/w", "1/w", "2/w"], ["b_1/w", "b_10/w", "b_2/w"])
    assert found == {"b_1/w": "0/w", "b_2/w": "1/w", "b_10/w": "2/w"}


def test_the_best_pair_does_not_spoil_the_rest():
    found = matched(["in_out/w", "out/w"], ["in/w", "inner_out/w"])
    assert found == {"in/w": "in_out/w", "inner_out/w": "out/w"}
    found = matched(["in_out/w", "out/w"], ["in/w", "in_out/w"])  # but equal names are equal
    assert found == {"in/w": "out/w", "in_out/w": "in_out/w"}


def test_one_path_may_begin_another():
    assert matched(["a", "a/b"], ["x", "x/y"]) == {"x": "a", "x/y": "a/b"}


def test_nothing_matches_nothing():
    found = match([], leaves("a"))
    assert (found.pairs, found.left_only, len(found.right_only)) == ([], [], 1)
