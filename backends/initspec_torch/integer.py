"""The stream by torch's own operators, on any device: `initspec.stream` bit for bit.

Words are int64 numbers below 2**32. A product of two of them may pass 2**63; it wraps around, and
its bits are those of the unsigned product. Nothing larger than a chunk is ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch

from initspec import stream
from initspec.draw import Draw
from initspec.fill_plan import FillPlan

from .strides import Axis, views

__all__ = ["fill", "table"]

_LANES = 4  # values of one block
_CHUNK = 2**18  # values in flight: all temporaries together stay below 8 MiB
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


@torch.no_grad()
def fill(plan: FillPlan, draw: Draw, out: torch.Tensor) -> None:
    """Write a draw into a tensor that has values."""
    s0, o0, j0 = plan.origin
    outputs = plan.geometry.counts[1]
    memory = out.detach()
    for key, view in zip(plan.keys, views(plan.geometry, out.stride()), strict=True):
        target = memory.as_strided((view.reach + 1,), (1,), out.storage_offset() + view.start)
        for row, column in _chunks(plan.geometry.counts, out.device):
            at_row, block = _locate(row, view.rows), (column[:, ::_LANES] + j0) // _LANES
            words = _words(key, block, row % outputs + o0, row // outputs + s0, draw.purpose)
            for lane, word in enumerate(words[: column.shape[1]]):
                part = column[:, lane::_LANES]
                z = _integers(draw, word[:, : part.shape[1]])
                at = at_row + _locate(part, view.columns)
                target[at] = _values(z, draw.factor, out.dtype)


def _chunks(
    counts: tuple[int, int, int], device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows (as a column) and columns (as a row) that are written together."""
    rows, columns = counts[0] * counts[1], counts[2]
    width = min(columns, _CHUNK)
    height = max(1, _CHUNK // (-(-width // _LANES) * _LANES + 1))  # a row has its own numbers, too
    for row in range(0, rows, height):
        for column in range(0, columns, width):
            yield (
                torch.arange(row, min(row + height, rows), device=device)[:, None],
                torch.arange(column, min(column + width, columns), device=device)[None, :],
            )


def _locate(index: torch.Tensor, axes: tuple[Axis, ...]) -> torch.Tensor:
    """The offset of a mixed-radix number, axes innermost first."""
    offset = torch.zeros_like(index)
    for size, step in axes[:-1]:
        rest = index // size
        offset += (index - rest * size) * step
        index = rest
    return offset + index * axes[-1][1]


# --- words and integers -----------------------------------------------------------------------


def _mulhi(a: torch.Tensor, b: torch.Tensor | int) -> torch.Tensor:
    """The high word of the product of two words."""
    return (a * b >> 32) & stream.MASK


def _words(
    key: tuple[int, int], block: torch.Tensor, o: torch.Tensor, s: torch.Tensor, purpose: int
) -> tuple[torch.Tensor, ...]:
    """Philox4x32-10: the four words of every block.

    Rows and blocks are only spread out against each other when the rounds ask for it.
    """
    c0, c1, c2, c3 = block, o, s, torch.full_like(s[:1], purpose)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1 = ((p1 >> 32) & stream.MASK) ^ c1 ^ k0, p1 & stream.MASK
        c2, c3 = ((p0 >> 32) & stream.MASK) ^ c3 ^ k1, p0 & stream.MASK
        k0, k1 = (k0 + _W0) & stream.MASK, (k1 + _W1) & stream.MASK
    return c0, c1, c2, c3


def _integers(draw: Draw, u: torch.Tensor) -> torch.Tensor:
    """The fixed-point draw of every word, as a signed number."""
    if draw.kind == "uniform":
        z = u | 1
        z -= (z >> 31) << 32
    elif draw.kind == "normal":
        z = _quantile(u)
    else:
        z = _quantile((draw.lo + _mulhi(u, draw.width)) ^ 2**31)
    if draw.multiplier:
        z = z.sign() * _mulhi(z.abs(), draw.multiplier) + draw.offset
    return z


def _quantile(u: torch.Tensor) -> torch.Tensor:
    """Normal quantiles of words in units of 2**-28."""
    row, t = _place(u)
    packed = table(u.device)[row]
    slope = ((packed >> 44 << 1) & 0x1FFFFE) - _mulhi(t, (packed >> 32) & 0xFFF)
    size = (packed & stream.MASK) - _mulhi(t, slope)
    return size * (1 - (u >> 31 << 1))


def _place(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The row of the table that a word falls into, and the fraction of the row."""
    w = stream.MASK - ((u ^ (u >> 31) * stream.MASK) << 1)
    # Without the bit below the highest one, no rounding to float32 can reach the next octave.
    octave = ((w & ~(w >> 1)).to(torch.float32).view(torch.int32) >> 23) - 127
    n = w << (31 - octave)
    return (octave << 7) | ((n >> 24) & 127), (n << 8) & stream.MASK


def _values(z: torch.Tensor, factor: float, dtype: torch.dtype) -> torch.Tensor:
    """One conversion, one product; float16 and bfloat16 are the rounded float32 value."""
    if dtype == torch.float64:
        return z.to(torch.float64) * factor
    return (z.to(torch.float32) * float(np.float32(factor))).to(dtype)


@lru_cache(maxsize=64)
def table(device: torch.device) -> torch.Tensor:
    """The table of quantiles in a device's memory, both words of a row in one number."""
    rows = stream.TABLE.astype(np.uint64)
    packed = (rows[:, 0] | rows[:, 1] << np.uint64(32)).view(np.int64)
    return torch.from_numpy(packed).to(device)
