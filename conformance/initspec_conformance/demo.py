"""One seed, every framework, the same bits.

    python -m initspec_conformance.demo [--full] [--require]

Each case is one layer. Every framework makes its weight in its own natural layout, and prints the
SHA-256 of the logical tensor: canonical order, little-endian. Exit code 1 if any two differ.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import initspec
from initspec.backend import Backend
from initspec.digest import logical_digest
from initspec.errors import BackendError
from initspec.initializer import Initializer
from initspec.layout import Geometry, Layout
from initspec.registry import get_backend
from initspec_conformance.cases import Layer

__all__ = ["CASES", "FRAMEWORKS", "Case", "digests", "main"]

FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax", "keras")
SEED = 2024
_SHORT = 16  # hexadecimal digits


def _stored(pattern: str, *shape: int, **options: Any) -> Layer:
    return Layer(pattern, pattern, shape, options)


@dataclass(frozen=True)
class Case:
    """One layer: its initializer, its dtype, and how each framework stores its weight."""

    title: str
    init: Initializer
    usual: Layer
    others: tuple[tuple[str, Layer], ...] = ()
    dtype: str = "float32"

    def stored(self, framework: str) -> Layer:
        """The framework's own way."""
        return dict(self.others).get(framework, self.usual)


def _case(
    title: str, recipe: str | Initializer, usual: Layer, dtype: str = "float32", **others: Layer
) -> Case:
    return Case(title, initspec.get(recipe), usual, tuple(others.items()), dtype)


_CONV, _TORCH_CONV = _stored("HWIO", 3, 3, 64, 128), _stored("OIHW", 128, 64, 3, 3)
_DENSE, _TORCH_DENSE = _stored("IO", 512, 256), _stored("OI", 256, 512)
_GATES = {"blocks": ("i", "f", "g", "o")}
_HAIKU_GATES = {"blocks": ("i", "g", "f", "o")}

CASES = (
    _case("he_normal, convolution", "he_normal", _CONV, torch=_TORCH_CONV),
    _case("glorot_uniform, dense", "glorot_uniform", _DENSE, torch=_TORCH_DENSE),
    _case(
        "truncated normal with a mean",
        initspec.truncated_normal(0.02, mean=0.5),
        _DENSE,
        torch=_TORCH_DENSE,
    ),
    _case(
        "he_uniform, depthwise convolution",
        "he_uniform",
        _stored("HWGO", 3, 3, 32, 2),
        torch=_stored("OIHW", 64, 1, 3, 3, groups=32),
        numpy=_stored("HWIO", 3, 3, 1, 64, groups=32),
        jax=_stored("HWIO", 3, 3, 1, 64, groups=32),
    ),
    _case(
        "he_normal, grouped convolution",
        "he_normal",
        _stored("HWIO", 3, 3, 8, 64, groups=4),
        torch=_stored("OIHW", 64, 8, 3, 3, groups=4),
    ),
    _case(
        "lecun_normal, transposed convolution, stride 2",
        "lecun_normal",
        _stored("HWOI", 4, 4, 32, 64, stride=2),
        torch=_stored("IOHW", 64, 32, 4, 4, stride=2),
        jax=_stored("HWIO", 4, 4, 64, 32, stride=2, transposed=True),
    ),
    _case(
        "glorot_normal, LSTM gates (jax: Haiku's order i g f o)",
        "glorot_normal",
        _stored("I (4 O)", 64, 512, **_GATES),
        torch=_stored("(4 O) I", 512, 64, **_GATES),
        jax=_stored("I (4 O)", 64, 512, **_HAIKU_GATES),
    ),
    _case(
        "lecun_normal, attention query, 8 heads",
        "lecun_normal",
        _stored("IOO", 128, 8, 16),
        torch=_stored("OI", 128, 128),
    ),
    _case(
        "he_normal, 4 experts",
        "he_normal",
        _stored("SIO", 4, 64, 96),
        torch=_stored("SOI", 4, 96, 64),
    ),
    _case("normal(0.02), embedding", initspec.normal(0.02), _stored("VI", 1000, 64)),
    _case("he_normal in bfloat16", "he_normal", _CONV, "bfloat16", torch=_TORCH_CONV),
    _case("glorot_normal in float16", "glorot_normal", _DENSE, "float16", torch=_TORCH_DENSE),
    _case("lecun_uniform in float64", "lecun_uniform", _DENSE, "float64", torch=_TORCH_DENSE),
    _case(
        "orthogonal, convolution",
        "orthogonal",
        _stored("HWIO", 3, 3, 16, 32),
        torch=_stored("OIHW", 32, 16, 3, 3),
    ),
    _case(
        "dirac, convolution",
        "dirac",
        _stored("HWIO", 3, 3, 16, 32),
        torch=_stored("OIHW", 32, 16, 3, 3),
    ),
    _case(
        "sparse, dense", initspec.sparse(0.9), _stored("IO", 100, 50), torch=_stored("OI", 50, 100)
    ),
    _case("Caffe's xavier, convolution", "caffe.xavier", _CONV, torch=_TORCH_CONV),
    _case(
        "tf1.contrib.xavier_normal, dense",
        "tf1.contrib.xavier_normal",
        _DENSE,
        torch=_TORCH_DENSE,
    ),
)


def digests(case: Case, backends: Sequence[Backend]) -> Iterator[tuple[str, Layer, str]]:
    """Framework, storage and digest of the case's weight, from each backend that can make it."""
    for backend in backends:
        stored = case.stored(backend.name)
        try:
            tensor = _make(case.init, stored, backend.name, case.title, case.dtype)
        except BackendError as error:  # NumPy has no bfloat16 without ml_dtypes, for example
            print(f"{case.title}: {error}", file=sys.stderr)
            continue
        yield backend.name, stored, _digest(backend.to_host(tensor), stored.geometry)


def _make(init: Initializer, stored: Layer, backend: str, name: str, dtype: str) -> Any:
    return init(stored.shape, backend=backend, dtype=dtype, seed=SEED, name=name, **stored.keywords)


def _digest(array: Any, geometry: Geometry) -> str:
    """The logical digest; named blocks by name, because frameworks order their gates as they like.

    Everywhere else the order of blocks is that of storage, which is part of the logical tensor.
    """
    names = geometry.layout.blocks
    if not names:
        return logical_digest(array, geometry)
    order = sorted(range(len(names)), key=names.__getitem__)
    stack, output, inputs = geometry.counts
    by_name = geometry.canonical(array)[order].reshape(len(names) * stack, output, inputs)
    return logical_digest(by_name, Layout.parse("SOI").bind(by_name.shape))


# --- the report -------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all cases; 1 if any two frameworks differ."""
    parser = argparse.ArgumentParser("initspec_conformance.demo", description=__doc__)
    parser.add_argument("--full", action="store_true", help="print digests in full")
    parser.add_argument("--require", action="store_true", help="a missing framework is a failure")
    options = parser.parse_args(arguments)
    os.environ.setdefault("JAX_ENABLE_X64", "1")  # read when jax is imported: float64 is a case
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    backends, missing = _available()
    digits = None if options.full else _SHORT
    found = {case.title: _print_case(case, backends, digits) for case in CASES}
    _print_problem({backend.name: backend for backend in backends})
    for name, reason in missing.items():
        print(f"skipped {name}: {reason}")
    return _verdict(found, missing, [backend.name for backend in backends], options.require)


def _available() -> tuple[list[Backend], dict[str, str]]:
    found, missing = [], {}
    for name in FRAMEWORKS:
        try:
            found.append(get_backend(name))
        except BackendError as error:
            missing[name] = str(error)
    return found, missing


def _verdict(
    found: dict[str, int], missing: dict[str, str], names: Sequence[str], require: bool
) -> int:
    differing = [title for title, count in found.items() if count > 1]
    incomplete = bool(missing) or 0 in found.values()
    if differing:
        print(f"DIFFERENT in {len(differing)} of {len(found)} cases: {'; '.join(differing)}")
    elif incomplete and require:
        print("Incomplete, and --require was given.")
    else:
        print(f"All equal: {len(found)} cases, seed {SEED}, in {', '.join(names)}.")
    return 1 if differing or (incomplete and require) else 0


def _print_case(case: Case, backends: Sequence[Backend], digits: int | None) -> int:
    """Print one case; how many different digests there are, and 0 if a framework gave none."""
    print(f"{case.title} [{case.dtype}]")
    found = []
    for name, stored, digest in digests(case, backends):
        pattern, shape = stored.geometry.layout.pattern, str(stored.shape)
        print(f"  {name:<11} {pattern:<14} {shape:<18} {digest[:digits]}")
        found.append(digest)
    print(f"  {'all equal' if len(set(found)) <= 1 else 'DIFFERENT'}\n")
    return len(set(found)) if len(found) == len(backends) else 0


def _print_problem(backends: dict[str, Backend]) -> None:
    """What "He normal" gives for one layer without initspec, and with it."""
    if not {"torch", "keras"} <= set(backends):
        return
    torch, keras = import_module("torch"), import_module("keras")
    torch.manual_seed(SEED)
    theirs = torch.nn.init.kaiming_normal_(torch.empty(_TORCH_CONV.shape), nonlinearity="relu")
    weights = [
        ("torch.nn.init.kaiming_normal_", "torch", theirs),
        ("keras.initializers.HeNormal", "keras", keras.initializers.HeNormal(SEED)(_CONV.shape)),
    ]
    for name, stored in (("torch", _TORCH_CONV), ("keras", _CONV)):
        ours = _make(initspec.he_normal, stored, name, "conv", "float32")
        weights.append((f"initspec.he_normal, {name}", name, ours))
    print("What he_normal is elsewhere       std      max/std  digest")
    for title, name, tensor in weights:
        array = backends[name].to_host(tensor)
        std = float(array.std(dtype="float64"))
        digest = logical_digest(array, (_TORCH_CONV if name == "torch" else _CONV).geometry)
        print(f"  {title:<31} {std:.5f}  {float(abs(array).max()) / std:<7.2f}  {digest[:_SHORT]}")
    print()


if __name__ == "__main__":
    sys.exit(main())
