"""Checks, locks and differences, on trees of NumPy arrays."""

import json
import re

import numpy as np
import pytest

import initspec
from initspec.models import Config, Rule, Tensor, check, diff, lock, plan, verify
from initspec.models.locking import read_lock

SHAPES = {"emb": (64, 96), "fc": (96, 128), "bias": (128,), "rec": (32, 32)}
NAMES = {
    "emb": Tensor(path="tok/embedding", layout="VI"),
    "fc": Tensor(path="fc/kernel", layout="IO", layer="dense"),
    "bias": Tensor(path="fc/bias", layout="O", layer="dense"),
    "rec": Tensor(path="rnn/recurrent", layout="IO", layer="rnn"),
}
TRANSPOSED = {
    "emb": Tensor(path="tok/embedding", layout="IV"),
    "fc": Tensor(path="fc/kernel", layout="OI", layer="dense"),
    "bias": NAMES["bias"],
    "rec": Tensor(path="rnn/recurrent", layout="OI", layer="rnn"),
}
RULES = [
    Rule("embeddings", role="embedding", init={"type": "normal", "std": 0.02}),
    Rule("kernels", role="kernel", init="he_normal"),
    Rule("recurrent", role="recurrent", init="orthogonal"),
    Rule("biases", role="bias", init="zeros"),
]


def config(rules=RULES, names=NAMES, **fields):
    return Config(rules=rules, names={"numpy": names}, **{"seed": 7, **fields})


def tree(names=NAMES, dtype=np.float32):
    turned = names is TRANSPOSED
    return {n: np.zeros(s[::-1] if turned else s, dtype) for n, s in SHAPES.items()}


@pytest.fixture
def model():
    return initspec.apply(tree(), config())


def failed(report):
    return [finding.path for finding in report.failures]


# --- check ---------------------------------------------------------------------------------------


def test_what_was_applied_conforms_in_bits_and_in_law(model):
    exact, law = check(model, config()), check(model, config(), bits=False)
    assert exact.passed
    assert {finding.kind for finding in exact.findings} == {"bits"}
    assert law.passed
    assert {finding.kind for finding in law.findings} == {"law"}
    assert str(exact) == "4 of 4 conform; 0 kept as they are"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes_conform_too(dtype):
    model = initspec.apply(tree(dtype=dtype), config())
    assert check(model, config()).passed
    assert check(model, config(), bits=False).passed


def test_one_wrong_bit_is_found_and_said_to_be_the_law_s_all_the_same(model):
    model["fc"][3, 5] = np.nextafter(model["fc"][3, 5], 1, dtype=np.float32)
    report = check(model, config())
    assert failed(report) == ["fc/kernel"]
    assert "1 of 12288 values are not the seed's; but their distribution is right" in str(report)
    assert check(model, config(), bits=False).passed


DEFECTS = {
    "std 10 % too large": lambda m: m["fc"].__imul__(1.1),
    "transposed": lambda m: m["rec"].__setitem__(..., m["rec"].T.copy()),
    "a bias of one": lambda m: m["bias"].__iadd__(1),
    "another seed": lambda m: m.update(initspec.apply(tree(), config(), seed=8)),
    "untruncated": lambda m: m.update(
        fc=initspec.get("torch.kaiming_normal")((96, 128), layout="IO", seed=7, name="fc/kernel")
    ),
    "not a number": lambda m: m["emb"].__setitem__((0, 0), np.nan),
}
LAWS = {"std 10 % too large", "a bias of one", "untruncated", "not a number"}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_found(model, name):
    DEFECTS[name](model)
    assert not check(model, config()).passed
    assert check(model, config(), bits=False).passed == (name not in LAWS)


def test_without_a_seed_the_law_is_checked(model):
    report = check(model, config(seed=None))
    assert report.passed
    assert {finding.kind for finding in report.findings} == {"law"}
    with pytest.raises(initspec.InitspecValueError, match="the config has no seed"):
        check(model, config(seed=None), bits=True)


def test_kept_tensors_are_told_and_nothing_at_all_is_no_success(model):
    report = check(model, config([Rule("all", init="keep")]))
    assert (report.passed, len(report.kept)) == (False, 4)
    assert json.dumps(report.to_dict())


# --- locks ---------------------------------------------------------------------------------------


def test_a_lock_is_the_same_text_whatever_the_layouts_and_dtypes():
    text = lock(tree(), config()).dumps()
    assert lock(tree(TRANSPOSED), config(names=TRANSPOSED)).dumps() == text
    assert lock(tree(dtype=np.float16), config()).dumps() == text
    assert lock(tree(), config(), seed=8).dumps() != text
    assert re.search(r'path = "fc/kernel"\nshape = \[1, 128, 96\]\nrule = "kernels"', text)


def test_only_exact_tensors_have_a_digest():
    digests = {each.path: each.sha256 for each in lock(tree(), config()).tensors}
    assert digests["rnn/recurrent"] == ""
    assert all(len(digests[path]) == 64 for path in digests if path != "rnn/recurrent")


def test_locks_are_read_back(tmp_path):
    path = tmp_path / "init.lock.toml"
    locked = lock(tree(), config())
    locked.dump(path)
    assert read_lock(path) == locked
    assert read_lock(path).dumps() == path.read_text()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_weights_are_verified_in_every_dtype(tmp_path, dtype):
    path = tmp_path / "init.lock.toml"
    lock(tree(), config()).dump(path)
    model = initspec.apply(tree(dtype=dtype), config())
    assert verify(model, config(), path).passed
    assert not verify(tree(dtype=dtype), config(), path).passed
    assert verify(tree(dtype=dtype), config(), path, weights=False).passed


def changed(number, **fields):
    rules = list(RULES)
    rules[number] = Rule(rules[number].name, match=rules[number].match, **fields)
    return rules


DRIFTS = {
    "another std": (
        config(changed(0, init={"type": "normal", "std": 0.03})),
        "tok/embedding: is drawn by",
    ),
    "another gain of a rounded one": (
        config(changed(2, init={"type": "orthogonal", "gain": 2})),
        "rnn/recurrent: is drawn by",
    ),
    "another path": (
        config(names=NAMES | {"fc": Tensor(path="fc2/kernel", layout="IO")}),
        "fc/kernel: is in the lock, and not in the model",
    ),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_config_that_drifted_is_told_by_path(model, name):
    given, words = DRIFTS[name]
    report = verify(model, given, lock(tree(), config()), weights=False)
    assert words in str(report)


def test_a_shape_that_drifted_is_told():
    wide = tree() | {"fc": np.zeros((96, 130), np.float32), "bias": np.zeros(130, np.float32)}
    report = verify(wide, config(), lock(tree(), config()), weights=False)
    assert "fc/kernel: has the logical shape (1, 130, 96), (1, 128, 96) in the lock" in str(report)


ENTRY = '[[tensor]]\npath = "a"\nshape = [1]\nrule = ""\ninit = {}\nstd = 0\nsha256 = ""\n'
BAD_LOCKS = {
    "nothing": "",
    "no toml": "lock = = 1",
    "another format": 'lock = 2\nstream = "v1"\nseed = 1',
    "a negative seed": 'lock = 1\nstream = "v1"\nseed = -1',
    "a tensor without digest": 'lock = 1\nstream = "v1"\nseed = 1\n[[tensor]]\npath = "a"',
    "another stream": 'lock = 1\nstream = "v9"\nseed = 1',
    "a path twice": 'lock = 1\nstream = "v1"\nseed = 1\n' + 2 * ENTRY,
    "a list": 'lock = 1\nstream = "v1"\nseed = 1\ntensor = 3',
}


@pytest.mark.parametrize("name", BAD_LOCKS)
def test_bad_locks_are_one_clear_error(tmp_path, name):
    path = tmp_path / "bad.toml"
    path.write_text(BAD_LOCKS[name])
    with pytest.raises(initspec.InitspecValueError, match="a lock file"):
        read_lock(path)
    with pytest.raises(initspec.InitspecValueError, match="Make one with `initspec lock`"):
        read_lock(tmp_path / "none.toml")


def test_a_lock_needs_a_seed():
    with pytest.raises(initspec.InitspecValueError, match="Put seed = "):
        lock(tree(), config(seed=None))


# --- differences ---------------------------------------------------------------------------------


def test_equal_models_in_other_layouts_have_no_differences(model):
    other = initspec.apply(tree(TRANSPOSED), config(names=TRANSPOSED))
    found = diff(plan(model, config()), plan(other, config(names=TRANSPOSED)))
    assert found.same
    assert str(found) == "0 differences in 4 compared"


def test_models_differ_in_words(model):
    other = {name: array.copy() for name, array in model.items()}
    other["fc"][0, :3] += 0.5
    del other["rec"]
    names = {name: NAMES[name] for name in other}
    rules = changed(0, init={"type": "normal", "std": 0.03})
    right = config([rule for rule in rules if rule.name != "recurrent"], names)
    text = str(diff(plan(model, config()), plan(other, right)))
    assert "fc/kernel: 3 of 12288 weights differ, by up to 0.5" in text
    assert "rnn/recurrent: only on the left, stored as rec" in text
    assert "tok/embedding: law normal, std = 0.02 became normal, std = 0.03" in text


def test_configs_differ_in_words():
    right = config([*changed(0, init={"type": "normal", "std": 0.03})[::-1]], seed=8)
    text = str(diff(config(), right))
    assert "seed: 7 became 8" in text
    assert "rule 'embeddings'.init.std: 0.02 became 0.03" in text
    assert "rules: another order" in text
    assert diff(config(), config()).same
    with pytest.raises(initspec.InitspecTypeError, match="two plans, or two configs"):
        diff(plan(tree(), config()), config())


# --- models of torch: knobs, and tensors that are computed ----------------------------------------


def test_verify_tells_another_seed(model):
    report = verify(model, config(seed=8), lock(tree(), config()), weights=False)
    assert failed(report) == ["seed"]
    assert "the config's seed is 8, the lock's 7" in str(report)


@pytest.fixture
def norms():
    torch = pytest.importorskip("torch")
    return torch.nn.ModuleDict(
        {"b_0": torch.nn.LayerNorm(4), "b_1": torch.nn.LayerNorm(4, eps=1e-6)}
    )


def knobs(**fields):
    names = {"torch": {"b_{i}/{rest**}": Tensor(path="blocks/{i}/{rest}")}}
    return Config(seed=1, extends=["initspec:base"], names=names, **fields)


def test_knobs_are_checked_and_verified_at_canonical_paths(norms):
    given = knobs(knobs={"norm_epsilon": 1e-5})
    done = initspec.apply(norms, given)
    for report in (check(done, given), verify(done, given, lock(done, given))):
        assert failed(report) == ["blocks/1"]
        assert "norm_epsilon is 1e-06, expected 1e-05: the function differs" in str(report)
    report = verify(done, given, lock(done, given), weights=False)
    assert failed(report) == ["blocks/1"]
    assert check(done, knobs()).passed


def test_diff_tells_knobs_layer_by_layer(norms):
    done = initspec.apply(norms, knobs())
    other = type(norms)({name: type(norms["b_0"])(4) for name in ("b_0", "b_1")})
    found = diff(plan(done, knobs()), plan(initspec.apply(other, knobs()), knobs()))
    text = "blocks/1: norm_epsilon 1e-06 became 1e-05: the function differs"
    assert [str(each) for each in found.found] == [text]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_weights_that_a_parametrization_computes_conform_but_for_rounding(dtype):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(64, 32).to(getattr(torch, dtype))
    layer = torch.nn.utils.parametrizations.weight_norm(layer)
    given = Config(seed=1, extends=["initspec:torch-defaults"])
    model = initspec.apply(torch.nn.Sequential(layer), given)
    assert check(model, given).passed
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(1.1)
    assert failed(check(model, given)) == ["0/kernel"]


# --- large tensors, padding, matrices of small gain -----------------------------------------------


def only(layout, shape, init, role="kernel", dtype=np.float32, tie=None):
    """A tree of one tensor, and its config."""
    names = {"w": Tensor(path=f"w/{role}", role=role, layout=layout)}
    given = config([Rule("all", init=init)], names)
    return initspec.apply({"w": np.zeros(shape, dtype)}, given), given


INITS = {
    "normal": {"type": "normal", "std": 0.02},
    "he_normal": "he_normal",
    "uncompensated": {"type": "truncated_normal", "mode": "fan_in", "cut": 2},
    "glorot_uniform": "glorot_uniform",
}


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize(("layout", "shape"), [("OI", (3000, 2500)), ("IO", (2500, 3000))])
def test_large_tensors_are_looked_at_in_blocks(name, layout, shape):
    model, given = only(layout, shape, INITS[name])
    (finding,) = check(model, given, bits=False).findings
    assert finding.passed, finding.message
    assert 2**21 <= finding.size < 3000 * 2500
    model["w"] *= np.float32(1.02)
    assert not check(model, given, bits=False).passed


@pytest.mark.parametrize("gain", [1.0, 0.01])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_matrices_of_any_gain_are_compared_with_its_precision(gain, dtype):
    model, given = only("OI", (32, 64), {"type": "orthogonal", "gain": gain}, dtype=dtype)
    assert check(model, given).passed
    for wrong in (np.zeros_like(model["w"]), -model["w"], model["w"] * dtype(1.01)):
        assert not check({"w": wrong}, given).passed


def padded(order):
    """A torch model whose embedding has a padding index, and is the head's weight."""
    torch = pytest.importorskip("torch")
    modules = {
        "tok": torch.nn.Embedding(50, 40, padding_idx=3),
        "head": torch.nn.Linear(40, 50, bias=False),
    }
    model = torch.nn.ModuleDict({name: modules[name] for name in order})
    model["head"].weight = model["tok"].weight
    return model


def test_a_padding_row_is_zero_whichever_side_of_a_tie_comes_first():
    rules = [Rule("all", init={"type": "normal", "std": 0.02})]
    given = Config(seed=1, rules=rules, tie={"head/kernel": "tok/embedding"})
    models = [padded(order) for order in (["tok", "head"], ["head", "tok"])]
    texts = {lock(model, given).dumps() for model in models}
    assert len(texts) == 1
    for model in models:
        initspec.apply(model, given)
        weight = model["tok"].weight
        assert not weight[3].any()
        assert weight[2].any()
        assert check(model, given, bits=False).passed
        weight.data[3] = 1
        assert failed(check(model, given, bits=False)) == ["tok/embedding"]
        assert failed(check(model, given)) == ["tok/embedding"]


def test_a_padding_row_is_every_tied_tensor_s_in_any_layout():
    torch = pytest.importorskip("torch")
    names = {"torch": {"w": Tensor(path="head/kernel", layout="IO")}}
    rules = [Rule("all", init={"type": "normal", "std": 0.02})]
    given = Config(seed=1, rules=rules, names=names, tie={"head/kernel": "tok/embedding"})
    model = torch.nn.Module()
    model.tok = torch.nn.Embedding(50, 40, padding_idx=3)
    model.w = torch.nn.Parameter(torch.ones(40, 50))
    initspec.apply(model, given)
    assert torch.equal(model.w.T, model.tok.weight)
    assert not model.w[:, 3].any()


def test_verify_looks_at_what_layers_pin():
    torch = pytest.importorskip("torch")
    given = Config(seed=1, extends=["initspec:torch-defaults"])
    model = initspec.apply(torch.nn.LSTM(4, 4), given)
    locked = lock(model, given)
    assert verify(model, given, locked).passed
    model.bias_hh_l0.data += 5
    gates = {f"{gate}/recurrent_bias" for gate in "ifgo"}
    assert set(failed(verify(model, given, locked))) == gates
