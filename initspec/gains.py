"""Gains: the factor that keeps a signal's size through an activation, for any activation.

A named activation is one row of data. Its moments under a standard normal input come from one
adaptive quadrature, so that adding an activation never needs a formula worked out by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .errors import InitspecTypeError, InitspecValueError, did_you_mean

__all__ = ["gain"]

_Array = NDArray[np.float64]
_Function = Callable[[_Array], _Array]
_Integrand = Callable[[_Array, _Array], _Array]  # (values, half panel widths) -> integrand

_REACH = 12.0  # the normal density beyond is below 1e-31
_NODES = 16  # Gauss-Legendre nodes in a panel
_DEPTH = 36  # halvings of a panel of width 1: narrower ones have no room for _NODES floats
_PANELS = 16384  # beyond that many open panels the function is noise, or oscillates too fast
_ULPS = 64  # how far a panel and its halves may differ, in units of the values' precision
_RESIDUE = 1e-8  # what all panels left open may add up to, relative to the result
_SMALLEST, _LARGEST = 2.0**-10, 16.0  # where a fixed point is looked for
_FLAT = 1e-9  # E[f^2] nearer to 1 than this has no sign that can be trusted

# --- the activations -----------------------------------------------------------------------------

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


@dataclass(frozen=True, slots=True)
class _Row:
    """An activation f(z, p); kinks (in multiples of p if ``scaled``) are where f' or f jumps."""

    function: Callable[[_Array, float], _Array]
    kinks: tuple[float, ...] = ()
    default: float | None = None
    lowest: float = -math.inf  # p must be above
    scaled: bool = False


def _erf(z: _Array) -> _Array:
    return np.array([math.erf(x) for x in z.tolist()])


def _sigmoid(z: _Array) -> _Array:
    return 0.5 + 0.5 * np.tanh(0.5 * z)  # this form cannot overflow


def _softplus(z: _Array) -> _Array:
    return np.logaddexp(0.0, z)


def _elu(z: _Array, alpha: float) -> _Array:
    return np.maximum(z, 0.0) + alpha * np.expm1(np.minimum(z, 0.0))


def _celu(z: _Array, alpha: float) -> _Array:
    return np.maximum(z, 0.0) + alpha * np.expm1(np.minimum(z, 0.0) / alpha)


def _gelu_tanh(z: _Array) -> _Array:
    return z * _sigmoid(math.sqrt(8.0 / math.pi) * (z + 0.044715 * z**3))


def _hard_sigmoid(z: _Array) -> _Array:
    return np.clip(z / 6.0 + 0.5, 0.0, 1.0)


# Slope for negative z of the homogeneous ones, whose gains are closed forms.
_SLOPES = {"linear": 1.0, "relu": 0.0, "abs": -1.0, "leaky_relu": 0.01, "prelu": 0.25}
_SLOPE_IS_PARAM = frozenset({"leaky_relu", "prelu"})

_ROWS: dict[str, _Row] = {
    "relu6": _Row(lambda z, p: np.clip(z, 0.0, 6.0), (0.0, 6.0)),
    "relu_squared": _Row(lambda z, p: np.maximum(z, 0.0) ** 2, (0.0,)),
    "tanh": _Row(lambda z, p: np.tanh(z)),
    "sigmoid": _Row(lambda z, p: _sigmoid(z)),
    "elu": _Row(_elu, (0.0,), 1.0),
    "celu": _Row(_celu, (0.0,), 1.0, lowest=0.0),
    "selu": _Row(lambda z, p: _SELU_SCALE * _elu(z, _SELU_ALPHA), (0.0,)),
    "gelu": _Row(lambda z, p: 0.5 * z * (1.0 + _erf(z / math.sqrt(2.0)))),
    "gelu_tanh": _Row(lambda z, p: _gelu_tanh(z)),
    "quick_gelu": _Row(lambda z, p: z * _sigmoid(p * z), (), 1.702),
    "silu": _Row(lambda z, p: z * _sigmoid(p * z), (), 1.0),
    "hard_swish": _Row(lambda z, p: z * _hard_sigmoid(z), (-3.0, 3.0)),
    "mish": _Row(lambda z, p: z * np.tanh(_softplus(z))),
    "softplus": _Row(lambda z, p: _softplus(p * z) / p, (), 1.0, lowest=0.0),
    "log_sigmoid": _Row(lambda z, p: -_softplus(-z)),
    "squareplus": _Row(lambda z, p: 0.5 * (z + np.sqrt(z * z + p)), (), 4.0, lowest=0.0),
    "softsign": _Row(lambda z, p: z / (1.0 + np.abs(z)), (0.0,)),
    "hardtanh": _Row(lambda z, p: np.clip(z, -1.0, 1.0), (-1.0, 1.0)),
    "hard_sigmoid": _Row(lambda z, p: _hard_sigmoid(z), (-3.0, 3.0)),
    "erf": _Row(lambda z, p: _erf(z)),
    "arctan": _Row(lambda z, p: np.arctan(z)),
    "sin": _Row(lambda z, p: np.sin(p * z), (), 1.0),
    "cos": _Row(lambda z, p: np.cos(p * z), (), 1.0),
    "snake": _Row(lambda z, p: z + np.sin(p * z) ** 2 / p, (), 1.0, lowest=0.0),
    "gaussian": _Row(lambda z, p: np.exp(-z * z)),
    "exponential": _Row(lambda z, p: np.exp(z)),
    "tanhshrink": _Row(lambda z, p: z - np.tanh(z)),
    "softshrink": _Row(
        lambda z, p: z - np.clip(z, -p, p), (-1.0, 1.0), 0.5, lowest=0.0, scaled=True
    ),
    "hardshrink": _Row(
        lambda z, p: np.where(np.abs(z) > p, z, 0.0), (-1.0, 1.0), 0.5, lowest=0.0, scaled=True
    ),
}

_CONVOLUTIONS = [f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)]
_ALIASES: dict[str, str] = {
    **dict.fromkeys(["identity", *_CONVOLUTIONS], "linear"),
    "lrelu": "leaky_relu",
    **dict.fromkeys(["squared_relu", "relu2"], "relu_squared"),
    "logistic": "sigmoid",
    **dict.fromkeys(["gelu_erf", "gelu_exact"], "gelu"),
    **dict.fromkeys(["gelu_new", "gelu_approximate", "gelu_pytorch_tanh"], "gelu_tanh"),
    "swish": "silu",
    "hard_silu": "hard_swish",
    "atan": "arctan",
    "sine": "sin",
    "cosine": "cos",
    "exp": "exponential",
    "tanh_shrink": "tanhshrink",
}
_NAMES = sorted([*_SLOPES, *_ROWS])

# torch.nn.init.calculate_gain; None: leaky_relu, whose slope is the parameter.
_TORCH: dict[str, float | None] = {
    **dict.fromkeys(["linear", *_CONVOLUTIONS, "sigmoid"], 1.0),
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "leaky_relu": None,
    "selu": 3.0 / 4.0,
}


def _unspaced(name: str) -> str:
    return "".join(c for c in name.lower() if c not in "_- ")


_LOOKUP = {_unspaced(k): v for k, v in {**_ALIASES, **{n: n for n in _NAMES}}.items()}


# --- quadrature ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is measured: f(stretch z), where f is known to have kinks, and what errors call it."""

    shown: object
    function: _Function
    kinks: tuple[float, ...] = ()
    stretch: float = 1.0

    def refusal(self, expected: str, advice: str = "") -> InitspecValueError:
        return InitspecValueError("activation", self.shown, expected, advice)

    def values(self, z: _Array) -> NDArray[np.generic]:
        """The function at z, refused unless it is a real, finite array of the same shape."""
        found = np.asarray(self.function(self.stretch * z))  # a new array: f may work in place
        if found.shape != z.shape:
            raise self.refusal(f"an elementwise function (shape {z.shape} became {found.shape})")
        if found.dtype.kind not in "fiub" or found.dtype == np.float16:
            rule = f"a function with float64 or float32 values, not {found.dtype}"
            raise InitspecTypeError("activation", self.shown, rule)
        if not np.isfinite(found).all():
            worst = self.stretch * float(z[~np.isfinite(found)][0])
            raise self.refusal(f"a function that is finite (it is not at z = {worst:.6g})")
        return found


@lru_cache(maxsize=1)
def _rule() -> tuple[_Array, _Array, _Array]:
    """Gauss-Legendre nodes, weights, and the matrix that differentiates the interpolant there."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    barycentric = np.sqrt((1.0 - x * x) * w) * (-1.0) ** np.arange(_NODES)
    gaps = x[:, None] - x + np.eye(_NODES)
    slopes = barycentric / barycentric[:, None] / gaps
    np.fill_diagonal(slopes, 0.0)
    np.fill_diagonal(slopes, -slopes.sum(axis=1))
    return x, w, slopes


def _tolerance(subject: _Subject) -> float:
    """Refining below the precision of a float32 function's values would chase noise."""
    kind = subject.values(np.array([-0.5, 0.0, 0.5])).dtype
    return _ULPS * float(np.finfo(np.float32 if kind == np.float32 else np.float64).eps)


def _panels(subject: _Subject, integrand: _Integrand, lo: _Array, hi: _Array) -> _Array:
    """Integral of the integrand against the normal density over each panel [lo, hi]."""
    x, w, _ = _rule()
    half = 0.5 * (hi - lo)
    z = 0.5 * (lo + hi)[:, None] + half[:, None] * x
    values = subject.values(z.ravel()).astype(np.float64).reshape(z.shape)
    heights = integrand(values, half) * np.exp(-0.5 * z * z)
    sums: _Array = half / math.sqrt(math.tau) * (heights @ w)
    return sums


@np.errstate(all="ignore")  # what overflows is refused by value, here or by the callers
def _integrate(subject: _Subject, integrand: _Integrand) -> tuple[float, float]:
    """The expectation of the integrand, and how much of it lies beyond |z| = 11.

    Panels break at the integers and the known kinks, and are halved until both halves agree with
    the whole, which closes in on the kinks that nobody told.
    """
    inside = [k / subject.stretch for k in subject.kinks if abs(k) < _REACH * subject.stretch]
    edges = np.unique([*np.arange(-_REACH, _REACH + 1.0), *inside])
    lo, hi = edges[:-1], edges[1:]
    whole = _panels(subject, integrand, lo, hi)
    scale = float(np.abs(whole).sum())
    tail = float(np.abs(whole[np.minimum(np.abs(lo), np.abs(hi)) >= _REACH - 1.0]).sum())
    limit, total = _tolerance(subject), 0.0
    for _ in range(_DEPTH):
        mid = 0.5 * (lo + hi)
        left, right = _panels(subject, integrand, lo, mid), _panels(subject, integrand, mid, hi)
        error = np.abs(left + right - whole)
        split = error > limit * scale
        total += float((left + right)[~split].sum())
        lo, hi = np.append(lo[split], mid[split]), np.append(mid[split], hi[split])
        whole = np.append(left[split], right[split])
        if not 0 < lo.size <= _PANELS:
            break
    if error[split].sum() > max(_RESIDUE, 8.0 * limit) * scale:
        advice = "It oscillates too fast, is noisy, or jumps (then it has no derivative)."
        raise subject.refusal("a function whose moments converge under quadrature", advice)
    return total + float(whole.sum()), tail


def _expect(subject: _Subject, integrand: _Integrand) -> float:
    total, tail = _integrate(subject, integrand)
    if tail > 1e-9 * abs(total) > 0.0:
        advice = "It grows too fast, or is zero wherever a normal variable is likely."
        raise subject.refusal("a function whose moments |z| > 11 does not decide", advice)
    return total


# --- the conventions -----------------------------------------------------------------------------


def _square(values: _Array, half: _Array) -> _Array:
    return values * values


def _squared_slope(values: _Array, half: _Array) -> _Array:
    """The interpolant's derivative, squared; taking one value off makes flat panels exactly 0."""
    slopes = (values - values[:, :1]) @ _rule()[2].T / half[:, None]
    return np.square(slopes)


def _inverse_root(subject: _Subject, moment: float, what: str) -> float:
    if not 1e-300 < moment < math.inf:
        raise subject.refusal(f"a function with a {what} that is neither zero nor infinite")
    return 1.0 / math.sqrt(moment)


def _second_moment(subject: _Subject) -> float:
    return _inverse_root(subject, _expect(subject, _square), "second moment")


def _backward(subject: _Subject) -> float:
    return _inverse_root(subject, _expect(subject, _squared_slope), "mean squared derivative")


def _centred(subject: _Subject) -> float:
    mean, _ = _integrate(subject, lambda values, half: values)
    variance = _expect(subject, lambda values, half: np.square(values - mean))
    if variance <= 1e-24 * mean * mean:  # a constant, but for the rounding of its mean
        variance = 0.0
    return _inverse_root(subject, variance, "variance")


def _fixed_point(subject: _Subject) -> float:
    def excess(sigma: float) -> float:
        return _integrate(replace(subject, stretch=sigma), _square)[0] - 1.0

    below, sign = 0.0, 0.0
    for sigma in np.geomspace(_SMALLEST, _LARGEST, 57).tolist():
        found = excess(sigma)
        if abs(found) < _FLAT:
            continue
        if found * sign < 0.0:
            root = _bisect(excess, below, sigma, sign)
            _expect(replace(subject, stretch=root), _square)  # refuses a root that the tails made
            return root
        below, sign = sigma, math.copysign(1.0, found)
    rule = f"a function with E[f(s z)^2] = 1 for some {_SMALLEST:.3g} < s < {_LARGEST:.3g}"
    advice = "Bounded ones may have none; convention='second_moment' always exists."
    raise subject.refusal(rule, advice)


def _bisect(excess: Callable[[float], float], low: float, high: float, sign: float) -> float:
    """The root of excess, which has that sign at low and the other one at high."""
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if excess(middle) * sign > 0.0 else (low, middle)
    return middle


_RULES: dict[str, Callable[[_Subject], float]] = {
    "second_moment": _second_moment,
    "centred": _centred,
    "fixed_point": _fixed_point,
    "backward": _backward,
}


def _round(value: float) -> float:
    return float(f"{value:.11e}")  # twelve digits: the last bits of libm differ by platform


def _homogeneous(slope: float, convention: str) -> float:
    """Closed forms for relu and its kin: sqrt(2 / (1 + a^2)), but the variance loses the mean."""
    if convention == "centred":
        return 1.0 / math.sqrt((1.0 + slope * slope) / 2.0 - (1.0 - slope) ** 2 / math.tau)
    return math.sqrt(2.0 / (1.0 + slope * slope))


@lru_cache(maxsize=1024)
def _named(name: str, param: float, convention: str) -> float:
    if name in _SLOPES:
        return _homogeneous(param, convention)
    row = _ROWS[name]
    shown = name if row.default is None else f"{name}({param:g})"
    kinks = tuple(kink * param for kink in row.kinks) if row.scaled else row.kinks
    return _round(_RULES[convention](_Subject(shown, lambda z: row.function(z, param), kinks)))


# --- arguments -----------------------------------------------------------------------------------


def _unknown(where: str, given: object, known: list[str], advice: str = "") -> InitspecValueError:
    hint = advice or did_you_mean(str(given).lower(), known)
    return InitspecValueError(where, given, f"one of {', '.join(known)}", hint)


def _param(name: str, param: float | None, default: float | None, lowest: float) -> float:
    """The parameter of the named activation, or its default, validated."""
    if param is None:
        return 0.0 if default is None else default
    if isinstance(param, bool) or not isinstance(param, int | float | np.integer | np.floating):
        raise InitspecTypeError("param", param, "a real number or None")
    if default is None:
        raise InitspecValueError("param", param, f"None: {name} has no parameter")
    value = param if isinstance(param, int) else float(param)  # an int may be too big for float()
    if not (abs(value) <= 1e100 and value > lowest):
        rule = "" if lowest == -math.inf else f" above {lowest:g}"
        raise InitspecValueError("param", param, f"a finite number{rule} for {name}")
    return float(value)


def _of_name(activation: str, param: float | None, convention: str) -> float:
    name = _LOOKUP.get(_unspaced(activation))
    if name is None:
        raise _unknown("activation", activation, _NAMES)
    if name in _ROWS:
        row = _ROWS[name]
        return _named(name, _param(name, param, row.default, row.lowest), convention)
    if param is None:
        return _named(name, _SLOPES[name], convention)
    slope = _param(name, param, 0.0 if name in _SLOPE_IS_PARAM else None, -math.inf)
    return _named(name, slope, convention)


def _of_torch(name: str, param: float | None) -> float:
    if name not in _TORCH:
        advice = "The other conventions know it." if _unspaced(name) in _LOOKUP else ""
        raise _unknown("activation", name, list(_TORCH), advice)
    value = _TORCH[name]
    slope = _param(name, param, 0.01 if value is None else None, -math.inf)
    return _homogeneous(slope, "second_moment") if value is None else value


def _of_callable(activation: _Function, param: float | None, convention: str) -> float:
    if not callable(activation):
        raise InitspecTypeError("activation", activation, "a name or an elementwise function")
    if param is not None:
        raise InitspecValueError("param", param, "None: the activation is a function")
    if convention == "torch":
        raise InitspecValueError("activation", activation, "a name: convention 'torch' is a table")
    return _round(_RULES[convention](_Subject(activation, activation)))


def gain(
    activation: str | Callable[[NDArray[np.float64]], NDArray[np.float64]],
    param: float | None = None,
    *,
    convention: str = "second_moment",
) -> float:
    """Return the factor that a weight's standard deviation needs to keep the signal's size.

    With z standard normal and f the activation, weights of std ``gain / sqrt(fan_in)``::

        second_moment   1 / sqrt(E[f(z)^2])      He's rule, for any f
        centred         1 / sqrt(Var[f(z)])      a batch normalisation's view
        fixed_point     s > 0 with E[f(s z)^2] = 1: where layer after layer settles
        backward        1 / sqrt(E[f'(z)^2])     for the gradient; f' almost everywhere
        torch           the table of torch.nn.init.calculate_gain, as it is

    They agree for relu and its leaky kin (but for ``centred``), which have closed forms. Others
    come from quadrature and are rounded to 12 significant digits, so that they are the same on
    every platform whatever the last bit of its exp and tanh.

    Args:
        activation: a name in any spelling ("LeakyReLU", "leaky_relu"), or an elementwise function
            from a 1-D float64 array to an array of its shape. It is smooth or has a few kinks or
            jumps, and no feature narrower than about 0.05; float32 values make a float32 result.
            "gelu" is the erf form (jax.nn.gelu is "gelu_tanh"), "hard_sigmoid" is z/6 + 1/2.
        param: slope of leaky_relu (0.01) and prelu (0.25), alpha of elu and celu (1), beta of
            silu, softplus (1) and quick_gelu (1.702), frequency of sin, cos and snake (1),
            threshold of softshrink and hardshrink (0.5), b of squareplus (4).
        convention: one of the five above.

    Returns:
        The gain, finite and positive.

    Raises:
        InitspecTypeError: an argument, or what the function returns, has the wrong type.
        InitspecValueError: an unknown name or convention; a parameter that is not finite, out of
            range, or of an activation without one; a function that changes the shape, is not
            finite, or has no such moment; ``fixed_point`` without a root between 1/1024 and 16,
            as for tanh (the smallest root counts); a name that torch's table lacks.

    Example:
        >>> gain("gelu"), gain("gelu", convention="backward")
        (1.5335304412, 1.48111441271)
        >>> gain("leaky_relu", 1.0), gain(lambda z: z * abs(z))
        (1.0, 0.57735026919)

    Sources: He et al. 2015 (arXiv 1502.01852); Glorot and Bengio 2010; Klambauer et al. 2017 for
    selu; pytorch/pytorch issue 24991: torch's 5/3 and 3/4 are empirical.
    """
    known = [*_RULES, "torch"]
    if convention not in known:
        raise _unknown("convention", convention, known)
    if not isinstance(activation, str):
        return _of_callable(activation, param, convention)
    if convention == "torch":
        return _of_torch(activation, param)
    return _of_name(activation, param, convention)
