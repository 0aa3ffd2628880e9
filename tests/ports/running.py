"""A port: how a framework makes a network, runs it forward, and takes steps of SGD.

`PORTS` lists every network in every framework. All take and give NumPy arrays; losses and
gradients are each framework's own.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import torch
from flax import nnx
from sklearn.datasets import load_digits

import initspec.models
from initspec_jax import Linen

from . import keras_nets, linen_nets, nnx_nets, torch_nets

CONFIGS = Path(__file__).parent
BLOCKS = ((16, 16, 1, 1), (16, 32, 2, 4), (32, 32, 1, 32), (32, 64, 2, 1))
GPT = (17, 64, 32, 4, 3)  # vocabulary, length, width, heads, layers
WIDTH = 24
RATES = {"resnet": 0.02, "gpt": 0.5, "rows": 0.5, "autoencoder": 0.5}
STEPS, BATCH = 10, 64


def digits():
    """Images (batch, 8, 8, 1) in [0, 1], their pixels as tokens, and labels; shuffled once."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    pixels = images[order]
    return (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1), pixels.astype(int), labels[order]


IMAGES, TOKENS, LABELS = digits()
ROWS = IMAGES[..., 0]


def batch(net, step):
    """Inputs and targets of a step."""
    rows = slice(step * BATCH, (step + 1) * BATCH)
    if net == "gpt":
        return TOKENS[rows, :-1], TOKENS[rows, 1:]
    if net == "autoencoder":
        return IMAGES[rows], IMAGES[rows]
    return (IMAGES if net == "resnet" else ROWS)[rows], LABELS[rows]


@dataclass
class TorchPort:
    net: str

    def make(self):
        return {
            "resnet": lambda: torch_nets.ResNet(BLOCKS),
            "gpt": lambda: torch_nets.GPT(*GPT),
            "rows": lambda: torch_nets.Rows(WIDTH),
            "autoencoder": lambda: torch_nets.Autoencoder(WIDTH),
        }[self.net]()

    def forward(self, model, inputs):
        with torch.no_grad():
            return model.eval()(torch.from_numpy(inputs)).numpy()

    def losses(self, model):
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), RATES[self.net])
        return [self.step(model, optimizer, *batch(self.net, step)) for step in range(STEPS)]

    def step(self, model, optimizer, inputs, targets):
        optimizer.zero_grad()
        outputs, wanted = model(torch.from_numpy(inputs)), torch.from_numpy(targets)
        if self.net == "autoencoder":
            loss = torch.nn.functional.mse_loss(outputs, wanted)
        else:
            loss = torch.nn.functional.cross_entropy(outputs.flatten(0, -2), wanted.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()


@dataclass
class KerasPort:
    net: str

    def make(self):
        model = {
            "resnet": lambda: keras_nets.ResNet(BLOCKS),
            "gpt": lambda: keras_nets.GPT(*GPT),
            "rows": lambda: keras_nets.Rows(WIDTH),
            "autoencoder": lambda: keras_nets.Autoencoder(WIDTH),
        }[self.net]()
        model(batch(self.net, 0)[0])
        return model

    def forward(self, model, inputs):
        return keras.ops.convert_to_numpy(model(inputs))

    def losses(self, model):
        kind = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = "mse" if self.net == "autoencoder" else kind
        model.compile(keras.optimizers.SGD(RATES[self.net]), loss)
        found = []
        for step in range(STEPS):
            model.reset_metrics()  # or it would tell the mean of all steps
            found.append(float(model.train_on_batch(*batch(self.net, step))))
        return found


def jax_loss(net, outputs, targets):
    if net == "autoencoder":
        return jnp.square(outputs - targets).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


@dataclass
class LinenPort:
    net: str

    def __post_init__(self):
        self.module = {
            "resnet": lambda: linen_nets.ResNet(BLOCKS),
            "gpt": lambda: linen_nets.GPT(*GPT),
            "rows": lambda: linen_nets.Rows(WIDTH),
            "autoencoder": lambda: linen_nets.Autoencoder(WIDTH),
        }[self.net]()

    def make(self):
        return Linen(self.module, batch(self.net, 0)[0])

    def holding(self, variables):
        """The wrapper of the variables, for checks."""
        return Linen(self.module, batch(self.net, 0)[0], variables=variables)

    def forward(self, variables, inputs):
        return np.asarray(self.module.apply(variables, inputs))

    def losses(self, variables):
        params, rest = variables["params"], {k: v for k, v in variables.items() if k != "params"}

        def loss(params, rest, inputs, targets):
            extra = {"training": True, "mutable": ["batch_stats"]} if rest else {}
            found = self.module.apply({"params": params, **rest}, inputs, **extra)
            outputs, rest = found if rest else (found, rest)
            return jax_loss(self.net, outputs, targets), rest

        step, found = jax.jit(jax.value_and_grad(loss, has_aux=True)), []
        for number in range(STEPS):
            (value, rest), slopes = step(params, rest, *batch(self.net, number))
            move = lambda w, g: w - RATES[self.net] * g  # noqa: E731
            params = jax.tree.map(move, params, slopes)
            found.append(float(value))
        return found


@dataclass
class NnxPort:
    net: str

    def make(self):
        rngs = nnx.Rngs(0)
        if self.net == "gpt":
            return nnx_nets.GPT(*GPT, rngs=rngs)
        return nnx_nets.Rows(WIDTH, rngs=rngs)

    def forward(self, model, inputs):
        return np.asarray(model(jnp.asarray(inputs)))

    def losses(self, model):
        optimizer = nnx.Optimizer(model, optax.sgd(RATES[self.net]), wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, inputs, targets):
            loss = lambda model: jax_loss(self.net, model(inputs), targets)  # noqa: E731
            value, slopes = nnx.value_and_grad(loss)(model)
            optimizer.update(model, slopes)
            return value

        return [float(step(model, optimizer, *batch(self.net, n))) for n in range(STEPS)]


FRAMEWORKS = {"torch": TorchPort, "keras": KerasPort, "linen": LinenPort, "nnx": NnxPort}
NETS = {
    "resnet": ("torch", "keras", "linen"),
    "gpt": ("torch", "keras", "linen", "nnx"),
    "rows": ("torch", "keras", "linen", "nnx"),
    "autoencoder": ("torch", "keras", "linen"),
}


def config(net):
    """The one config of all ports of a network."""
    return initspec.models.load(CONFIGS / f"{net}.toml")


def initialised(net, framework):
    """The port, and its model under the config."""
    port = FRAMEWORKS[framework](net)
    return port, initspec.models.apply(port.make(), config(net))


def holder(port, model):
    """What checks take: linen's variables go back into their wrapper."""
    return port.holding(model) if isinstance(port, LinenPort) else model
