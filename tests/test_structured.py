"""Contents that are not drawn word by word: orthogonal, identity, dirac, bilinear, sparse."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import initspec
from initspec import Initializer
from initspec.errors import InitspecValueError
from initspec.structured import Sparse

SEED = 11


def draw(init: Initializer, shape: tuple[int, ...], layout: str, **options: Any) -> NDArray[Any]:
    keywords: dict[str, Any] = {"seed": SEED, "dtype": "float64"} | options
    array: NDArray[Any] = init(shape, layout=layout, **keywords)
    return array


def is_orthonormal(q: NDArray[Any], gain: float = 1.0, tolerance: float = 1e-13) -> bool:
    """Whether rows or columns, whichever are fewer, are orthonormal times the gain."""
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    return bool(np.abs(small - gain**2 * np.eye(len(small))).max() <= tolerance * gain**2)


# --- orthogonal -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_rows_or_columns_are_orthonormal(shape: tuple[int, int], gain: float) -> None:
    q = draw(initspec.orthogonal(gain), shape, "OI")
    assert is_orthonormal(q, gain)
    assert np.array_equal(draw(initspec.orthogonal(gain), shape[::-1], "IO"), q.T)


def test_a_kernel_is_a_matrix_of_outputs_by_taps() -> None:
    for shape, layout in [((6, 4, 3, 3), "OIHW"), ((40, 4, 3, 3), "OIHW")]:
        q = draw(initspec.orthogonal(), shape, layout)
        assert is_orthonormal(q.reshape(shape[0], -1))
        other = draw(initspec.orthogonal(), (3, 3, 4, shape[0]), "HWIO")
        assert np.array_equal(other.transpose(3, 2, 0, 1), q)


def test_heads_are_one_matrix() -> None:
    q = draw(initspec.orthogonal(), (16, 4, 8), "IOO")
    assert is_orthonormal(q.reshape(16, 32))


def test_each_group_stack_and_block_has_its_own_matrix() -> None:
    grouped = draw(initspec.orthogonal(), (8, 3, 2, 1), "(G O) I H W", groups=2)
    stacked = draw(initspec.orthogonal(), (3, 5, 7), "SOI")
    fused = draw(initspec.orthogonal(), (8, 6), "(2 O) I")
    named = draw(initspec.orthogonal(), (8, 6), "(2 O) I", blocks=("q", "k"), name="a")
    sets = [
        grouped.reshape(2, 4, 6),
        stacked,
        fused.reshape(2, 4, 6),
        named.reshape(2, 4, 6),
    ]
    for matrices in sets:
        assert all(is_orthonormal(matrix) for matrix in matrices)
        assert np.abs(matrices[0] - matrices[1]).max() > 0.1, "and not the same one"
    for name, matrix in zip(("q", "k"), sets[3], strict=True):
        alone = draw(initspec.orthogonal(), (4, 6), "OI", name=f"a#{name}")
        assert np.array_equal(alone, matrix)


def test_depthwise_kernels_are_orthogonal_per_channel() -> None:
    q = draw(initspec.orthogonal(), (3, 3, 5, 2), "HWGO")
    for channel in range(5):
        assert is_orthonormal(q[:, :, channel].reshape(9, 2))


def test_the_matrix_is_haar_distributed() -> None:
    """Each entry of the diagonal has mean 0 only if the signs of R are fixed.

    Householder QR makes the diagonal of Q lean to one sign (of n = 3, column 0 has mean -1/2):
    the fix makes it symmetric. Of 4000 matrices, the mean of an entry has a standard error of
    1/sqrt(3 * 4000) = 0.009; five of them are allowed.
    """
    q = draw(initspec.orthogonal(), (4000, 3, 3), "SOI")
    assert np.abs(q.mean(axis=0)).max() < 5 / math.sqrt(3 * 4000)
    # E q**4 = 3 / (n (n + 2)): the law of a coordinate of a uniform point on the sphere.
    error = math.sqrt(0.071 / 4000)  # E q**8 = 105 / (3 * 5 * 7 * 9), less 0.2**2; one per matrix
    assert (q**4).mean() == pytest.approx(3 / 15, abs=5 * error)
    assert initspec.orthogonal().describe((3, 3)).kurtosis == 3 / 15 * 3**2
    # and the determinant is as often 1 as -1: a binomial with a deviation of sqrt(4000) / 2.
    signs = np.linalg.det(q) > 0
    assert abs(int(signs.sum()) - 2000) < 5 * math.sqrt(4000) / 2


def test_r_has_a_positive_diagonal() -> None:
    """Q is the QR factor of the draws themselves, with R's diagonal above zero."""
    normals = draw(initspec.normal(1.0), (6, 4), "OI")
    q = draw(initspec.orthogonal(), (6, 4), "OI")
    r = q.T @ normals
    assert (np.diagonal(r) > 0).all()
    assert np.abs(np.tril(r, -1)).max() < 1e-13
    wide = draw(initspec.orthogonal(), (4, 6), "OI")
    r = wide @ draw(initspec.normal(1.0), (4, 6), "OI").T
    assert (np.diagonal(r) > 0).all()
    assert np.abs(np.tril(r, -1)).max() < 1e-13


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_narrow_dtypes_are_the_rounded_matrix(dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    wide = draw(initspec.orthogonal(1.5), (9, 6), "OI")
    narrow = draw(initspec.orthogonal(1.5), (9, 6), "OI", dtype=dtype)
    assert np.array_equal(narrow, wide.astype("float32").astype(narrow.dtype))


@pytest.mark.parametrize("init", [initspec.orthogonal(0.0), initspec.sparse(0.5, std=0.0)])
def test_a_factor_of_zero_gives_zeros(init: Initializer) -> None:
    assert not draw(init, (4, 4), "OI").any()
    assert init.describe((4, 4), "OI").std == 0.0


def test_a_matrix_with_an_empty_side_is_empty() -> None:
    for init in (initspec.orthogonal(), initspec.identity(), initspec.sparse(0.5)):
        assert draw(init, (0, 4), "OI").shape == (0, 4)


@pytest.mark.parametrize("layout", ["O", "I", "SO", "_", "GV", "VGI", "HWI"])
@pytest.mark.parametrize("init", [initspec.orthogonal(), initspec.sparse(0.5)])
def test_without_rows_and_columns_there_is_no_matrix(init: Initializer, layout: str) -> None:
    with pytest.raises(InitspecValueError, match="output axes and input axes: a matrix"):
        draw(init, (2,) * len(layout), layout)


# --- delta orthogonal -------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_delta_orthogonal_stands_at_the_lower_centre(k: int) -> None:
    kernel = draw(initspec.delta_orthogonal, (k, k + 1, 3, 5), "HWIO")
    centre = (k - 1) // 2, k // 2
    assert is_orthonormal(kernel[centre])
    kernel[centre] = 0
    assert not kernel.any()


def test_delta_orthogonal_as_jax_has_it() -> None:
    for shape in [(4, 3, 5), (4, 4, 3, 3), (2, 3, 4, 2, 6)]:
        peer = np.asarray(jax.nn.initializers.delta_orthogonal()(jax.random.key(0), shape))
        ours = draw(initspec.delta_orthogonal, shape, "DHWIO"[-len(shape) :])
        assert np.array_equal(peer != 0, ours != 0)


def test_delta_orthogonal_per_group() -> None:
    kernel = draw(initspec.delta_orthogonal, (8, 2, 3, 3), "(G O) I H W", groups=2)
    first, second = kernel[:4, :, 1, 1], kernel[4:, :, 1, 1]
    assert is_orthonormal(first)
    assert is_orthonormal(second)
    assert np.abs(first - second).max() > 0.1


def test_delta_orthogonal_refuses_what_cannot_be() -> None:
    with pytest.raises(InitspecValueError, match="no more inputs than outputs"):
        draw(initspec.delta_orthogonal, (3, 3, 5, 4), "HWIO")
    with pytest.raises(InitspecValueError, match="spatial axes and no more inputs"):
        draw(initspec.delta_orthogonal, (3, 5), "IO")


# --- identity and dirac, against torch ----------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (1, 4)])
def test_identity_is_torchs_eye(shape: tuple[int, int]) -> None:
    peer = torch.nn.init.eye_(torch.empty(shape)).numpy()
    assert np.array_equal(draw(initspec.identity(), shape, "OI"), peer)
    assert np.array_equal(draw(initspec.identity(0.5), shape, "OI"), peer / 2)
    assert np.array_equal(draw(initspec.identity(), shape[::-1], "IO"), peer.T)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 2, 3, 3), (6, 4, 4, 2), (4, 6, 3, 4, 5)])
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_is_torchs_dirac(shape: tuple[int, ...], groups: int) -> None:
    peer = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    layout = "OIDHW" if len(shape) == 5 else "OIHW"[: len(shape)]
    assert np.array_equal(draw(initspec.dirac, shape, layout, groups=groups), peer)


def test_identity_of_each_stack_and_block() -> None:
    assert np.array_equal(draw(initspec.identity(), (2, 3, 3), "SIO"), np.stack([np.eye(3)] * 2))
    named = draw(initspec.identity(), (4, 2), "(2 O) I", blocks=("q", "k"))
    assert np.array_equal(named, np.concatenate([np.eye(2)] * 2))


def test_dirac_keeps_what_it_convolves() -> None:
    image = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype("float32")
    kernel = torch.from_numpy(draw(initspec.dirac, (4, 4, 3, 3), "OIHW", dtype="float32"))
    out = torch.nn.functional.conv2d(torch.from_numpy(image), kernel, padding=1)
    assert np.array_equal(out.numpy(), image)


@pytest.mark.parametrize(
    ("init", "shape", "layout", "text"),
    [
        (initspec.identity(), (3, 3, 4, 4), "HWIO", "I and O and no spatial axis for it"),
        (initspec.identity(), (3,), "I", "I and O and no spatial axis for it"),
        (initspec.dirac, (3, 3), "IO", "I, O and spatial axes for it"),
        (initspec.dirac, (3, 3, 4), "HWO", "I, O and spatial axes for it"),
        (initspec.bilinear, (3, 3), "IO", "spatial axes for bilinear"),
    ],
)
def test_patterns_refuse_other_layouts(
    init: Initializer, shape: tuple[int, ...], layout: str, text: str
) -> None:
    with pytest.raises(InitspecValueError, match=text):
        draw(init, shape, layout)


# --- bilinear ---------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8])
def test_bilinear_is_caffes_filler(k: int) -> None:
    half = (k + 1) // 2
    centre = (2 * half - 1 - half % 2) / (2.0 * half)
    caffe = [
        [(1 - abs(x / half - centre)) * (1 - abs(y / half - centre)) for x in range(k)]
        for y in range(k)
    ]
    kernel = draw(initspec.bilinear, (2, 3, k, k), "OIHW")
    assert np.abs(kernel - np.array(caffe)).max() < 1e-15
    assert np.array_equal(
        draw(initspec.bilinear, (k, k, 3, 2), "HWIO").transpose(3, 2, 0, 1), kernel
    )


def test_bilinear_upsamples() -> None:
    """A stride-2 transposed convolution with it interpolates: a ramp stays a ramp inside."""
    kernel = torch.from_numpy(draw(initspec.bilinear, (1, 1, 4, 4), "IOHW"))
    ramp = torch.arange(6, dtype=torch.float64).repeat(6, 1)[None, None]
    out = torch.nn.functional.conv_transpose2d(ramp, kernel, stride=2, padding=1).numpy()[0, 0]
    assert np.allclose(np.diff(out[4], 1)[2:-2], 0.5)


def test_bilinear_of_other_ranks_and_unequal_sizes() -> None:
    four = [0.25, 0.75, 0.75, 0.25]
    assert np.array_equal(draw(initspec.bilinear, (4, 1, 1), "WIO")[:, 0, 0], four)
    kernel = draw(initspec.bilinear, (4, 3, 1, 1), "HWIO")[..., 0, 0]
    assert np.array_equal(kernel, np.outer(four, [0.25, 0.75, 0.75]))


# --- sparse -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.25, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("shape", [(20, 30), (7, 10)])
def test_sparse_counts_are_torchs(sparsity: float, shape: tuple[int, int]) -> None:
    peer = torch.nn.init.sparse_(torch.empty(shape), sparsity).numpy()
    ours = draw(initspec.sparse(sparsity, per="input"), shape, "OI")
    assert np.array_equal((ours == 0).sum(axis=0), (peer == 0).sum(axis=0))


@pytest.mark.parametrize("per", ["output", "input"])
def test_each_line_has_the_same_number_of_zeros(per: str) -> None:
    init = initspec.sparse(0.3, std=1.0, per=per)
    zeros = draw(init, (4, 5, 3, 3), "OIHW") == 0
    lines = zeros.reshape(4, -1).sum(axis=1) if per == "output" else zeros.sum(axis=0).reshape(-1)
    assert set(lines.tolist()) == {math.ceil(0.3 * (45 if per == "output" else 4))}


def test_lines_end_where_a_group_or_stack_ends() -> None:
    init = initspec.sparse(0.5, std=1.0, per="input")
    grouped = draw(init, (8, 3), "(G O) I", groups=2).reshape(2, 4, 3) == 0
    stacked = draw(init, (2, 4, 3), "SOI") == 0
    for zeros in (grouped, stacked):
        assert (zeros.sum(axis=1) == 2).all()


def test_what_is_not_zero_is_the_plain_draw() -> None:
    plain = draw(initspec.normal(0.5), (30, 40), "OI")
    sparse = draw(initspec.sparse(0.25, std=0.5), (30, 40), "OI")
    assert np.array_equal(sparse[sparse != 0], plain[sparse != 0])


def test_the_zeros_are_anywhere_and_independent_of_the_values() -> None:
    zeros = draw(initspec.sparse(0.5, std=1.0), (2000, 8), "OI") == 0
    # Each place is zero in half of the lines: a binomial with a deviation of sqrt(2000) / 2.
    assert np.abs(zeros.sum(axis=0) - 1000).max() < 5 * math.sqrt(2000) / 2
    # Independent: among zeros as elsewhere half the plain values are positive.
    positive = draw(initspec.normal(1.0), (2000, 8), "OI")[zeros] > 0
    assert abs(int(positive.sum()) - 4000) < 5 * math.sqrt(8000) / 2


def test_rounding_up_is_not_fooled_by_a_last_bit() -> None:
    """0.07 * 100 is 7.000000000000001 in floating point, and 7 zeros are meant."""
    assert Sparse(None, 0.07, "output").zeros_of(100) == 7  # type: ignore[arg-type]
    assert Sparse(None, 0.071, "output").zeros_of(100) == 8  # type: ignore[arg-type]
    assert Sparse(None, 1.0, "output").zeros_of(3) == 3  # type: ignore[arg-type]


def test_sparse_is_one_logical_tensor_in_all_layouts() -> None:
    a = draw(initspec.sparse(0.4), (6, 5, 2, 3), "OIHW")
    b = draw(initspec.sparse(0.4), (2, 3, 5, 6), "HWIO")
    assert np.array_equal(a, b.transpose(3, 2, 0, 1))
    assert np.array_equal(
        draw(initspec.sparse(0.4), (6, 5), "OI", name="x#q"),
        draw(initspec.sparse(0.4), (12, 5), "(2 O) I", blocks=("q", "k"), name="x")[:6],
    )
