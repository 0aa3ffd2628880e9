"""The suite against backends with planted defects: each is caught, and named rightly."""

from itertools import islice

import pytest

from initspec_conformance.mutants import MUTANTS, Mutant, MutantBackend
from initspec_conformance.results import FAILED, PASSED
from initspec_conformance.suite import Suite

HONEST = Mutant("honest", "")


def outcomes(mutant, kind, case=""):
    """What the suite finds on the cases whose label has that word."""
    suite = Suite([MutantBackend(mutant)], devices=["cpu"])
    for task in suite.tasks():
        if task.kind == kind and case in task.label:
            yield task.run()


@pytest.mark.parametrize("kind", ["bits", "statistics"])
def test_without_a_defect_everything_passes(kind):
    assert {found.verdict for found in outcomes(HONEST, kind)} == {PASSED}


@pytest.mark.parametrize(
    ("mutant", "kind"),
    [
        pytest.param(mutant, kind, id=f"{mutant.name}-{kind}")
        for mutant in MUTANTS
        for kind in mutant.kinds
    ],
)
def test_each_defect_is_caught_and_named(mutant, kind):
    special = kind == "statistics" or mutant.case != HONEST.case
    found = outcomes(mutant, kind, mutant.case if special else "")
    messages = (each.message for each in found if each.verdict == FAILED)
    seen = list(islice(messages, 40))  # a defect shows in many cases: the first ones will do
    assert any(mutant.says in message for message in seen), seen[:5] or "nothing failed"


def test_names_are_unique():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_mutants_are_on_the_cpu():
    suite = Suite([MutantBackend(MUTANTS[0])])
    assert [device for _, device, _ in suite.places] == ["cpu"]
