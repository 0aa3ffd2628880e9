"""Calls that must be refused: what people pass by mistake, as far as JSON can say it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

__all__ = ["OPEN", "Refused", "cases"]

Call = dict[str, Any]
Refused = tuple[str, Call, tuple[str, ...], str]  # id, call, flags, verdict
_NAN, _INF, _MINUS_INF = ({"float": text} for text in ("nan", "inf", "-inf"))
_LONG: list[int] = [1] * 33  # axes
_ALIASES = ("half", "single", "bf16", "f32", "torch.float16")
# The error of those that initspec itself accepts, for whoever refuses them.
OPEN = {
    f"dtype/alias/{alias}": {"error": "InitspecTypeError", "where": "dtype"} for alias in _ALIASES
}


def cases() -> Iterator[Refused]:
    """All of them."""
    groups = (_shapes, _ranks, _layouts, _options, _dtypes, _seeds, _names)
    for group in (*groups, _numbers, _fields, _recipes, _unfit, _ranges):
        yield from group()


def _int(number: int) -> dict[str, str]:
    """An integer that not every JSON reader keeps."""
    return {"int": hex(number)}


def _he(**changes: Any) -> Call:
    return {"recipe": "he_normal", "shape": [6, 4], "layout": "OI"} | changes


def _refused(name: str, call: Call, *flags: str) -> Refused:
    return name, call, flags, "refused"


_SIZES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "minus-1": (-1, ("bad_shape", "wrong_sign")),
    "float": ({"float": "4.0"}, ("bad_shape", "coercion")),
    "fraction": ({"float": "4.5"}, ("bad_shape", "coercion")),
    "nan": (_NAN, ("bad_shape", "not_finite")),
    "true": (True, ("bad_shape", "coercion")),
    "false": (False, ("bad_shape", "coercion")),
    "text": ("4", ("bad_shape", "coercion")),
    "null": (None, ("bad_shape",)),
    "list": ([4], ("bad_shape",)),
    "2-to-60": (_int(2**60), ("bad_shape",)),
    "2-to-64": (_int(2**64), ("bad_shape",)),
}
_WHOLE: dict[str, Any] = {
    "number": 4,
    "true": True,
    "float": {"float": "4.5"},
    "text": "64",
    "object": {"6": 4},
    "null": None,
    "product-beyond-2-to-60": [_int(2**40), _int(2**40)],
    "product-beyond-2-to-62": [_int(2**31), _int(2**31)],
    "outputs-beyond-2-to-32": [_int(2**32 + 1), 1],
    "inputs-beyond-2-to-34": [1, _int(2**34 + 1)],
}


def _shapes() -> Iterator[Refused]:
    places = {"OI-first": ("OI", 2, 0), "OI-last": ("OI", 2, 1), "HWIO-third": ("HWIO", 4, 2)}
    for (title, (size, flags)), (place, (layout, rank, axis)) in product(
        _SIZES.items(), places.items()
    ):
        shape: list[Any] = [3] * rank
        shape[axis] = size
        yield _refused(f"shape/{title}/{place}", _he(shape=shape, layout=layout), *flags)
    for title, whole in _WHOLE.items():
        yield _refused(f"shape/{title}", _he(shape=whole), "bad_shape")
    stack = _he(shape=[_int(2**32 + 1), 1, 1], layout="SOI")
    yield _refused("shape/stack-beyond-2-to-32", stack, "bad_shape")
    ones = {"recipe": "ones", "shape": _LONG, "layout": "_" * 33}
    yield "shape/33-axes", ones, ("bad_shape",), "acceptable"


def _ranks() -> Iterator[Refused]:
    """No layout given, and no convention for the rank."""
    for title, shape in {"scalar": [], "vector": [5], "6-axes": [1] * 6}.items():
        for recipe in ("he_normal", "orthogonal"):
            call = {"recipe": recipe, "shape": shape}
            yield _refused(f"rank/{title}/{recipe}", call, "mismatch")
    pairs = [("OI", []), ("OI", [5]), ("OI", [3, 3, 3]), ("OIHW", [6, 4]), ("", [6]), ("I", [6, 4])]
    for layout, shape in pairs:
        call = _he(layout=layout, shape=shape)
        yield _refused(f"rank/{len(shape)}-axes-as-{layout or 'nothing'}", call, "mismatch")


_PATTERNS: dict[str, Any] = {
    "unknown-letter": "OQ",
    "lower-case": "oi",
    "comma": "O,I",
    "dash": "O-I",
    "open": "(O I",
    "closed": "O I)",
    "nested": "((O) I)",
    "empty-axis": "() O I",
    "zero-blocks": "(0 O) I",
    "minus": "-1 O I",
    "huge-number": "(99999999999999999999999 O) I",
    "accent": "O\u00cd",
    "nul": "O\0I",
    "number": 5,
    "true": True,
    "list": ["O", "I"],
    "object": {"O": 0, "I": 1},
}


def _layouts() -> Iterator[Refused]:
    for title, pattern in _PATTERNS.items():
        flag = "unknown_word" if isinstance(pattern, str) else "coercion"
        yield _refused(f"layout/{title}", _he(layout=pattern), flag)
    sized: dict[str, tuple[str, list[int]]] = {
        "groups-unknown": ("(G O) I", [6, 4]),
        "two-unknown": ("(O O) I", [6, 4]),
        "blocks-do-not-divide": ("(4 O) I", [6, 4]),
        "number-is-not-the-length": ("5 O", [6, 4]),
        "product-is-not-the-length": ("(2 2) I", [6, 4]),
    }
    for title, (layout, shape) in sized.items():
        yield _refused(f"layout/{title}", _he(layout=layout, shape=shape), "mismatch")
    many = {"recipe": "ones", "shape": [1, 1], "layout": f"({'1 ' * 32}) O"}
    yield "layout/33-factors", many, ("mismatch",), "acceptable"


_OPTIONS: dict[str, tuple[str, Any, str]] = {
    "groups/do-not-divide": ("OI", {"groups": 4}, "mismatch"),
    "groups/0": ("OI", {"groups": 0}, "wrong_sign"),
    "groups/minus-1": ("OI", {"groups": -1}, "wrong_sign"),
    "groups/float": ("OI", {"groups": {"float": "2.0"}}, "coercion"),
    "groups/true": ("OI", {"groups": True}, "coercion"),
    "groups/text": ("OI", {"groups": "2"}, "coercion"),
    "groups/no-output": ("_I", {"groups": 2}, "mismatch"),
    "groups/two-outputs": ("OO", {"groups": 2}, "mismatch"),
    "groups/two-groups": ("GG", {"groups": 2}, "mismatch"),
    "blocks/none": ("(2 O) I", {"blocks": []}, "mismatch"),
    "blocks/too-few": ("(3 O) I", {"blocks": ["a", "b"]}, "mismatch"),
    "blocks/do-not-divide": ("(4 O) I", {"blocks": ["a", "b", "c", "d"]}, "mismatch"),
    "blocks/twice": ("(2 O) I", {"blocks": ["a", "a"]}, "bad_name"),
    "blocks/empty-name": ("(2 O) I", {"blocks": ["", "b"]}, "bad_name"),
    "blocks/numbers": ("(2 O) I", {"blocks": [1, 2]}, "coercion"),
    "blocks/number": ("(2 O) I", {"blocks": 2}, "coercion"),
    "blocks/no-axis": ("OI", {"blocks": ["a", "b"]}, "mismatch"),
    "blocks/two-axes": ("2 3", {"blocks": ["a", "b"]}, "mismatch"),
    "blocks/nul": ("(2 O) I", {"blocks": ["a", "b\0"]}, "bad_name"),
    "stride/0": ("OI", {"stride": 0}, "wrong_sign"),
    "stride/minus-2": ("OI", {"stride": -2}, "wrong_sign"),
    "stride/float": ("OI", {"stride": {"float": "2.0"}}, "coercion"),
    "stride/true": ("OI", {"stride": True}, "coercion"),
    "stride/text": ("OI", {"stride": "2"}, "coercion"),
    "stride/too-many": ("WO", {"stride": [2, 2]}, "mismatch"),
    "stride/too-few": ("HW", {"stride": [2]}, "mismatch"),
    "stride/zero-inside": ("HW", {"stride": [2, 0]}, "wrong_sign"),
    "stride/text-inside": ("HW", {"stride": [2, "2"]}, "coercion"),
    "transposed/1": ("OI", {"transposed": 1}, "coercion"),
    "transposed/text": ("OI", {"transposed": "no"}, "coercion"),
    "sizes/list": ("(G O) I", {"sizes": ["G", 2]}, "coercion"),
    "sizes/unknown-letter": ("OI", {"sizes": {"Q": 2}}, "unknown_word"),
    "sizes/letter-not-there": ("OI", {"sizes": {"H": 2}}, "mismatch"),
    "sizes/letter-twice": ("OO", {"sizes": {"O": 2}}, "mismatch"),
    "sizes/do-not-divide": ("(G O) I", {"sizes": {"G": 4}}, "mismatch"),
    "sizes/clash-with-groups": ("(G O) I", {"groups": 2, "sizes": {"G": 3}}, "mismatch"),
    "sizes/not-the-length": ("OI", {"sizes": {"O": 5}}, "mismatch"),
    "sizes/minus-1": ("(G O) I", {"sizes": {"G": -1}}, "wrong_sign"),
    "sizes/float": ("(G O) I", {"sizes": {"G": {"float": "2.0"}}}, "coercion"),
    "sizes/true": ("(G O) I", {"sizes": {"G": True}}, "coercion"),
    "unknown/group": ("OI", {"group": 2}, "unknown_word"),
    "unknown/strides": ("OI", {"strides": 2}, "unknown_word"),
    "unknown/keys": ("OI", {"keys": [[1, 2]]}, "unknown_word"),
    "unknown/convention": ("OI", {"convention": "OI"}, "unknown_word"),
}


def _options() -> Iterator[Refused]:
    for title, (layout, options, flag) in _OPTIONS.items():
        yield _refused(f"option/{title}", _he(layout=layout, options=options), flag)


_DTYPES = "int8 int32 int64 uint8 bool complex64 complex128 float8_e4m3fn float8_e5m2 float128"
_DTYPES += " longdouble float str object flaot32 FLOAT32 >f4 <f4"
_ODD_DTYPES: dict[str, Any] = {
    "empty": "",
    "space": "float 32",
    "number": 32,
    "true": True,
    "float-32": {"float": "32.0"},
    "list": ["float32"],
}


def _dtypes() -> Iterator[Refused]:
    for title, dtype in ({name: name for name in _DTYPES.split()} | _ODD_DTYPES).items():
        yield _refused(f"dtype/{title}", _he(dtype=dtype), "bad_dtype")
    yield _refused("dtype/int32/zeros", _he(recipe="zeros", dtype="int32"), "bad_dtype")
    for alias in _ALIASES:
        yield f"dtype/alias/{alias}", _he(dtype=alias), ("bad_dtype",), "acceptable"


_SEEDS: dict[str, Any] = {
    "minus-1": -1,
    "minus-2-to-63": _int(-(2**63)),
    "2-to-64": _int(2**64),
    "2-to-128": _int(2**128),
    "2-to-4096": _int(2**4096),
    "fraction": {"float": "1.5"},
    "float": {"float": "0.0"},
    "nan": _NAN,
    "inf": _INF,
    "text": "0",
    "empty-text": "",
    "true": True,
    "false": False,
    "list": [1],
    "pair": [0, 0],
    "object": {"seed": 0},
}


def _seeds() -> Iterator[Refused]:
    for title, seed in _SEEDS.items():
        yield _refused(f"seed/{title}", _he(seed=seed), "bad_seed")
    for title in ("minus-1", "2-to-64", "true"):  # what draws nothing checks as much
        yield _refused(f"seed/{title}/zeros", _he(recipe="zeros", seed=_SEEDS[title]), "bad_seed")


_NAMES: dict[str, Any] = {
    "number": 5,
    "null": None,
    "true": True,
    "list": ["w"],
    "object": {"name": "w"},
    "nul": "\0",
    "nul-inside": "a\0b",
    "65537-bytes": {"repeat": ["n", 65537]},
    "65538-bytes-of-two": {"repeat": ["\u00e4", 32769]},
    "high-surrogate": {"utf16": "d800"},
    "low-surrogate": {"utf16": "0061dfff0062"},
    "swapped-surrogates": {"utf16": "dc00d83d"},
}


def _names() -> Iterator[Refused]:
    for title, name in _NAMES.items():
        yield _refused(f"name/{title}", _he(name=name), "bad_name")
    yield _refused("name/number/zeros", _he(recipe="zeros", name=5), "bad_name")
    blocks = _he(layout="(2 O) I", options={"blocks": ["a", "b"]})
    yield _refused("name/number/blocks", blocks | {"name": 5}, "bad_name")
    long = blocks | {"name": {"repeat": ["n", 65535]}}
    yield _refused("name/65537-bytes-with-the-block", long, "bad_name")


# --- initializers -------------------------------------------------------------------------------

_SCALED: Call = {"distribution": "normal", "mode": "fan_in"}
_FLAT: Call = {"distribution": "normal", "std": 1.0}
_CUT: Call = {"distribution": "truncated_normal", "std": 1.0, "low": -2.0, "high": 2.0}
_UNIFORM: Call = {"distribution": "uniform", "low": -1.0, "high": 1.0}
_SPARSE: Call = {"distribution": "sparse", "std": 1.0, "sparsity": 0.5}
_CONSTANT: Call = {"distribution": "constant", "value": 1.0}
_HOMES = {"std": _FLAT, "mean": _FLAT, "scale": _SCALED, "gain": _SCALED, "fan": _SCALED}
_HOMES |= {"low": _CUT, "high": _UNIFORM, "value": _CONSTANT, "sparsity": _SPARSE}
_BAD_NUMBERS: dict[str, tuple[Any, str]] = {
    "nan": (_NAN, "not_finite"),
    "inf": (_INF, "not_finite"),
    "minus-inf": (_MINUS_INF, "not_finite"),
    "true": (True, "coercion"),
    "text": ("1", "coercion"),
}


def _init(fields: Any, **changes: Any) -> Call:
    return {"initializer": fields, "shape": [6, 4], "layout": "OI"} | changes


def _numbers() -> Iterator[Refused]:
    """Every number of an initializer."""
    for (field, home), (title, (number, flag)) in product(_HOMES.items(), _BAD_NUMBERS.items()):
        yield _refused(f"field/{field}/{title}", _init(home | {field: number}), flag)
    for field, number in (("std", -1.0), ("scale", -1.0), ("gain", -2.0), ("fan", -3), ("fan", 0)):
        yield _refused(
            f"field/{field}/{number:g}", _init(_HOMES[field] | {field: number}), "wrong_sign"
        )
    for number in (-0.1, 1.1):
        yield _refused(f"field/sparsity/{number}", _init(_SPARSE | {"sparsity": number}), "bounds")


_FIELDS: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "unknown_word"),
    "list": (["he_normal"], "coercion"),
    "text": ("he_normal", "coercion"),
    "distribution-number": ({"distribution": 5}, "coercion"),
    "distribution-unknown": ({"distribution": "norml"}, "unknown_word"),
    "mode-unknown": (_SCALED | {"mode": "fan-in"}, "unknown_word"),
    "mode-number": (_SCALED | {"mode": 1}, "coercion"),
    "fan_rule-unknown": (_SCALED | {"fan_rule": "toch"}, "unknown_word"),
    "per-unknown": (_SPARSE | {"per": "row"}, "unknown_word"),
    "absolute-1": (_CUT | {"absolute": 1}, "coercion"),
    "compensate-text": (_CUT | {"compensate": "yes"}, "coercion"),
    "unknown-field": (_FLAT | {"stddev": 1.0}, "unknown_word"),
    "format-2": (_FLAT | {"initspec": 2}, "unknown_word"),
    "format-true": (_FLAT | {"initspec": True}, "coercion"),
    "normal-without-std": ({"distribution": "normal"}, "unused_field"),
    "uniform-without-ends": ({"distribution": "uniform"}, "unused_field"),
    "uniform-without-high": ({"distribution": "uniform", "low": 0.0}, "unused_field"),
    "sparse-without-share": ({"distribution": "sparse", "std": 1.0}, "unused_field"),
    "std-and-mode": (_SCALED | {"std": 1.0}, "unused_field"),
    "low-of-a-normal": (_FLAT | {"low": 0.0}, "unused_field"),
    "gain-without-mode": (_FLAT | {"gain": 2.0}, "unused_field"),
    "scale-without-mode": (_FLAT | {"scale": 2.0}, "unused_field"),
    "fan-without-mode": (_FLAT | {"fan": 2.0}, "unused_field"),
    "mode-of-orthogonal": ({"distribution": "orthogonal", "mode": "fan_in"}, "unused_field"),
    "ends-and-mode": (_UNIFORM | {"mode": "fan_in"}, "unused_field"),
    "uniform-swapped": (_UNIFORM | {"low": 2.0}, "bounds"),
    "truncated-swapped": (_CUT | {"low": 3.0}, "bounds"),
    "truncated-empty": (_CUT | {"low": 2.0}, "bounds"),
    "truncated-without-bounds": ({"distribution": "truncated_normal", "std": 1.0}, "bounds"),
    "bound-of-11-sigmas": (_CUT | {"high": 11.0}, "bounds"),
    "bound-of-6.3381-sigmas": (_CUT | {"high": 6.3381}, "bounds"),
    "absolute-and-compensate": (_CUT | {"absolute": True, "compensate": True}, "bounds"),
    "absolute-excludes-mean": (_CUT | {"absolute": True, "std": 0.0, "mean": 5.0}, "bounds"),
    "too-thin": (_CUT | {"low": 6.0, "high": 6.1}, "bounds"),
    "absolute-too-thin": (_CUT | {"absolute": True, "std": 1e40}, "bounds"),
}


def _fields() -> Iterator[Refused]:
    for title, (fields, flag) in _FIELDS.items():
        yield _refused(f"initializer/{title}", _init(fields), flag)


_RECIPES: dict[str, Any] = {name: name for name in ("he_norml", "He_Normal", "torch.nope", "torch")}
_RECIPES |= {"empty": "", "number": 5, "null": None, "list": ["he_normal"]}


def _recipes() -> Iterator[Refused]:
    for title, name in _RECIPES.items():
        flag = "unknown_word" if isinstance(name, str) else "coercion"
        yield _refused(f"recipe/{title}", _he(recipe=name), flag)


_UNFIT: dict[str, tuple[str, list[int], str, Call]] = {
    "identity-of-a-kernel": ("identity", [3, 3, 4, 4], "HWIO", {}),
    "identity-without-outputs": ("identity", [4, 4], "_I", {}),
    "identity-of-an-embedding": ("identity", [4, 4], "VI", {}),
    "dirac-of-a-matrix": ("dirac", [4, 4], "OI", {}),
    "dirac-without-inputs": ("dirac", [3, 3, 4], "HWO", {}),
    "bilinear-of-a-matrix": ("bilinear", [4, 4], "OI", {}),
    "orthogonal-of-a-stack": ("orthogonal", [4, 4], "SO", {}),
    "orthogonal-of-inputs": ("orthogonal", [4, 4], "II", {}),
    "orthogonal-of-grouped-vocabularies": ("orthogonal", [2, 4, 4], "GVI", {}),
    "delta_orthogonal-of-a-matrix": ("delta_orthogonal", [4, 4], "OI", {}),
    "delta_orthogonal-with-more-inputs": ("delta_orthogonal", [3, 3, 5, 4], "HWIO", {}),
    "delta_orthogonal-in-groups": ("delta_orthogonal", [6, 4, 3, 3], "OIHW", {"groups": 2}),
    "sparse-of-a-stack": ("torch.sparse", [4, 4], "SO", {}),
}


def _unfit() -> Iterator[Refused]:
    for title, (recipe, shape, layout, options) in _UNFIT.items():
        call = {"recipe": recipe, "shape": shape, "layout": layout, "options": options}
        yield _refused(f"unfit/{title}", call, "unfit")


_RANGES: dict[str, tuple[Call, list[str]]] = {
    "normal-1e39": (_FLAT | {"std": 1e39}, ["float32", "bfloat16", "float16"]),
    "normal-1e-50": (_FLAT | {"std": 1e-50}, ["float32", "bfloat16", "float16"]),
    "normal-below-2-to-minus-95": (_FLAT | {"std": 2.0**-96}, ["float32", "bfloat16"]),
    "normal-below-2-to-minus-24": (_FLAT | {"std": 2.0**-25}, ["float16"]),
    "normal-below-2-to-minus-990": (_FLAT | {"std": 2.0**-991}, ["float64"]),
    "normal-1e301": (_FLAT | {"std": 1e301}, ["float64", "float32"]),
    "uniform-65505": (_UNIFORM | {"low": -65505.0, "high": 65505.0}, ["float16"]),
    "uniform-1e-40": (_UNIFORM | {"low": -1e-40, "high": 1e-40}, ["float32"]),
    "constant-1e39": (_CONSTANT | {"value": 1e39}, ["float32", "bfloat16", "float16"]),
    "constant-65505": (_CONSTANT | {"value": -65505.0}, ["float16"]),
    "constant-2-to-minus-150": (_CONSTANT | {"value": 2.0**-150}, ["float32"]),
    "gain-1e5": ({"distribution": "identity", "gain": 1e5}, ["float16"]),
    "spread-1e-9-of-the-mean": (_FLAT | {"std": 1e-9, "mean": 1.0}, ["float32", "float64"]),
    "spread-below-2-to-minus-8": (_FLAT | {"std": 2.0**-9, "mean": 1.0}, ["bfloat16"]),
    "spread-below-2-to-minus-11": (_FLAT | {"std": 2.0**-12, "mean": 1.0}, ["float16"]),
    "mean-beyond-float16": (_FLAT | {"std": 1000.0, "mean": 65000.0}, ["float16"]),
}


def _ranges() -> Iterator[Refused]:
    """Values that the dtype cannot hold."""
    for title, (fields, dtypes) in _RANGES.items():
        for dtype in dtypes:
            yield _refused(f"range/{title}/{dtype}", _init(fields, dtype=dtype), "out_of_range")
