"""Vectors about coordinates and keys: each group of cases, and the bugs that it finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle, product
from typing import Any

import initspec
from initspec.fill_plan import DTYPES
from initspec.initializer import Initializer
from initspec.recipes import RECIPES
from initspec_conformance.vectors.check import PI, SEEDS

__all__ = ["Case", "Options", "Shape", "coordinates", "stored"]

Shape = tuple[int, ...]
Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A tensor to make a vector of."""

    id: str
    init: Initializer
    shape: Shape
    layout: str
    flags: tuple[str, ...]
    options: Options = field(default_factory=dict)
    dtype: str = "float32"
    seed: int = PI[0]
    name: Any = "w"  # as the file has it
    box: tuple[Shape, Shape] | None = None


_PLAIN_LAYOUTS: dict[str, tuple[Shape, str]] = {
    "OI": ((7, 13), "boundary"),
    "HWIO": ((3, 3, 5, 6), "memory_order"),
    "SIO": ((3, 5, 7), "stack"),
}
_KINDS: dict[str, tuple[Initializer, tuple[str, ...]]] = {
    "uniform": (initspec.uniform(-1.0, 1.0), ("sign", "lanes")),
    "uniform-shifted": (initspec.uniform(0.0, 1.0), ("shift",)),
    "normal": (initspec.normal(0.02), ("sign", "block_offset")),
    "normal-mean": (initspec.normal(0.5, mean=-2.0), ("shift",)),
    "he_normal": (initspec.he_normal, ("truncation", "fans")),
    "truncated-asymmetric": (
        initspec.truncated_normal(1.0, -1.0, 2.5, compensate=True),
        ("truncation", "shift"),
    ),
    "truncated-one-sided": (initspec.variance_scaling(low=-0.5), ("truncation", "fans")),
    "sparse": (initspec.sparse(0.3, 1.0), ("sparse_lines",)),
    "sparse-per-input": (initspec.sparse(0.4, 0.1, per="input"), ("sparse_lines",)),
}
_BY_DTYPE = {"float32": (), "float64": ("precision",)} | dict.fromkeys(
    ("bfloat16", "float16"), ("rounding",)
)


def coordinates() -> Iterator[Case]:
    """Cases about which word a value comes from: laws, sizes, layouts, keys."""
    yield from _kinds()
    yield from _recipes()
    yield from _sizes()
    yield from _large()
    yield from _layouts()
    yield from _keys()
    yield from _blocks()


def _kinds() -> Iterator[Case]:
    """Every way to make an integer from a word, in every dtype."""
    seeds = cycle(SEEDS)
    for kind, dtype, layout in product(_KINDS, DTYPES, _PLAIN_LAYOUTS):
        init, flags = _KINDS[kind]
        shape, flag = _PLAIN_LAYOUTS[layout]
        yield Case(
            id=f"{kind}/{layout}/{dtype}",
            init=init,
            shape=shape,
            layout=layout,
            dtype=dtype,
            seed=next(seeds),
            flags=(*flags, flag, *_BY_DTYPE[dtype]),
        )


def _recipes() -> Iterator[Case]:
    """Every recipe of the table; dtypes and layouts take turns."""
    dtypes, seeds = cycle(DTYPES), cycle(SEEDS)
    flat = cycle([((6, 10), "IO"), ((10, 6), "OI")])
    kernels = cycle([((3, 2, 4, 5), "HWIO"), ((6, 4, 3, 2), "OIHW"), ((5, 3, 8), "WIO")])
    for name, recipe in RECIPES.items():
        kind = recipe.initializer.distribution
        if "orthogonal" in kind:
            continue
        spatial = kind in ("dirac", "bilinear") or (kind != "identity" and len(name) % 2)
        shape, layout = next(kernels if spatial else flat)
        dtype = next(dtypes)
        yield Case(
            id=f"recipe/{name}/{layout}/{dtype}",
            init=recipe.initializer,
            shape=shape,
            layout=layout,
            dtype=dtype,
            seed=next(seeds),
            name=name,
            flags=("recipe",) if name.count(".") == 0 else ("recipe", "dialect_fans"),
        )


# Where blocks of four words, registers, tiles (480, 504, 512 and 2048 words), stretches of rows
# (15360, 16384), and chunks of other implementations end.
_SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 128, 129)
_LONG: tuple[int, ...] = (
    239,
    241,
    255,
    257,
    479,
    481,
    503,
    505,
    511,
    512,
    513,
    1000,
    1021,
    2047,
    2049,
    4093,
)
_LONG += (4097, 15359, 15361, 16383, 16385, 65535, 65537, 131071, 131073)
_ANY_SIZE = {
    "normal": initspec.normal(1.0),
    "uniform": initspec.uniform(-0.25, 0.25),
    "truncated": initspec.truncated_normal(1.0),
    "shifted": initspec.uniform(0.0, 1.0),
}


def _sizes() -> Iterator[Case]:
    """Lengths at and beside every boundary, along either axis of either order in memory."""
    numbers, seeds = count(), cycle(SEEDS)
    turns: list[tuple[int, str, Shape]] = []
    for n in _SMALL:
        turns += [(n, "I", (n,)), (n, "OI", (5, n)), (n, "IO", (n, 3))]
    turns += [(n, "OI", (2, n)) for n in _LONG] + [(n, "IO", (n, 2)) for n in _LONG[1::2]]
    turns += [(n, "O", (n,)) for n in (5, 127, 257, 1021)]
    for n, layout, shape in turns:
        turn = next(numbers)
        kind, dtype = list(_ANY_SIZE)[turn % 4], DTYPES[(turn + turn // 4) % 4]
        yield Case(
            id=f"size/{n}/{layout}/{kind}/{dtype}",
            init=_ANY_SIZE[kind],
            shape=shape,
            layout=layout,
            dtype=dtype,
            seed=next(seeds),
            name="size",
            flags=("boundary", "lanes"),
        )


_LARGE: list[tuple[Initializer, Shape, str, str]] = [
    (initspec.normal(1.0), (262143,), "I", "float32"),  # 2**20 bytes: from there on, threads
    (initspec.normal(1.0), (262145,), "I", "float32"),
    (initspec.uniform(-1.0, 1.0), (131071,), "I", "float64"),
    (initspec.truncated_normal(1.0), (3, 174763), "OI", "bfloat16"),
    (initspec.he_normal, (1009, 1021), "OI", "float32"),
    (initspec.he_normal, (1021, 1009), "IO", "float32"),
    (initspec.glorot_uniform, (1024, 1024), "OI", "float32"),  # 2**22 bytes: huge pages
    (initspec.he_normal, (3, 3, 331, 509), "HWIO", "float32"),
    (initspec.he_normal, (509, 331, 3, 3), "OIHW", "bfloat16"),
    (initspec.lecun_normal, (3, 509, 701), "SIO", "float64"),
    (initspec.glorot_normal, (2039, 1031), "OI", "float16"),
    (initspec.uniform(0.0, 1.0), (2053, 1999), "IO", "float32"),
    (initspec.sparse(0.75, 0.01), (1013, 1019), "OI", "float32"),
    (initspec.normal(0.02), (50021, 32), "VI", "bfloat16"),
]


def _large() -> Iterator[Case]:
    """Tensors that threads share, and that take huge pages."""
    for init, shape, layout, dtype in _LARGE:
        yield Case(
            id=f"large/{init.distribution}/{'x'.join(map(str, shape))}/{layout}/{dtype}",
            init=init,
            shape=shape,
            layout=layout,
            dtype=dtype,
            seed=PI[1],
            name="large",
            flags=("threads", "boundary"),
        )


_ODD: list[tuple[Shape, str, Options, str]] = [
    ((20, 6), "(4 O) I", {}, "memory_order"),
    ((6, 12), "I (3 O)", {}, "memory_order"),
    ((6, 2, 5), "IOO", {}, "memory_order"),
    ((3, 5, 8), "OOI", {}, "memory_order"),
    ((4, 3, 10), "IIO", {}, "memory_order"),
    ((36, 5), "(H W I) O", {"sizes": {"H": 3, "W": 3}}, "memory_order"),
    ((5, 36), "O (I H W)", {"sizes": {"H": 2, "W": 3}}, "memory_order"),
    ((3, 5, 2, 4), "WHIO", {}, "memory_order"),
    ((5, 3, 4), "OIW", {}, "memory_order"),
    ((7, 2, 6), "WIO", {}, "memory_order"),
    ((4, 3, 2, 3, 2), "OIDHW", {}, "memory_order"),
    ((2, 3, 2, 3, 4), "DHWIO", {}, "memory_order"),
    ((2, 3, 4, 3, 2, 5), "TDWHIO", {}, "memory_order"),
    ((2, 3, 2, 3, 2, 2), "LZYXIO", {}, "memory_order"),
    ((6, 3, 4, 2), "OHWI", {}, "memory_order"),
    ((3, 4, 5, 2), "IHWO", {}, "memory_order"),
    ((16, 3, 3, 3), "OIHW", {"groups": 4}, "groups_ignored"),
    ((3, 3, 2, 12), "HWIO", {"groups": 3}, "groups_ignored"),
    ((26, 1, 3, 3), "(G O) I H W", {"groups": 13}, "groups_ignored"),
    ((12, 5), "OI", {"groups": 2}, "groups_ignored"),
    ((3, 3, 13, 2), "HWGO", {}, "groups_ignored"),
    ((3, 3, 10, 1), "HWIO", {"groups": 1}, "groups_ignored"),
    ((4, 3, 2, 5), "OGVI", {}, "groups_ignored"),
    ((6, 4, 3, 3), "IOHW", {}, "transposed"),
    ((6, 4, 3, 3), "IOHW", {"groups": 3}, "transposed"),
    ((3, 3, 6, 4), "HWOI", {}, "transposed"),
    ((3, 3, 4, 6), "HWIO", {"transposed": True}, "transposed"),
    ((6, 4, 3, 3), "IOHW", {"transposed": False}, "transposed"),
    ((3, 5, 4), "WOI", {}, "transposed"),
    ((6, 4, 3, 3), "IOHW", {"stride": 2}, "stride_ignored"),
    ((4, 4, 3, 6), "HWIO", {"stride": [2, 1], "transposed": True}, "stride_ignored"),
    ((6, 4, 3, 3), "IOHW", {"groups": 3, "stride": 2}, "stride_ignored"),
    ((8, 4, 3, 3), "OIHW", {"groups": 2, "stride": 2}, "stride_ignored"),
    ((3, 5, 4), "WIO", {"stride": 3}, "stride_ignored"),
    ((3, 3, 3, 4, 2), "DHWIO", {"stride": [1, 2, 3]}, "stride_ignored"),
    ((5, 9, 7), "SIO", {}, "stack"),
    ((4, 7, 9), "SOI", {}, "stack"),
    ((7, 4, 9), "OSI", {}, "stack"),
    ((3, 7, 2, 4), "_S2I", {}, "stack"),
    ((2, 3, 4, 5), "2_SI", {}, "stack"),
    ((3, 2, 5, 6), "SSIO", {}, "stack"),
    ((2, 3, 3, 4, 5), "SHWIO", {}, "stack"),
    ((129, 3), "VI", {}, "vocabulary"),
    ((3, 129), "IV", {}, "vocabulary"),
    ((2, 17, 5), "SVI", {}, "vocabulary"),
]
_SCALED = {
    "fan_in": initspec.he_normal,
    "fan_out": initspec.variance_scaling(1.0, "fan_out", "uniform", gain=1.25),
}
_DIALECT: list[tuple[Shape, str, Options]] = [
    ((8, 4, 3, 3), "OIHW", {"groups": 2, "stride": 2}),
    ((8, 4, 3, 3), "IOHW", {"groups": 2}),
    ((3, 4, 5), "SIO", {}),
    ((12, 4), "(3 O) I", {}),
    ((3, 3, 4, 2), "HWGO", {}),
    ((3, 3, 4, 6), "HWOI", {}),
    ((7, 5), "VI", {}),
]


def _layouts() -> Iterator[Case]:
    """Every letter and option of a layout, with both fans; dialects' fans."""
    seeds = cycle(SEEDS)
    for (shape, layout, options, flag), mode in product(_ODD, _SCALED):
        yield Case(
            id=f"layout/{stored(layout, options)}/{mode}",
            init=_SCALED[mode],
            shape=shape,
            layout=layout,
            options=options,
            seed=next(seeds),
            name="layout",
            flags=(flag, "fans"),
        )
    dialects = ("torch.xavier_normal", "keras.glorot_uniform", "jax.lecun_normal")
    for recipe, (shape, layout, options) in product(dialects, _DIALECT):
        yield Case(
            id=f"dialect/{recipe}/{stored(layout, options)}",
            init=initspec.get(recipe),
            shape=shape,
            layout=layout,
            options=options,
            seed=next(seeds),
            flags=("dialect_fans",),
        )


def stored(layout: str, options: Options) -> str:
    """A layout and its options as part of an id."""
    words = [f"{key}{value}" for key, value in options.items() if key != "blocks"]
    text = "-".join([layout, *words, *options.get("blocks", ())])
    return text.replace(" ", "_").translate(str.maketrans("", "", "':,"))


_NAMES: dict[str, Any] = {
    "empty": "",
    "path": "blocks/3/attn/query/kernel",
    "dotted": "blocks.3.attn.query.weight",
    "number-sign": "w#i",
    "only-number-sign": "#",
    "upper": "W",
    "space": "w ",
    "nfc": "Gewicht-\u00e4\u00df",
    "nfd": "Gewicht-a\u0308\u00df",
    "hangul-nfd": "\u1112\u1161\u11ab",
    "singleton": "\u212b",  # the angstrom sign, which normalises to a letter
    "han": "\u6b0a\u91cd",
    "emoji": "\U0001f3b2/w",
    "127-bytes": "n" * 127,
    "128-bytes": "n" * 128,  # one block of BLAKE2b
    "129-bytes": "n" * 129,
    "65536-bytes": {"repeat": ["n", 65536]},
}


def _keys() -> Iterator[Case]:
    """Seeds and names: all bits and all bytes count."""
    for seed in SEEDS:
        yield Case(
            id=f"seed/{seed:#x}",
            init=initspec.normal(1.0),
            shape=(3, 5),
            layout="OI",
            seed=seed,
            flags=("seed_folded", "key_sign"),
        )
    for title, name in _NAMES.items():
        yield Case(
            id=f"name/{title}",
            init=initspec.normal(1.0),
            shape=(3, 5),
            layout="OI",
            name=name,
            flags=("name_ignored", "name_text"),
        )


_BLOCKS: list[tuple[Initializer, Shape, str, Options, str]] = [
    (initspec.glorot_normal, (20, 6), "(4 O) I", {"blocks": ["i", "f", "g", "o"]}, "float32"),
    (initspec.glorot_normal, (20, 6), "(4 O) I", {"blocks": ["i", "g", "f", "o"]}, "float32"),
    (initspec.glorot_normal, (6, 20), "I (4 O)", {"blocks": ["i", "f", "g", "o"]}, "float32"),
    (initspec.he_normal, (6, 15), "I (3 O)", {"blocks": ["q", "k", "v"]}, "bfloat16"),
    (initspec.he_normal, (3, 5, 7), "SOI", {"blocks": ["q", "k", "v"]}, "float64"),
    (initspec.he_normal, (3, 5, 2, 7), "SI2O", {"blocks": ["gate", "up"]}, "float16"),
    (initspec.he_uniform, (4, 10, 3), "S (2 O) I", {"blocks": ["gate", "up"]}, "float32"),
    (initspec.sparse(0.5, 1.0), (10, 7), "(2 O) I", {"blocks": ["a", "\u00e4"]}, "float32"),
    (initspec.identity(), (12, 4), "(3 O) I", {"blocks": ["r", "z", "n"]}, "float32"),
    (initspec.uniform(0.0, 1.0), (6,), "(2 O)", {"blocks": ["x#", "y"]}, "float32"),
]


def _blocks() -> Iterator[Case]:
    for init, shape, layout, options, dtype in _BLOCKS:
        yield Case(
            id=f"blocks/{init.distribution}/{stored(layout, options)}/{dtype}",
            init=init,
            shape=shape,
            layout=layout,
            options=options,
            dtype=dtype,
            name="lstm",
            flags=("named_blocks",),
        )
