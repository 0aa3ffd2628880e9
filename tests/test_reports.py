"""The reports of a conformance run: each is read back by a real parser of its format."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from report_samples import (
    ALL,
    BAD,
    CONFORMING,
    FOLDER,
    GOOD,
    IMPOSSIBLE,
    MIXED,
    case,
    failing,
    messages,
)

from initspec.errors import InitspecValueError
from initspec_conformance import reports
from initspec_conformance.reports import as_json, github, junit, summary, text
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Check, Outcome, Picture, Report


@pytest.fixture(params=ALL)
def report(request):
    return ALL[request.param]


# --- common -----------------------------------------------------------------------------------


@pytest.mark.parametrize("render", [*reports.FORMATS.values(), github.render])
def test_every_report_is_pure_and_can_be_written(report, render):
    first = render(report)
    assert first == render(report)
    assert first.endswith("\n")
    first.encode()  # no half surrogates


@given(messages)
def test_clean_text_can_be_in_any_file_and_says_what_it_was(message):
    clean = summary.clean(message)
    assert not re.search(r"[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", clean)
    if message.isprintable():
        assert clean == message


def test_clean_text_keeps_its_lines():
    assert summary.clean("a\r\nb\rc\td\n") == "a\nb\\rc\td\n"


def test_verdict_says_how_surprising_the_run_was():
    assert summary.verdict(CONFORMING) == (
        "conforms: 2 passed, 0 failed, 0 skipped, 1 check, 1.5 s, "
        "probability of such a run: at most 0.6"
    )
    impossible = replace(CONFORMING, outcomes=(case(FAILED, checks=(IMPOSSIBLE,)),))
    assert summary.verdict(impossible).startswith("does not conform: 0 passed, 1 failed")
    assert summary.verdict(impossible).endswith("probability of such a run: 0")
    usual = replace(CONFORMING, outcomes=(case(checks=(GOOD, GOOD)),))
    assert summary.verdict(usual).endswith("probability of such a run: 1")


# --- text -------------------------------------------------------------------------------------


def test_text():
    lines = text.render(MIXED).split("\n")
    assert lines[0].split() == list(text._HEADERS)
    assert lines[1].split() == ["numpy", "cpu", "2", "1", "2", "3", "0.2"]
    assert lines[2].split() == ["torch", "cuda:0", "0", "1", "0", "2", "0.0"]
    at = lines.index("FAILED  numpy on cpu  statistics  he_normal, OI, 3x3")
    shown = ["looks untruncated", "second line", str(BAD)]
    assert lines[at + 1 : at + 4] == [f"  {line}" for line in shown]
    assert sum(line.startswith("FAILED  ") for line in lines) == 3
    assert "SKIPPED  2  numpy on cpu  no bfloat16" in lines
    assert "MISSING  jax  not installed" in lines
    assert lines[-2] == summary.verdict(MIXED)


@given(messages)
def test_text_has_one_line_for_each_case_whatever_it_is_called(message):
    outcomes = (case(FAILED, message, case=message), case(SKIPPED, message, subject=message))
    lines = text.render(Report(outcomes=outcomes, missing={message: message})).split("\n")
    heads = [line for line in lines if re.match("FAILED  |SKIPPED  |MISSING  ", line)]
    assert len(heads) == 3
    assert not any(char in "".join(lines) for char in "\x00\x1b\r\x7f\x9b")


def test_show_prints_the_text_in_a_pipe(report, capsys):
    text.show(report)
    assert capsys.readouterr().out == text.render(report)


def test_show_says_characters_that_stdout_does_not_have(monkeypatch, tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        text.show(failing("σ"))
    assert b"\\u03c3" in (tmp_path / "out").read_bytes()


def test_show_is_coloured_on_a_terminal(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", "FORCE_COLOR": "1", "COLUMNS": "20"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    text.show(MIXED)
    out = capsys.readouterr().out
    assert "\x1b[31mFAILED" in out
    plain = re.sub(r"\x1b\[[\d;]*m", "", out)
    assert plain.split("\n") == text.render(MIXED).expandtabs().split("\n")  # no line is folded


# --- JSON -------------------------------------------------------------------------------------


def _refuse(name):
    raise AssertionError(f"{name} is no JSON")


def read(report):
    return json.loads(as_json.render(report), parse_constant=_refuse)


def test_json_matches_its_schema(report):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    record = read(report)
    validator.validate(record)
    assert not validator.is_valid({**record, "format": 2})
    assert not validator.is_valid({**record, "smallest_p": "NaN"})
    assert not validator.is_valid({**record, "more": 0})


def test_every_kind_of_outcome_is_in_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "report.schema.json").read_text(encoding="utf-8"))
    for kind in ("bits", "rounded", "refusal", "statistics", "seeds"):
        outcome = Outcome(subject="a", device="cpu", case="b", kind=kind, verdict=PASSED)
        jsonschema.validate(read(Report(outcomes=(outcome,))), schema)


def _check(record):
    fields = [float(record[name]) for name in ("value", "expected", "error", "p")]
    return Check(record["name"], *fields)


def _picture(record):
    return record and Picture(
        tuple(record["edges"]),
        tuple(record["counts"]),
        tuple(record["expected"]),
        tuple(map(tuple, record["quantiles"])),
    )


def test_json_has_everything(report):
    record = read(report)
    assert (record["format"], record["conforms"]) == (1, report.conforms)
    assert record["counts"] == {word: report.count(word) for word in (PASSED, FAILED, SKIPPED)}
    assert (record["checks"], float(record["seconds"])) == (report.checks, report.seconds)
    assert (record["versions"], record["missing"]) == (report.versions, report.missing)
    assert [c["passed"] for o in record["outcomes"] for c in o["checks"]] == [
        check.passed for outcome in report.outcomes for check in outcome.checks
    ]
    for fields in record["outcomes"]:
        fields["checks"] = tuple(map(_check, fields["checks"]))
        fields["picture"] = _picture(fields["picture"])
    read_back = [repr(Outcome(**fields)) for fields in record["outcomes"]]  # repr: nan != nan
    assert read_back == [repr(outcome) for outcome in report.outcomes]


def test_json_has_an_outcome_a_line():
    lines = as_json.render(MIXED).splitlines()
    assert sum(line.startswith('{"subject"') for line in lines) == len(MIXED.outcomes)


@given(messages)
def test_json_holds_any_message(message):
    assert read(failing(message))["outcomes"][0]["message"] == message


# --- JUnit ------------------------------------------------------------------------------------


def test_junit_counts_add_up(report):
    root = ET.fromstring(junit.render(report).encode())
    assert root.tag == "testsuites"
    counts = {key: sum(int(s.get(key)) for s in root) for key in ("tests", "failures", "skipped")}
    assert counts == {key: int(root.get(key)) for key in counts}
    assert counts["tests"] == len(report.outcomes) + len(report.missing)
    assert counts["failures"] == report.count(FAILED)
    assert re.fullmatch(r"\d+\.\d{3}", root.get("time"))
    for suite in root.iter("testsuite"):
        cases = suite.findall("testcase")
        assert int(suite.get("tests")) == len(cases)
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
        assert all(re.fullmatch(r"\d+\.\d{3}", item.get("time")) for item in (suite, *cases))
        assert all(item.get("name") and item.get("classname") for item in cases)


def test_junit():
    root = ET.fromstring(junit.render(MIXED).encode())
    names = [suite.get("name") for suite in root]
    assert names[:3] == ["numpy on cpu", "torch on cuda:0", "torch on cpu"]
    assert names[-1] == "missing"
    failure = root[0].find("testcase/failure")
    assert failure.get("message") == "looks untruncated"
    assert failure.text == f"looks untruncated\nsecond line\n{BAD}"
    assert root[0].find("testcase/skipped").get("message") == "no bfloat16"
    assert root[0].find("properties/property").attrib == {"name": "initspec", "value": "0.1.0"}
    first = root[0].find("testcase")
    assert first.get("classname") == "numpy on cpu"
    assert first.get("name") == "bits: he_normal, OI, 3x3"
    assert first.get("time") == "0.250"


@given(messages)
def test_junit_holds_any_message(message):
    root = ET.fromstring(junit.render(failing(message)).encode())
    assert root.find("testsuite/testcase/failure").text == (
        summary.clean(message) or "no reason given"
    )


# --- GitHub -----------------------------------------------------------------------------------

_COMMAND = re.compile(r"::(error|notice) title=([^\r\n:,]*)::([^\r\n]*)")


def _unescaped(found):
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        found = found.replace(code, char)
    return found


def commands(report):
    *lines, last = github.render(report).split("\n")
    assert last == ""
    found = [_COMMAND.fullmatch(line) for line in lines]
    return [(item[1], _unescaped(item[2]), _unescaped(item[3])) for item in found]


def test_github():
    found = commands(MIXED)
    assert found[0] == ("error", "initspec conformance", summary.verdict(MIXED))
    assert found[1][:2] == ("error", "numpy on cpu, statistics: he_normal, OI, 3x3")
    assert found[1][2].startswith("looks untruncated\nsecond line\nstd: 0.5")
    assert [level for level, *_ in found] == ["error"] * 4 + ["notice"] * 4
    assert ("notice", "2 skipped: numpy on cpu", "no bfloat16") in found
    assert ("notice", "jax is missing", "not installed") in found
    assert commands(CONFORMING)[0][0] == "notice"


def test_github_escapes():
    assert github._data("50%\r\n: ,") == "50%25%0D%0A: ,"
    assert github._property("50%\r\n: ,") == "50%25%0D%0A%3A %2C"


@given(messages)
def test_github_commands_hold_any_message(message):
    _, failure, missing = commands(failing(message))
    clean = summary.clean(message)
    assert failure == ("error", f"numpy on cpu, bits: {clean}", clean or "no reason given")
    assert missing == ("notice", f"{clean} is missing", clean)


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*reports.FORMATS, ".JSON"])
def test_the_suffix_picks_the_format(tmp_path, suffix):
    file = tmp_path / f"report{suffix}"
    file.write_bytes(b"old")
    reports.check_path(file)
    assert file.read_bytes() == b"old"
    reports.write(MIXED, file)
    assert file.read_text(encoding="utf-8") == reports.FORMATS[suffix.lower()](MIXED)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["report", "report.pdf", ".json", "report.xml.gz", "."])
def test_another_suffix_is_refused(tmp_path, name):
    for call in (reports.check_path, lambda path: reports.write(MIXED, path)):
        with pytest.raises(InitspecValueError, match=r"ends in \.html, \.json, \.txt or \.xml"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_suffix_gets_a_hint():
    with pytest.raises(InitspecValueError, match=r"Did you mean '\.json'"):
        reports.check_path(Path("report.jsn"))


def test_a_folder_that_is_not_there_is_told_before_the_run(tmp_path):
    (tmp_path / "folder.xml").mkdir()
    for path in (tmp_path / "nowhere" / "report.xml", tmp_path / "folder.xml"):
        with pytest.raises(InitspecValueError, match=r"report file.*a folder that exists"):
            reports.check_path(path)


def test_a_disk_that_is_full_leaves_the_old_report(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    file = tmp_path / "report.json"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InitspecValueError, match=r"report file.*No space left on device"):
        reports.write(MIXED, file)
    assert [f.read_bytes() for f in tmp_path.iterdir()] == [b"old"]
