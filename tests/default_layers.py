"""One of each layer, under one name in every framework, as each framework starts it by itself."""

import haiku as hk
import jax
import jax.numpy as jnp
import keras
import torch
from flax import linen
from keras import layers

from initspec_jax import Haiku, Linen

INPUTS, OUTPUTS, WIDTH, HEADS, VOCABULARY, UNITS = 192, 160, 128, 8, 400, 96
CHANNELS, FILTERS, GROUPS, DEEP, TIMES = 32, 96, 4, 512, 2
EXAMPLES = {
    "vector": (1, INPUTS),
    "image": (1, 8, 8, CHANNELS),
    "deep": (1, 4, 4, DEEP),
    "tokens": (1, 5),
    "sequence": (1, 5, WIDTH),
}


def examples():
    """A batch of one for every layer: images with the channels last."""
    kinds = {"tokens": jnp.int32}
    return {name: jnp.zeros(shape, kinds.get(name)) for name, shape in EXAMPLES.items()}


class TorchLayers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.dense = nn.Linear(INPUTS, OUTPUTS)
        self.conv = nn.Conv2d(CHANNELS, FILTERS, 3)
        self.grouped = nn.Conv2d(CHANNELS, FILTERS, 3, groups=GROUPS)
        self.depthwise = nn.Conv2d(DEEP, DEEP * TIMES, 3, groups=DEEP)
        self.transposed = nn.ConvTranspose2d(CHANNELS, FILTERS, 4, 2)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = nn.LSTM(WIDTH, UNITS)
        self.gru = nn.GRU(WIDTH, UNITS)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.norm = nn.LayerNorm(WIDTH)
        self.batch = nn.BatchNorm2d(CHANNELS)


def torch_model(seed):
    torch.manual_seed(seed)
    return TorchLayers()


class KerasLayers(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(OUTPUTS)
        self.conv = layers.Conv2D(FILTERS, 3)
        self.grouped = layers.Conv2D(FILTERS, 3, groups=GROUPS)
        self.depthwise = layers.DepthwiseConv2D(3, depth_multiplier=TIMES)
        self.transposed = layers.Conv2DTranspose(FILTERS, 4, 2)
        self.embed = layers.Embedding(VOCABULARY, WIDTH)
        self.lstm = layers.LSTM(UNITS)
        self.gru = layers.GRU(UNITS)
        self.attn = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        self.norm = layers.LayerNormalization()
        self.batch = layers.BatchNormalization()

    def build(self, shapes=None):
        shape = {name: (None, *rest) for name, (_, *rest) in EXAMPLES.items()}
        for name, of in (
            *((name, "image") for name in ("conv", "grouped", "transposed", "batch")),
            *((name, "sequence") for name in ("lstm", "gru", "norm")),
            ("dense", "vector"),
            ("depthwise", "deep"),
            ("embed", "tokens"),
        ):
            getattr(self, name).build(shape[of])
        self.attn.build(shape["sequence"], shape["sequence"])
        self.built = True


def keras_model(seed):
    keras.utils.set_random_seed(seed)
    model = KerasLayers()
    model.build()
    return model


class LinenLayers(linen.Module):
    @linen.compact
    def __call__(self, x):
        nn, image, deep, sequence = linen, x["image"], x["deep"], x["sequence"]
        group = {"feature_group_count": GROUPS, "name": "grouped"}
        each = {"feature_group_count": DEEP, "name": "depthwise"}
        return (
            nn.Dense(OUTPUTS, name="dense")(x["vector"]),
            nn.Conv(FILTERS, (3, 3), name="conv")(image),
            nn.Conv(FILTERS, (3, 3), **group)(image),
            nn.Conv(DEEP * TIMES, (3, 3), **each)(deep),
            nn.ConvTranspose(FILTERS, (4, 4), (2, 2), name="transposed")(image),
            nn.Embed(VOCABULARY, WIDTH, name="embed")(x["tokens"]),
            nn.RNN(nn.OptimizedLSTMCell(UNITS, name="lstm"))(sequence),
            nn.RNN(nn.GRUCell(UNITS, name="gru"))(sequence),
            nn.MultiHeadDotProductAttention(HEADS, name="attn")(sequence),
            nn.LayerNorm(name="norm")(sequence),
            nn.BatchNorm(True, name="batch")(image),
        )


def linen_model(seed):
    module, inputs = LinenLayers(), examples()
    return Linen(module, inputs, variables=jax.jit(module.init)(jax.random.key(seed), inputs))


def haiku_layers(x):
    image, sequence = x["image"], x["sequence"]
    steps = jnp.swapaxes(sequence, 0, 1)
    lstm, gru = hk.LSTM(UNITS, name="lstm"), hk.GRU(UNITS, name="gru")
    return (
        hk.Linear(OUTPUTS, name="dense")(x["vector"]),
        hk.Conv2D(FILTERS, 3, name="conv")(image),
        hk.Conv2D(FILTERS, 3, feature_group_count=GROUPS, name="grouped")(image),
        hk.DepthwiseConv2D(TIMES, 3, name="depthwise")(x["deep"]),
        hk.Conv2DTranspose(FILTERS, 4, 2, name="transposed")(image),
        hk.Embed(VOCABULARY, WIDTH, name="embed")(x["tokens"]),
        hk.dynamic_unroll(lstm, steps, lstm.initial_state(1)),
        hk.dynamic_unroll(gru, steps, gru.initial_state(1)),
        hk.LayerNorm(-1, True, True, name="norm")(sequence),
        hk.BatchNorm(True, True, 0.9, name="batch")(image, True),
    )


def haiku_model(seed):
    transformed, inputs = hk.transform_with_state(haiku_layers), examples()
    params, state = jax.jit(transformed.init)(jax.random.key(seed), inputs)
    return Haiku(transformed, inputs, params=params, state=state)


MODELS = {
    "torch": torch_model,
    "keras": keras_model,
    "flax": linen_model,
    "haiku": haiku_model,
}
