"""The scoreboard of the frameworks' own initializers: a quick part of it, and its page."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from initspec.recipes import get
from initspec_conformance.peers import board
from initspec_conformance.peers.board import Finding, expected, find, page
from initspec_conformance.peers.rows import NOT_OFFERED, PROCESSES, ROWS, Row

PAGE = Path(__file__).parents[1] / "docs" / "peers.md"
NOTHING = Finding("passed", "", 0)
SIZE = 2**18  # one tensor

# Known differences that so few values show, and initializers that conform.
GROUPED = ("grouped convolution", "depthwise convolution", "transposed convolution")
NAMES = ("kaiming_normal_", "xavier_uniform_", "trunc_normal_", "dirac_")
NAMES += ("kaiming_uniform_", "uniform_")
NAMES += ("he_normal", "equinox_linear", "HeNormal")
QUICK = [
    row
    for row in ROWS
    if row.process in ("torch", "jax", "keras on tensorflow")
    and row.layer in ("convolution", "dense as torch", *GROUPED)
    and row.peer.partition(":")[2].partition("(")[0] in NAMES
]


def label(row):
    return f"{row.process}-{row.name}-{row.reference}-{row.layer}-{row.dtype}"


@pytest.mark.parametrize("row", QUICK, ids=label)
def test_known_differences_are_found(row):
    finding = find(row, SIZE)
    assert expected(row, finding), finding


def test_the_quick_part_has_both_verdicts_in_each_framework():
    assert {(row.process, bool(row.expected)) for row in QUICK} >= {
        (process, differs)
        for process in ("torch", "jax", "keras on tensorflow")
        for differs in (True, False)
    }


def test_rows_are_sound():
    assert len(set(map(label, ROWS))) == len(ROWS) >= 40
    for row in ROWS:
        assert row.process in PROCESSES
        assert board._layer(row).geometry.shape
        get(row.recipe)


@pytest.mark.parametrize(
    ("phrase", "finding", "fits"),
    [
        ("", Finding("passed", "", 9), True),
        ("", Finding("failed", "looks untruncated", 9), False),
        ("looks untruncated", Finding("failed", "looks untruncated (std +1%)", 9), True),
        ("looks untruncated", Finding("failed", "the groups are ignored", 9), False),
        ("looks untruncated", Finding("passed", "", 9), False),
        (NOT_OFFERED, Finding("skipped", "no bfloat16", 0), True),
        (NOT_OFFERED, Finding("failed", "no bfloat16", 0), False),
        ("", Finding("skipped", "no bfloat16", 0), False),
    ],
)
def test_what_is_not_expected_is_told(phrase, finding, fits):
    row = Row("torch", "torch.nn.init:normal_", "torch.normal", phrase)
    assert expected(row, finding) is fits


def test_the_page_has_every_row_and_marks_surprises():
    text = page([NOTHING] * len(ROWS), 2**22)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROWS)
    assert sum("(not expected)" in line for line in rows) == sum(bool(row.expected) for row in ROWS)


def test_the_page_is_that_of_these_rows():
    """Whoever changes the rows runs ``python -m initspec_conformance.peers --write``."""
    told = PAGE.read_text(encoding="utf-8")
    made = page([NOTHING] * len(ROWS), 2**22)
    assert [start(line) for line in told.splitlines()] == [
        start(line) for line in made.splitlines()
    ]
    assert "(not expected)" not in told


def start(line):
    """A row without what was found, a section without versions."""
    if line.startswith("| `"):
        return line.split(" | ")[:4]
    return "" if line.endswith(".") and line[:1].islower() else line


def test_a_process_gives_its_findings_back(monkeypatch, capsys):
    rows = tuple(row for row in ROWS if row.peer.endswith((":eye_", ":dirac_")))
    monkeypatch.setattr(board, "ROWS", rows)
    assert board.main(["--process", "torch"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert [each["verdict"] for each in json.loads(last)] == ["passed", "passed"]


def test_the_command_fails_where_a_row_is_not_as_expected(monkeypatch, capsys, tmp_path):
    rows = tuple(row for row in ROWS if row.peer.endswith((":eye_", ":dirac_")))
    monkeypatch.setattr(board, "ROWS", rows)
    good, bad = Finding("passed", "", 9), Finding("failed", "all values equal 0", 9)
    for findings, code in (([good, good], 0), ([good, bad], 1)):
        monkeypatch.setattr(board, "_all", lambda size, found=findings: found)
        assert board.main(["--write", str(tmp_path / "peers.md")]) == code
        assert ("all values equal 0" in capsys.readouterr().out) is bool(code)
    assert "all values equal 0 (not expected)" in (tmp_path / "peers.md").read_text()


def test_keras_has_the_backend_of_its_process(monkeypatch):
    def run(command, *, env, **_):
        found = [{"verdict": "passed", "message": env["KERAS_BACKEND"], "size": len(command)}]
        return SimpleNamespace(stdout=f"noise\n{json.dumps(found)}\n")

    monkeypatch.setattr(board.subprocess, "run", run)
    assert [each.message for each in board._in_process("keras on torch", 9)] == ["torch"]
