"""Conditions on the points of a sweep: comparisons of its fields, such as `parent.threads <= 64 or via != "fork"`.

Only names, numbers, sizes in quotes, arithmetic, comparisons, `and`, `or`, `not` and `in` are understood: the text of a
specification is never executed.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from calibration.capture.sizes import parse_size
from calibration.errors import BadInput

Inputs = Mapping[str, Any]
Reading = Callable[[Inputs], Any]

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_TEXT = 1000
_NUMBER = re.compile(r"(?<=[a-z_])\.([0-9]+)\.(?=[a-z_])")
_NAMED = re.compile(r"\._([0-9]+)\.")
"""`load.calls.0.threads` is no name to the parser of Python: it stands there as `load.calls._0.threads` meanwhile."""


def constraint(text: str, names: Collection[str]) -> Callable[[Inputs], bool]:
    """A condition as a function of a point's inputs.

    Args:
        names: fields that every point has.

    Raises:
        ValueError: the text is no such condition, or names another field.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a condition has at most {_MAX_TEXT} characters")
    try:
        tree = ast.parse(_NUMBER.sub(r"._\1.", text.strip()), mode="eval")
        reading = _reading(tree.body, names)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no condition") from error

    def holds(inputs: Inputs) -> bool:
        try:
            return bool(reading(inputs))
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise BadInput(f"constraint {text!r}", f"cannot be judged: {error}", "compare like with like") from error

    return holds


def _reading(node: ast.expr, names: Collection[str]) -> Reading:
    if isinstance(node, ast.Constant):
        return _constant(node)
    if isinstance(node, ast.Name | ast.Attribute):
        return _field(node, names)
    if isinstance(node, ast.Tuple | ast.List):
        parts = [_reading(each, names) for each in node.elts]
        return lambda inputs: [part(inputs) for part in parts]
    if isinstance(node, ast.BoolOp):
        parts = [_reading(each, names) for each in node.values]
        every = all if isinstance(node.op, ast.And) else any
        return lambda inputs: every(part(inputs) for part in parts)
    if isinstance(node, ast.UnaryOp):
        return _unary(node, names)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right, join = _reading(node.left, names), _reading(node.right, names), _ARITHMETIC[type(node.op)]
        return lambda inputs: join(left(inputs), right(inputs))
    if isinstance(node, ast.Compare):
        return _comparison(node, names)
    raise ValueError(f"{ast.unparse(node)!r} is not understood: compare fields with and, or, not, in, + - * /")


def _constant(node: ast.Constant) -> Reading:
    """A number, true, false or a text; a text that is a size is that size."""
    value = node.value
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is neither number nor text")
    if isinstance(value, str) and value[:1].isdigit() and value[-1:] in "Bb":
        try:
            value = parse_size(value)
        except BadInput as error:
            raise ValueError(error.why) from error
    return lambda inputs: value


def _field(node: ast.expr, names: Collection[str]) -> Reading:
    name = _NAMED.sub(r".\1.", ast.unparse(node))
    if name in ("true", "false"):
        return lambda inputs: name
    if name not in names:
        raise ValueError(f"{name} is no field of this sweep: {', '.join(sorted(names))}")
    return lambda inputs: inputs[name]


def _unary(node: ast.UnaryOp, names: Collection[str]) -> Reading:
    part = _reading(node.operand, names)
    if isinstance(node.op, ast.Not):
        return lambda inputs: not part(inputs)
    if isinstance(node.op, ast.USub):
        return lambda inputs: -part(inputs)
    raise ValueError(f"{ast.unparse(node)!r} is not understood")


def _comparison(node: ast.Compare, names: Collection[str]) -> Reading:
    parts = [_reading(each, names) for each in (node.left, *node.comparators)]
    unknown = next((each for each in node.ops if type(each) not in _COMPARE), None)
    if unknown is not None:
        raise ValueError(f"{ast.unparse(node)!r} is not understood")
    tests = [_COMPARE[type(each)] for each in node.ops]

    def compare(inputs: Inputs) -> bool:
        return all(test(a, b) for test, a, b in _pairs(tests, [part(inputs) for part in parts]))

    return compare


def _pairs(tests: list[Callable[[Any, Any], Any]], values: list[Any]) -> Iterator[tuple[Any, Any, Any]]:
    return zip(tests, values, values[1:], strict=False)
