"""The benchmarks cannot rot: they run, say what is missing, and the page shows the figures."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
TINY = "Small tensors | NumPy, with seed and name"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The benchmarks are a package in this folder, for this process and for theirs."""
    monkeypatch.syspath_prepend(str(HERE))
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path.rstrip(os.pathsep))


def side(name, *samples):
    """A contender whose samples are known: they come again and again."""
    from benchmarks.measure import Contender

    return Contender(name, lambda: lambda: None, samples)


def taking(contender):
    """Its samples, one by one."""
    values = list(contender.arguments)

    def sample():
        values.append(values.pop(0))
        return values[-1]

    return sample


def missing(contender):
    """Samples of ours; the peer is not installed."""
    if contender.name != "ours":
        raise ModuleNotFoundError(f"No module named {contender.name!r}", name=contender.name)
    return taking(contender)


def case(*rivals, ours=(0.01,), **more):
    from benchmarks.measure import Case

    made = side("ours", *ours)
    return Case("Section", "what", made, rivals, **{"take": taking, "size": 10**6, **more})


def rows(*rivals, **more):
    from benchmarks.measure import measure

    return measure(case(*rivals, **more), 0.0)


def rival(target=None, *samples, name="peer"):
    from benchmarks.measure import Rival

    return Rival(side(name, *(samples or (0.05,))), target)


def report(*found, **more):
    from benchmarks.report import Report

    facts = {"date": "2030-01-02", "machine": {"processor": "P|Q"}, "versions": {"numpy": "2"}}
    return Report(**{**facts, "budget": 1.0, "load": 0.1, "rows": found, **more})


def figures(*found, **more):
    from benchmarks.report import figures as render

    return render(report(*found, **more), {"Section": "What it is."})


# --- measuring ----------------------------------------------------------------------------------


def test_a_rate_is_compared_as_a_speed_up():
    (row,) = rows(rival(5))
    assert (row.ours, row.theirs, row.unit) == (pytest.approx(100), pytest.approx(20), "M/s")
    assert row.ratio == row.low == row.high == pytest.approx(5)
    assert (row.met, row.rounds, row.failed) == (True, 5, False)


def test_a_cost_is_compared_as_a_cost():
    (row,) = rows(rival(0.1), unit="µs", size=1000)
    assert (row.ours, row.theirs) == (pytest.approx(10), pytest.approx(50))
    assert row.ratio == pytest.approx(0.2)
    assert row.met is False


@pytest.mark.parametrize(("target", "met"), [(25, True), (5, False), (None, None)])
def test_a_limit_is_one_of_our_own_value(target, met):
    from benchmarks.measure import Rival

    (row,) = rows(Rival(None, target), unit="µs", size=1000)
    assert (row.ours, row.peer, row.ratio, row.met) == (pytest.approx(10), None, None, met)


def test_a_peer_of_another_size_is_compared_by_its_rate():
    (row,) = rows(replace(rival(), size=5 * 10**6))
    assert (row.theirs, row.ratio) == (pytest.approx(100), pytest.approx(1))


def test_the_ratio_is_one_of_medians_and_its_interval_is_around_it():
    noisy = (0.01, 0.012, 0.011, 0.010, 0.05, 0.011, 0.0105)
    (row,) = rows(rival(None, 0.05, 0.055, 0.052), ours=noisy, least=21)
    assert row.ratio == pytest.approx(0.052 / 0.011)
    assert row.ratio * 0.8 < row.low < row.ratio < row.high < row.ratio * 1.2


def test_both_sides_take_turns_in_both_orders():
    from benchmarks.measure import Rival, measure

    order = []

    def logged(contender):
        return lambda: order.append(contender.name) or 0.01

    measure(case(Rival(side("peer")), take=logged, least=4), 0.0)
    assert order == ["peer", "ours"] + ["peer", "ours", "ours", "peer"] * 2


def test_a_missing_peer_is_said_and_our_figure_stays():
    row, other = rows(rival(7, name="anyinit"), rival(name="ours"), take=missing)
    assert (row.note, row.met, row.failed) == ("anyinit is not installed", None, False)
    assert row.ours == other.ours == pytest.approx(100)
    assert "| 100 M/s | anyinit | anyinit is not installed |  | ≥ 7 |  |" in figures(row)
    assert "One case with a target could not be measured here." in figures(row)


def test_a_defect_of_a_side_is_a_failure():
    def broken(contender):
        raise ZeroDivisionError("by zero")

    (row,) = rows(rival(7), take=broken)
    assert (row.note, row.failed, row.ours) == ("failed: ZeroDivisionError: by zero", True, None)


# --- the cases ----------------------------------------------------------------------------------


def test_every_case_has_a_name_of_its_own_and_a_section():
    from benchmarks.cases import CASES, SECTIONS

    labels = [case.label for case in CASES]
    assert len(set(labels)) == len(labels)
    assert [section for section, _ in groupby(CASES, lambda case: case.section)] == list(SECTIONS)
    assert all(case.rivals for case in CASES)


def test_every_side_can_be_sent_to_another_process():
    from benchmarks.cases import CASES

    sides = [s for case in CASES for s in (case.ours, *(r.peer for r in case.rivals)) if s]
    assert pickle.loads(pickle.dumps(sides)) == sides


def test_the_targets_are_those_that_were_agreed():
    from benchmarks.cases import CASES

    found = {
        (case.section, rival.peer.name if rival.peer else "", rival.target)
        for case in CASES
        for rival in case.rivals
        if rival.target is not None
    }
    assert found == {
        ("In place", "torch `kaiming_normal_`", 7),
        ("In place", "torch `trunc_normal_`", 60),
        ("In place", "JAX `he_normal`, jitted", 14),
        ("In place", "Keras `HeNormal`", 15),
        ("In place", "torch `kaiming_uniform_`", 9),
        ("In place", "torch `normal_`", 7),
        ("Fresh", "torch `kaiming_normal_`", 5),
        ("Instruction sets", "torch `kaiming_normal_`", 5),
        ("Instruction sets", "torch `kaiming_normal_`", 1.5),
        ("Bare words", "Philox words", 0.6),
        ("Memory orders", "4096x4096 OI", 0.7),
        ("Small tensors", "torch `kaiming_normal_`", 3),
        ("Small tensors", "", 25),
        ("Compilers", "JAX `he_normal`, jitted", 1),
        ("Compile time", "JAX `he_normal`, jitted", 1.5),
        ("Orthogonal", "torch `orthogonal_`", 1),
        ("Whole models", "transformers `_init_weights`", 4),
        ("Memory", "", 16),
        ("Memory", "", 8),
    }


# --- processes ----------------------------------------------------------------------------------


def tiny():
    from benchmarks.cases import CASES

    return next(case for case in CASES if case.label == TINY)


def test_instructions_that_are_not_there_are_said():
    from benchmarks.measure import Setting
    from benchmarks.worker import rows_of

    found = list(rows_of(Setting(isa="abacus"), [tiny()], 0.0))
    assert len(found) == len(tiny().rivals)
    for row in found:
        assert row.note.startswith("not on this machine")
        assert (row.ours, row.met, row.failed) == (None, None, False)


def test_peak_memory_sees_what_is_there_and_not_more():
    from benchmarks.contenders import Spec, numpy_fresh
    from benchmarks.measure import Contender, UnavailableError
    from benchmarks.probe import memory_above, memory_beside

    spec = Spec((2048, 4096), "IO")
    fresh = Contender("initspec", numpy_fresh, ("initspec", "he_normal", spec))
    try:
        whole, extra = memory_beside(fresh)(), memory_above(fresh)()
    except UnavailableError as error:
        pytest.skip(str(error))
    assert spec.nbytes <= whole < spec.nbytes + 2**22
    assert extra < 2**22


def test_a_missing_peer_in_another_process_is_said(tmp_path, monkeypatch):
    from benchmarks.contenders import Spec, keras_eager
    from benchmarks.measure import Contender, UnavailableError
    from benchmarks.probe import first_call

    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['keras'] = None")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    absent = Contender("Keras", keras_eager, ("keras", "HeNormal", Spec((2, 2), "IO")))
    with pytest.raises(UnavailableError, match="keras is not installed"):
        first_call(absent)()


# --- the report ---------------------------------------------------------------------------------


def test_a_report_survives_json():
    from benchmarks.report import Report

    whole = report(*rows(rival(7), rival(3)))
    assert replace(Report.from_json(whole.to_json()), rows=()) == replace(whole, rows=())
    assert tuple(Report.from_json(whole.to_json()).rows) == whole.rows


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"format": 1', '"format": 2', ValueError),
        ('"load"', '"lode"', TypeError),
        ('"ratio"', '"quotient"', TypeError),
    ],
)
def test_a_report_of_another_form_is_refused(old, new, error):
    from benchmarks.report import Report

    text = report(*rows(rival(7))).to_json()
    assert old in text
    with pytest.raises(error):
        Report.from_json(text.replace(old, new))


def test_a_target_that_is_missed_is_rendered_as_missed():
    text = figures(*rows(rival(7), rival(3)))
    cells = "| what | 100 M/s | peer | 20.0 M/s | 5.00 (5.00 to 5.00) |"
    assert f"{cells} ≥ 7 | **no** |" in text
    assert f"{cells} ≥ 3 | yes |" in text
    assert "1 of 2 targets are met. Missed:" in text
    assert "* Section, what: 100 M/s against peer (20.0 M/s): 5.00 (5.00 to 5.00); " in text
    assert "### Section\n\nWhat it is.\n\n| case |" in text


def test_a_limit_has_its_unit():
    from benchmarks.measure import Rival

    text = figures(*rows(Rival(None, 25), unit="µs", size=1000))
    assert "| what | 10.0 µs |  |  |  | ≤ 25 µs | yes |" in text


def test_the_report_says_where_it_was_measured_and_when_to_doubt():
    quiet = figures(*rows(rival()))
    assert "| processor | P\\|Q |" in quiet
    assert "Versions: numpy 2." in quiet
    assert "2030-01-02" in quiet
    assert "with care" not in quiet
    assert "with care: the machine was busy before the start (load 3)" in figures(load=3)
    wild = rows(rival(None, 0.01, 0.1, 0.05), ours=(0.01, 0.02, 0.03, 0.1))
    assert "with care: a typical interval spans" in figures(*wild)


def test_the_machine_is_described_without_its_name():
    import platform

    from benchmarks.machine import machine, versions

    assert {"processor", "cores", "system", "kernel"} <= set(machine())
    assert {"Python", "initspec", "numpy"} <= set(versions())
    facts = [*machine().values(), *versions().values()]
    assert [fact for fact in facts if platform.node() in fact.split() or "/" in fact] == []


def test_a_page_keeps_its_prose():
    from benchmarks.report import page

    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    fresh = page(text, report(*rows(rival(7))), {})
    assert fresh.split("<!--")[0] == text.split("<!--")[0]
    assert fresh.split("-->")[-1] == text.split("-->")[-1]
    assert page(fresh, report(*rows(rival(7))), {}) == fresh
    with pytest.raises(ValueError, match="expected the lines"):
        page("no marks", report(), {})


def test_the_page_shows_the_figures_of_the_file():
    from benchmarks.cases import SECTIONS
    from benchmarks.report import Report, page

    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    saved = Report.from_json((DOCS / "performance.json").read_text(encoding="utf-8"))
    assert page(text, saved, SECTIONS) == text, "run: make bench ARGS=--render"


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command with one tiny case, and the page it writes."""
    from benchmarks import __main__ as command

    target = tmp_path / "performance.md"
    target.write_text((DOCS / "performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(command, "CASES", (replace(tiny(), least=1),))
    monkeypatch.setattr(command, "DOCS", tmp_path)
    return command


def test_a_whole_run_measures_prints_and_writes(command, tmp_path, capsys):
    from benchmarks.cases import SECTIONS
    from benchmarks.report import Report, page

    assert command.main(["--budget", "0.01"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert all(line.startswith(f"{TINY}: ") for line in printed)
    saved = Report.from_json((tmp_path / "performance.json").read_text(encoding="utf-8"))
    assert [row.peer for row in saved.rows] == [None, "NumPy `standard_normal`"]
    assert all(row.ours > 0 and row.rounds >= 1 for row in saved.rows)
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert page(text, saved, SECTIONS) == text
    (tmp_path / "performance.md").write_text(text.replace(" µs |", ""), encoding="utf-8")
    assert command.main(["--render"]) == 0
    assert (tmp_path / "performance.md").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("options", [["--quick"], ["--only", "NumPy"]])
def test_a_quick_look_writes_nothing(command, tmp_path, monkeypatch, options):
    monkeypatch.setattr(command, "rows_of", lambda *_: iter(rows(rival(), rival())))
    monkeypatch.setattr(command, "_in_order", lambda cases, found: found)
    assert command.main(options) == 0
    assert not (tmp_path / "performance.json").exists()


def test_a_failure_is_an_exit_status_and_writes_nothing(command, tmp_path, monkeypatch):
    failed = [replace(row, failed=True) for row in rows(rival())]
    monkeypatch.setattr(command, "rows_of", lambda *_: iter(failed))
    monkeypatch.setattr(command, "_in_order", lambda cases, found: found)
    assert command.main([]) == 1
    assert not (tmp_path / "performance.json").exists()


def test_an_expression_that_fits_nothing_is_an_error(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--only", "abacus"])
    assert "fits no case" in capsys.readouterr().err
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out == f"{TINY}\n"
