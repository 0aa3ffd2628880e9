"""Modules of flax.linen: their variables, found by tracing ``init``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import errors as flax_errors
from flax.core import FrozenDict, freeze, unfreeze
from numpy.typing import NDArray

from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean
from initspec.models.model import Knob, Layers, Model, Stored, Write

from .linen_owners import Owners
from .linen_trace import Path, Trace, flat_nodes, trace
from .tree import check_leaf, dtype_name, is_abstract, is_leaf, make_leaf, read_leaf, tracing

__all__ = ["Linen", "LinenModel", "linen_model"]


@dataclass(frozen=True, init=False, eq=False)
class Linen:
    """A module of flax.linen together with what its variables depend on.

    A module has no parameters of its own: they come from a call of ``init``, which is traced
    here, so that nothing is computed or allocated.

    Args:
        module: the module.
        inputs: what it is called with; arrays, or a `jax.ShapeDtypeStruct` for any of them.
        variables: what ``init`` returned, or an abstract tree of that form, perhaps with
            shardings: kept parts come from there, and new arrays go where the old ones are. A
            collection that is not in it comes from the module's own ``init``.
        method: the method to call instead of ``__call__``.
        rngs: keys for values that come from ``init``; ``jax.random.key(0)`` if None.
        kwargs: more of what it is called with.

    Raises:
        InitspecTypeError: it is no module of flax.linen.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp
        >>> model = Linen(nn.Dense(3), jax.ShapeDtypeStruct((1, 4), jnp.float32))
        >>> [stored.name for stored in linen_model(model, {}).tensors()]
        ['params/bias', 'params/kernel']
    """

    module: Any
    inputs: tuple[Any, ...]
    variables: Any = None
    method: Any = None
    rngs: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        module: Any,
        *inputs: Any,
        variables: Any = None,
        method: Any = None,
        rngs: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(module, nn.Module):
            advice = "Modules of flax.nnx carry their variables: pass them as they are."
            raise InitspecTypeError("module", module, "a module of flax.linen", advice)
        given = {
            "module": module,
            "inputs": inputs,
            "variables": variables,
            "method": method,
            "rngs": rngs,
            "kwargs": kwargs,
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def init(self, arrays: Sequence[Any], lazy: bool = False) -> Any:
        """The variables that the module's ``init`` makes of these arrays as inputs.

        ``lazy`` ones are those that do not depend on an input that is abstract.
        """
        leaves, structure = jax.tree_util.tree_flatten((self.inputs, dict(self.kwargs)))
        given = iter(arrays)
        filled = [next(given) if is_leaf(leaf) else leaf for leaf in leaves]
        args, kwargs = jax.tree_util.tree_unflatten(structure, filled)
        rngs = jax.random.key(0) if self.rngs is None else self.rngs
        call = self.module.lazy_init if lazy else self.module.init
        return call(rngs, *args, method=self.method, **kwargs)

    @property
    def arrays(self) -> list[Any]:
        """The inputs that are arrays or stand for some; the others are constants."""
        leaves = jax.tree_util.tree_leaves((self.inputs, dict(self.kwargs)))
        return [leaf for leaf in leaves if is_leaf(leaf)]


def linen_model(wrapper: Linen, layers: Layers) -> LinenModel:
    """The variables of a module of flax.linen.

    Args:
        wrapper: the module and what it is called with.
        layers: slots by class and attribute; they go before the built-in ones.

    Raises:
        InitspecTypeError, InitspecValueError: the variables are not the module's.
    """
    with tracing(wrapper.module):
        found = trace(lambda *arrays: wrapper.init(arrays), *wrapper.arrays)
    return LinenModel(wrapper, _merged(found.variables, wrapper.variables), found, layers)


# --- the variables ------------------------------------------------------------------------------


def _merged(own: Any, given: Any) -> dict[str, Any]:
    """The module's own variables, in place of them those that are given, collection by collection.

    Given ones may be in boxes or not, and of other dtypes.
    """
    own = unfreeze(own)
    if given is None:
        return dict(own)
    if not isinstance(given, Mapping):
        advice = "As in Linen(module, x, variables={'params': params})."
        raise InitspecTypeError("variables", given, "a dictionary of collections", advice)
    given = unfreeze(dict(given))
    for collection in own.keys() & given.keys():
        _check_shapes(collection, own[collection], given[collection])
    return {**own, **given}


def _check_shapes(collection: str, own: Any, given: Any) -> None:
    expected, found = _shapes(collection, own), _shapes(collection, given)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            what = "no such variable" if name not in expected else f"shape {expected[name]}"
            advice = did_you_mean(name, found) if name not in found else ""
            where = f"variables: {name}"
            raise InitspecValueError(
                where,
                found.get(name, "nothing"),
                f"what init makes of these inputs: {what}",
                advice or "Pass the inputs, and method=, that made the variables.",
            )


def _shapes(collection: str, tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        "/".join((collection, *path)): tuple(jnp.shape(leaf))
        for path, node in flat_nodes(tree).items()
        for leaf in jax.tree_util.tree_leaves(node)
    }


@dataclass(frozen=True)
class _Variable:
    """A leaf of the variables and where it is: the collection and the path of a box or array."""

    path: Path
    leaf: Any
    stored: Stored


class LinenModel(Model):
    """A module of flax.linen; `write` returns its variables, as a tree like that of ``init``."""

    framework: ClassVar[str] = "flax"
    backend: ClassVar[str] = "jax"

    def __init__(self, wrapper: Linen, tree: dict[str, Any], found: Trace, layers: Layers) -> None:
        self._wrapper = wrapper
        self._tree = tree
        owners = Owners(found, layers)
        self._variables: dict[str, _Variable] = {}
        for path, node in flat_nodes(tree).items():
            leaves = [leaf for leaf in jax.tree_util.tree_leaves(node) if is_leaf(leaf)]
            for number, leaf in enumerate(leaves):
                name = "/".join(path) + (f"/{number}" if len(leaves) > 1 else "")
                stored = owners.stored(path, name, tuple(leaf.shape), dtype_name(leaf))
                self._variables[name] = _Variable(path, leaf, stored)
        self._order = {path: number for number, path in enumerate(found.seen)}
        shapes = [(each.path, each.stored.shape) for each in self._variables.values()]
        self._knobs = owners.knobs(shapes)

    def tensors(self) -> Sequence[Stored]:
        """The variables of all collections, in the order of the calls that made them."""
        last = len(self._order)
        found = sorted(self._variables.values(), key=lambda v: self._order.get(v.path, last))
        return [variable.stored for variable in found]

    def knobs(self) -> Sequence[Knob]:
        """The numbers of every norm that is called."""
        return self._knobs

    def read(self, name: str) -> NDArray[Any]:
        """The values; of an abstract variable those of the module's own ``init``."""
        leaf = self._variable(name).leaf
        return read_leaf(self._fresh([name])[name] if is_abstract(leaf) else leaf, name)

    def write(self, writes: Sequence[Write]) -> Any:
        """New variables: a dictionary of collections, or a FrozenDict where one was given.

        What nobody writes stays; where there are no values yet it comes from the module's ``init``.
        """
        wanted = {write.stored.name: write for write in writes}
        for name in wanted:
            self._variable(name)
        abstract = [name for name, each in self._variables.items() if is_abstract(each.leaf)]
        kept = [name for name in abstract if name not in wanted or wanted[name].keeps]
        old = {name: each.leaf for name, each in self._variables.items()} | self._fresh(kept)
        for name, write in wanted.items():
            check_leaf(write, old[name])
        made = {name: make_leaf(write, old[name]) for name, write in wanted.items()}
        values = iter((old | made).values())
        leaves, structure = jax.tree_util.tree_flatten(self._tree)
        new = [next(values) if is_leaf(leaf) else leaf for leaf in leaves]
        tree = jax.tree_util.tree_unflatten(structure, new)
        return freeze(tree) if isinstance(self._wrapper.variables, FrozenDict) else tree

    def _variable(self, name: str) -> _Variable:
        if name not in self._variables:
            advice = did_you_mean(name, self._variables)
            raise InitspecValueError("name", name, "the name of a variable", advice)
        return self._variables[name]

    def _fresh(self, names: Sequence[str]) -> dict[str, Any]:
        """What the module's own ``init`` makes of some variables; the others are not computed."""
        if not names:
            return {}
        arrays = self._wrapper.arrays
        known = [array for array in arrays if not is_abstract(array)]

        def make(*known: Any) -> dict[str, Any]:
            given = iter(known)
            inputs = [array if is_abstract(array) else next(given) for array in arrays]
            made = _leaves(unfreeze(self._wrapper.init(inputs, lazy=True)))
            return {name: made[name] for name in names if name in made}

        try:
            values = jax.jit(make)(*known)
        except flax_errors.LazyInitError as error:
            expected = f"arrays, since the initial {', '.join(names)} depend on them"
            raise InitspecValueError("inputs", arrays, expected) from error
        return {name: self._placed(name, values.get(name)) for name in names}

    def _placed(self, name: str, value: Any) -> Any:
        leaf = self._variables[name].leaf
        if value is None:
            advice = "Pass variables= that have values."
            raise InitspecValueError(name, leaf, "a variable that init makes", advice)
        value = value if value.dtype == leaf.dtype else value.astype(leaf.dtype)
        return jax.device_put(value, leaf.sharding)


def _leaves(tree: Any) -> dict[str, Any]:
    """The leaves by the names that `LinenModel` gives them."""
    found = {}
    for path, node in flat_nodes(tree).items():
        leaves = jax.tree_util.tree_leaves(node)
        for number, leaf in enumerate(leaves):
            found["/".join(path) + (f"/{number}" if len(leaves) > 1 else "")] = leaf
    return found
