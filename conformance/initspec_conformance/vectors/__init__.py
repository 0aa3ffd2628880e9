"""Vectors for backends: tensors that must come out right, and calls that must be refused.

The files are data in plain JSON, frozen by digest, for any implementation in any language; this
module reads them, draws one, and says in words what is wrong with what a backend made of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import initspec
from initspec import stream
from initspec.backend import Backend
from initspec.digest import logical_digest
from initspec.errors import (
    BackendError,
    InitspecError,
    InitspecTypeError,
    InitspecValueError,
)
from initspec.fill_plan import STORAGE, FillPlan
from initspec.initializer import Initializer
from initspec.layout import Geometry, Layout, LayoutOptions
from initspec.stream import as_float
from initspec_conformance.reference import reference
from initspec_conformance.vectors.check import check

__all__ = [
    "DIGESTS",
    "ERRORS",
    "FOLDER",
    "Box",
    "Refusal",
    "Unsupported",
    "Vector",
    "Vectors",
    "check",
    "decode",
    "draw",
    "dtypes_may_lack",
    "load",
    "refused",
    "verify",
]

FOLDER = Path(__file__).parent
# Of each version of the stream: its files, and what they contain forever.
DIGESTS = {
    "v1": {
        "stream_v1.json": "246946aac77321f7a57bda6b81eebba880aae157674a466ce4aebfaee8040c50",
        "tensors_v1.json": "6e6d952f9248074c5db2ac89dd751db7e9b649fca7d3c7d849f5dac521305040",
    }
}
ERRORS: dict[str, type[InitspecError]] = {
    "InitspecValueError": InitspecValueError,
    "InitspecTypeError": InitspecTypeError,
}
_SIGMAS = 7.0  # of an estimated moment: an honest sample is beyond once in 10**11
# Half a step, relative: how far the rounding to the dtype may carry a value past a bound.
_STEPS = {"float32": 2.0**-24, "float64": 2.0**-53, "bfloat16": 2.0**-8, "float16": 2.0**-11}
_MARKS: dict[str, Any] = {
    "float": float,
    "int": lambda text: int(text, 16),
    "repeat": lambda parts: parts[0] * parts[1],
    "utf16": lambda text: bytes.fromhex(text).decode("utf-16-be", "surrogatepass"),
}


class Unsupported(Exception):  # noqa: N818 (a skip, no failure)
    """The backend cannot make this dtype here, and says so: no failure, and no success."""


@contextmanager
def dtypes_may_lack() -> Iterator[None]:
    """Tell a dtype that a backend says it cannot make, `Unsupported`, from other errors."""
    try:
        yield
    except InitspecError as error:
        if error.where == "dtype":
            raise Unsupported(str(error)) from error
        raise


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the logical tensor, as coordinates s, o, j; the j of the origin divides by 4."""

    origin: tuple[int, int, int]
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Vector:
    """One tensor and what is known of it.

    Attributes:
        id: unique.
        promise: ``bits``, ``rounded`` or ``moments``: what is compared.
        initializer: what draws it.
        shape: the stored shape of the whole tensor.
        layout: how it is stored.
        options: what the layout needs beside it.
        seed: in ``[0, 2**64)``.
        name: the parameter's.
        dtype: one of four.
        flags: the bugs that it finds.
        box: the part to draw, in the layout ``SOI``; None for the whole.
        sha256: of ``bits``: the digest of all values in canonical order.
        first: of ``bits``: the first eight values, for the eye.
        values: of ``rounded``: all values in canonical order.
        tolerance: of ``rounded``: how far each may be off.
        moments: of ``moments``: mean, std, low, high and kurtosis of the law; None where there
            is none.
    """

    id: str
    promise: str
    initializer: Initializer
    shape: tuple[int, ...]
    layout: str
    options: dict[str, Any] = field(hash=False)
    seed: int
    name: str
    dtype: str
    flags: tuple[str, ...]
    box: Box | None = None
    sha256: str = ""
    first: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    tolerance: float = 0.0
    moments: dict[str, float | None] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Vector:
        """A vector of the file."""
        box = data.get("box")
        numbers = {key: data[key] for key in _MOMENTS if key in data}
        return cls(
            id=data["id"],
            promise=data["promise"],
            initializer=Initializer.from_dict(data["initializer"]),
            shape=tuple(data["shape"]),
            layout=data["layout"],
            options=data["options"],
            seed=int(data["seed"], 16),
            name=decode(data["name"]),
            dtype=data["dtype"],
            flags=tuple(data["flags"]),
            box=box and Box(tuple(box["origin"]), tuple(box["shape"])),
            sha256=data.get("sha256", ""),
            first=tuple(map(float.fromhex, data.get("first", ()))),
            values=tuple(map(float.fromhex, data.get("values", ()))),
            tolerance=float.fromhex(data.get("tolerance", "0x0p+0")),
            moments={key: None if v is None else float.fromhex(v) for key, v in numbers.items()},
        )

    @property
    def keywords(self) -> LayoutOptions:
        """The layout and its options, as an initializer takes them."""
        return cast(LayoutOptions, {"layout": self.layout, **self.options})

    @property
    def storage(self) -> np.dtype[Any]:
        """How the host holds the values."""
        return np.dtype(STORAGE[self.dtype])

    @cached_property
    def geometry(self) -> Geometry:
        """How what is drawn is stored."""
        if self.box is not None:
            return Layout.parse("SOI").bind(self.box.shape)
        return Layout.parse(self.layout, **self.options).bind(self.shape)

    def plan(self) -> FillPlan:
        """The plan of the reference."""
        whole = self.initializer.plan(self.shape, **self.keywords)
        keys = tuple(stream.key(self.seed, name) for name in whole.names(self.name))
        return self.part(whole.with_keys(keys))

    def part(self, whole: FillPlan) -> FillPlan:
        """The plan of the box, made from that of the whole tensor."""
        if self.box is None:
            return whole
        return FillPlan(self.geometry, whole.content, whole.keys, self.box.origin)

    def reference(self) -> NDArray[Any]:
        """The values by the specification in NumPy; bfloat16 as uint16 bit patterns."""
        return reference(self.plan(), self.dtype)


_MOMENTS = ("mean", "std", "low", "high", "kurtosis")


@dataclass(frozen=True)
class Refusal:
    """A call that has to be refused.

    Attributes:
        id: unique.
        call: initializer or recipe, shape, layout, options, dtype, seed, name; what is not
            there has its default.
        error: the class of the error.
        where: the argument that the error names.
        verdict: ``refused``; or ``acceptable``, where the specification leaves it open.
        flags: the bugs that it finds.
    """

    id: str
    call: dict[str, Any] = field(hash=False)
    error: str
    where: str
    verdict: str
    flags: tuple[str, ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Refusal:
        """A refusal of the file."""
        call, flags = decode(data["call"]), tuple(data["flags"])
        return cls(data["id"], call, data["error"], data["where"], data["verdict"], flags)

    def make(self, backend: Backend) -> Any:
        """Make the call."""
        call = self.call
        if "recipe" in call:
            initializer = initspec.get(call["recipe"])
        else:
            initializer = Initializer.from_dict(call["initializer"])
        layout = {key: call[key] for key in ("layout",) if key in call} | call.get("options", {})
        return backend.draw(
            initializer,
            call["shape"],
            dtype=call.get("dtype", "float32"),
            device=None,
            seed=call.get("seed", 0),
            name=call.get("name", "w"),
            out=None,
            layout=layout,
        )


@dataclass(frozen=True)
class Vectors:
    """All vectors of one version of the stream.

    Attributes:
        stream: the version.
        suite: the edition of the vectors.
        flags: of each bug that vectors find: ``bug`` and ``effect``, in words.
        tensors: what must come out right.
        refusals: what must be refused.
    """

    stream: str
    suite: int
    flags: dict[str, dict[str, str]] = field(hash=False)
    tensors: tuple[Vector, ...]
    refusals: tuple[Refusal, ...]


def load(version: str = "v1") -> Vectors:
    """The vectors of a version of the stream, once its files are known to be undamaged.

    Raises:
        InitspecValueError: there is no such version.
        InitspecError: a file is not what it was when it was frozen.

    >>> vectors = load()
    >>> vectors.tensors[0].promise
    'bits'
    """
    if version not in DIGESTS:
        raise InitspecValueError("version", version, f"one of {sorted(DIGESTS)}")
    texts = {name: _read(FOLDER / name, digest) for name, digest in DIGESTS[version].items()}
    data = json.loads(texts[f"tensors_{version}.json"])
    return Vectors(
        data["stream"],
        data["suite"],
        data["flags"],
        tuple(map(Vector.of, data["tensors"])),
        tuple(map(Refusal.of, data["refusals"])),
    )


def _read(path: Path, frozen: str) -> bytes:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != frozen:
        advice = "The installation is damaged: reinstall initspec."
        raise InitspecError(str(path), digest, f"SHA-256 {frozen}", advice)
    return data


def decode(value: Any) -> Any:
    """A value of the file; objects with one known key stand for what JSON cannot say.

    >>> decode({"float": "inf"}), decode([{"int": "0x10"}]), decode({"repeat": ["ab", 2]})
    (inf, [16], 'abab')
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if len(value) == 1 and mark in _MARKS:
        return _MARKS[mark](value[mark])
    return {key: decode(item) for key, item in value.items()}


# --- use ----------------------------------------------------------------------------------------


def draw(vector: Vector, backend: Backend, device: Any = None) -> tuple[NDArray[Any], Geometry]:
    """What a backend makes of a vector: the stored array on the host, and its geometry.

    Raises:
        Unsupported: the backend says that it cannot make this dtype here.
    """
    options: dict[str, Any] = {"seed": vector.seed, "name": vector.name}
    options |= {"dtype": vector.dtype, "layout": vector.keywords}
    with dtypes_may_lack():
        if vector.box is None:
            tensor = backend.draw(
                vector.initializer, vector.shape, device=device, out=None, **options
            )
        else:
            whole = backend.plan(vector.initializer, vector.shape, **options)
            tensor = backend.emit(vector.part(whole), vector.dtype, device)
    return backend.to_host(tensor), vector.geometry


def verify(vector: Vector, array: NDArray[Any]) -> str:
    """What is wrong with the array that a backend made; the empty string if nothing is.

    Args:
        vector: what was drawn.
        array: the stored values on the host; bfloat16 as uint16 bit patterns.
    """
    if array.shape != vector.geometry.shape or array.dtype != vector.storage:
        found = f"shape {array.shape} of {array.dtype}"
        return f"{found} where shape {vector.geometry.shape} of {vector.storage} was expected"
    return _VERIFY[vector.promise](vector, array)


def _verify_bits(vector: Vector, array: NDArray[Any]) -> str:
    if logical_digest(array, vector.geometry) == vector.sha256:
        return ""
    reference = vector.reference()
    if logical_digest(reference, vector.geometry) != vector.sha256:
        return "the reference itself no longer gives these bits: the installation is damaged"
    bits = f"u{array.itemsize}"
    found, expected = (
        np.ascontiguousarray(vector.geometry.canonical(each)).reshape(-1)
        for each in (array, reference)
    )
    wrong = found.view(bits) != expected.view(bits)
    message = _where(vector, wrong, found, expected)
    if np.array_equal(np.sort(found.view(bits)), np.sort(expected.view(bits))):
        message += "; they are the right values in other places: is the layout read rightly?"
    return message


def _verify_rounded(vector: Vector, array: NDArray[Any]) -> str:
    found = as_float(vector.geometry.canonical(array).reshape(-1))
    expected = np.array(vector.values)
    wrong = ~(np.abs(found - expected) <= vector.tolerance)  # NaN is wrong, too
    if not wrong.any():
        return ""
    return f"{_where(vector, wrong, found, expected)}; at most {vector.tolerance:g} off is right"


def _verify_moments(vector: Vector, array: NDArray[Any]) -> str:
    """Support, mean and std: a first look; `initspec_conformance.statistics` has more."""
    values = as_float(array.reshape(-1))
    if not np.isfinite(values).all():
        return f"{np.count_nonzero(~np.isfinite(values))} of {values.size} values are not finite"
    law, step = vector.moments, _STEPS[vector.dtype]
    low, high = law["low"], law["high"]
    least, most = float(values.min()), float(values.max())
    if low is not None and least < low - abs(low) * step:
        return f"the least value, {least:.9g}, is below {low:.9g}"
    if high is not None and most > high + abs(high) * step:
        return f"the largest value, {most:.9g}, is above {high:.9g}"
    mean, std, kurtosis = (law[key] or 0.0 for key in ("mean", "std", "kurtosis"))
    error = std / math.sqrt(values.size)
    if abs(float(values.mean()) - mean) > _SIGMAS * error:
        return f"mean {values.mean():.6g}, expected {mean:.6g} +- {error:.2g}"
    error *= math.sqrt((kurtosis - 1) / 4)
    if abs(float(values.std()) - std) > _SIGMAS * error:
        return f"std {values.std():.6g}, expected {std:.6g} +- {error:.2g}"
    return ""


_VERIFY = {"bits": _verify_bits, "rounded": _verify_rounded, "moments": _verify_moments}


def _where(
    vector: Vector, wrong: NDArray[np.bool_], found: NDArray[Any], expected: NDArray[Any]
) -> str:
    """How many values are wrong, and which is the first one, in canonical order."""
    at = int(np.flatnonzero(wrong)[0])
    geometry, rest = vector.geometry, at
    place = []
    for size in reversed(geometry.counts):
        rest, index = divmod(rest, size)
        place.append(index)
    s, o, j = reversed(place)
    block = f" of block {geometry.layout.blocks[rest]!r}" if geometry.layout.blocks else ""
    values = [float(as_float(each[at : at + 1])[0]) for each in (expected, found)]
    count = f"{np.count_nonzero(wrong)} of {wrong.size} values are wrong"
    first = f"the first at s={s}, o={o}, j={j}{block}"
    return f"{count}, {first}: expected {values[0].hex()}, found {values[1].hex()}"


def refused(refusal: Refusal, backend: Backend) -> str:
    """What is wrong with how a backend answers a bad call; the empty string if nothing is.

    Raises:
        Unsupported: the call is acceptable, and the backend lacks what it takes.
    """
    try:
        refusal.make(backend)
    except BackendError as error:
        if error.where != "dtype":
            return f"raised BackendError ({error}), expected {refusal.error}"
        raise Unsupported(str(error)) from error
    except ERRORS[refusal.error] as error:
        if error.where == refusal.where:
            return ""
        return f"the error names {error.where!r}, expected {refusal.where!r}"
    except Exception as error:
        return f"raised {type(error).__name__} ({error}), expected {refusal.error}"
    if refusal.verdict == "acceptable":
        return ""
    return f"was accepted, expected {refusal.error} at {refusal.where!r}"
