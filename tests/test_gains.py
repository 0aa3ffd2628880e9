"""Gains against a table of digits, scipy's quadrature, mpmath and torch itself."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from initspec import gains
from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError
from initspec.gains import gain

CONVENTIONS = ["second_moment", "centred", "fixed_point", "backward"]
NONE = None  # no fixed point

# Nine digits from mpmath's 30-digit quadrature with derivatives written out by hand.
TABLE: list[tuple[str, float | None, tuple[float | None, ...]]] = [
    ("linear", None, (1, 1, 1, 1)),
    ("relu", None, (1.41421356, 1.71285855, 1.41421356, 1.41421356)),
    ("abs", None, (1, 1.65889674, 1, 1)),
    ("leaky_relu", None, (1.41414286, 1.70483163, 1.41414286, 1.41414286)),
    ("leaky_relu", 0.2, (1.38675049, 1.54646006, 1.38675049, 1.38675049)),
    ("prelu", None, (1.37198868, 1.50460964, 1.37198868, 1.37198868)),
    ("relu6", None, (1.41421357, 1.71285855, 1.41424343, 1.41421356)),
    ("relu_squared", None, (0.81649658, 0.89442719, 0.90360200, 0.70710678)),
    ("tanh", None, (1.59253742, 1.59253742, NONE, 1.46741359)),
    ("sigmoid", None, (1.84622855, 4.80131337, NONE, 4.72264609)),
    ("elu", None, (1.24519830, 1.27084342, 1.27796008, 1.22342856)),
    ("celu", None, (1.24519830, 1.27084342, 1.27796008, 1.22342856)),
    ("selu", None, (1, 1, 1, 0.96602578)),
    ("gelu", None, (1.53353044, 1.70092624, 1.46801126, 1.48111441)),
    ("gelu_tanh", None, (1.53358052, 1.70091656, 1.46796076, 1.48116806)),
    ("quick_gelu", None, (1.53945876, 1.70935859, 1.47459608, 1.49145923)),
    ("silu", None, (1.67653247, 1.78718722, 1.55875993, 1.62332026)),
    ("hard_swish", None, (1.73665721, 1.81387147, 1.56718384, 1.67007637)),
    ("mish", None, (1.48684758, 1.59202538, 1.45149124, 1.44475523)),
    ("softplus", None, (1.04186684, 1.91912598, 1.08312188, 1.84622855)),
    ("log_sigmoid", None, (1.04186684, 1.91912598, 1.08312188, 1.84622855)),
    ("squareplus", None, (0.81649658, 1.92649522, NONE, 1.85914916)),
    ("softsign", None, (2.33753336, 2.33753336, NONE, 2.09578061)),
    ("hardtanh", None, (1.39203614, 1.39203614, NONE, 1.21028706)),
    ("hard_sigmoid", None, (1.89784042, 6.01503449, NONE, 6.00811583)),
    ("erf", None, (1.46716695, 1.46716695, NONE, 1.32521835)),
    ("arctan", None, (1.49120762, 1.49120762, 2.49876176, 1.41421356)),
    ("sin", None, (1.52086662, 1.52086662, NONE, 1.32725060)),
    ("sin", 30.0, (1.41421356, 1.41421356, NONE, 0.04714045)),
    ("cos", None, (1.32725060, 2.23725291, NONE, 1.52086662)),
    ("snake", None, (0.87458098, 0.94471592, 0.85951266, 0.81654224)),
    ("gaussian", None, (1.49534878, 2.96330102, NONE, 1.67185076)),
    ("exponential", None, (0.36787944, 0.46270646, NONE, 0.36787944)),
    ("tanhshrink", None, (2.33836753, 2.33836753, 1.66530128, 1.98813882)),
    ("softshrink", None, (1.54436053, 1.54436053, 1.36504156, 1.27300760)),
    ("hardshrink", None, (1.01579635, 1.01579635, 1.01511896, 1.27300760)),
]
CELLS = [
    pytest.param(name, param, convention, value, id=f"{name}-{param}-{convention}")
    for name, param, values in TABLE
    for convention, value in zip(CONVENTIONS, values, strict=True)
]


def subject(name: str, param: float | None = None) -> Callable[[Any], Any]:
    """The function behind a name, as a plain callable."""
    if name in gains._SLOPES:
        slope = gains._SLOPES[name] if param is None else param
        return lambda z: np.where(z > 0, z, slope * z)
    row = gains._ROWS[name]
    value = row.default if param is None else param
    return lambda z: row.function(z, value or 0.0)


@pytest.mark.parametrize(("name", "param", "convention", "value"), CELLS)
def test_table(name: str, param: float | None, convention: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(InitspecValueError, match=r"0.000977 < s < 16"):
            gain(name, param, convention=convention)
    else:
        assert gain(name, param, convention=convention) == pytest.approx(value, abs=5.01e-9)


def test_every_activation_is_in_the_table() -> None:
    assert {name for name, _, _ in TABLE} == set(gains._NAMES)


def test_relu6_is_not_rounded_twice() -> None:
    """1.71285855497238... has the ninth digit 5, not the 6 that 1.712858555 would give."""
    assert gain("relu6", convention="centred") == 1.71285855497


@pytest.mark.parametrize(("name", "param", "convention", "value"), CELLS)
def test_no_value_is_near_a_rounding_tie(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    param: float | None,
    convention: str,
    value: float | None,
) -> None:
    """So that a last bit of exp cannot flip the twelfth digit: errors stay below 0.0004 of it."""
    if value is None or name in gains._SLOPES:
        return
    rounded = gain(name, param, convention=convention)
    gains._named.cache_clear()
    monkeypatch.setattr(gains, "_round", lambda value: value)
    raw = gain(name, param, convention=convention)
    gains._named.cache_clear()
    assert rounded == float(f"{raw:.11e}")
    digits = raw * 10.0 ** (11 - math.floor(math.log10(raw)))
    assert abs(digits - math.floor(digits) - 0.5) > 0.005


@pytest.mark.parametrize("name", ["gelu", "mish", "softplus", "sigmoid", "softsign"])
def test_against_mpmath(name: str) -> None:
    mp = pytest.importorskip("mpmath")
    functions = {
        "gelu": lambda z: z * mp.ncdf(z),
        "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
        "softplus": lambda z: mp.log1p(mp.exp(z)),
        "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
        "softsign": lambda z: z / (1 + abs(z)),
    }
    with mp.workdps(20):
        moment = mp.quad(lambda z: functions[name](z) ** 2 * mp.npdf(z), range(-12, 13))
        expected = float(mp.nstr(1 / mp.sqrt(moment), 12))
    assert gain(name) == expected


@pytest.mark.parametrize(
    ("name", "param", "kinks"),
    [
        ("elu", 0.3, [0]),
        ("silu", 3.0, []),
        ("softplus", 5.0, []),
        ("relu6", None, [0, 6]),
        ("softshrink", 1.3, [-1.3, 1.3]),
        ("cos", 2.5, []),
        ("leaky_relu", -0.4, [0]),
    ],
)
def test_against_scipy(name: str, param: float | None, kinks: list[float]) -> None:
    quad = pytest.importorskip("scipy.integrate").quad
    function = subject(name, param)

    def mean(power: int, shift: float = 0.0) -> float:
        def integrand(z: float) -> float:
            value = float(function(np.array([z]))[0]) - shift
            return value**power * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return float(quad(integrand, -12, 12, points=[*kinks, -1, 1], epsabs=1e-13, limit=200)[0])

    assert gain(name, param) == pytest.approx(mean(2) ** -0.5, rel=1e-10)
    centred = mean(2, mean(1)) ** -0.5
    assert gain(name, param, convention="centred") == pytest.approx(centred, rel=1e-10)


TORCH = {
    "linear": ("Identity", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {}),
    "relu6": ("ReLU6", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "elu": ("ELU", {}),
    "celu": ("CELU", {}),
    "selu": ("SELU", {}),
    "gelu": ("GELU", {}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    "hard_swish": ("Hardswish", {}),
    "mish": ("Mish", {}),
    "softplus": ("Softplus", {}),
    "log_sigmoid": ("LogSigmoid", {}),
    "softsign": ("Softsign", {}),
    "hardtanh": ("Hardtanh", {}),
    "hard_sigmoid": ("Hardsigmoid", {}),
    "tanhshrink": ("Tanhshrink", {}),
    "softshrink": ("Softshrink", {}),
    "hardshrink": ("Hardshrink", {}),
}


@pytest.mark.parametrize("name", TORCH)
def test_against_torchs_activations(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = TORCH[name]
    module = getattr(torch.nn, kind)(**options)

    def function(z: Any) -> Any:
        return module(torch.from_numpy(z)).numpy()

    z = np.linspace(-7.0, 7.0, 1001) + 1e-4
    np.testing.assert_allclose(subject(name)(z), function(z), rtol=1e-8, atol=1e-8)
    for convention in ["second_moment", "centred"]:
        expected = pytest.approx(gain(name, convention=convention), rel=2e-8)
        assert gain(function, convention=convention) == expected
    assert gain(kind if not options else name) == gain(name)


@pytest.mark.parametrize("name", TORCH)
def test_derivatives_against_torchs_autograd(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = TORCH[name]
    x, w = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(-12, 12, 49)  # every kink is a multiple of a half
    z = torch.tensor((edges[:-1, None] + 0.25 + 0.25 * x).ravel(), requires_grad=True)
    getattr(torch.nn, kind)(**options)(z).sum().backward()
    density = np.exp(-(z.detach().numpy() ** 2) / 2) / math.sqrt(2 * math.pi)
    moment = float((z.grad.numpy() ** 2 * density * np.tile(0.25 * w, 48)).sum())
    assert gain(name, convention="backward") == pytest.approx(moment**-0.5, rel=1e-7)


def test_torch_dialect() -> None:
    init = pytest.importorskip("torch.nn.init")
    for name in gains._TORCH:
        assert gain(name, convention="torch") == init.calculate_gain(name)
    for slope in [0.0, 0.2, 1.0, math.sqrt(5), -3, 7]:
        ours = gain("leaky_relu", slope, convention="torch")
        assert ours == init.calculate_gain("leaky_relu", slope)


def test_homogeneous_closed_forms_are_exact() -> None:
    for slope in [0.0, 0.01, 0.25, 1.0, -2.0, math.sqrt(5)]:
        for convention in ["second_moment", "fixed_point", "backward"]:
            expected = math.sqrt(2.0 / (1.0 + slope * slope))
            assert gain("leaky_relu", slope, convention=convention) == expected
    assert gain("linear", convention="centred") == 1.0
    assert gain("prelu", np.float32(0.5)) == gain("prelu", 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("LeakyReLU", "leaky_relu"),
        ("swish", "silu"),
        ("Hard Swish", "hard_swish"),
        ("logsigmoid", "log_sigmoid"),
        ("identity", "linear"),
        ("conv_transpose2d", "linear"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("squared_relu", "relu_squared"),
        ("hard-silu", "hard_swish"),
        ("atan", "arctan"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert gain(spelling) == gain(name)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "silu", "selu", "softshrink", "hard_swish"])
def test_a_callable_equals_its_name(name: str, convention: str) -> None:
    expected = gain(name, convention=convention)
    assert gain(subject(name), convention=convention) == pytest.approx(expected, rel=1e-9)


def test_unknown_kinks_and_jumps_are_found() -> None:
    shifted = gain(lambda z: np.maximum(z - 0.3, 0.0), convention="backward")
    above = 0.5 * math.erfc(0.3 / math.sqrt(2.0))
    assert shifted == pytest.approx(above**-0.5, rel=1e-9)
    assert gain(lambda z: np.where(z > 0.3, 1.0, 0.0)) == pytest.approx(above**-0.5, rel=1e-9)


def test_float32_callables_work_to_their_precision() -> None:
    for convention in CONVENTIONS:
        found = gain(lambda z: subject("silu")(z).astype(np.float32), convention=convention)
        assert found == pytest.approx(gain("silu", convention=convention), rel=2e-6)


def test_in_place_callables_are_safe() -> None:
    assert gain(lambda z: np.tanh(z, out=z)) == gain("tanh")


def test_fixed_point_definition() -> None:
    sigma = gain("silu", 2.0, convention="fixed_point")
    assert gain(lambda z: subject("silu", 2.0)(sigma * z)) == pytest.approx(1.0, abs=1e-11)


@pytest.mark.parametrize(
    ("function", "convention", "message"),
    [
        (np.sum, "second_moment", r"elementwise function \(shape \(\d+,\) became \(\)\)"),
        (lambda z: z[:-1], "second_moment", "elementwise function"),
        (np.zeros_like, "second_moment", "second moment that is neither zero"),
        (np.ones_like, "centred", "variance that is neither zero"),
        (np.ones_like, "backward", "mean squared derivative that is neither zero"),
        (np.ones_like, "fixed_point", "convention='second_moment'"),
        (np.sqrt, "second_moment", "finite .it is not at z = -"),
        (lambda z: np.full_like(z, math.nan), "second_moment", "finite"),
        (lambda z: np.exp(z * z / 4), "second_moment", "grows too fast"),
        (lambda z: np.exp(z * z), "fixed_point", "finite|grows too fast"),
        (lambda z: z > 0.3, "backward", "has no derivative"),
        (lambda z: np.sin(1e6 * z), "second_moment", "oscillates too fast"),
        (np.tanh, "torch", "a name: convention 'torch' is a table"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_functions(function: Any, convention: str, message: str) -> None:
    with pytest.raises(InitspecValueError, match=message):
        gain(function, convention=convention)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "param", "message"),
    [
        ("relu", 0.1, "relu has no parameter"),
        ("tanh", 1.0, "tanh has no parameter"),
        ("leaky_relu", math.nan, "finite number for leaky_relu"),
        ("elu", math.inf, "finite number for elu"),
        ("elu", np.float32(math.inf), "finite number for elu"),
        ("elu", 10**400, "finite number for elu"),
        ("celu", 0.0, "above 0 for celu"),
        ("softplus", -1.0, "above 0 for softplus"),
        ("sin", 0.0, r"sin\(0\).*second moment"),
        ("softshrink", 40.0, r"softshrink\(40\)"),
        (np.tanh, 1.0, "None: the activation is a function"),
    ],
)
def test_bad_parameters(name: Any, param: float, message: str) -> None:
    with pytest.raises(InitspecValueError, match=message):
        gain(name, param)


@pytest.mark.parametrize("param", [True, "0.1", 1j, [0.1]])
def test_wrong_parameter_types(param: Any) -> None:
    with pytest.raises(InitspecTypeError, match=r"param: .*expected a real number or None"):
        gain("leaky_relu", param)


@pytest.mark.parametrize("activation", [None, 3, math.nan, b"relu"])
def test_wrong_activation_types(activation: Any) -> None:
    with pytest.raises(InitspecTypeError, match="a name or an elementwise function"):
        gain(activation)


@pytest.mark.parametrize("kind", [np.complex128, np.float16, np.str_])
def test_wrong_value_types(kind: Any) -> None:
    with pytest.raises(InitspecTypeError, match="float64 or float32 values, not"):
        gain(lambda z: z.astype(kind))


def test_unknown_names_get_a_list_and_the_closest() -> None:
    with pytest.raises(InitspecValueError, match=r"abs, arctan.*Did you mean 'gelu'") as caught:
        gain("GELLU")
    assert isinstance(caught.value, InitspecError)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(InitspecValueError, match="Did you mean 'centred'"):
        gain("relu", convention="centered")
    with pytest.raises(InitspecValueError, match="second_moment, centred"):
        gain("relu", convention=None)  # type: ignore[arg-type]


def test_torchs_table_is_short() -> None:
    with pytest.raises(InitspecValueError, match=r"conv_transpose3d.*other conventions know it"):
        gain("gelu", convention="torch")
    with pytest.raises(InitspecValueError, match="Did you mean 'linear'"):
        gain("lineer", convention="torch")
    with pytest.raises(InitspecValueError, match="relu has no parameter"):
        gain("relu", 0.0, convention="torch")


def test_import_is_light() -> None:
    code = "import sys, initspec.gains; print(*(set(sys.modules) & {'scipy', 'torch', 'jax'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
