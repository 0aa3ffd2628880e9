"""Draws inside `torch.compile` and `torch.export`: one operator in the graph.

Its arguments are plain, so that a graph can be saved and loaded: the initializer and the layout
options are texts of dictionaries. When the graph runs, it does what an eager call does.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, cast

import torch
from torch._C import _functorch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import check_dtype
from initspec.initializer import Initializer
from initspec.layout import SPATIAL, Layout, LayoutOptions
from initspec.registry import get_backend
from initspec.shape import check_shape
from initspec.stream import check_seed

from .memory import check_plain

__all__ = ["draw", "options_of", "text_of", "tracing", "write"]


# --- traced -----------------------------------------------------------------------------------


def tracing() -> bool:
    """Whether somebody records, or transforms, the operators of torch that are called.

    Writing to memory behind their backs would be lost on them: they need the operator. (The order
    matters: the compiler knows the answer to the first, and could not trace the others.)
    """
    if torch.compiler.is_compiling():
        return True
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        advice = "Draw outside of it, or use torch.export or torch.compile."
        raise InitspecTypeError("backend", "torch.jit.trace", "a tracer that knows draws", advice)
    if _functorch.peek_interpreter_stack() is not None:  # torch.func: grad, vmap, functionalize
        return True
    # Among fake tensors alone nothing is recorded, and nothing has memory.
    modes = _get_current_dispatch_mode_stack()
    return any(not isinstance(mode, FakeTensorMode) for mode in modes)


def draw(
    initializer: Initializer,
    shape: Iterable[Any] | None,
    dtype: Any,
    device: Any,
    seed: Any,
    name: str,
    out: Any,
    layout: LayoutOptions,
) -> Any:
    """As `TorchBackend.draw`, but simple enough to be traced: most checks wait for the run."""
    kind = None if dtype is None else check_dtype(dtype)
    dims = None if shape is None else _dims(shape)
    if out is None:
        if dims is None:
            raise InitspecTypeError("shape", None, "a tuple of integers, or a tensor as out=")
        like = torch.empty(0, dtype=getattr(torch, kind or "float32"), device=device)
        return _operator(like, initializer, text_of(layout), dims, seed, name)
    if dims is not None and dims != tuple(out.shape):
        raise InitspecValueError("shape", dims, f"the shape of out, {tuple(out.shape)}")
    if kind is not None and getattr(torch, kind) != out.dtype:
        raise InitspecValueError("dtype", dtype, f"the dtype of out, {out.dtype}")
    if device is not None:
        raise InitspecValueError("device", device, "None together with out")
    return write(initializer, text_of(layout), out, seed, name)


def write(
    initializer: Initializer, layout: str, out: torch.Tensor, seed: Any, name: str
) -> torch.Tensor:
    """Draw into a tensor.

    The operator makes a new one, which is copied: compilers know what copying does, and take
    liberties with operators that write.
    """
    check_plain(out)
    like = torch.empty(0, dtype=out.dtype, device=out.device)
    made = _operator(like, initializer, layout, out.shape, seed, name)
    with torch.no_grad() if out.requires_grad else nullcontext():
        return out.copy_(made)


def _operator(
    like: torch.Tensor,
    initializer: Initializer,
    layout: str,
    shape: Sequence[int],
    seed: Any,
    name: str,
) -> Any:
    if not isinstance(name, str):
        raise InitspecTypeError("name", name, "a string")
    fresh = None
    number = None if seed is None else _signed(seed)
    if number is None and initializer.draws and not like.is_meta:
        _refuse_vmap()
        token = torch.empty(0, dtype=torch.int64, device="cpu")
        fresh = torch.ops.initspec.fresh_seed(token)
    return torch.ops.initspec.draw(like, _text(initializer), layout, shape, fresh, number, name)


def _refuse_vmap() -> None:
    """One seed would serve all examples of a batch, where torch asks what is meant."""
    if torch.compiler.is_compiling():
        return
    level = _functorch.peek_interpreter_stack()
    if level is not None and level.key() == _functorch.TransformType.Vmap:
        advice = "Pass seed=: every example then gets the same weights."
        raise InitspecValueError("seed", None, "a seed inside torch.func.vmap", advice)


def _text(initializer: Initializer) -> str:
    """The text of the initializer's dictionary.

    Dynamo may take a number that changes for a symbol, which has no text; the detours over
    `float.hex` here and `operator.index` below make a constant of it.
    """
    given = initializer.to_dict()
    for key, value in given.items():
        given[key] = float.fromhex(value.hex()) if isinstance(value, float) else value
    return str(given)


def _dims(shape: Iterable[Any]) -> tuple[int, ...]:
    """The shape; `check_shape`, which cannot be traced, is only called where it raises."""
    dims = tuple(shape)
    for dim in dims:
        if type(dim) not in (int, torch.SymInt) or dim < 0:
            return check_shape(dims)
    return dims


def _signed(seed: Any) -> int:
    """The seed as operators take it: a signed number."""
    if type(seed) not in (int, torch.SymInt) or not 0 <= seed < 2**64:
        check_seed(seed)
    number: int = seed
    return number - 2**64 if number >= 2**63 else number


def text_of(options: Mapping[str, Any]) -> str:
    """Layout options as the text of a dictionary of plain values."""
    given = {key: value for key, value in options.items() if value is not None}
    if isinstance(given.get("layout"), Layout):
        given = _plain(Layout.parse(given.pop("layout"), **given))
    return str({key: _literal(given[key]) for key in sorted(given)})


def _literal(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {key: _literal(value[key]) for key in value}
    if isinstance(value, Iterable):
        return tuple([_literal(each) for each in value])
    if isinstance(value, int) or hasattr(value, "__index__"):
        return operator.index(value)
    return value  # a fault, which `options_of` or `Layout.parse` reports


def _plain(layout: Layout) -> dict[str, Any]:
    """The options that `Layout.parse` turns into this layout."""
    factors = [factor for axis in layout.axes for factor in axis]
    spatial = sum(factor.letter in SPATIAL for factor in factors)
    return {
        "layout": layout.pattern,
        "sizes": {f.letter: f.size for f in factors if f.size is not None and f.letter != "#"},
        "stride": (layout.stride, *[1] * (spatial - 1)) if spatial else 1,
        "transposed": layout.transposed,
        **({"blocks": layout.blocks} if layout.blocks else {}),
    }


# --- run --------------------------------------------------------------------------------------


# Drawing a seed is an operator of its own, marked as random, so that whatever runs a part of a
# graph again (activation checkpointing) can tell. Its argument tells whose generator is asked, and
# keeps two calls apart: no pass that merges equal nodes takes two empty tensors for one.
torch.library.define(
    "initspec::fresh_seed", "(Tensor token) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,)
)


def _fresh_seed(token: torch.Tensor) -> torch.Tensor:
    return token.new_tensor(_signed(get_backend("torch").fresh_seed()))


def _like_a_seed(token: torch.Tensor) -> torch.Tensor:
    return token.new_empty(())


torch.library.impl("initspec::fresh_seed", "default", _fresh_seed)
torch.library.register_fake("initspec::fresh_seed", _like_a_seed)


@torch.library.custom_op(
    "initspec::draw",
    mutates_args=(),
    schema="(Tensor like, str initializer, str layout, SymInt[] shape, "
    "Tensor? fresh, SymInt? seed, str name) -> Tensor",
)
def _draw(
    like: torch.Tensor,
    initializer: str,
    layout: str,
    shape: Sequence[int],
    fresh: torch.Tensor | None,
    seed: int | None,
    name: str,
) -> torch.Tensor:
    number = seed if fresh is None else int(fresh)
    made = get_backend("torch").draw(
        _initializer(initializer),
        shape,
        dtype=like.dtype,
        device=like.device,
        seed=None if number is None else number % 2**64,
        name=name,
        out=None,
        layout=options_of(layout),
    )
    return cast(torch.Tensor, made)


@_draw.register_fake
def _(like: torch.Tensor, _i: str, _l: str, shape: Sequence[int], *_: Any) -> torch.Tensor:
    return like.new_empty(shape)


@lru_cache(maxsize=1024)
def _initializer(text: str) -> Initializer:
    return Initializer.from_dict(ast.literal_eval(text))


@lru_cache(maxsize=1024)
def options_of(text: str) -> LayoutOptions:
    """The layout options that `text_of` wrote down; to be read only."""
    try:
        return cast(LayoutOptions, ast.literal_eval(text))
    except (ValueError, SyntaxError) as error:
        expected = "strings, integers, and tuples and dictionaries of them"
        raise InitspecTypeError("layout", text, expected) from error
