"""The statistical cases: an initializer on a layer, with fans that no slip leaves unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from initspec.initializer import Initializer
from initspec.layout import Geometry, Layout, LayoutOptions, default_pattern

__all__ = ["LAYERS", "Case", "Layer", "layers"]


@dataclass(frozen=True)
class Layer:
    """A kind of layer, and how its weight is stored.

    Attributes:
        name: of the kind.
        pattern, shape, options: see `Layout.parse`. The sizes are different primes times powers
            of two: a swapped fan, an ignored group or a misread layout changes every std by more
            than a tenth.
    """

    name: str
    pattern: str
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, shape: tuple[int, ...], convention: str, layout: LayoutOptions) -> Layer:
        """A layer that somebody described; without a pattern, that of the convention."""
        options: dict[str, Any] = {k: v for k, v in layout.items() if v not in (None, 1)}
        pattern = options.pop("layout", None)
        if pattern is None:
            pattern = default_pattern(len(shape), convention, fans=True)
        return cls("as given", pattern, shape, options)

    @property
    def geometry(self) -> Geometry:
        """The layout bound to the shape."""
        return Layout.parse(self.pattern, **self.options).bind(self.shape)

    @property
    def keywords(self) -> LayoutOptions:
        """The layout and its options, as an initializer takes them."""
        return cast(LayoutOptions, {"layout": self.pattern, **self.options})


# How each framework stores its layers: what a foreign initializer is called with.
_TORCH = (
    Layer("dense", "OI", (448, 1088)),
    Layer("convolution", "OIHW", (304, 176, 3, 3)),
    Layer("grouped convolution", "OIHW", (1120, 44, 3, 3), {"groups": 5}),
    Layer("depthwise convolution", "OIHW", (52000, 1, 3, 3), {"groups": 26000}),
    Layer("transposed convolution", "IOHW", (208, 136, 4, 4), {"stride": 2}),
)
_KERAS = (
    Layer("dense", "IO", (1088, 448)),
    Layer("convolution", "HWIO", (3, 3, 176, 304)),
    Layer("grouped convolution", "HWIO", (3, 3, 44, 1120), {"groups": 5}),
    Layer("depthwise convolution", "HWGO", (3, 3, 26000, 2)),
    Layer("transposed convolution", "HWOI", (4, 4, 136, 208), {"stride": 2}),
)
_JAX = (
    Layer("dense", "IO", (1088, 448)),
    Layer("convolution", "HWIO", (3, 3, 176, 304)),
    Layer("grouped convolution", "HWIO", (3, 3, 44, 1120), {"groups": 5}),
    Layer("depthwise convolution", "HWIO", (3, 3, 1, 52000), {"groups": 26000}),
    Layer("transposed convolution", "HWIO", (4, 4, 208, 136), {"stride": 2, "transposed": True}),
)
LAYERS = {
    "torch": _TORCH,
    "keras": _KERAS,
    "tensorflow": _KERAS,
    "jax": _JAX,
    "numpy": _KERAS[:2],
}


def layers(framework: str) -> tuple[Layer, ...]:
    """The layers of a framework; dense and convolution, channels last, for any other."""
    return LAYERS.get(framework, LAYERS["numpy"])


@dataclass(frozen=True)
class Case:
    """An initializer on a layer, in a dtype."""

    recipe: str
    init: Initializer
    layer: Layer
    dtype: str = "float32"

    @property
    def label(self) -> str:
        """Unique in words: ``he_normal, OIHW (304, 176, 3, 3), float32``."""
        layer = self.layer
        extra = "".join(f", {name}={value}" for name, value in layer.options.items())
        return f"{self.recipe}, {layer.pattern} {layer.shape}{extra}, {self.dtype}"
