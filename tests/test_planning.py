"""Plans: rules, names, ties and problems, on trees of NumPy arrays (no framework needed)."""

import math
import re

import numpy as np
import pytest

import initspec
from initspec.models import Config, Init, Match, PlanError, Rule, Tensor, plan
from initspec.models.config import Fused, Stacked

BLOCKS = 3
NAMES = {
    "emb": Tensor(path="tok/embedding", layout="VI"),
    "b{i}/qkv": Tensor(
        path="blocks/{i}/attn/{part}/kernel",
        layout="IO",
        layer="attention",
        split=Fused(axis="out", parts=["query", "key", "value"]),
    ),
    "b{i}/out": Tensor(path="blocks/{i}/attn/out/kernel", layout="IO", layer="attention"),
    "b{i}/bias": Tensor(path="blocks/{i}/attn/out/bias", layout="O", layer="attention"),
    "b{i}/scale": Tensor(path="blocks/{i}/norm/scale", layout="O", layer="norm"),
}
RULES = [
    Rule("embeddings", role="embedding", init={"type": "normal", "std": 0.02}),
    Rule(
        "outputs",
        path="blocks/{i}/**/out/kernel",
        init={"type": "normal", "std": "0.02 / sqrt(2 * L)"},
    ),
    Rule("kernels", role="kernel", init="glorot_uniform"),
    Rule("biases", role="bias", init="zeros"),
    Rule("scales", role="scale", init="ones"),
]


def tree():
    block = {
        "qkv": np.zeros((8, 24), np.float32),
        "out": np.zeros((8, 8), np.float32),
        "bias": np.zeros(8, np.float32),
        "scale": np.zeros(8, np.float32),
    }
    tree = {"emb": np.zeros((11, 8), np.float32)}
    return tree | {f"b{i}": {k: v.copy() for k, v in block.items()} for i in range(BLOCKS)}


def config(rules=RULES, names=NAMES, **fields):
    return Config(rules=rules, names={"numpy": names}, **{"seed": 7, **fields})


def rows(*arguments, **fields):
    return {row.path: row for row in plan(*arguments, **fields).rows}


def problems(model, given):
    with pytest.raises(PlanError) as caught:
        plan(model, given)
    return [str(problem) for problem in caught.value.problems]


# --- rules ---------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_decides_and_the_second_is_told():
    found = rows(tree(), config())
    out = found["blocks/1/attn/out/kernel"]
    assert (out.rule.name, out.second.name) == ("outputs", "kernels")
    assert found["blocks/0/attn/key/kernel"].rule.name == "kernels"
    assert found["blocks/0/attn/key/kernel"].second is None
    assert len(found) == 1 + 6 * BLOCKS


def test_formulas_see_captures_counts_fans_and_vars():
    rule = Rule(
        "outputs",
        path="blocks/{i}/**/out/kernel",
        init={"type": "normal", "std": "c * (i + 1) / (L * L_i * fan_in * fan_out)"},
    )
    found = rows(tree(), config([rule, *RULES[2:], RULES[0]], vars={"c": 5.0}))
    for i in range(BLOCKS):
        std = 5 * (i + 1) / (BLOCKS * BLOCKS * 8 * 8)
        assert found[f"blocks/{i}/attn/out/kernel"].law.std == pytest.approx(std, rel=1e-15)


def test_a_bias_goes_by_the_fans_of_its_layer_s_kernel():
    bound = {"type": "uniform", "low": "-1 / sqrt(fan_in)", "high": "1 / sqrt(fan_in)"}
    rules = [RULES[0], *RULES[2:3], Rule("biases", role="bias", init=bound), RULES[4]]
    assert rows(tree(), config(rules))["blocks/0/attn/out/bias"].law.high == 1 / math.sqrt(8)


def test_all_keys_hold_any_of_a_list_and_not_excludes():
    special = Rule(
        "special",
        path=["**/query/*", "**/key/*"],
        layer=["attention", "dense"],
        exclude=Match(path="blocks/0/**"),
        init="zeros",
    )
    found = rows(tree(), config([special, *RULES]))
    special = [path for path, row in found.items() if row.rule.name == "special"]
    wanted = [f"blocks/{i}/attn/{part}/kernel" for i in (1, 2) for part in ("query", "key")]
    assert special == wanted


def test_dead_rules_are_told_with_what_shadows_them_and_the_closest_path():
    late = Rule("late", path="**/query/kernel", init="zeros")
    wrong = Rule("wrong", path="blocks/0/attn/outt/kernel", init="zeros")
    spare = Rule("spare", path="nowhere", init="zeros", optional=True)
    found = problems(tree(), config([*RULES, late, wrong, spare]))
    assert len(found) == 2
    assert "every parameter that it matches is decided before, by 'kernels'" in found[0]
    assert "Did you mean 'blocks/0/attn/out/kernel'?" in found[1]


def test_unmatched_parameters_are_errors_or_kept_or_told():
    found = problems(tree(), config(RULES[:3]))
    assert len(found) == 2 * BLOCKS
    assert "blocks/0/attn/out/bias: got nothing; expected a rule for it (role bias" in found[0]
    kept = rows(tree(), config(RULES[:3], unmatched="keep"))["blocks/0/norm/scale"]
    assert (kept.action, kept.note) == ("keep", "no rule")
    with pytest.warns(UserWarning, match="kept as it is") as told:
        plan(tree(), config([*RULES[:3], RULES[4]], unmatched="warn"))
    assert len(told) == BLOCKS
    assert "blocks/0/attn/out/bias: kept as it is" in str(told[0].message)


def test_all_problems_are_told_at_once():
    rules = [RULES[0], Rule("dead", path="x", init="zeros"), *RULES[2:]]
    names = NAMES | {"b{i}/out": Tensor(path="blocks/{i}/out/kernel", layout="OIHW")}
    found = problems(tree(), config([*rules, Rule("dead too", path="y", init="ones")], names))
    assert len(found) == BLOCKS + 2


def test_a_rule_that_keeps():
    found = rows(tree(), config([Rule("mine", role="scale", init="keep"), *RULES[:4]]))
    assert found["blocks/0/norm/scale"].action == "keep"
    assert found["blocks/0/norm/scale"].rule.name == "mine"


BAD_RULES = {
    "vectors have no fans": (
        Rule("mine", role="bias", init="he_normal"),
        "expected a tensor with input axes: a vector has no fans of its own",
    ),
    "a capture that is no number": (
        Rule("mine", path="{b}/{i}/**/out/kernel", init={"type": "normal", "std": "1 / b"}),
        "got 'b'",
    ),
    "a negative std": (
        Rule("mine", path="**/out/kernel", init={"type": "normal", "std": "1 - fan_in"}),
        "std): got -7.0; expected a number that is not negative",
    ),
    "a division by zero": (
        Rule("mine", path="b*/{i}/**/out/kernel", init={"type": "normal", "std": "1 / i"}),
        "expected a finite number (float division by zero; i = 0)",
    ),
    "too large": (
        Rule("mine", path="**/out/kernel", init={"type": "normal", "std": 1e38}),
        "float32 cannot hold it",
    ),
    "no such pattern": (
        Rule("mine", path="**/out/kernel", init="dirac"),
        "spatial",
    ),
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_what_cannot_be_drawn_names_parameter_rule_and_field(name):
    rule, words = BAD_RULES[name]
    found = problems(tree(), config([rule, *RULES]))
    assert any(words in problem for problem in found), found


# --- names ---------------------------------------------------------------------------------------


def test_a_fused_tensor_is_seen_as_its_parts():
    model = initspec.apply(tree(), config())
    for i, part in enumerate(("query", "key", "value")):
        name = f"blocks/2/attn/{part}/kernel"
        wanted = initspec.glorot_uniform((8, 8), layout="IO", seed=7, name=name)
        assert np.array_equal(model["b2"]["qkv"][:, 8 * i : 8 * i + 8], wanted)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_stack_is_seen_as_its_layers(axis):
    axis %= 3
    shape = [5, 4]
    shape.insert(axis, 3)
    entry = Tensor(path="h/{i}/kernel", layout="OI", stack=Stacked(axis=axis, capture="i"))
    given = config([Rule("kernels", path="h/{i}/kernel", init="he_normal")], {"w": entry})
    model = initspec.apply({"w": np.zeros(shape, np.float32)}, given)
    for i in range(3):
        wanted = initspec.he_normal((5, 4), layout="OI", seed=7, name=f"h/{i}/kernel")
        assert np.array_equal(model["w"].take(i, axis), wanted)


def test_a_stack_of_fused_tensors():
    split = Fused(axis="out", parts=["gate", "up"], sizes=[3, 5])
    entry = Tensor(
        path="h/{i}/{part}/kernel",
        layout="IO",
        split=split,
        stack=Stacked(axis=1, capture="i", parts=["first", "last"]),
    )
    given = config([Rule("kernels", role="kernel", init="he_normal")], {"w": entry})
    model = initspec.apply({"w": np.zeros((4, 2, 8), np.float32)}, given)
    wanted = initspec.he_normal((4, 5), layout="IO", seed=7, name="h/last/up/kernel")
    assert np.array_equal(model["w"][:, 1, 3:], wanted)


def test_a_new_name_alone_changes_no_role():
    torch = pytest.importorskip("torch")
    model = torch.nn.ModuleDict({"wte": torch.nn.Embedding(4, 3)})
    for entry, role in (
        (Tensor(path="tok/kernel"), "embedding"),
        (Tensor(path="tok/kernel", role="kernel", layer="dense"), "kernel"),
    ):
        given = Config(rules=[Rule("all", init="zeros")], names={"torch": {"wte.weight": entry}})
        row = plan(model, given).rows[0]
        assert (row.path, row.part.role) == ("tok/kernel", role)


def test_an_entry_without_layout_needs_a_layer_that_knows():
    found = problems({"w": np.zeros((2, 2))}, config(names={"w": Tensor(path="fc/kernel")}))
    assert "expected a layout, since the tree does not tell one" in found[0]


def test_an_unknown_tensor_asks_for_its_layout():
    found = problems({"w": np.zeros((4, 4))}, config([Rule("all", init="zeros")], {}))
    assert "w: got" in found[0]
    assert '[names.numpy] "w" = { path = "w/kernel", layout = "OI" }' in found[0]


def test_an_unknown_tensor_may_be_kept_and_is_told_all_the_same():
    model = {"w": np.zeros((4, 4))}
    kept = plan(model, config([Rule("all", init="zeros", optional=True)], {}, unmatched="keep"))
    assert [(row.path, row.action, row.note) for row in kept.rows] == [
        ("w", "keep", "an unknown layer")
    ]
    with pytest.warns(UserWarning, match="w: kept as it is; expected a known layer"):
        plan(model, config([Rule("all", init="zeros", optional=True)], {}, unmatched="warn"))


def test_a_name_that_nothing_has_is_a_problem():
    found = problems(tree(), config(names={**NAMES, "embb": Tensor(path="embedding", layout="VI")}))
    assert found == ["names.numpy: got 'embb'; expected the name of a tensor. Did you mean 'emb'?"]


def test_two_tensors_may_not_have_one_path():
    names = {name: Tensor(path="fc/kernel", layout="IO") for name in ("a", "b")}
    model = {"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}
    found = problems(model, config([Rule("all", init="he_normal")], names))
    assert "a path of its own: a and b have the same" in found[0]


BAD_NAMES = {
    "another rank": (Tensor(path="kernel", layout="OIHW"), "as many axes as the shape"),
    "no such axis": (
        Tensor(path="{part}/kernel", layout="IO", split=Fused(axis=5, parts=["a"])),
        "an axis of a tensor of rank 2",
    ),
    "uneven parts": (
        Tensor(path="{part}/kernel", layout="IO", split=Fused(axis=1, parts=["a", "b", "c"])),
        "an axis for the parts",
    ),
    "wrong sizes": (
        Tensor(
            path="{part}/kernel", layout="IO", split=Fused(axis=1, parts=["a", "b"], sizes=[1, 2])
        ),
        "an axis for the parts",
    ),
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_do_not_fit_the_tensor(name):
    entry, words = BAD_NAMES[name]
    found = problems({"w": np.zeros((4, 4))}, config([Rule("a", init="ones")], {"w": entry}))
    assert any(words in problem for problem in found), found


# --- ties ----------------------------------------------------------------------------------------


def test_tied_tensors_are_one_logical_tensor_whatever_their_layouts():
    names = {
        "tok": Tensor(path="tok/embedding", layout="VI"),
        "head": Tensor(path="head/kernel", layout="IO"),
    }
    # A rule by fans: the tied tensor must go by its target's, which has no fan_out of its own.
    init = {"type": "truncated_normal", "mode": "fan_avg", "cut": 2}
    rules = [Rule("embeddings", role="embedding", init=init)]
    given = config(rules, names, tie={"head/kernel": "tok/embedding"})
    for order in (["tok", "head"], ["head", "tok"]):
        shapes = {"tok": (11, 8), "head": (8, 11)}
        model = {name: np.zeros(shapes[name], np.float32) for name in order}
        done = initspec.apply(model, given)
        assert np.array_equal(done["tok"], done["head"].T)
        assert done["tok"].std() > 0.1
        assert initspec.check(done, given).passed


def test_tied_tensors_have_one_logical_shape():
    names = {
        "tok": Tensor(path="tok/embedding", layout="VI"),
        "head": Tensor(path="head/kernel", layout="OI"),
    }
    model = {"tok": np.zeros((11, 8)), "head": np.zeros((8, 11))}
    given = config([Rule("all", init="zeros")], names, tie={"head/kernel": "tok/embedding"})
    found = problems(model, given)
    assert "the logical shape of the tensor it is tied to, (11, 8)" in found[0]


def test_a_tie_of_paths_that_nobody_has_is_a_slip():
    given = config(tie={"head/kernel": "tokk/embedding"})
    found = problems(tree(), given)
    assert found == [
        "tie: got 'head/kernel'; expected paths of the model: it has neither that nor "
        "'tokk/embedding'. Did you mean 'tok/embedding'?"
    ]
    plan(tree(), config(tie={"head/kernel": "tok/embedding"}))  # a head that this port has not


# --- apply ---------------------------------------------------------------------------------------


def test_values_depend_on_seed_and_path_alone():
    model = initspec.apply(tree(), config(), seed=3)
    wanted = initspec.normal(0.02)((11, 8), layout="VI", seed=3, name="tok/embedding")
    assert np.array_equal(model["emb"], wanted)
    smaller = {"emb": np.zeros((11, 8), np.float32)}
    alone = config(RULES[:1], {"emb": NAMES["emb"]})
    assert np.array_equal(initspec.apply(smaller, alone, seed=3)["emb"], wanted)


def test_apply_returns_the_provenance_of_every_parameter():
    done = plan(tree(), config(seed=None)).apply(skip="tok/**")
    assert 0 <= done.seed < 2**64
    found = {row.path: row for row in done.rows}
    assert (found["tok/embedding"].action, found["tok/embedding"].note) == ("keep", "left out")
    assert found["blocks/0/norm/scale"].rule.name == "scales"
    assert initspec.check(done.model, config(), seed=done.seed).failures[0].path == "tok/embedding"


def test_only_and_skip():
    model = initspec.apply(tree(), config(), only=["blocks/1/**", "tok/*"], skip="**/bias")
    assert model["emb"].any()
    assert model["b1"]["scale"].all()
    assert not model["b0"]["scale"].any()
    with pytest.raises(initspec.InitspecTypeError, match="a glob of canonical paths"):
        initspec.apply(tree(), config(), only=3)
    for keyword in ("only", "skip"):
        with pytest.raises(initspec.InitspecValueError, match="Did you mean 'tok/embedding'"):
            initspec.apply(tree(), config(), **{keyword: "tok/embeddin"})


def test_part_of_a_fused_tensor_alone():
    model = initspec.apply(tree(), config(), only="blocks/0/attn/key/kernel")
    assert model["b0"]["qkv"][:, 8:16].all()
    assert not model["b0"]["qkv"][:, :8].any()
    assert not model["b0"]["qkv"][:, 16:].any()


def test_a_failing_apply_leaves_everything_as_it_was():
    model = tree()
    before = {name: array.copy() for name, array in model["b0"].items()}
    with pytest.raises(PlanError):
        initspec.apply(model, config([*RULES, Rule("dead", path="x", init="ones")]))
    for name, array in model["b0"].items():
        assert np.array_equal(array, before[name])


def test_what_is_no_config_and_what_is_no_model():
    with pytest.raises(initspec.InitspecTypeError, match="a Config, the path of a file, a preset"):
        plan(tree(), 3)
    with pytest.raises(initspec.InitspecTypeError, match="a keras layer or model"):
        plan(object(), config())
    with pytest.raises(initspec.InitspecValueError, match="seed"):
        plan(tree(), config(), seed=-1)


INTEGERS = {
    ("int8", 300.0): False,
    ("int8", -128.0): True,
    ("uint8", -1.0): False,
    ("bool", 1.0): True,
    ("bool", 3.0): False,
    ("int64", 0.5): False,
    ("complex64", 1.0): False,
}


@pytest.mark.parametrize(("dtype", "value"), INTEGERS)
def test_integers_take_whole_constants_in_their_range_or_nothing(dtype, value):
    names = {"w": Tensor(path="w/other", layout="O"), "a": Tensor(path="a/other", layout="O")}
    given = config([Rule("all", init={"type": "constant", "value": value})], names)
    model = {"a": np.zeros(2, np.float32), "w": np.zeros(2, dtype)}
    if INTEGERS[dtype, value]:
        assert initspec.apply(model, given)["w"].tolist() == [value] * 2
    else:
        assert (
            f"w/other: got '{dtype}'; expected a tensor that can hold" in problems(model, given)[0]
        )


def test_variables_win_over_counts_where_a_model_holds_a_part_of_the_blocks():
    found = rows(tree(), config(vars={"L": 50.0}))
    assert found["blocks/1/attn/out/kernel"].law.std == 0.02 / 10


def test_what_cannot_be_initialised_may_be_kept():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.LazyLinear(3), torch.nn.Linear(2, 3))
    rest = Rule("rest", path="1/**", init="zeros")
    with pytest.raises(PlanError, match="what can be initialised: it is"):
        plan(model, Config(rules=[rest]))
    kept = rows(model, Config(rules=[rest], unmatched="keep"))
    assert {path for path, row in kept.items() if row.action == "keep"} == {"0/weight", "0/bias"}
    assert "Run one batch" in kept["0/weight"].note


def test_a_layer_that_is_described_has_what_is_said_of_it():
    torch = pytest.importorskip("torch")
    wrong = {"torch.nn.modules.linear.Linear": {"wieght": {"path": "kernel", "layout": "IO"}}}
    given = Config(rules=[Rule("all", init="zeros")], layers=wrong)
    found = problems(torch.nn.Linear(2, 3), given)
    assert "expected a tensor of that layer: bias, weight. Did you mean 'weight'?" in found[0]
    public = {"torch.nn.Linear": {"weight": {"path": "kernel", "layout": "IO"}}}
    row = plan(torch.nn.Linear(2, 3), Config(rules=given.rules, layers=public)).rows[0]
    assert row.part.layout.pattern == "IO"


def test_a_fused_tensor_is_not_tied_to_a_whole_one():
    torch = pytest.importorskip("torch")
    model = torch.nn.ModuleDict({"a": torch.nn.MultiheadAttention(4, 1)})
    model["l"] = torch.nn.Linear(4, 12, bias=False)
    model["l"].weight = model["a"].in_proj_weight
    given = Config(rules=[Rule("all", init="zeros")], tie={"l/kernel": "a/query/kernel"})
    assert "one tensor with the same parts under each name" in problems(model, given)[0]


def test_a_rule_that_keeps_goes_before_what_a_layer_pins():
    torch = pytest.importorskip("torch")
    model = torch.nn.ModuleDict({"enc": torch.nn.LSTM(2, 2), "fc": torch.nn.Linear(2, 2)})
    keep = Rule("pretrained", path="enc/**", init="keep")
    before = model["enc"].bias_hh_l0.detach().clone()
    initspec.apply(model, Config(rules=[keep, Rule("rest", init="zeros")]))
    assert torch.equal(model["enc"].bias_hh_l0, before)
    assert before.any()
    assert not model["fc"].weight.any()


# --- what a plan shows ---------------------------------------------------------------------------


def test_the_table_shows_every_parameter():
    text = str(plan(tree(), config()))
    lines = text.splitlines()
    assert len(lines) == 1 + 1 + 6 * BLOCKS
    line = next(line for line in lines if line.startswith("blocks/1/attn/out/kernel"))
    cells = re.split(" {2,}", line)
    assert cells == [
        "blocks/1/attn/out/kernel",
        "b1/out",
        "(8, 8)",
        "(8, 8)",
        "8, 8",
        "outputs",
        "0.008165",
    ]


def test_the_plan_as_plain_values():
    found = plan(tree(), config()).to_dict()
    row = next(row for row in found["rows"] if row["path"] == "blocks/0/attn/key/kernel")
    assert found["seed"] == 7
    assert row["stored_as"] == "b0/qkv"
    assert row["stored_shape"] == [8, 24]
    assert (row["layout"], row["shape"], row["fans"]) == ("IO", [8, 8], [8, 8])
    assert (row["role"], row["layer"], row["action"]) == ("kernel", "attention", "write")
    assert Init.of(initspec.Initializer.from_dict(row["init"])).resolve({}) is not None


def test_nothing_is_imported_or_drawn_for_a_plan(monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("a plan draws nothing")

    monkeypatch.setattr("initspec_kernel.fill", refuse)
    big = {"emb": np.lib.stride_tricks.as_strided(np.zeros(1), (10**6, 10**6), (0, 0))}
    assert plan(big, config(RULES[:1], {"emb": NAMES["emb"]})).rows[0].law.std == 0.02
