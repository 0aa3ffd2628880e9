"""The sanity checker of the vectors: standard library and initspec, no schema validator."""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from initspec.errors import InitspecError
from initspec.fill_plan import DTYPES
from initspec.initializer import Initializer
from initspec.layout import Geometry, Layout

__all__ = ["LEAST_REFUSALS", "SEEDS", "check", "fits"]

PI = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)
# Nothing up the sleeve: zero, ends of integer types, and the first digits of pi.
SEEDS = (0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1, *PI)
LEAST_REFUSALS = 0.3  # of all vectors
FIRST = 8
_TOP = {"stream", "suite", "flags", "tensors", "refusals"}
_COMMON = {"id", "promise", "initializer", "shape", "layout", "options", "seed", "name"}
_COMMON |= {"dtype", "flags"}
_OWN = {
    "bits": {"sha256", "first"},
    "rounded": {"values", "tolerance"},
    "moments": {"mean", "std", "low", "high", "kurtosis"},
}
_REFUSAL = {"id", "call", "error", "where", "verdict", "flags"}
_VERDICTS = ("refused", "acceptable")
_CALL = {"initializer", "recipe", "shape", "layout", "options", "dtype", "seed", "name"}
_ERRORS = ("InitspecValueError", "InitspecTypeError")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SEED = re.compile(r"0x[0-9a-f]{16}")
_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p[+-][0-9]+")


def check(data: Any) -> list[str]:
    """All that is wrong with a tree of vectors; nothing if it is sound.

    Args:
        data: what the JSON file holds.

    Returns:
        One message for each problem, with the id of the vector where there is one.

    >>> check({})
    ["the keys are [], not ['flags', 'refusals', 'stream', 'suite', 'tensors']"]
    """
    if not isinstance(data, dict) or set(data) != _TOP:
        found = sorted(data) if isinstance(data, dict) else data
        return [f"the keys are {found}, not {sorted(_TOP)}"]
    return [*_each(data), *_whole(data)]


def _each(data: dict[str, Any]) -> Iterator[str]:
    for kind, test in (("tensors", _tensor), ("refusals", _refusal)):
        for index, item in enumerate(data[kind]):
            where = f"{kind}[{index}]"
            if not isinstance(item, dict) or not isinstance(item.get("id"), str):
                yield f"{where}: no object with an id"
                continue
            yield from (f"{item['id']}: {problem}" for problem in test(item))


def _whole(data: dict[str, Any]) -> Iterator[str]:
    """What no vector shows alone."""
    items = [item for kind in ("tensors", "refusals") for item in data[kind]]
    items = [item for item in items if isinstance(item, dict)]
    ids = Counter(str(item.get("id")) for item in items)
    yield from (f"{name}: {count} vectors have this id" for name, count in ids.items() if count > 1)
    used = {flag for item in items for flag in item.get("flags", ())}
    yield from (f"flag {flag!r} is not explained" for flag in sorted(used - set(data["flags"])))
    yield from (f"flag {flag!r} is not used" for flag in sorted(set(data["flags"]) - used))
    for flag, text in data["flags"].items():
        if not isinstance(text, dict) or set(text) != {"bug", "effect"} or not all(text.values()):
            yield f"flag {flag!r}: not a bug and its effect, in words"
    promises = {item.get("promise") for item in data["tensors"] if isinstance(item, dict)}
    yield from (f"no vector promises {promise!r}" for promise in sorted(set(_OWN) - promises))
    share = len(data["refusals"]) / max(1, len(items))
    if share < LEAST_REFUSALS:
        yield f"refusals are {share:.1%} of all vectors, not {LEAST_REFUSALS:.0%}"


def _keys(item: dict[str, Any], needed: set[str], optional: set[str]) -> Iterator[str]:
    yield from (f"{key!r} is missing" for key in sorted(needed - set(item)))
    yield from (f"{key!r} is unknown" for key in sorted(set(item) - needed - optional))


# --- tensors ------------------------------------------------------------------------------------


def _tensor(item: dict[str, Any]) -> Iterator[str]:
    promise = item.get("promise")
    if promise not in _OWN:
        yield f"promise {promise!r} is none of {list(_OWN)}"
        return
    missing = list(_keys(item, _COMMON | _OWN[promise], {"box"}))
    if missing:
        yield from missing
        return
    yield from _flags(item)
    if not _SEED.fullmatch(str(item["seed"])):
        yield f"seed {item['seed']!r} is not 0x and 16 digits"
    elif int(item["seed"], 16) not in SEEDS:
        yield f"seed {item['seed']} comes from somewhere: take one of SEEDS"
    if item["dtype"] not in DTYPES:
        yield f"dtype {item['dtype']!r} is none of {list(DTYPES)}"
        return
    try:
        geometry = Layout.parse(item["layout"], **item["options"]).bind(item["shape"])
        plan = Initializer.from_dict(item["initializer"]).plan(
            item["shape"], layout=item["layout"], **item["options"]
        )
    except (InitspecError, TypeError) as error:
        yield f"the vector makes no tensor: {error}"
        return
    if promise != "moments" and plan.promise != promise:
        yield f"promise {promise!r}, but initspec says {plan.promise!r}"
    size = math.prod(item["shape"])
    if "box" in item:
        yield from _box(item["box"], geometry)
        size = math.prod(item["box"].get("shape", ()))
    yield from _CHECKS[promise](item, size)


def _flags(item: dict[str, Any]) -> Iterator[str]:
    flags = item["flags"]
    if not flags or len(set(flags)) < len(flags):
        yield f"flags {flags}: at least one, and none twice"


def _box(box: dict[str, Any], geometry: Geometry) -> Iterator[str]:
    if set(box) != {"origin", "shape"} or not len(box["origin"]) == len(box["shape"]) == 3:
        yield f"box {box}: not an origin and a shape of three numbers"
        return
    if box["origin"][2] % 4:
        yield f"the box starts at j={box['origin'][2]}, within a block of four words"
    rows = zip(box["origin"], box["shape"], geometry.counts, strict=True)
    if not all(at >= 0 and size > 0 and at + size <= count for at, size, count in rows):
        yield f"the box {box} is not within the coordinates {geometry.counts}"


def _bits(item: dict[str, Any], size: int) -> Iterator[str]:
    if not _DIGEST.fullmatch(str(item["sha256"])):
        yield f"sha256 {item['sha256']!r} is not 64 hexadecimal digits"
    if len(item["first"]) != min(FIRST, size):
        yield f"{len(item['first'])} first values of {size}, not {min(FIRST, size)}"
    yield from _floats(item["first"], item["dtype"])


def _rounded(item: dict[str, Any], size: int) -> Iterator[str]:
    if len(item["values"]) != size:
        yield f"{len(item['values'])} values of {size}"
    yield from _floats(item["values"], item["dtype"])
    yield from _floats([item["tolerance"]], "float64")
    if not any(_floats([item["tolerance"]], "float64")):
        tolerance = float.fromhex(item["tolerance"])
        if not 0 < tolerance < 0.1:
            yield f"tolerance {tolerance:g} is not a small number"


def _moments(item: dict[str, Any], size: int) -> Iterator[str]:
    if not 2**17 < size < 2**19:
        yield f"{size} values, where about 2**18 are compared"
    yield from _floats([item[key] for key in ("mean", "std")], "float64")
    rest = [item[key] for key in ("low", "high", "kurtosis") if item[key] is not None]
    yield from _floats(rest, "float64")


_CHECKS: dict[str, Callable[[dict[str, Any], int], Iterator[str]]]
_CHECKS = {"bits": _bits, "rounded": _rounded, "moments": _moments}


def _floats(texts: list[Any], dtype: str) -> Iterator[str]:
    for text in texts:
        if not isinstance(text, str) or not _FLOAT.fullmatch(text):
            yield f"{text!r} is not a hexadecimal float"
        elif not fits(float.fromhex(text), dtype):
            yield f"{text} is no {dtype}"


def fits(value: float, dtype: str) -> bool:
    """Whether a dtype holds a number exactly.

    >>> fits(0.1, "float64"), fits(0.1, "float32"), fits(0.5, "bfloat16")
    (True, False, True)
    """
    if dtype == "float64":
        return math.isfinite(value)
    try:
        data = struct.pack("<e" if dtype == "float16" else "<f", value)
    except OverflowError:
        return False
    exact: bool = struct.unpack("<e" if dtype == "float16" else "<f", data)[0] == value
    return exact and (dtype != "bfloat16" or data[:2] == b"\0\0")


# --- refusals -----------------------------------------------------------------------------------


def _refusal(item: dict[str, Any]) -> Iterator[str]:
    missing = list(_keys(item, _REFUSAL, set()))
    if missing:
        yield from missing
        return
    yield from _flags(item)
    yield from _keys(item["call"], {"shape"}, _CALL)
    if ("initializer" in item["call"]) == ("recipe" in item["call"]):
        yield "the call needs an initializer or a recipe"
    if item["error"] not in _ERRORS:
        yield f"error {item['error']!r} is none of {list(_ERRORS)}"
    if not isinstance(item["where"], str) or not item["where"]:
        yield f"where {item['where']!r} names no argument"
    if item["verdict"] not in _VERDICTS:
        yield f"verdict {item['verdict']!r} is none of {list(_VERDICTS)}"
