"""The HTML page and its pictures, read back by a parser."""

import math
import re
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import ALL, CONFORMING, GOOD, MIXED, PICTURE, case, failing, messages

from initspec.errors import InitspecError
from initspec_conformance import reports
from initspec_conformance.reports import html, plots, summary
from initspec_conformance.results import FAILED, PASSED, SKIPPED, Picture, Report


@pytest.fixture(params=ALL)
def report(request):
    return ALL[request.param]


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
