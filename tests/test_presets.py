"""Presets: each framework's defaults are what its layers draw, and go to any other framework."""

from functools import cache

import default_layers
import numpy as np
import pytest

from initspec.models import Config, check, load, plan
from initspec.models.config.reading import preset_names

FRAMEWORKS = tuple(default_layers.MODELS)
# torch draws two biases that add, where every rule has one; the other is 0.
SECOND_BIASES = "recurrent_bias"
KNOWN = {
    "torch": (SECOND_BIASES,),
    "keras": ("recurrent",),  # orthogonal as a whole, not gate by gate
    "flax": (),
    "haiku": ("batch/mean", "batch/variance", "_hidden", "_count"),  # moved by a first pass
}


@cache
def fresh(framework):
    """The layers as the framework has drawn them."""
    return default_layers.MODELS[framework](seed=20261122)


def defaults(framework):
    return Config(seed=1, extends=[f"initspec:{framework}-defaults"])


@cache
def laws(framework, preset):
    """What a preset gives a framework's layers, by canonical path; not what it alone has."""
    rows = plan(fresh(framework), defaults(preset)).rows
    return {
        row.path: row.initializer
        for row in rows
        if row.law and not row.path.endswith((SECOND_BIASES, "count", "hidden"))
    }


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_defaults_are_what_the_framework_draws(framework):
    failures = check(fresh(framework), defaults(framework), bits=False).failures
    known = KNOWN[framework]
    assert [str(each) for each in failures if not each.path.endswith(known)] == []


def test_rows_of_keras_recurrent_kernels_are_orthonormal_under_its_defaults():
    model = plan(default_layers.MODELS["keras"](seed=1), defaults("keras")).apply().model
    for layer in (model.lstm, model.gru):
        fused = np.asarray(layer.cell.recurrent_kernel)
        assert np.allclose(fused @ fused.T, np.eye(len(fused)), atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("preset", FRAMEWORKS)
def test_any_model_can_start_with_any_framework_s_defaults(framework, preset):
    done = plan(default_layers.MODELS[framework](seed=1), defaults(preset)).apply()
    model = done.model
    if framework == "flax":
        model = default_layers.Linen(
            default_layers.LinenLayers(), default_layers.examples(), variables=model
        )
    if framework == "haiku":
        model = default_layers.Haiku(
            fresh("haiku").transformed,
            default_layers.examples(),
            params=model[0],
            state=model[1],
        )
    report = check(model, defaults(preset), bits=False)
    assert report.passed, str(report)


@pytest.mark.parametrize("preset", FRAMEWORKS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_preset_gives_every_framework_the_same_laws(framework, preset):
    ours, theirs = laws(framework, preset), laws("keras", preset)
    common = ours.keys() & theirs.keys()
    missing = {path for path in ours.keys() ^ theirs.keys() if not path.startswith("attn")}
    assert missing == set()
    assert {path for path in common if ours[path] != theirs[path]} == set()


@pytest.mark.parametrize(("framework", "preset"), [("torch", "flax"), ("flax", "torch")])
def test_another_framework_s_defaults_are_told_apart(framework, preset):
    failed = {each.path for each in check(fresh(framework), defaults(preset), bits=False).failures}
    assert {"dense/kernel", "conv/kernel", "grouped/kernel", "embed/embedding"} <= failed
    assert not failed & {"norm/scale", "batch/mean"}


@pytest.mark.parametrize("name", preset_names())
def test_presets_read_and_have_no_seed(name):
    config = load(name)
    assert config.seed is None
    assert config.resolved().rules
    names = [rule.name for rule in config.resolved().rules]
    assert len(set(names)) == len(names)


def test_the_presets_that_are_promised():
    wanted = "base torch-defaults keras-defaults flax-defaults haiku-defaults gpt2 small-init"
    wanted += " deepnorm vit spectral"
    assert set(preset_names()) == {f"initspec:{name}" for name in wanted.split()}
