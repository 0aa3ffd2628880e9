"""One tensor, or one initializer, against a recipe: what is found, and what is said."""

import doctest
import re

import numpy as np
import pytest

import initspec
from initspec_conformance import conforming
from initspec_conformance.conforming import conforms
from initspec_conformance.statistics.checks import needed

SHAPE = (64, 32, 3, 3)  # as torch stores a convolution: fan_in 288, fan_out 576
STD = (2 / 288) ** 0.5


def normals(std=STD, shape=SHAPE, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def he(**options):
    return initspec.he_normal(SHAPE, **{"layout": "OIHW", "seed": 0, **options})


def with_nan():
    weights = he()
    weights[3, 1, 2, 0] = np.nan
    return weights


def message(subject, recipe, **options):
    with pytest.raises(AssertionError) as caught:
        conforms(subject, recipe, **options)
    return str(caught.value)


def test_the_example_runs():
    assert doctest.testmod(conforming, optionflags=doctest.ELLIPSIS).failed == 0


# --- tensors ------------------------------------------------------------------------------------

DEFECTS = {
    "untruncated": (normals, "looks untruncated"),
    "fan_out": (
        lambda: initspec.he_normal.replace(mode="fan_out")(SHAPE, layout="OIHW", seed=0),
        "std is that of fan_out",
    ),
    "uniform": (
        lambda: initspec.he_uniform(SHAPE, layout="OIHW", seed=0),
        "uniform, not truncated normal",
    ),
    "raw truncation": (
        lambda: initspec.get("jax.he_normal").replace(compensate=False)(
            SHAPE, layout="OIHW", seed=0
        ),
        "truncated without",
    ),
    "layout": (
        lambda: initspec.he_normal((3, 3, 64, 32), layout="HWIO", seed=0),
        "OIHW is read as HWIO",
    ),
    "NaN": (with_nan, "1 of 18432 values are NaN or infinite"),
    "constant": (lambda: np.full(SHAPE, 0.1, np.float32), "all values equal 0.1"),
    "scale": (lambda: he() * np.float32(1.1), "too large, the shape is right"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_first_line_names_the_defect(defect):
    make, words = DEFECTS[defect]
    assert words in message(make(), "he_normal", layout="OIHW").splitlines()[0]


def test_the_message_says_what_is_off_by_how_much_and_what_was_asked():
    lines = message(he() * np.float32(2), "he_normal", layout="OIHW").splitlines()
    std = next(line for line in lines if line.startswith("  std: "))
    pattern = r"  std: 0\.16\d+, expected 0\.0833333 \+- 0\.0003\d* \(\+\d+\.\d sigma\)"
    assert re.fullmatch(pattern, std)
    assert lines[-4].startswith("recipe:  he_normal: truncated normal, std = sqrt(2 / fan_in)")
    assert lines[-3:] == [
        "layout:  OIHW (64, 32, 3, 3), float32, numpy",
        "fans:    fan_in 288, fan_out 576",
        "values:  18432 of the tensor",
    ]


def test_a_right_tensor_is_examined():
    found = conforms(he(), "he_normal", layout="OIHW")
    assert found.passed
    assert (found.size, found.message) == (18432, "")
    assert found.resolution < 0.06
    assert {"mean", "std", "distribution"} <= {check.name for check in found.checks}


def test_recipes_are_what_get_takes():
    for recipe in (initspec.he_normal, initspec.he_normal.to_dict(), "kaiming_normal"):
        assert conforms(he(), recipe, layout="OIHW").passed
    assert "recipe:  Initializer(" in message(he(), initspec.normal(0.1), layout="OIHW")


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow", "keras"])
def test_tensors_have_the_layout_of_their_framework(backend):
    pytest.importorskip(backend)
    shape = (64, 32, 3, 3) if backend == "torch" else (3, 3, 32, 64)
    weights = initspec.he_normal(shape, backend=backend, seed=5, name="w")
    assert conforms(weights, "he_normal").size == 18432
    assert conforms(weights, "he_normal", seed=5, name="w").passed
    other = "IOHW" if backend == "torch" else "HWOI"
    assert "is read as" in message(weights, "he_normal", layout=other).splitlines()[0]


def test_bfloat16_and_a_parameter_of_torch():
    torch = pytest.importorskip("torch")
    weights = initspec.he_normal(SHAPE, backend="torch", dtype="bfloat16", seed=1)
    assert conforms(torch.nn.Parameter(weights), "he_normal").passed
    assert conforms(torch.nn.Parameter(weights), "he_normal", seed=1).passed
    wide = initspec.he_normal(SHAPE, backend="torch", seed=1)
    cut = (wide.view(torch.int32) & -65536).view(torch.float32).to(torch.bfloat16)
    assert message(cut, "he_normal", seed=1).startswith("rounded towards zero, not to nearest; ")


def test_layout_options_count():
    grouped = initspec.he_normal((240, 16, 3, 3), layout="OIHW", groups=5, seed=0)
    options = {"layout": "(G O) I H W", "sizes": {"G": 5}}
    assert conforms(grouped, "he_normal", **options).passed
    both = initspec.glorot_normal((240, 16, 3, 3), layout="OIHW", groups=5, seed=0)
    assert conforms(both, "glorot_normal", layout="OIHW", groups=5).passed
    assert "std" in message(both, "glorot_normal", layout="OIHW")


def test_a_shape_or_dtype_that_was_not_expected_is_a_finding():
    assert message(he(), "he_normal", layout="OIHW", shape=(32, 64, 3, 3)).startswith(
        "the shape is (64, 32, 3, 3), expected (32, 64, 3, 3)"
    )
    words = "the dtype is float32, expected bfloat16"
    assert message(he(), "he_normal", layout="OIHW", dtype="bfloat16").startswith(words)
    assert conforms(he(), "he_normal", layout="OIHW", shape=SHAPE, dtype=np.float32).passed


def test_contents_without_a_law_are_compared_exactly():
    assert conforms(initspec.zeros((3,), layout="O"), "zeros", layout="O").size == 3
    words = "3 of 3 values differ from constant 0"
    assert message(initspec.ones((3,), layout="O"), "zeros", layout="O").startswith(words)
    square = initspec.orthogonal()((16, 16), seed=0)
    assert conforms(square, "orthogonal").passed
    assert message(square * 1.1, "orthogonal").startswith("the matrices are not orthogonal")


def test_a_tensor_that_can_be_called_is_a_tensor():
    jax = pytest.importorskip("jax")

    class Parameter:
        """As some libraries wrap theirs."""

        def __init__(self, value):
            self.value, self.shape, self.dtype = value, value.shape, value.dtype

        def __call__(self):
            return self.value

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.value)

    weights = Parameter(initspec.he_normal((64, 64), backend="jax", seed=0))
    assert jax.numpy.shape(weights.value) == (64, 64)
    assert conforms(weights, "he_normal", backend="jax", seed=0).passed


# --- too few values -----------------------------------------------------------------------------


def test_too_few_values_are_a_failure_that_says_what_to_do():
    lines = message(initspec.he_normal((8, 16), seed=0), "he_normal").splitlines()
    enough = needed(0.25, 2.3655367171296495)
    assert lines[0] == f"too few values to tell: 128, but {enough} are needed"
    text = " ".join(lines)
    assert "Pass the initializer" in text
    assert "resolution=0.59." in text
    assert conforms(initspec.he_normal((8, 16), seed=0), "he_normal", resolution=0.59).passed


@pytest.mark.parametrize("seed", range(40))
def test_few_values_are_no_false_alarm(seed):
    weights = initspec.normal(1.0)((4, 8), seed=seed)
    assert message(weights, initspec.normal(1.0)).startswith("too few values to tell: 32, but")


def test_what_is_grossly_wrong_shows_in_few_values():
    weights = initspec.he_normal((8, 16), seed=0)
    weights[0, 0] = np.inf
    assert message(weights, "he_normal").startswith("1 of 128 values are NaN or infinite")
    weights[0, 0] = 9.0
    assert "beyond the bounds: 1, expected 0 (impossible)" in message(weights, "he_normal")
    assert message(np.full((8, 16), 0.3, np.float32), "he_normal").startswith("all values equal")


@pytest.mark.parametrize("recipe", ["he_normal", "he_uniform", "torch.kaiming_normal"])
def test_the_resolution_is_what_is_promised(recipe):
    """With just enough values, a std that is 25 % off is found each time."""
    init = initspec.get(recipe)
    enough = needed(0.25, init.describe((1, 50), "OI").kurtosis)
    for seed in range(30):
        weights = init((enough, 50), layout="OI", seed=seed)[:, :1]
        right = initspec.get(recipe).replace(fan=50.0)
        assert conforms(weights, right, layout="OI").size == enough
        for factor in (0.75, 1.25):
            assert message(weights * np.float32(factor), right, layout="OI")


def test_several_tensors_count_together():
    drawn = [initspec.he_normal((8, 16), seed=seed) for seed in range(20)]
    assert conforms(drawn, "he_normal").size == 20 * 128
    equal = [drawn[0]] * 20
    assert message(equal, "he_normal").splitlines()[-1] == "values:  2560 of 20 tensors"
    assert "tensors of neighbouring seeds or names are equal" in message(equal, "he_normal")
    with pytest.raises(initspec.InitspecValueError, match="shape: got"):
        conforms([*drawn, initspec.he_normal((16, 8), seed=0)], "he_normal")


def test_no_values_at_all_are_a_failure():
    assert message(np.zeros((0, 3), np.float32), "he_normal").startswith("no values: the shape is")


# --- every bit ----------------------------------------------------------------------------------


def test_with_a_seed_every_bit_counts():
    weights = initspec.he_normal((8, 16), seed=7, name="fc")
    assert conforms(weights, "he_normal", seed=7, name="fc").size == 128
    weights[2, 3] = np.nextafter(weights[2, 3], np.float32(1))
    lines = message(weights, "he_normal", seed=7, name="fc").splitlines()
    assert "up to 1 steps of float32" in lines[0]
    assert "1 of 128 values are not those of seed 7 and name 'fc'" in lines[0]
    assert lines[1] == "  other than initspec draws: 1, expected 0 (impossible)"


def test_wrong_bits_are_diagnosed():
    unnamed = initspec.he_normal((8, 16), seed=7)
    assert message(unnamed, "he_normal", seed=7, name="fc").startswith(
        "the name does not enter the key; 128 of 128 values are not those of seed 7"
    )
    later = initspec.he_normal((8, 16), seed=8, name="fc")
    assert message(later, "he_normal", seed=7, name="fc").startswith("the key is that of the next")
    assert message(normals(), "he_normal", layout="OIHW", seed=7).startswith("looks untruncated")
    stranger = initspec.he_normal((8, 16), seed=99)
    assert message(stranger, "he_normal", seed=7).startswith("128 of 128 values are not those of")


def test_matrices_agree_up_to_their_factorisation():
    square = initspec.orthogonal()((16, 16), seed=3)
    assert conforms(square * np.float32(1 + 1e-6), "orthogonal", seed=3).passed
    assert "256 of 256" in message(initspec.orthogonal()((16, 16), seed=4), "orthogonal", seed=3)


# --- initializers -------------------------------------------------------------------------------


def test_initializers_of_torch_are_drawn_until_it_is_enough():
    torch = pytest.importorskip("torch")
    kaiming = torch.nn.init.kaiming_normal_
    found = conforms(kaiming, "torch.kaiming_normal", shape=(64, 8, 3, 3))
    assert found.resolution <= 0.02
    assert found.size >= needed(0.02, 3.0)
    lines = message(kaiming, "he_normal").splitlines()
    assert lines[0].startswith("looks untruncated")
    assert lines[-3] == "layout:  OI (448, 1088), float32, torch"
    assert lines[-1] == "values:  974848 of 2 draws, seeds 0 to 1"


def test_initializers_of_jax_and_keras():
    jax, keras = pytest.importorskip("jax"), pytest.importorskip("keras")
    assert conforms(jax.nn.initializers.he_normal(), "he_normal").passed
    words = "only 128 different values"
    assert message(jax.nn.initializers.he_normal(), "he_normal", dtype="bfloat16").startswith(words)
    assert conforms(keras.initializers.HeNormal(), "he_normal", shape=(3, 3, 16, 16)).passed
    assert "uniform, not" in message(keras.initializers.HeUniform(), "he_normal", shape=(99, 64))


def test_a_function_of_ones_own():
    def small(shape, rng):
        return rng.normal(0.0, 0.02, shape).astype(np.float32)

    assert conforms(small, initspec.normal(0.02), shape=(50, 20)).size >= needed(0.02, 3.0)
    assert "truncated at two sigma" not in message(small, initspec.truncated_normal(0.02))
    seeds = message(small, "he_normal", seed=5, shape=(999, 333))
    assert seeds.endswith("of 2 draws, seeds 5 to 6")


def test_without_a_shape_the_first_layer_that_fits_is_drawn():
    assert conforms(initspec.dirac, "dirac").size == 2 * 3 * 3 * 176 * 304
    assert conforms(initspec.he_normal, "he_normal", layout="HWIO").size == 2 * 9 * 176 * 304
    with pytest.raises(initspec.InitspecTypeError, match="Pass shape="):
        conforms(initspec.he_normal, "he_normal", layout="HWIO", groups=7)


def test_a_shape_that_would_take_too_many_draws_is_refused():
    with pytest.raises(initspec.InitspecValueError, match="at least 110 values: 109449"):
        conforms(initspec.he_normal, "he_normal", shape=(4, 4))
    assert conforms(initspec.he_normal, "he_normal", shape=(4, 4), resolution=0.2).passed


# --- bad calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "options", "words"),
    [
        (None, {}, "subject: got None"),
        ([], {}, "a tensor, or several"),
        (
            "torch",
            {},
            "subject: got 'torch'; expected a tensor of .* or an initializer. Pass backend=",
        ),
        (np.zeros((64, 64), np.int32), {}, "one of float32"),
        (np.zeros((64, 64), ">f4"), {}, "one of float32"),
        (np.zeros(64, np.float32), {}, "layout"),
        (np.zeros((64, 64), np.float32), {"layout": "OIHW"}, "4 axes|2 axes|axes"),
        (np.zeros((64, 64), np.float32), {"grups": 3}, "Did you mean 'groups'"),
        (np.zeros((64, 64), np.float32), {"recipe": "he_norml"}, "Did you mean 'he_normal'"),
        (np.zeros((64, 64), np.float32), {"name": "w"}, "Pass seed= as well"),
        (initspec.he_normal, {"name": "w"}, "Leave it away"),
        (np.zeros((64, 64), np.float32), {"seed": -1}, "seed: got -1"),
        (np.zeros((64, 64), np.float32), {"resolution": 0}, "a positive number"),
        (np.zeros((64, 64), np.float32), {"resolution": float("nan")}, "a positive number"),
        (np.zeros((64, 64), np.float32), {"resolution": True}, "a number, such as"),
        (np.zeros((64, 64), np.float32), {"dtype": "int8"}, "dtype: got 'int8'"),
        (np.zeros((64, 64), np.float32), {"shape": (64, -1)}, "shape"),
        (np.zeros((64, 64), np.float32), {"backend": "numpi"}, "Did you mean 'numpy'"),
        ([np.zeros((64, 64), np.float32)] * 2, {"seed": 0}, "one by one"),
    ],
)
def test_a_question_without_sense_is_an_error(subject, options, words):
    with pytest.raises(initspec.InitspecError, match=words):
        conforms(subject, **{"recipe": "he_normal", **options})
