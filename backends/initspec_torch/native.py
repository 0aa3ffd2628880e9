"""Initializers as `torch.nn.init` knows them: functions that write into a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from initspec.backend import Backend
from initspec.errors import InitspecTypeError, InitspecValueError
from initspec.initializer import Initializer
from initspec.layout import check_options
from initspec.registry import get_backend

from .compiled import options_of, text_of, tracing, write
from .memory import check_tensor, has_values

__all__ = ["TorchInitializer", "draw_seed"]


@dataclass(frozen=True, repr=False)
class TorchInitializer:
    """``f(tensor, *, generator=None, seed=None, name="")`` fills the tensor and returns it.

    Without a seed every call draws one, from ``generator`` or from torch's global generator, so
    no two tensors are alike. With a seed, tensors of different names are independent. Like the
    functions of `torch.nn.init` it serves in ``reset_parameters`` and in what `Module.apply` calls.

    Args:
        initializer: what to draw.
        options: the layout keywords, as the text of a dictionary.

    Example:
        >>> import initspec, torch
        >>> he_normal_ = initspec.he_normal.bind("torch", groups=2)
        >>> layer = torch.nn.Conv2d(4, 8, 3, groups=2)
        >>> he_normal_(layer.weight, seed=0, name="conv") is layer.weight
        True
    """

    initializer: Initializer
    options: str = "{}"

    @classmethod
    def of(cls, initializer: Initializer, options: Mapping[str, Any]) -> TorchInitializer:
        """Check the options, as far as one can without a shape."""
        compiling = torch.compiler.is_compiling()
        text = text_of(options if compiling else check_options(options))
        if not compiling:
            options_of(text)
        return cls(initializer, text)

    def __call__(
        self, tensor: Any, *, generator: Any = None, seed: Any = None, name: str = ""
    ) -> Any:
        """Initialise the tensor in place, outside autograd, and return it."""
        if not isinstance(tensor, torch.Tensor):
            check_tensor(tensor, "out")
        if generator is not None:
            if seed is not None:
                raise InitspecValueError("seed", seed, "None together with a generator")
            seed = draw_seed(generator) if has_values(tensor) else 0
        if tracing():
            return write(self.initializer, self.options, tensor, seed, name)
        if seed is None and not has_values(tensor):
            seed = 0  # nothing is computed: leave the generator alone, as torch does
        return Backend.draw(  # not torch's own, which would ask once more whether anybody traces
            get_backend("torch"),
            self.initializer,
            None,
            dtype=None,
            device=None,
            seed=seed,
            name=name,
            out=tensor,
            layout=options_of(self.options),
        )

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in options_of(self.options).items())
        return f"{self.initializer!r}.bind('torch'{options})"


def draw_seed(generator: Any) -> int:
    """64 bits from a generator; from the global CPU generator if it is None."""
    if not isinstance(generator, (torch.Generator, type(None))):
        raise InitspecTypeError("generator", generator, "a torch.Generator, or seed= for a number")
    device = torch.device("cpu") if generator is None else generator.device
    word = torch.empty((), dtype=torch.int64, device=device)
    return int(word.random_(-(2**63), None, generator=generator)) % 2**64
