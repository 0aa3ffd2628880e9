"""Plans become torch tensors: allocate, fill host memory in place, move if need be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray

from initspec.backend import Backend
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.fill_plan import FillPlan
from initspec.initializer import Initializer
from initspec.layout import LayoutOptions
from initspec_kernel import HUGE_FROM, fill, key, prefer_huge_pages

from . import compiled, device
from .memory import NAMES, check_tensor, check_writable, has_values, host_view
from .native import TorchInitializer, draw_seed

__all__ = ["TorchBackend"]


class TorchBackend(Backend):
    """Tensors of PyTorch. ``dtype=None`` is float32, whatever `torch.set_default_dtype` says."""

    name: ClassVar[str] = "torch"
    convention: ClassVar[str] = "OI"
    key = staticmethod(key)

    def draw(
        self,
        initializer: Initializer,
        shape: Iterable[Any] | None,
        *,
        dtype: Any,
        device: Any,
        seed: Any,
        name: str,
        out: Any,
        layout: LayoutOptions,
    ) -> Any:
        """As in every backend; inside `torch.compile` and `torch.export`, one custom operator."""
        if compiled.tracing():
            return compiled.draw(initializer, shape, dtype, device, seed, name, out, layout)
        target = _probe(device) if out is None else out
        if seed is None and isinstance(target, torch.Tensor) and not has_values(target):
            seed = 0  # nothing is computed: leave the generator alone, as torch does
        return super().draw(
            initializer,
            shape,
            dtype=dtype,
            device=device,
            seed=seed,
            name=name,
            out=out,
            layout=layout,
        )

    def devices(self) -> dict[str, str]:
        """The accelerators that torch can use, with the path that their tensors take."""
        return device.devices()

    def emit(self, plan: FillPlan, dtype: str, device: Any) -> torch.Tensor:
        """A new contiguous tensor on the device, by default torch's default device."""
        if device is not None:
            _probe(device)
        out = torch.empty(plan.shape, dtype=getattr(torch, dtype), device=device)
        if out.is_cpu and out.nbytes >= HUGE_FROM and has_values(out):
            prefer_huge_pages(host_view(out))
        self.emit_into(plan, out)
        return out

    def emit_into(self, plan: FillPlan, out: torch.Tensor) -> None:
        """Write at the strides of ``out``, by the path that its device takes."""
        if not has_values(out):
            return
        if out.is_cpu:
            _fill(plan, out)
            torch.autograd.graph.increment_version(out)  # as any in-place operation does
        else:
            device.fill(plan, out, _fill)

    def inspect(self, out: Any) -> tuple[Iterable[int], Any]:
        """Shape and dtype of a tensor that can be written in place."""
        check_writable(out)
        return tuple(out.shape), NAMES[out.dtype]

    def fresh_seed(self) -> int:
        """From torch's global CPU generator, so that `torch.manual_seed` governs it."""
        return draw_seed(None)

    def to_host(self, tensor: Any) -> NDArray[Any]:
        """The values on the host; bfloat16 as uint16 bits. Shares memory where it can."""
        check_tensor(tensor, "tensor")
        if not has_values(tensor):
            advice = "Give it memory first: model.to_empty(device=...)."
            raise InitspecTypeError("tensor", type(tensor), "a tensor with values", advice)
        return host_view(tensor.detach().cpu().resolve_neg())

    def bind(self, initializer: Initializer, **options: Any) -> TorchInitializer:
        """A function that initialises a tensor in place, like those of `torch.nn.init`."""
        return TorchInitializer.of(initializer, options)


def _probe(device: Any) -> torch.Tensor:
    """An empty tensor on the device: there is no other way to know that it can be used."""
    if not isinstance(device, (str, int, torch.device, type(None))) or isinstance(device, bool):
        raise InitspecTypeError("device", device, "a torch.device or its name")
    try:
        return torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        expected = f"a device of this machine ({reason})"
        raise InitspecValueError("device", device, expected) from error


def _fill(plan: FillPlan, out: torch.Tensor) -> None:
    """Fill the host memory of a tensor with no more threads than torch itself would use."""
    fill(plan, host_view(out), NAMES[out.dtype], most=torch.get_num_threads())
