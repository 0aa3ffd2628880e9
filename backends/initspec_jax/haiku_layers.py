"""The layers of Haiku: which logical tensors their parameters hold."""

from __future__ import annotations

from functools import partial
from typing import Any

import haiku as hk

from initspec.models.slots import Slot, Split, join, spatial

from .pytree import Rows, Shapes, Table

__all__ = ["NORMS", "TABLE"]

_GATES = "igfo"


def _linear(layer: Any, shapes: Shapes) -> Rows:
    return _dense("", "", "dense")


def _dense(child: str, prefix: str, kind: str) -> dict[str, tuple[Slot, ...]]:
    kernel, bias = join(prefix, "kernel"), join(prefix, "bias")
    return {
        join(child, "w"): (Slot(path=kernel, role="kernel", layout="IO", kind=kind),),
        join(child, "b"): (Slot(path=bias, role="bias", layout="O", kind=kind),),
    }


def _conv(layer: Any, shapes: Shapes) -> Rows:
    groups = layer.feature_group_count
    kind = "depthwise" if groups > 1 == shapes["w"][-2] else "conv"
    return _convolution(shapes, "IO", kind, groups=groups)


def _conv_transpose(layer: Any, shapes: Shapes) -> Rows:
    return _convolution(shapes, "OI", "conv_transpose", stride=tuple(layer.stride), flip=True)


def _depthwise(layer: Any, shapes: Shapes) -> Rows:
    groups = shapes["w"][-1] // layer.channel_multiplier
    return _convolution(shapes, "IO", "depthwise" if groups > 1 else "conv", groups=groups)


def _convolution(shapes: Shapes, order: str, kind: str, **options: Any) -> Rows:
    letters = spatial(len(shapes["w"]) - 2)
    if not letters:
        return {}
    kernel = Slot(path="kernel", role="kernel", layout=letters + order, kind=kind, **options)
    bias = Slot(path="bias", role="bias", layout=_vector(shapes.get("b", ())), kind=kind)
    return {"w": (kernel,), "b": (bias,)}


def _vector(shape: tuple[int, ...]) -> str:
    """One number per channel, in a shape that broadcasts."""
    return "O" if len(shape) == 1 else "".join("_" if size == 1 else "O" for size in shape)


def _embed(layer: Any, shapes: Shapes) -> Rows:
    slot = Slot(path="embedding", role="embedding", layout="VI", kind="embedding")
    return {"embeddings": (slot,)}


def _bias(layer: Any, shapes: Shapes) -> Rows:
    return {"b": (Slot(path="bias", role="bias", layout=_vector(shapes["b"])),)}


def _norm(layer: Any, shapes: Shapes) -> Rows:
    """Of the moving averages the one in use is drawn; what it is made from starts anew with it."""
    names: dict[str, tuple[str, str, float | None]] = {
        "scale": ("scale", "scale", None),
        "offset": ("offset", "offset", None),
    }
    for child, name in {"mean_ema": "mean", "var_ema": "variance"}.items():
        names[f"{child}/average"] = (name, "statistic", None)
        names[f"{child}/hidden"] = (f"{name}_hidden", "statistic", 0.0)
        names[f"{child}/counter"] = (f"{name}_count", "statistic", 0.0)
    norm = partial(Slot, kind="norm")
    return {
        attribute: (norm(path=path, role=role, layout=_vector(shapes[attribute]), value=value),)
        for attribute, (path, role, value) in names.items()
        if attribute in shapes
    }


def _lstm(layer: Any, shapes: Shapes) -> Rows:
    """One matrix for input and state, below each other; the code adds 1 to the forget gate."""
    rows, columns = shapes["linear/w"]
    inputs = slice(0, rows - columns // 4)
    hidden = slice(inputs.stop, rows)
    gates = (Split(axis=1, parts=tuple(_GATES)),)
    matrices = tuple(
        Slot(
            path=f"{{part}}/{role}",
            role=role,
            layout="IO",
            kind="lstm",
            region=(region,),
            splits=gates,
        )
        for role, region in (("kernel", inputs), ("recurrent", hidden))
    )
    return {"linear/w": matrices, "linear/b": _gate_biases(columns // 4)}


def _gate_biases(size: int) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            path=f"{gate}/bias",
            role="bias",
            layout="O",
            kind="lstm",
            region=(slice(number * size, (number + 1) * size),),
            shift=1.0 if gate == "f" else 0.0,
        )
        for number, gate in enumerate(_GATES)
    )


def _conv_lstm(layer: Any, shapes: Shapes) -> Rows:
    first = "input_to_hidden/w"
    letters = spatial(len(shapes[first]) - 2)
    if not letters:
        return {}

    def gates(path: str, role: str, layout: str, value: float | None = None) -> tuple[Slot, ...]:
        split = (Split(axis=len(layout) - 1, parts=tuple(_GATES)),)
        path = f"{{part}}/{path}"
        return (Slot(path=path, role=role, layout=layout, kind="lstm", splits=split, value=value),)

    return {
        first: gates("kernel", "kernel", f"{letters}IO"),
        "input_to_hidden/b": _gate_biases(layer.output_channels),
        "hidden_to_hidden/w": gates("recurrent", "recurrent", f"{letters}IO"),
        "hidden_to_hidden/b": gates("recurrent_bias", "bias", "O", value=0.0),
    }


def _gru(layer: Any, shapes: Shapes) -> Rows:
    """Here z is the share of the new state, elsewhere that of the old one: the opposite sign."""
    names = {"w_i": ("kernel", "IO"), "w_h": ("recurrent", "IO"), "b": ("bias", "O")}
    return {
        attribute: (
            Slot(
                path=f"{{part}}/{role}",
                role=role,
                layout=layout,
                kind="gru",
                splits=(Split(axis=len(layout) - 1, parts=("z", "r", "n")),),
                negate=("z",),
            ),
        )
        for attribute, (role, layout) in names.items()
    }


def _rnn(layer: Any, shapes: Shapes) -> Rows:
    recurrent = Slot(path="recurrent", role="recurrent", layout="IO", kind="rnn")
    second = Slot(path="recurrent_bias", role="bias", layout="O", kind="rnn", value=0.0)
    return {
        **_dense("linear", "", "rnn"),
        "linear_1/w": (recurrent,),
        "linear_1/b": (second,),
    }


def _attention(layer: Any, shapes: Shapes) -> Rows:
    children = {"query": "query", "key": "key", "value": "value", "linear": "out"}
    return {
        attribute: slots
        for child, name in children.items()
        for attribute, slots in _dense(child, name, "attention").items()
    }


TABLE: Table = {
    hk.Linear: _linear,
    hk.ConvND: _conv,
    hk.ConvNDTranspose: _conv_transpose,
    hk.DepthwiseConv1D: _depthwise,
    hk.DepthwiseConv2D: _depthwise,
    hk.DepthwiseConv3D: _depthwise,
    hk.Embed: _embed,
    hk.Bias: _bias,
    hk.LSTM: _lstm,
    hk.Conv1DLSTM: _conv_lstm,
    hk.Conv2DLSTM: _conv_lstm,
    hk.Conv3DLSTM: _conv_lstm,
    hk.GRU: _gru,
    hk.VanillaRNN: _rnn,
    hk.MultiHeadAttention: _attention,
    hk.LayerNorm: _norm,
    hk.RMSNorm: _norm,
    hk.GroupNorm: _norm,
    hk.BatchNorm: _norm,
}
NORMS = (hk.LayerNorm, hk.RMSNorm, hk.GroupNorm, hk.BatchNorm)
