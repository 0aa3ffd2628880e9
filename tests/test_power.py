"""The table of what the statistics find, and at which size."""

import re

import pytest

from initspec_conformance.statistics import power
from initspec_conformance.statistics.power import DEFECTS, Defect, caught, main, smallest, table

NAMED = {defect.name: defect for defect in DEFECTS}
HONEST = [
    Defect("honest", lambda rng, pair: pair, law)
    for law in ("normal", "truncated", "uniform", "truncated, bfloat16")
]


@pytest.mark.parametrize("defect", HONEST, ids=lambda defect: defect.law)
def test_honest_samples_are_never_caught(defect):
    assert smallest(defect, samples=1, largest=2**14) is None


@pytest.mark.parametrize(
    ("name", "size", "check"),
    [  # each four times the size of the published table: what that table says is no luck
        ("std +1 %, truncated normal", 2**13, "beyond the bounds"),
        ("std -1 %, truncated normal", 2**17, "smallest"),
        ("std +1 %, uniform", 2**12, "beyond the bounds"),
        ("truncation missing", 2**10, "beyond the bounds"),
        ("truncated, std not corrected", 2**13, "std"),
        ("uniform for truncated normal", 2**12, "distribution"),
        ("fans swapped, ratio 2", 2**10, "std"),
        ("HWIO (3, 3, 64, 128) read as OIHW", 2**8, "std"),
        ("two groups ignored", 2**11, "std"),
        ("contrib's factor 1.3 (std +0.29 %)", 2**15, "beyond the bounds"),
        ("bfloat16 cut off, not rounded", 2**19, "powers of two"),
        ("block of 4096 repeated", 2**16, "autocorrelation"),
        ("one run of 256 copied", 2**12, "repeated runs"),
        ("one key for two names", 2**8, "correlation of neighbours"),
        ("one NaN", 2**7, "not finite"),
    ],
)
def test_a_defect_is_caught_by_its_check(name, size, check):
    assert check in caught(NAMED[name], size, seed=0)


def test_a_std_that_is_one_per_cent_off_needs_half_a_million_values():
    assert not caught(NAMED["std +1 %, normal"], 2**15, seed=0)
    assert "std" in caught(NAMED["std +1 %, normal"], 2**20, seed=0)


def test_a_leak_needs_as_many_values_as_there_are_in_a_large_layer():
    assert not caught(NAMED["leak of 4.3e-6 past two sigmas"], 2**12, seed=0)
    assert caught(NAMED["leak of 4.3e-6 past two sigmas"], 2**22, seed=0) == ["beyond the bounds"]


def test_every_sample_has_to_be_caught():
    rare = Defect("rare", lambda rng, pair: [pair[0] * (2 if rng.random() < 0.5 else 1), pair[1]])
    assert smallest(rare, samples=10, largest=2**10) is None


def test_the_table_is_markdown():
    lines = table(2, [NAMED["one NaN"], NAMED["one key for two names"]]).splitlines()
    assert lines[:2] == ["| defect | values | found by |", "|---|---|---|"]
    assert lines[2] == "| one NaN | 2^5 | not finite |"
    assert re.fullmatch(r"\| one key for two names \| 2\^\d+ \| [a-z ,]+ \|", lines[3])


def test_what_is_not_found_is_said(monkeypatch):
    monkeypatch.setattr(power, "smallest", lambda defect, samples: None)
    assert table(1, HONEST[:1]).endswith("| honest | more than 2^23 | - |")


def test_the_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setattr(power, "table", lambda samples: f"table of {samples}")
    assert main(["--samples", "3"]) == 0
    assert capsys.readouterr().out == "table of 3\n"
