"""Golden vectors of the stream, computed by the reference.

    python -m initspec_conformance.make_vectors [--check]

Version 1 is frozen: ``--check`` (the default in the tests) compares, and a difference is a bug in
the code, never a reason to write the file again. Inputs are zeros, ones and digits of pi.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import initspec
from initspec import stream
from initspec.draw import Draw
from initspec.initializer import Initializer
from initspec.plan import DTYPES, FillPlan
from initspec_conformance.digest import logical_digest

__all__ = ["PATH", "tensor_vector", "vectors"]

PATH = Path(__file__).parent / "vectors" / "stream_v1.json"
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
_NAMES = ["", "conv1", "blocks/3/attn/query/kernel", "w#i", "Gewicht-\u00e4\u00df", "\u6b0a\u91cd"]
_WORDS = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**30, 3 * 2**30, *_PI]
_BOUNDS = [(-2.0, 2.0), (-1.0, 1.0), (-3.0, 3.0), (-1.0, 2.0), (0.0, None), (None, 1.5)]
_SIDE = 1024  # a tensor of 2**20 elements


def vectors() -> dict[str, Any]:
    """All vectors as one JSON tree."""
    return {
        "stream": stream.VERSION,
        "table_sha256": stream.TABLE_DIGEST,
        "philox4x32_10": [
            {"counter": _hex(counter), "key": _hex(key), "words": _hex(stream.philox4x32(counter, key))}
            for counter, key in _COUNTERS
        ],
        "names": [{"name": name, "words": _hex(stream.name_words(name))} for name in _NAMES],
        "keys": [
            {"seed": f"{seed:#018x}", "name": name, "key": _hex(stream.key(seed, name))}
            for seed in _SEEDS
            for name in _NAMES[:2]
        ],
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


def _tensors() -> list[tuple[Initializer, tuple[int, ...], str, str]]:
    """Every distribution in every dtype at 2**20 elements, then layouts at odd sizes."""
    rules = [
        initspec.normal(1.0),
        initspec.normal(0.5, mean=0.25),
        initspec.uniform(-1.0, 1.0),
        initspec.uniform(0.0, 1.0),
        initspec.he_normal,
        initspec.glorot_uniform,
        initspec.truncated_normal(1.0, -1.0, 2.0, mean=0.5),
        initspec.sparse(0.25, std=1.0),
    ]
    square = [(init, (_SIDE, _SIDE), "OI", dtype) for init in rules for dtype in DTYPES]
    odd = [
        ((64, 3, 7, 7), "OIHW"),
        ((7, 7, 3, 64), "HWIO"),
        ((3, 3, 13, 2), "HWGO"),
        ((5, 9, 7), "SIO"),
        ((6, 2, 5), "IOO"),
        ((127,), "I"),
        ((129, 3), "VI"),
    ]
    return square + [(initspec.he_normal, shape, layout, "float32") for shape, layout in odd]


def tensor_vector(
    init: Initializer, shape: tuple[int, ...], layout: str, dtype: str, seed: int = 0x243F6A88
) -> dict[str, Any]:
    """A tensor as its constants, its first values in canonical order, and its digest."""
    plan = init.plan(shape, layout=layout).with_keys((stream.key(seed, "w"),))
    out = np.empty(shape, np.uint16 if dtype == "bfloat16" else dtype)
    stream.fill(plan, out, dtype)
    first = plan.geometry.canonical(out).flat[:8]
    return {
        "initializer": init.to_dict(),
        "shape": list(shape),
        "layout": layout,
        "seed": f"{seed:#018x}",
        "name": "w",
        "dtype": dtype,
        "constants": _constants(plan),
        "first": [_value(number, dtype) for number in first],
        "sha256": logical_digest(out, plan.geometry),
    }


def _constants(plan: FillPlan) -> dict[str, Any]:
    draw = plan.draw if plan.draw is not None else getattr(plan.content, "draw", None)
    assert draw is not None
    integers = {name: getattr(draw, name) for name in ("lo", "width", "offset", "multiplier")}
    return {"kind": draw.kind, "factor": draw.factor.hex(), **integers}


def _value(number: Any, dtype: str) -> str:
    if dtype == "bfloat16":
        number = np.array([int(number) << 16], np.uint32).view(np.float32)[0]
    return float(number).hex()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the shipped vectors, or write the first version of them."""
    parser = argparse.ArgumentParser(description="Golden vectors of the stream.")
    parser.add_argument("--check", action="store_true", help="compare with the shipped file")
    options = parser.parse_args(arguments)
    text = json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"
    if not options.check and not PATH.exists():
        partial = PATH.with_suffix(".partial")
        partial.write_text(text, encoding="ascii")
        os.replace(partial, PATH)
    if PATH.read_text(encoding="ascii") == text:
        print(f"{PATH.name}: {len(text)} bytes, as computed")
        return 0
    print(f"{PATH.name} differs from what the reference computes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
