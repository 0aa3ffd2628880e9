"""The digest of a logical tensor: the same for every layout that stores it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from .layout import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["logical_digest"]

_CHUNK = 2**20  # elements in flight: a tensor is never copied whole


def logical_digest(array: NDArray[Any], geometry: Geometry) -> str:
    """SHA-256 of the values in canonical order (block, s, o, j), little-endian.

    Args:
        array: the stored tensor on the host, any strides; bfloat16 as uint16 bit patterns.
        geometry: its layout, bound to its shape.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    values = geometry.canonical(array).flat
    for start in range(0, array.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        digest.update(chunk.astype(chunk.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
