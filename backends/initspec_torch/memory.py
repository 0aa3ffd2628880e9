"""What a tensor's memory is: whether it may be written, and its NumPy view."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses import FakeTensor
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import DTYPES, check_dtype
from initspec.shape import overlaps

__all__ = ["NAMES", "check_plain", "check_tensor", "check_writable", "has_values", "host_view"]

NAMES = {getattr(torch, name): name for name in DTYPES}


def has_values(tensor: torch.Tensor) -> bool:
    """Whether there is memory behind the tensor: none is behind a meta or a fake one."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))


def check_tensor(tensor: Any, where: str) -> None:
    """Refuse whatever is not one dense tensor."""
    if not isinstance(tensor, torch.Tensor):
        advice = ""
        if isinstance(tensor, torch.nn.Module):
            advice = "Pass its parameters, one by one."
        raise InitspecTypeError(where, type(tensor), "a tensor of the backend 'torch'", advice)
    if isinstance(tensor, UninitializedTensorMixin):
        advice = "Run one batch through the model first, so that its shape is known."
        raise InitspecValueError(where, type(tensor), "an initialised parameter", advice)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "quantized" if tensor.is_quantized else f"{tensor.layout} {type(tensor).__name__}"
        raise InitspecTypeError(where, kind, "a dense tensor", "Initialise it before converting.")
    if hasattr(tensor, "__tensor_flatten__"):  # the protocol of DTensor and its like
        advice = "Initialise the whole tensor, then distribute or convert it."
        expected = "a tensor with memory of its own, not one that wraps others (DTensor, ...)"
        raise InitspecTypeError(where, type(tensor), expected, advice)


def check_plain(out: Any) -> None:
    """Refuse what cannot be written for its kind, type or strides; may be traced."""
    check_tensor(out, "out")
    check_dtype(out.dtype)
    _check_strides(out)


def _check_strides(out: torch.Tensor) -> None:
    if overlaps(out.shape, out.stride()):
        given = f"shape {tuple(out.shape)} with strides {out.stride()}"
        advice = "It is expanded or overlaps itself: use out.contiguous()."
        raise InitspecValueError("out", given, "memory of its own for every element", advice)


def check_writable(out: Any) -> None:
    """Refuse a tensor that cannot be written, or where writing would not do what it seems to."""
    check_tensor(out, "out")
    if out.dtype not in NAMES:
        check_dtype(out.dtype)
    if not out.is_contiguous():
        _check_strides(out)
    root = out._base if out._is_view() else out
    if root.requires_grad and not root.is_leaf:
        advice = "It was computed from other tensors: write to the parameter it comes from."
        raise InitspecValueError("out", root.grad_fn, "a leaf, or a view of one", advice)
    if out.is_inference() and not torch.is_inference_mode_enabled():
        advice = "Write to it inside torch.inference_mode(), or to its clone()."
        raise InitspecValueError("out", "an inference tensor", "a normal tensor", advice)
    if has_values(out) and out.numel():
        if out.is_cpu:
            host_view(out)
        _check_storage(out)


def _check_storage(out: torch.Tensor) -> None:
    """Memory that was given back (as sharding libraries do) must not be written."""
    last = out.numel() - 1
    if not out.is_contiguous():
        last = sum(n * (size - 1) for n, size in zip(out.stride(), out.shape, strict=True))
    needed = (out.storage_offset() + last + 1) * out.element_size()
    found = out.untyped_storage().nbytes()
    if found < needed:
        advice = "Its memory was freed: gather the full parameters first."
        raise InitspecValueError("out", f"{found} bytes of memory", f"{needed} bytes", advice)


def host_view(tensor: torch.Tensor) -> NDArray[Any]:
    """The memory of a CPU tensor as an array of its strides; bfloat16 as uint16 bits."""
    plain = tensor.detach() if tensor.requires_grad else tensor
    try:
        if plain.dtype == torch.bfloat16:
            bits: NDArray[Any] = plain.view(torch.int16).numpy()
            return bits.view(np.uint16)
        return plain.numpy()
    except (RuntimeError, TypeError) as error:  # e.g. inside vmap, or a lazily negated view
        advice = "Call it outside torch.func transforms; resolve_neg() a negated view."
        expected = f"a tensor with plain memory ({error})"
        raise InitspecTypeError("out", type(tensor), expected, advice) from error
