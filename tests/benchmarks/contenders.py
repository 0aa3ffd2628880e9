"""How each side is called. Frameworks are imported when a side is prepared, and not before.

Functions of a ``source`` make both sides: "initspec", or the peer's own package. Each gives a call
of no arguments, which ends when the values are there.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from .measure import Call, UnavailableError

__all__ = [
    "Spec",
    "anyinit_model",
    "gpt2",
    "importing",
    "jax_compiling",
    "jax_eager",
    "jax_jitted",
    "jax_small",
    "keras_eager",
    "keras_graph",
    "keras_small",
    "numpy_fresh",
    "numpy_in_place",
    "numpy_small",
    "tensorflow_eager",
    "tensorflow_small",
    "torch_compiled",
    "torch_fresh",
    "torch_in_place",
    "torch_small",
    "words",
]

Recipe = str | Mapping[str, Any]  # a name, or the dictionary of an initializer
FRAMEWORKS = {"torch", "tensorflow", "jax", "keras"}
_IMPORT = """
import sys, time
import numpy
start = time.perf_counter()
import {name}
print(time.perf_counter() - start)
if found := {frameworks} & set(sys.modules):
    sys.exit(f"it imports {{found}}")
"""
SEED = 7
_WIDTHS = {"float32": 4, "bfloat16": 2}
_TORCH_OPTIONS = {"trunc_normal_": {"std": 0.02, "a": -0.04, "b": 0.04}, "normal_": {"std": 0.02}}


@dataclass(frozen=True)
class Spec:
    """A tensor: stored shape, layout, dtype."""

    shape: tuple[int, ...]
    layout: str
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))} {self.layout}, {self.dtype}"

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * _WIDTHS[self.dtype]


def _initializer(recipe: Recipe) -> Any:
    import initspec

    return initspec.get(recipe)


# --- NumPy --------------------------------------------------------------------------------------


def numpy_in_place(source: str, name: Recipe, spec: Spec) -> Call:
    """Into an array that is there. The peer's method gives standard values, without a scale."""
    import numpy as np

    out = np.ones(spec.shape, spec.dtype)
    if source == "initspec":
        init = _initializer(name)
        return lambda: init(out=out, layout=spec.layout)
    method = getattr(np.random.default_rng(SEED), str(name))
    return lambda: method(dtype=spec.dtype, out=out)


def numpy_fresh(source: str, name: Recipe, spec: Spec) -> Call:
    """A new array."""
    import numpy as np

    if source == "initspec":
        init = _initializer(name)
        return lambda: init(spec.shape, layout=spec.layout, dtype=spec.dtype)
    method = getattr(np.random.default_rng(SEED), str(name))
    return lambda: method(spec.shape, dtype=spec.dtype)


def numpy_small(source: str, name: Recipe, spec: Spec, number: int) -> Call:
    """Many new arrays, each under a name of its own."""
    if source != "initspec":
        return _repeated(numpy_fresh(source, name, spec), number)
    init, names = _initializer(name), _names()
    shape, layout = spec.shape, spec.layout
    return _repeated(lambda: init(shape, layout=layout, seed=SEED, name=next(names)), number)


# --- torch --------------------------------------------------------------------------------------


def torch_in_place(source: str, name: Recipe, spec: Spec) -> Call:
    """Into a tensor that is there."""
    fill, tensor = _torch_function(source, name, spec), _torch_tensor(spec)
    return lambda: fill(tensor)


def torch_fresh(source: str, name: Recipe, spec: Spec) -> Call:
    """A new tensor."""
    import torch

    dtype = getattr(torch, spec.dtype)
    if source == "initspec":
        init = _initializer(name)
        return lambda: init(spec.shape, backend="torch", layout=spec.layout, dtype=dtype)
    fill = _torch_function(source, name, spec)
    return lambda: fill(torch.empty(spec.shape, dtype=dtype))


def torch_compiled(source: str, name: Recipe, spec: Spec) -> Call:
    """Into a tensor that is there, by a function that torch.compile has compiled."""
    import torch

    fill, tensor = _torch_function(source, name, spec), _torch_tensor(spec)
    compiled: Call = torch.compile(lambda: fill(tensor), fullgraph=True)
    return compiled


def torch_small(source: str, name: Recipe, spec: Spec, number: int, named: bool) -> Call:
    """Into many tensors, each under a name of its own or, as the peer does, without one."""
    fill, names = _torch_function(source, name, spec), _names()
    tensors = [_torch_tensor(spec) for _ in range(number)]
    if source == "initspec" and named:
        return lambda: [fill(tensor, seed=SEED, name=next(names)) for tensor in tensors]
    return lambda: [fill(tensor) for tensor in tensors]


def _torch_function(source: str, name: Recipe, spec: Spec) -> Callable[..., Any]:
    if source == "initspec":
        bound: Callable[..., Any] = _initializer(name).bind("torch", layout=spec.layout)
        return bound
    import torch

    function, options = getattr(torch.nn.init, str(name)), _TORCH_OPTIONS.get(str(name), {})
    return lambda tensor: function(tensor, **options)


def _torch_tensor(spec: Spec) -> Any:
    """A tensor whose pages have been touched."""
    import torch

    return torch.ones(spec.shape, dtype=getattr(torch, spec.dtype))


# --- JAX ----------------------------------------------------------------------------------------


def jax_eager(source: str, name: Recipe, spec: Spec) -> Call:
    """A new array, operation by operation."""
    import jax

    make, key = _jax_function(source, name, spec), jax.random.key(SEED)
    return lambda: _ready(make(key))


def jax_jitted(source: str, name: Recipe, spec: Spec) -> Call:
    """A new array, by a function that has been compiled."""
    import jax

    make, key = jax.jit(_jax_function(source, name, spec)), jax.random.key(SEED)
    return lambda: _ready(make(key))


def jax_compiling(source: str, name: Recipe, spec: Spec) -> Call:
    """Trace and compile: in a fresh process, for JAX keeps what it has compiled."""
    import jax

    make, key = _jax_function(source, name, spec), jax.random.key(SEED)
    return lambda: jax.jit(make).lower(key).compile()


def jax_small(source: str, name: Recipe, spec: Spec, number: int, jitted: bool) -> Call:
    """Many new arrays, each with a key of its own."""
    import jax

    make = _jax_function(source, name, spec)
    make = jax.jit(make) if jitted else make
    keys = list(jax.random.split(jax.random.key(SEED), number))
    return lambda: _ready([make(key) for key in keys])


def _ready(arrays: Any) -> Any:
    """JAX returns before the values are there."""
    import jax

    return jax.block_until_ready(arrays)  # type: ignore[no-untyped-call]


def _jax_function(source: str, name: Recipe, spec: Spec) -> Callable[..., Any]:
    import jax

    if source == "initspec":
        init = _initializer(name).bind("jax", layout=spec.layout)
    else:
        init = getattr(jax.nn.initializers, str(name))()
    return lambda key: init(key, spec.shape, spec.dtype)


# --- TensorFlow and Keras -----------------------------------------------------------------------


def keras_eager(source: str, name: Recipe, spec: Spec) -> Call:
    """A new tensor of the engine, by an initializer of Keras."""
    init = _keras_function(source, name, spec)
    return lambda: init(spec.shape, spec.dtype)


def keras_small(source: str, name: Recipe, spec: Spec, number: int) -> Call:
    """Many new tensors by one initializer; those of initspec differ in name."""
    return _repeated(keras_eager(source, name, spec), number)


def keras_graph(source: str, name: Recipe, spec: Spec, xla: bool) -> Call:
    """A new tensor by ops in a graph, with or without XLA."""
    import tensorflow as tf

    call: Call = tf.function(tensorflow_eager(source, name, spec), jit_compile=xla)
    return call


def tensorflow_eager(source: str, name: Recipe, spec: Spec) -> Call:
    """A new tensor, without Keras; the peer is Keras' all the same."""
    if source == "initspec":
        return _tensorflow_function(name, spec)
    return keras_eager(source, name, spec)


def tensorflow_small(source: str, name: Recipe, spec: Spec, number: int) -> Call:
    """Many new tensors, each under a name of its own."""
    return _repeated(tensorflow_eager(source, name, spec), number)


def _keras_function(source: str, name: Recipe, spec: Spec) -> Callable[..., Any]:
    import keras

    if source != "initspec":
        init: Callable[..., Any] = getattr(keras.initializers, str(name))(seed=SEED)
        return init
    bound: Callable[..., Any] = _initializer(name).bind("keras", seed=SEED, layout=spec.layout)
    return bound


def _tensorflow_function(name: Recipe, spec: Spec) -> Call:
    importlib.import_module("tensorflow")
    init = _initializer(name).bind("tensorflow", seed=SEED, layout=spec.layout)
    return lambda: init(spec.shape, spec.dtype)


# --- others -------------------------------------------------------------------------------------


def anyinit_model(source: str, name: str, width: int) -> Call:
    """The weights of a whole torch model: two square layers and a ReLU."""
    import torch

    layers = [torch.nn.Linear(width, width, bias=False) for _ in range(2)]
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    if source == "anyinit":
        anyinit = importlib.import_module(source)
        return lambda: getattr(anyinit, name)(model, seed=SEED)
    fill = _initializer(name).bind("torch")
    named = [(key, value) for key, value in model.named_parameters()]
    return lambda: [fill(weight, seed=SEED, name=key) for key, weight in named]


def gpt2(source: str, size: int) -> Call:
    """The weights of GPT-2 by its config's rules; of 124 M parameters, if that is the size."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.GPT2Model(transformers.GPT2Config())
    assert size == sum(parameter.numel() for parameter in model.parameters())
    if source == "initspec":
        import initspec

        # Keys, rules and checks are made again at each call, as for a model that one meets once.
        return lambda: initspec.apply(model, "initspec:gpt2", seed=SEED)

    def initialise() -> None:
        with torch.no_grad():
            for module in model.modules():
                model._init_weights(module)

    return initialise


def importing(name: str) -> Call:
    """Import a module on top of NumPy, in a process that has nothing else; gives the seconds."""
    script = _IMPORT.format(name=name, frameworks=FRAMEWORKS)

    def call() -> float:
        command = [sys.executable, "-P", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError((done.stderr.splitlines() or [""])[-1])
        return float(done.stdout)

    return call


def words(spec: Spec) -> Call:
    """Bare Philox words by the kernel, into an array that is there."""
    import numpy as np

    from initspec.draw import Draw
    from initspec_kernel import fill, info

    if not info().active:
        raise UnavailableError(info().reason)
    plan = _initializer("he_normal").plan(spec.shape, layout=spec.layout)
    plan, out = replace(plan, content=Draw("words", 1.0)), np.ones(spec.shape, np.uint32)
    return lambda: fill(plan, out, "uint32")


def _names() -> Any:
    """Names that never repeat, so that no cache helps."""
    return (f"layers.{number}.weight" for number in count())


def _repeated(call: Call, number: int) -> Call:
    return lambda: [call() for _ in range(number)]
