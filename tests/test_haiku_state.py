"""Haiku's functions with state: the averages of batch norms, and what they are made from."""

import numpy as np
import pytest
from tree_checks import close, data, drawn, parts, stored, tensor, vector, write_for

hk = pytest.importorskip("haiku")
jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jnp = jax.numpy
module = pytest.importorskip("initspec_jax.haiku")
Haiku, haiku_model = module.Haiku, module.haiku_model


def batch_norm(x, is_training):
    return hk.BatchNorm(True, True, 0.9, name="norm")(x, is_training)


def test_a_batch_norm_with_its_statistics():
    x, function = data(4, 3, 2), hk.transform_with_state(batch_norm)
    model = haiku_model(Haiku(function, x, is_training=True), {})
    params, state = drawn(model)
    mean, variance = (
        tensor(state[f"norm/~/{name}_ema"]["average"][0, 0]) for name in ("mean", "var")
    )
    y, _ = function.apply(params, state, None, x, is_training=False)
    scale, offset = tensor(vector("norm/scale", 2)), tensor(vector("norm/offset", 2))
    channels_first = tensor(np.moveaxis(x, -1, 1))
    batch_norm_of = torch.nn.functional.batch_norm
    expected = batch_norm_of(channels_first, mean, variance, scale, offset, eps=1e-5)
    close(y, np.moveaxis(expected.numpy(), 1, -1), 1e-4)
    drawn_ones = {path: p for path, p in parts(model).items() if p.value is None}
    statistics = [path for path, p in drawn_ones.items() if p.role == "statistic"]
    assert sorted(statistics) == ["norm/mean", "norm/variance"]
    assert all(p.geometry.counts == (1, 2, 1) for p in drawn_ones.values())
    assert stored(model)["norm/~/mean_ema/hidden"].buffer
    knobs = {knob.name: knob.value for knob in model.knobs()}
    assert knobs == {"norm_epsilon": 1e-5, "batch_norm_momentum": 0.1}
    _, ruled = drawn(model, buffers=True)
    close(ruled["norm/~/mean_ema"]["average"].reshape(2), vector("norm/mean", 2))


def test_a_trained_batch_norm_starts_anew():
    x, function = data(4, 3, 2), hk.transform_with_state(batch_norm)
    params, fresh = function.init(None, x, True)
    _, trained = function.apply(params, fresh, None, x + 80, True)
    model = haiku_model(Haiku(function, x, True, params=params, state=trained), {})
    params, state = drawn(model, buffers=True)
    for name in ("mean", "var"):
        assert jax.tree.map(float, state[f"norm/~/{name}_ema"]["counter"]) == 0
        assert state[f"norm/~/{name}_ema"]["counter"].dtype == jnp.int32
        assert not state[f"norm/~/{name}_ema"]["hidden"].any()
    _, state = function.apply(params, state, None, x, True)
    close(state["norm/~/mean_ema"]["average"][0, 0], x.mean((0, 1)))
    close(state["norm/~/var_ema"]["average"][0, 0], x.var((0, 1)))


def test_what_nothing_writes_is_kept_or_made_by_init():
    x, function = data(4, 3, 2), hk.transform_with_state(batch_norm)
    params, state = function.init(None, x, True)
    old = state["norm/~/mean_ema"]["average"] + 3.0
    state["norm/~/mean_ema"]["average"] = old
    model = haiku_model(Haiku(function, x, True, state=state), {})
    new, kept = model.write([write_for(stored(model)["norm/scale"])])
    close(new["norm"]["scale"].reshape(2), vector("norm/scale", 2))
    close(new["norm"]["offset"], params["norm"]["offset"])  # from init
    close(kept["norm/~/mean_ema"]["average"], old)
    assert kept["norm/~/mean_ema"]["counter"].dtype == jnp.int32
