"""Initializers of Keras: objects that are saved with a model and give each variable its stream."""

from __future__ import annotations

import inspect
import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras

from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import check_dtype
from initspec.initializer import Initializer
from initspec.layout import Layout, LayoutOptions, check_options
from initspec.recipes import get
from initspec.registry import get_backend
from initspec.shape import check_count, check_shape

__all__ = ["PATH", "VARIABLE", "KerasInitializer"]

PATH = "{path}"  # stands for the path of the variable in a stream name
_COUNTING = threading.Lock()
# Of layers' variables. In earlier releases of Keras 3 they are no keras.Variable, but of its base.
VARIABLE = next(each for each in reversed(keras.Variable.__mro__) if "assign" in vars(each))


# A VarianceScaling because EinsumDense (and so MultiHeadAttention) tells no other initializer which
# axes of its kernel are inputs and which are outputs. Its constructor and its call are not used.
@keras.saving.register_keras_serializable(package="initspec", name="Initializer")
class KerasInitializer(keras.initializers.VarianceScaling):  # type: ignore[misc]
    """An initspec initializer as a ``keras.initializers.Initializer``.

    Without a seed every call draws anew, under ``keras.utils.set_random_seed``. With a seed the
    weights of a variable are ``initializer(shape, seed=seed, name=variable.path)``: two layers
    that share the object differ, and a model that is built again, elsewhere or on another
    framework, is the same. Paths hold layer names. Keras numbers the layers that have none
    (``dense_7``) by what the process made before, so give layers a ``name``, or call
    ``keras.utils.clear_session()`` before the model is made. When Keras clones a wrapper such as
    Bidirectional it builds the inner layers first, on their own: their paths lack the wrapper.

    Args:
        initializer: an `Initializer`, or what `initspec.get` takes.
        seed: integer in ``[0, 2**64)``, or None.
        name: the stream's name; ``{path}`` in it stands for the path of the variable. Without
            ``{path}`` it is a name for one tensor: layers that copy their initializer, such as
            MultiHeadAttention, would fill all their kernels alike. When one object meets the same
            name again it appends ``#1``, ``#2``, ..., but not to the path of a variable: a model
            that is built again is the same. A clone counts anew.
        input_axes, output_axes: what Keras's EinsumDense passes, from Keras 3.15 on; before, its
            kernels need a layout. A layout takes precedence.
        **layout: layout, groups, blocks, stride, transposed, sizes, see `Layout.parse`; the
            default is Keras's convention for the rank.

    Raises:
        InitspecError: an argument that cannot be, as far as one can tell without a shape.
    """

    def __init__(
        self,
        initializer: Any,
        *,
        seed: int | None = None,
        name: str = PATH,
        input_axes: Iterable[int] | None = None,
        output_axes: Iterable[int] | None = None,
        **layout: Any,
    ) -> None:
        from initspec import stream  # noqa: PLC0415

        self.initializer: Initializer = get(initializer)
        self.seed = None if seed is None else stream.check_seed(seed)
        stream.name_words(name)
        self.name = name
        self.options = _checked(layout)
        # EinsumDense passes axes unless both are there: empty ones decline the offer.
        fixed = "layout" in self.options or not self.initializer.needs_fans
        self.input_axes = () if fixed else _axes(input_axes)
        self.output_axes = () if fixed else _axes(output_axes)
        self._calls: Counter[str] = Counter()

    def __call__(self, shape: Iterable[Any], dtype: Any = None, layout: Any = None) -> Any:
        """The tensor for a variable.

        Args:
            shape: fully known.
            dtype: ``keras.config.floatx()`` if None.
            layout: where Keras wants the tensor on its devices; no layout pattern.
        """
        site = _site()
        kind = check_dtype(keras.config.floatx() if dtype is None else dtype)
        if site.placeholder:  # only its shape is looked at, any number of times
            return keras.ops.zeros(shape, kind)
        backend = get_backend("keras")
        dims = check_shape(shape)
        # Everything is checked before a name is spent on it.
        plan = backend.outline(self.initializer, dims, kind, self._layout(len(dims)))
        if self.initializer.draws:
            plan = plan.with_keys(backend.keys(plan, self.seed, self._stream(site)))
        return backend.emit(plan, kind, _device(layout))

    def _layout(self, rank: int) -> LayoutOptions:
        """The layout that was given, else the one that EinsumDense told, else by rank."""
        inputs, outputs = self.input_axes or (), self.output_axes or ()
        if not inputs and not outputs:
            return self.options
        if max(inputs + outputs) >= rank:
            axes = {"input_axes": inputs, "output_axes": outputs}
            raise InitspecValueError("shape", axes, f"axes of a tensor of rank {rank}")
        letters = ("I" if n in inputs else "O" if n in outputs else "_" for n in range(rank))
        return {**self.options, "layout": "".join(letters)}

    def _stream(self, site: _Site) -> str:
        """The name for this call: a seed of its own needs none."""
        if self.seed is None:
            return ""
        name = self.name.replace(PATH, site.path)
        if site.variable and PATH in self.name:
            return name  # the model that is built again, in a notebook, is the same model
        with _COUNTING:
            count = self._calls[name]
            self._calls[name] += 1
        return f"{name}#{count}" if count else name

    def get_config(self) -> dict[str, Any]:
        """Plain data, from which `from_config` makes an equal object."""
        axes = {"input_axes": self.input_axes, "output_axes": self.output_axes}
        told = any(axes.values())
        return {
            "initializer": self.initializer.to_dict(),
            "seed": self.seed,
            "name": self.name,
            **({key: _plain(value) for key, value in axes.items()} if told else {}),
            **{key: _plain(value) for key, value in self.options.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> KerasInitializer:
        """The object of a configuration; unknown keys are errors."""
        return cls(**{"initializer": None, **config})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KerasInitializer) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(json.dumps(self.get_config(), sort_keys=True))

    def __repr__(self) -> str:
        given = {"seed": self.seed, "name": self.name, **self.options}
        words = ", ".join(f"{key}={value!r}" for key, value in given.items())
        return f"{type(self).__name__}({self.initializer!r}, {words})"


class _Site(NamedTuple):
    """From where Keras calls: the path, and whether it wants a mere stand-in for tracing."""

    path: str
    variable: bool
    placeholder: bool


def _site() -> _Site:
    """The variable that is being made, found on the stack: Keras passes no more than a shape.

    Its path is also right when Keras postpones initialisation and the layer's name scope is long
    closed. A call from outside a variable gets the path of the name scope.
    """
    frame = inspect.currentframe()
    while frame is not None:
        code = frame.f_code
        if "self" in code.co_varnames or "self" in code.co_freevars:
            owner = frame.f_locals.get("self")
            if isinstance(owner, VARIABLE):
                return _Site(owner.path, True, code.co_name == "value")
        frame = frame.f_back
    return _Site(_scope(), False, False)


def _device(layout: Any) -> Any:
    """What the framework's adapter takes as a device, of a layout from ``keras.distribution``."""
    layout = getattr(layout, "backend_layout", layout)  # a TensorLayout holds the framework's own
    if layout is not None and keras.backend.backend() == "jax":
        import jax  # noqa: PLC0415

        # Keras calls under an abstract mesh, which says nothing of devices; the real one is set.
        if isinstance(getattr(layout, "mesh", None), jax.sharding.AbstractMesh):
            return jax.sharding.NamedSharding(jax.sharding.get_mesh(), layout.spec)
    return layout


def _scope() -> str:
    try:
        from keras.src.backend.common.name_scope import current_path  # noqa: PLC0415
    except ImportError:  # it is not public: then such a call has no path
        return ""
    return str(current_path())


def _checked(layout: Mapping[str, Any]) -> LayoutOptions:
    """Layout keywords that can be saved with a model."""
    options = check_options(layout)
    if isinstance(options.get("layout"), Layout):
        expected = "a pattern string: it is saved with the model"
        raise InitspecTypeError("layout", options["layout"], expected, "For example 'HWIO'.")
    return options


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _axes(axes: Iterable[int] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(check_count(n, "axis", minimum=0) for n in axes)
