"""Cases of a foreign initializer: what it draws, and whether its seeds are seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from initspec.errors import (
    InitspecError,
)
from initspec.initializer import Initializer
from initspec.law import law
from initspec_conformance.cases import Case, Layer
from initspec_conformance.examine import Examination, examine
from initspec_conformance.foreign.protocols import (
    Foreign,
    NotOffered,
    dtype_name,
)
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Outcome
from initspec_conformance.statistics.checks import impossible

__all__ = ["SIZE", "outcomes"]

SIZE = 2**22  # values of a case: a leak of 4e-6 past a bound shows with probability 1 - 1e-7


def outcomes(
    foreign: Foreign,
    init: Initializer,
    recipe: str,
    layers: Iterable[Layer],
    dtypes: Sequence[str] | None = None,
    size: int = SIZE,
    seed: int = 0,
    *,
    device: Any = None,
    seeds: bool = False,
) -> Iterator[Outcome]:
    """Compare a foreign initializer with a recipe, on each layer and in each dtype.

    Args:
        foreign: see `load` and `adapt`.
        init, recipe: what it should be, and the name of that.
        layers: see `initspec_conformance.cases.layers`; that of the framework is
            ``layers(foreign.backend)``.
        dtypes: float32, float64, bfloat16, float16; None for float32, or for the dtype of a
            function that takes none.
        size: about how many values to draw for a case, a tensor at a time.
        seed: of the first tensor; the others are drawn under the seeds that follow.
        device: a device of the framework; None for its default.
        seeds: also look for seeds that should differ and do not. Such a defect says nothing about
            the law, so these outcomes are of a kind of their own.

    Yields:
        An `Outcome` for each layer and dtype; with ``seeds``, another one of kind ``seeds``.
    """
    for layer in layers:
        for dtype in dtypes or foreign.dtypes:
            case = Case(recipe, init, layer, dtype)
            yield _outcome(foreign, case, "statistics", device, _statistics, size, seed)
            if seeds and init.draws:
                yield _outcome(foreign, case, "seeds", device, _seeds, size, seed)


_Examine = Callable[[Foreign, Case, Any, int, int], Examination]


def _outcome(
    foreign: Foreign, case: Case, kind: str, device: Any, look: _Examine, size: int, seed: int
) -> Outcome:
    start = time.perf_counter()
    found = Examination((), 0, "")
    try:
        law(case.init, case.layer.geometry)
    except InitspecError as error:
        verdict, message = SKIPPED, f"{case.recipe} is not for this layer: {error}"
    else:
        try:
            found = look(foreign, case, device, size, seed)
            verdict, message = PASSED if found.passed else FAILED, found.message
        except NotOffered as error:
            verdict, message = SKIPPED, str(error)
        except InitspecError as error:
            verdict, message = FAILED, str(error)
    return Outcome(
        subject=foreign.name,
        device=str(device or "default device"),
        case=case.label,
        kind=kind,
        verdict=verdict,
        message=message,
        checks=found.checks,
        size=found.size,
        resolution=found.resolution,
        picture=found.picture,
        seconds=time.perf_counter() - start,
    )


def _statistics(foreign: Foreign, case: Case, device: Any, size: int, seed: int) -> Examination:
    geometry = case.layer.geometry
    drawn = (
        _draw(foreign, case, (seed + place) % 2**64, device)
        for place in range(_tensors(case.init, math.prod(geometry.shape), size))
    )
    return examine(case.init, geometry, case.dtype, drawn)


def _tensors(init: Initializer, each: int, size: int) -> int:
    """How many tensors make up ``size`` values; matrices and patterns need fewer."""
    return -(-size // max(1, each)) if init.draws else 1


def _draw(foreign: Foreign, case: Case, seed: int, device: Any) -> NDArray[Any]:
    array = foreign.draw(case.layer.shape, case.dtype, seed, device)
    if not foreign.takes_dtype and dtype_name(array) != case.dtype:
        raise NotOffered(foreign.name, case.dtype, f"{dtype_name(array)}: it takes no dtype")
    return array


# --- seeds ------------------------------------------------------------------------------------


def _seeds(foreign: Foreign, case: Case, device: Any, size: int, seed: int) -> Examination:
    """Seeds that should give other values and do not, and the other way round."""
    shape, dtype = case.layer.shape, case.dtype
    first, second = foreign.sequence(shape, dtype, seed, 2, device)
    again, _ = foreign.sequence(shape, dtype, seed, 2, device)
    neighbour, _ = foreign.sequence(shape, dtype, (seed + 1) % 2**64, 2, device)
    folded = _folds(foreign, case, seed, device)
    found = {
        f"seed {seed} gives other values when it is used again": not _equal(first, again),
        f"seeds {seed} and {seed + 1} give the same values": _equal(first, neighbour),
        f"the second draw under seed {seed} is the first one under seed {seed + 1}": (
            not _equal(first, second) and _equal(second, neighbour)
        ),
        f"seeds {seed} and {seed} + 2**32 give the same values": folded,
    }
    checks = tuple(impossible(words, count) for words, count in found.items())
    return Examination(
        checks, 5 * first.size, "; ".join(words for words, bad in found.items() if bad)
    )


def _folds(foreign: Foreign, case: Case, seed: int, device: Any) -> bool:
    shape, dtype = case.layer.shape, case.dtype
    near = foreign.draw(shape, dtype, seed, device)
    try:
        far = foreign.draw(shape, dtype, (seed + 2**32) % 2**64, device)
    except InitspecError:  # large seeds are refused: nothing is folded
        return False
    return _equal(near, far)


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.tobytes() == other.tobytes()
