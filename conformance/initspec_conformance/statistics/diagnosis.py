"""What a sample that fails looks like: the likely mistakes are tried one after the other.

A mistake is a law that somebody could have drawn from instead: another shape (not truncated, not
corrected, uniform), another scale (another fan, another reading of the layout), or both. The
simplest one that fits the sample names the defect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from initspec.errors import InitspecError
from initspec.fans import RULES, Fans
from initspec.initializer import MODES, Initializer
from initspec.layout import Geometry, Layout, default_pattern
from initspec_conformance.results import Check
from initspec_conformance.statistics.checks import bins_check, legendre, legendre_check, std_check
from initspec_conformance.statistics.laws import Array, Target, atoms
from initspec_conformance.statistics.tally import Tally

__all__ = ["Mistake", "diagnose", "likely_scales", "mistakes"]

_FITS = 1e-5  # p below which a law is not that of the sample
_BINS = 256
_ENOUGH = 30  # values expected, if there being none is to mean anything
_COARSE = 20  # so many times fewer values than there are: a grid
_SAME = 1e-4  # relative difference of two scales that are one
_ROUND_NUMBERS = (1.2, 1.5)  # 4/3 times as many powers of two: digits were cut off
_GRID = {"bfloat16": 2 * 2**7, "float16": 2 * 2**10}  # all there is from draws in that dtype
_CONTRIB = "truncated with contrib's rounded correction, variance times 1.3"
_BARE = str.maketrans("", "", "() ")
_TWO_SIGMA = 0.8796256610342398  # std of a normal that is cut there


@dataclass(frozen=True)
class Mistake:
    """A law that somebody could have drawn from, in words; how many slips it takes."""

    words: str
    target: Target
    slips: int


def diagnose(tally: Tally, checks: Iterable[Check], init: Initializer, geometry: Geometry) -> str:
    """What is wrong with a sample, in a few words; empty if nothing failed."""
    failed = {check.name: check for check in checks if not check.passed}
    if not failed:
        return ""
    piles = [] if "autocorrelation" in failed else _piles(tally)  # copies are no piles
    findings = [*_strange(tally, failed), *piles, *_structure(tally, failed, bool(piles))]
    rest = failed.keys() - _EXPLAINED
    if rest and 2 * tally.strange < tally.size:  # else there is hardly a value left to judge
        others = rest <= _DISTURBED or piles or "autocorrelation" in failed
        disturbed = bool(findings) and bool(others)
        findings += _law(tally, failed, init, geometry, disturbed)
    return "; ".join(dict.fromkeys(findings)) or ", ".join(map(str, failed.values()))


# --- what no law explains ---------------------------------------------------------------------

_EXPLAINED = {"not finite", "repeated runs", "autocorrelation", "correlation of neighbours"}
_EXPLAINED |= {"different values", "powers of two"}
_DISTURBED = {"distribution", "smallest", "largest", "skewness", "kurtosis"}  # by the same


def _strange(tally: Tally, failed: dict[str, Check]) -> Iterator[str]:
    if "not finite" in failed:
        nothing = ": nothing is written" if tally.strange == tally.size else ""
        yield f"{tally.strange} of {tally.size} values are NaN or infinite{nothing}"
    if "different values" in failed:
        check = failed["different values"]
        few = check.value <= _GRID[tally.dtype]
        cause = "drawn in {}, not rounded to it" if few else "rounded to {} more than once"
        yield (
            f"only {check.value:.0f} different values instead of about {check.expected:.0f}: "
            f"{cause.format(tally.dtype)}"
        )
    elif end := _open_end(tally, failed):
        yield end
    elif "powers of two" in failed:
        check = failed["powers of two"]
        low, high = _ROUND_NUMBERS
        if low < check.value / check.expected < high:
            yield "rounded towards zero, not to nearest"
        else:
            yield f"the rounding to {tally.dtype} is not to nearest"


def _open_end(tally: Tally, failed: dict[str, Check]) -> str:
    """Whether a uniform leaves out its upper bound after the rounding, as torch does."""
    shown = failed.keys() & {"mean", "largest", "distribution", "powers of two"}
    if not (shown and tally.narrow and tally.target.kind == "uniform"):
        return ""
    masses = atoms(tally.target, tally.dtype)
    known = np.flatnonzero(masses.mass > 1e-12)
    top = known[masses.below[known].argmax()]
    expected = tally.size * masses.mass[top]
    if expected < _ENOUGH or tally.patterns[top]:
        return ""
    bottom = masses.below + masses.mass <= 1.5 * masses.mass[top]
    moved = (tally.patterns - tally.size * masses.mass)[bottom].sum()
    words = f"no value rounds to the upper bound, and about {expected:.0f} should"
    return words + (": they come out as the lower bound" if moved > expected / 2 else "")


def _piles(tally: Tally) -> list[str]:
    """Values that occur far too often in a wide dtype: zeros, bounds, a coarse grid."""
    values = tally.sample()
    finite = values[np.isfinite(values)]
    if tally.narrow or not finite.size:
        return []
    different, counts = np.unique(finite, return_counts=True)
    if 1 < different.size < finite.size / _COARSE:
        return [f"only {different.size} different values among {finite.size}"]
    most = int(counts.max())
    if most < max(_ENOUGH, finite.size / 10_000) or different.size == 1:
        return []
    value = float(different[counts.argmax()])
    end = "" if different[0] < value < different[-1] else ", an end: clipped, not drawn again"
    return [f"{most} of {finite.size} values are {value:g}{end}"]


def _structure(tally: Tally, failed: dict[str, Check], piles: bool) -> Iterator[str]:
    other_law = bool(failed.keys() & {"mean", "std"})  # then products of values are larger
    least = tally.plain_correlation if other_law else 0.0
    neighbours, repeats = failed.get("correlation of neighbours"), failed.get("autocorrelation")
    high = neighbours is not None and neighbours.value > 0.9 * tally.highest_correlation
    if high and tally.repeats:  # then they correlate with themselves, too
        yield "tensors of neighbouring seeds or names are equal"
        return
    if repeats and repeats.value > least:
        yield f"the values repeat themselves: they correlate at a distance of {tally.period}"
    elif neighbours and neighbours.value > least:
        yield "tensors of neighbouring seeds or names share values"
    elif "repeated runs" in failed and not other_law and not piles:
        yield f"{tally.repeats} runs of values occur twice"
    if other_law:
        return
    axes = [name for name in failed if name.startswith(("correlation along", "sums along"))]
    if axes:
        yield f"not independent along axes: {', '.join(axes)}"


# --- the law ----------------------------------------------------------------------------------


def _law(
    tally: Tally,
    failed: dict[str, Check],
    init: Initializer,
    geometry: Geometry,
    disturbed: bool,
) -> Iterator[str]:
    """Which law it is; if something else disturbs the sample, only if it is clearly another."""
    values = tally.sample()
    finite = values[np.isfinite(values)]
    if finite.size and float(finite.min()) == float(finite.max()):
        yield f"all values equal {finite[0]:g}"
        return
    beyond = "beyond the bounds" in failed
    mistake = _first_that_fits(finite, tally, mistakes(init, geometry, tally.target), beyond)
    if disturbed and (mistake is None or not mistake.slips):
        return
    if mistake is None:
        yield _in_numbers(tally, finite, failed)
    elif mistake.slips:
        off = tally.spread / tally.target.std - 1
        yield mistake.words + (f" (std {off:+.2%})" if "std" in failed else "")
    elif beyond:
        low, high = (end - tally.target.mean for end in tally.ends)
        reach = max(-low, high) / tally.target.std
        yield (
            f"the truncation leaks: {tally.beyond} of {tally.size} values are beyond the bounds, "
            f"up to {reach:.2f} std from the mean"
        )
    else:
        yield _in_numbers(tally, finite, failed)


def _first_that_fits(
    values: Array, tally: Tally, candidates: Iterable[Mistake], beyond: bool
) -> Mistake | None:
    """The one with the fewest slips; rather one slip with other bounds than bounds that leak."""
    fitting = [each for each in candidates if _fits(values, each.target, tally)]
    if beyond and fitting and not fitting[0].slips:
        wider = [each for each in fitting if each.slips == 1 and _holds(each.target, tally)]
        fitting = wider or fitting
    fewest = min((each.slips for each in fitting), default=0)
    return next((each for each in fitting if each.slips == fewest), None)


def _holds(target: Target, tally: Tally) -> bool:
    """Whether the law has bounds, and all values are within them."""
    return target.kind != "normal" and not tally.outside(np.array(tally.ends), target)


def _fits(values: Array, target: Target, tally: Tally) -> bool:
    """Whether the sample could be of that law, but for a few values beyond the bounds."""
    ratio = float((((values - target.mean) / target.std) ** 2).mean())
    if std_check(target.std, ratio, target.kurtosis, values.size).p < _FITS:
        return False
    u = target.cdf(values)
    sums = legendre(u)
    smooth = (legendre_check(order, float(s), values.size) for order, s in enumerate(sums))
    if any(check.p < _FITS for check in smooth):
        return False
    outside = tally.outside(values, target) / values.size
    coarse = tally.narrow  # rounding makes atoms, which bins may cut
    counts = np.bincount(np.minimum((u * _BINS).astype(np.int64), _BINS - 1), minlength=_BINS)
    return outside < 1e-3 and (coarse or bins_check(counts, _BINS).p > _FITS)


def _in_numbers(tally: Tally, values: Array, failed: dict[str, Check]) -> str:
    """No mistake is known: which moment is off, by how much, and whether the shape is right."""
    target = tally.target
    parts = []
    if "mean" in failed:
        parts.append(f"the mean is off by {(values.mean() - target.mean) / target.std:+.2g} std")
    off = tally.spread / target.std
    if "std" in failed:
        parts.append(f"the std is {abs(off - 1):.2%} too {'large' if off > 1 else 'small'}")
        if _fits(values, target.scaled(off), tally):
            parts.append("the shape is right")
    if not parts:
        parts = [str(check) for check in failed.values()]
    return ", ".join(parts)


# --- the likely mistakes ----------------------------------------------------------------------


def mistakes(init: Initializer, geometry: Geometry, target: Target) -> list[Mistake]:
    """The law itself, then those of likely mistakes, simple ones first."""
    shapes = [("", target), *_other_shapes(target)]
    scales = [("", 1.0), *likely_scales(init, geometry, target)]
    found = [
        Mistake(", and ".join(filter(None, (shape, scale))), law.scaled(factor), slips)
        for scale, factor in scales
        for shape, law in shapes
        for slips in [bool(shape) + bool(scale)]
    ]
    return sorted(found, key=lambda mistake: mistake.slips)


def _other_shapes(target: Target) -> Iterator[tuple[str, Target]]:
    mean, std = target.mean, target.std
    if target.kind != "normal":
        cut = target.kind == "truncated_normal"
        words = "looks untruncated" if cut else "normal, not uniform"
        yield words, Target.normal(mean, std)
        if cut:
            yield (
                "looks untruncated, with the std of before the cut",
                Target.normal(target.centre, target.sigma),
            )
    if target.kind != "uniform":
        half = math.sqrt(3.0) * std
        yield (
            f"uniform, not {target.kind.replace('_', ' ')}",
            Target.uniform(mean - half, mean + half),
        )
    if target.kind != "truncated_normal":
        words = f"truncated at two sigma, not {target.kind}"
        yield words, Target.truncated(mean, std / _TWO_SIGMA, -2.0, 2.0)
    words = "truncated without the correction of the std"
    yield words, Target.truncated(mean, std, -2.0, 2.0)
    contrib = Target.truncated(mean, std * math.sqrt(1.3), -2.0, 2.0)
    yield _CONTRIB, contrib


def likely_scales(init: Initializer, geometry: Geometry, target: Target) -> list[tuple[str, float]]:
    """Other factors of the std; those that cannot be told apart share their words."""
    joined: list[tuple[list[str], float]] = []
    for words, factor in _factors(init, geometry, target):
        if abs(factor - 1) < _SAME:
            continue
        for names, known in joined:
            if abs(factor / known - 1) < _SAME:
                names.append(words)
                break
        else:
            joined.append(([words], factor))
    return [(" or ".join(dict.fromkeys(names)), factor) for names, factor in joined]


def _factors(init: Initializer, geometry: Geometry, target: Target) -> Iterator[tuple[str, float]]:
    if init.mode is not None and init.fan is None:
        yield from _fan_factors(init, geometry, target)
    variance = 0.0 if init.mode is None else init.scale * init.gain**2
    if math.isclose(variance, 2.0):
        yield "variance 1 / fan instead of 2 / fan (LeCun's for He's)", math.sqrt(0.5)
    if math.isclose(variance, 1.0):
        yield "variance 2 / fan instead of 1 / fan (He's for LeCun's)", math.sqrt(2.0)
    numbers = {
        "the limit of a uniform is taken for a std (sqrt 3 too large)": math.sqrt(3.0),
        "the std is taken for the limit of a uniform (sqrt 3 too small)": math.sqrt(1 / 3),
        "without the correction of the std for truncation": _TWO_SIGMA,
        "corrected for truncation, which is not asked for": 1 / _TWO_SIGMA,
    }
    yield from numbers.items()
    yield "the variance is taken for the std", target.std
    yield "the std is 1: nothing is scaled", 1 / target.std
    if target.kind == "truncated_normal":
        yield _CONTRIB, _TWO_SIGMA * math.sqrt(1.3)


def _fan_factors(
    init: Initializer, geometry: Geometry, target: Target
) -> Iterator[tuple[str, float]]:
    groups = math.prod(f.extent for f in geometry.factors if f.letter == "G")
    if init.mode == "fan_in":
        yield "the groups are ignored", math.sqrt(1 / max(1, groups))
    variants = [(f"std is that of {mode}", init.replace(mode=mode), geometry) for mode in MODES]
    field = math.prod(geometry.spatial)
    if field > 1:
        yield "the receptive field is left out of the fans", math.sqrt(field)
        for words, variant, shape in variants:
            if variant.mode != init.mode and (other := Target.of(variant, shape)):
                factor = other.std / target.std * math.sqrt(field)
                yield f"{words} without the receptive field", factor
    limit = "the limit is 1 / sqrt(fan_in) (that of torch's layers)"
    variants.append((limit, init.replace(mode="fan_in", scale=1 / 3, gain=1.0), geometry))
    rules = {"fan_in": ("He's, sqrt(2 / fan_in)", 2.0)}
    rules["fan_avg"] = ("Glorot's, sqrt(2 / (fan_in + fan_out))", 1.0)
    variants += [
        (f"std is {words}", init.replace(mode=mode, scale=scale, gain=1.0), geometry)
        for mode, (words, scale) in rules.items()
        if mode != init.mode
    ]
    if geometry.layout.stride != 1:
        layout = replace(geometry.layout, stride=1)
        variants.append(("the stride is ignored", init, replace(geometry, layout=layout)))
    variants += [(words, init, other) for words, other in _readings(geometry)]
    variants += [
        (words, init.replace(fan_rule=rule), geometry)
        for rule, words in _rules(init, geometry).items()
    ]
    for words, variant, shape in variants:
        other = Target.of(variant, shape)
        if other is not None:
            yield words, other.std / target.std


def _rules(init: Initializer, geometry: Geometry) -> dict[str, str]:
    """The rules of frameworks that count other fans; those that agree share their words."""
    agreeing: dict[Fans, list[str]] = {}
    for rule, count in RULES.items():
        if rule not in ("true", init.fan_rule):
            agreeing.setdefault(count(geometry), []).append(rule)
    agreeing.pop(RULES[init.fan_rule](geometry), None)
    return {rules[0]: f"fans are counted as {_listed(rules)} does" for rules in agreeing.values()}


def _listed(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _readings(geometry: Geometry) -> Iterator[tuple[str, Geometry]]:
    """The same shape with the layouts that somebody could take it for."""
    rank = len(geometry.shape)
    own = geometry.layout.pattern
    for convention in ("OI", "IO"):
        try:
            pattern = default_pattern(rank, convention, fans=True)
            other = Layout.parse(pattern).bind(geometry.shape)
            if own.replace("G", "").translate(_BARE) != pattern:
                yield f"{own} is read as {pattern}", other
            elif "G" in own:
                yield "the groups are ignored", other
        except InitspecError:  # no layout of that rank
            continue
