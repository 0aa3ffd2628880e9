"""A foreign initializer against a recipe: the run behind ``--foreign``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import initspec
from initspec import registry, stream
from initspec.errors import InitspecError, InitspecValueError
from initspec.fill_plan import check_dtype
from initspec.layout import LayoutOptions
from initspec_conformance.cases import Layer, layers
from initspec_conformance.foreign import SIZE, load, outcomes
from initspec_conformance.results import Outcome, Report
from initspec_conformance.suite import SEED, spelling, versions

__all__ = ["Comparison"]

_MOST_TENSORS = 2**12  # more would take very long
_LARGEST_SEED = 2**31 - 1  # that all frameworks take
THOROUGH = 2**26  # values: an error of 0.1 % in the std of a normal shows


class Comparison:
    """One foreign initializer, on layers, dtypes and devices.

    Args:
        foreign: ``module:name``, or ``module:name(argument=value)``, see
            `initspec_conformance.foreign.load`.
        recipe: what it should conform to.
        shape, layout: of one layer; the usual layers of its framework if there is no shape.
        protocol: how it is called, where that cannot be told.
        devices: of its framework; the default one if empty.
        dtypes: float32 if empty.
        thorough: 2**26 values instead of 2**22.
        seeds: also look for seeds that should differ and do not.
        seed: of the first tensor.

    Raises:
        InitspecError: something that was asked for is not there.

    Example:
        >>> normal = Comparison("numpy.random:standard_normal", "torch.normal", shape=(99, 500))
        >>> normal.run().conforms
        True
    """

    def __init__(
        self,
        foreign: str,
        recipe: str,
        *,
        shape: tuple[int, ...] | None = None,
        layout: LayoutOptions | None = None,
        protocol: str | None = None,
        devices: Sequence[str] = (),
        dtypes: Sequence[str] = (),
        thorough: bool = False,
        seeds: bool = False,
        seed: int = SEED,
    ) -> None:
        self.recipe, self.init = recipe, initspec.get(recipe)
        self.foreign = load(foreign, protocol)
        self.backend = registry.get_backend(self.foreign.backend)
        self.devices = [self._device(name) for name in devices] or [None]
        self.dtypes = tuple(check_dtype(dtype) for dtype in dtypes) or None
        self.size = THOROUGH if thorough else SIZE
        self.layers = self._layers(shape, layout or {})
        self.seeds, self.seed = seeds, stream.check_seed(seed)
        if self.seed > _LARGEST_SEED:
            expected = f"at most {_LARGEST_SEED}: not all frameworks take larger ones"
            raise InitspecValueError("seed", seed, expected)

    def _device(self, name: str) -> Any:
        found = spelling(self.backend, name)
        if isinstance(found, InitspecError):
            raise found
        return found

    def _layers(self, shape: tuple[int, ...] | None, layout: LayoutOptions) -> Sequence[Layer]:
        if shape is not None:
            layer = Layer.of(shape, self.backend.convention, layout)
            self.init.describe(shape, layer.pattern, **layer.options)  # refuses what cannot be
            least = -(-self.size // _MOST_TENSORS)
            if self.init.draws and math.prod(shape) < least:
                advice = f"It takes {self.size} values, a tensor at a time."
                raise InitspecValueError("shape", shape, f"at least {least} values", advice)
            return [layer]
        given = {k: v for k, v in layout.items() if v is not None and (k, v) != ("stride", 1)}
        if given:
            expected = f"a shape, together with {', '.join(given)}"
            raise InitspecValueError("shape", None, expected)
        return layers(self.foreign.backend)

    @property
    def total(self) -> int:
        """How many outcomes there will be."""
        kinds = 1 + (self.seeds and self.init.draws)
        cases = len(self.layers) * len(self.dtypes or self.foreign.dtypes)
        return len(self.devices) * cases * kinds

    def run(self, advance: Callable[[str], None] | None = None) -> Report:
        """Draw, examine, report; ``advance`` is told each case once it is done."""
        start = time.perf_counter()
        found = []
        for outcome in self._outcomes():
            found.append(outcome)
            if advance is not None:
                advance(outcome.case)
        return Report(
            outcomes=tuple(found),
            versions=versions([self.backend]),
            seconds=time.perf_counter() - start,
        )

    def _outcomes(self) -> Iterator[Outcome]:
        for device in self.devices:
            yield from outcomes(
                self.foreign,
                self.init,
                self.recipe,
                self.layers,
                self.dtypes,
                self.size,
                self.seed,
                device=device,
                seeds=self.seeds,
            )
