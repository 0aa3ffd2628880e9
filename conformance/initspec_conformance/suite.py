"""The suite: every backend and device against the vectors, the laws, and what must be refused."""

from __future__ import annotations

import hashlib
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import initspec
from initspec import registry, stream
from initspec.backend import Backend
from initspec.digest import logical_digest
from initspec.errors import BackendError, InitspecError, InitspecValueError
from initspec.fill_plan import check_dtype
from initspec.stream import as_float
from initspec_conformance.cases import Case, Layer, layers
from initspec_conformance.examine import Examination, examine
from initspec_conformance.mismatch import explain
from initspec_conformance.reference import NEAR
from initspec_conformance.results import FAILED, MOST_CHECKS, PASSED, SKIPPED, Outcome, Report
from initspec_conformance.statistics.checks import needed
from initspec_conformance.statistics.laws import Target
from initspec_conformance.vectors import (
    Refusal,
    Unsupported,
    Vector,
    draw,
    dtypes_may_lack,
    load,
    refused,
    verify,
)

__all__ = ["CPU", "SEED", "Suite", "Task", "sizes", "spelling", "versions"]

CPU = "cpu"
SIZE = 2**20  # values of a statistical case: finds 0.8 % in the std of a normal
THOROUGH = 0.001  # the error of the std that a thorough run finds
SEED = 0x243F6A88  # digits of pi
_MOST_IN_A_CASE = 40  # checks: about 18, and two for each axis
# How frameworks call the same device, in the order in which the names are tried.
_SPELLINGS = {CPU: ("cpu", "/CPU:0"), "cuda": ("cuda", "gpu", "/GPU:0")}
_MATRICES = (  # no independent draws, so no moments in the vectors
    Case("orthogonal", initspec.orthogonal(), Layer("dense", "IO", (192, 320))),
    Case("delta_orthogonal", initspec.delta_orthogonal, Layer("conv", "HWIO", (3, 3, 64, 128))),
    Case("sparse(0.25)", initspec.sparse(0.25, std=0.1), Layer("dense", "IO", (512, 1024))),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to check; `run` never raises for what a backend does."""

    subject: str
    device: str
    kind: str
    label: str
    work: Callable[[], Outcome]

    def run(self) -> Outcome:
        """Check it; an exception of the backend is a failure."""
        start = time.perf_counter()
        try:
            outcome = self.work()
        except Unsupported as error:
            outcome = self.outcome(SKIPPED, str(error))
        except Exception as error:
            outcome = self.outcome(FAILED, f"{type(error).__name__}: {error}")
        return replace(outcome, seconds=time.perf_counter() - start)

    def outcome(self, verdict: str, message: str = "", **fields: Any) -> Outcome:
        """An outcome of this task."""
        return Outcome(
            subject=self.subject,
            device=self.device,
            case=self.label,
            kind=self.kind,
            verdict=verdict,
            message=message,
            **fields,
        )


def sizes(case: Case, thorough: bool) -> int:
    """How many values a statistical case needs: `needed` for 0.1 % if thorough, else 2**20."""
    target = Target.of(case.init, case.layer.geometry)
    if not thorough or target is None:
        return SIZE
    return max(SIZE, needed(THOROUGH, target.kurtosis))


class Suite:
    """All checks of the backends on their devices.

    Args:
        backends: names, or backends themselves; all that are installed if empty.
        devices: ``cpu``, ``cuda`` or a framework's own name; if empty, the CPU and every
            accelerator in reach.
        recipes: only these; on the layers of each framework, too.
        dtypes: only these.
        thorough: samples so large that an error of 0.1 % in a std is found.
        seed: of the statistical samples.

    Raises:
        InitspecError: a backend, device, recipe or dtype that was asked for is not there.

    Example:
        >>> suite = Suite(["numpy"], recipes=["zeros"])
        >>> suite.run().conforms
        True
    """

    def __init__(
        self,
        backends: Sequence[str | Backend] = (),
        devices: Sequence[str] = (),
        recipes: Sequence[str] = (),
        dtypes: Sequence[str] = (),
        thorough: bool = False,
        seed: int = SEED,
    ) -> None:
        self.missing: dict[str, str] = {}
        self.recipes = {name: initspec.get(name) for name in recipes}
        self.dtypes = tuple(check_dtype(dtype) for dtype in dtypes)
        self.thorough, self.seed = thorough, stream.check_seed(seed)
        self.backends = self._find_backends(backends)
        self.places = self._find_devices(devices, every=bool(backends))
        if backends:
            self._check_places(devices)
        self._vectors = load()
        self._check_number()
        self._reference = registry.get_backend("numpy")
        self._examined: dict[tuple[str, str], Examination] = {}
        self._expected: dict[str, str] = {}

    def _find_backends(self, names: Sequence[str | Backend]) -> list[Backend]:
        if names:
            given = dict.fromkeys(names)
            return [registry.get_backend(b) if isinstance(b, str) else b for b in given]
        found = []
        for name in registry.backend_names():
            try:
                found.append(registry.get_backend(name))
            except BackendError as error:
                self.missing[name] = str(error)
        return found

    def _find_devices(self, names: Sequence[str], *, every: bool) -> list[tuple[Backend, str, Any]]:
        """Backend, device as it was asked for, and as the backend calls it.

        Of devices that were asked for each backend must have each if ``every``, else one must.
        """
        reported = (device for backend in self.backends for device in backend.devices())
        others = [device for device in reported if device != "cuda:0"]  # which cuda means
        wanted = dict.fromkeys(names or [CPU, "cuda", *others])
        places: list[tuple[Backend, str, Any]] = []
        for device in wanted:
            found = [(b, device, spelling(b, device)) for b in self.backends]
            there = [place for place in found if not isinstance(place[2], InitspecError)]
            lacking = {b.name: s.expected for b, _, s in found if isinstance(s, InitspecError)}
            advice = "; ".join(f"{name} asks for {rule}" for name, rule in lacking.items())
            if names and (lacking if every else not there):
                raise InitspecValueError("device", device, "a device of this machine", advice)
            if lacking:
                self.missing[f"{device} in {', '.join(lacking)}"] = advice
            places += there
        return places

    def _check_places(self, devices: Sequence[str]) -> None:
        """Refuse to leave out a backend that was asked for, for want of a device."""
        for backend in self.backends:
            if all(backend is not other for other, _, _ in self.places):
                given = ", ".join(devices) or None
                advice = "; ".join(self.missing.values())
                raise InitspecValueError("device", given, f"one that {backend.name} has", advice)

    def _check_number(self) -> None:
        """The threshold is made for a number of checks; equal bits are judged once."""
        labels = {case.label for backend, _, _ in self.places for case in self._cases(backend)}
        most = MOST_CHECKS // _MOST_IN_A_CASE
        if len(labels) > most:
            expected = f"at most {most} statistical cases in a run: these are {len(labels)}"
            raise InitspecValueError("recipes, dtypes", tuple(self.recipes), expected, "Make two.")

    # --- what there is to do ------------------------------------------------------------------

    def tasks(self) -> Iterator[Task]:
        """All tasks, backend by backend."""
        for backend, device, place in self.places:
            make = partial(self._task, backend, device)
            for vector in self._vectors.tensors:
                if vector.promise != "moments" and self._chosen(vector.initializer, vector.dtype):
                    work = partial(self._verify, vector, backend, place)
                    yield make(vector.promise, vector.id, work)
            for case in self._cases(backend):
                yield make("statistics", case.label, partial(self._sample, case, backend, place))
            if not self.recipes and not self.dtypes and device == CPU:
                for refusal in self._vectors.refusals:
                    yield make("refusal", refusal.id, partial(self._refuse, refusal, backend))

    def _task(
        self,
        backend: Backend,
        device: str,
        kind: str,
        label: str,
        work: Callable[[Task], Outcome],
    ) -> Task:
        task = Task(backend.name, device, kind, label, lambda: work(task))
        return task

    def _chosen(self, init: initspec.Initializer, dtype: str) -> bool:
        recipe = not self.recipes or init in self.recipes.values()
        return recipe and (not self.dtypes or dtype in self.dtypes)

    def _cases(self, backend: Backend) -> Iterator[Case]:
        """The vectors' own; of recipes that were asked for, the framework's layers as well."""
        fixed = [_of_vector(v) for v in self._vectors.tensors if v.promise == "moments"]
        for case in [*fixed, *_MATRICES]:
            if self._chosen(case.init, case.dtype):
                yield case
        for name, init in self.recipes.items():
            for layer in layers(backend.name):
                for dtype in self.dtypes or ("float32",):
                    try:
                        init.describe(layer.shape, layer.pattern, **layer.options)
                    except InitspecError:  # no diagonal in a convolution, for example
                        continue
                    yield Case(name, init, layer, dtype)

    # --- the work -----------------------------------------------------------------------------

    def _verify(self, vector: Vector, backend: Backend, place: Any, task: Task) -> Outcome:
        array, _ = draw(vector, backend, place)
        message = verify(vector, array)
        if not message:
            return task.outcome(PASSED, size=array.size)
        reason = ""
        comparable = (array.shape, array.dtype) == (vector.geometry.shape, vector.storage)
        if comparable and vector.promise == "bits":
            reason = explain(
                vector.initializer, vector.plan(), vector.dtype, vector.seed, vector.name, array
            )
        return task.outcome(FAILED, f"{reason}: {message}" if reason else message, size=array.size)

    def _refuse(self, refusal: Refusal, backend: Backend, task: Task) -> Outcome:
        message = refused(refusal, backend)
        return task.outcome(FAILED if message else PASSED, message)

    def _sample(self, case: Case, backend: Backend, place: Any, task: Task) -> Outcome:
        """Bits first, against NumPy's: then the statistics are those of NumPy's sample."""
        digest = self._digest(case, backend, place)
        found = self._examined.get((case.label, digest))
        if found is None:
            arrays = (array for _, _, array in self._draws(case, backend, place))
            found = examine(case.init, case.layer.geometry, case.dtype, arrays)
            self._examined[case.label, digest] = found
        message = found.message or self._compare(case, backend, place, digest)
        fields: dict[str, Any] = {"checks": found.checks, "size": found.size}
        fields |= {"picture": found.picture, "resolution": found.resolution}
        return task.outcome(FAILED if message else PASSED, message, **fields)

    def _draws(
        self, case: Case, backend: Backend, place: Any
    ) -> Iterator[tuple[int, str, NDArray[Any]]]:
        """Tensors whose seeds and names are neighbours: one changes, then the other."""
        layer = case.layer
        count = -(-sizes(case, self.thorough) // max(1, math.prod(layer.shape)))
        for number in range(max(4, count)):
            seed = (self.seed + number // 2) % 2**64
            name = f"w{(number + 1) // 2 % 2}"
            options: dict[str, Any] = {"dtype": case.dtype, "seed": seed, "name": name}
            options |= {"device": place, "layout": layer.keywords, "out": None}
            with dtypes_may_lack():
                tensor = backend.draw(case.init, layer.shape, **options)
            yield seed, name, backend.to_host(tensor)

    def _digest(self, case: Case, backend: Backend, place: Any) -> str:
        digest = hashlib.sha256()
        for _, _, array in self._draws(case, backend, place):
            digest.update(logical_digest(array, case.layer.geometry).encode())
        return digest.hexdigest()

    def _compare(self, case: Case, backend: Backend, place: Any, digest: str) -> str:
        """Why the bits are not those of the NumPy backend; empty if they are."""
        if case.label not in self._expected:
            try:
                self._expected[case.label] = self._digest(case, self._reference, None)
            except Unsupported:  # NumPy without ml_dtypes: the vectors have been compared
                return ""
        if digest == self._expected[case.label]:
            return ""
        both = zip(
            self._draws(case, backend, place),
            self._draws(case, self._reference, None),
            strict=True,
        )
        return next(filter(None, (_differs(case, *pair) for pair in both)), "")

    # --- the run ------------------------------------------------------------------------------

    def run(self, advance: Callable[[str], None] | None = None) -> Report:
        """All tasks; ``advance`` is told the label of each before it starts."""
        start = time.perf_counter()
        outcomes = []
        for task in self.tasks():
            if advance is not None:
                advance(f"{task.subject} {task.label}")
            outcomes.append(task.run())
        return Report(
            outcomes=tuple(outcomes),
            versions=versions(self.backends),
            missing=self.missing,
            seconds=time.perf_counter() - start,
        )


def _of_vector(vector: Vector) -> Case:
    title = vector.id.removeprefix("moments/")
    layer = Layer(title, vector.layout, vector.shape, vector.options)
    return Case(title.partition("/")[0], vector.initializer, layer, vector.dtype)


def spelling(backend: Backend, device: str) -> Any:
    """What the backend calls the device, or the error that says that it has none."""
    failure: InitspecError | None = None
    options: Any = {"dtype": "float32", "seed": 0, "name": "", "out": None}
    for name in _SPELLINGS.get(device, (device,)):
        try:
            backend.draw(initspec.ones, (1,), device=name, layout={"layout": "O"}, **options)
        except InitspecError as error:
            if error.where != "device":  # nothing works there: a wrong environment variable
                raise
            failure = failure or error
        except Exception as error:  # of a backend that does not say it as it should
            expected = f"one that {backend.name} has ({type(error).__name__}: {error})"
            failure = failure or BackendError("device", device, expected)
        else:
            return name
    return failure


def _differs(case: Case, found: tuple[int, str, Any], expected: tuple[int, str, Any]) -> str:
    """How a tensor differs from that of the NumPy backend, if it does."""
    seed, name, array = found
    geometry = case.layer.geometry
    if logical_digest(array, geometry) == logical_digest(expected[2], geometry):
        return ""
    plan = case.init.plan(geometry.shape, layout=case.layer.pattern, **case.layer.options)
    if plan.promise != "bits":
        far = float(np.abs(as_float(array) - as_float(expected[2])).max())
        near = far <= NEAR[case.dtype] * case.init.gain  # NaN is not
        return "" if near else f"values are up to {far:.2g} away from NumPy's"
    plan = plan.with_keys(tuple(stream.key(seed, each) for each in plan.names(name)))
    wrong = float((np.asarray(array) != np.asarray(expected[2])).mean())
    reason = explain(case.init, plan, case.dtype, seed, name, array)
    return f"{wrong:.2%} of the values differ from those of the stream; {reason}".rstrip("; ")


def versions(backends: Sequence[Backend]) -> dict[str, str]:
    """What took part in a run."""
    kernel = import_module("initspec_kernel").info()
    found = {
        "python": platform.python_version(),
        "initspec": initspec.__version__,
        "stream": stream.VERSION,
        "kernel": kernel.isa or kernel.reason,
    }
    for backend in backends:
        module = sys.modules.get(backend.name)
        found[backend.name] = str(getattr(module, "__version__", "unknown"))
    return found
