"""Functions that make an `Initializer` from its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .gains import gain as gain_of
from .initializer import Initializer

__all__ = [
    "constant",
    "identity",
    "normal",
    "orthogonal",
    "sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
]


def variance_scaling(
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    *,
    low: float | None = None,
    high: float | None = None,
    compensate: bool = True,
    gain: float | str | Callable[..., Any] = 1.0,
    fan: float | None = None,
    fan_rule: str = "true",
) -> Initializer:
    """Zero mean and ``std = gain * sqrt(scale / n)``, n the fan that ``mode`` names.

    Args:
        scale: numerator of the variance: 1 for LeCun and Glorot, 2 for He.
        mode: ``fan_in``, ``fan_out``, ``fan_avg`` or ``fan_geo_avg``.
        distribution: ``truncated_normal``, ``normal`` or ``uniform``.
        low, high: bounds of the truncated normal in sigmas, -2 and 2 when neither is given; None
            for one of them leaves that side open.
        compensate: the std is that of the truncated result, not of the normal before the cut.
        gain: a factor, or an activation (a name or a function) whose gain is taken.
        fan: a number to use instead of the fan computed from the shape.
        fan_rule: ``true``, or ``torch``, ``keras``, ``jax`` to count fans as that framework does.

    Returns:
        An `Initializer`: normal (unbounded), truncated normal, or uniform on
        ``+-sqrt(3) * std``.

    Raises:
        InitspecValueError, InitspecTypeError: a parameter is out of range or unknown.

    Example:
        >>> variance_scaling(2.0, "fan_in", "uniform").describe((256, 128), "IO").high
        0.15309310892394862

    Source: He et al. 2015; `jax.nn.initializers.variance_scaling`.
    """
    bounds: dict[str, Any] = {}
    if distribution == "truncated_normal":
        if low is None and high is None:
            low, high = -2.0, 2.0
        bounds = {"compensate": compensate}
    factor = gain_of(gain) if isinstance(gain, str) or callable(gain) else gain
    return Initializer(
        distribution=distribution,
        scale=scale,
        mode=mode,
        low=low,
        high=high,
        gain=factor,
        fan=fan,
        fan_rule=fan_rule,
        **bounds,
    )


def normal(std: float = 1.0, mean: float = 0.0) -> Initializer:
    """Normal: ``N(mean, std**2)``, not truncated.

    Args:
        std: standard deviation, not negative.
        mean: mean.

    Returns:
        An `Initializer` of normal values; no draw lies beyond 6.338 std.

    Raises:
        InitspecValueError: a negative or non-finite parameter.

    Example:
        >>> normal(0.02).describe((4, 4)).std
        0.02

    Source: definition; GPT-2 uses 0.02.
    """
    return Initializer(distribution="normal", std=std, mean=mean)


def truncated_normal(
    std: float = 1.0,
    low: float | None = -2.0,
    high: float | None = 2.0,
    *,
    mean: float = 0.0,
    compensate: bool = False,
    absolute: bool = False,
) -> Initializer:
    """Normal ``N(mean, std**2)`` restricted to ``mean + [low, high] * std``.

    Args:
        std: standard deviation before truncation; after it, with ``compensate``.
        low, high: bounds in sigmas; None leaves a side open.
        mean: mean before truncation; after it, with ``compensate``.
        compensate: widen (and shift) so that the result has ``std`` and ``mean``.
        absolute: the bounds are values instead of sigmas, as in `torch.nn.init.trunc_normal_`.

    Returns:
        An `Initializer` of values within the bounds: to the last bit in float64 and where bounds
        are powers of two, otherwise but for the rounding of the factor to float32.

    Raises:
        InitspecValueError: bounds that cross, never act, or hold less than 2**-16 of the mass.

    Example:
        >>> round(truncated_normal(1.0).describe((4, 4)).std, 6)
        0.879626

    Source: definition; the moments are those of the truncated normal distribution.
    """
    return Initializer(
        distribution="truncated_normal",
        std=std,
        low=low,
        high=high,
        mean=mean,
        compensate=compensate,
        absolute=absolute,
    )


def uniform(low: float = -1.0, high: float = 1.0) -> Initializer:
    """Uniform on ``[low, high]``.

    Args:
        low: lower end.
        high: upper end, not below ``low``.

    Returns:
        An `Initializer`; both ends can occur after rounding to the dtype.

    Raises:
        InitspecValueError: the ends cross.

    Example:
        >>> uniform(-0.05, 0.05).describe((4, 4)).high
        0.05

    Source: definition.
    """
    return Initializer(distribution="uniform", low=low, high=high)


def constant(value: float) -> Initializer:
    """One value everywhere.

    Args:
        value: the value.

    Returns:
        An `Initializer` that draws nothing.

    Raises:
        InitspecValueError: a non-finite value.

    Example:
        >>> constant(0.5)((2,)).tolist()
        [0.5, 0.5]

    Source: definition.
    """
    return Initializer(distribution="constant", value=value)


def orthogonal(gain: float = 1.0) -> Initializer:
    """Orthogonal: ``gain * Q`` with Q from the QR of normals, signs fixed so that it is Haar.

    The matrix of a kernel is (out, in * kernel positions); groups and stacks have their own.

    Args:
        gain: factor, not negative.

    Returns:
        An `Initializer`; rows or columns, whichever are fewer, are orthonormal times ``gain``.

    Raises:
        InitspecValueError: a layout without output or input axes.

    Example:
        >>> q = orthogonal()((3, 3), seed=0, dtype="float64")
        >>> bool(abs(q @ q.T - [[1, 0, 0], [0, 1, 0], [0, 0, 1]]).max() < 1e-14)
        True

    Source: Saxe et al. 2014; Mezzadri 2007 for the signs.
    """
    return Initializer(distribution="orthogonal", gain=gain)


def identity(gain: float = 1.0) -> Initializer:
    """Identity: ``gain`` where output i meets input i, 0 elsewhere; need not be square.

    Args:
        gain: the value on the diagonal, not negative.

    Returns:
        An `Initializer` that draws nothing.

    Raises:
        InitspecValueError: a layout with spatial axes, or without input and output axes.

    Example:
        >>> identity()((2, 3)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    Source: definition; `torch.nn.init.eye_`.
    """
    return Initializer(distribution="identity", gain=gain)


def sparse(sparsity: float, std: float = 0.01, *, per: str = "output") -> Initializer:
    """Normal ``N(0, std**2)`` with ``ceil(sparsity * n)`` zeros in every line of n weights.

    Args:
        sparsity: share of zeros in [0, 1].
        std: standard deviation of the other weights.
        per: a line is what feeds one ``output`` (Martens), or what one ``input`` feeds (torch).

    Returns:
        An `Initializer`.

    Raises:
        InitspecValueError: a share outside [0, 1], or a layout without output or input axes.

    Example:
        >>> int((sparse(0.5)((4, 2), layout="IO", seed=0) == 0).sum(axis=0)[0])
        2

    Source: Martens 2010, Deep learning via Hessian-free optimization; `torch.nn.init.sparse_`.
    """
    return Initializer(distribution="sparse", std=std, sparsity=sparsity, per=per)
