"""`torch.nn.Module` as initspec sees it: stored tensors, and the logical ones that lie in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from initspec.errors import InitspecError, InitspecTypeError, InitspecValueError, did_you_mean
from initspec.layout import SPATIAL
from initspec.models.model import Knob, Layers, Model, Piece, Stored, Write, write_pieces
from initspec.models.slots import Part, bind_slots
from initspec_kernel import fill

from .backend import TorchBackend
from .layers import class_name
from .memory import check_tensor, check_writable, has_values, host_view
from .places import Layer, Site, walk

__all__ = ["TorchModel", "open_model"]

_BACKEND = TorchBackend()
_TO_EMPTY = "Give them memory first: model.to_empty(device=...), then tie again what was tied."


def open_model(model: Any, layers: Layers | None = None) -> TorchModel:
    """The tensors of a module, tied ones once, and what each holds.

    A class is looked up through its bases: first in ``layers``, then in the built-in tables.

    Args:
        model: a `torch.nn.Module`.
        layers: slots by class name and attribute, see `initspec.models.model.Layers`.

    Returns:
        What a config is applied to; it keeps the module, not its tensors.

    Raises:
        InitspecTypeError: it is no module.

    Example:
        >>> model = open_model(torch.nn.Linear(3, 2))
        >>> [(stored.name, stored.parts[0].path) for stored in model.tensors()]
        [('weight', 'kernel'), ('bias', 'bias')]
    """
    if not isinstance(model, nn.Module):
        advice = "Pass an instance." if isinstance(model, type) else ""
        raise InitspecTypeError("model", model, "a torch.nn.Module", advice)
    return TorchModel(model, {} if layers is None else layers)


class TorchModel(Model):
    """A module of torch; `write` changes its tensors in place."""

    framework: ClassVar[str] = "torch"
    backend: ClassVar[str] = "torch"

    def __init__(self, module: nn.Module, layers: Layers) -> None:
        self._module = module
        self._layers = tuple(walk(module, Layer(module, "", "", {}), layers))
        sites = [site for layer in self._layers for site in layer.sites()]
        self._sites = {site.name: site for site in sites}
        self._tensors = _without_overlaps(_described(sites), self._sites)

    def tensors(self) -> Sequence[Stored]:
        """All parameters and buffers, module by module; each storage once."""
        return self._tensors

    def knobs(self) -> Sequence[Knob]:
        """The epsilon of every norm, and the momentum of every batch norm that keeps one."""
        layers: dict[int, Layer] = {}
        for layer in self._layers:
            layers.setdefault(id(layer.module), layer)
        return tuple(knob for layer in layers.values() for knob in layer.knobs())

    def read(self, name: str) -> NDArray[Any]:
        """The values on the host, not to be written to; bfloat16 as uint16 bit patterns."""
        tensor = self._site(name).tensor()
        if not has_values(tensor):
            advice = "Give it memory first: model.to_empty(device=...)."
            raise InitspecTypeError(name, type(tensor), "a tensor with values", advice)
        values = _BACKEND.to_host(tensor).view()
        values.flags.writeable = False
        return values

    def write(self, writes: Sequence[Write]) -> nn.Module:
        """Fill tensors in place, outside autograd, after checking that each can be written."""
        places = [(self._site(write.stored.name), write) for write in writes]
        tensors = [(site, write, site.tensor()) for site, write in places]
        _refuse_meta([site.name for site, _, tensor in tensors if _is_meta(tensor)])
        for site, write, tensor in tensors:
            _check_write(site, write, tensor)
            self._check_ties(site, write)
        computed = [place for place in places if place[0].parametrized is not None]
        with torch.no_grad(), _kept_on_error(site for site, _ in computed):
            for site, write in computed:
                _assign(site, write)
            for site, write, tensor in tensors:
                if site.parametrized is None:
                    _fill(tensor, write)
        return self._module

    def _check_ties(self, site: Site, write: Write) -> None:
        own = _key(site)
        for name, _ in write.stored.aliases:
            if _key(self._site(name)) != own:
                expected = f"one tensor with {name!r}, as when the model was opened"
                advice = "Tie them again, or open the model again."
                raise InitspecValueError(site.name, "a tensor of its own", expected, advice)

    def _site(self, name: str) -> Site:
        if name not in self._sites:
            expected = "the name of a tensor of this model"
            raise InitspecValueError("name", name, expected, did_you_mean(name, self._sites))
        return self._sites[name]


# --- what is found ------------------------------------------------------------------------------


def _described(sites: Iterable[Site]) -> Iterator[Stored]:
    """A description of each storage; all of its names but the first are aliases."""
    groups: dict[Any, list[Site]] = {}
    for site in sites:
        groups.setdefault(_key(site), []).append(site)
    for first, *others in groups.values():
        stored = _describe(first)
        aliases = tuple((site.name, _describe(site).parts) for site in others)
        yield replace(stored, aliases=aliases)


def _key(site: Site) -> tuple[Any, ...]:
    return tuple(_memory(tensor) for tensor in site.owned())


def _memory(tensor: torch.Tensor) -> Any:
    """Equal for tensors that are the same memory, whichever objects show it."""
    try:
        storage = tensor.untyped_storage()
        place = storage.data_ptr() if has_values(tensor) else 0
    except (RuntimeError, NotImplementedError, ValueError):  # lazy, sparse, wrapping others
        return id(tensor)
    where = place or id(tensor) if has_values(tensor) else storage._cdata
    at = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
    return str(tensor.device), where, at, tensor.dtype


def _describe(site: Site) -> Stored:
    tensor, module = site.tensor(), site.layer.module
    lazy = isinstance(tensor, UninitializedTensorMixin)
    shape = () if lazy else tuple(tensor.shape)
    parts, fault = ((), None) if lazy else _parts(site, shape)
    if parts or fault is not None or not site.buffer or lazy:  # other buffers are kept
        fault = fault or _fault(site, tensor)
    return Stored(
        name=site.name,
        shape=shape,
        dtype=_dtype(tensor),
        parts=parts,
        path=site.layer.path,
        layer=class_name(parametrize.type_before_parametrizations(module)),
        trainable=site.trainable(),
        buffer=site.buffer,
        persistent=site.attribute not in module._non_persistent_buffers_set,
        loaded=bool(getattr(tensor, _LOADED, False)),
        computed=site.parametrized is not None,
        problem="" if fault is None else _sentence(fault),
    )


_LOADED = "_is_hf_initialized"  # transformers sets it on what it has read from a checkpoint


def _sentence(fault: InitspecError) -> str:
    given = class_name(fault.given) if isinstance(fault.given, type) else fault.given
    return f"it is {given}, not {fault.expected}. {fault.advice}".rstrip()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _parts(site: Site, shape: tuple[int, ...]) -> tuple[tuple[Part, ...], InitspecError | None]:
    """The logical tensors; none where a built-in row does not fit, so that somebody is asked."""
    binding = site.layer.bindings.get(site.attribute)
    if binding is None:
        return (), None
    try:
        parts = bind_slots(binding.slots, binding.path, shape)
        for part in parts:
            part.geometry  # noqa: B018 (raises where the layout does not fit the shape)
    except InitspecError as error:
        return (), error if binding.mine else None
    return parts, None


# What hooks of the old kind leave in a layer instead of a tensor, and what to do.
_NEWER = "Use torch.nn.utils.parametrizations.{}, which can be written through."
_HOOKS: tuple[tuple[type, str, tuple[str, ...], str], ...] = (
    (WeightNorm, "name", ("_g", "_v"), _NEWER.format("weight_norm")),
    (SpectralNorm, "name", ("_orig",), _NEWER.format("spectral_norm")),
    (BasePruningMethod, "_tensor_name", ("_orig",), "Initialise it before pruning."),
)


def _fault(site: Site, tensor: torch.Tensor) -> InitspecError | None:
    """Why a tensor cannot be written, whatever the values; memory may still be given to it."""
    try:
        _check_hooks(site)
        _check_inverse(site)
        if site.buffer and not (tensor.is_floating_point() or tensor.is_complex()):
            check_tensor(tensor, site.name)  # counts are integers
        else:
            check_writable(tensor)
    except InitspecError as error:
        return type(error)(site.name, error.given, error.expected, error.advice)
    return None


def _check_hooks(site: Site) -> None:
    for hook in site.layer.module._forward_pre_hooks.values():
        for kind, attribute, ends, advice in _HOOKS:
            if isinstance(hook, kind):
                name = getattr(hook, attribute)
                if site.attribute in [f"{name}{end}" for end in ends]:
                    given = f"what {kind.__name__} makes {name!r} of in a hook"
                    raise InitspecValueError(site.name, given, "a tensor of its own", advice)


def _check_inverse(site: Site) -> None:
    for step in site.parametrized or ():
        if not hasattr(step, "right_inverse"):
            advice = "Give it one, or initialise the tensor before it is parametrized."
            expected = "parametrizations with a right_inverse"
            raise InitspecValueError(site.name, class_name(type(step)), expected, advice)


def _without_overlaps(found: Iterable[Stored], sites: Mapping[str, Site]) -> tuple[Stored, ...]:
    """Tensors that share a part of their memory with one before them are a problem."""
    described = list(found)
    spans = []
    for index, stored in enumerate(described):
        tensor = sites[stored.name].owned()[0]
        known = not stored.problem and (stored.parts or not stored.buffer)
        if known and has_values(tensor) and tensor.numel():
            ends = sum(
                n * (size - 1) for n, size in zip(tensor.stride(), tensor.shape, strict=True)
            )
            start = tensor.data_ptr()
            stop = start + (ends + 1) * tensor.element_size()
            spans.append((str(tensor.device), start, stop, index, tensor))
    active: list[Any] = []
    for span in sorted(spans, key=lambda span: span[:4]):
        active = [other for other in active if other[0] == span[0] and other[2] > span[1]]
        for other in active:
            if _share_memory(other[4], span[4]):
                first, last = sorted((other[3], span[3]))
                problem = (
                    f"it shares a part of its memory with {described[first].name!r}, so that "
                    "writing one changes the other. Tie whole tensors, or give it its own memory."
                )
                described[last] = replace(described[last], problem=problem)
        active.append(span)
    return tuple(described)


def _share_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors whose ranges of memory meet have an element in common."""
    if not (one.is_cpu and other.is_cpu):
        return True
    try:
        most: Any = 10**6  # steps of an exact answer
        return np.shares_memory(host_view(one), host_view(other), max_work=most)
    except np.exceptions.TooHardError:
        return True


# --- writing ------------------------------------------------------------------------------------


def _is_meta(tensor: torch.Tensor) -> bool:
    return not isinstance(tensor, UninitializedTensorMixin) and not has_values(tensor)


def _refuse_meta(names: list[str]) -> None:
    if names:
        given = f"{len(names)} without: {', '.join(names)}"
        raise InitspecValueError("model", given, "tensors with memory", _TO_EMPTY)


def _check_write(site: Site, write: Write, tensor: torch.Tensor) -> None:
    stored, fault = write.stored, _fault(site, tensor)
    if fault is not None:
        raise fault
    if stored.problem:
        raise InitspecValueError(site.name, stored.problem, "a tensor that can be written")
    if (tuple(tensor.shape), _dtype(tensor)) != (stored.shape, stored.dtype):
        given = f"{_dtype(tensor)} of shape {tuple(tensor.shape)}"
        expected = f"{stored.dtype} of shape {stored.shape}, as when the model was opened"
        raise InitspecValueError(site.name, given, expected, "Open the model again.")
    for piece in write.pieces:
        floating = tensor.is_floating_point()
        if (piece.plan is None) == floating:
            expected = "a plan" if floating else "a value, as it is not floating-point"
            raise InitspecValueError(piece.part.path, piece.plan or piece.value, expected)
        if piece.plan is not None and piece.plan.shape != piece.part.shape:
            expected = f"a plan of the part's shape {piece.part.shape}"
            raise InitspecValueError(piece.part.path, piece.plan.shape, expected)


def _fill(tensor: torch.Tensor, write: Write) -> None:
    """Write at the tensor's own strides, in place."""
    if tensor.is_cpu:
        threads = torch.get_num_threads()  # no more than torch itself would use
        write_pieces(host_view(tensor), write, partial(fill, most=threads))
        torch.autograd.graph.increment_version(tensor)  # as any in-place operation does
    else:
        for piece in write.pieces:
            _fill_region(tensor, piece)


def _fill_region(tensor: torch.Tensor, piece: Piece) -> None:
    """Write a part on another device, where there are no reversed strides."""
    part = piece.part
    region = tensor.detach()[(*part.region, ...)]
    if piece.plan is None:
        region.fill_(piece.value)  # type: ignore[arg-type]
    elif part.flip:
        made = torch.empty_like(region)
        _BACKEND.emit_into(piece.plan, made)
        letters = [[factor.letter for factor in axis] for axis in part.layout.axes]
        region.copy_(made.flip([i for i, axis in enumerate(letters) if set(axis) <= set(SPATIAL)]))
    else:
        _BACKEND.emit_into(piece.plan, region)
    if part.negate:
        region.neg_()
    if part.shift:
        region.copy_(region.double() - part.shift)
    for row in part.zero_rows:
        region[row].zero_()


# --- parametrizations ---------------------------------------------------------------------------


def _assign(site: Site, write: Write) -> None:
    """Make the value and assign it, which runs every ``right_inverse``."""
    value = site.tensor().clone()
    _fill(value, write)
    try:
        setattr(site.layer.module, site.attribute, value)
    except Exception as error:  # whatever the inverse, which may be anybody's, thinks of the values
        advice = "Initialise the tensor before it is parametrized."
        given = f"{type(error).__name__}: {error}"
        expected = "parametrizations that can be inverted for these values"
        raise InitspecValueError(site.name, given, expected, advice) from error


@contextmanager
def _kept_on_error(sites: Iterable[Site]) -> Iterator[None]:
    """Take assignments back, tensor by tensor, when something fails."""
    found = [site.parametrized for site in sites]
    tensors = [t for each in found for t in (*each.parameters(), *each.buffers())]
    before = [(tensor, tensor.detach(), tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    except BaseException:
        for tensor, memory, values in before:
            tensor.set_(memory)
            tensor.copy_(values)
        raise
