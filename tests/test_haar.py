"""Orthogonal matrices that Gram-Schmidt makes: as LAPACK's, however they are cut, never NaN."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import initspec
from initspec import haar, stream
from initspec.fill_plan import FillPlan
from initspec.layout import Layout
from initspec.structured import Orthogonal
from initspec_kernel import fill

Matrix = NDArray[np.float64]

# One leaf, several, an odd number of lines, the strained end of a square, long lines, both sides.
SHAPES = [(1, 65), (65, 1), (30, 70), (65, 65), (97, 203), (203, 97), (256, 256), (40, 3000)]


def draws(shape: tuple[int, ...], seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape)


def made(normals: Matrix) -> Matrix:
    def draw(out: Matrix) -> None:
        out[...] = normals

    return haar.haar(normals.shape, draw)


def lapack(normals: Matrix) -> Matrix:
    """By Householder's QR, signs fixed."""
    wide = normals.shape[0] < normals.shape[1]
    q, r = np.linalg.qr(normals.T if wide else normals)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return q.T if wide else q


def distance(q: Matrix) -> float:
    """From orthonormality."""
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    return float(np.abs(small - np.eye(len(small))).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_q_of_the_qr(shape: tuple[int, int]) -> None:
    for seed in range(3):
        normals = draws(shape, seed)
        q = made(normals)
        assert distance(q) < 3e-14
        assert np.abs(q - lapack(normals)).max() < 1e-11


def test_squares_are_orthonormal_to_the_end() -> None:
    """The last lines of a square have least left of them: many draws, the worst one counts."""
    worst = max(distance(made(draws((66, 66), seed))) for seed in range(300))
    assert worst < 3e-14


@pytest.mark.parametrize("much", [1e-3, 1e-6, 1e-8, 1e-10, 1e-14, 0.0])
@pytest.mark.parametrize("pair", [(4, 5), (3, 90), (90, 99)])
def test_lines_that_nearly_depend_on_others_are_orthonormal(
    much: float, pair: tuple[int, int]
) -> None:
    normals = draws((100, 130))
    normals[pair[1]] = normals[pair[0]] + much * normals[pair[1]]
    q = made(normals)
    assert distance(q) < 3e-14
    below = np.triu(normals @ q.T, 1)  # they still are Q of that matrix, as far as it says one
    assert np.abs(below).max() < 1e-7


@pytest.mark.parametrize("rank", [0, 1, 40])
def test_what_has_no_rank_goes_to_lapack(rank: int) -> None:
    normals = draws((80, rank)) @ draws((rank, 90), 1)
    asked = []

    def draw(out: Matrix) -> None:
        asked.append(out.shape)
        out[...] = normals

    q = haar.haar(normals.shape, draw)
    assert len(asked) == 2
    assert distance(q) < 1e-13
    assert np.array_equal(q, lapack(normals))


def test_what_cannot_be_polished_is_refused_before_it_overflows() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="dependent"):
        haar._polish(10 * draws((30, 40)))


def test_small_matrices_are_lapacks() -> None:
    normals = draws((5, 7, 8))
    assert np.array_equal(made(normals), np.stack([lapack(matrix) for matrix in normals]))


# --- how they are cut and rounded ---------------------------------------------------------------

LAYOUTS: list[tuple[tuple[int, ...], str, dict[str, Any]]] = [
    ((5, 4, 6), "SOI", {}),
    ((2, 3, 6, 4), "SSOI", {}),
    ((12, 3, 2), "(G O) I W", {"groups": 3}),
    ((2, 12, 3, 2), "S (G O) I W", {"groups": 3}),
    ((3, 5, 4, 2), "HWGO", {}),
    ((6, 4, 5), "IOO", {}),
    ((8, 6), "(2 O) I", {"blocks": ("q", "k")}),
    ((70, 90), "OI", {}),
    ((90, 2, 35), "IOO", {}),
    ((2, 70, 66), "SIO", {}),
]


def written(case: tuple[tuple[int, ...], str, dict[str, Any]], run: Any, delta: bool) -> Matrix:
    shape, pattern, options = case
    layout = Layout.parse(pattern, **options)
    keys = tuple((7 + k, 9) for k in range(len(layout.blocks or (1,))))
    out = np.full(shape, np.nan)
    run(FillPlan(layout.bind(shape), Orthogonal(1.5, delta), keys), out, "float64")
    return out


@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: case[1])
@pytest.mark.parametrize("delta", [False, True])
def test_no_batch_leaves_a_seam(
    case: tuple[tuple[int, ...], str, dict[str, Any]],
    delta: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Factored together or one by one, rounded in one go or by the element."""
    whole = written(case, stream.fill, delta)
    assert np.isfinite(whole).all()
    for size in (1, 7, 50):
        monkeypatch.setattr(haar, "_BATCH", size)
        monkeypatch.setattr(haar, "_CHUNK", size)
        assert np.array_equal(written(case, fill, delta), whole)


def test_each_matrix_of_a_stack_is_made_of_its_own_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haar, "_BATCH", 1)
    options: dict[str, Any] = {"seed": 3, "dtype": "float64"}
    for shape, layout, extra in [((3, 5, 7), "SOI", {}), ((15, 7), "(G O) I", {"groups": 3})]:
        normals = initspec.normal(1.0)(shape, layout=layout, **extra, **options)
        q = initspec.orthogonal()(shape, layout=layout, **extra, **options)
        want = [lapack(matrix) for matrix in normals.reshape(3, 5, 7)]
        assert np.abs(q.reshape(3, 5, 7) - np.stack(want)).max() < 1e-13


@pytest.mark.parametrize("shape", [(96, 130), (130, 96), (3, 40, 96)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_dtype_only_rounds(shape: tuple[int, ...], dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    init = initspec.orthogonal(1.5)
    options: dict[str, Any] = {"seed": 3, "layout": "SOI"[-len(shape) :]}
    wide = init(shape, dtype="float64", **options)
    narrow = init(shape, dtype=dtype, **options)
    assert np.array_equal(narrow, wide.astype("float32").astype(narrow.dtype))


# --- memory -------------------------------------------------------------------------------------


def peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_one_matrix_at_a_time_is_in_memory() -> None:
    """In float64, and little beside it: a stack of four needs no more than one."""
    out = np.empty((4, 512, 512), np.float32)
    one = math.prod(out.shape[1:]) * 8
    used = peak(lambda: initspec.orthogonal()(out.shape, layout="SOI", seed=0, out=out))
    assert one <= used < one + 2**23
