"""Vectors about values: patterns, constants, ends of ranges, shards; matrices; moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import initspec
from initspec.fill_plan import DTYPES
from initspec.initializer import Initializer
from initspec.layout import Layout
from initspec_conformance.vectors.check import PI, SEEDS
from initspec_conformance.vectors.layout_cases import Case, Options, Shape, stored

__all__ = ["matrices", "samples", "values"]


def values() -> Iterator[Case]:
    """Cases about what becomes of a word, and about values that come from none."""
    yield from _patterns()
    yield from _constants()
    yield from _shifts()
    yield from _ranges()
    yield from _boxes()


_PATTERNS: list[tuple[Initializer, Shape, str, Options]] = [
    (initspec.dirac, (6, 4, 3, 3), "OIHW", {}),
    (initspec.dirac, (3, 2, 4, 6), "HWIO", {}),
    (initspec.dirac.replace(gain=1.5), (6, 2, 4, 2), "OIHW", {"groups": 3}),
    (initspec.dirac, (5, 3, 4), "WIO", {}),
    (initspec.dirac, (2, 3, 4, 2, 3), "DHWIO", {}),
    (initspec.dirac, (2, 3, 4, 5), "SWIO", {}),
    (initspec.dirac, (3, 3, 4, 3), "HWOI", {}),
    (initspec.identity(), (5, 5), "IO", {}),
    (initspec.identity(0.1), (4, 7), "OI", {}),
    (initspec.identity(0.5), (2, 3, 5), "SIO", {}),
    (initspec.identity(2.0), (6, 4), "(G O) I", {"groups": 2}),
    (initspec.identity(), (6, 2, 3), "IOO", {}),
    (initspec.bilinear, (4, 4, 2, 3), "HWIO", {}),
    (initspec.bilinear, (2, 3, 5, 4), "OIHW", {}),
    (initspec.bilinear, (3, 5, 2, 2), "WHIO", {}),
    (initspec.bilinear, (7, 2, 2), "WIO", {}),
    (initspec.bilinear, (3, 4, 5, 1, 2), "DHWIO", {}),
]
_LINES: list[tuple[Initializer, Shape, str, Options]] = [
    (initspec.sparse(0.1, 1.0), (30, 4), "IO", {}),
    (initspec.sparse(0.25, 1.0, per="input"), (8, 3), "(G O) I", {"groups": 2}),
    (initspec.sparse(0.25, 1.0), (8, 5), "(G O) I", {"groups": 2}),
    (initspec.sparse(0.5, 1.0, per="input"), (3, 3, 5, 7), "HWIO", {}),
    (initspec.sparse(0.5, 1.0), (2, 7, 5), "SIO", {}),
    (initspec.sparse(0.0, 1.0), (7, 5), "OI", {}),
    (initspec.sparse(1.0, 1.0), (7, 5), "OI", {}),
    (initspec.sparse(0.3, 1.0), (5, 10), "OI", {}),  # 0.3 * 10 is a little more than 3
    (initspec.sparse(0.9, 1.0), (3, 1031), "OI", {}),
    (initspec.sparse(0.9, 1.0, per="input"), (1031, 3), "OI", {}),
]


def _patterns() -> Iterator[Case]:
    """Values that stand where an output meets an input, and zeros along lines."""
    turns = [(case, "pattern") for case in _PATTERNS] + [(case, "sparse_lines") for case in _LINES]
    for turn, ((init, shape, layout, options), flag) in enumerate(turns):
        for dtype in {"float32": 0, DTYPES[1 + turn % 3]: 0}:
            per = f"-{init.sparsity}-per-{init.per}" if init.sparsity is not None else ""
            size = "x".join(map(str, shape))
            yield Case(
                id=f"{init.distribution}{per}/{stored(layout, options)}/{size}/{dtype}",
                init=init,
                shape=shape,
                layout=layout,
                options=options,
                dtype=dtype,
                seed=SEEDS[turn % len(SEEDS)],
                flags=(flag,),
            )


_NUMBERS = {"tenth": 0.1, "tie": 1 + 2.0**-8 + 2.0**-24, "minus-third": -1 / 3, "zero": 0.0}


def _constants() -> Iterator[Case]:
    """Numbers that no dtype holds exactly, and one that shows a second rounding."""
    for (title, number), dtype in product(_NUMBERS.items(), DTYPES):
        yield Case(
            id=f"constant/{title}/{dtype}",
            init=initspec.constant(number),
            shape=(2, 5),
            layout="OI",
            dtype=dtype,
            flags=("rounding",),
        )


_SHIFTS: list[tuple[str, Initializer, str]] = [
    ("normal-mean", initspec.normal(0.3, mean=-0.1), "shift"),
    ("normal-small-mean", initspec.normal(1.0, mean=1e-12), "shift"),
    ("normal-large-mean", initspec.normal(0.01, mean=1.0), "shift"),
    ("truncated-mean", initspec.truncated_normal(0.02, mean=0.5), "shift"),
    ("uniform-off-centre", initspec.uniform(-0.1, 0.3), "shift"),
    ("uniform-negative", initspec.uniform(-3.0, -1.0), "shift"),
    ("absolute", initspec.truncated_normal(0.02, -0.03, 0.01, absolute=True), "absolute_bounds"),
    (
        "absolute-mean",
        initspec.truncated_normal(0.02, -0.5, 0.013, mean=0.01, absolute=True),
        "absolute_bounds",
    ),
    (
        "absolute-beyond-all",
        initspec.truncated_normal(0.02, -9.0, 9.0, absolute=True),
        "absolute_bounds",
    ),
    ("compensated", initspec.truncated_normal(1.0, compensate=True), "truncation"),
    ("above-one-sigma", initspec.truncated_normal(1.0, 1.0, None), "truncation"),
    ("far-tail", initspec.truncated_normal(1.0, 4.0, 6.0), "tails"),
    ("widest", initspec.variance_scaling(1.0, "fan_in", low=-6.337, high=5.0), "tails"),
    (
        "compensated-asymmetric",
        initspec.variance_scaling(1.0, "fan_avg", low=-1.0, high=2.5),
        "truncation",
    ),
    ("fan_geo_avg", initspec.variance_scaling(3.0, "fan_geo_avg", "uniform"), "fans"),
    ("std-0", initspec.normal(0.0, mean=0.1), "shift"),
    ("given-fan", initspec.variance_scaling(1.0, "fan_out").replace(fan=37.5), "fans"),
]


def _shifts() -> Iterator[Case]:
    for turn, (title, init, flag) in enumerate(_SHIFTS):
        for dtype in ("float32", "float64"):
            yield Case(
                id=f"shift/{title}/{dtype}",
                init=init,
                shape=(5, 3, 4, 6),
                layout="HWIO",
                dtype=dtype,
                seed=SEEDS[turn % len(SEEDS)],
                flags=(flag,),
            )


_RANGES: list[tuple[str, Initializer, str, str]] = [
    ("least", initspec.normal(2.0**-95), "float32", "subnormal"),
    ("least", initspec.normal(2.0**-95), "bfloat16", "subnormal"),
    ("least", initspec.normal(2.0**-24), "float16", "subnormal"),
    ("least", initspec.normal(2.0**-990), "float64", "subnormal"),
    ("subnormal", initspec.normal(2.0**-18), "float16", "subnormal"),
    ("subnormal", initspec.uniform(-(2.0**-14), 2.0**-14), "float16", "subnormal"),
    ("least", initspec.uniform(-(2.0**-95), 2.0**-95), "float32", "subnormal"),
    ("least", initspec.constant(2.0**-149), "float32", "subnormal"),
    ("least", initspec.constant(2.0**-133), "bfloat16", "subnormal"),
    ("least", initspec.constant(2.0**-24), "float16", "subnormal"),
    (
        "largest",
        initspec.uniform(-3.4028234663852886e38, 3.4028234663852886e38),
        "float32",
        "tails",
    ),
    ("largest", initspec.uniform(-65504.0, 65504.0), "float16", "tails"),
    ("largest", initspec.uniform(-(2.0**1000), 2.0**1000), "float64", "tails"),
    ("largest", initspec.normal(5e37), "float32", "tails"),
    ("largest", initspec.constant(-65504.0), "float16", "tails"),
    ("spread", initspec.normal(2.0**-5, mean=1.0), "bfloat16", "rounding"),
    ("spread", initspec.normal(2.0**-8, mean=1.0), "float16", "rounding"),
    ("spread", initspec.normal(2.0**-16, mean=1.0), "float32", "shift"),
]


def _ranges() -> Iterator[Case]:
    """The ends of what a dtype holds; one step further is a refusal."""
    for title, init, dtype, flag in _RANGES:
        yield Case(
            id=f"range/{title}/{init.distribution}/{init.std or init.high or init.value:g}/{dtype}",
            init=init,
            shape=(17, 61),
            layout="OI",
            dtype=dtype,
            seed=PI[2],
            flags=(flag,),
        )


_WHOLES: list[tuple[Initializer, Shape, str, Options]] = [
    (initspec.he_normal, (24, 40), "OI", {}),
    (initspec.glorot_uniform, (40, 24), "IO", {}),
    (initspec.uniform(0.0, 1.0), (3, 3, 8, 12), "HWIO", {}),
    (initspec.lecun_normal, (12, 8, 3, 3), "OIHW", {"groups": 3}),
    (initspec.he_uniform, (4, 17, 20), "SIO", {}),
    (initspec.normal(1.0), (50, 12), "VI", {}),
]
_SHARED: tuple[Initializer, Shape, str, Options]  # between threads, too
_SHARED = (initspec.glorot_normal, (1009, 1021), "OI", {})
_CORNERS = ((0, 1, 0), (0, 3, 4), (1, 5, 8))
# No machine can make the whole; the reference makes any part.
_FAR: list[tuple[Shape, Shape]] = [
    ((1, 2**20, 2**33), (0, 2**20 - 3, 2**31 - 8)),
    ((1, 4, 2**34), (0, 1, 2**34 - 12)),
    ((1, 4, 2**34), (0, 1, 2**32 - 8)),
    ((1, 2**32, 16), (0, 2**31 - 2, 4)),
    ((1, 2**32, 16), (0, 2**32 - 3, 4)),
    ((2**32, 1, 16), (2**31 - 1, 0, 8)),
    ((2**32, 1, 16), (2**32 - 2, 0, 0)),
    ((70000, 80000, 2**24), (69998, 79997, 2**24 - 12)),
]


def _boxes() -> Iterator[Case]:
    """Parts of tensors, as shards are; far ones count beyond 32 bits."""
    for turn, (whole, corner) in enumerate(product(_WHOLES, _CORNERS)):
        _, shape, layout, options = whole
        counts = Layout.parse(layout, **options).bind(shape).counts
        origin = [min(at, n - 1) for at, n in zip(corner, counts, strict=True)]
        origin[2] -= origin[2] % 4
        yield _box(*whole, DTYPES[turn % 4], tuple(origin), _within(counts, origin, (2, 7, 13)))
    yield _box(*_SHARED, "float32", (0, 100, 8), (1, 900, 1000))
    for turn, (shape, start) in enumerate(_FAR):
        size = _within(shape, start, (2, 3, 12))
        yield _box(initspec.normal(1.0), shape, "SOI", {}, DTYPES[turn % 4], start, size)


def _within(counts: Sequence[int], origin: Sequence[int], most: Sequence[int]) -> Shape:
    """The size of a box that ends where the tensor ends, or sooner."""
    return tuple(min(m, n - at) for m, n, at in zip(most, counts, origin, strict=True))


def _box(
    init: Initializer,
    shape: Shape,
    layout: str,
    options: Options,
    dtype: str,
    origin: Shape,
    size: Shape,
) -> Case:
    far = max(origin) > 2**20
    corner = "-".join(map(str, origin))
    return Case(
        id=f"{'far' if far else 'box'}/{'x'.join(map(str, shape))}/{layout}/at-{corner}/{dtype}",
        init=init,
        shape=shape,
        layout=layout,
        options=options,
        dtype=dtype,
        seed=PI[3],
        name="shard",
        flags=("local_coordinates", "coordinate_overflow" if far else "boundary"),
        box=(origin, size),
    )


# --- rounded, and moments -----------------------------------------------------------------------

_MATRICES: list[tuple[Initializer, Shape, str, Options]] = [
    (initspec.orthogonal(), (4, 6), "OI", {}),
    (initspec.orthogonal(), (4, 6), "IO", {}),
    (initspec.orthogonal(1.5), (5, 5), "OI", {}),
    (initspec.orthogonal(), (2, 2, 2, 3), "HWIO", {}),
    (initspec.orthogonal(), (2, 3, 4), "SIO", {}),
    (initspec.orthogonal(), (6, 4), "(G O) I", {"groups": 2}),
    (initspec.orthogonal(), (6, 3), "(2 O) I", {"blocks": ["a", "b"]}),
    (initspec.get("delta_orthogonal"), (2, 3, 2, 3), "HWIO", {}),
    (initspec.get("delta_orthogonal"), (3, 2, 3), "OIW", {}),
]


def matrices() -> Iterator[Case]:
    """Factored matrices: equal up to the last bits of the factorisation."""
    for turn, (init, shape, layout, options) in enumerate(_MATRICES):
        for dtype in {"float32": 0, DTYPES[1 + turn % 3]: 0}:
            gain = f"-gain-{init.gain:g}" if init.gain != 1 else ""
            yield Case(
                id=f"{init.distribution}{gain}/{stored(layout, options)}/{dtype}",
                init=init,
                shape=shape,
                layout=layout,
                options=options,
                dtype=dtype,
                seed=SEEDS[turn],
                flags=("rounded_matrix",),
            )


# Sizes are distinct primes times powers of two: nearly every slip changes the std by over 10 %.
_SAMPLES: list[tuple[str, Initializer, Shape, str, Options, tuple[str, ...]]] = [
    ("he_normal", initspec.he_normal, (904, 292), "IO", {}, ("fans", "law")),
    ("he_uniform", initspec.he_uniform, (166, 1552), "OI", {}, ("fans", "law")),
    ("glorot_normal", initspec.glorot_normal, (1384, 188), "IO", {}, ("fans", "law")),
    ("glorot_uniform", initspec.glorot_uniform, (188, 1384), "OI", {}, ("fans", "law")),
    ("lecun_normal", initspec.lecun_normal, (152, 74, 5, 5), "OIHW", {}, ("fans", "law")),
    ("lecun_uniform", initspec.lecun_uniform, (5, 5, 74, 152), "HWIO", {}, ("fans", "law")),
    ("he_normal", initspec.he_normal, (656, 29, 3, 5), "OIHW", {"groups": 4}, ("groups_ignored",)),
    (
        "glorot_uniform",
        initspec.glorot_uniform,
        (5, 3, 29, 656),
        "HWIO",
        {"groups": 4},
        ("groups_ignored",),
    ),
    ("he_uniform", initspec.he_uniform, (5, 7, 1832, 4), "HWGO", {}, ("groups_ignored",)),
    (
        "lecun_normal",
        initspec.lecun_normal,
        (268, 124, 3, 3),
        "IOHW",
        {"stride": 2},
        ("transposed", "stride_ignored"),
    ),
    (
        "he_normal",
        initspec.he_normal,
        (3, 3, 124, 268),
        "HWOI",
        {"stride": 2},
        ("transposed", "stride_ignored"),
    ),
    ("glorot_normal", initspec.glorot_normal, (7, 388, 92), "SIO", {}, ("stack", "fans")),
    ("embedding", initspec.get("jax.embedding"), (4073, 64), "VI", {}, ("vocabulary",)),
    ("normal", initspec.normal(0.02), (509, 523), "OI", {}, ("law",)),
    (
        "truncated_normal",
        initspec.truncated_normal(0.02, -1.0, 2.5, mean=0.01),
        (509, 523),
        "OI",
        {},
        ("truncation", "shift"),
    ),
    ("uniform", initspec.uniform(-0.1, 0.3), (509, 523), "OI", {}, ("law", "shift")),
]
_NARROW = ("he_normal/IO", "glorot_uniform/OI")


def samples() -> Iterator[Case]:
    """About 2**18 values each, for the statistics; two of them in 16 bits, too."""
    for title, init, shape, layout, options, flags in _SAMPLES:
        for dtype in ("float32", "bfloat16", "float16"):
            if dtype != "float32" and f"{title}/{layout}" not in _NARROW:
                continue
            yield Case(
                id=f"moments/{title}/{stored(layout, options)}/{dtype}",
                init=init,
                shape=shape,
                layout=layout,
                options=options,
                dtype=dtype,
                seed=PI[0],
                name="sample",
                flags=flags if dtype == "float32" else (*flags, "rounding"),
            )
