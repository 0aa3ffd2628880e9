"""The fill plan: a small frozen value that holds everything a backend needs to make a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .draw import Draw
from .errors import InitspecTypeError, did_you_mean
from .layout import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DTYPES", "STORAGE", "Content", "Fill", "FillPlan", "check_dtype"]

DTYPES = ("float32", "float64", "bfloat16", "float16")
STORAGE = {"float32": "f4", "float64": "f8", "bfloat16": "u2", "float16": "f2"}  # on the host
_ALIASES = {"half": "float16", "single": "float32", "double": "float64", "bf16": "bfloat16"}
_ALIASES |= {"f16": "float16", "f32": "float32", "f64": "float64"}
Fill = Callable[["FillPlan", Any, str], None]


class Content(Protocol):
    """What a plan puts into a tensor when it is not a plain draw (see `initspec.structured`)."""

    @property
    def promise(self) -> str:
        """``bits`` or ``rounded``."""
        ...

    def write(self, plan: FillPlan, out: NDArray[Any], dtype: str, fill: Fill) -> None:
        """Write all values into ``out`` (any strides; uint16 for bfloat16).

        ``fill`` writes plans that are draws: `initspec.stream.fill`, or something faster.
        """


@dataclass(frozen=True)
class FillPlan:
    """Geometry, content (a `Draw`, or a structured `Content`) and one key per named block.

    A key is two 32-bit words; inside a transformation of JAX they may be traced. A draw may be a
    box of a larger tensor: then ``origin`` says at which ``s, o, j`` it starts, j a multiple of 4.
    """

    geometry: Geometry
    content: Draw | Content
    keys: tuple[tuple[Any, Any], ...]
    origin: tuple[int, int, int] = (0, 0, 0)

    @property
    def draw(self) -> Draw | None:
        """The draw, when every value comes from one word of its own."""
        return self.content if isinstance(self.content, Draw) else None

    @property
    def shape(self) -> tuple[int, ...]:
        """The stored shape."""
        return self.geometry.shape

    @property
    def promise(self) -> str:
        """``bits``: equal everywhere; ``rounded``: equal up to a factorisation's last bits."""
        return "bits" if isinstance(self.content, Draw) else self.content.promise

    def names(self, name: str) -> tuple[str, ...]:
        """The name of each key: ``name#block`` for named blocks, else ``name``."""
        blocks = self.geometry.layout.blocks
        return tuple(f"{name}#{block}" for block in blocks) if blocks else (name,)

    def with_keys(self, keys: tuple[tuple[Any, Any], ...]) -> FillPlan:
        """The same plan under other (for example traced) keys."""
        return FillPlan(self.geometry, self.content, keys, self.origin)

    def blocks(self, out: NDArray[Any]) -> Iterator[tuple[tuple[Any, Any], NDArray[Any]]]:
        """Each named block's key and its canonical view of ``out``: axes s, then o, then j."""
        view = self.geometry.canonical(out)
        if self.geometry.block is None:
            yield self.keys[0], view
        else:
            yield from zip(self.keys, view, strict=True)


def check_dtype(dtype: Any) -> str:
    """The canonical name of a floating-point type, from a name or any framework's object.

    >>> import numpy as np
    >>> check_dtype("torch.bfloat16"), check_dtype(np.float16)
    ('bfloat16', 'float16')
    """
    name = dtype if isinstance(dtype, str) else _dtype_name(dtype)
    name = name.rpartition(".")[2]  # torch prints its owner before it
    name = _ALIASES.get(name, name) if isinstance(dtype, str) else name
    if name in DTYPES:
        return name
    expected = f"one of {', '.join(DTYPES)}"
    advice = did_you_mean(name, DTYPES) or "Draw in float32 and convert the result yourself."
    raise InitspecTypeError("dtype", dtype, expected, advice)


def _dtype_name(dtype: Any) -> str:
    if isinstance(dtype, type) and dtype.__module__ == "builtins":
        return repr(dtype)  # float would mean 32 bits here and 64 there: refused
    for attribute in ("name", "__name__"):  # numpy, tensorflow; scalar types of numpy and jax
        name = getattr(dtype, attribute, None)
        if isinstance(name, str):
            return name
    inner = getattr(dtype, "dtype", None)  # jax.numpy.float32 is an object with a dtype
    return str(inner if inner is not None else dtype)
