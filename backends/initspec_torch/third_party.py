"""Rows for the layers that transformers and timm define themselves.

The table is keyed by patterns of ``package.module.Class``; the first row that has a tensor counts.
Whatever lies in no row (fused matrices in an order that nobody here read) stays unknown, so that a
config has to say what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from initspec.models.slots import Slot, Split

__all__ = ["THIRD_PARTY", "Row"]

Row = Mapping[str, Slot] | Callable[[Any], Mapping[str, Slot | tuple[Slot, ...]]]


# --- dense layers -------------------------------------------------------------------------------

_CONV1D = {
    "weight": Slot(path="kernel", role="kernel", layout="IO", kind="dense"),
    "bias": Slot(path="bias", role="bias", layout="O", kind="dense"),
}
_ROUTER = {
    "weight": Slot(path="kernel", role="kernel", layout="OI", kind="dense"),
    "bias": Slot(path="bias", role="bias", layout="O", kind="dense"),
}


def _experts(layer: Any) -> dict[str, Slot]:
    """Stacked experts with (out, in) matrices; other orders of the axes are not known."""
    into, out = (getattr(layer, name, None) for name in ("gate_up_proj", "down_proj"))
    if into is None or out is None or into.ndim != 3 or out.ndim != 3:
        return {}
    experts, width, hidden = into.shape
    if tuple(out.shape) != (experts, hidden, width // 2):
        return {}
    two = (Split(axis=1, parts=("gate", "up")),)
    kernel = Slot(path="{part}/kernel", role="kernel", layout="SOI", kind="dense", splits=two)
    down = Slot(path="down/kernel", role="kernel", layout="SOI", kind="dense")
    return {"gate_up_proj": kernel, "down_proj": down}


# --- attention ----------------------------------------------------------------------------------


def _fused(
    name: str, layout: str, parts: tuple[str, ...] = ("query", "key", "value")
) -> dict[str, Slot]:
    """The projections that a child of an attention layer holds side by side on its output axis."""
    weight = Split(axis=layout.index("O"), parts=parts)
    bias = Split(axis=0, parts=parts)
    return {
        f"{name}.weight": Slot(
            path=f"{name}/{{part}}/kernel",
            role="kernel",
            layout=layout,
            kind="attention",
            splits=(weight,),
        ),
        f"{name}.bias": Slot(
            path=f"{name}/{{part}}/bias", role="bias", layout="O", kind="attention", splits=(bias,)
        ),
    }


def _gpt2_attention(layer: Any) -> dict[str, Slot]:
    if layer.is_cross_attention:
        return _fused("c_attn", "IO", ("key", "value"))
    return _fused("c_attn", "IO")


def _timm_attention(layer: Any) -> dict[str, Slot]:
    """As many queries as keys and values, unless the shape says otherwise; keys may lack a bias."""
    weight = getattr(getattr(layer, "qkv", None), "weight", None)
    if weight is None or weight.ndim != 2 or weight.shape[0] % 3:
        return {}
    own = {
        name: Slot(path=f"qkv/{part}/bias", role="bias", layout="O", kind="attention")
        for name, part in (("q_bias", "query"), ("v_bias", "value"))
    }
    return _fused("qkv", "OI") | own


# --- norms --------------------------------------------------------------------------------------


def _norm(layer: Any, shift: float = 0.0) -> dict[str, Slot]:
    """Only what the layer has; a vector, or one for each head."""
    tensors = {name: getattr(layer, name, None) for name in ("weight", "bias")}
    axes = {name: "O" * tensor.ndim for name, tensor in tensors.items() if tensor is not None}
    slots = {}
    if "weight" in axes:
        slots["weight"] = Slot(
            path="scale", role="scale", layout=axes["weight"], kind="norm", shift=shift
        )
    if "bias" in axes:
        slots["bias"] = Slot(path="offset", role="offset", layout=axes["bias"], kind="norm")
    return slots


def _centred_norm(layer: Any) -> dict[str, Slot]:
    """A norm that multiplies by ``1 + weight``."""
    return _norm(layer, shift=1.0)


# --- parameters that lie in a module that is no layer -------------------------------------------

_POSITIONS = (
    "pos_embed",
    "position_embedding",
    "position_embeddings",
    "relative_position_bias_table",
)
_TOKENS = (
    "class_embedding",
    "cls_token",
    "dist_token",
    "distillation_token",
    "mask_token",
    "masked_spec_embed",
    "reg_token",
    "register_tokens",
)
_SCALES = (
    "lambda1",
    "lambda_1",
    "lambda_2",
    "layer_scale",
    "layer_scale_1",
    "layer_scale_2",
    "layer_scale_parameter",
)
_TIMM_SCALES = ("gamma", "gamma_1", "gamma_2")


def _loose(layer: Any, scales: tuple[str, ...] = _SCALES) -> dict[str, Slot]:
    """Position embeddings, tokens and layer scales, by the names that these libraries give them."""
    found = {}
    for names, role, kind, patterns in (
        (_POSITIONS, "position", "embedding", ("VI",)),
        (_TOKENS, "other", "embedding", ("O", "VI")),
        (scales, "other", "other", ("O",)),  # not role scale: they begin near 0, not at 1
    ):
        for name in names:
            layout = _pattern(getattr(layer, name, None), patterns)
            if layout is not None:
                found[name] = Slot(path=name, role=role, layout=layout, kind=kind)
    return found


def _pattern(tensor: Any, patterns: tuple[str, ...]) -> str | None:
    """The first pattern that fits when axes of length 1 take no part.

    >>> import torch
    >>> _pattern(torch.empty(1, 5, 8), ("VI",)), _pattern(torch.empty(1, 1, 8), ("O", "VI"))
    ('_VI', '__O')
    """
    shape = tuple(getattr(tensor, "shape", ()))
    for letters in patterns:
        lead, own = shape[: -len(letters)], shape[-len(letters) :]
        if len(own) == len(letters) and set(lead) <= {1}:
            return "_" * len(lead) + letters
    if patterns == ("O",) and shape and set(shape[1:]) == {1}:  # (channels, 1, 1)
        return "O" + "_" * (len(shape) - 1)
    return None


def _timm_loose(layer: Any) -> dict[str, Slot]:
    return _loose(layer, _TIMM_SCALES)


# Norms of transformers that multiply by 1 + weight.
_CENTRED = (
    "GemmaRMSNorm",
    "Gemma2RMSNorm",
    "Gemma3RMSNorm",
    "MiniMaxM3VLRMSNorm",
    "MuseGlimmerTextCenteredRMSNorm",
    "MuseSparkTextCenteredRMSNorm",
    "MuseSparkTextInputScaledRMSNorm",
    "NemotronLayerNorm1P",
    "Qwen3NextRMSNorm",
    "Qwen3_5MoeRMSNorm",
    "Qwen3_5RMSNorm",
    "Qwen4ExpTextRMSNorm",
    "RecurrentGemmaRMSNorm",
    "Step3p7RMSNorm",
    "T5Gemma2RMSNorm",
    "T5GemmaRMSNorm",
    "VaultGemmaRMSNorm",
    "VideoPrismLayerNorm",
)
_NORMS = ("RMSNorm", "LayerNorm", "NoNorm")

THIRD_PARTY: dict[str, Row] = {
    "transformers.pytorch_utils.Conv1D": _CONV1D,
    "transformers.models.*GPT2Attention": _gpt2_attention,
    "transformers.models.*.ImageGPTAttention": _gpt2_attention,
    "transformers.models.*Experts": _experts,
    "transformers.models.*Router": _ROUTER,
    **{f"transformers.models.*.{name}": _centred_norm for name in _CENTRED},
    **{f"transformers.models.*{name}": _norm for name in _NORMS},
    "transformers.models.*": _loose,
    "timm.layers.attention.Attention*": _timm_attention,
    "timm.models.beit.Attention": _timm_attention,
    "timm.models.eva.EvaAttention": _timm_attention,
    "timm.models.swin_transformer.WindowAttention": _timm_attention,
    "timm.layers.norm.*": _norm,
    "timm.layers.layer_scale.*": _timm_loose,
    "timm.models.*": _timm_loose,
}
