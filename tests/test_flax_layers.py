"""Layers of flax.linen and flax.nnx: each computes what torch computes with its weights."""

import numpy as np
import pytest
from flax_checks import abstract, filled, parts, sample

from initspec.fans import fans

jax = pytest.importorskip("jax")
pytest.importorskip("flax")
torch = pytest.importorskip("torch")

import flax.linen as nn  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

from initspec_jax import Linen  # noqa: E402
from initspec_jax.linen import linen_model  # noqa: E402
from initspec_jax.nnx import nnx_model  # noqa: E402
from initspec_torch.model import open_model as torch_model  # noqa: E402

EPSILON = {"epsilon": 1e-5}
VALID = {"padding": "VALID"}


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


def channels_first(x):
    return np.moveaxis(x, -1, 1)


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def same(x):
    return x


class Case:
    """A layer in three libraries; ``before`` and ``after`` fit torch's input and output."""

    def __init__(self, linen, modern, other, x, before=same, after=same, zero=(), **call):
        self.linen, self.nnx, self.torch, self.x = linen, modern, other, x
        self.before, self.after, self.zero, self.call = before, after, zero, call

    def expected(self):
        torch.manual_seed(0)
        module = self.torch().eval()
        filled(torch_model(module, {}), self.zero)
        x = torch.from_numpy(np.ascontiguousarray(self.before(self.x)))
        with torch.no_grad():
            outputs = module(x, x, x) if self.call.get("attends") else module(x)
        return self.after(first(outputs).numpy()), parts(torch_model(module, {}))


def image(linen, modern, other, x=(2, 7, 6, 4), **more):
    return Case(linen, modern, other, sample(*x), channels_first, channels_last, **more)


def conv(dimensions, other, **options):
    size, shape = (3, 2, 2)[:dimensions], (2, 7, 6, 5)[: dimensions + 1]
    return image(
        lambda: nn.Conv(8, size, **VALID, **options),
        lambda rngs: nnx.Conv(4, 8, size, **VALID, **options, rngs=rngs),
        other,
        (*shape, 4),
    )


def transposed(transpose_kernel):
    options = {"strides": (2, 1), "transpose_kernel": transpose_kernel, **VALID}
    return image(
        lambda: nn.ConvTranspose(3, (3, 2), **options),
        lambda rngs: nnx.ConvTranspose(4, 3, (3, 2), **options, rngs=rngs),
        lambda: torch.nn.ConvTranspose2d(4, 3, (3, 2), stride=(2, 1)),
    )


def recurrent(linen, modern, other, zero=()):
    return Case(
        lambda: nn.RNN(linen(4)),
        lambda rngs: nnx.RNN(modern(3, 4, rngs=rngs), rngs=rngs),
        lambda: other(3, 4, batch_first=True),
        sample(2, 5, 3),
        zero=zero,
    )


CASES = {
    "dense": Case(
        lambda: nn.Dense(3),
        lambda rngs: nnx.Linear(5, 3, rngs=rngs),
        lambda: torch.nn.Linear(5, 3),
        sample(2, 5),
    ),
    "dense_general": Case(
        lambda: nn.DenseGeneral((2, 3), axis=(-2, -1)),
        lambda rngs: nnx.LinearGeneral((4, 5), (2, 3), axis=(-2, -1), rngs=rngs),
        lambda: torch.nn.Linear(20, 6),
        sample(2, 4, 5),
        lambda x: x.reshape(2, 20),
        lambda y: y.reshape(2, 2, 3),
    ),
    "einsum": Case(
        lambda: nn.Einsum((4, 5, 6), "nab,abc->nc"),
        lambda rngs: nnx.Einsum("nab,abc->nc", (4, 5, 6), (6,), rngs=rngs),
        lambda: torch.nn.Linear(20, 6),
        sample(2, 4, 5),
        lambda x: x.reshape(2, 20),
    ),
    "conv1": conv(1, lambda: torch.nn.Conv1d(4, 8, 3)),
    "conv2": conv(2, lambda: torch.nn.Conv2d(4, 8, (3, 2), stride=(2, 1)), strides=(2, 1)),
    "conv3": conv(3, lambda: torch.nn.Conv3d(4, 8, (3, 2, 2))),
    "grouped": conv(2, lambda: torch.nn.Conv2d(4, 8, (3, 2), groups=2), feature_group_count=2),
    "depthwise": conv(2, lambda: torch.nn.Conv2d(4, 8, (3, 2), groups=4), feature_group_count=4),
    "transposed": transposed(False),
    "transpose_kernel": transposed(True),
    "embed": Case(
        lambda: nn.Embed(7, 3),
        lambda rngs: nnx.Embed(7, 3, rngs=rngs),
        lambda: torch.nn.Embedding(7, 3),
        np.array([[1, 6, 0]]),
    ),
    "layer_norm": Case(
        lambda: nn.LayerNorm(**EPSILON),
        lambda rngs: nnx.LayerNorm(5, **EPSILON, rngs=rngs),
        lambda: torch.nn.LayerNorm(5),
        sample(2, 5),
    ),
    "rms_norm": Case(
        lambda: nn.RMSNorm(**EPSILON),
        lambda rngs: nnx.RMSNorm(5, **EPSILON, rngs=rngs),
        lambda: torch.nn.RMSNorm(5, eps=1e-5),
        sample(2, 5),
    ),
    "batch_norm": image(
        lambda: nn.BatchNorm(use_running_average=True, **EPSILON),
        lambda rngs: nnx.BatchNorm(4, use_running_average=True, **EPSILON, rngs=rngs),
        lambda: torch.nn.BatchNorm2d(4),
    ),
    "group_norm": image(
        lambda: nn.GroupNorm(2, **EPSILON),
        lambda rngs: nnx.GroupNorm(4, 2, **EPSILON, rngs=rngs),
        lambda: torch.nn.GroupNorm(2, 4),
    ),
    "instance_norm": image(
        lambda: nn.InstanceNorm(**EPSILON),
        lambda rngs: nnx.InstanceNorm(4, **EPSILON, rngs=rngs),
        lambda: torch.nn.InstanceNorm2d(4, affine=True),
    ),
    "prelu": Case(
        nn.PReLU,
        lambda _: nnx.PReLU(),
        torch.nn.PReLU,
        sample(2, 5),
    ),
    "attention": Case(
        lambda: nn.MultiHeadDotProductAttention(2),
        lambda rngs: nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs),
        lambda: torch.nn.MultiheadAttention(6, 2, batch_first=True),
        sample(2, 5, 6),
        attends=True,
    ),
    "lstm": recurrent(nn.LSTMCell, nnx.LSTMCell, torch.nn.LSTM),
    "optimized_lstm": recurrent(nn.OptimizedLSTMCell, nnx.OptimizedLSTMCell, torch.nn.LSTM),
    "conv_lstm": Case(  # of one pixel and one tap: the same as without space
        lambda: nn.RNN(nn.ConvLSTMCell(4, (1, 1))),
        None,
        lambda: torch.nn.LSTM(3, 4, batch_first=True),
        sample(2, 5, 1, 1, 3),
        lambda x: x[:, :, 0, 0],
        lambda y: y[:, :, None, None],
    ),
    # flax.nnx has no bias of its own for the recurrent part of the candidate.
    "gru": recurrent(nn.GRUCell, nnx.GRUCell, torch.nn.GRU, zero=("n/recurrent_bias",)),
    "simple": recurrent(nn.SimpleCell, nnx.SimpleCell, torch.nn.RNN),
    "bidirectional": Case(
        lambda: nn.Bidirectional(nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.LSTMCell(4))),
        lambda rngs: nnx.Bidirectional(
            nnx.RNN(nnx.LSTMCell(3, 4, rngs=rngs)),
            nnx.RNN(nnx.OptimizedLSTMCell(3, 4, rngs=rngs)),
            rngs=rngs,
        ),
        lambda: torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True),
        sample(2, 5, 3),
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*carry_init is provided")


def fans_of(part):
    return fans(part.shape, layout=part.layout) if part.role in ("kernel", "recurrent") else None


def check_parts(found, expected, optional=("recurrent_bias", "count")):
    """The logical tensors are torch's, but for biases that only one of them has."""
    assert {path for path in expected.keys() ^ found.keys() if not path.endswith(optional)} == set()
    for path, part in found.items():
        assert (part.role, part.kind) == (expected[path].role, expected[path].kind), path
        other = expected[path]
        assert part.geometry.counts == other.geometry.counts, path
        assert fans_of(part) == fans_of(other), path


@pytest.mark.parametrize("name", CASES)
def test_linen_layers_compute_what_torch_computes(name):
    case = CASES[name]
    expected, logical = case.expected()
    module, x = case.linen(), jnp.asarray(case.x)
    model = linen_model(Linen(module, abstract(*x.shape, dtype=x.dtype)), {})
    assert not any(stored.problem for stored in model.tensors())
    check_parts(parts(model), logical)
    variables = filled(model, case.zero)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    np.testing.assert_allclose(first(module.apply(variables, x)), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.nnx])
def test_nnx_layers_compute_what_torch_computes(name):
    case = CASES[name]
    expected, logical = case.expected()
    module = nnx.eval_shape(lambda: case.nnx(nnx.Rngs(0)))
    nnx.reseed(module, default=0, carry=0)
    model = nnx_model(module, {})
    check_parts(parts(model), logical)
    assert filled(model, case.zero) is module
    np.testing.assert_allclose(first(module(jnp.asarray(case.x))), expected, rtol=2e-5, atol=2e-6)
