"""The networks in keras.layers, as one would write them there."""

import keras
from keras import layers, ops


def conv(filters, size=3, stride=1, groups=1):
    return layers.Conv2D(filters, size, stride, groups=groups, use_bias=False)


def norm():
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9)


def padded(x):
    """As torch pads: one on each side, whatever the stride."""
    return ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])


class Block(keras.Model):
    def __init__(self, inputs, outputs, stride, groups):
        super().__init__()
        self.conv1 = conv(outputs, stride=stride)
        self.bn1 = norm()
        self.depthwise = groups == outputs
        self.conv2 = (
            layers.DepthwiseConv2D(3, use_bias=False)
            if self.depthwise
            else conv(outputs, groups=groups)
        )
        self.bn2 = norm()
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = conv(outputs, 1, stride)

    def call(self, x, training=False):
        y = ops.relu(self.bn1(self.conv1(padded(x)), training=training))
        y = self.bn2(self.conv2(padded(y)), training=training)
        return ops.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(keras.Model):
    def __init__(self, blocks):
        super().__init__()
        self.stem = conv(blocks[0][0])
        self.bn = norm()
        self.blocks = [Block(*block) for block in blocks]
        self.head = layers.Dense(10)

    def call(self, x, training=False):
        x = ops.relu(self.bn(self.stem(padded(x)), training=training))
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(ops.mean(x, (1, 2)))


class Layer(keras.Model):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = layers.LayerNormalization(epsilon=1e-5)
        self.attn = layers.MultiHeadAttention(heads, width // heads)
        self.norm2 = layers.LayerNormalization(epsilon=1e-5)
        self.fc1 = layers.Dense(4 * width)
        self.fc2 = layers.Dense(width)

    def call(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, use_causal_mask=True)
        y = self.fc1(self.norm2(x))
        return x + self.fc2(ops.gelu(y, approximate=True))


class GPT(keras.Model):
    def __init__(self, vocabulary, length, width, heads, layers_):
        super().__init__()
        self.tok = layers.Embedding(vocabulary, width)
        self.pos = layers.Embedding(length, width)
        self.blocks = [Layer(width, heads) for _ in range(layers_)]
        self.norm = layers.LayerNormalization(epsilon=1e-5)

    def call(self, tokens):
        x = self.tok(tokens) + self.pos(ops.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return ops.matmul(self.norm(x), ops.transpose(self.tok.embeddings))


class Rows(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.rnn = layers.LSTM(width)
        self.head = layers.Dense(10)

    def call(self, x):
        return self.head(self.rnn(x))


class Autoencoder(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.down1 = layers.Conv2D(width, 3, 2)
        self.down2 = layers.Conv2D(2 * width, 3, 2)
        self.up1 = layers.Conv2DTranspose(width, 4, 2, padding="same")
        self.up2 = layers.Conv2DTranspose(1, 4, 2, padding="same")

    def call(self, x):
        x = ops.relu(self.down1(padded(x)))
        x = ops.relu(self.down2(padded(x)))
        x = ops.relu(self.up1(x))
        return ops.sigmoid(self.up2(x))
