"""Sparse draws: the zeros of the definition, however the lines are cut, in little memory."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import initspec
from initspec import sparsity, stream
from initspec.draw import normal_draw
from initspec.fill_plan import FillPlan
from initspec.layout import Geometry, Layout
from initspec.matrices import Grid, Matrices, boxes
from initspec.structured import ZEROS, Diagonal, Sparse
from initspec_kernel import fill

Case = tuple[tuple[int, ...], str, dict[str, Any]]
Run = Callable[..., None]

CASES: list[Case] = [
    ((20, 31), "OI", {}),
    ((31, 20), "IO", {}),
    ((1, 50), "OI", {}),
    ((50, 1), "OI", {}),
    ((8, 3, 5), "(G O) I W", {"groups": 2}),
    ((2, 12, 7, 3), "S (G O) I W", {"groups": 3}),
    ((3, 4, 8, 5), "SOIS", {}),
    ((6, 4, 5), "IOO", {}),
    ((3, 5, 4, 2), "HWGO", {}),
    ((8, 6), "(2 O) I", {"blocks": ("q", "k")}),
    ((3, 3, 7, 5), "HWIO", {}),
    ((0, 4), "OI", {}),
    ((4, 0), "OI", {}),
    ((3, 0, 4), "SOI", {}),
]


def chosen(geometry: Geometry, key: tuple[int, int], per: str, share: float) -> NDArray[np.bool_]:
    """By the definition: the ranks of all words, lines within a group."""
    words = [chunk for _, chunk in stream.words(key, geometry.counts, ZEROS)]
    matrices = Matrices.of(geometry)
    lines = np.concatenate([np.empty(0, np.uint32), *words])
    lines = lines.reshape(matrices.count, matrices.rows, matrices.columns)
    axis = 2 if per == "output" else 1
    order = np.argsort(lines, axis=axis, kind="stable")
    count = Sparse(normal_draw(1.0), share, per).zeros_of(lines.shape[axis])
    mask = np.zeros(lines.shape, np.bool_)
    np.put_along_axis(mask, np.take(order, range(count), axis=axis), True, axis=axis)
    return mask


def written(case: Case, content: Any, run: Run, dtype: str = "float32") -> tuple[FillPlan, Any]:
    shape, pattern, options = case
    layout = Layout.parse(pattern, **options)
    keys = tuple((7 + k, 9) for k in range(len(layout.blocks or (1,))))
    plan = FillPlan(layout.bind(shape), content, keys)
    out = np.full(shape, 7, "uint16" if dtype == "bfloat16" else dtype)
    run(plan, out, dtype)
    return plan, out


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{case[0]}")
@pytest.mark.parametrize("per", ["output", "input"])
@pytest.mark.parametrize(("chunk", "run"), [(5, fill), (8, stream.fill), (40, fill), (2**17, fill)])
def test_the_zeros_are_those_of_the_definition(
    case: Case, per: str, chunk: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparsity, "_CHUNK", chunk)
    for share in (0.01, 0.3) if chunk < 40 else (0.0, 0.3, 1.0):
        plan, out = written(case, Sparse(normal_draw(1.0), share, per), run)
        _, plain = written(case, normal_draw(1.0), run)
        for key, view in plan.blocks(out):
            mask = chosen(plan.geometry, key, per, share).reshape(view.shape)
            kept = next(part for k, part in plan.blocks(plain) if k == key)
            assert np.array_equal(view, np.where(mask, 0, kept))


@pytest.mark.parametrize("chunk", [32, 100, 2**17])
@pytest.mark.parametrize("per", ["output", "input"])
@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_of_equal_words_the_first_are_zeros(
    kinds: int, per: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that are hardly ever equal, made equal; some in their upper half alone."""

    def few(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        small: NDArray[np.uint32] = words % np.uint32(kinds)
        return small * np.uint32(0x4000_0001)

    def run(plan: FillPlan, out: Any, dtype: str) -> None:
        if isinstance(plan.content, Sparse):
            plan.content.write(plan, out, dtype, run)
            return
        stream.fill(plan, out, dtype)
        if dtype == "uint32":
            out[...] = few(out)

    real = stream.words
    monkeypatch.setattr(sparsity, "_CHUNK", chunk)
    plan, out = written(((60, 70), "OI", {}), Sparse(normal_draw(1.0), 0.3, per), run)
    monkeypatch.setattr(
        stream, "words", lambda *given: ((start, few(words)) for start, words in real(*given))
    )
    assert np.array_equal(out == 0, chosen(plan.geometry, plan.keys[0], per, 0.3)[0])


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_zeros_in_every_dtype_are_plus_zero(dtype: str) -> None:
    case: Case = (20, 31), "IO", {}
    content = Sparse(normal_draw(1.0), 0.3, "output")
    _, single = written(case, content, fill)
    _, out = written(case, content, fill, dtype)
    assert np.array_equal(out.view(f"u{out.itemsize}") == 0, single == 0)


def test_all_strides_are_written_and_nothing_else() -> None:
    content = Sparse(normal_draw(1.0), 0.3, "input")
    plan = FillPlan(Layout.parse("OI").bind((9, 10)), content, ((7, 9),))
    want = np.empty((9, 10), np.float32)
    fill(plan, want, "float32")
    whole = np.full((30, 40), 7, np.float32)
    part = whole[20:2:-2, 3:33:3]
    fill(plan, part, "float32")
    assert np.array_equal(part, want)
    part[...] = 7
    assert (whole == 7).all()


# --- a plan that starts elsewhere -----------------------------------------------------------------


@pytest.mark.parametrize("run", [stream.fill, fill])
@pytest.mark.parametrize("origin", [(0, 0, 0), (1, 0, 0), (0, 3, 0), (0, 0, 4), (2, 5, 8)])
@pytest.mark.parametrize("dtype", ["uint32", "float32", "float64", "bfloat16"])
def test_a_plan_may_be_a_box_of_a_larger_tensor(
    origin: tuple[int, int, int], dtype: str, run: Run
) -> None:
    draw = normal_draw(1.0) if dtype != "uint32" else sparsity._RANKS
    kind = "uint16" if dtype == "bfloat16" else dtype
    whole, part = np.empty((4, 11, 19), kind), np.empty((2, 6, 7), kind)
    layout = Layout.parse("SOI")
    run(FillPlan(layout.bind(whole.shape), draw, ((7, 9),)), whole, dtype)
    run(FillPlan(layout.bind(part.shape), draw, ((7, 9),), origin), part, dtype)
    s, o, j = origin
    assert np.array_equal(part, whole[s : s + 2, o : o + 6, j : j + 7])


# --- boxes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (2, 3, 5), (4, 1, 6, 2), (3, 0, 2), (1, 1)])
@pytest.mark.parametrize("limit", [1, 2, 6, 12, 1000])
def test_boxes_cover_everything_once(shape: tuple[int, ...], limit: int) -> None:
    for whole in ([], [0], [len(shape) - 1]):
        seen = np.zeros(shape, int)
        least = math.prod(shape[axis] for axis in whole)
        for box in boxes(shape, whole, limit):
            seen[box] += 1
            assert seen[box].size <= max(limit, least)
            assert all(box[axis] == slice(0, shape[axis]) for axis in whole)
        assert (seen == 1).all()


def test_a_box_is_one_stretch_of_each_coordinate() -> None:
    geometry = Layout.parse("S S (G O) O I W", groups=3).bind((2, 3, 12, 5, 7, 2))
    order = np.arange(math.prod(geometry.canonical_shape)).reshape(geometry.canonical_shape)
    grid = Grid.of(geometry, order.shape)
    assert grid.roles == "ssgoojj"
    lines = order.reshape(geometry.counts)
    for whole in ("j", "o", "oj", ""):
        for limit in (1, 4, 30, 200, 10**6):
            for box in grid.boxes(whole, limit):
                parts = [grid.span(box, roles) for roles in ("s", "go", "j")]
                want = lines[tuple(slice(start, start + length) for start, length in parts)]
                assert np.array_equal(order[box].reshape(-1), want.reshape(-1))


# --- memory -------------------------------------------------------------------------------------


def extra(shape: tuple[int, ...], layout: str, content: Any) -> int:
    """Bytes beside the tensor, at most."""
    out = np.zeros(shape, np.float32)
    plan = FillPlan(Layout.parse(layout).bind(shape), content, ((7, 9),))
    tracemalloc.start()
    try:
        fill(plan, out, "float32")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("shape", "layout", "per"),
    [
        ((2048, 2048), "OI", "output"),
        ((2048, 2048), "OI", "input"),
        ((3, 3, 512, 1024), "HWIO", "input"),
        ((2, 2**21), "OI", "output"),
        ((2**17, 2), "OI", "input"),
        ((2**20, 2), "OI", "input"),
        ((2**20, 2, 2), "SOI", "output"),
    ],
)
def test_memory_does_not_grow_with_the_tensor(
    shape: tuple[int, ...], layout: str, per: str
) -> None:
    assert extra(shape, layout, Sparse(normal_draw(1.0), 0.3, per)) < 2**23


def test_patterns_need_none() -> None:
    for content in (Diagonal(2.0), initspec.structured.Constant(1.0)):
        assert extra((2048, 2048), "OI", content) < 2**20
        assert extra((2**20, 1, 1), "SOI", content) < 2**22
    assert extra((256, 256, 4, 4), "OIHW", initspec.structured.Bilinear()) < 2**20
