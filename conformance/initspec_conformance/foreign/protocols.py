"""How foreign initializers are called, seeded and read back: one class for each protocol.

A framework is reached by name, and only when the user named it or something that belongs to it.
"""

from __future__ import annotations

import inspect
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from initspec import registry
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError

__all__ = [
    "NAMES",
    "PROTOCOLS",
    "SEEDS",
    "UNKNOWN",
    "Filler",
    "Foreign",
    "Keyed",
    "NotOffered",
    "Shaped",
    "dtype_name",
    "parameters",
]

Shape = tuple[int, ...]
SEEDS = ("seed", "rng", "random_state", "generator")
UNKNOWN = "unknown"  # a backend that is still to be found out
_LOW = 0xFFFFFFFF
_PROBES = ((8, 8), (3, 3, 8, 8))
NAMES = {
    "tensor": ("tensor", "t", "w", "weight", "weights", "param", "parameter", "p"),
    "key": ("key", "rng_key", "prng_key", "rng"),
    "shape": ("shape", "size", "dims"),
}


class NotOffered(InitspecValueError):  # noqa: N818 - it says what is the matter
    """The initializer does not offer what was asked for; that is no defect of its values."""


@dataclass(frozen=True, kw_only=True)
class Foreign(ABC):
    """An initializer of somebody else.

    Attributes:
        name: how the user called it.
        function: what is called to draw; for a class, the class.
        arguments: keywords that the user gave.
        backend: the framework whose tensors it makes, which also says how it stores layers.
        root: the package that it comes from.
        takes_dtype: whether it can be told which dtype to make.
        dtypes: those to look at if nobody says which: float32, or the one that it makes.
        protocol: ``fill``, ``key`` or ``shape``.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    backend: str
    root: str = ""
    takes_dtype: bool = True
    dtypes: tuple[str, ...] = ("float32",)
    protocol: ClassVar[str]

    def draw(self, shape: Shape, dtype: str, seed: int, device: Any = None) -> NDArray[Any]:
        """One tensor as a host array, as stored; bfloat16 as uint16 bit patterns.

        The shape and dtype are those that came back, right or wrong.

        Args:
            shape: of the tensor.
            dtype: float32, float64, bfloat16 or float16.
            seed: seeds whatever generator the framework draws from; afterwards the states of
                Python's, NumPy's and torch's global generators are as before.
            device: a device of the framework; None for its default.

        Raises:
            NotOffered: the initializer or its framework does not know the dtype.
            InitspecValueError: the initializer raised an error, which is chained.
            InitspecTypeError: what came back is not an array.
        """
        return self.sequence(shape, dtype, seed, 1, device)[0]

    def sequence(
        self, shape: Shape, dtype: str, seed: int, count: int, device: Any = None
    ) -> list[NDArray[Any]]:
        """Several tensors, one after the other, from one seeded generator."""
        self._check_dtype(dtype)
        try:
            with _global_seeds(seed, self.backend, device):
                return [_host(each) for each in self._made(shape, dtype, seed, count, device)]
        except InitspecError:
            raise
        except Exception as error:  # whatever a foreign function raises
            if isinstance(error, NotImplementedError) and dtype != "float32":  # which all offer
                reason = f"a dtype that it offers ({_first_line(error)})"
                raise NotOffered(self.name, dtype, reason) from error
            given = f"{type(error).__name__}: {_first_line(error)}"
            raise InitspecValueError(
                self.name, given, f"a {dtype} tensor of shape {shape}"
            ) from error

    def settled(self) -> Foreign:
        """With what only a call can tell: its framework, and whether it takes a dtype."""
        return self

    @abstractmethod
    def _made(self, shape: Shape, dtype: str, seed: int, count: int, device: Any) -> list[Any]:
        """The tensors; global generators are seeded already."""

    def _check_dtype(self, dtype: str) -> None:
        if dtype != "float64" or _arrays(self.backend) != "jax":
            return
        if not import_module("jax").config.jax_enable_x64:
            advice = "Set JAX_ENABLE_X64=1."
            raise NotOffered(self.name, dtype, "a dtype that JAX has as configured", advice)


class Filler(Foreign):
    """f(tensor) fills a torch tensor in place.

    It finds NaN in the tensor, so that a function that fills nothing is found out. torch's CPU
    generator takes the low 32 bits of a seed.
    """

    protocol = "fill"

    def _made(self, shape: Shape, dtype: str, seed: int, count: int, device: Any) -> list[Any]:
        torch = import_module("torch")
        kind = _dtype("torch", dtype)
        tensors = [torch.full(shape, np.nan, dtype=kind, device=device) for _ in range(count)]
        for tensor in tensors:
            self.function(tensor, **self.arguments)
        return tensors


class Keyed(Foreign):
    """f(key, shape, dtype) with a key of JAX.

    ``jax.random.key`` takes the low 32 bits of a seed, unless 64-bit types are enabled.
    """

    protocol = "key"

    def settled(self) -> Foreign:
        """With what its parameters tell: whether it takes a dtype."""
        return replace(self, takes_dtype=_has_dtype(self.function))

    def _made(self, shape: Shape, dtype: str, seed: int, count: int, device: Any) -> list[Any]:
        key = import_module("jax").random.key(seed % 2**63)
        roles = {"key": key, "shape": shape}
        if self.takes_dtype:
            roles["dtype"] = _dtype("jax", dtype)
        return [_call(self.function, self.arguments, roles) for _ in range(count)]


class Shaped(Foreign):
    """f(shape), or f(shape, dtype=...), gives an array of any framework.

    A parameter of the function, or of the class, that is called seed, rng, random_state or
    generator is given the seed or a generator made of it; else the global generators are seeded.
    """

    protocol = "shape"

    def settled(self) -> Foreign:
        """With what only a call can tell: its framework, and whether it takes a dtype."""
        known, takes = parameters(_called(self.function)), _has_dtype(self.function)
        if takes and self.backend != UNKNOWN:
            return self
        value = replace(self, takes_dtype=False)._probe()
        found = registry.choose(None, value)
        backend = found.name if self.backend == UNKNOWN else self.backend
        settled = replace(self, backend=backend, takes_dtype=takes)
        if not known:  # a built-in function does not say
            with suppress(InitspecError):
                replace(settled, takes_dtype=True).draw(value.shape, "float32", 0)
                return replace(settled, takes_dtype=True)
        return settled if takes else replace(settled, dtypes=(dtype_name(found.to_host(value)),))

    def _probe(self) -> Any:
        """A small tensor."""
        reasons = []
        for shape in _PROBES:
            try:
                with _global_seeds(0, self.backend, None):
                    return self._made(shape, "float32", 0, 1, None)[0]
            except Exception as error:  # whatever a foreign function raises
                reasons.append(error)
        given = f"{type(reasons[0]).__name__}: {_first_line(reasons[0])}"
        expected = f"an array of shape {_PROBES[0]}, for a try"
        raise InitspecValueError(self.name, given, expected) from reasons[0]

    def _made(self, shape: Shape, dtype: str, seed: int, count: int, device: Any) -> list[Any]:
        function: Any = self.function
        arguments = dict(self.arguments)
        seeds = self._seeds(seed, count, device)
        if isinstance(function, type):
            function, arguments = function(**arguments, **seeds), {}  # made anew
        elif hasattr(function, "from_config") and "seed" in function.get_config():
            again = {"seed": self._number(seed, count)}
            function = type(function).from_config({**function.get_config(), **again})
        else:
            arguments |= seeds
        roles: dict[str, Any] = {"shape": shape}
        if self.takes_dtype:
            roles["dtype"] = _dtype(self.backend, dtype)
        if self.root == "haiku":
            return _in_haiku(lambda: _call(function, arguments, roles), seed, count)
        return [_call(function, arguments, roles) for _ in range(count)]

    def _seeds(self, seed: int, count: int, device: Any) -> dict[str, Any]:
        known = parameters(self.function)
        return {
            name: self._seed(name, known[name], seed, count, device)
            for name in SEEDS
            if name in known and name not in self.arguments
        }

    def _seed(
        self, name: str, parameter: inspect.Parameter, seed: int, count: int, device: Any
    ) -> Any:
        if name != "seed":
            if name == "generator" and self.backend == "torch":
                return import_module("torch").Generator(device or "cpu").manual_seed(seed)
            return np.random.default_rng(seed)
        stateless = self.backend == "tensorflow" and parameter.default is parameter.empty
        return (seed & 0x7FFFFFFF, seed >> 31) if stateless else self._number(seed, count)

    def _number(self, seed: int, count: int) -> Any:
        """A seed; for several draws from a Keras initializer, its kind of generator."""
        if self.backend == "keras" and count > 1:
            return import_module("keras").random.SeedGenerator(seed)
        return seed


PROTOCOLS: dict[str, type[Foreign]] = {kind.protocol: kind for kind in (Filler, Keyed, Shaped)}


# --- calling ----------------------------------------------------------------------------------


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters by name; none where the function does not say."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # many built-in functions
        return {}


def _call(
    function: Callable[..., Any], arguments: Mapping[str, Any], roles: Mapping[str, Any]
) -> Any:
    """Key and shape by their names or places; the dtype if the function takes one."""
    known = parameters(function)
    named = [name for name, p in known.items() if p.kind is not p.POSITIONAL_ONLY]
    places: list[Any] = []
    keywords = dict(arguments)
    for role, value in roles.items():
        if role == "dtype":
            keywords.setdefault(role, value)
            continue
        name = next((name for name in NAMES[role] if name in named), None)
        if name is None or list(known).index(name) == len(places):  # where it would go anyway
            places.append(value)
        else:
            keywords[name] = value
    return function(*places, **keywords)


def _has_dtype(function: Callable[..., Any]) -> bool:
    known = parameters(_called(function))
    return any(name == "dtype" or p.kind is p.VAR_KEYWORD for name, p in known.items())


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is called with a shape: a method of the instances, for a class."""
    return function.__call__ if isinstance(function, type) else function


def _in_haiku(draw: Callable[[], Any], seed: int, count: int) -> list[Any]:
    """Haiku's initializers draw only inside of a transformed function."""
    key = import_module("jax").random.key(seed % 2**63)
    transformed = import_module("haiku").transform(lambda: [draw() for _ in range(count)])
    drawn: list[Any] = transformed.apply({}, key)
    return drawn


def _dtype(framework: str, name: str) -> Any:
    """The dtype as the framework's functions expect it."""
    if framework == "numpy":
        return import_module("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)
    module = {"torch": "torch", "tensorflow": "tensorflow", "jax": "jax.numpy"}.get(framework)
    return name if module is None else getattr(import_module(module), name)


def _arrays(backend: str) -> str:
    """Whose arrays a backend makes."""
    if backend == "keras":
        return str(import_module("keras").backend.backend())
    return backend


def _host(value: Any) -> NDArray[Any]:
    try:
        backend = registry.choose(None, value)
    except InitspecTypeError as error:
        raise InitspecTypeError("what it returns", value, "an array or a tensor") from error
    return backend.to_host(value)


def dtype_name(array: NDArray[Any]) -> str:
    """The dtype of a host array as initspec calls it."""
    return "bfloat16" if array.dtype == np.uint16 else array.dtype.name


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


# --- seeding ----------------------------------------------------------------------------------


@contextmanager
def _global_seeds(seed: int, backend: str, device: Any) -> Iterator[None]:
    """Seed the global generators; put back those of Python, NumPy and torch."""
    arrays = _arrays(backend)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as stack:
        stack.callback(random.setstate, python)
        stack.callback(np.random.set_state, numpy)
        stack.enter_context(_on_device(arrays, device))
        if "torch" in sys.modules or arrays == "torch":
            stack.enter_context(_torch_seed(seed, device if arrays == "torch" else None))
        if backend == "keras":
            import_module("keras").utils.set_random_seed(seed & _LOW)
        if arrays == "tensorflow":
            import_module("tensorflow").random.set_seed(seed)
        random.seed(seed)
        np.random.seed([seed & _LOW, seed >> 32] if seed > _LOW else seed)  # noqa: NPY002
        yield


@contextmanager
def _torch_seed(seed: int, device: Any) -> Iterator[None]:
    torch = import_module("torch")
    where = torch.device("cpu" if device is None else device)
    forked = [] if where.type == "cpu" else [where]
    with torch.random.fork_rng(forked, device_type=where.type if forked else "cuda"):
        if forked:
            torch.manual_seed(seed)
        else:  # the generators of other devices are not touched
            torch.default_generator.manual_seed(seed)
        yield


def _on_device(arrays: str, device: Any) -> Any:
    if device is None:
        return nullcontext()
    if arrays == "numpy":
        if str(device) != "cpu":
            raise InitspecValueError("device", device, "cpu, which is where NumPy's arrays are")
        return nullcontext()
    if arrays == "jax":
        jax = import_module("jax")
        name, _, index = str(device).partition(":")
        return jax.default_device(jax.devices(name)[int(index or 0)])
    return import_module(arrays).device(device)
