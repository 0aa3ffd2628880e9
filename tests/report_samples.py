"""Reports that are made by hand, for the tests of every format."""

import math
from pathlib import Path

from hypothesis import strategies as st

from initspec_conformance import reports
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Check, Outcome, Picture, Report

FOLDER = Path(reports.__file__).parent
NASTY = "<b>&amp; ]]> \x1b[31m \x00 \ud800 \ufffe \r\n% : , \t\"'` {{ 1 }} σ 中 \x85 end"
PICTURE = Picture(
    edges=(-2.0, -1.0, 0.0, 1.0, 2.0),
    counts=(20, 30, 0, 25),
    expected=(15.9, 34.1, 34.1, 15.9),
    quantiles=((-1.0, -1.1), (0.0, 0.1), (1.0, 1.2)),
)
GOOD = Check("mean", 0.01, 0.0, 0.02, 0.6)
BAD = Check("std", 0.5, 0.25, 0.01, 1e-30)
IMPOSSIBLE = Check("beyond the bounds", 3.0, 0.0, 0.0, 0.0)
STRANGE = Check("kurtosis", math.nan, math.inf, -math.inf, math.nan)


def case(verdict=PASSED, message="", **fields):
    given = {"subject": "numpy", "device": "cpu", "case": "he_normal, OI, 3x3", "kind": "bits"}
    return Outcome(**{**given, **fields}, verdict=verdict, message=message)


CONFORMING = Report(
    outcomes=(
        case(seconds=0.25, size=9),
        case(kind="statistics", checks=(GOOD,), picture=PICTURE, resolution=0.01, size=100),
    ),
    versions={"initspec": "0.1.0", "stream": "v1"},
    seconds=1.5,
)
MIXED = Report(
    outcomes=(
        *CONFORMING.outcomes,
        case(FAILED, "looks untruncated\nsecond line", checks=(GOOD, BAD), kind="statistics"),
        case(
            FAILED,
            NASTY,
            checks=(STRANGE, IMPOSSIBLE),
            subject="torch",
            device="cuda:0",
            picture=PICTURE,
        ),
        case(FAILED, "", subject="torch", case=NASTY),
        case(SKIPPED, "no bfloat16", case="zeros"),
        case(SKIPPED, "no bfloat16", case="ones"),
        case(SKIPPED, NASTY, subject=NASTY),
    ),
    versions={"initspec": "0.1.0", NASTY: NASTY},
    missing={"jax": "not installed", NASTY: NASTY},
    seconds=math.inf,
)
ALL = {"conforming": CONFORMING, "mixed": MIXED, "empty": Report(outcomes=())}

# Every character that Python has, half surrogates among them.
messages = st.text(st.characters(exclude_categories=()), max_size=60)


def failing(message):
    return Report(outcomes=(case(FAILED, message, case=message),), missing={message: message})
