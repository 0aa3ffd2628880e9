"""Name maps: what one model's tensors are called, in the canonical paths of another."""

from .proposal import NameMap, propose

__all__ = ["NameMap", "propose"]
