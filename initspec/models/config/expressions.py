"""Small arithmetic in a config: ``"0.02 / sqrt(2 * L)"``.

Read by Python's own parser and walked by hand over a short list of nodes; nothing is ever
evaluated as Python.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from initspec.errors import InitspecTypeError, InitspecValueError, did_you_mean

__all__ = ["FUNCTIONS", "Expression"]

FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "min": min,
    "max": max,
}
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # of floats: it overflows instead of growing
}
_UNARY: Mapping[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_LONGEST = 500  # characters: more is no small arithmetic, and deep nesting would exhaust the stack
_GRAMMAR = f"numbers, names, + - * / **, parentheses and {', '.join(FUNCTIONS)}"


@dataclass(frozen=True)
class Expression:
    """A formula in float64; `Expression.parse` makes one.

    >>> Expression.parse("0.02 / sqrt(2 * L)").evaluate({"L": 8})
    0.005
    """

    text: str
    tree: ast.expr
    names: frozenset[str]

    @classmethod
    def parse(cls, text: str, where: str = "expression") -> Expression:
        """Read a formula.

        Raises:
            InitspecTypeError, InitspecValueError: no text, or anything but small arithmetic.
        """
        if not isinstance(text, str):
            raise InitspecTypeError(where, text, "a formula such as '0.02 / sqrt(2 * L)'")
        if len(text) > _LONGEST:
            raise InitspecValueError(where, text, f"at most {_LONGEST} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            names = frozenset(_names(tree, where, text))
        except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as error:
            if isinstance(error, InitspecValueError):
                raise
            expected = f"a formula of {_GRAMMAR}"
            raise InitspecValueError(where, text, expected) from error
        return cls(text, tree, names)

    def evaluate(self, values: Mapping[str, float], where: str = "expression") -> float:
        """The value with these names.

        Raises:
            InitspecValueError: a name without a value, or a result that is no finite number.
        """
        missing = self.names - set(values)
        if missing:
            name = min(missing)
            known = f"the names {', '.join(sorted(values))}" if values else "no names here"
            raise InitspecValueError(where, name, known, did_you_mean(name, values))
        try:
            result = float(_value(self.tree, values))
        except (ArithmeticError, ValueError) as error:  # 1 / 0, sqrt(-1), overflow
            shown = ", ".join(f"{name} = {values[name]:g}" for name in sorted(self.names))
            expected = f"a finite number ({error}{'; ' if shown else ''}{shown})"
            raise InitspecValueError(where, self.text, expected) from error
        if not math.isfinite(result):
            raise InitspecValueError(where, self.text, f"a finite number, not {result}")
        return result


def _names(node: ast.expr, where: str, text: str) -> list[str]:
    """The names of a tree in which every node is allowed."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        float(node.value)  # type: ignore[arg-type]
        return []
    if isinstance(node, ast.Name):
        return [node.id]
    return [name for child in _children(node, where, text) for name in _names(child, where, text)]


def _children(node: ast.expr, where: str, text: str) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return [node.operand]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _arguments(node, node.func.id, where)
    source = ast.unparse(node)
    expected = f"a formula of {_GRAMMAR}; {source!r} is none"
    raise InitspecValueError(where, text, expected)


def _arguments(node: ast.Call, name: str, where: str) -> list[ast.expr]:
    if name not in FUNCTIONS:
        expected = f"one of the functions {', '.join(FUNCTIONS)}"
        raise InitspecValueError(where, name, expected, did_you_mean(name, FUNCTIONS))
    several = name in ("min", "max")
    if len(node.args) < 2 if several else len(node.args) != 1:
        wanted = "at least two arguments" if several else "one argument"
        raise InitspecValueError(where, ast.unparse(node), f"{wanted} for {name}")
    return node.args


def _value(node: Any, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return float(values[node.id])
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, values))
    return FUNCTIONS[node.func.id](*(_value(each, values) for each in node.args))
