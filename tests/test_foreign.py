"""Foreign initializers: found by name, called and seeded as they want it, judged fairly."""

import random
import subprocess
import sys

import numpy as np
import pytest

import initspec
from initspec.errors import BackendError, InitspecTypeError, InitspecValueError
from initspec_conformance.cases import Layer
from initspec_conformance.foreign import adapt, load, outcomes

DENSE = Layer("dense", "IO", (256, 128))
WEIGHT = Layer("dense", "OI", (128, 256))


def only(foreign, recipe="he_normal", layer=DENSE, dtypes=None, size=2**18, **more):
    (found,) = outcomes(foreign, initspec.get(recipe), recipe, [layer], dtypes, size, **more)
    return found


def scaled(shape, rng, dtype="float32"):
    return (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(dtype)


# --- by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "protocol", "backend"),
    [
        ("torch.nn.init:kaiming_normal_", "fill", "torch"),
        ("torch.nn.init:kaiming_normal_(mode='fan_out', nonlinearity='relu')", "fill", "torch"),
        ("torch:nn.init.normal_( std = 0.5 )", "fill", "torch"),
        ("jax.nn.initializers:he_normal", "key", "jax"),
        ("jax.nn.initializers:he_normal()", "key", "jax"),
        ("jax.nn.initializers:truncated_normal(stddev=0.02)", "key", "jax"),
        ("jax.nn.initializers:variance_scaling(2.0, 'fan_in', 'normal')", "key", "jax"),
        ("jax.nn.initializers:zeros", "key", "jax"),
        ("jax.random:truncated_normal(lower=-2.0, upper=2.0)", "key", "jax"),
        ("flax.nnx.initializers:he_normal", "key", "jax"),
        ("haiku.initializers:VarianceScaling(scale=2.0)", "shape", "jax"),
        ("keras.initializers:HeNormal", "shape", "keras"),
        ("keras.random:normal(stddev=0.1)", "shape", "keras"),
        ("tensorflow.random:truncated_normal", "shape", "tensorflow"),
        ("tensorflow.random:stateless_normal", "shape", "tensorflow"),
        ("tensorflow:random_normal_initializer", "shape", "tensorflow"),
        ("numpy.random:standard_normal", "shape", "numpy"),
        ("numpy:zeros", "shape", "numpy"),
        ("initspec:he_normal", "shape", "numpy"),
    ],
)
def test_framework_initializers_are_known(text, protocol, backend):
    foreign = load(text)
    assert (foreign.name, foreign.protocol, foreign.backend) == (text, protocol, backend)
    drawn = [foreign.draw((4, 6), foreign.dtypes[0], seed) for seed in (1, 1, 2)]
    assert {each.shape for each in drawn} == {(4, 6)}
    assert {each.dtype.name for each in drawn} == set(foreign.dtypes)
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[1], drawn[2]) == text.endswith("zeros")


@pytest.mark.parametrize("name", ["torch.nn.init:normal_", "jax.nn.initializers:normal"])
def test_bfloat16_comes_as_bits(name):
    bits = load(name).draw((300,), "bfloat16", 0)
    assert bits.dtype == np.uint16
    assert (bits & 0x7F80).any()


def test_arguments_reach_the_function():
    narrow = load("torch.nn.init:normal_(std=0.001)").draw((1000,), "float32", 0)
    assert 0 < narrow.std() < 0.0012
    moved = load("keras.initializers:RandomNormal(5.0, stddev=0.001)").draw((9,), "float32", 0)
    assert abs(moved - 5).max() < 0.01


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("torch.nn.init:kaimig_normal_", InitspecValueError, "Did you mean 'kaiming_normal_'?"),
        ("torch.nn.inti:kaiming_normal_", BackendError, "Did you mean 'init'?"),
        ("no_such_package:init", BackendError, "Is it installed"),
        ("torch.nn.init.zeros_", InitspecValueError, "Did you mean 'torch.nn.init:zeros_'?"),
        ("torch.nn.init:", InitspecValueError, "module:name"),
        ("torch.nn.init:zeros_ zeros_", InitspecValueError, "module:name"),
        ("torch.nn.init:zeros_()()", InitspecValueError, "module:name"),
        ("torch.nn.init:normal_(std=1, std=2)", InitspecValueError, "by its name, once"),
        ("torch.nn.init:normal_(**{'std': 1})", InitspecValueError, "by its name, once"),
        ("torch.nn.init:normal_(std=open('x'))", InitspecValueError, "a number, a string"),
        ("torch.nn.init:normal_(stdd=1.0)", InitspecTypeError, "Did you mean 'std'?"),
        ("torch.nn.init:normal_(0.0, 0.02)", InitspecValueError, "by their names"),
        ("torch.nn.init:sparse_", InitspecTypeError, "sparse_(sparsity=...)"),
        ("jax.random:truncated_normal(lower=-2.0)", InitspecTypeError, "upper=..."),
        ("jax.nn.initializers:constant", InitspecValueError, "give its arguments ['value']"),
        ("jax.nn.initializers:he_normal(in_axis='x', axis=1)", InitspecTypeError, "axis="),
        ("keras.initializers:HeNormal(seed=3)", InitspecValueError, "the suite gives them"),
        ("keras.initializers:VarianceScaling(scale=-1.0)", InitspecValueError, "to be made"),
        ("math:pi", InitspecTypeError, "can be called"),
        ("math:sin", InitspecValueError, "--protocol"),
        ("numpy.random:normal(scale=0.1)", InitspecValueError, "--protocol"),
        (3, InitspecTypeError, "module:name"),
    ],
)
def test_what_cannot_be_found_is_said(text, error, words):
    with pytest.raises(error) as caught:
        load(text)
    assert words in str(caught.value)


def test_arguments_are_never_evaluated(tmp_path):
    victim = tmp_path / "made"
    text = f"torch.nn.init:normal_(std=__import__('pathlib').Path({str(victim)!r}).touch())"
    with pytest.raises(InitspecValueError):
        load(text)
    assert not victim.exists()


def test_a_module_that_fails_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_init.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match="no_such_dependency") as caught:
        load("broken_init:anything")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_script_that_exits_is_no_success(tmp_path, monkeypatch):
    (tmp_path / "exiting_init.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match="SystemExit"):
        load("exiting_init:anything")


def test_naming_one_framework_imports_no_other():
    code = (
        "import sys\n"
        "from initspec_conformance.foreign import load\n"
        "load('numpy:zeros').draw((2, 2), 'float32', 0)\n"
        "print(sorted({'torch', 'jax', 'keras', 'tensorflow', 'haiku'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- objects ----------------------------------------------------------------------------------


def test_protocols_are_told_by_the_first_parameter():
    def fill(weight):
        weight.normal_()

    def key(rng, shape, dtype):
        import jax

        return jax.random.normal(rng, shape, dtype)

    assert [adapt(each).protocol for each in (fill, key, scaled)] == ["fill", "key", "shape"]
    assert adapt(scaled).backend == "numpy"


def test_a_protocol_that_cannot_be_told_is_asked_for():
    def unclear(x, y=1):
        return np.ones(x, np.float32) * y

    with pytest.raises(InitspecValueError, match=r"fill: f\(tensor\); key: .*; shape: "):
        adapt(unclear)
    assert adapt(unclear, "shape").draw((2, 2), "float32", 0).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(InitspecValueError, match="Did you mean 'shape'"):
        adapt(unclear, "shapes")


def test_the_framework_of_a_function_is_found_by_a_try():
    def theirs(shape, dtype=None):
        import torch

        return torch.randn(shape, dtype=dtype)

    foreign = adapt(theirs)
    assert (foreign.backend, foreign.takes_dtype) == ("torch", True)
    assert foreign.draw((2, 3), "bfloat16", 0).dtype == np.uint16


def test_a_function_of_convolutions_only_is_tried_with_one():
    def kernels(shape, rng):
        height, width, _, _ = shape
        return rng.standard_normal(shape) / (height * width)

    assert adapt(kernels).backend == "numpy"


def test_keras_objects_are_made_again_for_each_seed():
    import keras

    foreign = adapt(keras.initializers.HeNormal(seed=7))
    one, two, again = (foreign.draw((8, 8), "float32", seed) for seed in (1, 2, 1))
    assert not np.array_equal(one, two)
    assert np.array_equal(one, again)


def test_positional_only_and_late_parameters_are_served():
    def late(scale=1.0, *, size, dtype="float32"):
        return np.full(size, scale, dtype)

    def first(shape, /):
        return np.zeros(shape)

    assert adapt(late, "shape").draw((2,), "float32", 0).tolist() == [1, 1]
    assert adapt(first).draw((2,), "float64", 0).tolist() == [0, 0]


# --- seeds ------------------------------------------------------------------------------------


DEVICES = [
    "torch.nn.init:normal_",
    "jax.nn.initializers:normal",
    "keras.initializers:HeNormal",
    "tensorflow.random:normal",
    "initspec:he_normal",
]


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_is_used(name):
    foreign = load(name)
    here = foreign.draw((4, 4), "float32", 3, "cpu")
    assert np.array_equal(here, foreign.draw((4, 4), "float32", 3))
    with pytest.raises(InitspecValueError):
        foreign.draw((4, 4), "float32", 3, "nowhere")


def test_global_generators_are_put_back():
    import torch

    def careless(shape, dtype=None):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        return torch.randn(shape, dtype=dtype)

    foreign = adapt(careless)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    one, two = foreign.draw((4, 4), "float32", 3), foreign.draw((4, 4), "float32", 3)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert np.array_equal(one, two)
    assert before == after


def test_global_generators_are_put_back_after_an_error():
    import torch

    def failing(tensor):
        tensor.normal_()
        raise RuntimeError("half way")

    before = torch.get_rng_state().tolist(), random.getstate()
    with pytest.raises(InitspecValueError, match="half way"):
        adapt(failing).draw((2, 2), "float32", 0)
    assert before == (torch.get_rng_state().tolist(), random.getstate())


@pytest.mark.parametrize("name", ["torch.nn.init:normal_", "jax.nn.initializers:he_normal"])
def test_folded_seeds_are_found(name):
    statistics, seeds = outcomes(
        load(name), initspec.get("he_normal"), "he_normal", [WEIGHT], None, 2**15, seeds=True
    )
    assert (statistics.kind, seeds.kind, seeds.verdict) == ("statistics", "seeds", "failed")
    assert seeds.message == "seeds 0 and 0 + 2**32 give the same values"


class Counting:
    """Like Keras on torch: the seed and a counter are added."""

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype="float32"):
        self.seed += 1
        return scaled(shape, np.random.default_rng(self.seed), dtype)


class Deaf:
    def __call__(self, shape, dtype="float32"):
        return scaled(shape, np.random.default_rng(5), dtype)


class Restless:
    def __call__(self, shape, dtype="float32"):
        return scaled(shape, np.random.default_rng(), dtype)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Counting, "the second draw under seed 0 is the first one under seed 1"),
        (Deaf, "seeds 0 and 1 give the same values"),
        (Restless, "seed 0 gives other values when it is used again"),
    ],
)
def test_bad_seeding_is_found(kind, words):
    _, seeds = outcomes(
        adapt(kind), initspec.get("he_normal"), "he_normal", [DENSE], None, 1, seeds=True
    )
    assert seeds.verdict == "failed"
    assert words in seeds.message


def test_good_seeding_passes():
    _, seeds = outcomes(
        adapt(scaled), initspec.get("he_normal"), "he_normal", [DENSE], None, 1, seeds=True
    )
    assert (seeds.verdict, seeds.message) == ("passed", "")


def test_keras_on_torch_shares_streams():
    code = (
        "import os\n"
        "os.environ['KERAS_BACKEND'] = 'torch'\n"
        "from initspec_conformance.foreign import load, outcomes\n"
        "from initspec_conformance.cases import Layer\n"
        "import initspec\n"
        "layer = Layer('dense', 'IO', (64, 64))\n"
        "foreign = load('keras.initializers:HeNormal')\n"
        "init = initspec.get('he_normal')\n"
        "for found in outcomes(foreign, init, 'he_normal', [layer], None, 1, seeds=True):\n"
        "    print(found.kind, found.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "seeds the second draw under seed 0 is the first one under seed 1" in done.stdout


# --- outcomes ---------------------------------------------------------------------------------


def test_a_conforming_function_passes():
    def truncated(shape, rng, dtype="float32"):
        values = rng.standard_normal(4 * np.prod(shape))
        values = values[abs(values) < 2][: np.prod(shape)].reshape(shape)
        return (values * np.sqrt(2 / shape[0]) / 0.8796256610342398).astype(dtype)

    found = only(adapt(truncated, name="ours"))
    assert (found.verdict, found.message, found.subject) == ("passed", "", "ours")
    assert (found.size, found.case) == (2**18, "he_normal, IO (256, 128), float32")


@pytest.mark.parametrize(
    ("name", "recipe", "layer", "dtype", "words"),
    [
        ("torch.nn.init:kaiming_normal_", "he_normal", WEIGHT, "float32", "looks untruncated"),
        ("torch.nn.init:kaiming_normal_", "torch.kaiming_normal", WEIGHT, "float32", ""),
        ("torch.nn.init:kaiming_normal_", "torch.kaiming_normal", WEIGHT, "bfloat16", ""),
        ("jax.nn.initializers:he_normal", "he_normal", DENSE, "float32", ""),
        ("jax.nn.initializers:he_normal", "he_normal", DENSE, "bfloat16", "only 128 different"),
        ("keras.initializers:HeNormal", "keras.he_normal", DENSE, "float32", ""),
    ],
)
def test_frameworks_are_diagnosed(name, recipe, layer, dtype, words):
    found = only(load(name), recipe, layer, [dtype])
    assert found.verdict == ("failed" if words else "passed"), found.message
    assert words in found.message


def test_wrong_shapes_dtypes_and_types_fail():
    def turned(shape, dtype="float32"):
        return np.zeros(shape[::-1], dtype)

    def wide(shape, dtype="float32"):
        return np.zeros(shape, "float64")

    def listed(shape, dtype="float32"):
        return np.zeros(shape, dtype) if shape == (8, 8) else [0.0]

    expected = {turned: "(128, 256)", wide: "float64", listed: "an array or a tensor"}
    for function, words in expected.items():
        found = only(adapt(function))
        assert (found.verdict, found.size) == ("failed", 0)
        assert words in found.message


def test_a_function_that_fills_nothing_is_found():
    def forgetful(tensor):
        return tensor * 0  # makes a new one

    found = only(adapt(forgetful), "torch.normal", WEIGHT)
    assert found.verdict == "failed"
    assert "262144 of 262144 values are NaN" in found.message


def test_an_error_fails_with_its_cause():
    def failing(shape, dtype="float32"):
        raise OSError("no entropy today")

    foreign = load("torch.nn.init:kaiming_normal_(mode='x')")
    found = only(foreign, layer=WEIGHT)
    assert found.verdict == "failed"
    assert "Mode x not supported" in found.message
    with pytest.raises(InitspecValueError, match="no entropy today") as caught:
        adapt(failing)
    assert isinstance(caught.value.__cause__, OSError)


def test_dtypes_that_are_not_offered_are_skipped():
    double = only(load("jax.nn.initializers:he_normal"), dtypes=["float64"])
    assert (double.verdict, double.size) == ("skipped", 0)
    assert "JAX_ENABLE_X64" in double.message
    narrow = only(load("torch.nn.init:orthogonal_"), "orthogonal", WEIGHT, ["bfloat16"])
    assert narrow.verdict == "skipped"
    assert "bfloat16" in narrow.message


def test_a_function_without_dtype_is_judged_by_its_own():
    def plain(shape, rng):
        return rng.standard_normal(shape)

    foreign = adapt(plain)
    assert foreign.dtypes == ("float64",)
    assert only(foreign, "torch.normal").verdict == "passed"
    other = only(foreign, "torch.normal", dtypes=["float32"])
    assert other.verdict == "skipped"
    assert "it takes no dtype" in other.message


def test_a_recipe_that_is_not_for_the_layer_is_skipped():
    found = only(load("torch.nn.init:dirac_"), "dirac", WEIGHT)
    assert found.verdict == "skipped"
    assert "dirac is not for this layer" in found.message


def test_patterns_are_drawn_once_and_draws_one_at_a_time():
    calls = []

    def counted(shape, dtype="float32"):
        calls.append(shape)
        return np.zeros(shape, dtype)

    foreign = adapt(counted)
    calls.clear()
    assert only(foreign, "zeros").verdict == "passed"
    assert calls == [DENSE.shape]
    calls.clear()
    assert only(foreign, "he_normal", size=2**16).message == "all values equal 0"
    assert calls == [DENSE.shape] * 2
