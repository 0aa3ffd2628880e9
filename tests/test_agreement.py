"""All backends equal the reference bit for bit, eager and compiled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import Any

import numpy as np
import pytest
import samples
from samples import bits

import initspec
import initspec_kernel
from initspec import registry, stream
from initspec.fill_plan import DTYPES
from initspec.initializer import Initializer
from initspec.recipes import RECIPES

SEED, NAME = 0x243F6A88_85A308D3, "agreement"
SIZES = (0, 1, 3, 4, 5, 127, 128, 129)
MILLION = (1000, 1000)
DRAWN = sorted(
    name
    for name, recipe in RECIPES.items()
    if recipe.initializer.distribution in ("normal", "truncated_normal", "uniform", "sparse")
)
FACTORED = ("orthogonal", "delta_orthogonal")
FIXED = ("zeros", "ones", "identity", "dirac", "bilinear")
# One of every way to make an integer from a word; what compiled code has to get right.
KINDS = {
    "uniform": initspec.uniform(-1.0, 1.0),
    "uniform_shifted": initspec.uniform(0.0, 1.0),
    "normal": initspec.normal(0.02),
    "normal_shifted": initspec.normal(0.5, mean=-2.0),
    "truncated": initspec.he_normal,
    "truncated_shifted": initspec.truncated_normal(1.0, -1.0, 2.5, compensate=True),
    "sparse": initspec.sparse(0.3, std=1.0),
}
# Each layout with the place that takes the size: the innermost axis in memory, and another one.
LAYOUTS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "OI": lambda n: (3, n),
    "IO": lambda n: (3, n),
    "OIHW": lambda n: (2, n, 3, 1),
    "HWIO": lambda n: (1, 3, 2, n),
    "SIO": lambda n: (2, n, 5),
}


def reference(init: Initializer, shape: tuple[int, ...], layout: str, dtype: str) -> Any:
    plan = init.plan(shape, layout=layout).with_keys((stream.key(SEED, NAME),))
    return samples.reference(plan, dtype)


@dataclass(frozen=True)
class Case:
    """A backend in one mode: eager, or through its compiler."""

    backend: str
    mode: str

    def draw(self, init: Initializer, shape: tuple[int, ...], layout: str, dtype: str) -> Any:
        def make() -> Any:
            return init(
                shape, backend=self.backend, layout=layout, dtype=dtype, seed=SEED, name=NAME
            )

        with x64(self.backend, dtype):
            tensor = compiled(self.backend, make)() if self.mode == "compiled" else make()
            return registry.get_backend(self.backend).to_host(tensor)

    def check(self, init: Initializer, shape: tuple[int, ...], layout: str, dtype: str) -> None:
        got, want = self.draw(init, shape, layout, dtype), reference(init, shape, layout, dtype)
        assert got.shape == want.shape == shape
        assert np.array_equal(bits(got), bits(want)), (init, shape, layout, dtype)


def x64(backend: str, dtype: str) -> AbstractContextManager[Any]:
    if backend != "jax" or dtype != "float64":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


def compiled(backend: str, make: Callable[[], Any]) -> Callable[[], Any]:
    if backend == "torch":
        import torch

        torch.compiler.reset()
        return torch.compile(make, backend="aot_eager", fullgraph=True)
    if backend == "jax":
        import jax

        return jax.jit(make)
    import tensorflow as tf

    return tf.function(make)


BACKENDS = ("numpy", "torch", "tensorflow", "jax")
CASES = [Case(name, "eager") for name in BACKENDS] + [
    Case(name, "compiled") for name in ("torch", "tensorflow", "jax")
]
every_backend = pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.backend)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.backend}-{case.mode}")


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_recipe_that_draws(case, dtype):
    """All of them in every layout and at every size."""
    for recipe, layout, size in product(DRAWN, LAYOUTS, SIZES):
        case.check(initspec.get(recipe), LAYOUTS[layout](size), layout, dtype)


@every_backend
@pytest.mark.parametrize("recipe", KINDS)
def test_a_million(case, recipe):
    for layout, dtype in zip(("OI", "IO", "OI", "IO"), DTYPES, strict=True):
        case.check(KINDS[recipe], MILLION, layout, dtype)


@pytest.mark.parametrize("case", CASES[4:], ids=lambda case: case.backend)
def test_compiled_kinds_and_dtypes(case):
    for recipe, dtype in product(KINDS, DTYPES):
        case.check(KINDS[recipe], (5, 3, 7), "SIO", dtype)


@pytest.mark.parametrize("case", CASES[4:], ids=lambda case: case.backend)
def test_compiled_layouts_and_sizes(case):
    """Kinds and dtypes take turns, so that each meets most layouts and sizes."""
    turns = cycle(product(KINDS, DTYPES))
    for layout, size in product(LAYOUTS, SIZES):
        (recipe, dtype) = next(turns)
        case.check(KINDS[recipe], LAYOUTS[layout](size), layout, dtype)


@pytest.mark.parametrize("case", CASES[4:], ids=lambda case: case.backend)
def test_compiled_million(case):
    for recipe, layout in (("truncated", "OI"), ("normal", "IO"), ("uniform", "OI")):
        case.check(KINDS[recipe], MILLION, layout, "float32")


@every_case
@pytest.mark.parametrize("recipe", [*FIXED, *FACTORED])
def test_what_is_not_drawn_word_by_word(case, recipe):
    """Patterns are equal bits; factored matrices are, too, on one machine."""
    init = initspec.get(recipe)
    spatial = recipe in ("dirac", "bilinear", "delta_orthogonal")
    shape, layout = ((3, 4, 2, 6), "HWIO") if spatial else ((12, 8), "IO")
    for dtype in DTYPES:
        case.check(init, shape, layout, dtype)


@every_case
def test_named_blocks(case):
    options = {"layout": "(4 O) I", "blocks": ("i", "f", "g", "o"), "seed": SEED, "name": "w"}

    def make() -> Any:
        return initspec.he_normal((20, 6), backend=case.backend, **options)

    tensor = compiled(case.backend, make)() if case.mode == "compiled" else make()
    got = registry.get_backend(case.backend).to_host(tensor)
    parts = [
        initspec.he_normal((5, 6), layout="OI", seed=SEED, name=f"w#{block}") for block in "ifgo"
    ]
    assert np.array_equal(got, np.concatenate(parts))


@every_case
@pytest.mark.parametrize("per", ["output", "input"])
def test_zeros_end_where_a_group_ends(case, per):
    """Lines of zeros, and groups, in compiled code as on the host."""
    init = initspec.sparse(0.25, std=1.0, per=per)

    def make() -> Any:
        return init((8, 5), backend=case.backend, **options)

    options = {"layout": "(G O) I", "groups": 2, "seed": SEED, "name": NAME}
    tensor = compiled(case.backend, make)() if case.mode == "compiled" else make()
    got = registry.get_backend(case.backend).to_host(tensor)
    assert np.array_equal(got, init((8, 5), **options))
    line = (got == 0).reshape(2, 4, 5).sum(axis=2 if per == "output" else 1)
    assert (line == (2 if per == "output" else 1)).all()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@every_backend
@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_threads_change_nothing(case, threads):
    with environment(INITSPEC_THREADS=threads):
        for layout in ("OI", "IO"):
            case.check(initspec.he_normal, MILLION, layout, "float32")


@every_backend
def test_without_the_kernel(case):
    with environment(INITSPEC_KERNEL="off"):
        assert not initspec_kernel.info().active
        for layout, dtype in islice(product(LAYOUTS, DTYPES), 20):
            case.check(initspec.he_normal, LAYOUTS[layout](129), layout, dtype)


def outputs(backend: str, dtype: str) -> Iterator[tuple[Any, tuple[int, ...], str]]:
    """Tensors that are not contiguous, with the layout to fill them by."""
    if backend == "numpy":
        if dtype == "bfloat16":
            dtype = pytest.importorskip("ml_dtypes").bfloat16
        yield np.zeros((9, 129), dtype).T, (129, 9), "OI"
        yield np.zeros((258, 9), dtype)[::2], (129, 9), "OI"
        yield np.zeros((129, 9), dtype)[::-1, ::-1], (129, 9), "IO"
        yield np.zeros((4, 5, 6, 7), dtype).transpose(3, 0, 2, 1), (7, 4, 6, 5), "OIHW"
        return
    import torch

    kind = getattr(torch, dtype)
    yield torch.zeros((9, 129), dtype=kind).T, (129, 9), "OI"
    yield torch.zeros((258, 9), dtype=kind)[::2], (129, 9), "OI"
    weight = torch.zeros((8, 5, 3, 3), dtype=kind).to(memory_format=torch.channels_last)
    yield weight, (8, 5, 3, 3), "OIHW"


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", KINDS)
def test_into_any_strides(backend, dtype, recipe):
    for out, shape, layout in outputs(backend, dtype):
        KINDS[recipe](out=out, layout=layout, seed=SEED, name=NAME)
        got = registry.get_backend(backend).to_host(out)
        assert np.array_equal(bits(got), bits(reference(KINDS[recipe], shape, layout, dtype)))


def test_tensorflow_variable_as_out():
    tf = pytest.importorskip("tensorflow")
    variable = tf.Variable(tf.zeros((3, 129)))
    initspec.he_normal(out=variable, layout="OI", seed=SEED, name=NAME)
    assert np.array_equal(
        variable.numpy(), reference(initspec.he_normal, (3, 129), "OI", "float32")
    )


@pytest.mark.parametrize("backend", ["numpy", "torch", "tensorflow", "jax", "keras"])
def test_the_headline(backend):
    """The promise of the first line: HWIO is the exact transpose of OIHW, in every framework."""
    to_host = registry.get_backend(backend).to_host
    options: dict[str, Any] = {"backend": backend, "seed": 0, "name": "conv1"}
    oihw = to_host(initspec.he_normal((64, 3, 7, 7), layout="OIHW", **options))
    hwio = to_host(initspec.he_normal((7, 7, 3, 64), layout="HWIO", **options))
    assert np.array_equal(oihw.transpose(2, 3, 1, 0), hwio)
    assert np.array_equal(
        oihw, initspec.he_normal((64, 3, 7, 7), layout="OIHW", seed=0, name="conv1")
    )
