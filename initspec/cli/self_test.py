"""What one backend can do, found out in a process of its own: ``initspec doctor`` starts it.

``python -m initspec.cli.self_test NAME`` prints one line of JSON, the last one on stdout (some
frameworks print while they are imported).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import initspec
from initspec import stream
from initspec.backend import Backend
from initspec.errors import BackendError
from initspec.registry import get_backend

__all__ = ["CASES", "examine"]

SEED, NAME = 0x0123456789ABCDEF, "doctor"
CASES = [  # small, and between them every path: normal, uniform, truncated, rounded
    ("he_normal", (5, 7), "float32"),
    ("glorot_uniform", (3, 3, 4, 6), "float32"),
    ("torch.normal", (6, 9), "float16"),
    ("ones", (4, 3), "float32"),
]


def examine(name: str) -> dict[str, Any]:
    """Import a backend and compare a few tensors with the reference, bit for bit."""
    try:
        backend = get_backend(name)
        wrong = [case for case in CASES if not _agrees(backend, *case)]
        devices = backend.devices()
    except BackendError as error:
        return {"state": "broken", "version": "", "detail": str(error)}
    except Exception as error:
        return {"state": "failed", "version": "", "detail": f"{type(error).__name__}: {error}"}
    detail = f"{len(CASES) - len(wrong)} of {len(CASES)} self-tests equal the reference"
    if wrong:
        detail += f"; not {wrong}"
    detail += "".join(f"; {device}: {how}" for device, how in devices.items())
    version = str(getattr(sys.modules.get(name), "__version__", ""))
    return {"state": "failed" if wrong else "ok", "version": version, "detail": detail}


def _agrees(backend: Backend, recipe: str, shape: tuple[int, ...], dtype: str) -> bool:
    init = initspec.get(recipe)
    tensor = init(shape, backend=backend.name, dtype=dtype, seed=SEED, name=NAME)
    found = backend.to_host(tensor)
    expected = np.empty(shape, dtype)
    stream.fill(backend.plan(init, shape, dtype, {}, SEED, NAME), expected, dtype)
    return np.array_equal(found, expected)  # of another dtype, perhaps: plain lists have none


if __name__ == "__main__":
    print(json.dumps(examine(sys.argv[1])))
