"""The layout algebra: what patterns mean, and that coordinates alone decide a value."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import initspec
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.layout import Geometry, Layout, default_pattern

NORMAL = initspec.normal(1.0)


def draw(shape: tuple[int, ...], layout: str, **options: Any) -> NDArray[Any]:
    keywords: dict[str, Any] = {"seed": 7, "name": "w"} | options
    array: NDArray[Any] = NORMAL(shape, layout=layout, **keywords)
    return array


def equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


# --- reading a pattern ------------------------------------------------------------------------

READ = [
    ("", [], ""),
    ("I", ["I"], "I"),
    ("OIHW", ["O", "I", "H", "W"], "OIHW"),
    ("O I H W", ["O", "I", "H", "W"], "OIHW"),
    ("IOO", ["I", "O", "O"], "IOO"),
    ("(G O) I H W", ["GO", "I", "H", "W"], "(G O) I H W"),
    ("(GO)IHW", ["GO", "I", "H", "W"], "(G O) I H W"),
    ("\t(G\nO) IHW ", ["GO", "I", "H", "W"], "(G O) I H W"),
    ("(O)I", ["O", "I"], "OI"),
    ("(4 O) I", ["#O", "I"], "(4 O) I"),
    ("4OI", ["#", "O", "I"], "4 O I"),
    ("04 O I", ["#", "O", "I"], "4 O I"),
    ("S_VI", ["S", "_", "V", "I"], "S_VI"),
    ("(I H W) O", ["IHW", "O"], "(I H W) O"),
]


@pytest.mark.parametrize(("pattern", "axes", "normal"), READ)
def test_a_pattern_is_read(pattern: str, axes: list[str], normal: str) -> None:
    layout = Layout.parse(pattern)
    assert ["".join(f.letter for f in axis) for axis in layout.axes] == axes
    assert layout.pattern == str(layout) == normal
    assert Layout.parse(layout.pattern) == layout, "the normal form reads back"
    assert Layout.parse(layout) is layout


LEGEND = "letters I (in), O (out)"
FAULTS = [
    ("OIhW", 2, LEGEND),
    ("OIKW", 2, LEGEND),
    ("#OI", 0, LEGEND),
    ("O,I", 1, LEGEND),
    ("O-I", 1, LEGEND),
    ("(G O I", 6, "a closing parenthesis"),
    ("(", 1, "a closing parenthesis"),
    ("G O) I", 3, LEGEND),
    ("((G O) I)", 1, LEGEND),
    ("() I", 1, LEGEND),
    ("(0 O) I", 1, "a number of blocks from 1 to"),
    ("9" * 5000, 0, "a number of blocks from 1 to"),
    ("(\u0663 O) I", 1, LEGEND),
    ("O\0I", 1, LEGEND),
]


@pytest.mark.parametrize("pattern", ["_" * 33, f"({'1 ' * 32}O) I"])
def test_a_pattern_has_as_many_factors_as_numpy_has_axes(pattern: str) -> None:
    with pytest.raises(InitspecValueError, match="at most 32 factors"):
        Layout.parse(pattern)


@pytest.mark.parametrize(("pattern", "position", "expected"), FAULTS)
def test_a_fault_in_a_pattern_is_pointed_at(pattern: str, position: int, expected: str) -> None:
    with pytest.raises(InitspecValueError) as caught:
        Layout.parse(pattern)
    error = caught.value
    assert error.where == "layout"
    assert error.given == pattern
    assert error.expected.startswith(expected)
    *_, shown, caret = str(error).split("\n")
    assert shown == f"  {pattern}"
    assert caret == "  " + " " * position + "^"


@given(st.text(alphabet="GOIHWSV_#()0123456789 \nab", max_size=12) | st.text(max_size=8))
def test_any_text_is_read_or_refused(pattern: str) -> None:
    try:
        layout = Layout.parse(pattern)
    except InitspecValueError:
        return
    assert Layout.parse(layout.pattern) == layout
    assert "None" not in layout.pattern


@pytest.mark.parametrize(
    ("order", "transposed"),
    [
        ("OIHW", False),
        ("HWIO", False),
        ("OIW", False),
        ("DHWIO", False),
        ("HWGO", False),
        ("(G O) I H W", False),
        ("IO", False),
        ("OI", False),
        ("IOO", False),
        ("VO", False),
        ("IOHW", True),
        ("IOW", True),
        ("IODHW", True),
        ("HWOI", True),
        ("WOI", True),
        ("(G I) O H W", True),
        ("S IOHW", True),
    ],
)
def test_a_transposed_convolution_is_seen_by_its_letters(order: str, transposed: bool) -> None:
    assert Layout.parse(order).transposed is transposed
    assert Layout.parse(order, transposed=not transposed).transposed is not transposed


# --- options ----------------------------------------------------------------------------------

OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("OIHW", {"groups": 8}, "(G O) I H W"),
    ("HWIO", {"groups": 8}, "H W I (G O)"),
    ("IOHW", {"groups": 8}, "(G I) O H W"),  # the groups share the input of a transposed one
    ("OIHW", {"groups": 8, "transposed": True}, "O (G I) H W"),
    ("OIHW", {"groups": 1}, "OIHW"),
    ("HWGO", {"groups": 8}, "HWGO"),
    ("(G O) I H W", {"groups": 8}, "(G O) I H W"),
]


@pytest.mark.parametrize(("pattern", "options", "normal"), OPTIONS)
def test_groups_find_their_axis(pattern: str, options: dict[str, Any], normal: str) -> None:
    layout = Layout.parse(pattern, **options)
    assert layout.pattern == normal
    sizes = {f.letter: f.size for axis in layout.axes for f in axis}
    assert sizes.get("G", 1) == options["groups"]


def test_sizes_fill_in_composite_axes() -> None:
    geometry = Layout.parse("(V G O) I", sizes={"V": 5, "G": 3}).bind((30, 4))
    assert geometry.factored_shape == (5, 3, 2, 4)
    zero = Layout.parse("(G O) I", groups=2, sizes={"O": 0}).bind((0, 4))
    assert zero.factored_shape == (2, 0, 4)


def test_a_stride_counts_once_per_spatial_axis() -> None:
    assert Layout.parse("IOHW", stride=2).stride == 4
    assert Layout.parse("IOHW", stride=(2, 3)).stride == 6
    assert Layout.parse("IOHW", stride=[2, 3]).stride == 6  # type: ignore[arg-type]
    assert Layout.parse("IO", stride=2).stride == 1


BAD_OPTIONS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("OIHW", {"groups": 0}, InitspecValueError, "groups: got 0; expected an integer of at least 1"),
    ("OIHW", {"groups": -1}, InitspecValueError, "groups: got -1; expected an integer of at least"),
    ("OIHW", {"groups": 2.0}, InitspecTypeError, "groups: got 2.0; expected an integer"),
    ("OIHW", {"groups": True}, InitspecTypeError, "A boolean is not a size."),
    ("OIHW", {"groups": [2]}, InitspecTypeError, "groups: got [2]; expected an integer"),
    ("IHW", {"groups": 2}, InitspecValueError, "Write the group factor yourself"),
    ("GGO", {"groups": 2}, InitspecValueError, "Write the group factor yourself"),
    ("IOO", {"groups": 2}, InitspecValueError, "expected one O axis to hold the groups"),
    ("OIHW", {"stride": 0}, InitspecValueError, "stride: got 0; expected an integer of at least 1"),
    ("OIHW", {"stride": (2,)}, InitspecValueError, "2 numbers, one per spatial axis of 'OIHW'"),
    ("OIHW", {"stride": (2, 0)}, InitspecValueError, "stride[1]: got 0"),
    ("OIHW", {"stride": 2.0}, InitspecTypeError, "stride: got 2.0; expected an integer"),
    ("OIHW", {"stride": (1.0, True)}, InitspecTypeError, "stride[0]: got 1.0"),
    ("OIHW", {"stride": "2"}, InitspecTypeError, "stride: got '2'; expected an integer"),
    ("OIHW", {"transposed": "no"}, InitspecTypeError, "transposed: got 'no'; expected True, False"),
    ("OIHW", {"transposed": 1}, InitspecTypeError, "transposed: got 1; expected True, False"),
    ("OIHW", {"sizes": {"Q": 3}}, InitspecValueError, "a letter that stands once in 'OIHW'"),
    ("IOO", {"sizes": {"O": 3}}, InitspecValueError, "a letter that stands once in 'IOO'"),
    ("OI", {"sizes": {"O": -1}}, InitspecValueError, "sizes['O']: got -1"),
    ("OI", {"sizes": {"O": [1]}}, InitspecTypeError, "sizes['O']: got [1]"),
    ("(4 O) I", {"sizes": {"#": 5}}, InitspecValueError, "a letter that stands once in '(4 O) I'"),
    ("OI", {"sizes": {"OI": 3}}, InitspecValueError, "a letter that stands once in 'OI'"),
    ("", {"sizes": {"": 3}}, InitspecValueError, "a letter that stands once in ''"),
    (
        "(G O) I",
        {"groups": 2, "sizes": {"G": 3}},
        InitspecValueError,
        "got 3; expected 2, like gro",
    ),
    ("OI", {"sizes": 5}, InitspecTypeError, "a dictionary such as {'G': 8}"),
    ("OI", {"sizes": {1: 5}}, InitspecTypeError, "a dictionary such as {'G': 8}"),
    ("(4 O) I", {"blocks": ["i", "f"]}, InitspecValueError, "4 names, one per block"),
    ("(2 O) I", {"blocks": ["i", "i"]}, InitspecValueError, "different, non-empty names"),
    ("(2 O) I", {"blocks": ["i", ""]}, InitspecValueError, "different, non-empty names"),
    ("(2 O) I", {"blocks": [1, 2]}, InitspecTypeError, "strings, one name per block"),
    ("(2 O) I", {"blocks": 2}, InitspecTypeError, "strings, one name per block"),
    ("OI", {"blocks": ["a", "b"]}, InitspecValueError, "Write the fused axis as in '(4 O) I'"),
    ("(2 3 O) I", {"blocks": ["a", "b"]}, InitspecValueError, "one block axis in '(2 3 O) I'"),
]


@pytest.mark.parametrize(("pattern", "options", "kind", "text"), BAD_OPTIONS)
def test_bad_options_are_refused(
    pattern: str, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    for good in ({"stride": 1}, {"stride": 2}, {"stride": (1, 1)}, {"transposed": True}):
        Layout.parse("OIHW", **good)  # equal to a bad one for a cache that takes 1.0 for 1
    with pytest.raises(kind, match=re.escape(text)):
        Layout.parse(pattern, **options)


leaf = st.none() | st.booleans() | st.integers(-1, 4) | st.sampled_from([2.0, "", "O", "qk"])
junk = leaf | st.lists(leaf, max_size=3) | st.dictionaries(leaf, leaf, max_size=2)
keywords = st.sampled_from(["groups", "blocks", "stride", "transposed", "sizes"])
patterns = st.sampled_from(["OIHW", "(2 O) I", "SOI", "(G O) I", "IOO"])


@given(pattern=patterns, options=st.dictionaries(keywords, junk))
def test_any_options_are_read_or_refused(pattern: str, options: dict[str, Any]) -> None:
    try:
        Layout.parse(pattern, **options).bind((4,) * len(Layout.parse(pattern).axes))
    except (InitspecTypeError, InitspecValueError):
        return


def test_options_do_not_come_with_a_parsed_layout() -> None:
    layout = Layout.parse("OIHW")
    for options in ({"groups": 2}, {"stride": 2}, {"transposed": True}, {"sizes": {"O": 2}}):
        with pytest.raises(InitspecTypeError, match="a pattern, when groups, blocks"):
            Layout.parse(layout, **options)


@pytest.mark.parametrize("letter", ["G", "S"])
def test_a_size_of_zero_leaves_nothing_unwritten(letter: str) -> None:
    with pytest.raises(InitspecValueError, match="whose length"):
        Layout.parse(f"({letter} O) I", sizes={letter: 0}).bind((6, 4))
    assert Layout.parse(f"({letter} O) I", sizes={letter: 0}).bind((0, 4)).counts[1:] in ((0, 4),)


@pytest.mark.parametrize("pattern", [None, 5, b"OI", ["O", "I"]])
def test_a_pattern_is_a_string(pattern: Any) -> None:
    with pytest.raises(InitspecTypeError, match=r"a pattern string\. For example 'OIHW'"):
        Layout.parse(pattern)


# --- binding to a shape -----------------------------------------------------------------------

BOUND = [
    ("OIHW", {}, (64, 32, 3, 5), (1, 64, 32 * 15)),
    ("HWIO", {}, (3, 5, 32, 64), (1, 64, 32 * 15)),
    ("OIHW", {"groups": 8}, (64, 4, 3, 5), (1, 64, 4 * 15)),
    ("HWGO", {}, (3, 5, 32, 2), (1, 64, 15)),
    ("SIO", {}, (4, 16, 32), (4, 32, 16)),
    ("(4 O) I", {}, (32, 16), (4, 8, 16)),
    ("(4 O) I", {"blocks": ("i", "f", "g", "o")}, (32, 16), (1, 8, 16)),
    ("SOI", {"blocks": ("q", "k")}, (2, 8, 16), (1, 8, 16)),
    ("_VI", {}, (2, 100, 16), (2, 100, 16)),
    ("IOO", {}, (16, 4, 8), (1, 32, 16)),
    ("", {}, (), (1, 1, 1)),
    ("OI", {}, (0, 5), (1, 0, 5)),
]


@pytest.mark.parametrize(("pattern", "options", "shape", "counts"), BOUND)
def test_counts(
    pattern: str, options: dict[str, Any], shape: tuple[int, ...], counts: tuple[int, int, int]
) -> None:
    assert Layout.parse(pattern, **options).bind(shape).counts == counts


MISFITS: list[tuple[str, dict[str, Any], tuple[int, ...], str]] = [
    ("OIHW", {}, (3, 4, 5), "the layout has 4, the shape 3"),
    ("OI", {}, (), "as many axes as the shape (): the layout has 2, the shape 0"),
    ("(G O) I", {}, (8, 4), "sizes for all but one of (G O). Pass groups=, or sizes={...}."),
    ("OI", {"groups": 3}, (64, 4), "got 64; expected an axis (G O) whose length divides by 3"),
    ("(4 O) I", {}, (30, 4), "got 30; expected an axis (4 O) whose length divides by 4"),
    ("OI", {"sizes": {"O": 3}}, (4, 4), "got 4; expected an axis (O) whose length equals 3 (O=3)"),
    ("4 I", {}, (5, 4), "got 5; expected an axis (4) whose length equals 4"),
    ("SO", {}, (2**33, 1), "at most 4294967296 stack coordinates"),
    ("OI", {}, (2**33, 1), "at most 4294967296 output coordinates"),
    ("OI", {}, (1, 2**35), "at most 17179869184 input coordinates"),
]


@pytest.mark.parametrize(("pattern", "options", "shape", "text"), MISFITS)
def test_a_shape_that_does_not_fit(
    pattern: str, options: dict[str, Any], shape: tuple[int, ...], text: str
) -> None:
    layout = Layout.parse(pattern, **options)
    with pytest.raises(InitspecValueError, match=re.escape(text)):
        layout.bind(shape)


def test_the_largest_counts_are_accepted() -> None:
    assert Layout.parse("SO").bind((2**32, 1)).counts == (2**32, 1, 1)
    assert Layout.parse("OI").bind((1, 2**34)).counts == (1, 1, 2**34)


@pytest.mark.parametrize(
    ("pattern", "canonical"),
    [
        ("OGVI", "VGOI"),
        ("ZYXLWHDTI", "ITDHWLXYZ"),
        ("_S2O", "S#_O"),
        ("WHOI", "OIHW"),
        ("HWIO", "OIHW"),
        ("HGSIWVO", "SVGOIHW"),
    ],
)
def test_letters_have_an_order_within_their_role(pattern: str, canonical: str) -> None:
    layout = Layout.parse(pattern)
    shape = tuple(axis[0].size or 2 for axis in layout.axes)
    geometry = layout.bind(shape)
    assert "".join(geometry.factors[i].letter for i in geometry.order) == canonical


def test_equal_letters_keep_their_positions() -> None:
    geometry = Layout.parse("IOIO").bind((2, 3, 5, 7))
    assert geometry.canonical_shape == (3, 7, 2, 5)


@pytest.mark.parametrize("patterns", ["OI OIW OIHW OIDHW", "IO WIO HWIO DHWIO"])
def test_conventions(patterns: str) -> None:
    convention, *_ = names = patterns.split()
    for rank, pattern in enumerate(names, start=2):
        assert default_pattern(rank, convention, fans=True) == pattern
        assert default_pattern(rank, convention, fans=False) == pattern


@pytest.mark.parametrize("rank", [0, 1, 6])
def test_no_layout_is_guessed_where_fans_count(rank: int) -> None:
    reason = "no convention has 6 axes" if rank == 6 else "fans need at least 2 axes"
    with pytest.raises(InitspecValueError, match=reason) as caught:
        default_pattern(rank, "IO", fans=True)
    assert "give the fan: init.replace(fan=256)" in caught.value.advice


def test_an_unknown_convention_is_refused() -> None:
    for convention in ("HWIO", ["IO"]):
        with pytest.raises(InitspecValueError, match=r"expected one of \['IO', 'OI'\]"):
            initspec.he_normal.describe((2, 2), convention=convention)  # type: ignore[arg-type]


# --- coordinates decide -----------------------------------------------------------------------

LETTERS = "SVGOITDHWLXYZ_"


@st.composite
def logical(draw: st.DrawFn) -> dict[str, list[int]]:
    """A logical tensor: sizes by letter; O and I may stand twice."""
    letters = draw(st.lists(st.sampled_from(LETTERS), unique=True, min_size=1, max_size=5))
    size = st.integers(1, 3)
    twice = [letter for letter in letters if letter in "OI" and draw(st.booleans())]
    return {
        letter: draw(st.lists(size, min_size=n, max_size=n))
        for letter in letters
        for n in [2 if letter in twice else 1]
    }


@st.composite
def stored(draw: st.DrawFn, sizes: dict[str, list[int]]) -> tuple[Layout, tuple[int, ...]]:
    """One way to store it: any order of the factors, any of them run together to one axis."""
    letters = draw(st.permutations([letter for letter, each in sizes.items() for _ in each]))
    left = {letter: list(each) for letter, each in sizes.items()}
    axes: list[list[str]] = []
    shape: list[int] = []
    for letter in letters:
        joined = bool(axes) and len(sizes[letter]) == 1 == len(sizes[axes[-1][0]])
        if joined and draw(st.booleans()):
            axes[-1].append(letter)
            shape[-1] *= left[letter].pop(0)
        else:
            axes.append([letter])
            shape.append(left[letter].pop(0))
    pattern = " ".join(f"({' '.join(axis)})" for axis in axes)
    known = {letter: each[0] for letter, each in sizes.items() if len(each) == 1}
    return Layout.parse(pattern, sizes=known), tuple(shape)


def canonical(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """The array in canonical order, made without `Geometry.canonical`."""
    split = array.reshape(geometry.factored_shape)
    return np.ascontiguousarray(split.transpose(geometry.order))


@given(data=st.data(), seed=st.integers(0, 2**64 - 1), name=st.text("ab/é", max_size=4))
def test_equal_coordinates_have_equal_values(data: st.DataObject, seed: int, name: str) -> None:
    sizes = data.draw(logical())
    views = []
    for _ in range(2):
        layout, shape = data.draw(stored(sizes))
        array = NORMAL(shape, layout=layout, seed=seed, name=name, dtype="float64")
        geometry = layout.bind(shape)
        views.append(canonical(array, geometry))
        assert equal(np.ascontiguousarray(geometry.canonical(array)), views[-1])
    assert equal(*views)
    assert len(np.unique(views[0])) == views[0].size, "and each has a value of its own"


@given(data=st.data())
def test_inverse_order_undoes_order(data: st.DataObject) -> None:
    layout, shape = data.draw(stored(data.draw(logical())))
    geometry = layout.bind(shape)
    size = math.prod(shape)
    array = np.arange(size).reshape(shape)
    there = canonical(array, geometry)
    assert there.shape == geometry.canonical_shape
    assert equal(there.transpose(geometry.inverse_order).reshape(shape), array)


def test_hwio_is_the_exact_transpose_of_oihw() -> None:
    torch_like = draw((8, 6, 3, 5), "OIHW")
    assert equal(draw((3, 5, 6, 8), "HWIO"), np.ascontiguousarray(torch_like.transpose(2, 3, 1, 0)))
    assert not equal(torch_like, draw((8, 6, 3, 5), "IOHW")), "letters matter"


def test_groups_change_the_fans_and_never_the_draw() -> None:
    plain = draw((8, 3, 3, 5), "OIHW")
    assert equal(draw((8, 3, 3, 5), "(G O) I H W", groups=4), plain)
    assert equal(draw((8, 3, 3, 5), "OIHW", groups=2), plain)


def test_depthwise_kernels_of_keras_and_torch_meet() -> None:
    keras_like = draw((3, 5, 6, 2), "HWGO")
    torch_like = draw((12, 1, 3, 5), "(G O) I H W", groups=6)
    flat = np.ascontiguousarray(keras_like.transpose(2, 3, 0, 1).reshape(12, 1, 3, 5))
    assert equal(flat, torch_like)


def test_heads_may_be_one_axis_or_two() -> None:
    split = draw((16, 4, 8), "IOO")
    assert equal(split.reshape(16, 32), draw((16, 32), "IO"))
    assert equal(np.ascontiguousarray(draw((4, 16, 8), "OIO").transpose(1, 0, 2)), split)


@pytest.mark.parametrize(
    ("small", "large", "layout"),
    [
        ((50, 16), (64, 16), "VI"),
        ((50, 16), (64, 16), "VO"),
        ((50, 16), (64, 16), "OI"),
        ((3, 3, 4, 5), (3, 3, 4, 9), "HWIO"),
        ((3, 4, 5), (5, 4, 5), "SIO"),
    ],
)
def test_padding_keeps_every_old_entry(
    small: tuple[int, ...], large: tuple[int, ...], layout: str
) -> None:
    kept = draw(large, layout)[tuple(slice(n) for n in small)]
    assert equal(np.ascontiguousarray(kept), draw(small, layout))


def test_more_inputs_do_not_move_the_old_ones() -> None:
    wide = draw((5, 24), "OI")
    assert equal(np.ascontiguousarray(wide[:, :10]), draw((5, 10), "OI"))


def test_named_blocks_are_tensors_of_their_own() -> None:
    names = ("i", "f", "g", "o")
    fused = draw((8, 5), "(4 O) I", blocks=names, name="lstm")
    for block, name in zip(np.split(fused, 4), names, strict=True):
        assert equal(np.ascontiguousarray(block), draw((2, 5), "OI", name=f"lstm#{name}"))
    other = draw((8, 5), "(4 O) I", blocks=("o", "g", "f", "i"), name="lstm")
    assert equal(np.concatenate(np.split(other, 4)[::-1]), fused), "whatever the order of gates"
    keras_like = draw((5, 8), "I (4 O)", blocks=names, name="lstm")
    assert equal(np.ascontiguousarray(keras_like.T), fused)
    stacked = draw((4, 2, 5), "SOI", blocks=names, name="lstm")
    assert equal(stacked.reshape(8, 5), fused)


def test_unnamed_blocks_and_stacks_are_the_same_coordinate() -> None:
    stack = draw((4, 2, 5), "SOI")
    assert equal(draw((8, 5), "(4 O) I"), stack.reshape(8, 5))
    assert equal(draw((4, 2, 5), "_OI"), stack)
    assert equal(np.ascontiguousarray(stack[0]), draw((2, 5), "OI")), "the first entry is alone's"
    assert len(np.unique(stack)) == stack.size, "and no entry repeats another"


def test_any_strides_get_the_same_values() -> None:
    want = draw((4, 6), "OI")
    space = np.full((12, 8), np.nan, np.float32)
    turned = np.empty((4, 6), np.float32)[::-1, ::-1]
    for out in (np.empty((6, 4), np.float32).T, space[::3, 1:7], turned):
        assert NORMAL(out=out, layout="OI", seed=7, name="w") is out
        assert equal(np.ascontiguousarray(out), want)
    assert int(np.isnan(space).sum()) == space.size - 24, "nothing is written outside"
