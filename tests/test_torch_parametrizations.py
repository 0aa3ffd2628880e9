"""Tensors that torch computes from others: parametrizations, and hooks of the old kind."""

import pytest

import initspec
from initspec import InitspecValueError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch_model_checks import (  # noqa: E402
    assert_unchanged,
    by_name,
    drawn,
    initialise,
    snapshot,
    write_of,
)

from initspec_torch.model import open_model  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).t()


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("inverted", torch.zeros(()))

    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        self.inverted += 1
        if x.abs().max() > 10:
            raise ValueError("too large")
        return x / 2


def test_parametrized_tensors_are_written_through_their_inverse():
    net = nn.Sequential(nn.Linear(3, 3), parametrizations.weight_norm(nn.Linear(3, 4)))
    parametrize.register_parametrization(net[0], "weight", Doubled())
    model = initialise(net)
    kept = "0.parametrizations.weight.0.inverted"
    assert set(by_name(model)) == {"0.weight", "0.bias", "1.weight", "1.bias", kept}
    assert by_name(model)["0.weight"].layer == "torch.nn.modules.linear.Linear"
    assert by_name(model)["0.weight"].trainable
    for name in ("0.weight", "1.weight"):
        (part,) = by_name(model)[name].parts
        expected = drawn(part, "float32").reshape(part.shape)
        assert model.read(name) == pytest.approx(expected, rel=1e-6)
    assert net[0].parametrizations.weight.original.detach().numpy() == pytest.approx(
        model.read("0.weight") / 2
    )
    net[1](torch.zeros(1, 3)).sum().backward()


def test_reading_does_not_iterate():
    layer = parametrizations.spectral_norm(nn.Linear(3, 3))
    before = snapshot(layer)
    model = open_model(layer)
    model.read("weight")
    assert_unchanged(layer, before)
    assert layer.training and layer.parametrizations.weight[0].training
    assert [s.name for s in model.tensors() if s.buffer and not s.parts]


def test_without_an_inverse_there_is_a_problem():
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    stored = by_name(open_model(layer))["weight"]
    assert "right_inverse" in stored.problem
    assert "Symmetric" in stored.problem


def test_an_inverse_that_fails_leaves_everything_as_it_was():
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(3)))
    for layer in net[1:]:
        parametrize.register_parametrization(layer, "weight", Doubled())
    model = open_model(net)
    before, memory = snapshot(net), net[1].parametrizations.weight.original.data_ptr()
    writes = [write_of(s, initspec.constant(1.0)) for s in model.tensors()]
    writes[-1] = write_of(by_name(model)["2.weight"], initspec.constant(11.0))
    with pytest.raises(InitspecValueError, match="too large"):
        model.write(writes)
    assert [each[:2] for each in snapshot(net)] == [each[:2] for each in before]
    assert net[1].parametrizations.weight.original.data_ptr() == memory


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("hook", "names", "advice"),
    [
        (nn.utils.weight_norm, {"weight_g", "weight_v"}, "parametrizations.weight_norm"),
        (nn.utils.spectral_norm, {"weight_orig"}, "parametrizations.spectral_norm"),
        (lambda m: nn.utils.prune.random_unstructured(m, "weight", 1), {"weight_orig"}, "pruning"),
    ],
)
def test_hooks_of_the_old_kind_are_a_problem(hook, names, advice):
    layer = hook(nn.Linear(3, 3))
    found = {stored.name: stored.problem for stored in open_model(layer).tensors()}
    assert {name for name, problem in found.items() if problem} == names
    assert all(advice in found[name] for name in names)
