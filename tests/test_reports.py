"""The reports of a conformance run: each is read back by a real parser of its format."""

import doctest
import importlib
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initspec.errors import InitspecError, InitspecValueError
from initspec_conformance import reports
from initspec_conformance.reports import as_json, github, html, junit, plots, summary, text
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Check, Outcome, Picture, Report

FOLDER = Path(reports.__file__).parent
NAMES = ("as_json", "github", "html", "junit", "plots", "summary", "text")
MODULES = ("reports", *(f"reports.{name}" for name in NAMES), "progress")
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


@pytest.fixture(params=ALL)
def report(request):
    return ALL[request.param]


def failing(message):
    return Report(outcomes=(case(FAILED, message, case=message),), missing={message: message})


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"initspec_conformance.{name}"))
    assert result.failed == 0


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


# --- HTML -------------------------------------------------------------------------------------

VOID = {"meta", "path", "input"}


class Page(HTMLParser):
    """Checks that tags match, and keeps the elements with their text."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})
        if tag not in VOID:
            self.open.append(self.elements[-1])

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def find(self, tag, name=""):
        named = [e for e in self.elements if e["tag"] == tag]
        return [e for e in named if name in e.get("class", "").split() or not name]


@pytest.fixture
def page(report):
    pytest.importorskip("jinja2")
    return Page(html.render(report))


def test_html_needs_nothing_from_outside(page):
    assert not {e["tag"] for e in page.elements} & {"script", "link", "img", "iframe", "object"}
    for element in page.elements:
        assert not {"src", "srcset", "data", "action", "style", "onclick"} & set(element)
        assert element.get("href", "#").startswith("#")
    style = page.find("style")[0]["text"]
    assert not re.search(r"url\(|@import|@font-face|http", style)
    assert "prefers-color-scheme: dark" in style


def test_html_links_and_labels_resolve(page):
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    targets = [e["href"][1:] for e in page.elements if "href" in e]
    targets += [e["aria-labelledby"] for e in page.elements if "aria-labelledby" in e]
    assert set(targets) <= set(ids)


def test_html_opens_failures_and_folds_the_rest():
    page = Page(html.render(MIXED))
    failed, passed = page.find("details", "failed"), page.find("details", "passed")
    assert (len(failed), len(passed)) == (3, 1)
    assert all("open" in element for element in failed)
    assert not any("open" in e for e in page.elements if e not in failed)
    assert page.find("p", "verdict")[0]["text"] == "Does not conform"
    assert Page(html.render(CONFORMING)).find("p", "verdict")[0]["text"] == "Conforms"
    rows = [row for word in (PASSED, FAILED, SKIPPED) for row in page.find("tr", word)]
    assert len(rows) == len(MIXED.outcomes)


def test_html_draws_two_plots_with_a_title_for_each_picture():
    drawings = Page(html.render(CONFORMING)).find("svg")
    assert [drawing["role"] for drawing in drawings] == ["img", "img"]
    assert "Histogram" in drawings[0]["text"]
    assert "quantile of the sample" in drawings[1]["text"]


def test_html_marks_the_checks_that_failed():
    page = Page(html.render(MIXED))
    words = ("std", "kurtosis", "beyond the bounds")
    rows = [row["text"] for row in page.find("tr", "bad")]
    assert [row.startswith(word) for row, word in zip(rows, words, strict=True)] == [True] * 3


@given(messages)
def test_html_holds_any_message(message):
    page = Page(html.render(failing(message)))
    shown = [element["text"] for element in page.find("p", "message")]
    assert shown == [summary.clean(message) or "no reason given"]


def test_html_without_jinja2_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for call in (lambda: html.render(CONFORMING), lambda: reports.check_path(tmp_path / "a.html")):
        with pytest.raises(InitspecError, match=r"pip install 'initspec\[report\]'"):
            call()


def test_a_page_of_200_pictures_is_below_3_mb():
    quantiles = tuple((i / 1e3, i / 1.001e3) for i in range(-500, 500))
    bins = range(64)
    picture = Picture(
        tuple(i / 7 for i in range(65)), tuple(bins), tuple(i + 0.3 for i in bins), quantiles
    )
    outcomes = tuple(
        case(case=f"case {i}", kind="statistics", picture=picture, checks=(GOOD,) * 20)
        for i in range(200)
    )
    assert len(html.render(Report(outcomes=outcomes)).encode()) < 3e6


# --- plots ------------------------------------------------------------------------------------

any_float = st.floats(width=64)
_PIXELS = re.compile(r"-?\d[\d.e+-]*|nan|inf")


@st.composite
def pictures(draw):
    edges = sorted(draw(st.lists(any_float, min_size=1, max_size=6)))
    bins = len(edges) - 1
    counts = draw(st.lists(st.integers(0, 2**40), min_size=bins, max_size=bins))
    expected = draw(st.lists(st.floats(min_value=0), min_size=bins, max_size=bins))
    pairs = draw(st.lists(st.tuples(any_float, any_float), max_size=5))
    return Picture(tuple(edges), tuple(counts), tuple(expected), tuple(pairs))


@given(pictures())
def test_any_picture_is_drawn_inside_its_frame(picture):
    for plot in (plots.histogram(picture), plots.quantiles(picture)):
        if plot is None:
            continue
        pixels = [float(word) for word in _PIXELS.findall(plot.bars + plot.line + plot.points)]
        assert all(0 <= pixel <= plots.WIDTH for pixel in pixels)
        for axis in (plot.x, plot.y):
            assert 1 <= len(axis.ticks) <= 7
            low, high = sorted((axis.start, axis.end))
            assert all(low - 0.01 <= at <= high + 0.01 for at, _ in axis.ticks)
            labels = [label for _, label in axis.ticks]
            assert len(set(labels)) == len(labels)


def test_what_is_not_finite_is_counted():
    picture = Picture(
        (-math.inf, 0.0, 1.0), (1, 2), (1.0, 2.0), ((0.0, math.nan), (math.inf, 0.0), (1.0, 1.0))
    )
    assert plots.histogram(picture).left_out == 1
    assert plots.quantiles(picture).left_out == 2
    nothing = Picture((math.nan, math.inf), (1,), (1.0,), ())
    assert plots.histogram(nothing) is plots.quantiles(nothing) is None
    page = Page(html.render(Report(outcomes=(case(picture=picture), case(picture=nothing)))))
    assert [strong["text"] for strong in page.find("strong")] == [
        "1 left out: not finite.",
        "2 left out: not finite.",
    ]


def test_histogram_is_to_scale():
    plot = plots.histogram(PICTURE)
    assert [plot.x(-2.0), plot.x(2.0)] == [plots.LEFT, plots.WIDTH - plots.RIGHT]
    assert plot.y(0.0) == plots.HEIGHT - plots.BOTTOM
    bars = re.findall(r"M(\S+) (\S+)V(\S+)H(\S+)V(\S+)z", plot.bars)
    assert len(bars) == 3  # one bin is empty
    for (left, bottom, top, right, _), low, count in zip(
        bars, (-2, -1, 1), (20, 30, 25), strict=True
    ):
        want = [plot.x(low), plot.y(0), plot.y(count), plot.x(low + 1)]
        assert [float(v) for v in (left, bottom, top, right)] == pytest.approx(want, abs=0.06)


def test_quantiles_are_to_scale():
    plot = plots.quantiles(PICTURE)
    assert (plot.x.low, plot.x.high) == (plot.y.low, plot.y.high)
    points = [tuple(map(float, pair)) for pair in re.findall(r"M(\S+) (\S+)h0", plot.points)]
    want = [(plot.x(law), plot.y(sample)) for law, sample in PICTURE.quantiles]
    assert points == [pytest.approx(pair, abs=0.06) for pair in want]


@pytest.mark.parametrize("size", [5e-324, 1e-323, 1e-300, 1e300])
def test_a_picture_of_extreme_numbers_is_drawn(size):
    ends = (-size, size)
    for edges in (ends, (size, size)):
        plot = plots.histogram(Picture(edges, (0,), (size,), (edges,)))
        assert plot.x.ticks and plot.y.ticks
        assert plots.quantiles(Picture(edges, (0,), (size,), (edges,))).x.ticks


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, "0 0.2 0.4 0.6 0.8 1"),
        (-0.25, 0.25, "-0.2 -0.1 0 0.1 0.2"),
        (0.0, 5300.0, "0 2,000 4,000"),
        (0.0, 3e6, "0 1e+06 2e+06 3e+06"),
        (0.999, 1.001, "0.999 0.9995 1 1.0005 1.001"),
    ],
)
def test_ticks_are_round(low, high, labels):
    assert " ".join(label for _, label in plots.Axis(low, high, 0.0, 1.0).ticks) == labels


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


# --- progress ---------------------------------------------------------------------------------

RUN = """
import sys
from initspec_conformance import progress
{}
with progress.Progress(3) as bar:
    for name in ("zeros", "he_normal" + 200 * "x", "[bold]\\n\\x1b[5m"):
        bar.advance(name)
    print("result")
"""
PLAIN = "progress.find_spec = lambda name: None"


def on_terminal(code, **variables):
    """What a program writes to stdout, which is a pipe, and to stderr, which is a terminal."""
    pty = pytest.importorskip("pty")
    reader, terminal = pty.openpty()
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": path, "TERM": "xterm", **variables}
    command = [sys.executable, "-P", "-c", code]
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=terminal) as process:
        os.close(terminal)
        written = b""
        try:
            while chunk := os.read(reader, 4096):
                written += chunk
        except OSError:  # Linux says so that nobody writes any more
            pass
        os.close(reader)
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0, written
    return out.decode(), written.decode()


def test_a_plain_bar_on_a_terminal():
    out, written = on_terminal(RUN.format(PLAIN))
    assert out == "result\n"
    assert [int(n) for n in re.findall(r"\] (\d)/3", written)] == [0, 1, 2, 3]
    assert f"[{'#' * 24}] 3/3  [bold] \\x1b[5m" in written
    drawn = written.split("\r")
    assert max(map(len, drawn)) < 80  # else the line would wrap
    assert "\x1b" not in written
    assert "\n" not in written
    assert not drawn[-2].strip() and not drawn[-1]  # it is gone, and the cursor is at the left


def test_rich_draws_the_bar_where_it_is_installed():
    pytest.importorskip("rich")
    out, written = on_terminal(RUN.format(""))
    assert out == "result\n"
    assert "3/3" in written
    assert "[bold] \\x1b[5m" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back


def test_no_bar_on_a_dumb_terminal():
    assert on_terminal(RUN.format(PLAIN), TERM="dumb") == ("result\n", "")


def test_no_bar_in_a_pipe(capsys):
    exec(RUN.format(""))
    assert capsys.readouterr() == ("result\n", "")


def test_a_run_that_breaks_clears_the_bar():
    code = RUN.format(PLAIN).replace("bar.advance(name)", "sys.exit(0)")
    _, written = on_terminal(code)
    assert not written.split("\r")[-2].strip()
