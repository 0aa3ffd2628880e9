"""The stream on a GPU, as a Triton kernel: `initspec.stream` bit for bit.

Only imported where Triton is. All is integer arithmetic but the last conversion and product, which
IEEE 754 defines and with which nothing can be fused; the 16-bit types are rounded in integers.

One program writes a tile of rows and columns (see `strides`); every block of Philox gives the four
values of four neighbouring columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from initspec.draw import Draw
from initspec.fill_plan import FillPlan

from .integer import table
from .strides import Axis, View, views

__all__ = ["VERSION", "fill", "fits"]

VERSION: str = triton.__version__
_TILE = 512  # blocks of four values in one program
_WARPS = 4
_MOST_AXES = 3  # of rows, and of columns, after neighbours were joined
_UNIT = 4  # elements: rows that begin at multiples of it are stored by whole blocks
_FAR = 2**31  # from here on an index needs 64 bits
_KINDS = {"uniform": 0, "normal": 1, "truncated_normal": 2}
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


def _jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`triton.jit`, typed."""

    def wrap(function: Callable[..., Any]) -> Any:
        return triton.jit(function, **options)

    return wrap


# --- on the device ----------------------------------------------------------------------------


@_jit()
def _philox(key: tl.tuple, x0: tl.tensor, x1: tl.tensor, x2: tl.tensor, x3: tl.tensor) -> tl.tuple:
    """Philox4x32-10, by products of 64 bits: often one instruction, where two halves are two."""
    k0, k1 = key[0].to(tl.uint32).to(tl.uint64), key[1].to(tl.uint32).to(tl.uint64)
    for n in tl.static_range(10):
        p0, p1 = x0.to(tl.uint64) * 0xD2511F53, x2.to(tl.uint64) * 0xCD9E8D57
        x0 = (p1 >> 32).to(tl.uint32) ^ x1 ^ (k0 + n * 0x9E3779B9).to(tl.uint32)
        x2 = (p0 >> 32).to(tl.uint32) ^ x3 ^ (k1 + n * 0xBB67AE85).to(tl.uint32)
        x1, x3 = p1.to(tl.uint32), p0.to(tl.uint32)
    return x0, x1, x2, x3


@_jit()
def _quantile(u: tl.tensor, table: tl.tensor) -> tl.tensor:
    """Normal quantiles of words in units of 2**-28."""
    s = u.to(tl.int32, bitcast=True)
    sign = s >> 31
    w = (~((s ^ sign) << 1)).to(tl.uint32, bitcast=True)
    # Without the bit below the highest one, no rounding to float32 can reach the next octave.
    exponent = (w ^ (w & (w >> 1))).to(tl.float32).to(tl.uint32, bitcast=True) >> 23
    n = w << (158 - exponent)
    row = (exponent << 7) + (n >> 24)  # 128 * (octave + 127) + 128 + what follows the highest bit
    packed = tl.load(table + (row.to(tl.int32, bitcast=True) - 128 * 128))
    c0, c12 = packed.to(tl.uint32), (packed >> 32).to(tl.uint32)
    t, c1, c2 = n << 8, (c12 >> 12) << 1, c12 & 0xFFF
    size = c0 - tl.umulhi(t, c1 - tl.umulhi(t, c2))
    return (size.to(tl.int32, bitcast=True) ^ sign) - sign


@_jit()
def _integers(
    u: tl.tensor, table: tl.tensor, draw: tl.tuple, KIND: tl.constexpr, AFFINE: tl.constexpr
) -> tl.tensor:
    """The fixed-point draws of words, as int32."""
    lo, width, offset, multiplier = draw
    if KIND == 0:
        z = (u | 1).to(tl.int32, bitcast=True)
    elif KIND == 1:
        z = _quantile(u, table)
    else:
        v = lo.to(tl.uint32) + tl.umulhi(u, width.to(tl.uint32))
        z = _quantile(v ^ 0x80000000, table)
    if AFFINE:
        sign = z >> 31
        size = ((z ^ sign) - sign).to(tl.uint32, bitcast=True)
        product = tl.umulhi(size, multiplier.to(tl.uint32)).to(tl.int32, bitcast=True)
        z = offset + ((product ^ sign) - sign)
    return z


@_jit()
def _bfloat16(bits: tl.tensor) -> tl.tensor:
    """The upper half of a finite float32, rounded to nearest even."""
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


@_jit()
def _float16(bits: tl.tensor) -> tl.tensor:
    """The bits of a finite float32 in float16, rounded to nearest even."""
    size = (bits & 0x7FFFFFFF).to(tl.int32, bitcast=True)
    # From 2**-14 on only the bias of the exponent changes; what rounds up carries over.
    moved = size - 0x38000000
    normal = (moved + 0xFFF + ((moved >> 13) & 1)) >> 13
    # Below, the significand moves down as far as the exponent is short; by 25 places it is gone.
    shift = 126 - tl.minimum(tl.maximum(size >> 23, 101), 112)
    whole = (size & 0x7FFFFF) | 0x800000
    small = (whole + (1 << (shift - 1)) - 1 + ((whole >> shift) & 1)) >> shift
    small = tl.where(size < 0x33000000, 0, small)  # below 2**-25, half of the least subnormal
    finite = tl.where(size < 0x38800000, small, normal)
    rounded = tl.where(size < 0x47800000, finite, 0x7C00)  # 2**16 and up is infinite
    return ((bits >> 16).to(tl.int32, bitcast=True) & 0x8000) | rounded


@_jit()
def _store(
    pointers: tl.tensor, z: tl.tensor, mask: tl.tensor, factor: tl.tensor, DTYPE: tl.constexpr
) -> None:
    """Conversion, product, rounding; the factor is given as its bits."""
    if DTYPE == 1:
        exact = factor.to(tl.int64).to(tl.float64, bitcast=True)
        tl.store(pointers, z.to(tl.float64) * exact, mask=mask)
    else:
        value = z.to(tl.float32) * factor.to(tl.int32).to(tl.float32, bitcast=True)
        if DTYPE == 0:
            tl.store(pointers, value, mask=mask)
        elif DTYPE == 2:
            tl.store(pointers, _bfloat16(value.to(tl.uint32, bitcast=True)).to(tl.int16), mask=mask)
        else:
            tl.store(pointers, _float16(value.to(tl.uint32, bitcast=True)).to(tl.int16), mask=mask)


@_jit()
def _locate(index: tl.tensor, axes: tl.tuple, AXES: tl.constexpr) -> tl.tensor:
    """The offset of a mixed-radix number, innermost digit first; of no axes, the number itself."""
    size0, size1, step0, step1, step2 = axes
    if AXES == 0:
        offset = index
    elif AXES == 1:
        offset = index * step0
    else:
        rest = index // size0
        offset = (index - rest * size0) * step0
        if AXES == 2:
            offset += rest * step1
        else:
            last = rest // size1
            offset += (rest - last * size1) * step1 + last * step2
    return offset


@_jit()
def _corner(
    rows: tl.tensor,
    columns: tl.tensor,
    WIDE: tl.constexpr,
    ALONG_ROWS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
) -> tl.tuple:
    """Rows, blocks and columns of this program's tile: the next one writes memory that follows."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    if ALONG_ROWS:
        tiles = (rows + (ROWS - 1)) // ROWS
        row, block = program % tiles * ROWS, program // tiles * BLOCKS
    else:
        tiles = (columns + (4 * BLOCKS - 1)) // (4 * BLOCKS)
        row, block = program // tiles * ROWS, program % tiles * BLOCKS
    column = block * 4 + tl.arange(0, 4 * BLOCKS)
    return row + tl.arange(0, ROWS), block + tl.arange(0, BLOCKS), column


@_jit()
def _counter(
    row: tl.tensor, block: tl.tensor, origin: tl.tuple, outputs: tl.tensor, STACKED: tl.constexpr
) -> tl.tuple:
    """The words of Philox's counter that differ in a tile: blocks, o and s."""
    o, s = row, row * 0
    if STACKED:
        s = row // outputs
        o = row - s * outputs
    s0, o0, block0 = origin
    return (block + block0).to(tl.uint32), (o + o0).to(tl.uint32), (s + s0).to(tl.uint32)


# Left alone, Triton would compile another kernel for a 1 and for a multiple of 16, key by key.
_NUMBERS = "key0 key1 purpose s0 o0 block0 lo width offset multiplier factor rows outputs columns"
_NUMBERS += " row_size0 row_size1 row_step0 row_step1 row_step2"
_NUMBERS += " column_size0 column_size1 column_step0 column_step1 column_step2"


@_jit(do_not_specialize=_NUMBERS.split())
def _tile(
    out: tl.tensor,
    table: tl.tensor,
    key0: tl.tensor,
    key1: tl.tensor,
    purpose: tl.tensor,
    s0: tl.tensor,
    o0: tl.tensor,
    block0: tl.tensor,
    lo: tl.tensor,
    width: tl.tensor,
    offset: tl.tensor,
    multiplier: tl.tensor,
    factor: tl.tensor,
    rows: tl.tensor,
    outputs: tl.tensor,
    columns: tl.tensor,
    row_size0: tl.tensor,
    row_size1: tl.tensor,
    row_step0: tl.tensor,
    row_step1: tl.tensor,
    row_step2: tl.tensor,
    column_size0: tl.tensor,
    column_size1: tl.tensor,
    column_step0: tl.tensor,
    column_step1: tl.tensor,
    column_step2: tl.tensor,
    KIND: tl.constexpr,
    AFFINE: tl.constexpr,
    DTYPE: tl.constexpr,
    ROW_AXES: tl.constexpr,
    COLUMN_AXES: tl.constexpr,
    UNIT: tl.constexpr,
    STACKED: tl.constexpr,
    WIDE: tl.constexpr,
    ALONG_ROWS: tl.constexpr,
    LANES: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
) -> None:
    """Write one tile of ROWS rows by BLOCKS blocks of four columns."""
    if WIDE:
        rows, columns = rows.to(tl.int64), columns.to(tl.int64)
    columns = columns * UNIT
    row, block, column = _corner(rows, columns, WIDE, ALONG_ROWS, ROWS, BLOCKS)
    x0, x1, x2 = _counter(row, block, (s0, o0, block0), outputs, STACKED)
    key, x3, draw = (key0, key1), purpose.to(tl.uint32), (lo, width, offset, multiplier)
    at_row = _locate(row, (row_size0, row_size1, row_step0, row_step1, row_step2), ROW_AXES) * UNIT
    axes = (column_size0, column_size1, column_step0, column_step1, column_step2)
    if ALONG_ROWS:  # the four values of a block lie in four rows of memory
        words = _philox(key, x0[:, None], x1[None, :], x2[None, :], x3)
        for lane in tl.static_range(LANES):
            z, column = _integers(words[lane], table, draw, KIND, AFFINE), block * 4 + lane
            at = _locate(column, axes, COLUMN_AXES)[:, None] + at_row[None, :]
            _store(out + at, z, (column < columns)[:, None] & (row < rows)[None, :], factor, DTYPE)
    else:  # they are neighbours
        u0, u1, u2, u3 = _philox(key, x0[None, :], x1[:, None], x2[:, None], x3)
        u = tl.reshape(tl.join(tl.join(u0, u2), tl.join(u1, u3)), (ROWS, 4 * BLOCKS))
        z = _integers(u, table, draw, KIND, AFFINE)
        at = at_row[:, None] + _locate(column, axes, COLUMN_AXES)[None, :]
        _store(out + at, z, (row < rows)[:, None] & (column < columns)[None, :], factor, DTYPE)


# --- on the host ------------------------------------------------------------------------------


def fits(plan: FillPlan, out: torch.Tensor) -> bool:
    """Whether the kernel can count in the axes of the tensor."""
    return all(
        max(len(view.rows), len(view.columns)) <= _MOST_AXES
        for view in views(plan.geometry, out.stride())
    )


def fill(plan: FillPlan, draw: Draw, out: torch.Tensor) -> None:
    """Write a draw into a tensor that has values."""
    s, o, j = plan.origin
    words = (draw.purpose, s, o, j >> 2, draw.lo, draw.width, draw.offset, draw.multiplier)
    numbers = [_signed(word) for word in words]
    kind = {"KIND": _KINDS[draw.kind], "AFFINE": bool(draw.multiplier), "DTYPE": _DTYPES[out.dtype]}
    factor, rows = _factor(draw.factor, out.dtype), table(out.device)
    with torch.cuda.device(out.device) if out.is_cuda else nullcontext():
        for key, view in zip(plan.keys, views(plan.geometry, out.stride()), strict=True):
            launch = _launch(plan.geometry.counts, view)
            k0, k1 = map(_signed, key)
            memory = _memory(out, view.start)
            _tile[launch.grid](
                memory, rows, k0, k1, *numbers, factor, *launch.numbers, **kind, **launch.options
            )


def _memory(out: torch.Tensor, start: int) -> torch.Tensor:
    """The memory from an element on; 16-bit types as integers."""
    memory = out.detach()
    if start:
        memory = memory.as_strided((1,), (1,), memory.storage_offset() + start)
    return memory.view(torch.int16) if memory.itemsize == 2 else memory


def _signed(word: int) -> int:
    """A word's bits as a signed number: so Triton gives all words the same type, int32."""
    return word - 2**32 if word >= 2**31 else word


def _factor(factor: float, dtype: torch.dtype) -> int:
    if dtype == torch.float64:
        return int(np.float64(factor).view(np.int64))
    return int(np.float32(factor).view(np.int32))


@dataclass(frozen=True, slots=True)
class _Launch:
    """What follows from shape and strides alone."""

    grid: tuple[int]
    numbers: tuple[int, ...]  # from `rows` on
    options: dict[str, Any]


@lru_cache(maxsize=4096)
def _launch(counts: tuple[int, int, int], view: View) -> _Launch:
    stack, outputs, columns = counts
    rows, blocks = stack * outputs, -(-columns // 4)
    along_rows = _least(view.rows) < _least(view.columns)
    if along_rows:
        height = min(triton.next_power_of_2(rows), _TILE)
        width = _TILE // height
    else:
        width = min(triton.next_power_of_2(blocks), _TILE)
        height = _TILE // width
    column_axes = 0 if view.columns == ((columns, 1),) else len(view.columns)
    lengths = (columns, *(step for _, step in view.rows))
    unit = _UNIT if column_axes == 0 and all(n % _UNIT == 0 for n in lengths) else 1
    options = {
        "ROW_AXES": len(view.rows),
        "COLUMN_AXES": column_axes,
        "UNIT": unit,
        "STACKED": stack > 1,
        "WIDE": max(rows + height, columns + 4 * width, view.reach) >= _FAR,
        "ALONG_ROWS": along_rows,
        "LANES": min(columns, 4),
        "ROWS": height,
        "BLOCKS": width,
        "num_warps": _WARPS,
        "enable_fp_fusion": False,
    }
    numbers = (rows, outputs, columns // unit, *_axes(view.rows, unit), *_axes(view.columns, 1))
    return _Launch((-(-rows // height) * -(-blocks // width),), numbers, options)


def _least(axes: tuple[Axis, ...]) -> float:
    """The smallest step that is ever taken."""
    return min((step for size, step in axes if size > 1), default=math.inf)


def _axes(axes: tuple[Axis, ...], unit: int) -> tuple[int, ...]:
    """Two sizes and three steps."""
    sizes, steps = zip(*axes, *[(1, 0)] * (_MOST_AXES - len(axes)), strict=True)
    return (*sizes[:2], *(step // unit for step in steps))
