"""The networks in flax.linen, as one would write them there."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

PAD = ((1, 1), (1, 1))


class Block(nn.Module):
    inputs: int
    outputs: int
    stride: int
    groups: int

    @nn.compact
    def __call__(self, x, training=False):
        norm = partial(nn.BatchNorm, use_running_average=not training, epsilon=1e-5, momentum=0.9)
        conv = partial(nn.Conv, use_bias=False)
        stride, groups = (self.stride, self.stride), self.groups
        y = conv(self.outputs, (3, 3), stride, padding=PAD, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(self.outputs, (3, 3), padding=PAD, feature_group_count=groups, name="conv2")(y)
        y = norm(name="bn2")(y)
        if self.stride > 1 or self.inputs != self.outputs:
            x = conv(self.outputs, (1, 1), stride, padding="VALID", name="shortcut")(x)
        return nn.relu(y + x)


class ResNet(nn.Module):
    blocks: tuple

    @nn.compact
    def __call__(self, x, training=False):
        x = nn.Conv(self.blocks[0][0], (3, 3), padding=PAD, use_bias=False, name="stem")(x)
        x = nn.BatchNorm(not training, epsilon=1e-5, momentum=0.9, name="bn")(x)
        x = nn.relu(x)
        for number, block in enumerate(self.blocks):
            x = Block(*block, name=f"blocks_{number}")(x, training)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


class Layer(nn.Module):
    """A transformer's block, in the form in which nn.scan wants it."""

    width: int
    heads: int

    @nn.compact
    def __call__(self, x, mask):
        y = nn.LayerNorm(epsilon=1e-5, name="norm1")(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attn")(y, y, mask=mask)
        y = nn.Dense(4 * self.width, name="fc1")(nn.LayerNorm(epsilon=1e-5, name="norm2")(x))
        return x + nn.Dense(self.width, name="fc2")(nn.gelu(y, approximate=True)), None


class GPT(nn.Module):
    """Its blocks are scanned: one stacked tensor holds all of a kind."""

    vocabulary: int
    length: int
    width: int
    heads: int
    layers: int

    @nn.compact
    def __call__(self, tokens):
        tok = nn.Embed(self.vocabulary, self.width, name="tok")
        pos = nn.Embed(self.length, self.width, name="pos")
        x = tok(tokens) + pos(jnp.arange(tokens.shape[1]))
        mask = nn.make_causal_mask(tokens)
        scanned = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.layers,
        )
        x, _ = scanned(self.width, self.heads, name="blocks")(x, mask)
        return tok.attend(nn.LayerNorm(epsilon=1e-5, name="norm")(x))


class Rows(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        cell = nn.OptimizedLSTMCell(self.width, name="cell")
        return nn.Dense(10, name="classifier")(nn.RNN(cell, name="rnn")(x)[:, -1])


class Autoencoder(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.width, (3, 3), 2, padding=PAD, name="down1")(x))
        x = nn.relu(nn.Conv(2 * self.width, (3, 3), 2, padding=PAD, name="down2")(x))
        x = nn.relu(nn.ConvTranspose(self.width, (4, 4), (2, 2), name="up1")(x))
        return jax.nn.sigmoid(nn.ConvTranspose(1, (4, 4), (2, 2), name="up2")(x))
