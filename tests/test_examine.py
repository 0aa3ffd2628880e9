"""Examinations: draws, constants, patterns, matrices and sparse ones, honest and not."""

import math

import numpy as np
import pytest
from law_samples import DTYPES, TARGETS, bound, drawn, rng, samples
from scipy import stats

import initspec
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.layout import Layout
from initspec.stream import as_float, cast
from initspec_conformance.examine import _positions, examine
from initspec_conformance.statistics.laws import Target


def judged(init, shape, pattern, arrays, dtype="float32", **options):
    return examine(init, Layout.parse(pattern, **options).bind(shape), dtype, arrays)


def reference(init, shape, pattern, seeds=range(4), dtype="float32", **options):
    found = [
        initspec.get(init)(shape, layout=pattern, seed=seed, name="w", dtype=dtype, **options)
        for seed in seeds
    ]
    return [np.asarray(a).view(np.uint16) if dtype == "bfloat16" else np.array(a) for a in found]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("init", "shape", "pattern"),
    [
        (initspec.zeros, (4, 5), "OI"),
        (initspec.ones, (7,), "O"),
        (initspec.Initializer(distribution="constant", value=0.1), (3, 3), "OI"),
        (initspec.get("identity"), (6, 4), "OI"),
        (initspec.get("dirac"), (6, 4, 3, 3), "OIHW"),
        (initspec.bilinear, (2, 1, 4, 4), "OIHW"),
    ],
    ids=lambda value: getattr(value, "distribution", None),
)
def test_patterns_are_compared_value_by_value(init, shape, pattern, dtype):
    arrays = reference(init, shape, pattern, dtype=dtype)
    assert judged(init, shape, pattern, arrays, dtype).passed
    first = arrays[0].reshape(-1)
    first[-1] = cast(np.array([0.77]), dtype)[0]
    found = judged(init, shape, pattern, arrays, dtype)
    assert not found.passed
    assert found.message.startswith(f"1 of {found.size} values differ")


def test_a_pattern_of_named_blocks():
    arrays = reference(initspec.ones, (12, 4), "(3 O) I", blocks="qkv")
    assert judged(initspec.ones, (12, 4), "(3 O) I", arrays, blocks="qkv").passed


def test_a_constant_that_is_nan():
    found = judged(initspec.ones, (2, 2), "OI", [np.full((2, 2), np.nan, np.float32)])
    assert not found.passed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(48, 64), (64, 48)])
def test_orthogonal_matrices(shape, dtype):
    init = initspec.orthogonal()
    arrays = reference(init, shape, "OI", dtype=dtype)
    assert judged(init, shape, "OI", arrays, dtype).message == ""


def test_matrices_that_are_not_orthogonal():
    init, shape = initspec.orthogonal(), (48, 64)
    arrays = reference(init, shape, "OI")
    for wrong in ([1.01 * a for a in arrays], _normals(shape), [np.full(shape, np.nan, "f4")]):
        found = judged(init, shape, "OI", [a.astype(np.float32) for a in wrong])
        assert "not orthogonal" in found.message
    assert judged(
        initspec.orthogonal(gain=1.01), shape, "OI", [np.float32(1.01) * a for a in arrays]
    ).passed


def _normals(shape):
    return [rng(seed).standard_normal(shape) / math.sqrt(shape[1]) for seed in range(4)]


def test_a_factorisation_without_its_signs_is_not_haar():
    wrong = [np.linalg.qr(rng(seed).standard_normal((64, 64)))[0] for seed in range(4)]
    found = judged(initspec.orthogonal(), (64, 64), "OI", [q.astype(np.float32) for q in wrong])
    assert "not Haar" in found.message


def test_delta_orthogonal_kernels():
    init, shape = initspec.delta_orthogonal, (3, 3, 16, 32)
    arrays = reference(init, shape, "HWIO")
    assert judged(init, shape, "HWIO", arrays).passed
    arrays[1][0, 2, 3, 4] = 1e-3
    found = judged(init, shape, "HWIO", arrays)
    assert "beside the centre" in found.message
    assert "not orthogonal" not in found.message
    corner = [np.roll(a, 1, axis=0) for a in reference(init, shape, "HWIO")]
    assert "beside the centre" in judged(init, shape, "HWIO", corner).message


@pytest.mark.parametrize("per", ["output", "input"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_matrices(per, dtype):
    init, shape = initspec.sparse(0.25, std=0.1, per=per), (96, 120)
    assert judged(init, shape, "OI", reference(init, shape, "OI", dtype=dtype), dtype).message == ""


def test_sparse_matrices_with_defects():
    init, shape = initspec.sparse(0.25, std=0.1), (96, 120)
    arrays = reference(init, shape, "OI")
    ordered = [np.take_along_axis(a, (a != 0).argsort(axis=1, kind="stable"), 1) for a in arrays]
    one_sided = [np.hstack([a[:, ::2], a[:, 1::2]]) for a in ordered]
    for wrong in (ordered, one_sided):
        message = judged(init, shape, "OI", wrong).message
        assert message.startswith("zeros are not equally likely")
        assert "lines do not" not in message
    assert "std" in judged(init, shape, "OI", [np.float32(1.1) * a for a in arrays]).message
    arrays[2][5, np.flatnonzero(arrays[2][5] == 0)[0]] = 0.1
    assert judged(init, shape, "OI", arrays).message == "1 of 384 lines have less than 30 zeros"


def test_a_draw_of_zero_is_rare_and_no_alarm_but_many_are():
    init, shape = initspec.sparse(0.25, std=0.1), (96, 120)
    arrays = reference(init, shape, "OI")
    for row in range(5):
        arrays[0][row, np.flatnonzero(arrays[0][row])[0]] = 0.0
        message = judged(init, shape, "OI", arrays).message
        assert message == ("5 of 384 lines have more than 30 zeros" if row == 4 else ""), row


def test_small_normals_become_zero_in_16_bits():
    init, shape = initspec.sparse(0.25, std=1e-5), (96, 120)
    assert judged(
        init, shape, "OI", reference(init, shape, "OI", dtype="float16"), "float16"
    ).passed


def test_nan_in_few_lines_is_named():
    init, shape = initspec.sparse(0.25, std=0.1), (4, 8)
    arrays = reference(init, shape, "OI")[:1]
    arrays[0][arrays[0] != 0] = np.nan
    assert judged(init, shape, "OI", arrays).message.startswith("not finite")


def test_sparse_lines_that_are_short_are_no_alarm():
    init, shape = initspec.sparse(0.5, std=0.1), (64, 2)
    values = np.tile([[0.0, 1.0], [1.0, 0.0]], (32, 1)) * drawn(Target.normal(0, 0.1), 128).reshape(
        64, 2
    )
    assert judged(init, shape, "OI", [values.astype(np.float32)]).passed


def test_places_of_zeros_have_their_law():
    found = []
    for seed in range(300):
        order = rng(seed).random((400, 10)).argsort(axis=1)
        (check,) = _positions((order < 3).sum(axis=0).astype(float), 400)
        found.append(9 * check.value)
    assert stats.kstest(found, stats.chi2(9).cdf).pvalue > 1e-3


def test_lines_of_one_value_have_no_places():
    assert list(_positions(np.array([50.0]), 100)) == []


def test_draws_are_judged_by_their_law():
    arrays = samples(TARGETS["normal"], bound("dense"))
    found = examine(initspec.normal(0.25), bound("dense"), "float32", arrays)
    assert (found.message, found.size) == ("", 2 * 96 * 160)
    assert found.picture is not None
    assert found.resolution == pytest.approx(11.32 * math.sqrt(2 / (4 * found.size)), rel=1e-2)
    assert "too large" in examine(initspec.normal(0.2), bound("dense"), "float32", arrays).message


def test_an_empty_case_passes_and_resolves_nothing():
    found = judged(initspec.he_normal, (0, 4), "OI", [np.zeros((0, 4), np.float32)])
    assert found.passed
    assert (found.size, found.resolution) == (0, None)


def test_a_wrong_shape_or_dtype_is_refused():
    with pytest.raises(InitspecValueError, match="shape"):
        judged(initspec.zeros, (4, 5), "OI", [np.zeros((5, 4), np.float32)])
    for dtype, array in (("float32", np.zeros((4, 5))), ("bfloat16", np.zeros((4, 5), "f2"))):
        with pytest.raises(InitspecTypeError, match="dtype"):
            judged(initspec.zeros, (4, 5), "OI", [array], dtype)


def test_patterns_hold_what_was_stored():
    assert as_float(reference(initspec.ones, (2,), "O", [0], "bfloat16")[0]).tolist() == [1.0, 1.0]
