"""The vectors for backends: sound, frozen, computed; and every backend gives them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest

import initspec
from initspec import registry
from initspec.errors import BackendError, InitspecError, InitspecTypeError, InitspecValueError
from initspec.fans import RULES
from initspec.initializer import MODES
from initspec.layout import Layout
from initspec_conformance import vectors
from initspec_conformance.vectors import Refusal, Unsupported, Vector, make, tensors
from initspec_conformance.vectors.check import fits

PATH = vectors.FOLDER / "tensors_v1.json"
TEXT = PATH.read_text(encoding="ascii")
DATA: dict[str, Any] = json.loads(TEXT)
ALL = vectors.load()
BY_ID = {vector.id: vector for vector in ALL.tensors}
BACKENDS = ("numpy", "torch", "tensorflow", "jax", "keras")


# --- the file -----------------------------------------------------------------------------------


def test_it_fits_its_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(PATH.with_suffix(".schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(DATA)


def test_it_is_sound_and_small() -> None:
    assert vectors.check(DATA) == []
    assert len(TEXT) < 600_000
    assert 400 <= sum(vector.promise == "bits" for vector in ALL.tensors) <= 600
    assert 16 <= sum(vector.promise == "moments" for vector in ALL.tensors) <= 20


def test_it_is_what_the_reference_computes() -> None:
    assert tensors.text(tensors.vectors()) == TEXT


def test_a_frozen_file_is_checked_and_never_written(tmp_path, monkeypatch, capsys) -> None:
    texts = {"stream_v1.json": "{}\n", "tensors_v1.json": "[]\n"}
    monkeypatch.setattr(make, "_texts", lambda: texts)
    monkeypatch.setattr(make, "PATH", tmp_path / "stream_v1.json")
    (tmp_path / "stream_v1.json").write_text("old")
    assert make.main(["--check"]) == 1
    assert not (tmp_path / "tensors_v1.json").exists()
    assert make.main([]) == 1
    assert "stream_v1.json differs" in capsys.readouterr().err
    assert (tmp_path / "stream_v1.json").read_text() == "old"
    assert (tmp_path / "tensors_v1.json").read_text() == "[]\n"


@pytest.mark.parametrize("name", vectors.DIGESTS["v1"])
def test_a_flipped_byte_is_an_error(name, tmp_path, monkeypatch) -> None:
    for each in vectors.DIGESTS["v1"]:
        data = bytearray((vectors.FOLDER / each).read_bytes())
        data[len(data) // 2] ^= each == name
        (tmp_path / each).write_bytes(data)
    monkeypatch.setattr(vectors, "FOLDER", tmp_path)
    with pytest.raises(InitspecError, match=rf"{name}: got .* SHA-256 .* damaged"):
        vectors.load()


def test_an_unknown_version() -> None:
    with pytest.raises(InitspecValueError, match="version: got 'v0'; expected one of"):
        vectors.load("v0")


# --- the sanity checker -------------------------------------------------------------------------


def first(data: Any, promise: str) -> Any:
    return next(item for item in data["tensors"] if item["promise"] == promise)


def boxed(data: Any) -> Any:
    return next(item for item in data["tensors"] if "box" in item)


def narrow(data: Any) -> Any:
    return next(
        item for item in data["tensors"] if item["dtype"] == "bfloat16" and item.get("first")
    )


Plant = Callable[[Any], Any]
PLANTS: list[tuple[Plant, str]] = [
    (lambda d: d.pop("suite"), "the keys are ['flags', 'refusals', 'stream', 'tensors']"),
    (lambda d: d["tensors"].append(3), "]: no object with an id"),
    (lambda d: d["tensors"].append(d["tensors"][0]), "2 vectors have this id"),
    (lambda d: d["refusals"][0].update(id=d["tensors"][0]["id"]), "2 vectors have this id"),
    (lambda d: d["tensors"][0].update(flags=["nonsense"]), "flag 'nonsense' is not explained"),
    (lambda d: d["tensors"][0].update(flags=[]), "flags []: at least one"),
    (lambda d: d["refusals"][0].update(flags=["a", "a"]), "and none twice"),
    (lambda d: d["flags"].update(idle={"bug": "a", "effect": "b"}), "flag 'idle' is not used"),
    (lambda d: d["flags"]["lanes"].update(effect=""), "flag 'lanes': not a bug and its effect"),
    (lambda d: d["refusals"].__delitem__(slice(60)), "refusals are 29."),
    (
        lambda d: d.update(tensors=[t for t in d["tensors"] if t["promise"] != "rounded"]),
        "no vector promises 'rounded'",
    ),
    (lambda d: first(d, "bits").update(promise="exact"), "promise 'exact' is none of"),
    (lambda d: first(d, "bits").pop("sha256"), "'sha256' is missing"),
    (lambda d: first(d, "bits").update(mean="0x0.0p+0"), "'mean' is unknown"),
    (lambda d: first(d, "bits").update(sha256="12"), "is not 64 hexadecimal digits"),
    (lambda d: first(d, "bits").update(seed="0x7"), "is not 0x and 16 digits"),
    (lambda d: first(d, "bits").update(seed=f"{7:#018x}"), "comes from somewhere"),
    (lambda d: first(d, "bits").update(dtype="float8"), "dtype 'float8' is none of"),
    (lambda d: first(d, "bits").update(layout="OQ"), "the vector makes no tensor: layout"),
    (lambda d: first(d, "bits").update(options={"padding": 1}), "the vector makes no tensor"),
    (lambda d: first(d, "bits")["initializer"].update(std=-1.0), "the vector makes no tensor"),
    (lambda d: first(d, "bits")["first"].pop(), "7 first values of"),
    (lambda d: first(d, "bits")["first"].__setitem__(0, "0.5"), "'0.5' is not a hexadecimal fl"),
    (lambda d: first(d, "bits")["first"].__setitem__(0, 0.5), "0.5 is not a hexadecimal float"),
    (
        lambda d: first(d, "bits")["first"].__setitem__(0, (0.1).hex()),
        "0x1.999999999999ap-4 is no float32",
    ),
    (
        lambda d: narrow(d)["first"].__setitem__(0, float(np.float32(0.1)).hex()),
        "is no bfloat16",
    ),
    (lambda d: boxed(d)["box"].update(origin=[0, 0, 2]), "within a block of four words"),
    (lambda d: boxed(d)["box"].update(shape=[1, 10**6, 4]), "is not within the coordinates"),
    (lambda d: boxed(d)["box"].pop("shape"), "not an origin and a shape"),
    (lambda d: first(d, "rounded").update(promise="bits"), "'first' is missing"),
    (
        lambda d: first(d, "rounded").update(initializer=initspec.zeros.to_dict()),
        "promise 'rounded', but initspec says 'bits'",
    ),
    (lambda d: first(d, "rounded")["values"].pop(), "23 values of 24"),
    (lambda d: first(d, "rounded").update(tolerance=(0.5).hex()), "tolerance 0.5 is not a small"),
    (lambda d: first(d, "rounded").update(tolerance="x"), "'x' is not a hexadecimal float"),
    (lambda d: first(d, "moments").update(shape=[9, 2]), "18 values, where about 2**18"),
    (lambda d: first(d, "moments").update(std=None), "None is not a hexadecimal float"),
    (lambda d: d["refusals"][0].pop("where"), "'where' is missing"),
    (lambda d: d["refusals"][0].update(where=""), "where '' names no argument"),
    (lambda d: d["refusals"][0].update(error="ValueError"), "error 'ValueError' is none of"),
    (lambda d: d["refusals"][0].update(verdict="maybe"), "verdict 'maybe' is none of"),
    (lambda d: d["refusals"][0]["call"].pop("shape"), "'shape' is missing"),
    (lambda d: d["refusals"][0]["call"].pop("recipe"), "needs an initializer or a recipe"),
    (lambda d: d["refusals"][0]["call"].update(axis=1), "'axis' is unknown"),
]


@pytest.mark.parametrize(("plant", "problem"), PLANTS, ids=range(len(PLANTS)))
def test_a_planted_problem_is_found(plant: Plant, problem: str) -> None:
    data = copy.deepcopy(DATA)
    plant(data)
    found = vectors.check(data)
    assert any(problem in message for message in found), found[:5]


def test_all_problems_are_found_at_once() -> None:
    data = copy.deepcopy(DATA)
    for plant, _ in (PLANTS[11], PLANTS[33], PLANTS[39]):
        plant(data)
    assert len(vectors.check(data)) == 3


@pytest.mark.parametrize("data", [None, [], "{}", 5])
def test_what_is_no_object_is_a_problem(data: Any) -> None:
    assert len(vectors.check(data)) == 1


def test_which_numbers_fit() -> None:
    assert fits(65504.0, "float16")
    assert not fits(65520.0, "float16")
    assert fits(2.0**-149, "float32")
    assert not fits(2.0**-149, "bfloat16")
    assert not fits(1e39, "float32")
    assert not fits(math.inf, "float64")


# --- what the vectors say ---------------------------------------------------------------------


def test_equal_names_and_different_ones() -> None:
    names = {key: BY_ID[f"name/{key}"].sha256 for key in ("nfc", "nfd", "path", "upper", "space")}
    assert names.pop("nfc") == names["nfd"]
    assert len(set(names.values())) == len(names)
    seeds = [vector.sha256 for vector in ALL.tensors if vector.id.startswith("seed/")]
    assert len(set(seeds)) == len(seeds) >= 12


def test_every_recipe_is_there() -> None:
    there = {vector.initializer for vector in ALL.tensors}
    known = [recipe.initializer for recipe in initspec.recipes.RECIPES.values()]
    assert {init for init in known if "orthogonal" not in init.distribution} <= there


def slips(vector: Vector) -> dict[str, float]:
    """The relative change of the std for every other mode, and every reading with other fans."""
    init, layout, true = vector.initializer, vector.layout, vector.moments["std"]
    assert true
    readings: list[tuple[str, dict[str, Any]]] = [(layout, {})]
    readings += [("".join(other), vector.options) for other in permutations(layout)]
    readings += [(layout, {**vector.options, "transposed": flag}) for flag in (True, False)]
    readings += [(layout.replace("S", "I").replace("V", "O"), {})]
    found = {}
    for other, options in readings:
        try:
            geometry = Layout.parse(other, **options).bind(vector.shape)
        except InitspecError:
            continue
        std = init.describe(vector.shape, other, **options).std
        if RULES["true"](geometry) != RULES["true"](vector.geometry) and std != true:
            found[f"{other} {options}"] = std / true - 1
    for mode in {*MODES} - {init.mode} if init.mode else ():
        std = init.replace(mode=mode).describe(vector.shape, **vector.keywords).std
        found[mode] = std / true - 1
    return found


@pytest.mark.parametrize(
    "vector", [v for v in ALL.tensors if v.promise == "moments"], ids=lambda v: v.id
)
def test_every_slip_shows_in_the_std(vector: Vector) -> None:
    """Where the std depends on the fans at all."""
    found = slips(vector)
    assert bool(found) == (vector.initializer.mode is not None)
    assert all(abs(change) > 0.1 for change in found.values()), found


# --- verify -------------------------------------------------------------------------------------


def drawn(vector: Vector) -> Any:
    return vectors.draw(vector, registry.get_backend("numpy"))[0].copy()


def test_a_wrong_bit_is_placed() -> None:
    vector = BY_ID["he_normal/HWIO/float64"]
    array = drawn(vector)
    assert vectors.verify(vector, array) == ""
    h, w, i, o = 2, 1, 3, 4  # of a kernel 3 x 3 with 5 inputs: j = (i * 3 + h) * 3 + w
    expected = float(array[h, w, i, o])
    array[h, w, i, o] = np.nextafter(expected, 1)
    message = vectors.verify(vector, array)
    assert message == (
        "1 of 270 values are wrong, the first at s=0, o=4, j=34: "
        f"expected {expected.hex()}, found {np.nextafter(expected, 1).hex()}"
    )


def test_minus_zero_is_wrong() -> None:
    vector = BY_ID["constant/zero/bfloat16"]
    message = vectors.verify(vector, drawn(vector) | np.uint16(0x8000))
    assert "10 of 10 values are wrong" in message
    assert "expected 0x0.0p+0, found -0x0.0p+0" in message


def test_another_order_is_called_so() -> None:
    vector = BY_ID["uniform/OI/float32"]
    array = drawn(vector)
    assert "the right values in other places" in vectors.verify(
        vector, array.reshape(-1)[::-1].reshape(array.shape)
    )


def test_blocks_are_named() -> None:
    vector = next(v for v in ALL.tensors if v.options.get("blocks") == ["i", "f", "g", "o"])
    array = drawn(vector)
    array[vector.shape[0] // 4] += 1
    assert "the first at s=0, o=0, j=0 of block 'f': expected" in vectors.verify(vector, array)


def test_another_shape_or_dtype() -> None:
    vector = BY_ID["uniform/OI/float32"]
    array = drawn(vector)
    assert "shape (13, 7) of float32 where shape (7, 13)" in vectors.verify(vector, array.T)
    assert "of float64 where" in vectors.verify(vector, array.astype("float64"))


def test_a_damaged_vector_is_no_fault_of_the_backend() -> None:
    vector = BY_ID["uniform/OI/float32"]
    other = replace(vector, sha256="0" * 64)
    assert "the reference itself" in vectors.verify(other, drawn(vector))


@pytest.mark.parametrize(
    "vector", [v for v in ALL.tensors if v.promise == "rounded"], ids=lambda v: v.id
)
def test_rounded_values_may_be_off_by_the_tolerance(vector: Vector) -> None:
    array = drawn(vector)
    assert vectors.verify(vector, array) == ""
    if vector.dtype != "bfloat16":  # which is held as bits
        array.flat[0] += vector.tolerance * 0.4
        assert vectors.verify(vector, array) == ""
        array.flat[0] += vector.tolerance * 2
        assert "1 of " in vectors.verify(vector, array)
        array.flat[0] = np.nan
    else:
        array.flat[0] = 0x7FC0
    assert f"found nan; at most {vector.tolerance:g} off" in vectors.verify(vector, array)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda a: np.where(a > 0, a * np.float32(1.02), a), "is above"),
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, np.nan, a), "not finite"),
        (lambda a: a * np.float32(0.98), "std 0.0"),
        (np.abs, "mean 0.0"),
        (lambda a: a - (a == a.max()), "the least value"),
    ],
)
def test_moments_that_are_off(change, problem) -> None:
    vector = BY_ID["moments/he_normal/IO/float32"]
    array = drawn(vector)
    assert vectors.verify(vector, array) == ""
    assert problem in vectors.verify(vector, change(array).astype("float32"))


# --- all backends -------------------------------------------------------------------------------


def x64(name: str, dtype: str) -> AbstractContextManager[Any]:
    if name == "keras":
        import keras

        name = keras.backend.backend()
    if name != "jax" or dtype != "float64":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request) -> Any:
    pytest.importorskip(request.param)
    return registry.get_backend(request.param)


def test_a_backend_gives_all_vectors(backend) -> None:
    pytest.importorskip("ml_dtypes")
    wrong = {}
    for vector in ALL.tensors:
        with x64(backend.name, vector.dtype):
            array, geometry = vectors.draw(vector, backend)
        assert geometry == vector.geometry
        if message := vectors.verify(vector, array):
            wrong[vector.id] = message
    assert not wrong


@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_compilers_keep_the_ends_of_ranges_and_far_boxes(name) -> None:
    framework = pytest.importorskip(name)
    backend = registry.get_backend(name)
    chosen = [v for v in ALL.tensors if v.id.startswith(("range/least", "far/"))]
    assert len(chosen) >= 15
    for vector in chosen:
        keys, kind = vector.keywords, vector.dtype
        with x64(name, kind):
            whole = backend.plan(
                vector.initializer, vector.shape, kind, keys, vector.seed, vector.name
            )
            compile_ = framework.jit if name == "jax" else framework.function
            make = partial(backend.emit, vector.part(whole), kind, None)
            array = backend.to_host(compile_(make)())
        assert vectors.verify(vector, array) == "", vector.id


def test_a_backend_refuses_all_refusals(backend) -> None:
    answers = {refusal.id: vectors.refused(refusal, backend) for refusal in ALL.refusals}
    assert not {name: text for name, text in answers.items() if text}


def test_what_a_backend_cannot_make_is_said() -> None:
    pytest.importorskip("jax")
    vector = next(v for v in ALL.tensors if v.dtype == "float64")
    with pytest.raises(Unsupported, match="64-bit types to be enabled in JAX"):
        vectors.draw(vector, registry.get_backend("jax"))


class Odd(type(registry.get_backend("numpy"))):  # type: ignore[misc]
    """NumPy, but with a mistake."""

    error: BaseException | None = None

    def draw(self, *args: Any, **options: Any) -> Any:
        if self.error is not None:
            raise self.error
        return None


VALUE = InitspecValueError("shape", 1, "two")


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (VALUE, ""),
        (None, "was accepted, expected InitspecValueError at 'shape'"),
        (InitspecTypeError("shape", 1, "two"), "raised InitspecTypeError (shape: got 1"),
        (ZeroDivisionError("zero"), "raised ZeroDivisionError (zero), expected InitspecValueErr"),
        (InitspecValueError("dims", 1, "two"), "the error names 'dims', expected 'shape'"),
    ],
)
def test_how_a_refusal_is_judged(error, answer) -> None:
    backend = Odd()
    backend.error = error
    call = {"recipe": "he_normal", "shape": [3]}
    refusal = Refusal("a", call, "InitspecValueError", "shape", "refused", ("bad_shape",))
    assert vectors.refused(refusal, backend).startswith(answer)
    assert bool(vectors.refused(refusal, backend)) == bool(answer)
    acceptable = replace(refusal, verdict="acceptable")
    assert bool(vectors.refused(acceptable, backend)) == (bool(answer) and error is not None)


def test_another_error_of_the_backend_is_a_failure() -> None:
    backend, vector = Odd(), ALL.tensors[0]
    backend.error = VALUE
    with pytest.raises(InitspecValueError):
        vectors.draw(vector, backend)
    backend.error = BackendError("backend", "odd", "a package")
    with pytest.raises(BackendError):
        vectors.draw(vector, backend)
    backend.error = BackendError("dtype", "bfloat16", "a package")
    with pytest.raises(Unsupported, match="a package"):
        vectors.draw(vector, backend)
