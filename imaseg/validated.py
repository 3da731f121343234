"""Content of a file as a pydantic model, or one sentence that says what is wrong with it."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imaseg.errors import InputError, did_you_mean

_Model = TypeVar("_Model", bound=BaseModel)
_CLASSES = re.compile(r" or (?:instance of \w+|object to extract fields from)$")
"""What pydantic says of a mapping, and no file can hold."""
_TYPE = re.compile(r"bool|int|float|str|(literal|list|dict|tuple|constrained-\w+)\[.*\]")
_MANY = 1000
"""Entries that are counted and not shown."""
Written = Mapping[tuple[Any, ...], str]


def validated(
    kind: type[_Model],
    content: Any,
    *,
    source: str,
    constraint: Callable[[str], str | None] | None = None,
    written: Written | None = None,
) -> _Model:
    """Check content.

    Args:
        kind: what it must be.
        content: plain data, as a file holds it.
        source: where it comes from, for the message.
        constraint: what the value of a key at the top must be, in words; None where pydantic's reason says it.
        written: where the user wrote what `content` holds elsewhere, by the first steps to it.

    Raises:
        InputError: if a key is unknown or a value is refused.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        # A union reports every member that did not fit; what does not belong at all comes first.
        mistakes = error.errors(include_url=False)
        mistake = next((one for one in mistakes if one["type"] == "extra_forbidden"), mistakes[0])
        key = str(mistake["loc"][0]) if mistake["loc"] else ""
        if mistake["type"] == "extra_forbidden":
            keys = _keys(kind, mistake["loc"][:-1], content)
            msg = f"{source}: key must be one of {', '.join(keys)}, got {_place(mistake['loc'], written)!r}."
            msg += did_you_mean(mistake["loc"][-1], keys)
        elif constraint is not None and (words := constraint(key)):
            got = content.get(key) if isinstance(content, dict) else content
            msg = f"{source}: {key} must be {words}, got {got!r}."
        else:
            text = first_mistake(error, written)
            msg = f"{source}: {text}{'' if text.endswith('?') else '.'}"
        raise InputError(msg) from error


def first_mistake(error: ValidationError, written: Written | None = None) -> str:
    """The first thing that pydantic found: where, what it got, and why that is refused."""
    mistakes = _telling(error.errors(include_url=False))
    mistake = mistakes[0]
    reasons = dict.fromkeys(_CLASSES.sub("", one["msg"].removeprefix("Value error, ").rstrip(".")) for one in mistakes)
    reason = ", or ".join([next(iter(reasons)), *(one[:1].lower() + one[1:] for one in list(reasons)[1:])])
    place = _place(mistake["loc"], written) or "the content"
    if mistake["type"] == "missing":
        return f"{place} must be given, got nothing"
    if mistake["type"] == "value_error" and not mistake["loc"]:
        return reason
    value = mistake["input"]
    got = f"{len(value)} entries" if isinstance(value, dict | list) and len(value) > _MANY else f"{value!r:.80}"
    return f"{place} must be valid, got {got}: {reason[:1].lower()}{reason[1:]}"


def _telling(mistakes: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The first mistake; of a key that may be of several types that of the one it comes nearest to, or those of all."""
    steps = mistakes[0]["loc"]
    depth = next((place for place, step in enumerate(steps) if _is_type(step)), None)
    if depth is None:
        return [mistakes[0]]
    rivals = [one for one in mistakes if one["loc"][:depth] == steps[:depth]]
    deepest = max(len(one["loc"]) for one in rivals)
    nearest = [one for one in rivals if len(one["loc"]) == deepest]
    return nearest if deepest == depth + 1 else nearest[:1]


def _is_type(step: Any) -> bool:
    """Whether a step is a type of a union, which no file holds."""
    return isinstance(step, str) and _TYPE.fullmatch(step) is not None


def _place(steps: tuple[Any, ...], written: Written | None) -> str:
    steps = tuple(step for step in steps if not _is_type(step))
    start = next((start for start in written or {} if steps[: len(start)] == start), ())
    there = [(written or {})[start]] if start else []
    return ".".join([*there, *map(str, steps[len(start) :])])


def _keys(kind: type[BaseModel], steps: Iterable[Any], content: Any) -> list[str]:
    """Keys that are known where the steps lead; those at the top where that is not told.

    A class whose members go by a `kind` in the content says by `member` which one it is.
    """
    for step in steps:
        content = _inside(content, step)
        field = kind.model_fields.get(str(step))
        inner = next(_models(field.annotation), None) if field is not None else None
        kind = inner or kind
        if isinstance(content, Mapping) and hasattr(kind, "member"):
            kind = kind.member(content)
    return [field.alias or name for name, field in kind.model_fields.items()]


def _inside(content: Any, step: Any) -> Any:
    try:
        return content[step]
    except (KeyError, IndexError, TypeError):
        return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)
