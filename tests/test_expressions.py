"""Small arithmetic: what it gives, and that nothing else is ever evaluated."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initspec import InitspecTypeError, InitspecValueError
from initspec.models.config.expressions import Expression

VALUES = {"L": 12.0, "i": 3.0, "fan_in": 64.0}
GOOD = {
    "0.02 / sqrt(2 * L)": 0.02 / math.sqrt(24),
    "1/sqrt(2*(i+1))": 1 / math.sqrt(8),
    "fan_in ** -0.5": 0.125,
    "-(1 - 3) * +2": 4.0,
    "min(1, fan_in, 0.5)": 0.5,
    "max(L, i)": 12.0,
    "log(exp(2))": 2.0,
    " 3 ": 3.0,
    "2 ** 3 ** 2": 512.0,
}
BAD = {
    "__import__('os').system('x')": "a formula of numbers",
    "open('x')": "one of the functions",
    "(1).__class__": "a formula of numbers",
    "[1 for _ in 'a']": "a formula of numbers",
    "1 if 2 else 3": "a formula of numbers",
    "lambda: 1": "a formula of numbers",
    "1 < 2": "a formula of numbers",
    "1 % 2": "a formula of numbers",
    "7 // 2": "a formula of numbers",
    "'a'": "a formula of numbers",
    "True": "a formula of numbers",
    "1j": "a formula of numbers",
    "sqrt()": "one argument for sqrt",
    "sqrt(1, 2)": "one argument for sqrt",
    "min(1)": "at least two arguments for min",
    "sqrt(x=1)": "a formula of numbers",
    "sqr(2)": "Did you mean 'sqrt'?",
    "": "a formula of numbers",
    "1 +": "a formula of numbers",
    "9" * 400: "a formula of numbers",
    "(" * 240 + ")" * 240: "a formula of numbers",
    "1 + " * 200 + "1": "at most 500 characters",
}
UNDEFINED = {
    "1 / 0": "a finite number (float division by zero)",
    "2 ** 99999": "a finite number",
    "(-8) ** 0.5": "a finite number",
    "sqrt(-1)": "a finite number",
    "log(L - 12)": "L = 12",
    "1e999": "a finite number, not inf",
    "exp(1000)": "a finite number",
    "LL + 1": "the names L, fan_in, i. Did you mean 'L'?",
}


@pytest.mark.parametrize("text", GOOD)
def test_values(text):
    assert Expression.parse(text).evaluate(VALUES) == pytest.approx(GOOD[text], rel=1e-15)


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_when_it_is_read(text):
    with pytest.raises(InitspecValueError, match=re.escape(BAD[text])):
        Expression.parse(text)


@pytest.mark.parametrize("text", UNDEFINED)
def test_what_has_no_value_is_refused_when_it_is_evaluated(text):
    with pytest.raises(InitspecValueError, match=re.escape(UNDEFINED[text])):
        Expression.parse(text).evaluate(VALUES)


def test_only_text_is_a_formula():
    with pytest.raises(InitspecTypeError):
        Expression.parse(3)


def test_names_are_known_before_there_are_values():
    assert Expression.parse("a * sqrt(b) + a").names == {"a", "b"}


@given(st.text(max_size=40))
def test_no_text_does_anything_but_give_a_number_or_our_error(text):
    try:
        value = Expression.parse(text).evaluate(VALUES)
    except InitspecValueError:
        return
    assert math.isfinite(value)


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_it_is_python_s_arithmetic(a, b, c):
    text = "a * b - c / a + sqrt(b) ** 2 - -c"
    wanted = a * b - c / a + math.pow(math.sqrt(b), 2) - -c
    assert Expression.parse(text).evaluate({"a": a, "b": b, "c": c}) == wanted
