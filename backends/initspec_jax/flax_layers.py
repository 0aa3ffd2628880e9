"""How the layers of flax.linen and flax.nnx store logical tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from initspec.layout import Layout
from initspec.models.model import Knob, Layers
from initspec.models.slots import Slot, Split, spatial

__all__ = [
    "DIVIDED",
    "FlaxLayer",
    "canonical_name",
    "class_name",
    "is_users",
    "knobs_of",
    "rank_of",
    "slots_of",
]

DIVIDED = (
    "a layer that uses its kernel as it is; {} divides it by its norm, and with it whatever a "
    "rule asks for. Initialise the layer without it, or keep this tensor"
)


class FlaxLayer(NamedTuple):
    """A module, seen from outside.

    ``strings`` are those that it was called with; ``shapes`` are the tensors in it and in the
    modules in it, by their paths, without the axes that a scan or a vmap has added.
    """

    module: Any
    shapes: Mapping[str, tuple[int, ...]]
    strings: tuple[str, ...] = ()


Slots = Mapping[str, Slot | tuple[Slot, ...]]
Builder = Callable[[FlaxLayer], Slots]


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,)


# --- slots --------------------------------------------------------------------------------------


def _kernel_and_bias(kernel: str, bias: str = "O", *, kind: str, **options: Any) -> dict[str, Slot]:
    return {
        "kernel": Slot(path="kernel", role="kernel", layout=kernel, kind=kind, **options),
        "bias": Slot(path="bias", role="bias", layout=bias, kind=kind),
    }


def _dense(layer: FlaxLayer) -> dict[str, Slot]:
    return _kernel_and_bias("IO", kind="dense")


def _general(layer: FlaxLayer) -> dict[str, Slot]:
    module = layer.module
    nnx = hasattr(module, "out_features")
    batch = "S" * len(_tuple(module.batch_axis if nnx else module.batch_dims))
    out = "O" * len(_tuple(module.out_features if nnx else module.features))
    return _kernel_and_bias(batch + "I" * len(_tuple(module.axis)) + out, batch + out, kind="dense")


def _einsum(layer: FlaxLayer) -> dict[str, Slot]:
    """A kernel's axis that the result has is an output, or one of a batch if the input has it."""
    given = next((text for text in layer.strings if "->" in text), layer.module.einsum_str)
    match = re.fullmatch(r"([\w.]+),(\w+)->([\w.]+)", (given or "").replace(" ", ""))
    if match is None:
        return {}
    inputs, kernel, result = match.groups()
    roles = {
        letter: "I" if letter not in result else "S" if letter in inputs else "O"
        for letter in kernel
    }
    bias = "".join(roles[letter] for letter in result if letter in roles)
    return _kernel_and_bias("".join(roles[letter] for letter in kernel), bias, kind="dense")


def _conv(layer: FlaxLayer) -> Slots:
    module = layer.module
    letters = spatial(len(_tuple(module.kernel_size)))
    if not letters:
        return {}
    groups = module.feature_group_count
    features = getattr(module, "in_features", None)  # linen learns it from the input
    inputs = layer.shapes.get("kernel", (0, 0))[-2] if features is None else features // groups
    kind = "depthwise" if groups > 1 and inputs == 1 else "conv"
    return _kernel_and_bias(f"{letters}IO", kind=kind, groups=groups)


def _conv_local(layer: FlaxLayer) -> dict[str, Slot]:
    """A kernel of its own at every position; its input axis holds the taps, too."""
    stack = "S" * (len(layer.shapes.get("kernel", (0, 0))) - 2)
    return _kernel_and_bias(f"{stack}IO", f"{stack}O", kind="conv")


def _conv_transpose(layer: FlaxLayer) -> dict[str, Slot]:
    """As it is by default, it applies the kernel with its spatial axes reversed."""
    module = layer.module
    letters = spatial(len(_tuple(module.kernel_size)))
    if not letters:
        return {}
    strides = 1 if module.strides is None else module.strides
    stride = strides if isinstance(strides, int) else tuple(strides)
    common: dict[str, Any] = {"kind": "conv_transpose", "stride": stride, "transposed": True}
    if module.transpose_kernel:
        return _kernel_and_bias(f"{letters}OI", **common)
    return _kernel_and_bias(f"{letters}IO", flip=True, **common)


def _embed(layer: FlaxLayer) -> dict[str, Slot]:
    slot = Slot(path="embedding", role="embedding", layout="VI", kind="embedding")
    return {"embedding": slot}


def _norm(layer: FlaxLayer) -> dict[str, Slot]:
    """One axis for each that has features; in nnx always one."""
    axes = 1
    if class_name(type(layer.module)).startswith("flax.linen."):
        axes = len(_tuple(getattr(layer.module, "feature_axes", getattr(layer.module, "axis", -1))))
    slot = partial(Slot, layout="O" * axes, kind="norm")
    return {
        "scale": slot(path="scale", role="scale"),
        "bias": slot(path="offset", role="offset"),
        "mean": slot(path="mean", role="statistic"),
        "var": slot(path="variance", role="statistic"),
    }


def _prelu(layer: FlaxLayer) -> dict[str, Slot]:
    return {"negative_slope": Slot(path="slope", role="slope", layout="")}


def _attention(layer: FlaxLayer) -> dict[str, Slot]:
    heads = dict.fromkeys(("query", "key", "value"), ("IOO", "OO"))
    return {
        f"{name}/{leaf}": Slot(path=f"{name}/{leaf}", role=leaf, layout=layout, kind="attention")
        for name, layouts in (heads | {"out": ("IIO", "O")}).items()
        for leaf, layout in zip(("kernel", "bias"), layouts, strict=True)
    }


def _cell(kind: str, leaves: Mapping[str, str]) -> Builder:
    """A cell with a dense layer for each gate: the canonical path of each kernel and bias."""
    slots = {}
    for leaf, path in leaves.items():
        role = {"recurrent": "recurrent", "kernel": "kernel"}.get(path.rpartition("/")[2], "bias")
        layout = "O" if role == "bias" else "IO"
        slots[leaf] = Slot(path=path, role=role, layout=layout, kind=kind)
    return lambda layer: slots


def _fused_cell(kind: str, gates: str, names: tuple[str, str] = ("dense_i", "dense_h")) -> Builder:
    """A cell with one dense layer for the gates of the input, and one of the state."""
    inner, outer = names
    slots = {}
    for leaf, path, role, layout in (
        (f"{inner}/kernel", "{part}/kernel", "kernel", "IO"),
        (f"{outer}/kernel", "{part}/recurrent", "recurrent", "IO"),
        (f"{inner}/bias", "{part}/bias", "bias", "O"),
        (f"{outer}/bias", "{part}/bias", "bias", "O"),
    ):
        splits = (_split(len(layout) - 1, gates),)
        slots[leaf] = Slot(path=path, role=role, layout=layout, kind=kind, splits=splits)
    return lambda layer: slots


def _conv_lstm(layer: FlaxLayer) -> Slots:
    """Two convolutions, each with the gates side by side and a bias; the second one is pinned.

    The cell adds 1 to the forget gate, so that its stored bias is less by so much.
    """
    letters = spatial(len(layer.shapes.get("ih/kernel", ())) - 2)
    if not letters:
        return {}
    rank, gates = len(letters) + 2, "igfo"
    slot = partial(Slot, layout=f"{letters}IO", kind="lstm", splits=(_split(rank - 1, gates),))
    bias = partial(Slot, role="bias", layout="O", kind="lstm")
    size = layer.shapes.get("ih/bias", (0,))[-1] // len(gates)
    shifted = [
        bias(
            path=f"{gate}/bias",
            region=(slice(number * size, (number + 1) * size),),
            shift=float(gate == "f"),
        )
        for number, gate in enumerate(gates)
    ]
    pinned = bias(path="{part}/recurrent_bias", splits=(_split(0, gates),), value=0.0)
    return {
        "ih/kernel": slot(path="{part}/kernel", role="kernel"),
        "hh/kernel": slot(path="{part}/recurrent", role="recurrent"),
        "ih/bias": tuple(shifted),
        "hh/bias": pinned,
    }


def _split(axis: int, gates: str) -> Split:
    return Split(axis=axis, parts=tuple(gates))


def _lora(layer: FlaxLayer) -> dict[str, Slot]:
    """Their product adds nothing at first: the second matrix is pinned."""
    slot = partial(Slot, role="kernel", layout="IO", kind="dense")
    return {
        "lora_a": slot(path="lora_a/kernel"),
        "lora_b": slot(path="lora_b/kernel", value=0.0),
    }


def _gates(gates: str, kernel: str, state: str, bias: str) -> dict[str, str]:
    """Names such as ``ii`` and ``hi`` of the dense layers; ``bias`` says which one has it."""
    leaves: dict[str, str] = {}
    for gate in gates:
        leaves |= {f"{kernel}{gate}/kernel": f"{gate}/kernel"}
        leaves |= {f"{state}{gate}/kernel": f"{gate}/recurrent"}
        leaves |= {f"{bias}{gate}/bias": f"{gate}/bias"}
    return leaves


_LSTM = _gates("ifgo", "i", "h", "h")
_NNX_LSTM = {leaf.replace("if/", "if_/"): path for leaf, path in _LSTM.items()}
_N_BIAS = {"hn/bias": "n/recurrent_bias"}
_GRU = _gates("rzn", "i", "h", "i") | _N_BIAS
_MGU = _gates("fn", "i", "h", "i") | _N_BIAS
_SIMPLE = {"i/kernel": "kernel", "i/bias": "bias", "h/kernel": "recurrent"}
_NNX_SIMPLE = {f"dense_{leaf}": path for leaf, path in _SIMPLE.items()}
_NORMS = ("BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm")

_BUILT_IN: dict[str, Builder] = {
    "flax.linen.Dense": _dense,
    "flax.linen.DenseGeneral": _general,
    "flax.linen.Einsum": _einsum,
    "flax.linen.Conv": _conv,
    "flax.linen.ConvLocal": _conv_local,
    "flax.linen.ConvTranspose": _conv_transpose,
    "flax.linen.Embed": _embed,
    "flax.linen.PReLU": _prelu,
    "flax.linen.MultiHeadDotProductAttention": _attention,
    "flax.linen.LSTMCell": _cell("lstm", _LSTM),
    "flax.linen.OptimizedLSTMCell": _cell("lstm", _LSTM),
    "flax.linen.ConvLSTMCell": _conv_lstm,
    "flax.linen.GRUCell": _cell("gru", _GRU),
    "flax.linen.MGUCell": _cell("gru", _MGU),
    "flax.linen.SimpleCell": _cell("rnn", _SIMPLE),
    "flax.nnx.Linear": _dense,
    "flax.nnx.LinearGeneral": _general,
    "flax.nnx.Einsum": _einsum,
    "flax.nnx.Conv": _conv,
    "flax.nnx.ConvTranspose": _conv_transpose,
    "flax.nnx.Embed": _embed,
    "flax.nnx.PReLU": _prelu,
    "flax.nnx.MultiHeadAttention": _attention,
    "flax.nnx.LSTMCell": _cell("lstm", _NNX_LSTM),
    "flax.nnx.OptimizedLSTMCell": _fused_cell("lstm", "ifgo"),
    "flax.nnx.GRUCell": _fused_cell("gru", "rzn"),
    "flax.nnx.SimpleCell": _cell("rnn", _NNX_SIMPLE),
    "flax.nnx.LoRA": _lora,
    **{f"flax.{api}.{name}": _norm for api in ("linen", "nnx") for name in _NORMS},
}

# Wrappers: what a canonical path has where the structure has the name of their attribute.
_RECURRENT = {"cell": ""}
_BOTH_WAYS = {"forward_rnn": "forward", "backward_rnn": "backward"}
_RENAMED: dict[str, Mapping[str, str]] = {
    "flax.linen.RNN": _RECURRENT,
    "flax.nnx.RNN": _RECURRENT,
    "flax.linen.Bidirectional": _BOTH_WAYS,
    "flax.nnx.Bidirectional": _BOTH_WAYS,
    "flax.linen.Sequential": {r"layers_(\d+)": r"\1"},
    "flax.nnx.Sequential": {"layers": ""},
    "flax.linen.WeightNorm": {"layer_instance": ""},
    "flax.linen.SpectralNorm": {"layer_instance": ""},
    "flax.nnx.WeightNorm": {"layer_instance": ""},
    "flax.nnx.SpectralNorm": {"layer_instance": ""},
}


# --- look-up ------------------------------------------------------------------------------------


def class_name(kind: type) -> str:
    """``package.module.Class``; of Flax's own layers the public name, as ``flax.linen.Dense``."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    return re.sub(r"^flax\.(linen|nnx)\..*\.(\w+)$", r"flax.\1.\2", name)


def _names(kind: type) -> Iterator[str]:
    """The names under which a class and its bases may be known, the nearest one first."""
    for base in kind.__mro__:
        yield class_name(base)
        yield f"{base.__module__}.{base.__qualname__}"


def _known(kind: type, table: Mapping[str, Any]) -> Any:
    return next((table[name] for name in _names(kind) if name in table), None)


def is_users(kind: type, layers: Layers) -> bool:
    """Whether the user has said what the layer stores."""
    return _known(kind, layers) is not None


def slots_of(layer: FlaxLayer, layers: Layers) -> dict[str, tuple[Slot, ...]]:
    """The slots of a layer by the path of the tensor in it; the user's go before the built-in."""
    kind = type(layer.module)
    given = _known(kind, layers)
    if given is not None:
        paths = {path.replace(".", "/"): tuple(slots) for path, slots in given.items()}
        return {path: slots for path, slots in paths.items() if path in layer.shapes}
    builder = _known(kind, _BUILT_IN)
    slots = {} if builder is None else builder(layer)
    return {
        path: slot if isinstance(slot, tuple) else (slot,)
        for path, slot in slots.items()
        if path in layer.shapes
    }


def rank_of(slots: tuple[Slot, ...]) -> int:
    """How many axes the layer gives to a tensor; more of them are those of a stack."""
    first = slots[0]
    axes = Layout.parse(first.layout, groups=first.groups, sizes=first.sizes).axes
    numbers = sum(isinstance(place, int) for place in first.region)
    return len(axes) + numbers + sum(split.stacked for split in first.splits)


def canonical_name(parent: type, name: str) -> str:
    """What stands for a child's name in canonical paths; of a wrapper's child often nothing."""
    for pattern, canonical in (_known(parent, _RENAMED) or {}).items():
        if match := re.fullmatch(pattern, name):
            return match.expand(canonical)
    return name


def knobs_of(module: Any, path: str) -> list[Knob]:
    """The numbers of a norm that are no weights."""
    name = next((name for name in _names(type(module)) if name in _BUILT_IN), "")
    if _BUILT_IN.get(name) is not _norm:
        return []
    knobs = [Knob(path=path, name="norm_epsilon", value=float(module.epsilon))]
    if name.endswith(".BatchNorm"):
        share = round(1 - float(module.momentum), 12)  # Flax counts the share of the old
        knobs.append(Knob(path=path, name="batch_norm_momentum", value=share))
    return knobs
