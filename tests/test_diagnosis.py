"""The diagnosis names the mistake that was made, and none in honest samples."""

import math

import numpy as np
import pytest

import initspec
from initspec.fans import RULES
from initspec.layout import Layout
from initspec.stream import cast
from initspec_conformance.statistics.diagnosis import diagnose, likely_scales, mistakes
from initspec_conformance.statistics.laws import Target
from initspec_conformance.statistics.tally import Tally

LAYERS = {  # shape, pattern, options; all fans differ
    "OI": ((224, 544), "OI", {}),
    "IO": ((544, 224), "IO", {}),
    "OIHW": ((152, 88, 3, 3), "OIHW", {}),
    "HWIO": ((3, 3, 88, 152), "HWIO", {}),
    "groups": ((280, 44, 3, 3), "OIHW", {"groups": 5}),
    "two groups": ((280, 44, 3, 3), "OIHW", {"groups": 2}),
    "keras groups": ((3, 3, 44, 280), "HWIO", {"groups": 5}),
    "depthwise": ((3, 3, 6500, 2), "HWGO", {}),
    "transposed": ((104, 68, 4, 4), "IOHW", {"stride": 2}),
    "keras transposed": ((4, 4, 68, 104), "HWOI", {"stride": 2}),
    "double": ((256, 512), "OI", {}),
    "square": ((320, 320), "OI", {}),
}
TWO_SIGMA = 0.8796256610342398
DTYPES = ("float32", "bfloat16", "float16")


def bound(layer):
    shape, pattern, options = LAYERS[layer]
    return Layout.parse(pattern, **options).bind(shape)


def rng(seed):
    return np.random.Generator(np.random.PCG64(seed))


def draw(kind, std, size, seed=0):
    """Normals; truncated at two sigmas, corrected (``cut``) or not (``raw``); or uniforms."""
    source = rng(seed)
    if kind == "normal":
        return source.normal(0.0, std, size)
    if kind == "uniform":
        return source.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, size)
    values = np.zeros(0)
    while values.size < size:
        more = source.standard_normal(size)
        values = np.concatenate([values, more[np.abs(more) <= 2]])
    return values[:size] * std / (TWO_SIGMA if kind == "cut" else 1.0)


def said(recipe, layer, arrays, dtype="float32"):
    """The diagnosis of tensors, given in float64 and flat."""
    init, geometry = initspec.get(recipe), bound(layer)
    tally = Tally(Target.of(init, geometry), dtype)
    for array in arrays:
        tally.add(cast(array, dtype).reshape(geometry.shape), geometry)
    return diagnose(tally, tally.checks(), init, geometry)


def tensors(kind, std, layer, count=3, seed=0):
    size = math.prod(LAYERS[layer][0])
    return [draw(kind, std, size, 10 * seed + n) for n in range(count)]


def he(fan):
    return math.sqrt(2.0 / fan)


def glorot(fan_in, fan_out):
    return math.sqrt(2.0 / (fan_in + fan_out))


# --- another law --------------------------------------------------------------------------------

FAN_OUT, FAN_IN = "std is that of fan_out", "std is that of fan_in"
LECUN = "variance 1 / fan instead of 2 / fan (LeCun's for He's)"
HE = "variance 2 / fan instead of 1 / fan (He's for LeCun's)"
UNTRUNCATED, UNIFORM = "looks untruncated", "uniform, not truncated normal"
UNCORRECTED = "truncated without the correction of the std"
GROUPS, LIMIT = "the groups are ignored", "1 / sqrt(fan_in)"

LAWS = [  # recipe, layer, what was drawn, its std, what has to be said
    # shapes
    ("he_normal", "OI", "normal", he(544), UNTRUNCATED),
    ("he_normal", "HWIO", "normal", he(792), UNTRUNCATED),
    ("he_normal", "OI", "normal", he(544) / TWO_SIGMA, "with the std of before the cut"),
    ("he_normal", "OI", "raw", he(544), UNCORRECTED),
    ("he_normal", "OI", "uniform", he(544), UNIFORM),
    ("he_uniform", "OI", "normal", he(544), "normal, not uniform"),
    ("he_uniform", "OI", "cut", he(544), "truncated at two sigma, not uniform"),
    ("torch.kaiming_normal", "OI", "cut", he(544), "truncated at two sigma, not normal"),
    ("torch.kaiming_normal", "OI", "raw", he(544), UNCORRECTED),
    ("torch.kaiming_normal", "OI", "uniform", he(544), "uniform, not normal"),
    ("he_normal", "OI", "cut", he(544) * TWO_SIGMA * math.sqrt(1.3), "contrib"),
    # scales
    ("he_normal", "OI", "cut", he(224), FAN_OUT),
    ("he_normal", "IO", "cut", he(224), FAN_OUT),
    ("he_normal", "OI", "cut", he(384), "std is that of fan_avg"),
    ("he_normal", "OI", "cut", he(math.sqrt(224 * 544)), "std is that of fan_geo_avg"),
    ("he_uniform", "OI", "uniform", he(224), FAN_OUT),
    ("glorot_uniform", "OI", "uniform", math.sqrt(1 / 544), FAN_IN),
    ("glorot_normal", "OI", "cut", math.sqrt(1 / 224), FAN_OUT),
    ("glorot_normal", "OI", "cut", he(544), "std is He's"),
    ("he_normal", "OI", "cut", he(1088), LECUN),
    ("lecun_normal", "OI", "cut", he(544), HE),
    ("he_normal", "OI", "cut", glorot(544, 224), "std is Glorot's"),
    ("he_normal", "square", "cut", glorot(320, 320), LECUN),
    ("he_normal", "square", "normal", glorot(320, 320), f"{UNTRUNCATED}, and std is Glorot's"),
    ("lecun_uniform", "OI", "uniform", math.sqrt(1 / 544 / 3), LIMIT),
    ("lecun_uniform", "OI", "uniform", math.sqrt(1 / 544 / 3), "std is taken for the limit"),
    (
        "he_uniform",
        "OI",
        "uniform",
        math.sqrt(3) * he(544),
        "limit of a uniform is taken for a std",
    ),
    ("he_uniform", "OI", "uniform", math.sqrt(1 / 3) * he(544), "std is taken for the limit"),
    ("he_uniform", "OI", "uniform", math.sqrt(1 / 544 / 3), LIMIT),
    ("he_normal", "OI", "uniform", math.sqrt(1 / 544 / 3), f"{UNIFORM}, and the limit is 1 / sqrt"),
    ("glorot_uniform", "OI", "uniform", math.sqrt(1 / 544 / 3), LIMIT),
    (
        "torch.kaiming_normal",
        "OI",
        "normal",
        he(544) / TWO_SIGMA,
        "corrected for truncation, which is not",
    ),
    # both
    ("he_normal", "OI", "normal", he(224), f"{UNTRUNCATED}, and {FAN_OUT}"),
    ("he_normal", "OI", "raw", he(224), f"{UNCORRECTED}, and {FAN_OUT}"),
    ("he_normal", "OI", "uniform", he(224), f"{UNIFORM}, and {FAN_OUT}"),
    ("he_normal", "OI", "normal", he(1088), f"{UNTRUNCATED}, and {LECUN}"),
    # layouts
    ("he_normal", "HWIO", "cut", he(3 * 152 * 88), "HWIO is read as OIHW"),
    ("he_normal", "OIHW", "cut", he(3 * 3 * 152), FAN_OUT),
    ("he_normal", "OIHW", "cut", he(152 * 88 * 3), "OIHW is read as HWIO"),
    ("he_normal", "OI", "cut", he(224), "OI is read as IO"),
    ("he_normal", "groups", "cut", he(5 * 396), GROUPS),
    ("he_normal", "keras groups", "cut", he(5 * 396), GROUPS),
    ("he_normal", "two groups", "cut", he(2 * 396), GROUPS),
    ("he_normal", "two groups", "cut", he(2 * 396), LECUN),
    ("glorot_normal", "groups", "cut", glorot(396, 280 * 9), GROUPS),
    ("he_normal", "depthwise", "cut", he(6500 * 9), "fans are counted as keras"),
    ("he_normal", "depthwise", "cut", he(6500 * 9), GROUPS),
    ("he_normal", "transposed", "cut", he(68 * 16), "fans are counted as torch"),
    ("he_normal", "transposed", "cut", he(104 * 16), "stride is ignored"),
    ("he_normal", "keras transposed", "cut", he(104 * 16), "stride is ignored"),
    ("he_normal", "double", "cut", he(256), FAN_OUT),
    ("he_normal", "double", "cut", he(1024), LECUN),
    # no known mistake
    ("he_normal", "OI", "cut", 1.06 * he(544), "the std is"),
    ("he_normal", "OI", "cut", 1.06 * he(544), "too large, the shape is right"),
    ("he_uniform", "OI", "uniform", 0.93 * he(544), "too small, the shape is right"),
    ("torch.kaiming_normal", "OI", "normal", 1.06 * he(544), "too large, the shape is right"),
]


@pytest.mark.parametrize(("recipe", "layer", "kind", "std", "words"), LAWS)
def test_another_law_is_named(recipe, layer, kind, std, words):
    count = 4 if "contrib" in words else 1
    assert words in said(recipe, layer, tensors(kind, std, layer, count))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("recipe", "kind", "std", "words"),
    [
        ("he_normal", "normal", he(544), UNTRUNCATED),
        ("he_normal", "uniform", he(544), UNIFORM),
        ("he_normal", "raw", he(544), UNCORRECTED),
        ("he_normal", "cut", he(224), FAN_OUT),
        ("he_normal", "normal", he(224), f"{UNTRUNCATED}, and {FAN_OUT}"),
        ("he_uniform", "uniform", he(1088), LECUN),
        ("he_uniform", "uniform", 1.05 * he(544), "too large, the shape is right"),
        ("he_uniform", "normal", he(544), "normal, not uniform"),
        ("lecun_uniform", "uniform", he(544), HE),
    ],
)
def test_another_law_is_named_in_narrow_dtypes(recipe, kind, std, words, dtype):
    assert words in said(recipe, "OI", tensors(kind, std, "OI", 1), dtype)


def test_a_mistake_that_cannot_be_told_apart_is_joined():
    message = said("he_normal", "two groups", tensors("cut", he(2 * 396), "two groups"))
    assert f"{GROUPS} or {LECUN}" in message


def test_he_is_not_named_where_it_is_asked_for():
    found = [words for words, _ in likely_scales(*_law_of("he_normal", "double"))]
    assert not any(HE in words for words in found)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("recipe", ["he_normal", "glorot_uniform", "torch.kaiming_normal"])
def test_no_two_mistakes_of_one_slip_have_the_same_scale(recipe, layer):
    init, geometry, target = _law_of(recipe, layer)
    factors = sorted(math.log(factor) for _, factor in likely_scales(init, geometry, target))
    assert np.diff(factors).min() > 1e-4
    assert 0.0 not in factors
    slips = [mistake.slips for mistake in mistakes(init, geometry, target)]
    assert slips == sorted(slips)
    assert slips[:2] == [0, 1]


def _law_of(recipe, layer):
    init, geometry = initspec.get(recipe), bound(layer)
    return init, geometry, Target.of(init, geometry)


# --- the dialects' fans -------------------------------------------------------------------------


def _counted_otherwise():
    for rule in ("torch", "keras", "jax"):
        for layer in ("groups", "depthwise", "transposed", "keras transposed"):
            for mode in ("fan_in", "fan_out"):
                ours, theirs = (getattr(RULES[name](bound(layer)), mode) for name in ("true", rule))
                if ours != theirs:
                    yield rule, layer, mode, ours / theirs


@pytest.mark.parametrize(("rule", "layer", "mode", "ratio"), list(_counted_otherwise()))
def test_fans_that_a_framework_counts_otherwise_are_named(rule, layer, mode, ratio):
    init = initspec.get("he_normal").replace(mode=mode)
    geometry = bound(layer)
    scales = likely_scales(init, geometry, Target.of(init, geometry))
    words = [words for words, factor in scales if math.isclose(factor, math.sqrt(ratio))]
    assert len(words) == 1
    assert f"{rule}" in words[0]
    assert "fans are counted as" in words[0]


# --- what no law explains -----------------------------------------------------------------------


def _nan(arrays):
    arrays[0][77] = math.nan
    arrays[1][78] = math.inf


def _leaks(arrays):
    for array in arrays:
        array[::30_000] = np.abs(array).max() * 1.4


def _contains(arrays):
    arrays[1][5000:9000] = arrays[0][3000:7000]


def _equal(arrays):
    arrays[1][:] = arrays[0]


def _constant(arrays):
    for array in arrays:
        array[:] = 0.125


def _tiled(arrays):
    for array in arrays:
        array[:] = np.resize(array[:4096], array.size)


def _run(arrays):
    arrays[0][70_000:70_256] = arrays[0][900:1156]


def _shift(arrays):
    for array in arrays:
        np.add(array, 0.05 * he(544), out=array)


def _positive(arrays):
    for array in arrays:
        np.abs(array, out=array)


def _same_rows(arrays):
    for array in arrays:
        array.reshape(224, 544)[1::2] = array.reshape(224, 544)[::2]


def _zero_rows(arrays):
    for array in arrays:
        array[: 5 * 544] = 0.0


def _clipped(arrays):
    for array in arrays:
        np.clip(1.2 * array, -0.1, 0.1, out=array)


def _grid(arrays):
    for array in arrays:
        np.divide(np.round(array * 500), 500, out=array)


def _two_values(arrays):
    for array in arrays:
        array[:] = np.sign(array) * he(544)


def _opposite(arrays):
    arrays[1][:] = -arrays[0]


def _sorted(arrays):
    for array in arrays:
        array.sort()


STRANGE = [
    (_nan, "2 of 365568 values are NaN or infinite"),
    (_leaks, "the truncation leaks: 15 of 365568 values are beyond the bounds, up to 3.18 std"),
    (_contains, "share values"),
    (_equal, "tensors of neighbouring seeds or names are equal"),
    (_constant, "all values equal 0.125"),
    (_tiled, "repeat themselves: they correlate at a distance of 4096"),
    (_run, "runs of values occur twice"),
    (_shift, "the mean is off by +0.0"),
    (_positive, "the mean is off by +0.8"),
    (_same_rows, "repeat themselves: they correlate at a distance of 544"),
    (_zero_rows, "8160 of 365568 values are 0"),
    (_clipped, "values are -0.1, an end: clipped, not drawn again"),
    (_grid, "different values among 365568"),
    (_two_values, "only 2 different values among 365568"),
    (_opposite, "tensors of neighbouring seeds or names share values"),
    (_sorted, "the values repeat themselves"),
]


@pytest.mark.parametrize(
    ("change", "words"), STRANGE, ids=lambda value: getattr(value, "__name__", "")
)
def test_strange_values_are_named(change, words):
    arrays = tensors("cut", he(544), "OI")
    change(arrays)
    assert words in said("he_normal", "OI", arrays)


@pytest.mark.parametrize(("change", "words"), STRANGE[:1] + STRANGE[2:4] + STRANGE[5:7])
def test_they_are_all_that_is_named(change, words):
    arrays = tensors("cut", he(544), "OI")
    change(arrays)
    message = said("he_normal", "OI", arrays)
    assert ";" not in message
    assert "std" not in message


@pytest.mark.parametrize("factor", [9.0, 1000.0, 0.01])
@pytest.mark.parametrize("recipe", ["he_normal", "torch.kaiming_normal"])
def test_a_wrong_scale_is_not_taken_for_equal_seeds(recipe, factor):
    message = said(recipe, "OI", tensors("normal", factor * he(544), "OI"))
    assert "neighbouring" not in message
    assert "std" in message


@pytest.mark.parametrize(
    ("layer", "std", "words"),
    [
        ("OI", 1.0, "the std is 1: nothing is scaled"),
        ("OI", he(544) ** 2, "the variance is taken for the std"),
        ("OIHW", he(88), "the receptive field is left out of the fans"),
        ("HWIO", he(152), "std is that of fan_out without the receptive field"),
    ],
)
def test_common_slips_have_names(layer, std, words):
    assert words in said("torch.kaiming_normal", layer, tensors("normal", std, layer))


def test_a_leak_of_four_in_a_million_is_named():
    """Keras on torch: all of four candidates beyond two sigmas."""
    geometry = Layout.parse("OI").bind((2048, 2048))
    target = Target.of(initspec.he_normal, geometry)
    values = draw("cut", target.std, 2**22)
    source = rng(9)
    out = np.flatnonzero(source.random(2**22) < 4e-6)
    values[out] *= (2.0 + source.random(out.size)) * target.sigma / np.abs(values[out])
    tally = Tally(target, "float32")
    tally.add(values.astype(np.float32).reshape(2048, 2048), geometry)
    message = diagnose(tally, tally.checks(), initspec.he_normal, geometry)
    assert message.startswith(f"the truncation leaks: {out.size} of 4194304 values")


def test_contrib_is_told_from_a_leak():
    std = he(544) * TWO_SIGMA * math.sqrt(1.3)
    for count in (1, 9):
        message = said("he_normal", "OI", tensors("cut", std, "OI", count))
        assert message.startswith("truncated with contrib's")


# --- rounding -----------------------------------------------------------------------------------


def _cut_off(values, dtype):
    """Rounded towards zero; the values in float64."""
    if dtype == "bfloat16":
        return (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    near = values.astype(np.float16)
    return np.where(np.abs(near) > np.abs(values), np.nextafter(near, np.float16(0)), near)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_digits_that_were_cut_off(dtype):
    arrays = [_cut_off(a, dtype) for a in tensors("cut", he(544), "OI", 10)]
    assert "rounded towards zero, not to nearest" in said("he_normal", "OI", arrays, dtype)


@pytest.mark.parametrize(("bits", "words"), [(7, "drawn in bfloat16"), (10, "more than once")])
def test_a_uniform_on_a_coarse_grid(bits, words):
    limit = math.sqrt(3) * he(544)
    grid = [
        (2 * np.floor(rng(n).random(224 * 544) * 2**bits) / 2**bits - 1) * limit for n in range(3)
    ]
    message = said("he_uniform", "OI", grid, "bfloat16")
    assert "different values instead of about" in message
    assert words in message


def test_an_upper_bound_that_is_left_out():
    """U(-1/16, 1/16): what rounds to the upper bound comes out as the lower one."""
    init = initspec.uniform(-0.0625, 0.0625)
    geometry, target = bound("OI"), Target.uniform(-0.0625, 0.0625)
    tally = Tally(target, "bfloat16")
    for seed in range(8):
        bits = cast(rng(seed).uniform(-0.0625, 0.0625, 224 * 544), "bfloat16")
        bits[bits == 0x3D80] = 0xBD80
        tally.add(bits.reshape(224, 544), geometry)
    message = diagnose(tally, tally.checks(), init, geometry)
    assert message.startswith("no value rounds to the upper bound")
    assert message.endswith("they come out as the lower bound")


# --- honest samples -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("recipe", "kind"),
    [("he_normal", "cut"), ("he_uniform", "uniform"), ("torch.kaiming_normal", "normal")],
)
def test_honest_samples_have_no_diagnosis(recipe, kind, dtype):
    for seed, layer in enumerate(list(LAYERS)[::2]):
        std = Target.of(initspec.get(recipe), bound(layer)).std
        assert said(recipe, layer, tensors(kind, std, layer, 1, seed), dtype) == ""


def test_a_tensor_that_nobody_wrote():
    nothing = [np.full(224 * 544, math.nan)] * 2
    message = said("he_normal", "OI", nothing)
    assert (
        message
        == f"{2 * 224 * 544} of {2 * 224 * 544} values are NaN or infinite: nothing is written"
    )
