"""Which logical tensors the layers of torch hold, and where: a row for each class of `torch.nn`.

A row is a mapping from a tensor's name in the layer to slots, or a function of the layer that
gives one. The name may be that of a child's tensor (``out_proj.weight``): then the parent, who
knows what the child is for, says what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from torch import nn

from initspec.models.model import Layers
from initspec.models.slots import Slot, Split

from .third_party import THIRD_PARTY, Row

__all__ = ["class_name", "known_slots", "norm_epsilon", "user_slots"]

Slots = Mapping[str, tuple[Slot, ...]]


# --- rows ---------------------------------------------------------------------------------------


def _affine(layout: str, kind: str, prefix: str = "") -> dict[str, Slot]:
    return {
        "weight": Slot(path=f"{prefix}kernel", role="kernel", layout=layout, kind=kind),
        "bias": Slot(path=f"{prefix}bias", role="bias", layout="O", kind=kind),
    }


def _conv(layer: Any) -> dict[str, Slot]:
    spatial = "DHW"[-len(layer.kernel_size) :]
    transposed, groups = layer.transposed, layer.groups
    depthwise = not transposed and groups == layer.in_channels > 1
    kind = "conv_transpose" if transposed else "depthwise" if depthwise else "conv"
    kernel = Slot(
        path="kernel",
        role="kernel",
        layout=("IO" if transposed else "OI") + spatial,
        kind=kind,
        groups=groups,
        stride=tuple(layer.stride) if transposed else 1,
        transposed=transposed,
    )
    return {"weight": kernel, "bias": Slot(path="bias", role="bias", layout="O", kind=kind)}


def _embedding(layer: Any) -> dict[str, Slot]:
    rows = () if layer.padding_idx is None else (layer.padding_idx,)
    slot = Slot(path="embedding", role="embedding", layout="VI", kind="embedding", zero_rows=rows)
    return {"weight": slot}


def _norm(layer: Any) -> dict[str, Slot]:
    axes = "O" * len(getattr(layer, "normalized_shape", (0,)))
    return {
        name: Slot(path=path, role=role, layout=axes, kind="norm")
        for name, path, role in (
            ("weight", "scale", "scale"),
            ("bias", "offset", "offset"),
            ("running_mean", "mean", "statistic"),
            ("running_var", "variance", "statistic"),
        )
    } | {
        "num_batches_tracked": Slot(
            path="count", role="statistic", layout="", kind="norm", value=0.0
        )
    }


def _attention(_: Any) -> dict[str, Slot]:
    three = (Split(axis=0, parts=("query", "key", "value")),)

    def slot(path: str, role: str, layout: str, splits: tuple[Split, ...] = ()) -> Slot:
        return Slot(path=path, role=role, layout=layout, kind="attention", splits=splits)

    return {
        "in_proj_weight": slot("{part}/kernel", "kernel", "OI", three),
        "in_proj_bias": slot("{part}/bias", "bias", "O", three),
        "q_proj_weight": slot("query/kernel", "kernel", "OI"),
        "k_proj_weight": slot("key/kernel", "kernel", "OI"),
        "v_proj_weight": slot("value/kernel", "kernel", "OI"),
        "bias_k": slot("key/added", "other", "__O"),
        "bias_v": slot("value/added", "other", "__O"),
        "out_proj.weight": slot("out/kernel", "kernel", "OI"),
        "out_proj.bias": slot("out/bias", "bias", "O"),
    }


# --- recurrent layers: gates lie one after the other on the first axis --------------------------

_GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ()}


def _recurrent(layer: Any) -> dict[str, tuple[Slot, ...]]:
    kind = str(layer.mode).partition("_")[0].lower()  # RNN_TANH and RNN_RELU are one kind
    rows: dict[str, tuple[Slot, ...]] = {}
    for index in range(layer.num_layers):
        for way, suffix in (("forward", ""), ("backward", "_reverse")):
            number = f"{index}/" if layer.num_layers > 1 else ""
            prefix = number + (f"{way}/" if layer.bidirectional else "")
            for name, slots in _step(kind, prefix, layer.hidden_size).items():
                rows[f"{name}_l{index}{suffix}"] = slots
    return rows


def _cell(kind: str) -> Callable[[Any], dict[str, tuple[Slot, ...]]]:
    return lambda layer: _step(kind, "", layer.hidden_size)


def _step(kind: str, prefix: str, hidden: int) -> dict[str, tuple[Slot, ...]]:
    """One layer in one direction. Its second bias adds to the first, but for the GRU's gate n."""

    def slot(leaf: str, role: str, layout: str, names: tuple[str, ...], **more: Any) -> Slot:
        splits = (Split(axis=0, parts=names),) if names else ()
        path = prefix + ("{part}/" if names else "") + leaf
        return Slot(path=path, role=role, layout=layout, kind=kind, splits=splits, **more)

    gates = _GATES[kind]
    second: tuple[Slot, ...] = (slot("recurrent_bias", "bias", "O", gates, value=0.0),)
    if kind == "gru":
        first, last = (slice(0, 2 * hidden),), (slice(2 * hidden, 3 * hidden),)
        second = (
            slot("recurrent_bias", "bias", "O", gates[:2], value=0.0, region=first),
            slot("recurrent_bias", "bias", "O", gates[2:], region=last),
        )
    projection = Slot(path=f"{prefix}projection/kernel", role="kernel", layout="OI", kind=kind)
    return {
        "weight_ih": (slot("kernel", "kernel", "OI", gates),),
        "weight_hh": (slot("recurrent", "recurrent", "OI", gates),),
        "bias_ih": (slot("bias", "bias", "O", gates),),
        "bias_hh": second,
        "weight_hr": (projection,),
    }


# --- the table ----------------------------------------------------------------------------------


def class_name(cls: type) -> str:
    """What a class is called in a config: ``package.module.Class``."""
    return f"{cls.__module__}.{cls.__qualname__}"


_ROWS: dict[type[nn.Module], Row] = {
    nn.Linear: _affine("OI", "dense"),
    nn.Bilinear: _affine("OII", "dense"),
    nn.modules.conv._ConvNd: _conv,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.MultiheadAttention: _attention,
    nn.RNNBase: _recurrent,
    nn.LSTMCell: _cell("lstm"),
    nn.GRUCell: _cell("gru"),
    nn.RNNCell: _cell("rnn"),
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nn.GroupNorm: _norm,
    nn.modules.batchnorm._NormBase: _norm,  # batch and instance norms
    nn.PReLU: {"weight": Slot(path="slope", role="slope", layout="O", kind="other")},
}
_TORCH: dict[str, Row] = {class_name(cls): row for cls, row in _ROWS.items()}
_NORMS = tuple(cls for cls, row in _ROWS.items() if row is _norm)


def known_slots(layer: nn.Module) -> Slots:
    """What the built-in tables say of a layer: of its class, or of the nearest base that has it."""
    found: dict[str, tuple[Slot, ...]] = {}
    for cls in type(layer).__mro__:
        for row in _known_rows(class_name(cls)):
            given = row(layer) if callable(row) else row
            for name, slots in given.items():
                found.setdefault(name, slots if isinstance(slots, tuple) else (slots,))
    return found


@lru_cache(maxsize=4096)
def _known_rows(name: str) -> tuple[Row, ...]:
    third = tuple(row for pattern, row in THIRD_PARTY.items() if fnmatchcase(name, pattern))
    return (*third, _TORCH[name]) if name in _TORCH else third


def user_slots(layer: nn.Module, layers: Layers) -> Slots:
    """What the config and plugins say of a layer, by the name of its class or a base.

    A layer of torch goes by its public name, too: ``torch.nn.Linear``.
    """
    names = [name for cls in type(layer).__mro__ for name in (class_name(cls), _public_name(cls))]
    given: Iterator[Slots] = (layers[name] for name in names if name in layers)
    found: dict[str, tuple[Slot, ...]] = {}
    for row in given:
        for name, slots in row.items():
            found.setdefault(name, slots)
    return found


def _public_name(cls: type) -> str:
    return f"torch.nn.{cls.__name__}" if getattr(nn, cls.__name__, None) is cls else ""


def norm_epsilon(layer: nn.Module) -> float | None:
    """What a normalisation adds to the variance; None for other layers, and where torch decides."""
    known = isinstance(layer, _NORMS) or any(
        slot.kind == "norm" for slots in known_slots(layer).values() for slot in slots
    )
    if not known:
        return None
    values = (getattr(layer, name, None) for name in ("eps", "variance_epsilon", "epsilon"))
    return next(
        (float(v) for v in values if isinstance(v, (int, float)) and math.isfinite(v)), None
    )
