"""Models of Keras 3 on any of its backends: layers are walked, variables are assigned."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

from initspec.draw import check_range
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError, did_you_mean
from initspec.fill_plan import DTYPES, STORAGE
from initspec.models.model import Knob, Layers, Model, Piece, Stored, Write, write_pieces
from initspec.models.slots import Part, bind_slots, join
from initspec.registry import get_backend
from initspec_kernel import aligned, fill

from .layers import KINDS, NORMS, child_path, class_name, slots_of, waits
from .native import VARIABLE

__all__ = ["KerasModel", "open_model"]

_BUILD = "Call model.build(...) or call it on one batch, then open it."
_PARTLY = "{} of {} variables are written, up to {!r}. Write again: that completes the model."
_NUMBER = re.compile(r"_\d+$")


def open_model(model: Any, layers: Layers) -> KerasModel:
    """A Keras model, or a single layer, as stored tensors that hold logical ones.

    A layer's path is made of the names of the attributes that hold it, of numbers in lists, and of
    keys in dictionaries. In a Sequential it is the layer's number in ``model.layers``, in a
    functional model its class's name (``dense``, ``dense_1``), unless the layer has a name of its
    own. A name that Keras itself could have given (``dense_7`` of a Dense) is none: it depends on
    what the process made before, and a model that is loaded has it, too.

    Args:
        model: a ``keras.Model`` or ``keras.layers.Layer``; it is written in place.
        layers: slots by class (``package.module.Class``, or the public name of a class of Keras)
            and by the attribute or the name of the variable; before the built-in table.

    Returns:
        The model; what is not built yet is a `Stored` with a ``problem``.

    Raises:
        InitspecTypeError: it is no layer of Keras.

    >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> [part.path for each in open_model(net, {}).tensors() for part in each.parts]
    ['0/kernel', '0/bias']
    """
    if not isinstance(model, keras.layers.Layer):
        raise InitspecTypeError("model", model, "a keras.Model or a keras.layers.Layer")
    return KerasModel(model, layers)


class KerasModel(Model):
    """The variables of a Keras model; those of optimizers and metrics are none of them."""

    framework: ClassVar[str] = "keras"
    backend: ClassVar[str] = "keras"

    def __init__(self, model: Any, layers: Layers) -> None:
        self._model = model
        places = list(_walk(model, "", None, ()))
        found = _variables(places, layers)
        names = _unique(bounds[0][0].variable.path for bounds in found)
        self._places = {name: bounds[0][0] for name, bounds in zip(names, found, strict=True)}
        self._tensors = [_stored(name, each) for name, each in zip(names, found, strict=True)]
        self._tensors += _unbuilt(places)
        self._knobs = list(_knobs(places))

    def tensors(self) -> Sequence[Stored]:
        """All variables of all layers, states of seed generators among them; each once."""
        return self._tensors

    def knobs(self) -> Sequence[Knob]:
        """``norm_epsilon`` and ``batch_norm_momentum`` (the share of the new) of every norm."""
        return self._knobs

    def read(self, name: str) -> NDArray[Any]:
        """The values of a variable on the host, a view where there is one; bfloat16 as uint16.

        Raises:
            InitspecValueError: there is no such variable, or its values are elsewhere.
        """
        variable = self._find(name)
        _check_memory(name, variable)
        _check_local(name, variable)
        return np.asarray(get_backend("keras").to_host(variable))

    def write(self, writes: Sequence[Write]) -> Any:
        """Assign to the variables, after checking all writes; the model.

        Every variable stays on its device, or in its shards. In memory there is one new tensor at
        a time; old values are not held, they would double the model. An error from elsewhere (no
        memory left, Ctrl+C) may leave some variables unwritten. It says so, and the same call
        again completes the model with the values that it would have had.

        Raises:
            InitspecError: something cannot be written; nothing has been, then.
        """
        for write in writes:
            self._check(write)
        for number, write in enumerate(writes):
            try:
                self._write(write)
            except BaseException as error:
                error.add_note(_PARTLY.format(number, len(writes), write.stored.name))
                raise
        for layer in {id(each): each for each in self._touched(writes)}.values():
            layer.finalize_state()
        return self._model

    def _touched(self, writes: Iterable[Write]) -> Iterator[Any]:
        """Layers that compute with copies of their variables."""
        for write in writes:
            layer = self._places[write.stored.name].layer
            if isinstance(layer, keras.layers.Normalization):
                yield layer

    def _find(self, name: str) -> Any:
        if name not in self._places:
            advice = did_you_mean(name, self._places)
            raise InitspecValueError("name", name, "a variable of the model", advice)
        return self._places[name].variable

    def _check(self, write: Write) -> None:
        stored = write.stored
        if stored.problem:
            raise InitspecValueError(stored.name, stored.problem, "a variable with values", _BUILD)
        variable = self._find(stored.name)
        _check_memory(stored.name, variable)
        if (_shape(variable), _dtype(variable)) != (stored.shape, stored.dtype):
            given = f"{stored.dtype}{list(stored.shape)}"
            expected = f"{_dtype(variable)}{list(_shape(variable))}, as the variable is"
            raise InitspecValueError(stored.name, given, expected, "Open the model again.")
        for piece in write.pieces:
            _check_piece(stored, piece)
        if write.keeps:
            _check_local(stored.name, variable)

    def _write(self, write: Write) -> None:
        stored = write.stored
        variable = self._find(stored.name)
        host = aligned(stored.shape, np.dtype(STORAGE.get(stored.dtype, stored.dtype)))
        if write.keeps:
            host[...] = self.read(stored.name)
        write_pieces(host, write, fill)
        variable.assign(_tensor(host, stored.dtype, variable.value))


def _check_piece(stored: Stored, piece: Piece) -> None:
    """Whether `write_pieces` can do it."""
    part, plan = piece.part, piece.plan
    nothing = np.broadcast_to(np.empty((), np.uint8), stored.shape)
    shape = plan.shape if plan is not None else part.shape
    try:
        fits = part.view(nothing).shape == part.shape == shape
    except IndexError:
        fits = False
    if not fits:
        expected = f"a part of shape {part.shape} in a tensor of shape {stored.shape}"
        raise InitspecValueError(part.path, shape, expected)
    if not all(-shape[0] <= row < shape[0] for row in part.zero_rows):
        raise InitspecValueError(part.path, part.zero_rows, f"rows of a tensor of {shape}")
    if plan is None:
        _check_number(stored, piece)
    elif stored.dtype in DTYPES:
        check_range(plan.content, stored.dtype)
    else:
        expected = f"one of {', '.join(DTYPES)}"
        raise InitspecTypeError(part.path, stored.dtype, expected, "Only counts are integers.")


def _check_number(stored: Stored, piece: Piece) -> None:
    """Whether a tensor of no floating dtype can hold it."""
    path, value = piece.part.path, piece.value
    if value is None or stored.dtype in DTYPES:
        raise InitspecTypeError(path, value, f"a plan for a tensor of {stored.dtype}")
    try:
        with np.errstate(invalid="ignore"):
            fits = np.asarray(value).astype(stored.dtype) == value
    except OverflowError:
        fits = False
    if not fits:
        raise InitspecValueError(path, value, f"a number that {stored.dtype} can hold")


def _check_memory(name: str, variable: Any) -> None:
    """On torch's device ``meta`` a tensor has none, and writing into it would be in vain."""
    if getattr(variable.value, "is_meta", False):
        advice = "Build the model on another device."
        raise InitspecValueError(name, "a tensor on the device 'meta'", "one with memory", advice)


def _check_local(name: str, variable: Any) -> None:
    """On JAX a variable may lie in several processes, or be given away: nobody can read it all."""
    value = variable.value
    if getattr(value, "is_deleted", bool)():
        expected = "a variable that has its values"
        raise InitspecValueError(name, "a deleted array", expected, "Let rules write all of it.")
    if getattr(value, "is_fully_addressable", True) or value.is_fully_replicated:
        return
    expected = "a variable whose values are all in this process"
    raise InitspecValueError(name, value.sharding, expected, "Let rules write all of it.")


# --- from host memory to a tensor of Keras's backend --------------------------------------------


def _tensor(host: NDArray[Any], dtype: str, old: Any) -> Any:
    """A tensor over host memory that nobody else holds, where the old one lies."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(host, dtype)
    if backend == "torch":
        return _torch(host, dtype)
    return _jax(_numpy(host, dtype), old) if backend == "jax" else _numpy(host, dtype)


def _numpy(host: NDArray[Any], dtype: str) -> NDArray[Any]:
    import ml_dtypes  # noqa: PLC0415

    return host.view(ml_dtypes.bfloat16) if dtype == "bfloat16" else host


def _tensorflow(host: NDArray[Any], dtype: str) -> Any:
    import tensorflow as tf  # noqa: PLC0415

    tensor = tf.experimental.dlpack.from_dlpack(host.__dlpack__())
    return tf.bitcast(tensor, tf.bfloat16) if dtype == "bfloat16" else tensor


def _torch(host: NDArray[Any], dtype: str) -> Any:
    import torch  # noqa: PLC0415

    if dtype == "bfloat16":
        return torch.from_numpy(host.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(host)


def _jax(array: NDArray[Any], old: Any) -> Any:
    import jax  # noqa: PLC0415

    sharding = old.sharding if getattr(old, "committed", True) else None
    if sharding is None or sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    # Every process makes its own shards; device_put would compare the whole among all of them.
    return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)


# --- the walk -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A layer or a variable where the walk came upon it."""

    path: str  # of the layer
    layer: Any
    kind: str | None = None  # that an outer layer gives to it
    variable: Any = None
    attribute: str = ""
    parameter: bool = True


def _walk(layer: Any, path: str, kind: str | None, above: tuple[Any, ...]) -> Iterator[_Place]:
    """A layer, its own variables, then the layers in it, in the order that Keras has them."""
    if any(each is layer for each in above):
        return
    yield _Place(path, layer, kind)
    yield from _own(layer, path, kind)
    inner = next((KINDS[cls] for cls in type(layer).__mro__ if cls in KINDS), kind)
    for name, child in _children(layer):
        yield from _walk(child, join(path, child_path(layer, name)), inner, (*above, layer))


def _own(layer: Any, path: str, kind: str | None) -> Iterator[_Place]:
    names = _attributes(layer)
    parameters, others = layer._trainable_variables, layer._non_trainable_variables
    for variable in (*parameters, *others):
        attribute = names.get(id(variable), [variable.name])[0]
        parameter = any(variable is each for each in parameters)
        yield _Place(path, layer, kind, variable, attribute, parameter)
    for generator in layer._seed_generators:
        attribute = f"{names.get(id(generator), [generator.name])[0]}/state"
        yield _Place(path, layer, kind, generator.state, attribute, False)


def _children(layer: Any) -> Iterator[tuple[str, Any]]:
    """The layers that a layer holds, each under its name; twice where it has two."""
    graph: list[Any] = []
    if isinstance(layer, keras.Sequential | keras.Function):
        graph = list(layer.layers)
        yield from zip(_graph_names(layer, graph), graph, strict=True)
    inside = {id(each) for each in graph}
    rest = [each for each in layer._layers if id(each) not in inside]
    rest = [each for each in rest if not isinstance(each, keras.layers.InputLayer)]
    names = _attributes(layer)
    fallback = dict(zip(map(id, rest), _numbered(rest), strict=True))
    for child in rest:
        for name in names.get(id(child), [fallback[id(child)]]):
            yield name, child


def _graph_names(model: Any, layers: Sequence[Any]) -> list[str]:
    if not isinstance(model, keras.Sequential):
        return _numbered(layers)
    return [each.name if _base(each) is None else str(number) for number, each in enumerate(layers)]


def _numbered(layers: Sequence[Any]) -> list[str]:
    """Names of their own, or the class's name and, from the second on, a number."""
    taken = {each.name for each in layers if _base(each) is None}
    names = []
    for layer in layers:
        name = base = _base(layer) or layer.name
        number = 0
        while _base(layer) is not None and name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names.append(name)
    return names


def _base(layer: Any) -> str | None:
    """The name of its class as Keras writes it, if the layer's name is no more than that."""
    plain = type(layer).__name__.replace("_", "").lower()
    for name in (layer.name, _NUMBER.sub("", layer.name)):
        if name.replace("_", "") == plain:
            return str(name)
    return None


def _attributes(layer: Any) -> dict[int, list[str]]:
    """By id, the attributes under which a layer keeps layers, variables and seed generators."""
    names: dict[int, list[str]] = {}
    modules = vars(layer).get("_modules", {})  # where torch's modules keep modules
    for attribute, value in {**vars(layer), **modules}.items():
        if attribute in _reserved() or attribute.startswith("_self_"):
            continue
        for name, found in _held(attribute, value):
            names.setdefault(id(found), []).append(name)
    return {key: _public(each) for key, each in names.items()}


@cache
def _reserved() -> frozenset[str]:
    """The attributes that every layer and model has: Keras's own lists."""
    bare = (keras.layers.Layer(name="bare"), keras.Model(name="bare"))
    return frozenset(name for each in bare for name in vars(each))


def _held(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, VARIABLE | keras.layers.Layer | keras.random.SeedGenerator):
        yield name, value
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _held(f"{name}/{number}", each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _held(f"{name}/{key}", each)


def _public(names: Sequence[str]) -> list[str]:
    """Without the private twin of a public name; in an order that no backend decides."""
    kept = (n for n in names if not (n.startswith("_") and n.lstrip("_") in names))
    return sorted(kept, key=lambda name: (name.count("/"), len(name), name))


# --- what the walk found ------------------------------------------------------------------------

_Bound = tuple[_Place, tuple[Part, ...], str]  # the parts, or why there are none


def _variables(places: Iterable[_Place], layers: Layers) -> list[list[_Bound]]:
    """Each variable with its places; one that knows its parts first."""
    found: dict[int, list[_Bound]] = {}
    for place in places:
        if place.variable is not None:
            found.setdefault(id(place.variable), []).append(_bind(place, layers))
    return [_known(bounds) for bounds in found.values()]


def _known(bounds: list[_Bound]) -> list[_Bound]:
    """Without mere references: layers that hold a variable of a layer that they hold."""
    return [each for each in bounds if each[1]] or bounds[:1]


def _bind(place: _Place, layers: Layers) -> _Bound:
    variable, layer = place.variable, place.layer
    if not _has_values(variable):
        return place, (), f"it has no values yet. {_BUILD}"
    shape = _shape(variable)
    slots = slots_of(layer, place.attribute, variable.name, shape, layers)
    if not slots:
        kept = slots is not None
        return replace(place, parameter=place.parameter and not kept), (), ""
    if place.kind is not None:
        slots = tuple(replace(slot, kind=place.kind) for slot in slots)
    try:
        parts = bind_slots(slots, place.path, shape)
        assert all(part.geometry for part in parts), "a layout is bound when it is asked"
        return place, parts, ""
    except InitspecError as error:
        name = class_name(type(layer))
        return place, (), f"the slots of {name} do not fit its shape {shape}: {error}"


def _unique(names: Iterable[str]) -> list[str]:
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}#{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return unique


def _stored(name: str, bounds: list[_Bound]) -> Stored:
    place, parts, problem = bounds[0]
    variable = place.variable
    dtype = _dtype(variable)
    if dtype not in DTYPES and any(part.role != "statistic" for part in parts):
        problem = f"its {dtype} values are quantized. Initialise the model before that."
    return Stored(
        name=name,
        shape=_shape(variable),
        dtype=dtype,
        parts=parts,
        path=join(place.path, place.attribute.lstrip("_")),
        layer=class_name(type(place.layer)),
        trainable=bool(variable.trainable),
        buffer=not place.parameter,
        aliases=tuple((join(p.path, p.attribute.lstrip("_")), each) for p, each, _ in bounds[1:]),
        problem=problem,
    )


def _unbuilt(places: Iterable[_Place]) -> Iterator[Stored]:
    """The innermost layers that are still to make their variables."""
    waiting: dict[int, _Place] = {}
    for place in places:
        if place.variable is None and waits(place.layer):
            waiting.setdefault(id(place.layer), place)
    for place in waiting.values():
        inner = (each for _, each in _children(place.layer))
        if not any(id(each) in waiting for each in inner):
            name = place.path or place.layer.name
            problem = f"the layer {place.layer.name!r} is not built. {_BUILD}"
            layer = class_name(type(place.layer))
            yield Stored(
                name=name, shape=(), dtype="float32", path=name, layer=layer, problem=problem
            )


def _knobs(places: Iterable[_Place]) -> Iterator[Knob]:
    norms: dict[int, _Place] = {}
    for place in places:
        if place.variable is None and isinstance(place.layer, NORMS):
            norms.setdefault(id(place.layer), place)
    for place in norms.values():
        layer, path = place.layer, place.path
        yield Knob(path=path, name="norm_epsilon", value=float(layer.epsilon))
        if isinstance(layer, keras.layers.BatchNormalization):
            new = round(1 - float(layer.momentum), 12)  # 0.01, where 1 - 0.99 is a little more
            yield Knob(path=path, name="batch_norm_momentum", value=new)


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in variable.shape)


def _has_values(variable: Any) -> bool:
    """Keras postpones them where it traces."""
    return getattr(variable, "_value", variable) is not None


def _dtype(variable: Any) -> str:
    """Of the tensor: on JAX without 64-bit types a variable says float64 and is not."""
    dtype = variable.value.dtype if _has_values(variable) else variable.dtype
    return str(keras.backend.standardize_dtype(dtype))
