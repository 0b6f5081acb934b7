"""Constraints between parameters: "batch_size * depth <= 4096".

The text is parsed by Python's grammar, each node held against a list of what is allowed, and turned
into functions of our own: nothing of it is ever executed. All arithmetic is that of 64-bit floats,
so one config at a time and a million of them in arrays give the same answer. What has no value
(division by zero, a number beyond a float's range, a parameter whose value is no number) is NaN,
and a comparison with it is neither true nor false: `and`, `or` and `not` go by Kleene's logic, and
a constraint is satisfied only if it is true.
"""

import ast
import json
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sweepd.spec.conditions import Mask
from sweepd.spec.distributions import Array, as_number

__all__ = ["MAX_LENGTH", "Constraint", "NoConstraint", "parse_constraint"]

#: Characters of one constraint, at most.
MAX_LENGTH = 200
_MAX_DEPTH = 50
_ALLOWED = "names, numbers, + - * / // %, comparisons, and, or, not"

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
#: A number that runs into a name, of which Python's parser only warns: "1or x".
_RUN_ON = re.compile(r"(?<![\w.])(?>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[A-Za-z_]")

# What a node becomes: a function of the names' values. Truth is 1.0, 0.0, or NaN for neither.
_Scalar = Callable[[Mapping[str, float]], float]
_Column = Callable[[Mapping[str, Array]], Array]


class NoConstraint(Exception):
    """The text is no constraint; says why."""


@dataclass(frozen=True)
class Constraint:
    """What must be true of every config that is tried.

    Args:
        text: as it was written.
        names: the parameters that it names.
    """

    text: str
    names: tuple[str, ...]
    _scalar: _Scalar = field(repr=False, compare=False)
    _column: _Column = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Callable[[str], "Constraint"], tuple[str]]:
        return parse_constraint, (self.text,)

    def is_satisfied(self, config: Mapping[str, Any]) -> bool:
        """Return whether a flat config satisfies it; one that lacks a name of it does."""
        if not all(name in config for name in self.names):
            return True
        return self._scalar({name: as_number(config[name]) for name in self.names}) == 1.0

    def are_satisfied(self, columns: Mapping[str, Array]) -> Mask:
        """Return which of m configs satisfy it, shape (m,); all of its names are there.

        Args:
            columns: the numbers of each name, shape (m,), NaN where the value is no number.
        """
        with np.errstate(all="ignore"):
            return np.asarray(self._column(columns) == 1.0, dtype=bool)


def parse_constraint(text: str) -> Constraint:
    """Return the constraint that a text means.

    Raises:
        NoConstraint: if it is none, in words.
    """
    if len(text) > MAX_LENGTH:
        raise NoConstraint(f"has {len(text)} characters: at most {MAX_LENGTH}")
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "''", text)
    run_on = _RUN_ON.search(bare)
    if run_on:
        raise NoConstraint(f"a number runs into a name at {run_on[0]}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = "; write == to compare" if re.search(r"(?<![<>=!])=(?!=)", bare) else ""
        raise NoConstraint(
            f"{json.dumps(text, ensure_ascii=False)} cannot be read: it may have {_ALLOWED}{hint}"
        ) from None
    if _depth(tree) > _MAX_DEPTH:
        raise NoConstraint(f"is nested more than {_MAX_DEPTH} levels deep")
    names: dict[str, None] = {}
    scalar, column = _truth(tree, names)
    if not names:
        raise NoConstraint("names no parameter")
    return Constraint(text, tuple(names), scalar, column)


def _depth(node: ast.AST) -> int:
    return 1 + max(map(_depth, ast.iter_child_nodes(node)), default=0)


def _truth(node: ast.expr, names: dict[str, None]) -> tuple[_Scalar, _Column]:
    """Return the functions of a node that is true or false; notes the names in it."""
    if isinstance(node, ast.Compare):
        return _comparison(node, names)
    if isinstance(node, ast.BoolOp):
        join = _all_of if isinstance(node.op, ast.And) else _any_of
        return join([_truth(value, names) for value in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        scalar, column = _truth(node.operand, names)
        return (lambda values: 1.0 - scalar(values)), (lambda values: 1.0 - column(values))
    _number(node, names)  # says what is wrong with it, if anything is
    raise NoConstraint(f"{_shown(node)} is a number: compare it, as in {_shown(node)} <= 8")


def _comparison(node: ast.Compare, names: dict[str, None]) -> tuple[_Scalar, _Column]:
    sides = [_number(side, names) for side in (node.left, *node.comparators)]
    links: list[tuple[_Scalar, _Column]] = []
    for op, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True):
        compare = _COMPARISONS.get(type(op))
        if compare is None:
            raise NoConstraint(f"{_shown(node)}: numbers compare by < <= > >= == !=")
        links.append((_compared(compare, left[0], right[0]), _all_compared(compare, left, right)))
    return _all_of(links) if len(links) > 1 else links[0]


def _compared(compare: Callable[[Any, Any], Any], left: _Scalar, right: _Scalar) -> _Scalar:
    def truth(values: Mapping[str, float]) -> float:
        a, b = left(values), right(values)
        return math.nan if math.isnan(a) or math.isnan(b) else float(compare(a, b))

    return truth


def _all_compared(
    compare: Callable[[Any, Any], Any], left: tuple[Any, _Column], right: tuple[Any, _Column]
) -> _Column:
    def truth(values: Mapping[str, Array]) -> Array:
        a, b = left[1](values), right[1](values)
        return np.where(np.isnan(a) | np.isnan(b), np.nan, compare(a, b).astype(np.float64))

    return truth


def _all_of(parts: list[tuple[_Scalar, _Column]]) -> tuple[_Scalar, _Column]:
    """Return `and`: false if one is false, else neither if one is neither."""

    def scalar(values: Mapping[str, float]) -> float:
        truths = [part[0](values) for part in parts]
        return 0.0 if 0.0 in truths else sum(truths) / len(truths)

    def column(values: Mapping[str, Array]) -> Array:
        truths = np.stack(np.broadcast_arrays(*(part[1](values) for part in parts)))
        return np.where((truths == 0.0).any(axis=0), 0.0, truths.mean(axis=0))

    return scalar, column


def _any_of(parts: list[tuple[_Scalar, _Column]]) -> tuple[_Scalar, _Column]:
    """Return `or`: true if one is true, else neither if one is neither."""

    def scalar(values: Mapping[str, float]) -> float:
        truths = [part[0](values) for part in parts]
        return 1.0 if 1.0 in truths else sum(truths)

    def column(values: Mapping[str, Array]) -> Array:
        truths = np.stack(np.broadcast_arrays(*(part[1](values) for part in parts)))
        return np.where((truths == 1.0).any(axis=0), 1.0, truths.sum(axis=0))

    return scalar, column


def _number(node: ast.expr, names: dict[str, None]) -> tuple[_Scalar, _Column]:
    """Return the functions of a node that is a number; notes the names in it."""
    if isinstance(node, ast.Constant) and not isinstance(node.value, str):
        constant = as_number(node.value)
        if math.isnan(constant):
            raise NoConstraint(f"{_shown(node)} is not a finite number")
        # 0-dimensional, so that comparing two numbers is still an array
        return (lambda _: constant), (lambda _: np.asarray(constant))
    name = _name(node)
    if name is not None:
        names.setdefault(name)
        return (lambda values: values[name]), (lambda values: values[name])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign = -1.0 if isinstance(node.op, ast.USub) else 1.0
        scalar, column = _number(node.operand, names)
        return (lambda values: sign * scalar(values)), (lambda values: sign * column(values))
    if isinstance(node, ast.BinOp):
        symbol = _ARITHMETIC.get(type(node.op))
        if symbol is None:
            what = "a power" if isinstance(node.op, ast.Pow) else _shown(node)
            raise NoConstraint(f"{what} is not allowed: only {_ALLOWED}")
        left, right = _number(node.left, names), _number(node.right, names)
        one, many = _SCALAR_OPS[symbol], _COLUMN_OPS[symbol]
        return (
            lambda values: _finite(one, left[0](values), right[0](values)),
            lambda values: _all_finite(many(left[1](values), right[1](values))),
        )
    if isinstance(node, (ast.Compare, ast.BoolOp)) or _is_not(node):
        raise NoConstraint(f"{_shown(node)} is true or false, not a number")
    raise NoConstraint(f"{_shown(node)} is not allowed: only {_ALLOWED}")


def _is_not(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _name(node: ast.expr) -> str | None:
    """Return the parameter that a node names: lr, opt.lr, or "batch-size" in quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(steps)]) if isinstance(node, ast.Name) else None


_SCALAR_OPS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_COLUMN_OPS: dict[str, Callable[[Array, Array], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
}


def _finite(op: Callable[[float, float], float], a: float, b: float) -> float:
    try:
        result = op(a, b)
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def _all_finite(result: Array) -> Array:
    return np.where(np.isfinite(result), result, np.nan)


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}…"
