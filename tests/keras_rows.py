"""The layers of Keras, each beside what torch or NumPy computes with the same logical weights."""

import keras
import numpy as np
import pytest
from keras_checks import host

import initspec
from initspec import stream
from initspec.models.model import Piece, Write
from initspec.models.slots import Slot, spatial
from initspec_keras.model import open_model

torch = pytest.importorskip("torch")
functional = torch.nn.functional
layers = keras.layers

SEED = 11
LAW = initspec.uniform(0.1, 0.9)  # positive: it fills variances, too


def _zeros(self, shape, dtype=None):
    return keras.ops.zeros(shape, dtype)


def without_draws(monkeypatch):
    """Keras's own first values do not matter; JAX would compile a draw for every shape."""
    for name in ("VarianceScaling", "Orthogonal", "RandomUniform", "TruncatedNormal"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", _zeros)


def piece(part, law=LAW):
    keys = (stream.key(SEED, part.path),)
    return Piece(part, law.plan(part.shape, layout=part.layout, keys=keys))


def write_of(stored, law=LAW, only=""):
    return Write(stored, tuple(piece(part, law) for part in stored.parts if only in part.path))


def floating(stored):
    return "float" in stored.dtype


def filled(model, law=LAW, given=None):
    """The model with every logical tensor drawn under its path."""
    opened = open_model(model, given or {})
    known = (each for each in opened.tensors() if floating(each) and each.parts)
    opened.write([write_of(each, law) for each in known])
    return opened


def parts(model, given=None):
    return {p.path: p for each in open_model(model, given or {}).tensors() for p in each.parts}


def weight(path, layout, *shape, **options):
    """The same logical tensor for torch, drawn by NumPy alone."""
    return torch.from_numpy(LAW(shape, seed=SEED, name=path, layout=layout, **options))


def data(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype("float32")


def channels_first(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def channels_last(y):
    return np.moveaxis(y.detach().numpy(), 1, -1)


def same(left, right):
    np.testing.assert_allclose(host(keras.ops.convert_to_tensor(left)), right, rtol=2e-5, atol=2e-5)


# --- every row against torch or NumPy -----------------------------------------------------------


def conv(x, rank, kernel, bias, **options):
    run = getattr(functional, f"conv{rank}d")
    return channels_last(run(channels_first(x), kernel, bias, **options))


def conv_row(rank, groups=1, channels=4):
    sizes = (3, 2, 4)[:rank]
    letters = spatial(rank)
    return (
        lambda: getattr(layers, f"Conv{rank}D")(6, sizes, groups=groups),
        (2, *(7, 6, 5)[:rank], channels),
        lambda x: conv(
            x,
            rank,
            weight("kernel", "OI" + letters, 6, channels // groups, *sizes, groups=groups),
            weight("bias", "O", 6),
            groups=groups,
        ),
    )


def transposed_row(rank, stride):
    sizes = (3, 2, 4)[:rank]
    run = getattr(functional, f"conv_transpose{rank}d")

    def expected(x):
        kernel = weight("kernel", "IO" + spatial(rank), 4, 6, *sizes, stride=stride)
        return channels_last(
            run(channels_first(x), kernel, weight("bias", "O", 6), stride=(stride,) * rank)
        )

    make = getattr(layers, f"Conv{rank}DTranspose")
    return (lambda: make(6, sizes, strides=stride), (2, *(5, 4, 3)[:rank], 4), expected)


def depthwise_row(rank):
    sizes = (3, 2)[:rank]

    def expected(x):
        kernel = weight("kernel", "OI" + spatial(rank), 8, 1, *sizes, groups=4)
        return conv(x, rank, kernel, weight("bias", "O", 8), groups=4)

    make = getattr(layers, f"DepthwiseConv{rank}D")
    return (lambda: make(sizes, depth_multiplier=2), (2, *(7, 6)[:rank], 4), expected)


def separable_row(rank):
    sizes = (3, 2)[:rank]

    def expected(x):
        deep = weight("depthwise/kernel", "OI" + spatial(rank), 8, 1, *sizes, groups=4)
        point = weight("pointwise/kernel", "OI" + spatial(rank), 5, 8, *(1,) * rank)
        between = conv(x, rank, deep, None, groups=4)
        return conv(between, rank, point, weight("bias", "O", 5))

    make = getattr(layers, f"SeparableConv{rank}D")
    return (lambda: make(5, sizes, depth_multiplier=2), (2, *(7, 6)[:rank], 4), expected)


def dense_expected(x):
    return x @ weight("kernel", "OI", 3, 5).numpy().T + weight("bias", "O", 3).numpy()


def recurrent(kind, path="", units=3, inputs=4, order=""):
    """A layer of torch with the logical weights under a path."""
    made = getattr(torch.nn, kind)(inputs, units, batch_first=True)
    names = [f"{gate}/" for gate in order] or [""]
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            leaf, layout, size = {
                "weight_ih_l0": ("kernel", "OI", (units, inputs)),
                "weight_hh_l0": ("recurrent", "OI", (units, units)),
                "bias_ih_l0": ("bias", "O", (units,)),
                "bias_hh_l0": ("recurrent_bias", "O", (units,)),
            }[name]
            blocks = [weight(f"{path}{gate}{leaf}", layout, *size) for gate in names]
            if leaf == "recurrent_bias":  # only the GRU's candidate has a second one of its own
                blocks = [
                    b if gate == "n/" else 0 * b for gate, b in zip(names, blocks, strict=True)
                ]
            tensor.copy_(torch.cat(blocks))
    return made


def last(made):
    return lambda x: made(torch.from_numpy(x))[0].detach().numpy()[:, -1]


def plain_gru(x):
    """The GRU of ``reset_after=False``, which torch has not: r acts before the product."""
    get = {
        gate: [
            weight(f"{gate}/kernel", "OI", 3, 4).numpy().T,
            weight(f"{gate}/recurrent", "OI", 3, 3).numpy().T,
            weight(f"{gate}/bias", "O", 3).numpy(),
        ]
        for gate in "zrn"
    }

    def gate(name, x, h):
        kernel, recurrent, bias = get[name]
        return x @ kernel + h @ recurrent + bias

    h = np.zeros((len(x), 3))
    for step in np.moveaxis(x, 1, 0):
        z = 1 / (1 + np.exp(-gate("z", step, h)))
        r = 1 / (1 + np.exp(-gate("r", step, h)))
        h = z * h + (1 - z) * np.tanh(gate("n", step, r * h))
    return h


def both_ways(x):
    ways = [
        recurrent("LSTM", f"{way}/", order="ifgo").requires_grad_(False)
        for way in ("forward", "backward")
    ]
    return np.concatenate([last(ways[0])(x), last(ways[1])(x[:, ::-1].copy())], axis=-1)


def stacked_cells(x):
    below = recurrent("LSTM", "0/", order="ifgo")(torch.from_numpy(x))[0]
    return recurrent("GRU", "1/", units=2, inputs=3, order="rzn")(below)[0].detach().numpy()[:, -1]


def conv_lstm(x):
    """One step after another with torch's convolutions; the padding is 'same'."""

    def both(gate, step, h):
        kernel = weight(f"{gate}/kernel", "OIHW", 2, 3, 3, 3)
        recurrent = weight(f"{gate}/recurrent", "OIHW", 2, 2, 3, 3)
        bias = weight(f"{gate}/bias", "O", 2)
        first = functional.conv2d(step, kernel, bias, padding=1)
        return first + functional.conv2d(h, recurrent, padding=1)

    h = c = torch.zeros(len(x), 2, 5, 4)
    for number in range(x.shape[1]):
        step = channels_first(x[:, number])
        i, f, o = (torch.sigmoid(both(gate, step, h)) for gate in "ifo")
        c = f * c + i * torch.tanh(both("g", step, h))
        h = o * torch.tanh(c)
    return channels_last(h)


def attention(x, heads, key_heads, dim):
    """Grouped where there are fewer heads of keys; torch's rows are heads, then dimensions."""
    size = x.shape[-1]

    def project(name, count):
        kernel = weight(f"{name}/kernel", "OI", count * dim, size)
        out = torch.from_numpy(x) @ kernel.T + weight(f"{name}/bias", "O", count * dim)
        return out.unflatten(-1, (count, dim)).transpose(1, 2)

    query, key, value = (
        project(name, count)
        for name, count in (("query", heads), ("key", key_heads), ("value", key_heads))
    )
    repeats = heads // key_heads
    key, value = (each.repeat_interleave(repeats, dim=1) for each in (key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value)
    flat = mixed.transpose(1, 2).flatten(2)
    out = weight("out/kernel", "OI", size, heads * dim)
    return (flat @ out.T + weight("out/bias", "O", size)).numpy()


def attention_of_torch(x):
    made = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    names = ("query", "key", "value")
    with torch.no_grad():
        made.in_proj_weight.copy_(torch.cat([weight(f"{n}/kernel", "OI", 6, 6) for n in names]))
        made.in_proj_bias.copy_(torch.cat([weight(f"{n}/bias", "O", 6) for n in names]))
        made.out_proj.weight.copy_(weight("out/kernel", "OI", 6, 6))
        made.out_proj.bias.copy_(weight("out/bias", "O", 6))
        tensor = torch.from_numpy(x)
        return made(tensor, tensor, tensor)[0].numpy()


class Wrapped(layers.Wrapper):
    """Attention of a sequence to itself."""

    def build(self, shape):
        self.layer.build(shape, shape)

    def call(self, x):
        return self.layer(x, x)


class Both(layers.Wrapper):
    """A layer of two inputs, of the same one twice."""

    def build(self, shape):
        self.layer.build([shape, shape])
        self.layer.built = True

    def call(self, x):
        return self.layer([x, x])


def batch_norm(x):
    names = ("mean", "variance", "scale", "offset")
    vectors = [weight(name, "O", x.shape[-1]) for name in names]
    return functional.batch_norm(torch.from_numpy(x), *vectors, eps=1e-3).numpy()


def layer_norm(x):
    vectors = [weight(name, "OO", *x.shape[-2:]) for name in ("scale", "offset")]
    return functional.layer_norm(torch.from_numpy(x), x.shape[-2:], *vectors, eps=1e-3).numpy()


def group_norm(x):
    vectors = [weight(name, "O", x.shape[-1]) for name in ("scale", "offset")]
    return channels_last(functional.group_norm(channels_first(x), 2, *vectors, eps=1e-3))


def rms_norm(x):
    scale = weight("scale", "O", x.shape[-1])
    return functional.rms_norm(torch.from_numpy(x), x.shape[-1:], scale, eps=1e-6).numpy()


ADAPTED = {
    "keras.layers.Normalization": {
        name: (Slot(path=name, role="statistic", layout=layout, kind="norm"),)
        for name, layout in (("mean", "O"), ("variance", "O"), ("count", ""))
    }
}
"""What a config may say of statistics of the data, which are kept else."""


def normalization(x):
    mean, variance = (weight(name, "O", x.shape[-1]).numpy() for name in ("mean", "variance"))
    return (x - mean) / np.sqrt(variance)


def additive(x):
    scale = weight("kernel", "I", x.shape[-1]).numpy()
    scores = (scale * np.tanh(x[:, :, None] + x[:, None])).sum(-1)
    return torch.softmax(torch.from_numpy(scores), -1).numpy() @ x


def heads_row(x):
    """(in, heads, dim) is torch's (heads * dim, in)."""
    kernel, bias = weight("kernel", "OI", 6, 5), weight("bias", "O", 6)
    return (torch.from_numpy(x) @ kernel.T + bias).unflatten(-1, (2, 3)).numpy()


def merge_row(x):
    """(heads, dim, out) is torch's (out, heads * dim)."""
    flat = torch.from_numpy(x).flatten(2)
    return (flat @ weight("kernel", "OI", 4, 6).T + weight("bias", "O", 4)).numpy()


def per_head_row(x):
    """One kernel of its own for each head: a stack of torch's."""
    kernels = weight("kernel", "SOI", 2, 4, 3)
    bias = weight("bias", "OO", 2, 4).numpy()
    return np.stack([x[:, :, n] @ kernels[n].numpy().T for n in range(2)], axis=2) + bias


ROWS = {
    "dense": (lambda: layers.Dense(3), (2, 5), dense_expected),
    "heads": (
        lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"),
        (2, 7, 5),
        heads_row,
    ),
    "merged heads": (
        lambda: layers.EinsumDense("...de,dec->...c", 4, bias_axes="c"),
        (2, 7, 2, 3),
        merge_row,
    ),
    "per head": (
        lambda: layers.EinsumDense("abnc,ncd->abnd", (None, 2, 4), bias_axes="nd"),
        (2, 7, 2, 3),
        per_head_row,
    ),
    "elided right": (
        lambda: layers.EinsumDense("bi...,io->bo...", (3, None), bias_axes="o"),
        (2, 5, 4),
        lambda x: np.moveaxis(dense_expected(np.moveaxis(x, 1, -1)), -1, 1),
    ),
    "conv1d": conv_row(1),
    "conv2d": conv_row(2),
    "conv3d": conv_row(3),
    "grouped": conv_row(2, groups=2),
    "depthwise by groups": conv_row(1, groups=2, channels=2),
    "transposed1d": transposed_row(1, 2),
    "transposed2d": transposed_row(2, 2),
    "transposed3d": transposed_row(3, 1),
    "depthwise1d": depthwise_row(1),
    "depthwise2d": depthwise_row(2),
    "separable1d": separable_row(1),
    "separable2d": separable_row(2),
    "lstm": (lambda: layers.LSTM(3), (2, 5, 4), last(recurrent("LSTM", order="ifgo"))),
    "gru": (lambda: layers.GRU(3), (2, 5, 4), last(recurrent("GRU", order="rzn"))),
    "gru reset before": (lambda: layers.GRU(3, reset_after=False), (2, 5, 4), plain_gru),
    "rnn": (lambda: layers.SimpleRNN(3), (2, 5, 4), last(recurrent("RNN"))),
    "cell": (lambda: layers.RNN(layers.GRUCell(3)), (2, 5, 4), last(recurrent("GRU", order="rzn"))),
    "cells": (
        lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]),
        (2, 5, 4),
        stacked_cells,
    ),
    "bidirectional": (lambda: layers.Bidirectional(layers.LSTM(3)), (2, 5, 4), both_ways),
    "conv lstm": (
        lambda: layers.ConvLSTM2D(2, 3, padding="same", recurrent_activation="sigmoid"),
        (2, 3, 5, 4, 3),
        conv_lstm,
    ),
    "attention": (lambda: Wrapped(layers.MultiHeadAttention(2, 3)), (2, 5, 6), attention_of_torch),
    "grouped attention": (
        lambda: Wrapped(layers.GroupQueryAttention(3, 4, 2)),
        (2, 5, 6),
        lambda x: attention(x, 4, 2, 3),
    ),
    "additive attention": (
        lambda: Both(layers.AdditiveAttention()),
        (2, 5, 4),
        additive,
    ),
    "batch norm": (layers.BatchNormalization, (7, 4), batch_norm),
    "layer norm": (lambda: layers.LayerNormalization(axis=(1, 2)), (2, 5, 4), layer_norm),
    "group norm": (lambda: layers.GroupNormalization(2), (2, 5, 4), group_norm),
    "rms norm": (layers.RMSNormalization, (2, 5), rms_norm),
    "unit norm": (
        layers.UnitNormalization,
        (2, 5),
        lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    ),
    "prelu": (
        lambda: layers.PReLU(shared_axes=[1, 2]),
        (2, 5, 4, 3),
        lambda x: channels_last(functional.prelu(channels_first(x), weight("slope", "O", 3))),
    ),
    "time distributed": (
        lambda: layers.TimeDistributed(layers.Dense(3)),
        (2, 7, 5),
        dense_expected,
    ),
    "spectral norm": (
        lambda: layers.SpectralNormalization(layers.Dense(3)),
        (2, 5),
        dense_expected,
    ),
}
