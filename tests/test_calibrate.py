"""The calibration counts rightly, and a wrong law raises alarms."""

import numpy as np
import pytest

from initspec_conformance.results import ALPHA
from initspec_conformance.statistics import calibrate
from initspec_conformance.statistics.calibrate import LAWS, LEVELS, Law, Rates, main, page, simulate
from initspec_conformance.statistics.laws import Target

MEAN, STD = ("normal", "mean"), ("normal", "std")


def counted(*runs):
    rates = Rates()
    for run in runs:
        rates.add(run)
    return rates


def test_known_p_values_are_counted():
    rates = counted({MEAN: 0.5, STD: 0.009}, {MEAN: 0.0009, STD: 0.01}, {MEAN: 0.00009, STD: 1.0})
    assert LEVELS == (1e-2, 1e-3, 1e-4)
    assert rates.below == {MEAN: [2, 2, 1], STD: [1, 0, 0]}
    assert rates.smallest == {MEAN: 0.00009, STD: 0.009}
    assert (rates.runs, rates.checks, rates.alarms) == (3, 2, 0)


@pytest.mark.parametrize(("p", "alarms"), [(0.99 * ALPHA, 1), (ALPHA, 0), (0.0, 1)])
def test_an_alarm_is_a_p_below_alpha(p, alarms):
    assert counted({MEAN: 0.3, STD: p}).alarms == alarms


def test_a_run_counts_once_however_many_checks_fail():
    assert counted({MEAN: 0.0, STD: 0.0}).alarms == 1


def test_the_family_shares_one_per_cent():
    assert [counted({MEAN: p, STD: 0.5}).family for p in (0.0049, 0.0051)] == [1, 0]


def test_a_p_that_is_not_a_number_is_an_alarm():
    assert counted({MEAN: 0.5, STD: float("nan")}).alarms == 1


def test_processes_add_up():
    one, two = (
        counted({MEAN: 0.005, STD: 0.0}),
        counted({MEAN: 0.0005, STD: 0.5}, {MEAN: 1, STD: 1}),
    )
    one.merge(two)
    one.merge(Rates())
    assert one.below == {MEAN: [2, 1, 0], STD: [1, 1, 1]}
    assert one.smallest == {MEAN: 0.0005, STD: 0.0}
    assert (one.runs, one.checks, one.alarms) == (3, 2, 1)


def test_honest_runs_raise_no_alarm_and_keep_their_levels():
    rates = simulate(60, seed=5)
    assert (rates.runs, rates.alarms) == (60, 0)
    assert rates.checks == len(rates.below)
    assert {law for law, _ in rates.below} == {law.name for law in LAWS}
    assert max(count[0] for count in rates.below.values()) <= 6  # 0.6 expected
    total = sum(count[0] for count in rates.below.values())
    assert 0.2 < total / (60 * rates.checks * LEVELS[0]) < 1.6


def test_seeds_and_processes_draw_other_numbers():
    same, other = simulate(1, seed=1), simulate(1, seed=1, process=1)
    assert simulate(1, seed=1) == same
    assert other.smallest != same.smallest


@pytest.mark.parametrize(
    "wrong",
    [
        Law("normal", Target.normal(0.0, 1.25), "float32", calibrate._normal),
        Law("normal", Target.normal(0.25, 1.0), "float32", calibrate._normal),
        Law("normal", Target.truncated(0.0, 1.0, -2.0, 2.0), "float32", calibrate._normal),
        Law("normal", Target.normal(0.0, 3**-0.5), "float32", calibrate._uniform),
    ],
)
def test_a_wrong_law_raises_alarms(wrong, monkeypatch):
    monkeypatch.setattr(calibrate, "LAWS", (wrong,))
    assert simulate(3, seed=0).alarms == 3


def test_samplers_draw_what_they_say():
    rng = np.random.Generator(np.random.PCG64(0))
    for law in LAWS:
        drawn = law.draw(rng, 2**14)
        assert drawn.shape == (2**14,)
        assert drawn.std() == pytest.approx(law.target.std, rel=0.03)
        assert law.target.low <= drawn.min()
        assert drawn.max() <= law.target.high


def test_the_page_shows_all_rates():
    rates = counted({(law.name, check): 0.005 for law in LAWS for check in ("mean", "std")})
    rates.add({(LAWS[0].name, "mean"): 0.5})
    text = page(rates, 7)
    assert "2 honest runs, seed 7" in text
    assert "| check | " + " | ".join(law.name for law in LAWS) + " |" in text
    assert "| mean | 50.00 0.00 0.00 |" in text
    assert "0 of 2" in text
    assert "{" not in text


def test_a_check_that_a_law_does_not_have_is_a_dash():
    assert "| mean | 0.00 0.00 0.00 | - | - | - | - |" in page(counted({MEAN: 1.0}), 0)


def test_the_command_prints_the_page(capsys, monkeypatch):
    monkeypatch.setattr(calibrate, "ProcessPoolExecutor", _Here)
    assert main(["--runs", "3", "--seed", "2"]) == 0
    assert capsys.readouterr().out.startswith("# False alarms\n")


def test_the_command_fails_after_an_alarm(capsys, monkeypatch):
    monkeypatch.setattr(calibrate, "ProcessPoolExecutor", _Here)
    wrong = Law("normal", Target.normal(0.0, 1.25), "float32", calibrate._normal)
    monkeypatch.setattr(calibrate, "LAWS", (wrong,))
    assert main(["--runs", "1"]) == 1
    assert "1 of 1" in capsys.readouterr().out


class _Here:
    """An executor without processes."""

    def __init__(self, workers):
        assert workers >= 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    map = staticmethod(map)
