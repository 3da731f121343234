"""The few Python expressions (`$...`) of a bundle that are followed as data: nothing in them is run as code.

Literals, references, `+ - * / // %`, comparisons, `and or not`, `a if b else c`, indices, slices, `len`, `int`,
`float`, `str`, `list`, `tuple`, `bool`, `copy.deepcopy`, names of number types (`torch.float32`) and MONAI's
`CommonKeys`. All else is code.
"""

from __future__ import annotations

import ast
import copy
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from imaseg.errors import InputError

_REFERENCE = re.compile(r"@\w*(?:(?:#|::)+\w+)*")
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_,
    ast.IsNot: operator.is_not, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_UNARY: Mapping[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
_CALLS: Mapping[str, Callable[[Any], Any]] = {
    "len": len, "int": int, "float": float, "str": str, "list": list, "tuple": tuple, "bool": bool,
    "copy.copy": copy.deepcopy, "copy.deepcopy": copy.deepcopy, "deepcopy": copy.deepcopy,
}  # fmt: skip
_TYPES = re.compile(r"(?:torch|np|numpy)\.((?:u?int|float)(?:8|16|32|64)|float|long|half|double)")
_KEYS = re.compile(r"(?:monai\.utils\.)?(?:enums\.)?CommonKeys\.(IMAGE|LABEL|PRED)")
_LONGEST = 1000
_LONGEST_TEXT = 10_000
_LARGEST = 2**63


class NotDataError(Exception):
    """Raised for an expression that only Python can follow."""


def followed(text: str, reference: Callable[[str], Any]) -> Any:
    """The value of an expression.

    Args:
        text: without the `$`.
        reference: the value of `@name` by the name.

    Raises:
        NotDataError: if it is more than data.

    >>> followed("@a + [3] if len(@a) > 1 else []", {"a": [1, 2]}.get)
    [1, 2, 3]
    """
    names: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        names.append(match[0][1:])
        return f"_reference_{len(names) - 1}_"

    try:
        if len(text) > _LONGEST_TEXT:
            raise NotDataError(text)
        tree = ast.parse(_REFERENCE.sub(placeholder, text).strip(), mode="eval")
        return _value(tree.body, {f"_reference_{i}_": name for i, name in enumerate(names)}, reference)
    except InputError:  # a reference that leads nowhere
        raise
    except (SyntaxError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
        raise NotDataError(text) from error


def _value(node: ast.expr, names: Mapping[str, str], reference: Callable[[str], Any]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, names, reference)

    match node:
        case ast.Constant(value=value):
            return _bounded(value)
        case ast.Name(id=name) if name in names:
            return reference(names[name])
        case ast.List(elts=parts):
            return [one for part in parts for one in (of(part.value) if isinstance(part, ast.Starred) else [of(part)])]
        case ast.Tuple(elts=parts):
            return tuple(of(part) for part in parts)
        case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=step)):
            return of(value)[slice(*(None if end is None else of(end) for end in (lower, upper, step)))]
        case ast.Subscript(value=value, slice=index):
            return of(value)[of(index)]
        case ast.Attribute():
            return _constant(ast.unparse(node))
        case _:
            return _computed(node, of)


def _computed(node: ast.expr, of: Callable[[ast.expr], Any]) -> Any:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _combined(_BINARY[type(op)], of(left), of(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _BINARY[type(op)](of(left), of(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](of(operand))
        case ast.BoolOp(op=op, values=[one, *more]):
            value = of(one)
            for part in more:
                value = of(part) if bool(value) is isinstance(op, ast.And) else value
            return value
        case ast.IfExp(test=test, body=body, orelse=other):
            return of(body) if of(test) else of(other)
        case ast.Call(func=function, args=[argument], keywords=[]) if ast.unparse(function) in _CALLS:
            return _CALLS[ast.unparse(function)](of(argument))
    raise NotDataError(ast.unparse(node))


def _combined(operation: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """Two values combined; a product of a list, or a very long sum, could fill the memory."""
    numbers = all(isinstance(value, int | float) for value in (one, other))
    if not numbers and (operation is not operator.add or len(one) + len(other) > _LONGEST):
        raise NotDataError(str(operation))
    return _bounded(operation(one, other))


def _bounded(value: Any) -> Any:
    """The value; a whole number is squared to any length in a few steps, and Python refuses to print it then."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise NotDataError
    return value


def _constant(text: str) -> str:
    if key := _KEYS.fullmatch(text):
        return key[1].lower()
    if name := _TYPES.fullmatch(text):
        return {"float": "float32", "long": "int64", "half": "float16", "double": "float64"}.get(name[1], name[1])
    raise NotDataError(text)
