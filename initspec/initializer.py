"""Initializer: a frozen value that says distribution, scale, mode and truncation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from numbers import Real
from typing import Any, Unpack

from . import registry
from .description import Description, describe
from .draw import FARTHEST
from .errors import InitspecTypeError, InitspecValueError, did_you_mean
from .fans import RULES
from .fill_plan import FillPlan
from .law import law
from .layout import Geometry, Layout, LayoutOptions, resolve
from .shape import check_shape

__all__ = ["DISTRIBUTIONS", "FIELDS", "FORMAT", "MODES", "NUMBERS", "Initializer"]

FORMAT = 1  # of the serialised form
MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
_SCALING = ("mode", "scale", "gain", "fan", "fan_rule")
FIELDS: dict[str, tuple[str, ...]] = {
    "normal": (*_SCALING, "std", "mean"),
    "truncated_normal": (*_SCALING, "std", "mean", "low", "high", "absolute", "compensate"),
    "uniform": (*_SCALING, "low", "high"),
    "constant": ("value",),
    "identity": ("gain",),
    "dirac": ("gain",),
    "bilinear": (),
    "orthogonal": ("gain",),
    "delta_orthogonal": ("gain",),
    "sparse": ("std", "sparsity", "per"),
}
DISTRIBUTIONS = tuple(FIELDS)


@dataclass(frozen=True, kw_only=True, repr=False)
class Initializer:
    """A rule for making a weight tensor; call it with a shape.

    ``std = gain * sqrt(scale / n)`` with ``n`` the fan that ``mode`` names, or an absolute ``std``.

    Args:
        distribution: normal, truncated_normal, uniform, constant, identity, dirac, bilinear,
            orthogonal, delta_orthogonal or sparse.
        mode: fan_in, fan_out, fan_avg, fan_geo_avg; None for an absolute ``std`` or interval.
        scale: numerator of the variance.
        gain: factor of the standard deviation; see `initspec.gain`.
        fan: use this number instead of the fan computed from the shape.
        fan_rule: ``true``, or ``torch``, ``keras``, ``jax`` to count fans as that framework does.
        std, mean: of a normal distribution.
        low, high: ends of a uniform interval; of a truncated normal, in sigmas.
        absolute: the bounds of a truncated normal are values, not sigmas.
        compensate: ``std`` is that after truncation, not before.
        value: of a constant.
        sparsity: share of zeros, for each unit of ``per`` ("output" or "input").

    Raises:
        InitspecValueError, InitspecTypeError: at construction, for any field that cannot be.

    Example:
        >>> init = Initializer(distribution="normal", std=0.02)
        >>> init((3, 4), seed=0).shape
        (3, 4)
        >>> init.replace(std=0.01).std
        0.01
    """

    distribution: str
    mode: str | None = None
    scale: float = 1.0
    gain: float = 1.0
    fan: float | None = None
    fan_rule: str = "true"
    std: float | None = None
    mean: float = 0.0
    low: float | None = None
    high: float | None = None
    absolute: bool = False
    compensate: bool = False
    value: float = 0.0
    sparsity: float | None = None
    per: str = "output"

    def __post_init__(self) -> None:
        _choice("distribution", self.distribution, DISTRIBUTIONS)
        for name in NUMBERS:
            number = getattr(self, name)
            if number is not None or _DEFAULTS[name] is not None:
                object.__setattr__(self, name, _finite(name, number))
        if self.mode is not None:
            _choice("mode", self.mode, MODES)
        _choice("fan_rule", self.fan_rule, tuple(RULES))
        _choice("per", self.per, _UNITS)
        for name in ("absolute", "compensate"):
            if not isinstance(getattr(self, name), bool):
                raise InitspecTypeError(name, getattr(self, name), "True or False")
        self._check_applicable()
        self._check_ranges()
        self._check_bounds()

    def _check_applicable(self) -> None:
        allowed = FIELDS[self.distribution]
        for name, value in self._given().items():
            if name not in ("distribution", *allowed):
                raise InitspecValueError(
                    name, value, f"no such field for {self.distribution!r}: it has {allowed}"
                )
        scaled = self.mode is not None
        if not scaled and self.distribution in ("normal", "truncated_normal", "sparse"):
            self._require("std")
        if self.distribution == "uniform" and not scaled:
            self._require("low", "high")
        if self.distribution == "sparse":
            self._require("sparsity")
        if scaled and self.std is not None:
            raise InitspecValueError("std", self.std, "None together with a mode", "Use scale=.")
        if not scaled and "mode" in allowed:
            self._refuse_scaling()

    def _refuse_scaling(self) -> None:
        for name in _SCALING:
            if name in self._given():
                advice = "Give a mode, or multiply the numbers yourself."
                expected = "its default: without a mode it has no effect"
                raise InitspecValueError(name, getattr(self, name), expected, advice)

    def _require(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is None:
                raise InitspecValueError(name, None, f"a number for {self.distribution!r}")

    def _check_ranges(self) -> None:
        for name in ("scale", "gain", "std"):
            number = getattr(self, name)
            if number is not None and number < 0:
                raise InitspecValueError(name, number, "a number that is not negative")
        if self.fan is not None and self.fan <= 0:
            raise InitspecValueError("fan", self.fan, "a positive number")
        if self.sparsity is not None and not 0 <= self.sparsity <= 1:
            raise InitspecValueError("sparsity", self.sparsity, "a share in [0, 1]")

    def _check_bounds(self) -> None:
        low, high = self.low, self.high
        if self.distribution == "uniform" and self.mode and (low is not None or high is not None):
            raise InitspecValueError("low, high", (low, high), "None together with a mode")
        if low is not None and high is not None:
            wide = low <= high if self.distribution == "uniform" else low < high
            if not wide:
                raise InitspecValueError("low, high", (low, high), "low below high", "Swap them.")
        if self.distribution != "truncated_normal":
            return
        if low is None and high is None:
            raise InitspecValueError("low, high", (low, high), "a bound", "Or use 'normal'.")
        if self.absolute and (self.mode or self.compensate):
            raise InitspecValueError(
                "absolute", True, "False together with a mode or compensate", "Give sigmas."
            )
        reach = [abs(bound) for bound in (low, high) if bound is not None]
        if not self.absolute and max(reach) > FARTHEST:
            advice = "Bounds are in sigmas; for values pass absolute=True."
            expected = f"bounds that act: no draw lies beyond {FARTHEST} sigma"
            raise InitspecValueError("low, high", (low, high), expected, advice)

    # --- use ----------------------------------------------------------------------------------

    def __call__(
        self,
        shape: Iterable[Any] | None = None,
        *,
        backend: str | None = None,
        dtype: Any = None,
        device: Any = None,
        seed: Any = None,
        name: str = "",
        out: Any = None,
        **layout: Unpack[LayoutOptions],
    ) -> Any:
        """Make the tensor: the same logical values in every framework, layout and dtype.

        Args:
            shape: the stored shape; may be left out with ``out``.
            backend: numpy (default), torch, tensorflow, jax, or a third party's name.
            dtype: float32 (default), float64, bfloat16 or float16, by name or as any
                framework's object.
            device: the framework's device; its default if None.
            seed: integer in ``[0, 2**64)``; None draws a fresh one, from the framework's global
                generator where it has one.
            name: the parameter's name; tensors of one seed and different names are independent.
            out: a tensor of the framework to write into (any strides), instead of a new one.
            **layout: layout, groups, blocks, stride, transposed, sizes, see `Layout.parse`. The
                default layout is the framework's convention for the rank.

        Returns:
            A tensor of the framework, or ``out``.

        Raises:
            InitspecError: bad input; nothing has been written then.

        Example:
            >>> import initspec
            >>> a = initspec.he_normal((8, 4), layout="OI", seed=0, name="fc")
            >>> b = initspec.he_normal((4, 8), layout="IO", seed=0, name="fc")
            >>> bool((a == b.T).all())
            True
        """
        chosen = registry.choose(backend, out)
        return chosen.draw(
            self, shape, dtype=dtype, device=device, seed=seed, name=name, out=out, layout=layout
        )

    def bind(self, backend: str, **options: Any) -> Any:
        """The initializer as the framework's own kind of object.

        ``torch``: ``f(tensor, *, generator=None, seed=None, name="")`` in place; ``jax``: ``f(key,
        shape, dtype, out_sharding)``; ``keras``: a serialisable
        ``keras.initializers.Initializer``; ``tensorflow``: ``f(shape, dtype=None)``.
        Layout keywords are given here, once.
        """
        return registry.get_backend(backend).bind(self, **options)

    def plan(
        self,
        shape: Iterable[Any],
        *,
        keys: tuple[tuple[Any, Any], ...] | None = None,
        convention: str = "IO",
        **layout: Unpack[LayoutOptions],
    ) -> FillPlan:
        """Everything a backend needs to make the tensor; allocates nothing.

        ``keys``: one per named block, else one; zeros if None.
        """
        geometry = self.geometry(shape, convention, layout)
        if keys is None:
            keys = ((0, 0),) * max(1, len(geometry.layout.blocks))
        return FillPlan(geometry, law(self, geometry).content, keys)

    def geometry(self, shape: Iterable[Any], convention: str, layout: LayoutOptions) -> Geometry:
        """The stored shape with its layout."""
        dims = check_shape(shape)
        return resolve(layout, len(dims), convention, fans=self.needs_fans).bind(dims)

    @property
    def needs_fans(self) -> bool:
        """Whether the shape's roles must be known: fans, or rows and columns."""
        plain = self.distribution in ("normal", "truncated_normal", "uniform", "constant")
        return not plain or (self.mode is not None and self.fan is None)

    @property
    def draws(self) -> bool:
        """Whether a seed is needed at all."""
        return self.distribution not in ("constant", "identity", "dirac", "bilinear")

    def describe(
        self,
        shape: Iterable[Any],
        layout: str | Layout | None = None,
        *,
        convention: str = "IO",
        **options: Any,
    ) -> Description:
        """Fans, mean, std, bounds, kurtosis and formula for a shape; allocates nothing.

        >>> import initspec
        >>> initspec.he_normal.describe((3, 3, 64, 128), "HWIO").fan_in
        576
        """
        options["layout"] = layout
        geometry = self.geometry(shape, convention, options)  # type: ignore[arg-type]
        return describe(self, geometry)

    # --- variation and serialisation ----------------------------------------------------------

    def replace(self, **changes: Any) -> Initializer:
        """A copy with other fields."""
        known = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in known:
                raise InitspecTypeError(
                    name, value, f"a field: one of {known}", did_you_mean(name, known)
                )
        return Initializer(**{**self._given(), **changes})

    def _given(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {
            name: getattr(self, name)
            for name, default in _DEFAULTS.items()
            if getattr(self, name) != default
        }

    def __repr__(self) -> str:
        return f"Initializer({', '.join(f'{k}={v!r}' for k, v in self._given().items())})"

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary that `from_dict` reads back without loss."""
        return {"initspec": FORMAT, **self._given()}

    @classmethod
    def from_dict(cls, data: Any) -> Initializer:
        """The initializer of a dictionary from `to_dict`; unknown keys are errors."""
        if not isinstance(data, Mapping):
            raise InitspecTypeError("initializer", data, "a dictionary from to_dict()")
        known = [field.name for field in fields(cls)]
        given = {key: value for key, value in data.items() if key != "initspec"}
        for key, value in given.items():
            if key not in known:
                raise InitspecValueError(
                    str(key), value, f"one of the keys {known}", did_you_mean(key, known)
                )
        if data.get("initspec", FORMAT) != FORMAT or isinstance(data.get("initspec"), bool):
            advice = "A newer initspec wrote it: upgrade."
            raise InitspecValueError("initspec", data["initspec"], f"format {FORMAT}", advice)
        if "distribution" not in given:
            raise InitspecValueError("distribution", None, f"one of {DISTRIBUTIONS}")
        return cls(**given)

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Initializer:
        """The initializer of a JSON text; duplicate keys, NaN and infinities are errors."""
        try:
            data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, TypeError, RecursionError) as error:
            if isinstance(error, (InitspecValueError, InitspecTypeError)):
                raise
            raise InitspecValueError("initializer", text, f"JSON text ({error})") from error
        return cls.from_dict(data)


_UNITS = ("output", "input")


# Plain values, worked out once, so that torch.compile can trace what an initializer does.
_DEFAULTS = {
    field.name: None if field.default is MISSING else field.default for field in fields(Initializer)
}
NUMBERS = tuple(field.name for field in fields(Initializer) if "float" in str(field.type))


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise InitspecTypeError(name, value, f"one of {choices}")
    if value not in choices:
        raise InitspecValueError(name, value, f"one of {choices}", did_you_mean(value, choices))


def _hint(name: str, value: Any) -> str:
    """What somebody who passes this probably wants."""
    if isinstance(value, (tuple, list)):
        return "For a tensor, call the initializer that is returned: orthogonal()((3, 3))."
    if name == "gain" and (isinstance(value, str) or callable(value)):
        return f"Pass the number: initspec.gain({value!r})."
    return "Traced values are not supported."


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InitspecTypeError(name, value, "a real number", _hint(name, value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InitspecValueError(name, value, "a finite number")
    return number + 0.0  # -0.0 equals 0.0, so a cache could not tell them apart


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InitspecValueError("initializer", key, "every key once")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise InitspecValueError("initializer", text, "finite numbers")
