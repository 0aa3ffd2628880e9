"""Golden vectors, computed by the reference: of the stream, and of tensors for backends.

    python -m initspec_conformance.vectors.make [--check]

The vectors of the stream are made here, those of tensors in `initspec_conformance.vectors.tensors`.

Version 1 is frozen: ``--check`` (the default in the tests) compares, and a difference is a bug in
the code, never a reason to write the file again. Inputs are zeros, ones and digits of pi.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import initspec
from initspec import files, stream
from initspec.digest import logical_digest
from initspec.draw import Draw
from initspec.fill_plan import DTYPES, FillPlan
from initspec.initializer import Initializer
from initspec_conformance.reference import reference
from initspec_conformance.vectors import tensors

__all__ = ["PATH", "tensor_vector", "vectors"]

PATH = Path(__file__).parent / "stream_v1.json"
_PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
_ONES = 2**32 - 1
_COUNTERS = [
    ((0, 0, 0, 0), (0, 0)),
    ((_ONES,) * 4, (_ONES,) * 2),
    (_PI[:4], _PI[4:]),
    ((_ONES, 0, 0, 0), (0, 0)),
    ((0, _ONES, 0, 0), (0, 0)),
    ((0, 0, _ONES, 0), (0, 0)),
    ((0, 0, 0, 1), (0, 0)),
]
_SEEDS = [0, 1, 2**32, 2**63, 2**64 - 1, 0x243F6A8885A308D3]
_NAMES = [
    "",
    "conv1",
    "blocks/3/attn/query/kernel",
    "w#i",
    "Gewicht-\u00e4\u00df",
    "Gewicht-a\u0308\u00df",  # decomposed: the same name
    "\u6b0a\u91cd",
    "layer/" * 30,  # two blocks of BLAKE2b
]
_WORDS = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**30, 3 * 2**30, *_PI]
_BOUNDS = [(-2.0, 2.0), (-1.0, 1.0), (-3.0, 3.0), (-1.0, 2.0), (0.0, None), (None, 1.5)]
_SIDE = 1024  # a tensor of 2**20 elements
_PLACES = [(0, 0, j) for j in range(8)]  # the first words, then far ones
_PLACES += [(0, 0, 2**34 - 1), (0, 2**32 - 1, 5), (2**32 - 1, 0, 6), (70000, 80000, 2**33 + 7)]

Case = tuple[Initializer, tuple[int, ...], str, str, dict[str, Any]]


def vectors() -> dict[str, Any]:
    """All vectors as one JSON tree."""
    return {
        "stream": stream.VERSION,
        "table_sha256": stream.TABLE_DIGEST,
        "philox4x32_10": [
            {
                "counter": _hex(counter),
                "key": _hex(key),
                "words": _hex(stream.philox4x32(counter, key)),
            }
            for counter, key in _COUNTERS
        ],
        "names": [{"name": name, "words": _hex(stream.name_words(name))} for name in _NAMES],
        "keys": [
            {"seed": f"{seed:#018x}", "name": name, "key": _hex(stream.key(seed, name))}
            for seed in _SEEDS
            for name in _NAMES[:2]
        ],
        "words": [_word(purpose, *at) for purpose in (0, 1) for at in _PLACES],
        "uniform": [_integer(Draw("uniform", 1.0), word) for word in _WORDS],
        "normal": [_integer(Draw("normal", 1.0), word) for word in _WORDS],
        "truncation": [_truncation(low, high) for low, high in _BOUNDS],
        "tensors": [tensor_vector(*case) for case in _tensors()],
    }


def _hex(words: Sequence[int]) -> list[str]:
    return [f"{word:08x}" for word in words]


def _integer(draw: Draw, word: int) -> dict[str, Any]:
    z = stream.integers(draw, np.array([word], np.uint32))
    return {"word": f"{word:08x}", "integer": int(z[0])}


def _truncation(low: float | None, high: float | None) -> dict[str, Any]:
    lo, width = stream.truncation(low, high)
    bounds = [None if bound is None else bound.hex() for bound in (low, high)]
    return {"low": bounds[0], "high": bounds[1], "lo": lo, "width": width}


def _word(purpose: int, s: int, o: int, j: int) -> dict[str, Any]:
    key = stream.key(_SEEDS[-1], "w")
    word = stream.philox4x32((j >> 2, o, s, purpose), key)[j & 3]
    place = {"purpose": purpose, "s": s, "o": o, "j": j}
    return {"key": _hex(key), **place, "word": f"{word:08x}"}


def _tensors() -> Iterator[Case]:
    """Every distribution in every dtype at 2**20 elements; layouts at odd sizes; other rules."""
    for init in _RULES:
        for dtype in DTYPES:
            yield init, (_SIDE, _SIDE), "OI", dtype, {}
    for shape, layout, options in _LAYOUTS:
        yield initspec.he_normal, shape, layout, "float32", options
    for init, dtype in _VARIATIONS:
        yield init, (5, 3, 4, 6), "HWIO", dtype, {}
    for init, shape, layout, options in _PATTERNS:
        yield init, shape, layout, "float32", options


_RULES = [
    initspec.normal(1.0),
    initspec.normal(0.5, mean=0.25),
    initspec.uniform(-1.0, 1.0),
    initspec.uniform(0.0, 1.0),
    initspec.he_normal,
    initspec.glorot_uniform,
    initspec.truncated_normal(1.0, -1.0, 2.0, mean=0.5),
    initspec.sparse(0.25, std=1.0),
]
_LAYOUTS: list[tuple[tuple[int, ...], str, dict[str, Any]]] = [
    ((64, 3, 7, 7), "OIHW", {}),
    ((7, 7, 3, 64), "HWIO", {}),
    ((3, 3, 13, 2), "HWGO", {}),
    ((26, 1, 3, 3), "(G O) I H W", {"groups": 13}),
    ((3, 5, 2, 4), "WHIO", {}),
    ((2, 3, 4, 3, 2, 5), "TDWHIO", {}),
    ((6, 4, 3, 3), "IOHW", {"stride": 2}),
    ((4, 4, 3, 6), "HWIO", {"stride": [2, 1], "transposed": True}),
    ((5, 9, 7), "SIO", {}),
    ((3, 7, 2, 4), "_S2I", {}),
    ((6, 2, 5), "IOO", {}),
    ((127,), "I", {}),
    ((129, 3), "VI", {}),
    ((20, 6), "(4 O) I", {}),
    ((20, 6), "(4 O) I", {"blocks": ["i", "f", "g", "o"]}),
    ((36, 5), "(H W I) O", {"sizes": {"H": 3, "W": 3}}),
    ((0, 4), "OI", {}),
    ((4, 4, 6, 3), "HWOI", {"stride": 2}),
    ((6, 4, 3, 3), "IOHW", {"groups": 3, "stride": 2}),
    ((8, 4, 3, 3), "OIHW", {"groups": 2, "stride": 2}),
    ((4, 3, 2, 5), "OGVI", {}),
    ((2, 3, 2, 3, 2, 2), "LZYXIO", {}),
    ((2, 3, 4, 5), "2_SI", {}),
]
_VARIATIONS = [
    (initspec.variance_scaling(1.0, "fan_out", "normal", gain=1.25), "float32"),
    (initspec.variance_scaling(3.0, "fan_geo_avg", "uniform"), "float64"),
    (initspec.variance_scaling(1.0, "fan_avg", low=-1.0, high=2.5), "float32"),
    (initspec.variance_scaling(1.0, "fan_in", low=-0.5), "float64"),
    (initspec.truncated_normal(0.02, -2.0, 2.0), "float32"),
    (initspec.truncated_normal(0.02, -100.0, 0.01, absolute=True), "float32"),
    (initspec.uniform(-0.1, 0.3), "float32"),
    (initspec.uniform(-0.1, 0.3), "float64"),
    (initspec.normal(0.3, mean=-0.1), "float32"),
    (initspec.normal(1e-6), "float16"),
    (initspec.sparse(0.4, std=0.1, per="input"), "float32"),
    (initspec.constant(0.1), "float32"),
    (initspec.constant(0.1), "bfloat16"),
    (initspec.normal(0.0, mean=0.1), "float64"),
    (initspec.dirac, "float32"),
    (initspec.bilinear, "float32"),
    (initspec.bilinear, "float16"),
    (initspec.variance_scaling(1.0, "fan_out").replace(fan=37.5), "float32"),
    (initspec.variance_scaling(1.0, "fan_in", low=-6.337, high=5.0), "float32"),
    (initspec.truncated_normal(0.02, -0.5, 0.013, mean=0.01, absolute=True), "float64"),
    (initspec.normal(1.0, mean=1e-12), "float32"),
    (initspec.uniform(-0.3, 0.1), "float64"),
    (initspec.sparse(0.1, std=1.0, per="input"), "float32"),
]
_PATTERNS: list[tuple[Initializer, tuple[int, ...], str, dict[str, Any]]] = [
    (initspec.dirac.replace(gain=1.5), (6, 2, 4, 2), "OIHW", {"groups": 3}),
    (initspec.dirac, (2, 4, 3, 5), "HWIO", {}),
    (initspec.identity(0.5), (2, 3, 5), "SIO", {}),
    (initspec.identity(2.0), (6, 4), "(G O) I", {"groups": 2}),
    (initspec.bilinear, (3, 5, 2, 2), "WHIO", {}),
    (initspec.get("torch.conv"), (8, 4, 3, 3), "IOHW", {"groups": 2, "stride": 2}),
    (initspec.get("torch.xavier_normal"), (3, 4, 5), "SIO", {}),
    (initspec.get("torch.xavier_normal"), (12, 4), "(3 O) I", {}),
    (initspec.get("keras.glorot_uniform"), (3, 3, 4, 2), "HWGO", {}),
    (initspec.get("keras.he_normal"), (3, 3, 4, 6), "HWOI", {}),
    (initspec.get("jax.he_normal"), (3, 4, 5), "SIO", {}),
    (initspec.get("jax.glorot_normal"), (7, 5), "VI", {}),
    (initspec.sparse(0.1, std=1.0), (30, 4), "IO", {}),
    (initspec.sparse(0.25, std=1.0, per="input"), (8, 3), "(G O) I", {"groups": 2}),
]


def tensor_vector(
    init: Initializer,
    shape: tuple[int, ...],
    layout: str,
    dtype: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    """A tensor as its constants, its first values in canonical order, and its digest."""
    seed = 0x243F6A88
    plan = init.plan(shape, layout=layout, **options)
    plan = plan.with_keys(tuple(stream.key(seed, name) for name in plan.names("w")))
    out = reference(plan, dtype)
    first = plan.geometry.canonical(out).flat[:8]
    return {
        "initializer": init.to_dict(),
        "shape": list(shape),
        "layout": layout,
        "options": options,
        "seed": f"{seed:#018x}",
        "name": "w",
        "dtype": dtype,
        "constants": _constants(plan),
        "first": [value.hex() for value in stream.as_float(first).tolist()],
        "sha256": logical_digest(out, plan.geometry),
        "stored_sha256": hashlib.sha256(_little_endian(out)).hexdigest(),
    }


def _little_endian(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _constants(plan: FillPlan) -> dict[str, Any] | None:
    draw = plan.draw if plan.draw is not None else getattr(plan.content, "draw", None)
    if draw is None:
        return None
    integers = {name: getattr(draw, name) for name in ("lo", "width", "offset", "multiplier")}
    return {"kind": draw.kind, "factor": draw.factor.hex(), **integers}


def _texts() -> dict[str, str]:
    """What each file has to contain."""
    return {
        PATH.name: json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n",
        "tensors_v1.json": tensors.text(tensors.vectors()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the shipped vectors, or write the first version of them."""
    parser = argparse.ArgumentParser(description="Golden vectors of the stream, and of tensors.")
    parser.add_argument("--check", action="store_true", help="compare with the shipped files")
    options = parser.parse_args(arguments)
    wrong = 0
    for name, text in _texts().items():
        path = PATH.with_name(name)
        if not options.check and not path.exists():
            files.write(path, text.encode("ascii"), "vectors")
        if path.exists() and path.read_text(encoding="ascii") == text:
            print(f"{name}: {len(text)} bytes, as computed")
            continue
        wrong += 1
        print(f"{name} differs from what the reference computes", file=sys.stderr)
    return min(wrong, 1)


if __name__ == "__main__":
    raise SystemExit(main())
