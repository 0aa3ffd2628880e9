"""How Keras's layers store their logical tensors: one row per class, by variable name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import keras

from initspec.models.model import Layers
from initspec.models.slots import Slot, Split, spatial

try:
    from keras.src.layers.rnn.conv_lstm import ConvLSTMCell
except ImportError:  # it has no public name: then its weights are of an unknown class
    ConvLSTMCell = type(None)

__all__ = ["CHILDREN", "KINDS", "NORMS", "TABLE", "child_path", "class_name", "slots_of", "waits"]

Shape: TypeAlias = tuple[int, ...]
Slots: TypeAlias = Slot | tuple[Slot, ...]  # none: the variable is kept as it is
Row: TypeAlias = Mapping[str, Slots | Callable[[Any, Shape], Slots]]

LSTM = ("i", "f", "g", "o")  # Keras calls g c
GRU = ("z", "r", "n")  # and n h

layers = keras.layers


def _vector(path: str, role: str, kind: str) -> Callable[[Any, Shape], Slot]:
    """One O for every axis: scales, offsets and statistics."""

    def slot(_: Any, shape: Shape) -> Slot:
        return Slot(path=path, role=role, kind=kind, layout="O" * len(shape))

    return slot


def _bias(kind: str) -> Slot:
    return Slot(path="bias", role="bias", kind=kind, layout="O")


def _affine(kind: str, **options: Any) -> Row:
    """A kernel of inputs and outputs with a bias."""
    kernel = Slot(path="kernel", role="kernel", kind=kind, layout="IO", **options)
    return {"kernel": kernel, "bias": _bias(kind)}


# --- convolutions -------------------------------------------------------------------------------


def _conv_kind(layer: Any) -> str:
    """Depthwise is more than one group, of one input channel each."""
    return "depthwise" if layer.groups > 1 == layer.kernel.shape[-2] else "conv"


def _depthwise_kind(layer: Any) -> str:
    return "depthwise" if layer.kernel.shape[-2] > 1 else "conv"


def _conv_kernel(layer: Any, shape: Shape) -> Slot:
    return Slot(
        path="kernel",
        role="kernel",
        kind=_conv_kind(layer),
        layout=spatial(len(shape) - 2) + "IO",
        groups=layer.groups,
    )


def _transposed_kernel(layer: Any, shape: Shape) -> Slot:
    return Slot(
        path="kernel",
        role="kernel",
        kind="conv_transpose",
        layout=spatial(len(shape) - 2) + "OI",
        stride=tuple(layer.strides),
        transposed=True,
    )


def _depthwise_kernel(layer: Any, shape: Shape) -> Slot:
    """Channels, and outputs of each: the groups are the channels."""
    layout = spatial(len(shape) - 2) + "GO"
    return Slot(path="kernel", role="kernel", kind=_depthwise_kind(layer), layout=layout)


def _separable_depthwise(_: Any, shape: Shape) -> Slot:
    layout = spatial(len(shape) - 2) + "GO"
    return Slot(path="depthwise/kernel", role="kernel", kind="depthwise", layout=layout)


def _separable_pointwise(_: Any, shape: Shape) -> Slot:
    layout = spatial(len(shape) - 2) + "IO"
    return Slot(path="pointwise/kernel", role="kernel", kind="pointwise", layout=layout)


def _conv_bias(layer: Any, _: Shape) -> Slot:
    return _bias(_conv_kind(layer))


def _depthwise_bias(layer: Any, _: Shape) -> Slot:
    return _bias(_depthwise_kind(layer))


_CONV: Row = {"kernel": _conv_kernel, "bias": _conv_bias}
_TRANSPOSED: Row = {"kernel": _transposed_kernel, "bias": _bias("conv_transpose")}
_DEPTHWISE: Row = {"kernel": _depthwise_kernel, "bias": _depthwise_bias}
_SEPARABLE: Row = {
    "depthwise_kernel": _separable_depthwise,
    "pointwise_kernel": _separable_pointwise,
    "bias": _bias("pointwise"),
}


# --- einsum -------------------------------------------------------------------------------------


def _einsum_kernel(layer: Any, _: Shape) -> Slot:
    """Letters that are summed are inputs, letters of the output alone are outputs.

    A letter of kernel, input and output indexes kernels that do not meet: a stack.
    """
    terms, output = layer.equation.replace(" ", "").split("->")
    data, kernel = terms.split(",")
    roles = {(True, False): "I", (False, True): "O", (True, True): "S"}
    layout = "".join(roles[letter in data, letter in output] for letter in kernel)
    return Slot(path="kernel", role="kernel", kind="dense", layout=layout)


def _einsum_bias(layer: Any, shape: Shape) -> Slot:
    """From the first axis with a bias on; the axes between have the length 1."""
    output = layer.equation.replace(" ", "").split("->")[1].replace(".", "")
    first = min(output.index(letter) for letter in layer.bias_axes)
    letters = "".join("O" if each in layer.bias_axes else "_" for each in output[first:])
    return Slot(path="bias", role="bias", kind="dense", layout=letters.ljust(len(shape), "_"))


# --- recurrent cells ----------------------------------------------------------------------------


def _gated(kind: str, gates: tuple[str, ...], space: str = "") -> dict[str, Slots]:
    """Kernels and a bias whose last axis holds the gates."""
    last = (Split(axis=len(space) + 1, parts=gates),)
    kernel = Slot(path="{part}/kernel", role="kernel", kind=kind, layout=f"{space}IO", splits=last)
    recurrent = replace(kernel, path="{part}/recurrent", role="recurrent")
    first = (Split(axis=0, parts=gates),)
    bias = Slot(path="{part}/bias", role="bias", kind=kind, layout="O", splits=first)
    return {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}


def _gru_bias(layer: Any, shape: Shape) -> Slots:
    """With ``reset_after`` a second row: only the candidate's bias there is one of its own."""
    plain = _gated("gru", GRU)["bias"]
    if len(shape) == 1:
        return plain
    gate = Slot(path="{part}/bias", role="bias", kind="gru", layout="O")
    second = replace(gate, path="{part}/recurrent_bias")
    edge = 2 * layer.units
    return (
        replace(gate, region=(0,), splits=(Split(axis=1, parts=GRU),)),
        replace(
            second, region=(1, slice(0, edge)), splits=(Split(axis=1, parts=GRU[:2]),), value=0.0
        ),
        replace(second, path="n/recurrent_bias", region=(1, slice(edge, shape[1]))),
    )


def _conv_lstm(name: str) -> Callable[[Any, Shape], Slots]:
    def slots(_: Any, shape: Shape) -> Slots:
        return _gated("lstm", LSTM, spatial(len(shape) - 2))[name]

    return slots


_RNN: Row = {
    **_affine("rnn"),
    "recurrent_kernel": Slot(path="recurrent", role="recurrent", kind="rnn", layout="IO"),
}
_CONV_LSTM: Row = {
    "kernel": _conv_lstm("kernel"),
    "recurrent_kernel": _conv_lstm("recurrent_kernel"),
    "bias": _gated("lstm", LSTM)["bias"],
}


# --- the others ---------------------------------------------------------------------------------


def _slope(layer: Any, shape: Shape) -> Slot:
    """An axis that shares its slope takes no part."""
    shared = layer.shared_axes or ()
    layout = "".join("_" if axis in shared else "O" for axis in range(1, len(shape) + 1))
    return Slot(path="slope", role="slope", layout=layout)


_EMBEDDING = Slot(path="embedding", role="embedding", kind="embedding", layout="VI")
_REVERSE = Slot(path="reverse/kernel", role="kernel", kind="dense", layout="IO")
_AFFINE_NORM: Row = {
    "gamma": _vector("scale", "scale", "norm"),
    "beta": _vector("offset", "offset", "norm"),
}
_STATISTICS = {
    "moving_mean": "mean",
    "moving_variance": "variance",
    "moving_stddev": "stddev",
    "renorm_mean": "renorm_mean",
    "renorm_stddev": "renorm_stddev",
}
_BATCH_NORM: Row = {
    **_AFFINE_NORM,
    **{name: _vector(path, "statistic", "norm") for name, path in _STATISTICS.items()},
}
_SCALAR = Slot(path="scale", role="scale", kind="attention", layout="")
_KEPT: tuple[Slot, ...] = ()  # what the layer computed by itself, or from data

TABLE: Mapping[type, Row] = {
    layers.Dense: _affine("dense"),
    layers.EinsumDense: {"kernel": _einsum_kernel, "bias": _einsum_bias},
    layers.Conv1D: _CONV,
    layers.Conv2D: _CONV,
    layers.Conv3D: _CONV,
    layers.Conv1DTranspose: _TRANSPOSED,
    layers.Conv2DTranspose: _TRANSPOSED,
    layers.Conv3DTranspose: _TRANSPOSED,
    layers.DepthwiseConv1D: _DEPTHWISE,
    layers.DepthwiseConv2D: _DEPTHWISE,
    layers.SeparableConv1D: _SEPARABLE,
    layers.SeparableConv2D: _SEPARABLE,
    layers.LSTMCell: _gated("lstm", LSTM),
    layers.GRUCell: {**_gated("gru", GRU), "bias": _gru_bias},
    layers.SimpleRNNCell: _RNN,
    ConvLSTMCell: _CONV_LSTM,
    layers.Embedding: {"embeddings": _EMBEDDING},
    layers.ReversibleEmbedding: {"embeddings": _EMBEDDING, "reverse_embeddings": _REVERSE},
    layers.LayerNormalization: _AFFINE_NORM,
    layers.GroupNormalization: _AFFINE_NORM,
    layers.BatchNormalization: _BATCH_NORM,
    layers.RMSNormalization: {"scale": _vector("scale", "scale", "norm")},
    layers.SpectralNormalization: {"vector_u": _KEPT},  # a start of iterations: never 0
    layers.Normalization: dict.fromkeys(("mean", "variance", "count"), _KEPT),
    layers.PReLU: {"alpha": _slope},
    layers.Attention: {
        "scale": _SCALAR,
        "concat_score_weight": replace(_SCALAR, path="concat_scale"),
    },
    layers.AdditiveAttention: {
        "scale": Slot(path="kernel", role="kernel", kind="attention", layout="I")
    },
    layers.STFTSpectrogram: dict.fromkeys(("real_kernel", "imag_kernel"), _KEPT),
}
"""Class by class, for each variable's name the slots, or what makes them from layer and shape."""

_PROJECTIONS = {
    "_query_dense": "query",
    "_key_dense": "key",
    "_value_dense": "value",
    "_gate_dense": "gate",
    "_output_dense": "out",
}
CHILDREN: Mapping[type, Mapping[str, str]] = {
    layers.MultiHeadAttention: _PROJECTIONS,
    layers.GroupQueryAttention: _PROJECTIONS,
    layers.Bidirectional: {"forward_layer": "forward", "backward_layer": "backward"},
    layers.RNN: {"cell": ""},
    layers.StackedRNNCells: {"cells": ""},
    layers.Wrapper: {"layer": ""},
}
"""The canonical names of attributes that hold layers; a wrapper adds none."""

KINDS: Mapping[type, str] = {
    layers.MultiHeadAttention: "attention",
    layers.GroupQueryAttention: "attention",
}
"""The kind that a layer gives to all layers in it."""

NORMS: tuple[type, ...] = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
)
"""The layers that have an epsilon."""


def class_name(cls: type) -> str:
    """``package.module.Class``; the public name of what Keras exports.

    >>> class_name(keras.layers.Dense)
    'keras.layers.Dense'
    """
    public = vars(cls).get("_api_export_path") or full_name(cls)  # subclasses inherit it
    return str(public if isinstance(public, str) else public[0])


def full_name(cls: type) -> str:
    """Module and name, where the class was defined."""
    return f"{cls.__module__}.{cls.__qualname__}"


def slots_of(
    layer: Any, attribute: str, name: str, shape: Shape, given: Layers
) -> tuple[Slot, ...] | None:
    """The slots of one variable of a layer: none of what is kept, None where no class tells.

    Args:
        layer: its own class is asked first, then the nearest base.
        attribute, name: of the variable: where the layer keeps it, and what it calls it.
        shape: of the variable.
        given: goes before the table.
    """
    for cls in type(layer).__mro__:
        row = {**given.get(full_name(cls), {}), **given.get(class_name(cls), {})}
        for key in (attribute, attribute.lstrip("_"), name):
            if key in row:
                return row[key]
    found = next(
        (TABLE[cls][name] for cls in type(layer).__mro__ if name in TABLE.get(cls, ())), None
    )
    if found is None:
        return None
    slots = found(layer, shape) if callable(found) else found
    return slots if isinstance(slots, tuple) else (slots,)


def child_path(layer: Any, attribute: str) -> str:
    """The path of a layer that another one keeps under an attribute: its canonical name."""
    if isinstance(layer, layers.StackedRNNCells) and len(layer.cells) == 1:
        return ""
    head, slash, rest = attribute.partition("/")
    for cls in type(layer).__mro__:
        if head in CHILDREN.get(cls, {}):
            return (CHILDREN[cls][head] + slash + rest).strip("/")
    return attribute


def waits(layer: Any) -> bool:
    """Whether a layer may yet get variables, or layers that have some."""
    if layer.built:
        return False
    classes = type(layer).__mro__
    if any(cls in TABLE or cls in CHILDREN for cls in classes):
        return True
    idle = (layers.Layer.build, keras.Model.build, keras.Sequential.build)
    return type(layer).build not in idle and not type(layer).__module__.startswith("keras.")
