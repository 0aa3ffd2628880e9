"""Bad calls: each is refused with a message that says what came, what was expected, what to do."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

import initspec
from initspec import Initializer, get, stream
from initspec.errors import BackendError, InitspecError, InitspecTypeError, InitspecValueError

WRONG, OTHER = InitspecValueError, InitspecTypeError  # a wrong value, another type
Options = dict[str, Any]


def call(*args: Any, init: Initializer = initspec.he_normal, **options: Any) -> Any:
    return init(*args, **({"seed": 0} | options))


def refused(kind: type[InitspecError], text: str, *args: Any, **options: Any) -> None:
    with pytest.raises(kind, match=re.escape(text)) as caught:
        call(*args, **options)
    assert caught.value.where
    assert caught.value.expected


SHAPES: list[tuple[Any, type[InitspecError], str]] = [
    ((), WRONG, "layout: got None; expected a layout for a tensor of rank 0: fans need at least 2"),
    (
        (5,),
        WRONG,
        "Pass layout=, for example 'O' or 'SIO', or give the fan: init.replace(fan=256).",
    ),
    ((3, -4), WRONG, "shape[1]: got -4; expected an integer of at least 0"),
    (
        (4.0, 4),
        OTHER,
        "shape[0]: got 4.0; expected an integer. Sizes are static integers; write 4, ",
    ),
    ((True, 4), OTHER, "shape[0]: got True; expected an integer. A boolean is not a size."),
    ((np.bool_(True), 4), OTHER, "shape[0]: got"),
    (np.array([4.0, 4.0]), OTHER, "shape[0]: got np.float64(4.0); expected an integer"),
    ((2**40, 2**40), WRONG, "expected fewer than 2**60 elements. Make it smaller."),
    ((2**63, 1), WRONG, "expected fewer than 2**60 elements"),
    ((2**31, 2**31), WRONG, "expected fewer than 2**60 elements"),
    (
        (10**5000, 1),
        WRONG,
        "shape: got <tuple without a representation>; expected fewer than 2**60",
    ),
    (("4", 4), OTHER, "shape[0]: got '4'; expected an integer"),
    ((None, 4), OTHER, "Build the model (or run one batch) so that every size is known."),
    (((4, 4),), OTHER, "shape[0]: got (4, 4); expected an integer"),
    (4, OTHER, "shape: got 4; expected a tuple of integers. Write (4,) for one axis."),
    (np.int64(4), OTHER, "Write (4,) for one axis."),
    (True, OTHER, "shape: got True; expected a tuple of integers"),
    (4.5, OTHER, "shape: got 4.5; expected a tuple of integers"),
    ("44", OTHER, "shape: got '44'; expected a tuple of integers"),
    (b"44", OTHER, "shape: got b'44'; expected a tuple of integers"),
    ({4: 4}, OTHER, "shape: got {4: 4}; expected a tuple of integers"),
    ({4, 5}, OTHER, "shape: got {4, 5}; expected a tuple of integers"),
    (np.array(4), OTHER, "expected a shape of known rank. Build the layer first"),
    ((1,) * 33, WRONG, "expected at most 32 axes"),
    (iter(int, 1), WRONG, "expected at most 32 axes"),
    (None, OTHER, "shape: got None; expected a tuple of integers, or a tensor as out="),
]


@pytest.mark.parametrize(("shape", "kind", "text"), SHAPES, ids=range(len(SHAPES)))
def test_a_bad_shape(shape: Any, kind: type[InitspecError], text: str) -> None:
    refused(kind, text, shape)


OPTIONS: list[tuple[Options, type[InitspecError], str]] = [
    # layout
    ({"layout": "OIHW"}, WRONG, "as many axes as the shape (64, 4): the layout has 4, the shape 2"),
    ({"layout": "OQ"}, WRONG, "Look here:\n  OQ\n   ^"),
    ({"layout": 5}, OTHER, "layout: got 5; expected a pattern string. For example 'OIHW' or"),
    (
        {"layout": "OI", "groups": 3},
        WRONG,
        "got 64; expected an axis (G O) whose length divides by",
    ),
    ({"groups": 0}, WRONG, "groups: got 0; expected an integer of at least 1"),
    ({"groups": -1}, WRONG, "groups: got -1; expected an integer of at least 1"),
    (
        {"group": 2},
        OTHER,
        "group: got 2; expected one of the keywords ['layout', 'groups', 'blocks'",
    ),
    ({"group": 2}, OTHER, "Did you mean 'groups'?"),
    ({"keys": ((1, 2),)}, OTHER, "keys: got ((1, 2),); expected one of the keywords ['layout',"),
    ({"convention": "OI"}, OTHER, "convention: got 'OI'; expected one of the keywords ['layout',"),
    # dtype, device, backend
    (
        {"dtype": "int32"},
        OTHER,
        "dtype: got 'int32'; expected one of float32, float64, bfloat16, f",
    ),
    ({"dtype": bool}, OTHER, "dtype: got <class 'bool'>; expected one of float32"),
    ({"dtype": float}, OTHER, "dtype: got <class 'float'>; expected one of float32"),
    ({"dtype": np.uint8}, OTHER, "Draw in float32 and convert the result yourself."),
    ({"dtype": "complex64"}, OTHER, "dtype: got 'complex64'; expected one of float32"),
    (
        {"dtype": ml_dtypes.float8_e4m3fn},
        OTHER,
        "expected one of float32, float64, bfloat16, float",
    ),
    ({"dtype": "flaot32"}, OTHER, "Did you mean 'float32'?"),
    ({"dtype": np.dtype(">f4").str}, OTHER, "dtype: got '>f4'; expected one of float32"),
    ({"device": "gpu"}, WRONG, "device: got 'gpu'; expected None or 'cpu': NumPy has no other"),
    ({"backend": "nunpy"}, WRONG, "Did you mean 'numpy'?"),
    # seed
    ({"seed": 2**64}, WRONG, "seed: got 18446744073709551616; expected an integer in [0, 2**64)"),
    ({"seed": -1}, WRONG, "seed: got -1; expected an integer in [0, 2**64)"),
    ({"seed": 10**5000}, WRONG, "seed: got <int without a representation>; expected an integer in"),
    ({"seed": 1.5}, OTHER, "seed: got 1.5; expected an integer in [0, 2**64). Seeds are integers"),
    ({"seed": "0"}, OTHER, "seed: got '0'; expected an integer in [0, 2**64)"),
    ({"seed": math.nan}, OTHER, "seed: got nan; expected an integer in [0, 2**64)"),
    ({"seed": True}, OTHER, "seed: got True; expected an integer in [0, 2**64)"),
    ({"seed": np.bool_(True)}, OTHER, "expected an integer in [0, 2**64)"),
    ({"seed": [1]}, OTHER, "for a JAX key use init.bind('jax')(key, shape)."),
    # name
    ({"name": 5}, OTHER, "name: got 5; expected a string"),
    ({"name": None}, OTHER, "name: got None; expected a string"),
    ({"name": ["a"]}, OTHER, "name: got ['a']; expected a string"),
    ({"name": 5, "layout": "(2 O) I", "blocks": "qk"}, OTHER, "name: got 5; expected a string"),
    ({"name": "a\0b"}, WRONG, r"name: got 'a\x00b'; expected at most 65536 bytes and no NUL"),
    ({"name": "a" * 65537}, WRONG, "expected at most 65536 bytes and no NUL"),
    ({"name": "\ud800"}, WRONG, r"name: got '\ud800'; expected text that UTF-8 can encode"),
    # recipes that do not fit
    (
        {"init": initspec.identity(), "layout": "WI"},
        WRONG,
        "I and O and no spatial axis for it. For",
    ),
    ({"init": initspec.orthogonal(), "layout": "SO"}, WRONG, "a matrix to make orthogonal"),
    ({"init": initspec.normal(1e39)}, WRONG, "scale: got 6.338e+39; expected magnitudes from"),
    (
        {"init": initspec.normal(1e-50)},
        WRONG,
        "float32 cannot hold it: use another scale or dtype.",
    ),
    (
        {"init": initspec.normal(1e-9, mean=1.0)},
        WRONG,
        "Draw around zero and add the mean yourself",
    ),
    (
        {"init": initspec.truncated_normal(1.0, 6.0, 6.1)},
        WRONG,
        "low, high: got (6.0, 6.1); expected bounds (in sigmas) that hold at least 2**-16 of the m",
    ),
    (
        {"init": initspec.truncated_normal(1e40, -1.0, 1.0, absolute=True)},
        WRONG,
        "low, high: got (-1e-40, 1e-40); expected bounds (in sigmas) that hold at least 2**-16",
    ),
    # what draws nothing checks as much
    ({"init": initspec.zeros, "seed": -1}, WRONG, "seed: got -1"),
    ({"init": initspec.zeros, "name": 5}, OTHER, "name: got 5; expected a string"),
]


@pytest.mark.parametrize(("options", "kind", "text"), OPTIONS, ids=range(len(OPTIONS)))
def test_a_bad_option(options: Options, kind: type[InitspecError], text: str) -> None:
    refused(kind, text, (64, 4), **options)


def test_vectors_of_matrices_and_tensors_of_six_axes() -> None:
    refused(WRONG, "fans need at least 2 axes", (5,), init=initspec.orthogonal())
    text = "rank 6: no convention has 6 axes. Pass layout=, for example 'O' or 'SIO'."
    refused(WRONG, text, (1,) * 6, init=initspec.normal(1.0))


def test_unknown_names() -> None:
    with pytest.raises(InitspecValueError, match=re.escape("Did you mean 'relu'?")):
        initspec.variance_scaling(gain="reluu")
    with pytest.raises(InitspecValueError, match=re.escape("Did you mean 'he_normal'?")):
        get("he_norml")
    with pytest.raises(InitspecValueError, match=re.escape("Did you mean 'fan_out'?")):
        initspec.he_normal.replace(mode="fanout")
    with pytest.raises(InitspecValueError, match=re.escape("Did you mean 'truncated_normal'?")):
        initspec.variance_scaling(distribution="truncated")


# --- out ----------------------------------------------------------------------------------------


def full(shape: tuple[int, ...] = (4, 4), dtype: Any = "float32") -> NDArray[Any]:
    return np.full(shape, 7, dtype)


FROZEN = full()
FROZEN.flags.writeable = False
OUTS: list[tuple[Any, Options, type[InitspecError], str]] = [
    (full(), {"shape": (4, 5)}, WRONG, "shape: got (4, 5); expected the shape of out, (4, 4)"),
    (
        full(),
        {"dtype": "float16"},
        WRONG,
        "dtype: got 'float16'; expected the dtype of out, float32",
    ),
    (full(), {"device": "cpu"}, WRONG, "device: got 'cpu'; expected None together with out"),
    (full(), {"layout": "OIHW"}, WRONG, "the layout has 4, the shape 2"),
    (full(), {"seed": -1}, WRONG, "seed: got -1"),
    (full(), {"name": "\0"}, WRONG, "and no NUL"),
    (full(), {"init": initspec.normal(1e39)}, WRONG, "float32 cannot hold it"),
    (full(dtype="int32"), {}, OTHER, "dtype: got dtype('int32'); expected one of float32"),
    (full(dtype=">f4"), {}, WRONG, "expected an array in the machine's byte order"),
    (full((5,)), {}, WRONG, "rank 1: fans need at least 2 axes"),
    (FROZEN, {}, WRONG, "expected a writable array"),
    (np.broadcast_to(full((1, 4)), (4, 4)), {}, WRONG, "expected a writable array"),
    (as_strided(full(), (4, 4), (0, 4)), {}, WRONG, "an array whose elements do not overlap"),
    ([[7.0]], {}, OTHER, "out: got [[7.0]]; expected a tensor of ['numpy', 'torch', "),
    ([[7.0]], {"backend": "numpy"}, OTHER, "out: got <class 'list'>; expected a NumPy array"),
]


@pytest.mark.parametrize(("out", "options", "kind", "text"), OUTS, ids=range(len(OUTS)))
def test_a_bad_out_is_not_touched(
    out: Any, options: Options, kind: type[InitspecError], text: str
) -> None:
    refused(kind, text, out=out, **options)
    assert (np.asarray(out) == 7).all()


def test_bfloat16_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BackendError, match=r"pip install ml_dtypes"):
        initspec.he_normal((4, 4), dtype="bfloat16", seed=0)


def test_binding_to_numpy_says_what_to_do() -> None:
    with pytest.raises(InitspecValueError, match="Call the initializer itself, or bind to 'torch'"):
        initspec.he_normal.bind("numpy")


# --- good calls ---------------------------------------------------------------------------------


def test_calls_that_look_odd_and_are_fine() -> None:
    want = call((4, 6)).tobytes()
    sizes = (n for n in (4, 6))
    for shape in ([4, 6], sizes, np.array([4, 6]), (np.int32(4), np.uint8(6)), range(4, 7, 2)):
        assert call(shape).tobytes() == want
    for dtype in ("float32", "f32", np.float32, np.dtype("float32"), None):
        assert call((4, 6), dtype=dtype).tobytes() == want
    for seed in (np.int64(0), np.uint64(0)):
        assert call((4, 6), seed=seed).tobytes() == want
    assert call((4, 6), backend="numpy", device="cpu").tobytes() == want
    assert call(out=np.empty((4, 6), "float32")).tobytes() == want
    assert call((4, 6), out=np.empty((4, 6), "float32")).tobytes() == want


def test_all_bits_of_a_seed_count() -> None:
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    assert len({call((4, 4), seed=seed).tobytes() for seed in seeds}) == len(seeds)


def test_names_are_normalised_and_separate() -> None:
    names = ["", "a", "b", "a/b", "a ", "A", "ä", "a" * 65536]
    assert len({call((4, 4), name=name).tobytes() for name in names}) == len(names)
    assert call((4, 4), name="\u00e4").tobytes() == call((4, 4), name="a\u0308").tobytes()


def test_without_a_seed_numpys_generator_decides() -> None:
    np.random.seed(5)  # noqa: NPY002
    first, second = (initspec.he_normal((4, 4)) for _ in range(2))
    assert first.tobytes() != second.tobytes()
    np.random.seed(5)  # noqa: NPY002
    assert initspec.he_normal((4, 4)).tobytes() == first.tobytes()


def test_what_draws_nothing_moves_no_generator() -> None:
    before = repr(np.random.get_state(legacy=False))  # noqa: NPY002
    for init in (initspec.zeros, initspec.identity(), initspec.dirac):
        init((3, 3, 4, 4) if init is initspec.dirac else (4, 4))
    assert repr(np.random.get_state(legacy=False)) == before  # noqa: NPY002


def test_plan_gives_every_named_block_a_key() -> None:
    plan = initspec.he_normal.plan((8, 3), layout="(4 O) I", blocks=("i", "f", "g", "o"))
    assert plan.keys == ((0, 0),) * 4
    assert initspec.he_normal.plan((8, 3)).keys == ((0, 0),)


def test_overlapping_memory_is_refused() -> None:
    base = np.zeros(7, np.float32)
    twice = as_strided(base, (4, 4), (4, 4))
    with pytest.raises(InitspecValueError, match="do not overlap"):
        initspec.he_normal(out=twice, seed=0)
    assert not base.any()


@pytest.mark.parametrize("name", [["a"], 5, None, b"w"])
def test_names_are_strings_wherever_they_are_read(name: Any) -> None:
    for call in (lambda: stream.name_words(name), lambda: stream.key(0, name)):
        with pytest.raises(InitspecTypeError, match="name"):
            call()
