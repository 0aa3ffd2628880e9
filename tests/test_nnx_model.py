"""Modules of flax.nnx as whole models: structure, values, mistakes."""

import numpy as np
import pytest
from flax_checks import filled, fully, parts, piece, reference, writes

from initspec.errors import InitspecValueError
from initspec.models.model import Write
from initspec.models.slots import Slot

jax = pytest.importorskip("jax")
pytest.importorskip("flax")

import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

import initspec_jax.nnx  # noqa: E402
from initspec_jax.nnx import nnx_model  # noqa: E402


class Net(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
        self.again = self.blocks[0]
        self.tied = self.blocks[1].kernel
        self.embed = nnx.Dict(tokens=nnx.Embed(5, 3, rngs=rngs))
        self.stack = nnx.Sequential(nnx.Linear(3, 2, rngs=rngs), nnx.relu)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.constant = nnx.data(jnp.arange(3.0))
        self.lora = nnx.LoRA(3, 2, 4, rngs=rngs)
        self.parent = self


def test_nnx_structure():
    model = nnx_model(Net(nnx.Rngs(0)), {})
    stored = {each.name: each for each in model.tensors()}
    assert parts(model).keys() >= {
        "again/kernel",
        "stack/0/bias",
        "embed/tokens/embedding",
        "lora/lora_a/kernel",
    }
    (alias,) = stored["again/kernel"].aliases
    assert alias[0] == "blocks/0/kernel"
    assert [part.path for part in alias[1]] == ["blocks/0/kernel"]
    assert [name for name, _ in stored["blocks/1/kernel"].aliases] == ["tied"]
    assert stored["constant"].buffer and stored["dropout/rngs/key"].buffer
    assert stored["lora/lora_a"].trainable and not stored["dropout/rngs/count"].trainable
    np.testing.assert_array_equal(model.read("constant"), [0, 1, 2])


def test_nnx_is_written_in_place():
    module = Net(nnx.Rngs(0))
    model = nnx_model(module, {})
    bias = module.blocks[0].bias[...]
    assert model.write(fully(model, "again/kernel")) is module
    part = parts(model)["again/kernel"]
    np.testing.assert_array_equal(module.blocks[0].kernel[...], reference(part))
    assert module.blocks[0].bias[...] is bias
    constant = next(each for each in model.tensors() if each.name == "constant")
    slot = Slot(path="constant", role="other", layout="O")
    (part,) = slot.parts("", (3,))
    model.write([Write(constant, (piece(part),))])
    np.testing.assert_array_equal(module.constant, reference(part))


def test_nnx_without_values():
    module = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    model = nnx_model(module, {})
    with pytest.raises(InitspecValueError, match=r"constant.*expected a rule that writes all"):
        filled(model)
    module.constant = jnp.zeros(3)
    model = nnx_model(module, {})
    with pytest.raises(InitspecValueError, match=r"nnx\.reseed\(module, default=0\)"):
        filled(model)
    assert isinstance(module.stack.layers[0].kernel.get_value(), jax.ShapeDtypeStruct)
    with pytest.raises(InitspecValueError, match="an array with values"):
        model.read("again/kernel")
    nnx.reseed(module, default=0)
    filled(nnx_model(module, {}))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(nnx.state(module)))


def test_nnx_stacks_are_left_to_the_config():
    module = nnx.vmap(lambda rngs: nnx.Linear(3, 4, rngs=rngs))(nnx.Rngs(0).split(5))
    stored = {each.name: each for each in nnx_model(module, {}).tensors()}
    images = nnx.vmap(lambda rngs: nnx.Conv(3, 4, 2, rngs=rngs))(nnx.Rngs(0).split(5))
    assert not parts(nnx_model(images, {}))  # four axes, and no image
    assert stored["kernel"].shape == (5, 3, 4)
    assert not stored["kernel"].parts and not stored["bias"].parts
    assert stored["kernel"].slots[0].layout == "IO"


def test_nnx_subclasses_and_layers_of_the_user():
    class Mine(nnx.Linear):
        pass

    class Gain(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.ones(3))

    module = nnx.Dict(mine=Mine(2, 3, rngs=nnx.Rngs(0)), gain=Gain())
    stored = {each.name: each for each in nnx_model(module, {}).tensors()}
    assert stored["mine/kernel"].parts[0].path == "mine/kernel"
    assert stored["mine/kernel"].layer.endswith("Mine")
    assert not stored["gain/gain"].parts and stored["gain/gain"].path == "gain/gain"
    slot = Slot(path="scale", role="scale", layout="O", kind="norm")
    name = f"{Gain.__module__}.{Gain.__qualname__}"
    assert "gain/scale" in parts(nnx_model(module, {name: {"gain": (slot,)}}))


def replaced(module):
    module.layers[1].kernel = nnx.Param(jnp.zeros((3, 3)))


def removed(module):
    module.layers[1].bias = None


def untied(module):
    module.layers[0].kernel = nnx.Param(jnp.zeros((3, 3)))


def swapped(module):
    module.layers[1] = nnx.Linear(3, 3, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("change", [replaced, removed, untied, swapped])
def test_a_module_that_has_changed_since_is_not_written(change):
    rngs = nnx.Rngs(0)
    module = nnx.Dict(layers=nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)]))
    module.again = nnx.Linear(3, 3, rngs=rngs)
    module.again.kernel = module.layers[0].kernel
    model = nnx_model(module, {})
    wanted = writes(model)
    change(module)
    before = nnx.to_flat_state(nnx.state(module))
    with pytest.raises(InitspecValueError, match=r"(?s)the variable there when.*the model again"):
        model.write(wanted)
    for (_, old), (_, new) in zip(before, nnx.to_flat_state(nnx.state(module)), strict=True):
        assert old.get_value() is new.get_value()


def test_what_fails_halfway_is_undone():
    module = nnx.List([nnx.Linear(3, 4, rngs=nnx.Rngs(0)) for _ in range(2)])
    model = nnx_model(module, {})
    wanted = writes(model)
    before = [model.read(each.name).copy() for each in model.tensors()]

    def refuse(variable, value):
        raise RuntimeError("no")

    module[1].kernel.set_metadata(on_set_value=(refuse,))
    with pytest.raises(RuntimeError, match="no"):
        model.write(wanted)
    for each, old in zip(model.tensors(), before, strict=True):
        np.testing.assert_array_equal(model.read(each.name), old)


def test_leaves_are_made_before_any_is_set(monkeypatch):
    module = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    model = nnx_model(module, {})
    before = module.kernel[...], module.bias[...]
    make, made = initspec_jax.nnx.make_leaf, []

    def once(write, old):
        made.append((module.kernel[...], module.bias[...]))
        if len(made) == 2:
            raise MemoryError
        return make(write, old)

    monkeypatch.setattr(initspec_jax.nnx, "make_leaf", once)
    with pytest.raises(MemoryError):
        model.write(writes(model))
    for now in (*made, (module.kernel[...], module.bias[...])):
        assert all(new is old for new, old in zip(now, before, strict=True))
    assert len(made) == 2


def test_a_lora_adds_nothing_at_first():
    module = nnx.LoRA(3, 2, 4, rngs=nnx.Rngs(0))
    found = parts(nnx_model(module, {}))
    assert {path: part.value for path, part in found.items()} == {
        "lora_a/kernel": None,
        "lora_b/kernel": 0.0,
    }
    np.testing.assert_array_equal(filled(nnx_model(module, {}))(jnp.ones((1, 3))), np.zeros((1, 4)))


def test_nothing_is_written_if_anything_is_wrong():
    module = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    model = nnx_model(module, {})
    good = writes(model)
    before = module.kernel[...], module.bias[...]
    module.bias.set_value(jnp.zeros(9))
    with pytest.raises(InitspecValueError, match="Open the model again"):
        model.write(good[::-1])
    assert module.kernel[...] is before[0]
