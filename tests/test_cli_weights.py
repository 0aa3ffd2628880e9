"""The verbs for whole models with files of weights: what apply writes, check and verify read."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from cli_checks import CONFIG, NAMES, answers, config_and_nets, runner, write

from initspec import models


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    yield from config_and_nets(tmp_path, monkeypatch)


@pytest.fixture
def call(capsys):
    return runner(capsys)


@pytest.fixture
def answer(call):
    return answers(call)


# --- apply ----------------------------------------------------------------------------------------


def tensors(path):
    if path.suffix == ".npz":
        with np.load(path) as file:
            return dict(file)
    return pytest.importorskip("safetensors.numpy").load_file(path)


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_apply_writes_what_the_model_would_get(call, name, dtype):
    code, out, _ = call(f"apply init.toml --model nets:make --arg dtype={dtype} --output {name}")
    assert (code, out) == (0, f"{name}: 3 tensors, 3 logical, 24 values, 0 kept, seed 7\n")
    import nets

    model = models.apply(nets.make(dtype=dtype), "init.toml")
    found = tensors(Path(name))
    assert set(found) == {"stem/w", "stem/b", "head/w"}
    for key, array in found.items():
        layer, leaf = key.split("/")
        assert array.dtype == dtype
        assert array.tobytes() == model[layer][leaf].tobytes()
        assert array.any() == (leaf == "w")


def test_only_and_skip(call):
    def written(arguments):
        assert call(f"apply init.toml --model nets:make --output w.npz {arguments}")[0] == 0
        return {name for name, array in tensors(Path("w.npz")).items() if array.any()}

    assert written("") == {"stem/w", "head/w"}
    assert written("--only 'head/*'") == {"head/w"}
    assert written("--only 'head/*' --only stem/kernel") == {"stem/w", "head/w"}
    assert written("--skip '**/kernel'") == set()
    assert written("--only '**' --skip head/kernel") == {"stem/w"}
    code, _, err = call("apply init.toml --model nets:make --output w.npz --only heat/kernel")
    assert code == 2
    assert "Did you mean 'head/kernel'?" in err


def test_the_provenance_of_every_tensor(answer):
    found = answer("apply init.toml --model nets:make --output w.npz --skip 'stem/*'")
    assert list(found) == ["output", "seed", "rows"]
    assert (found["output"], found["seed"]) == ("w.npz", 7)
    rows = {row["path"]: (row["action"], row["rule"], row["note"]) for row in found["rows"]}
    assert rows["head/kernel"] == ("write", "head", "")
    assert rows["stem/kernel"] == ("keep", "kernels", "left out")


def test_a_seed_that_is_drawn_is_told_and_gives_the_same_again(answer, call):
    write("init.toml", CONFIG.replace("seed = 7\n", "") + NAMES)
    seed = answer("apply init.toml --model nets:make --output a.npz")["seed"]
    assert answer("apply init.toml --model nets:make --output b.npz")["seed"] != seed
    assert call(f"apply init.toml --model nets:make --output b.npz --seed {seed}")[0] == 0
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("", "--output"),
        ("--output w.pt", "a name that ends in .npz or .safetensors"),
        ("--output none/w.npz", "a folder that exists"),
        ("--output folder.npz", "a folder that exists"),
    ],
)
def test_no_file_to_write_to_is_told_before_the_model_is_made(call, folder, output, complaint):
    (folder / "folder.npz").mkdir()
    code, out, err = call(f"apply init.toml --model nets:fails {output}")
    assert (code, out) == (2, "")
    assert complaint in err


def test_a_failure_leaves_the_file_that_was_there(call):
    write("w.npz", "precious")
    write("init.toml", CONFIG.replace("0.01", "1e-9") + NAMES)  # float16 cannot hold it
    arguments = "--model nets:make --arg dtype=float16 --output w.npz"
    assert call(f"apply init.toml {arguments}")[0] == 2
    assert Path("w.npz").read_text() == "precious"
    assert not list(Path().glob(".*"))


# --- check and verify of a file -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_check_and_verify_of_a_file(call, name, dtype):
    model = f"--model nets:make --arg dtype={dtype}"
    assert call(f"apply init.toml {model} --output {name}")[0] == 0
    assert call(f"lock init.toml {model}")[0] == 0
    assert call(f"check init.toml {model} --weights {name}")[0] == 0
    assert call(f"verify init.toml {model} --weights {name}")[0] == 0
    assert call(f"apply init.toml {model} --output {name} --seed 8")[0] == 0
    code, out, _ = call(f"check init.toml {model} --weights {name}")
    assert code == 1
    assert out.startswith("stem/kernel: ")
    assert call(f"verify init.toml {model} --weights {name}")[0] == 1
    assert call(f"verify init.toml {model} --no-weights")[0] == 0


def saved(**changes):
    arrays = {"stem/w": np.zeros((3, 4)), "stem/b": np.zeros(4), "head/w": np.zeros((4, 2))}
    arrays = {name: array.astype("f4") for name, array in arrays.items()} | changes
    np.savez("w.npz", **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ("none.npz", "No such file"),
        ("none.safetensors", "No such file"),
        ("init.toml", ".npz or .safetensors"),
        ("text.npz", "can be read"),
        ("text.safetensors", "can be read"),
        ("short.safetensors", "can be read"),
        ("lacks.npz", "a tensor 'stem/b' in it"),
        ("shape.npz", "w.npz: stem/b: got 'float32[5]'; expected float32[4]"),
        ("dtype.npz", "w.npz: stem/b: got 'float64[4]'; expected float32[4]"),
        ("pickle.npz", "can be read"),
    ],
)
def test_a_file_that_is_not_the_models(call, weights, complaint):
    write("text.npz", "text")
    write("text.safetensors", "text")
    Path("short.safetensors").write_bytes(b"\xff" * 20)
    bad = {
        "lacks.npz": None,
        "shape.npz": np.zeros(5, "f4"),
        "dtype.npz": np.zeros(4),
        "pickle.npz": np.array([None] * 4),
    }
    if weights in bad:
        saved(**{"stem/b": bad[weights]})
        weights = "w.npz"
    code, out, err = call(f"check init.toml --model nets:make --weights {weights}")
    assert (code, out) == (2, "")
    assert complaint in err.splitlines()[-1]


def test_a_tensor_too_many_is_a_warning(call):
    saved(more=np.zeros(1))
    _, _, err = call("check init.toml --model nets:make --weights w.npz")
    assert err.endswith("warning: w.npz: more: not a tensor of the model\n")


# --- frameworks -----------------------------------------------------------------------------------

TORCH = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.tok = nn.Embedding(7, 4, padding_idx=0, dtype=dtype)
        self.stem = nn.LSTM(4, 5, dtype=dtype)
        self.norm = nn.BatchNorm1d(5, dtype=dtype)
        self.out = nn.Linear(5, 4, dtype=dtype)
        self.head = nn.Linear(4, 7, bias=False, dtype=dtype)
        self.head.weight = self.tok.weight


def half():
    return Net(torch.bfloat16)


def meta():
    with torch.device("meta"):
        return Net()
"""
TORCH_CONFIG = """\
initspec = 1
seed = 3
extends = ["initspec:torch-defaults"]

[tie]
"head/kernel" = "tok/embedding"

[knobs]
norm_epsilon = 1e-3
"""


@pytest.fixture
def torch():
    write("torch_nets.py", TORCH)
    write("torch.toml", TORCH_CONFIG)
    return pytest.importorskip("torch")


@pytest.mark.parametrize("model", ["Net", "half"])
def test_a_state_dict_takes_the_file(call, torch, model):
    assert call(f"apply torch.toml --model torch_nets:{model} --output w.npz")[0] == 0
    import torch_nets

    wanted = models.apply(getattr(torch_nets, model)(), "torch.toml")
    found = getattr(torch_nets, model)()
    found.load_state_dict({k: torch.from_numpy(v) for k, v in tensors(Path("w.npz")).items()})
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.parametrize("model", ["Net", "half", "meta"])
def test_safetensors_of_torch(call, torch, model):
    load_file = pytest.importorskip("safetensors.torch").load_file
    assert call(f"apply torch.toml --model torch_nets:{model} --output w.safetensors")[0] == 0
    import torch_nets

    wanted = models.apply((torch_nets.half if model == "half" else torch_nets.Net)(), "torch.toml")
    found = load_file("w.safetensors")
    assert int.from_bytes(Path("w.safetensors").read_bytes()[:8], "little") % 8 == 0  # aligned
    assert set(found) == set(wanted.state_dict())
    for name, tensor in wanted.state_dict().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("model", ["half", "meta"])
def test_check_of_a_file_for_torch_and_its_knobs(call, torch, model, suffix):
    arguments = f"torch.toml --model torch_nets:{model}"
    assert call(f"apply {arguments} --output w.{suffix}")[0] == 0
    code, out, _ = call(f"check {arguments} --weights w.{suffix} --github --junit out.xml")
    assert code == 1
    line = TORCH_CONFIG.splitlines().index("[knobs]") + 1
    assert out.splitlines()[0] == (
        "norm: norm_epsilon is 1e-05, expected 0.001: the function differs"
    )
    assert f"::error file=torch.toml,line={line},title=norm::norm_epsilon" in out
    names = [case.get("name") for case in ET.parse("out.xml").getroot().iter("testcase")]
    assert len(set(names)) == len(names)
    assert "knob: norm" in names


def test_what_has_no_memory_cannot_be_kept(call, torch):
    arguments = "torch.toml --model torch_nets:meta --output w.npz --skip '**/kernel'"
    code, out, err = call(f"apply {arguments}")
    assert (code, out) == (2, "")
    assert "memory" in err
    assert not Path("w.npz").exists()


def test_an_abstract_tree_of_flax(call):
    pytest.importorskip("flax")
    write(
        "flax_nets.py",
        """
import flax.linen as nn
import jax
import jax.numpy as jnp
from initspec_jax import Linen

def make():
    return Linen(nn.Dense(4, param_dtype=jnp.bfloat16), jax.ShapeDtypeStruct((1, 3), jnp.float32))
""",
    )
    write("flax.toml", 'initspec = 1\nseed = 1\nextends = ["initspec:torch-defaults"]\n')
    for suffix in ("npz", "safetensors"):
        code, out, _ = call(f"apply flax.toml --model flax_nets:make --output w.{suffix}")
        assert (code, out) == (0, f"w.{suffix}: 2 tensors, 2 logical, 16 values, 0 kept, seed 1\n")
        assert call(f"check flax.toml --model flax_nets:make --weights w.{suffix}")[0] == 0
