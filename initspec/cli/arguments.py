"""Arguments that several verbs take, and how their text is read."""

from __future__ import annotations

import argparse
from typing import Any

from initspec.layout import LayoutOptions

__all__ = ["add_layout", "integers", "layout_options", "seed"]


def add_layout(parser: Any) -> None:
    """The arguments that say how a tensor is stored."""
    add = parser.add_argument
    add("--layout", help="one letter per axis, as in HWIO or '(G O) I H W'")
    add("--groups", type=int, metavar="N", help="number of groups of a convolution")
    add("--blocks", type=_names, metavar="A,B", help="names of the blocks of a fused axis: i,f,g,o")
    add("--stride", type=integers, default=(1,), metavar="N", help="one number, or one per axis")
    add(
        "--transposed",
        action=argparse.BooleanOptionalAction,
        help="whether it is a transposed convolution, where the letters do not say",
    )
    add("--sizes", type=_sizes, metavar="H=3,W=3", help="sizes of factors of composite axes")


def layout_options(options: argparse.Namespace) -> LayoutOptions:
    """What `add_layout` read, as initializers take it."""
    return {
        "layout": options.layout,
        "groups": options.groups,
        "blocks": options.blocks,
        "stride": options.stride[0] if len(options.stride) == 1 else options.stride,
        "transposed": options.transposed,
        "sizes": options.sizes,
    }


def integers(text: str) -> tuple[int, ...]:
    """``3,3,64`` as a tuple."""
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected integers, as in 3,3") from None


def seed(text: str) -> int:
    """An integer, in hexadecimal too."""
    try:
        return int(text, base=0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _sizes(text: str) -> dict[str, int]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(number.isdecimal() for _, _, number in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: expected sizes, as in H=3,W=3")
    return {letter: int(number) for letter, _, number in pairs}
