"""Haiku: parameters are plain dictionaries; a trace of ``init`` tells which layer made them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import haiku as hk
import jax
import jax.numpy as jnp
from jax.tree_util import tree_flatten, tree_unflatten

from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.models.model import Knob, Layers, Stored
from initspec.models.slots import Part, Slot, bind_slots, join

from .haiku_layers import NORMS, TABLE
from .pytree import (
    KeyPath,
    Owner,
    Shapes,
    TreeModel,
    class_name,
    find_slots,
    fits,
)
from .tree import dtype_name, is_abstract, is_leaf, tracing

__all__ = ["Haiku", "HaikuModel", "haiku_model"]


@dataclass(frozen=True, init=False)
class Haiku:
    """A transformed function of Haiku, with what it takes to run its ``init``.

    Haiku's parameters know nothing of the layers that own them, so the function itself is needed:
    its ``init`` is traced, which costs no memory.

    Args:
        transformed: what `haiku.transform` or `haiku.transform_with_state` returned.
        inputs: the arguments of ``init`` after the random key; arrays may be abstract.
        params: parameters whose values stay where no rule writes; by default there are none.
        state: likewise, of a function with state.
        kwargs: the named arguments of ``init``.

    Example: ``initspec.apply(Haiku(hk.transform(net), x), config)`` returns the parameters; of a
    function with state, the pair of parameters and state, as ``init`` does.
    """

    transformed: Any
    inputs: tuple[Any, ...]
    params: Any
    state: Any
    kwargs: Mapping[str, Any]

    def __init__(
        self, transformed: Any, *inputs: Any, params: Any = None, state: Any = None, **kwargs: Any
    ) -> None:
        if not callable(getattr(transformed, "init", None)):
            expected = "what haiku.transform or haiku.transform_with_state returns"
            raise InitspecTypeError("transformed", transformed, expected)
        fields = {"transformed": transformed, "inputs": inputs, "params": params, "state": state}
        for name, value in (fields | {"kwargs": kwargs}).items():
            object.__setattr__(self, name, value)


def haiku_model(wrapper: Haiku, layers: Layers) -> HaikuModel:
    """The parameters and the state of a transformed function.

    A tensor's name is the module's and its own, joined by ``/``. ``write`` returns what ``init``
    would: the parameters, or the pair of parameters and state. What has no value and is not
    written is made by ``init`` under the key 0, where abstract inputs are zeros.

    Args:
        wrapper: the function, its inputs and, if there are some, its parameters and state.
        layers: slots of classes that are not in the table, or instead of those there.

    Raises:
        InitspecValueError: the given parameters or state are not those of the function.
    """
    return HaikuModel(wrapper, layers)


# --- the trace ----------------------------------------------------------------------------------


class _Recorder:
    """Notes every module of which a method is called while parameters are made."""

    def __init__(self) -> None:
        self.modules: dict[str, Any] = {}
        self.stacks: set[str] = set()  # modules whose content has one more axis, the first
        self._running: list[Any] = []

    def __call__(
        self,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: hk.MethodContext,
    ) -> Any:
        self._running.append(context.module)
        try:
            result = method(*args, **kwargs)
        finally:
            self._running.pop()
        if hk.running_init():  # outside of it modules inside a lifted function have short names
            self._note(context.module)
            if context.method_name == "__init__" and _is_lift(context.module):
                init = args[0] if args else kwargs.get("init_fn")
                if getattr(init, "__qualname__", "").startswith("_LayerStack."):
                    self.stacks.add(self._path(context.module))
        return result

    def _path(self, module: Any) -> str:
        lifts = (each.module_name for each in self._running if _is_lift(each))
        return join(*lifts, module.module_name)

    def _note(self, module: Any) -> None:
        path = self._path(module)
        if type(self.modules.setdefault(path, module)) is not type(module):
            self.modules[path] = None  # two classes of one name: nobody can tell whose it is


def _is_lift(module: Any) -> bool:
    return type(module).__name__ == "LiftingModule"


@dataclass(frozen=True)
class _Init:
    """The function's ``init``: arrays among its arguments apart from what is no array."""

    wrapper: Haiku

    def arrays(self) -> list[Any]:
        """The arrays among the arguments."""
        return [leaf for leaf in self._flat()[0] if is_leaf(leaf)]

    def _flat(self) -> tuple[list[Any], Any]:
        return tree_flatten((self.wrapper.inputs, dict(self.wrapper.kwargs)))

    def __call__(self, key: Any, arrays: Sequence[Any]) -> Any:
        leaves, structure = self._flat()
        given = iter(arrays)
        leaves = [next(given) if is_leaf(leaf) else leaf for leaf in leaves]
        inputs, kwargs = tree_unflatten(structure, leaves)
        return self.wrapper.transformed.init(key, *inputs, **kwargs)


# --- the model ----------------------------------------------------------------------------------


class HaikuModel(TreeModel):
    """The parameters of a transformed function, and its state if it has one."""

    framework: ClassVar[str] = "haiku"

    def __init__(self, wrapper: Haiku, layers: Layers) -> None:
        self._init, self._layers, self._recorder = _Init(wrapper), layers, _Recorder()
        with tracing(wrapper.transformed), hk.intercept_methods(self._recorder):
            made = jax.eval_shape(self._init, jax.random.PRNGKey(0), self._init.arrays())
        self._with_state = isinstance(made, tuple)
        params, state = made if self._with_state else (made, {})
        if wrapper.state and not self._with_state:
            expected = "no state, of a function without one"
            raise InitspecValueError("state", wrapper.state, expected)
        trees = {
            "params": _bound(params, wrapper.params, "params"),
            "state": _bound(state, wrapper.state, "state"),
        }
        super().__init__(trees)

    def knobs(self) -> Sequence[Knob]:
        """The epsilon of every norm, and of batch norms the share that a new batch has."""
        return tuple(self._knobs())

    def _knobs(self) -> Iterator[Knob]:
        for key, module in self._recorder.modules.items():
            if isinstance(module, NORMS):
                path = _canonical(key)
                yield Knob(path=path, name="norm_epsilon", value=float(module.eps))
                if isinstance(module, hk.BatchNorm):
                    share = round(1 - float(module.mean_ema.decay), 12)
                    yield Knob(path=path, name="batch_norm_momentum", value=share)

    def _name(self, path: KeyPath) -> str:
        return super()._name(path[1:])

    def _stored(self, name: str, leaf: Any) -> Stored:
        facts = self._facts(leaf)
        if self._paths[name][0].key == "state":
            facts |= {"trainable": False, "buffer": True}
        path, shape = _canonical(name.rpartition("/")[0]), facts["shape"]
        modules = self._recorder.modules
        keys = [key for key in _prefixes(name) if modules.get(key) is not None]
        if not keys:
            return Stored(name=name, path=path, **facts)
        stacks = [key for key in keys if key in self._recorder.stacks]
        owners = [
            Owner(modules[key], _below(name, key), self._shapes(key, len(stacks))) for key in keys
        ]
        number, slots = find_slots(owners, self._layers, TABLE) or (-1, ())
        layer, rank = class_name(type(modules[keys[number]])), len(shape) - len(stacks)
        known = set(stacks) <= set(keys[:number])  # the layer in the stacks, not a stack in it
        parts = _bind(slots, keys[number], stacks, shape) if known and fits(slots, rank) else ()
        # One axis more than the class has: a stack of layers, whose axis the config names.
        more = slots if fits(slots, len(shape) - 1) and not parts else ()
        return Stored(name=name, path=path, layer=layer, parts=parts, slots=more, **facts)

    def _shapes(self, key: str, stacks: int) -> Shapes:
        """Of everything below a module, by path, without the axes of the stacks it lies in."""
        return {name: shape[stacks:] for name, shape in self._content[key].items()}

    @cached_property
    def _content(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """By module: the shapes of everything below it."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for name in self._places:
            for key in _prefixes(name):
                found.setdefault(key, {})[_below(name, key)] = tuple(self._leaf(name).shape)
        return found

    def _made(self, names: list[str]) -> dict[str, Any]:
        """From ``init`` itself; what is not asked for is not computed."""
        if not names:
            return {}

        def values(key: Any, arrays: Sequence[Any]) -> dict[str, Any]:
            made = self._init(key, arrays)
            params, state = made if self._with_state else (made, {})
            trees = {"params": params, "state": state}
            return {name: _at(trees, self._paths[name]) for name in names}

        arrays = [jnp.zeros(a.shape, a.dtype) if is_abstract(a) else a for a in self._init.arrays()]
        made: dict[str, Any] = jax.jit(values)(jax.random.PRNGKey(0), arrays)
        return made

    def _rebuilt(self, leaves: list[Any]) -> Any:
        trees = super()._rebuilt(leaves)
        return (trees["params"], trees["state"]) if self._with_state else trees["params"]


def _at(trees: Any, path: KeyPath) -> Any:
    for key in path:
        trees = trees[key.key]
    return trees


def _bound(made: Any, given: Any, what: str) -> dict[str, dict[str, Any]]:
    """What ``init`` makes, abstract, under the values that are there already."""
    tree = {module: dict(leaves) for module, leaves in made.items()}
    for module, leaves in (given or {}).items():
        for name, leaf in leaves.items():
            own = tree.setdefault(module, {})
            if name in own and _form(own[name]) != _form(leaf):
                where = f"{what}[{module!r}][{name!r}]"
                expected = "{}{}, as the function's init makes".format(*_form(own[name]))
                raise InitspecValueError(where, leaf, expected)
            own[name] = leaf
    return tree


def _form(leaf: Any) -> tuple[str, list[int]]:
    return dtype_name(leaf), list(leaf.shape)


def _prefixes(name: str) -> list[str]:
    """All paths that a path begins with, from the shortest."""
    return [name[:end] for end, letter in enumerate(name) if letter == "/"]


def _canonical(key: str) -> str:
    """Without the marks of what Haiku makes in a constructor (``~``) or a method (``~name``)."""
    return join(*(component.lstrip("~") for component in key.split("/")))


def _below(name: str, key: str) -> str:
    return _canonical(name.removeprefix(f"{key}/"))


def _bind(
    slots: tuple[Slot, ...], key: str, stacks: list[str], shape: tuple[int, ...]
) -> tuple[Part, ...]:
    """The parts; of a stack's layers, each under its number."""
    prefix, start = "", ""
    for axis, stack in enumerate(stacks):
        prefix = join(prefix, _canonical(stack.removeprefix(start)), f"{{stack{axis}}}")
        start = f"{stack}/"
    prefix = join(prefix, _canonical(key.removeprefix(start)))
    sizes = shape[: len(stacks)]
    return bind_slots(tuple(_stacked(slot, prefix, sizes) for slot in slots), "", shape)


def _stacked(slot: Slot, prefix: str, sizes: tuple[int, ...]) -> Slot:
    """A layer's slot below stacks of these sizes, the outermost first."""
    for axis, size in reversed(list(enumerate(sizes))):
        slot = slot.stacked(0, tuple(map(str, range(size))), f"stack{axis}")
    return replace(slot, path=join(prefix, slot.path))
