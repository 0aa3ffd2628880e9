"""The networks in torch.nn, as one would write them there."""

import torch
from torch import nn
from torch.nn.functional import gelu, relu


def conv(inputs, outputs, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


class Block(nn.Module):
    """Two convolutions and a shortcut; the second one may be grouped or depthwise."""

    def __init__(self, inputs, outputs, stride, groups):
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, groups=groups)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.stem = conv(1, blocks[0][0])
        self.bn = nn.BatchNorm2d(blocks[0][0])
        self.blocks = nn.ModuleList(Block(*block) for block in blocks)
        self.head = nn.Linear(blocks[-1][1], 10)

    def forward(self, x):
        x = relu(self.bn(self.stem(x.permute(0, 3, 1, 2))))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class Layer(nn.Module):
    """A transformer's block, normalised before."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x, mask):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        y = self.fc1(self.norm2(x))
        return x + self.fc2(gelu(y, approximate="tanh"))


class GPT(nn.Module):
    """Its head is its embedding."""

    def __init__(self, vocabulary, length, width, heads, layers):
        super().__init__()
        self.tok = nn.Embedding(vocabulary, width)
        self.pos = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tok.weight

    def forward(self, tokens):
        length = tokens.shape[1]
        mask = torch.triu(torch.full((length, length), -torch.inf), diagonal=1)
        x = self.tok(tokens) + self.pos(torch.arange(length))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


class Rows(nn.Module):
    """An image read row by row.

    torch alone has two biases that add: trained both, they would move twice as far in a step.
    """

    def __init__(self, width):
        super().__init__()
        self.rnn = nn.LSTM(8, width, batch_first=True)
        self.rnn.bias_hh_l0.requires_grad_(False)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Autoencoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down1 = nn.Conv2d(1, width, 3, 2, padding=1)
        self.down2 = nn.Conv2d(width, 2 * width, 3, 2, padding=1)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 4, 2, padding=1)
        self.up2 = nn.ConvTranspose2d(width, 1, 4, 2, padding=1)

    def forward(self, x):
        x = relu(self.down1(x.permute(0, 3, 1, 2)))
        x = relu(self.down2(x))
        x = relu(self.up1(x))
        return torch.sigmoid(self.up2(x)).permute(0, 2, 3, 1)
