"""The table of named initializers: data, one row each.

A row is a name, the initializer, and where the definition comes from. The rows of other systems,
the dialects, reproduce what that system means by it: factors, truncation, fan rule and defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .errors import InitspecTypeError, InitspecValueError, did_you_mean
from .initializer import Initializer

__all__ = ["ALIASES", "RECIPES", "Recipe", "get"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named initializer, the formula as users know it, and its source."""

    name: str
    initializer: Initializer
    formula: str
    source: str

    @property
    def system(self) -> str:
        """The system whose dialect it is; empty for initspec's own."""
        return self.name.rpartition(".")[0]


_GLOROT = "Glorot & Bengio 2010, Understanding the difficulty of training deep networks"
_HE = "He et al. 2015, Delving deep into rectifiers"
_LECUN = "LeCun et al. 1998, Efficient BackProp; Klambauer et al. 2017"
_SAXE = "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning"
_CUT: dict[str, Any] = {"low": -2.0, "high": 2.0}
_SQRT5 = 1 / 3  # kaiming_uniform(a=sqrt(5)): gain**2 = 2 / (1 + 5), so the bound is 1/sqrt(fan_in)


def _scaled(
    distribution: str, scale: float, mode: str, *, rule: str = "true", gain: float = 1.0
) -> Initializer:
    """Variance scaling; a truncated normal is cut at two sigmas and compensated."""
    cut: dict[str, Any] = _CUT | {"compensate": True} if distribution == "truncated_normal" else {}
    return Initializer(
        distribution=distribution, scale=scale, mode=mode, fan_rule=rule, gain=gain, **cut
    )


def _raw_cut(scale: float, mode: str, rule: str) -> Initializer:
    """Variance scaling of the normal before it is cut: the result is narrower."""
    return Initializer(
        distribution="truncated_normal", scale=scale, mode=mode, fan_rule=rule, **_CUT
    )


def _normal(std: float) -> Initializer:
    return Initializer(distribution="normal", std=std)


def _uniform(low: float, high: float) -> Initializer:
    return Initializer(distribution="uniform", low=low, high=high)


def _cut_normal(std: float) -> Initializer:
    return Initializer(distribution="truncated_normal", std=std, **_CUT)


def _plain(distribution: str, **fields: Any) -> Initializer:
    return Initializer(distribution=distribution, **fields)


_ZEROS, _ONES = _plain("constant", value=0.0), _plain("constant", value=1.0)
_ORTHOGONAL, _IDENTITY = _plain("orthogonal"), _plain("identity")

_OWN = [
    ("he_normal", _scaled("truncated_normal", 2.0, "fan_in"), "std = sqrt(2 / fan_in), cut", _HE),
    ("he_uniform", _scaled("uniform", 2.0, "fan_in"), "U(+-sqrt(6 / fan_in))", _HE),
    (
        "glorot_normal",
        _scaled("truncated_normal", 1.0, "fan_avg"),
        "std = sqrt(2 / (fan_in + fan_out)), cut",
        _GLOROT,
    ),
    (
        "glorot_uniform",
        _scaled("uniform", 1.0, "fan_avg"),
        "U(+-sqrt(6 / (fan_in + fan_out)))",
        _GLOROT,
    ),
    (
        "lecun_normal",
        _scaled("truncated_normal", 1.0, "fan_in"),
        "std = sqrt(1 / fan_in), cut",
        _LECUN,
    ),
    ("lecun_uniform", _scaled("uniform", 1.0, "fan_in"), "U(+-sqrt(3 / fan_in))", _LECUN),
    ("zeros", _ZEROS, "0", "definition"),
    ("ones", _ONES, "1", "definition"),
    ("identity", _IDENTITY, "1 where output i meets input i", "definition"),
    (
        "dirac",
        _plain("dirac"),
        "1 at the kernel's centre k // 2 where output i meets input i",
        "Zagoruyko & Komodakis 2017, DiracNets",
    ),
    ("orthogonal", _ORTHOGONAL, "Q of QR(normals), Haar", _SAXE),
    (
        "delta_orthogonal",
        _plain("delta_orthogonal"),
        "orthogonal in the kernel's centre (k - 1) // 2, else 0",
        "Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
    ),
    (
        "bilinear",
        _plain("bilinear"),
        "prod (1 - |x / f - c|), f = ceil(k / 2), c = (2f - 1 - f % 2) / (2f)",
        "Long et al. 2015, Fully convolutional networks; Caffe's BilinearFiller",
    ),
    (
        "glorot_sigmoid",
        _scaled("uniform", 1.0, "fan_avg", gain=4.0),
        "U(+-4 sqrt(6 / (fan_in + fan_out)))",
        "the 4x rule for logistic units; 4 = 1 / sigmoid'(0)",
    ),
]

_TORCH = "torch.nn.init"
_TORCH_ROWS = [
    ("zeros", _ZEROS, "0"),
    ("ones", _ONES, "1"),
    ("uniform", _uniform(0.0, 1.0), "U(0, 1)"),
    ("normal", _normal(1.0), "N(0, 1)"),
    (
        "trunc_normal",
        _plain("truncated_normal", std=1.0, absolute=True, **_CUT),
        "N(0, std**2) cut at the values -2 and 2, not sigmas; std before truncation",
    ),
    ("eye", _IDENTITY, "1 where output i meets input i"),
    ("dirac", _plain("dirac"), "1 at k // 2 where output i meets input i, per group"),
    (
        "xavier_uniform",
        _scaled("uniform", 1.0, "fan_avg", rule="torch"),
        "U(+-sqrt(6 / (fan_in + fan_out)))",
    ),
    (
        "xavier_normal",
        _scaled("normal", 1.0, "fan_avg", rule="torch"),
        "N(0, 2 / (fan_in + fan_out)), not truncated",
    ),
    ("kaiming_uniform", _scaled("uniform", 2.0, "fan_in", rule="torch"), "U(+-sqrt(6 / fan_in))"),
    (
        "kaiming_normal",
        _scaled("normal", 2.0, "fan_in", rule="torch"),
        "N(0, 2 / fan_in), not truncated",
    ),
    ("orthogonal", _ORTHOGONAL, "Q of QR(normals)"),
    (
        "sparse",
        _plain("sparse", std=0.01, sparsity=0.1, per="input"),
        "N(0, 0.01**2) with ceil(0.1 * out) zeros per input",
    ),
    (
        "linear",
        _scaled("uniform", _SQRT5, "fan_in", rule="torch"),
        "default of Linear: kaiming_uniform(a=sqrt(5)) = U(+-1 / sqrt(fan_in))",
    ),
    (
        "conv",
        _scaled("uniform", _SQRT5, "fan_in", rule="torch"),
        "default of Conv and ConvTranspose: U(+-1 / sqrt(fan_in))",
    ),
    ("embedding", _normal(1.0), "default of Embedding: N(0, 1)"),
]


def _three(rule: str) -> list[tuple[str, Initializer, str]]:
    """glorot, he and lecun as Keras and JAX have them: the normal is cut and compensated."""
    rows = []
    kinds = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}
    for name, (scale, mode) in kinds.items():
        over = f"{scale:g} / {mode}"
        init = _scaled("truncated_normal", scale, mode, rule=rule)
        rows.append((f"{name}_normal", init, f"std = sqrt({over}) after the cut at +-2 sigma"))
        init = _scaled("uniform", scale, mode, rule=rule)
        rows.append((f"{name}_uniform", init, f"U(+-sqrt(3 * {over}))"))
    return rows


_KERAS_ROWS = [
    ("zeros", _ZEROS, "0"),
    ("ones", _ONES, "1"),
    ("constant", _ZEROS, "0; the default value"),
    ("random_normal", _normal(0.05), "N(0, 0.05**2)"),
    ("random_uniform", _uniform(-0.05, 0.05), "U(-0.05, 0.05)"),
    ("truncated_normal", _cut_normal(0.05), "N(0, 0.05**2) cut at +-2 sigma, std before it"),
    (
        "variance_scaling",
        _scaled("truncated_normal", 1.0, "fan_in", rule="keras"),
        "std = sqrt(1 / fan_in) after the cut at +-2 sigma",
    ),
    *_three("keras"),
    ("orthogonal", _ORTHOGONAL, "Q of QR(normals)"),
    ("identity", _IDENTITY, "1 where output i meets input i"),
    ("embedding", _uniform(-0.05, 0.05), "default of Embedding: U(-0.05, 0.05)"),
]

_JAX_ROWS = [
    ("zeros", _ZEROS, "0"),
    ("ones", _ONES, "1"),
    ("uniform", _uniform(0.0, 0.01), "U(0, 0.01): one-sided"),
    ("normal", _normal(0.01), "N(0, 0.01**2)"),
    ("truncated_normal", _cut_normal(0.01), "N(0, 0.01**2) cut at +-2 sigma, std before it"),
    *_three("jax"),
    ("orthogonal", _ORTHOGONAL, "Q of QR(normals)"),
    ("delta_orthogonal", _plain("delta_orthogonal"), "orthogonal in the centre (k - 1) // 2"),
    (
        "embedding",
        _scaled("normal", 1.0, "fan_in"),
        "default of flax Embed: N(0, 1 / features); layout VI",
    ),
]

_TF1_ROWS = [
    (
        "contrib.xavier",
        _scaled("uniform", 1.0, "fan_avg", rule="keras"),
        "U(+-sqrt(6 / (fan_in + fan_out))); uniform=True is the default",
    ),
    (
        "contrib.xavier_normal",
        _raw_cut(1.3, "fan_avg", "keras"),
        "N(0, 1.3 * 2 / (fan_in + fan_out)) cut at +-2 sigma: std is 0.29 % too large",
    ),
    (
        "contrib.variance_scaling",
        _raw_cut(1.3 * 2.0, "fan_in", "keras"),
        "N(0, 1.3 * 2 / fan_in) cut at +-2 sigma; factor=2, FAN_IN are the defaults",
    ),
    (
        "contrib.variance_scaling_uniform",
        _scaled("uniform", 2.0, "fan_in", rule="keras"),
        "U(+-sqrt(6 / fan_in))",
    ),
    ("truncated_normal", _cut_normal(1.0), "N(0, 1) cut at +-2 sigma, std before it: 0.8796"),
    ("random_normal", _normal(1.0), "N(0, 1); TF2's initializer of that name has std 0.05"),
    ("random_uniform", _uniform(0.0, 1.0), "U(0, 1); TF2's is U(-0.05, 0.05)"),
]

_CAFFE_ROWS = [
    ("xavier", _scaled("uniform", 1.0, "fan_in", rule="torch"), "U(+-sqrt(3 / fan_in))"),
    ("msra", _scaled("normal", 2.0, "fan_in", rule="torch"), "N(0, 2 / fan_in), not truncated"),
]

_PRETTYTENSOR_ROWS = [
    (
        "xavier",
        _scaled("uniform", 1.0, "fan_avg", rule="keras"),
        "U(+-sqrt(6 / (fan_in + fan_out))); uniform=True is the default",
    ),
    (
        "xavier_normal",
        _raw_cut(1.5, "fan_avg", "keras"),
        "N(0, 3 / (fan_in + fan_out)) cut at +-2 sigma: std is 7.7 % too large",
    ),
]

_LASAGNE_ROWS = [
    ("normal", _normal(0.01), "N(0, 0.01**2)"),
    ("uniform", _uniform(-0.01, 0.01), "U(-0.01, 0.01)"),
    (
        "glorot_normal",
        _scaled("normal", 1.0, "fan_avg", rule="torch"),
        "N(0, 2 / (fan_in + fan_out)), not truncated",
    ),
    (
        "glorot_uniform",
        _scaled("uniform", 1.0, "fan_avg", rule="torch"),
        "U(+-sqrt(6 / (fan_in + fan_out)))",
    ),
    (
        "he_normal",
        _scaled("normal", 1.0, "fan_in", rule="torch"),
        "N(0, 1 / fan_in): gain 1 is the default, so it is LeCun's",
    ),
    ("he_uniform", _scaled("uniform", 1.0, "fan_in", rule="torch"), "U(+-sqrt(3 / fan_in))"),
]

_MXNET_ROWS = [
    (
        "xavier",
        _scaled("uniform", 1.0, "fan_avg", rule="torch"),
        "U(+-sqrt(3 / n)), n = (fan_in + fan_out) / 2",
    ),
    (
        "xavier_gaussian",
        _scaled("normal", 3.0, "fan_avg", rule="torch"),
        "N(0, 3 / n): the uniform's limit used as a std, sqrt(3) too large",
    ),
    (
        "msra_prelu",
        _scaled("normal", 2 / (1 + 0.25**2), "fan_avg", rule="torch"),
        "N(0, 2 / ((1 + 0.25**2) n))",
    ),
    ("uniform", _uniform(-0.07, 0.07), "U(-0.07, 0.07)"),
    ("normal", _normal(0.01), "N(0, 0.01**2)"),
]

_SYSTEMS = [
    ("torch", _TORCH, _TORCH_ROWS),
    ("keras", "keras.initializers 3.15", _KERAS_ROWS),
    ("jax", "jax.nn.initializers 0.10", _JAX_ROWS),
    ("tf1", "TensorFlow 1.15: tf.contrib.layers, tf.*_initializer", _TF1_ROWS),
    ("caffe", "Caffe filler.hpp", _CAFFE_ROWS),
    ("prettytensor", "prettytensor.layers", _PRETTYTENSOR_ROWS),
    ("lasagne", "lasagne.init 0.2", _LASAGNE_ROWS),
    ("mxnet", "mxnet.initializer 1.x", _MXNET_ROWS),
]

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {row[0]: Recipe(*row) for row in _OWN}
    | {
        f"{system}.{name}": Recipe(f"{system}.{name}", init, formula, source)
        for system, source, rows in _SYSTEMS
        for name, init, formula in rows
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "kaiming_normal": "he_normal",
        "kaiming_uniform": "he_uniform",
        "xavier_normal": "glorot_normal",
        "xavier_uniform": "glorot_uniform",
        "eye": "identity",
        "jax.xavier_normal": "jax.glorot_normal",
        "jax.xavier_uniform": "jax.glorot_uniform",
        "jax.kaiming_normal": "jax.he_normal",
        "jax.kaiming_uniform": "jax.he_uniform",
    }
)


def get(identifier: Any) -> Initializer:
    """The initializer of a recipe, alias or dialect name, or of a dictionary from ``to_dict``.

    Args:
        identifier: a name such as ``"he_normal"`` or ``"caffe.xavier"``, a dictionary, or an
            `Initializer`, which is returned as it is.

    Returns:
        The `Initializer`; vary it with ``replace``.

    Raises:
        InitspecValueError: no such name; the closest one is suggested.
        InitspecTypeError: something else was given.

    Example:
        >>> get("tf1.contrib.xavier_normal").describe((256, 128), "IO").std > 0.0722
        True

    Source: the table in ``initspec/recipes.py``; ``initspec recipes`` lists it.
    """
    if isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, Mapping):
        return Initializer.from_dict(identifier)
    if not isinstance(identifier, str):
        raise InitspecTypeError("initializer", identifier, "a name, a dictionary or an Initializer")
    name = ALIASES.get(identifier, identifier)
    if name not in RECIPES:
        known = [*RECIPES, *ALIASES]
        advice = did_you_mean(identifier, known) or "`initspec recipes` lists them."
        raise InitspecValueError("initializer", identifier, "the name of a recipe", advice)
    return RECIPES[name].initializer
