"""One tensor, or one initializer, against a recipe: what a team's own test asks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

import initspec
from initspec import registry, stream
from initspec.backend import Backend
from initspec.description import describe
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.fill_plan import STORAGE, check_dtype
from initspec.initializer import Initializer
from initspec.law import law
from initspec.layout import Geometry, LayoutOptions, check_known
from initspec.shape import check_shape
from initspec.stream import as_float
from initspec_conformance.cases import layers
from initspec_conformance.examine import Examination, examine
from initspec_conformance.mismatch import explain
from initspec_conformance.reference import NEAR, reference
from initspec_conformance.results import Check
from initspec_conformance.statistics.checks import impossible, needed
from initspec_conformance.statistics.laws import Target

__all__ = ["conforms"]

_TENSOR, _INITIALIZER = 0.25, 0.02  # resolutions: a layer may be small; more can be drawn at will
_MOST_DRAWS = 1000
_SIGNS = 64  # on the diagonals of orthogonal matrices: enough to see that they are all equal
_SHOWN = 8  # checks in a message
_NAMES = {np.dtype(storage): dtype for dtype, storage in STORAGE.items()}


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What is asked, checked as far as one can without a tensor."""

    title: str
    init: Initializer
    options: LayoutOptions
    shape: tuple[int, ...] | None
    dtype: str | None
    name: str | None
    seed: int | None
    resolution: float
    backend: str | None
    protocol: str | None


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Tensors to judge; ``origin`` says in words where they come from."""

    request: _Request
    backend: Backend
    geometry: Geometry
    dtype: str
    arrays: Iterable[NDArray[Any]]
    origin: str


@dataclass(frozen=True)
class _Verdict:
    """What was found, and what is wrong with it: empty if nothing is."""

    found: Examination
    problem: str = ""
    advice: str = ""


def conforms(
    subject: Any,
    recipe: Any,
    *,
    layout: Any = None,
    shape: Iterable[Any] | None = None,
    dtype: Any = None,
    name: str | None = None,
    seed: int | None = None,
    resolution: float | None = None,
    backend: str | None = None,
    protocol: str | None = None,
    **layout_options: Any,
) -> Examination:
    """Assert that a tensor, or what an initializer draws, follows a recipe.

    Args:
        subject: a tensor of any framework, a list of tensors that were made alike, or an
            initializer: in place as in torch, an object of Keras, ``f(key, shape, dtype)`` as in
            JAX, or ``f(shape)``.
        recipe: what `initspec.get` takes: a name, a dictionary or an `initspec.Initializer`.
        layout: of the tensor; the convention of its framework for the rank if None.
        shape: that a tensor must have; in which an initializer draws, a layer of its framework's
            if None.
        dtype: that a tensor must have; in which an initializer draws, float32 if None.
        name: the name under which initspec drew the tensor, beside ``seed``.
        seed: of a tensor: every bit must be the one that initspec draws; without it only the law
            is compared. Of an initializer: the first of its seeds, 0 if None.
        resolution: the relative error of the std that must be found, with probability 1 - 1e-6:
            fewer values than that takes are a failure. 0.25 of a tensor, 0.02 of an initializer.
        backend: whose layouts and tensors these are, where their type does not say it.
        protocol: how an initializer is called, where its parameters do not say it: ``fill``,
            ``key`` or ``shape``, see `initspec_conformance.foreign.adapt`.
        **layout_options: groups, blocks, stride, transposed, sizes, see `initspec.Layout.parse`.

    Returns:
        The `Examination`: all checks, and how many values there were.

    Raises:
        AssertionError: it does not conform; the first line names the likely mistake.
        InitspecError: the question makes no sense: no such recipe, layout, shape or dtype.

    Example:
        >>> weights = initspec.he_normal((256, 256), seed=0)
        >>> conforms(weights, "he_normal").size
        65536
        >>> conforms(weights, "lecun_normal")
        Traceback (most recent call last):
        ...
        AssertionError: variance 2 / fan instead of 1 / fan (He's for LeCun's)...
    """
    __tracebackhide__ = True
    drawn = callable(subject) and not _is_tensor(subject)
    options: Any = {"layout": layout, **layout_options}
    check_known(options)
    request = _Request(
        title=recipe if isinstance(recipe, str) else repr(recipe),
        init=initspec.get(recipe),
        options=options,
        shape=None if shape is None else check_shape(shape),
        dtype=None if dtype is None else check_dtype(dtype),
        name=name,
        seed=None if seed is None else stream.check_seed(seed),
        resolution=_resolution(resolution, _INITIALIZER if drawn else _TENSOR),
        backend=backend,
        protocol=protocol,
    )
    _check_name(request, drawn)
    sample = _draws(subject, request) if drawn else _tensors(subject, request)
    verdict = _judge(sample, by_bits=seed is not None and not drawn)
    if verdict.problem:
        raise AssertionError(_message(sample, verdict))
    return verdict.found


def _resolution(given: Any, default: float) -> float:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, Real):
        raise InitspecTypeError("resolution", given, "a number, such as 0.1")
    if not 0 < float(given) < math.inf:
        raise InitspecValueError("resolution", given, "a positive number, such as 0.1")
    return float(given)


def _check_name(request: _Request, drawn: bool) -> None:
    if request.name is not None and (drawn or request.seed is None):
        expected = "None: only a tensor that initspec drew under a seed has a name"
        advice = "Leave it away." if drawn else "Pass seed= as well."
        raise InitspecValueError("name", request.name, expected, advice)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


# --- where the values come from ---------------------------------------------------------------


def _tensors(subject: Any, request: _Request) -> _Sample:
    """The tensor, or each of several."""
    if subject is None:
        raise InitspecTypeError("subject", None, "a tensor, several of them, or an initializer")
    several = isinstance(subject, (list, tuple)) and all(map(_is_tensor, subject))
    given = list(subject) if several else [subject]
    if not given:
        raise InitspecValueError("subject", subject, "a tensor, or several")
    chosen = _backend(given[0], request)
    arrays = [np.asarray(chosen.to_host(tensor)) for tensor in given]
    dtype = _NAMES.get(arrays[0].dtype)
    if dtype is None:
        raise InitspecTypeError("dtype", arrays[0].dtype, f"one of {', '.join(STORAGE)}")
    return _Sample(
        request=request,
        backend=chosen,
        geometry=request.init.geometry(arrays[0].shape, chosen.convention, request.options),
        dtype=dtype,
        arrays=arrays,
        origin=f"of {len(given)} tensors" if several else "of the tensor",
    )


def _backend(tensor: Any, request: _Request) -> Backend:
    try:
        return registry.choose(request.backend, tensor)
    except InitspecTypeError as error:  # of the registry, which speaks of its own argument
        expected = f"{error.expected}, several of them, or an initializer"
        raise InitspecTypeError("subject", tensor, expected, error.advice) from error


def _draws(function: Any, request: _Request) -> _Sample:
    """As many draws as the resolution takes."""
    from initspec_conformance.foreign import adapt  # noqa: PLC0415 (tensors do not need it)

    foreign = adapt(function, request.protocol)
    chosen = registry.get_backend(request.backend or foreign.backend)
    geometry, dtype = _geometry(request, chosen), request.dtype or foreign.dtypes[0]
    least, size = _least(request, geometry), math.prod(geometry.shape)
    count = max(2, -(-least // max(1, size)))
    if count > _MOST_DRAWS:
        expected = f"a shape of at least {-(-least // _MOST_DRAWS)} values: {least} are needed"
        advice = "Pass a larger shape, or accept less: resolution=."
        raise InitspecValueError("shape", geometry.shape, expected, advice)
    first = request.seed or 0
    seeds = range(first, first + count)
    return _Sample(
        request=request,
        backend=chosen,
        geometry=geometry,
        dtype=dtype,
        arrays=(foreign.draw(geometry.shape, dtype, seed % 2**64) for seed in seeds),
        origin=f"of {count} draws, seeds {seeds[0]} to {seeds[-1]}",
    )


def _geometry(request: _Request, backend: Backend) -> Geometry:
    """The shape, or that of the first layer that the recipe and the layout options fit."""
    options, init, convention = request.options, request.init, backend.convention
    if request.shape is not None:
        return init.geometry(request.shape, convention, options)
    wanted = {key: value for key, value in options.items() if value is not None}
    pattern = str(wanted.pop("layout", ""))
    for layer in layers(backend.name):
        if pattern in ("", layer.pattern) and (not wanted or wanted == layer.options):
            with suppress(InitspecError):  # no centre in a dense layer, for example
                found = init.geometry(layer.shape, convention, layer.keywords)
                law(init, found)
                return found
    raise InitspecTypeError("shape", None, "the shape to draw with this layout", "Pass shape=.")


def _least(request: _Request, geometry: Geometry) -> int:
    """How many values have to be drawn."""
    if request.init.distribution in ("orthogonal", "delta_orthogonal"):
        return _SIGNS * max(geometry.counts[1:])
    return _enough(request.init, geometry, request.resolution)


def _enough(init: Initializer, geometry: Geometry, resolution: float) -> int:
    """How many values the resolution takes; 1 where all of them are known exactly."""
    target = Target.of(init, geometry)
    if target is not None:
        return needed(resolution, target.kurtosis)
    kept = 1.0 - (init.sparsity or 0.0)
    if init.distribution == "sparse" and kept and init.std:
        return math.ceil(needed(resolution, 3.0) / kept)
    return 1


# --- what they show ---------------------------------------------------------------------------


def _judge(sample: _Sample, *, by_bits: bool) -> _Verdict:
    return _unlike(sample) or (_bits(sample) if by_bits else _statistics(sample))


def _unlike(sample: _Sample) -> _Verdict | None:
    """What is wrong with the shape or the dtype of a tensor."""
    request, shape = sample.request, sample.geometry.shape
    if request.shape not in (None, shape):
        problem = f"the shape is {shape}, expected {request.shape}"
    elif request.dtype not in (None, sample.dtype):
        problem = f"the dtype is {sample.dtype}, expected {request.dtype}"
    else:
        return None
    return _Verdict(Examination((), math.prod(shape), problem), problem)


def _statistics(sample: _Sample) -> _Verdict:
    request, geometry = sample.request, sample.geometry
    found = examine(request.init, geometry, sample.dtype, sample.arrays)
    enough = _enough(request.init, geometry, request.resolution)
    if found.size >= enough or not found.passed:
        return _Verdict(found, found.message)
    if not found.size:
        return _Verdict(found, f"no values: the shape is {geometry.shape}")
    problem = f"too few values to tell: {found.size}, but {enough} are needed"
    advice = (
        f"It takes {enough} values to find an error of {request.resolution:.2g} in the std with "
        "probability 1 - 1e-6.\nPass the initializer, which can be drawn often enough, or a list "
        "of tensors made alike,\nor seed= and name= if initspec drew them"
    )
    reach = math.sqrt(_enough(request.init, geometry, 1.0) / found.size)
    less = f"; or accept less: resolution={math.ceil(100 * reach) / 100:g}" if reach < 1 else ""
    return _Verdict(found, problem, f"{advice}{less}.")


def _bits(sample: _Sample) -> _Verdict:
    """Every bit first; the statistics say what is wrong with it, if any is."""
    array, *others = sample.arrays
    init, geometry, dtype = sample.request.init, sample.geometry, sample.dtype
    seed, name = sample.request.seed or 0, sample.request.name or ""
    if others:
        raise InitspecValueError("seed", seed, "None for several tensors", "Pass them one by one.")
    plan = sample.backend.plan(init, geometry.shape, dtype, {"layout": geometry.layout}, seed, name)
    expected = reference(plan, dtype)
    if plan.promise == "bits":
        wrong = int((_words(array) != _words(expected)).sum())
    else:
        far = np.abs(as_float(array) - as_float(expected))
        wrong = int((~(far <= NEAR[dtype] * init.gain)).sum())
    check = impossible("other than initspec draws", wrong)
    if not wrong:  # then the law is that of the stream, which the suite has tested
        return _Verdict(Examination((check,), array.size, ""))
    found = examine(init, geometry, dtype, [array])
    found = replace(found, checks=(check, *found.checks))
    words = explain(init, plan, dtype, seed, name, array) if plan.promise == "bits" else ""
    theirs = f"{wrong} of {array.size} values are not those of seed {seed} and name {name!r}"
    return _Verdict(found, "; ".join(filter(None, (words or found.message, theirs))))


def _words(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).view(f"u{array.itemsize}")


# --- what is said about it --------------------------------------------------------------------


def _message(sample: _Sample, verdict: _Verdict) -> str:
    """The diagnosis, what is off by how much, and what was asked."""
    found = verdict.found
    failed = [] if verdict.advice else [check for check in found.checks if not check.passed]
    lines = [f"  {_line(check)}" for check in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more of {len(found.checks)} checks")
    lines += [f"  {line}" for line in verdict.advice.splitlines()]
    return "\n".join([verdict.problem, *lines, *_facts(sample, found.size)])


def _line(check: Check) -> str:
    """``std: 0.0831, expected 0.0589 +- 0.0006 (+40.3 sigma)``."""
    text = f"{check.name}: {check.value:.6g}, expected {check.expected:.6g}"
    if not check.error:
        return f"{text} ({'impossible' if check.p == 0 else f'p = {check.p:.2g}'})"
    sigmas = (check.value - check.expected) / check.error
    return f"{text} +- {check.error:.2g} ({sigmas:+.1f} sigma)"


def _facts(sample: _Sample, size: int) -> Iterator[str]:
    facts = describe(sample.request.init, sample.geometry)
    yield f"recipe:  {sample.request.title}: {facts.formula}"
    yield f"layout:  {facts.layout} {facts.shape}, {sample.dtype}, {sample.backend.name}"
    yield f"fans:    fan_in {facts.fan_in:.10g}, fan_out {facts.fan_out:.10g}"
    yield f"values:  {size} {sample.origin}"
