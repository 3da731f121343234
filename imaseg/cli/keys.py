"""`imaseg config`: every key of the files that people write, with type, default and meaning, from the models."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from imaseg.cli.wrapped import say
from imaseg.errors import InputError, did_you_mean

Key = dict[str, str]
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", re.MULTILINE)
_SENSELESS = 1e6
"""Limits from here on keep machines safe and tell people nothing."""
_SIGNS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}


def config_keys(file: str) -> dict[str, list[Key]]:
    """Keys of a file by the part that they stand in, "" at the top.

    Args:
        file: train, plan, card or recipe.

    Returns:
        For each part: `key`, `type`, `default` and `meaning` of every key.

    Raises:
        InputError: if there is no such file.
    """
    if file not in FILES:
        msg = f"config must be one of {', '.join(FILES)}, got {file!r}.{did_you_mean(file, FILES)}"
        raise InputError(msg)
    return {part: list(_keys(model)) for part, model in FILES[file]()}


def show_keys(file: str, *, as_json: bool) -> None:
    """Print `config_keys`."""
    if as_json:
        typer.echo(json.dumps(config_keys(file), indent=1, ensure_ascii=False))
    else:
        _print(config_keys(file))


def markdown() -> str:
    """All files and their keys as a page of the documentation, without those of installed plug-ins."""
    lines = ["# Keys of configurations, plans, cards and recipes", "", _HEAD]
    for file in FILES:
        lines += ["", f"## {_TITLES[file]}"]
        for part, model in FILES[file]():
            if not model.__module__.startswith("imaseg."):
                continue
            keys = list(_keys(model))
            lines += ["", *([f"### {file}: {part.rstrip(':')}", ""] if part else [])]
            lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
            for key in keys:
                cells = (f"`{key['key']}`", key["type"], f"`{key['default']}`" if key["default"] else "required")
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, key["meaning"])) + " |")
    return "\n".join(lines) + "\n"


def _print(parts: dict[str, list[Key]]) -> None:
    for part, keys in parts.items():
        if part:
            typer.echo(f"\n{part}\n")
        for key in keys:
            default = f" = {key['default']}" if key["default"] else ", required"
            say(f"{key['key']}: {key['type']}{default}", indent=8)
            if key["meaning"]:
                say(f"    {key['meaning']}", indent=4)


def _train() -> Iterator[tuple[str, type[BaseModel]]]:
    from imaseg.runs import TrainConfig

    yield "", TrainConfig


def _plan() -> Iterator[tuple[str, type[BaseModel]]]:
    from imaseg.auditing.metrics.instances import Instances
    from imaseg.auditing.plan import Plan, Showcase, ValidityPlan
    from imaseg.auditing.probes import Probe

    yield "", Plan
    yield "validity:", ValidityPlan
    yield "showcase:", Showcase
    yield "instances:", Instances
    for kind, member in Probe.known().items():
        yield f"a probe of `kind: {kind}`:", member


def _card() -> Iterator[tuple[str, type[BaseModel]]]:
    from imaseg.models.card import Card

    yield "", Card


def _recipe() -> Iterator[tuple[str, type[BaseModel]]]:
    from imaseg.data.preparation.recipe import Recipe, Window

    yield "", Recipe
    yield "window:", Window


FILES: dict[str, Callable[[], Iterator[tuple[str, type[BaseModel]]]]] = {
    "train": _train,
    "plan": _plan,
    "card": _card,
    "recipe": _recipe,
}


_TITLES = {"train": "Training configuration", "plan": "Audit plan", "card": "Model card", "recipe": "Recipe"}
_HEAD = (
    "Generated from the code; `imaseg config train`, `plan`, `card` and `recipe` print the same. Unknown keys are\n"
    "refused. How they are used: [training](training.md), [auditing](auditing.md), [models](models.md),\n"
    "[preparing](preparing.md)."
)


def _keys(model: type[BaseModel]) -> Iterator[Key]:
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        if name == "kind":  # what the part is called by
            continue
        yield {
            "key": field.alias or name,
            "type": _type(field.annotation, field.metadata),
            "default": "" if field.is_required() else _default(field),
            "meaning": meanings.get(name, ""),
        }


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each attribute; the class itself has the last word."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = inspect.cleandoc(kind.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
        for names, words in _ENTRY.findall(text):
            meaning = re.sub(r"\bNone\b", "null", " ".join(words.split()).removeprefix("(key `class`) "))
            found |= dict.fromkeys(names.split(", "), meaning[:1].upper() + meaning[1:])
    return found


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    value = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False, default=str)


def _type(kind: Any, metadata: Sequence[Any] = ()) -> str:
    """A type as one would say it in YAML.

    >>> _type(list[int]), _type(dict[str, float] | None), _type(typing.Literal["a", "b"])
    ('list of int', 'mapping of text to float, or null', 'a | b')
    """
    signed = _tightest(
        [(getattr(one, _SIGNS[type(one)][0]), _SIGNS[type(one)][1]) for one in metadata if type(one) in _SIGNS]
    )
    limits = [f"{sign} {value:g}" for value, sign in signed if abs(value) < _SENSELESS]
    text = _bare(kind)
    return f"{text} ({', '.join(limits)})" if limits else text


def _tightest(signed: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Of several lower limits, and of several upper ones, the one that says most.

    >>> _tightest([(0, ">"), (0, ">="), (1, "<"), (2, "<=")])
    [(0, '>'), (1, '<')]
    """
    above = sorted((one for one in signed if one[1][0] == ">"), key=lambda one: (one[0], one[1] == ">"))
    below = sorted((one for one in signed if one[1][0] == "<"), key=lambda one: (one[0], one[1] == "<="))
    return [*above[-1:], *below[:1]]


def _bare(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type(arguments[0], _flat(arguments[1:]))
    if origin is typing.Literal:
        return " | ".join(str(one) for one in arguments)
    if origin in (typing.Union, types.UnionType):
        known = [_bare(one) for one in arguments if one is not type(None)]
        return ", or ".join([*dict.fromkeys(known), *(["null"] if type(None) in arguments else [])])
    if origin in (list, tuple):
        return f"list of {_bare(arguments[0])}"
    if origin is dict:
        return f"mapping of {_bare(arguments[0])} to {_bare(arguments[1])}"
    names = {Any: "anything", str: "text", bool: "true | false"}
    of_keys = isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))
    return names.get(kind) or ("mapping" if of_keys else kind.__name__)


def _flat(metadata: Sequence[Any]) -> list[Any]:
    """Limits, those inside pydantic's `Field` too."""
    return [inner for one in metadata for inner in (one.metadata if isinstance(one, FieldInfo) else [one])]
