"""What one call keeps for the next: plans without keys. It changes no result and hides no error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import initspec
import initspec_kernel
from initspec import Initializer, InitspecError, Layout, backend, stream
from initspec.shape import LARGEST, check_shape
from initspec_numpy import backend as adapter

HE = initspec.he_normal
BLOCKS = ("i", "f", "g", "o")


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """An empty store."""
    empty: dict[Any, Any] = {}
    monkeypatch.setattr(backend, "_plans", empty)
    return empty


def fails(call: Callable[[], Any]) -> str:
    with pytest.raises(InitspecError) as found:
        call()
    return f"{type(found.value).__name__} {found.value}"


def equal(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# --- what is kept -------------------------------------------------------------------------------


def test_a_second_call_makes_no_second_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = Initializer.plan
    monkeypatch.setattr(Initializer, "plan", lambda *a, **k: made.append(a) or original(*a, **k))
    options: dict[str, Any] = {"layout": "(4 O) I", "blocks": BLOCKS, "sizes": {"O": 2}}
    for seed, name in ((1, "a"), (2, "a"), (2, "b")):
        HE((8, 3), seed=seed, name=name, **options)
        HE(out=np.empty((8, 3), "f4"), seed=seed, name=name, **options)
    assert len(made) == 1
    HE.replace()((8, 3), **options)
    assert len(made) == 1, "equal initializers share"
    HE((8, 3), dtype="float64", **options)
    HE((12, 3), **options | {"sizes": {"O": 3}})
    HE.replace(gain=2.0)((8, 3), **options)
    assert len(made) == 4


def test_neither_seed_nor_name_is_kept() -> None:
    drawn = [HE((4, 4), seed=seed, name=name) for seed in (0, 1) for name in ("", "a")]
    drawn += [HE((4, 4)), HE((4, 4))]
    assert len({each.tobytes() for each in drawn}) == len(drawn)


def test_the_store_is_bounded(plans: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_MOST_PLANS", 5)
    first = HE((2, 3), seed=0)
    for n in range(1, 20):
        HE((2, n), seed=0)
        assert len(plans) <= 5
    assert equal(HE((2, 3), seed=0), first)


def test_conventions_are_told_apart() -> None:
    class Turned(type(adapter)):  # type: ignore[misc]
        convention = "OI"

    options: Any = {"layout": {}, "seed": 0, "name": "", "dtype": "float32"}
    plans = [each.plan(HE, (3, 5), **options) for each in (adapter, Turned(), adapter)]
    assert [str(plan.geometry.layout) for plan in plans] == ["IO", "OI", "IO"]


def test_threads_share_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_MOST_PLANS", 3)
    expected = {n: HE((n, 4), seed=n) for n in range(1, 9)}
    wrong: list[int] = []

    def work() -> None:
        for n in list(expected) * 40:
            if not equal(HE((n, 4), seed=n), expected[n]):
                wrong.append(n)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


# --- what equals something else and is not the same ---------------------------------------------


class Text(str):
    """A string of another class."""


GOOD: dict[str, Any] = {"layout": "(G O) I", "groups": 2, "stride": 1, "transposed": False}
BAD: dict[str, list[Any]] = {
    "groups": [True, 2.0, np.float64(2), "2"],
    "stride": [True, 1.0, (1,), [1]],
    "transposed": [0, 0.0, np.False_],
    "layout": [("(G O) I",), b"(G O) I"],
    "blocks": ["", ("a", 1)],
    "sizes": [{"O": True}, {"O": 2.0}, [("O", 2)]],
    "group": [2],
}


@pytest.mark.parametrize(("name", "value"), [(n, value) for n in BAD for value in BAD[n]])
def test_an_error_is_the_same_after_a_call_that_looks_alike(name: str, value: Any) -> None:
    def call() -> Any:
        return HE((4, 4), **GOOD | {name: value})

    before = fails(call)
    HE((4, 4), **GOOD | {"sizes": {"O": 2}})
    HE((4, 4), **GOOD)
    assert fails(call) == before == fails(call)


@pytest.mark.parametrize("shape", [(4, True), (4.0, 4), (4, np.True_), (4, "4"), (-4, 4), ("44",)])
def test_a_shape_is_checked_at_every_call(shape: Any) -> None:
    before = fails(lambda: HE(shape))
    HE((4, 4))
    HE((4, 1))
    assert fails(lambda: HE(shape)) == before


def test_a_range_is_checked_at_every_call() -> None:
    wide = initspec.normal(1e30)
    wide((4, 4))
    assert fails(lambda: wide((4, 4), dtype="float16")) == fails(
        lambda: wide((4, 4), dtype="float16")
    )
    wide((4, 4))


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "(4 O) I", "blocks": list(BLOCKS)},
        {"layout": Text("(4 O) I"), "blocks": BLOCKS},
        {"layout": "(4 O) I", "blocks": iter(BLOCKS)},
        {"layout": "(4 O) I", "blocks": (Text("i"), *BLOCKS[1:])},
        {"layout": "(4 O) I", "blocks": dict.fromkeys(BLOCKS)},
        {"layout": Layout.parse("(4 O) I", blocks=BLOCKS)},
        {"layout": "(S O) I", "blocks": BLOCKS, "sizes": {"O": np.int64(2)}},
        {"layout": "(S O) I", "blocks": BLOCKS, "sizes": {"O": np.array(2)}},
        {"layout": "(4 O) I", "blocks": BLOCKS, "stride": np.int8(1), "transposed": None},
    ],
)
def test_options_of_other_types_draw_the_same(options: dict[str, Any]) -> None:
    expected = HE((8, 3), layout="(4 O) I", blocks=BLOCKS, seed=1, name="w")
    assert equal(HE((8, 3), **options, seed=1, name="w"), expected)


def test_a_list_that_changes_is_read_again() -> None:
    blocks = ["i", "f"]
    first = HE((4, 3), layout="(2 O) I", blocks=blocks, seed=1)
    blocks[0] = "g"
    second = HE((4, 3), layout="(2 O) I", blocks=blocks, seed=1)
    assert not (first[:2] == second[:2]).any()
    assert (first[2:] == second[2:]).all()


def test_an_iterator_is_read_once() -> None:
    names = iter(BLOCKS)
    HE((8, 3), layout="(4 O) I", blocks=names)
    assert "blocks: got ()" in fails(lambda: HE((8, 3), layout="(4 O) I", blocks=names))


def test_the_number_of_axes_is_checked() -> None:
    assert len(check_shape((1,) * 32)) == 32
    assert "at most 32 axes" in fails(lambda: check_shape((1,) * 33))


SIZES = st.one_of(
    st.integers(-1, 5),
    st.sampled_from([2**30, 2**31, LARGEST, LARGEST + 1, True, 1.0, None, np.int64(3), np.True_]),
)


@given(st.lists(SIZES, max_size=34))
def test_the_short_way_of_checking_a_shape_is_the_long_way(sizes: list[Any]) -> None:
    def outcome(shape: Any) -> Any:
        try:
            found = check_shape(shape)
        except InitspecError as error:
            return str(error).replace("[", "(").replace("]", ")")
        return found, [type(size) for size in found]

    assert outcome(tuple(sizes)) == outcome(sizes)


# --- small tensors ------------------------------------------------------------------------------


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run", "cores", "boxes"):
        monkeypatch.setattr(initspec_kernel.threads, name, None)


@pytest.mark.usefixtures("no_threads")
def test_a_small_tensor_wakes_no_threads() -> None:
    assert HE((64, 64), seed=0).std() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    HE((8, 3), layout="(4 O) I", blocks=BLOCKS)


@pytest.mark.usefixtures("no_threads")
def test_a_wrong_number_of_threads_is_refused_for_a_small_tensor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INITSPEC_THREADS", "0")
    assert "INITSPEC_THREADS: got '0'" in fails(lambda: HE((4, 4)))
    monkeypatch.delenv("INITSPEC_THREADS")
    HE((4, 4))


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("kind", [np.ndarray, np.matrix])
def test_axes_are_split_without_a_copy(order: Any, kind: type) -> None:
    out = np.zeros((8, 3), "f4", order=order).view(kind)
    expected = HE((8, 3), layout="(4 O) I", blocks=BLOCKS, seed=1)
    assert HE(out=out, layout="(4 O) I", blocks=BLOCKS, seed=1, backend="numpy") is out
    np.testing.assert_array_equal(np.asarray(out), expected)
    wide = np.zeros((16, 6), "f4")[::-2, ::2]
    assert not wide.flags.c_contiguous
    HE(out=wide, layout="(4 O) I", blocks=BLOCKS, seed=1)
    np.testing.assert_array_equal(wide, expected)


# --- keys and the environment -------------------------------------------------------------------


@pytest.fixture(params=["auto", "off"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("INITSPEC_KERNEL", request.param)
    return request.param


SEEDS = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 0x243F6A8885A308D3]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["", "w", "layer.0.weight", "caf\u00e9", "x" * 1000])
def test_the_kernel_derives_the_same_keys(mode: str, seed: int, name: str) -> None:
    assert initspec_kernel.key(seed, name) == stream.key(seed, name)
    assert [type(word) for word in initspec_kernel.key(seed, name)] == [int, int]


@given(st.integers(0, 2**64 - 1), st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_the_kernel_derives_the_same_keys_of_anything(seed: int, name: str) -> None:
    assert initspec_kernel.key(seed, name) == stream.key(seed, name)


def test_without_the_kernel_it_derives_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITSPEC_KERNEL", "off")
    monkeypatch.setattr(stream, "key", lambda seed, name: ("reference", seed))
    assert initspec_kernel.key(1, "w") == ("reference", 1)


def test_variables_are_read_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    read = initspec_kernel.environment.variable
    monkeypatch.delenv("INITSPEC_TEST", raising=False)
    assert read("INITSPEC_TEST") is None
    for text in ("1", "", "caf\u00e9", "\udcff"):  # what is not UTF-8 comes as in os.environ
        monkeypatch.setenv("INITSPEC_TEST", text)
        assert read("INITSPEC_TEST") == text
    monkeypatch.delenv("INITSPEC_TEST")
    assert read("INITSPEC_TEST") is None


def test_other_keys_change_nothing_else_of_a_plan() -> None:
    plan = replace(HE.plan((3, 5)), origin=(1, 2, 4))
    assert plan.with_keys(((1, 2),)) == replace(plan, keys=((1, 2),))


def test_the_kernel_reads_names_alone() -> None:
    native = initspec_kernel._kernel
    if native is None or not hasattr(native, "getenv"):
        pytest.skip("no kernel that reads the environment")
    for name in (None, 1, b"HOME"):
        with pytest.raises(TypeError):
            native.getenv(name)
