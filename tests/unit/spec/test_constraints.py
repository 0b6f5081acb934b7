"""Constraints between parameters: what may be written, and what it means."""

import ast
import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweepd.spec.constraints import NoConstraint, parse_constraint


@pytest.mark.parametrize(
    ("text", "config", "is_satisfied"),
    [
        ("a * b <= 8", {"a": 2, "b": 4}, True),
        ("a * b <= 8", {"a": 3, "b": 4}, False),
        ("1 < a < b", {"a": 2, "b": 3}, True),
        ("1 < a < b", {"a": 2, "b": 2}, False),
        ("a % 2 == 0 and not b > 3", {"a": 4, "b": 3}, True),
        ("a // 2 != 2 or b / 4 >= 1.5e0", {"a": 5, "b": 6}, True),
        ("-a + +b > - 3", {"a": 1, "b": -1}, True),
        ("opt.lr.min < 'batch-size'", {"opt.lr.min": 1, "batch-size": 2}, True),
        ("a < 1 / b", {"a": 1, "b": 0}, False),
        ("not a < 1 / b", {"a": 1, "b": 0}, False),
        ("a % b == 0", {"a": 1, "b": 0}, False),
        ("b == 0 or a / b > 1", {"a": 1, "b": 0}, True),
        ("a / b > 1 or b == 0", {"a": 1, "b": 0}, True),
        ("a * a * a > 1", {"a": 1e200}, False),
        ("a < 2", {"a": "1"}, False),
        ("a < 2", {"a": True}, False),
        ("a < 2", {"a": None}, False),
        ("a > 2", {"a": 10**400}, False),
        ("a + b < 2", {"a": 5}, True),
        ("a <\n  2", {"a": 1}, True),
    ],
)
def test_a_constraint_is_true_or_not_and_never_fails(text, config, is_satisfied):
    constraint = parse_constraint(text)

    assert constraint.is_satisfied(config) is is_satisfied
    assert pickle.loads(pickle.dumps(constraint)).is_satisfied(config) is is_satisfied


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a ** 2 < 3", "a power is not allowed"),
        ("__import__('os').system('x') < 1", "__import__('os').system('x') is not allowed"),
        ("abs(a) < 1", "abs(a) is not allowed: only names, numbers"),
        ("a[0] < 1", "a[0] is not allowed"),
        ("(lambda: 1) < a", "not allowed"),
        ("[a for a in b] < 1", "not allowed"),
        ("(a := 1) < 2", "not allowed"),
        ("a << 2 < 3", "not allowed"),
        ("~a < 3", "not allowed"),
        ("a if b else c", "not allowed"),
        ("f'{a}' < 1", "not allowed"),
        ("a in b", "numbers compare by"),
        ("a is b", "numbers compare by"),
        ("a", "a is a number: compare it, as in a <= 8"),
        ("a and b < 1", "a is a number"),
        ("(a < b) + 1 < 2", "a < b is true or false, not a number"),
        ("a < True", "True is not a finite number"),
        ("a < 1e999", "not a finite number"),
        ("a < 1j", "a number runs into a name at 1j"),
        ("1or a < 2", "a number runs into a name at 1o"),
        ("a < 0x10", "a number runs into a name"),
        ("1 < 2", "names no parameter"),
        ("a = 2", "write == to compare"),
        ("a < ", '"a < " cannot be read'),
        ("a < 1; b < 2", "cannot be read"),
        ("", "cannot be read"),
        ("a\x00 < 1", "cannot be read"),
        ("a < " + "-" * 100 + "1", "nested more than 50 levels deep"),
        ("(" * 120 + "a" + ")" * 60 + " < 1", "cannot be read"),
        ("a < " + "1" * 200, "has 204 characters: at most 200"),
    ],
)
def test_anything_else_is_refused_in_words(text, words):
    with pytest.raises(NoConstraint) as caught:
        parse_constraint(text)

    assert words in str(caught.value)


def _join(symbols):
    return lambda inner: st.tuples(inner, st.sampled_from(symbols), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    )


_SUM = st.recursive(
    st.sampled_from(["a", "b", "0", "0.5", "3", "1e300", "-2"]),
    _join(["+", "-", "*", "/", "//", "%"]),
    max_leaves=4,
)
_COMPARED = _join(["<", "<=", ">", ">=", "==", "!="])(_SUM)
_TRUTH = st.recursive(
    _COMPARED,
    lambda inner: _join(["and", "or"])(inner) | inner.map(lambda text: f"(not {text})"),
    max_leaves=3,
)
_VALUE = st.sampled_from([0, 1, -1, 2, 7, 0.1, -0.0, 1e308, 1e-320]) | st.floats(-1e3, 1e3)


def _python(text, values):
    """Return what Python says of a text whose every part has a value; None if one has none."""
    try:
        for node in ast.walk(ast.parse(text, mode="eval")):
            if isinstance(node, (ast.BinOp, ast.UnaryOp)) and not isinstance(
                getattr(node, "op", None), ast.Not
            ):
                value = eval(ast.unparse(node), {}, values)  # the oracle, of our own text
                if not math.isfinite(value):
                    return None
        return eval(text, {}, values)
    except (ZeroDivisionError, OverflowError):
        return None


@settings(deadline=None, max_examples=80)
@given(_TRUTH, st.lists(st.tuples(_VALUE, _VALUE), min_size=1, max_size=4))
def test_a_constraint_says_what_python_says_alone_and_in_columns(text, pairs):
    text = f"({text}) and (a < b or a >= b)"
    assume(len(text) <= 200)
    constraint = parse_constraint(text)
    columns = {name: np.array([float(p[i]) for p in pairs]) for i, name in enumerate("ab")}

    many = constraint.are_satisfied(columns)

    assert many.shape == (len(pairs),)
    for pair, in_column in zip(pairs, many, strict=True):
        values = dict(zip("ab", map(float, pair), strict=True))
        alone = constraint.is_satisfied(values)
        assert alone == in_column
        wanted = _python(constraint.text, values)
        if wanted is not None:
            assert alone == wanted
