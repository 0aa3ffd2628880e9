"""One config, four networks, each native in several frameworks: they start as one function."""

from functools import cache

import numpy as np
import pytest
from ports import running

import initspec.models
from initspec.models import plan
from initspec.models.weights import logical

PORTS = [(net, framework) for net, frameworks in running.NETS.items() for framework in frameworks]
OTHERS = [(net, framework) for net, framework in PORTS if framework != "torch"]


@cache
def port(net, framework):
    return running.initialised(net, framework)


@cache
def outputs(net, framework):
    runner, model = port(net, framework)
    return runner.forward(model, running.batch(net, 0)[0])


@cache
def losses(net, framework):
    runner, model = running.initialised(net, framework)  # of its own: steps change it
    return runner.losses(model)


@cache
def lock(net, framework):
    runner, model = port(net, framework)
    return initspec.models.lock(running.holder(runner, model), running.config(net)).dumps()


@cache
def weights(net, framework):
    """The bits of every logical tensor, by canonical path, in canonical order."""
    runner, model = port(net, framework)
    found = {}
    planned = plan(running.holder(runner, model), running.config(net))
    for row in planned.rows:
        if row.action == "write" and row.stored.dtype == "float32":
            array = logical(row, planned.model.read(row.stored.name))
            canonical = row.part.geometry.canonical(array)
            found[row.path] = canonical.reshape(row.part.geometry.counts).tobytes()
    return found


@pytest.mark.parametrize(("net", "framework"), OTHERS)
def test_logical_weights_are_equal_to_the_last_bit(net, framework):
    theirs, ours = weights(net, "torch"), weights(net, framework)
    assert theirs.keys() == ours.keys()
    assert [path for path in theirs if theirs[path] != ours[path]] == []


@pytest.mark.parametrize(("net", "framework"), OTHERS)
def test_lock_files_are_the_same_text(net, framework):
    assert lock(net, framework) == lock(net, "torch")


@pytest.mark.parametrize(("net", "framework"), OTHERS)
def test_forward_passes_agree(net, framework):
    theirs, ours = outputs(net, "torch"), outputs(net, framework)
    assert theirs.shape == ours.shape
    assert np.abs(theirs).max() > 1e-3
    assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize(("net", "framework"), OTHERS)
def test_loss_curves_agree(net, framework):
    theirs, ours = losses(net, "torch"), losses(net, framework)
    assert theirs[-1] < theirs[0]  # it learns, and so the weights have moved
    assert np.abs(np.subtract(theirs, ours)).max() <= 1e-3


@pytest.mark.parametrize(("net", "framework"), PORTS)
def test_every_port_conforms_knobs_included(net, framework):
    runner, model = port(net, framework)
    report = initspec.models.check(running.holder(runner, model), running.config(net))
    assert report.passed, str(report)
    assert all(row.stored.buffer for row in report.kept)  # the state of random generators
