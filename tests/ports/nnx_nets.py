"""Two of the networks in flax.nnx, as one would write them there."""

import jax.numpy as jnp
from flax import nnx


class Layer(nnx.Module):
    def __init__(self, width, heads, rngs):
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.fc2 = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x, mask):
        x = x + self.attn(self.norm1(x), mask=mask)
        return x + self.fc2(nnx.gelu(self.fc1(self.norm2(x)), approximate=True))


class GPT(nnx.Module):
    def __init__(self, vocabulary, length, width, heads, layers, rngs):
        self.tok = nnx.Embed(vocabulary, width, rngs=rngs)
        self.pos = nnx.Embed(length, width, rngs=rngs)
        self.blocks = nnx.List([Layer(width, heads, rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens):
        x = self.tok(tokens) + self.pos(jnp.arange(tokens.shape[1]))
        mask = nnx.make_causal_mask(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.tok.attend(self.norm(x))


class Rows(nnx.Module):
    def __init__(self, width, rngs):
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(8, width, rngs=rngs))
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])
