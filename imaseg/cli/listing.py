"""`imaseg list`: prints the contents of the registries, so that no list has to be kept by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imaseg.cli.describing import Entry, described, knowledge, objective_of, units_of
from imaseg.errors import InputError
from imaseg.registry import Registered

_WIDTH = 120
_HEADINGS = ("name", "kind", "unit", "images")


def show(kind: str, *, as_json: bool) -> None:
    """Print the entries of a kind, sorted by name.

    Raises:
        InputError: if there is no such kind.
    """
    if kind not in KINDS:
        msg = f"kind must be one of {', '.join(KINDS)}, got {kind!r}."
        raise InputError(msg)
    entries = sorted(KINDS[kind](), key=lambda entry: entry["name"])
    if as_json:
        typer.echo(json.dumps(entries, indent=1, ensure_ascii=False, default=repr))
    else:
        _print(entries)


def attacks() -> list[Entry]:
    """Attacks and presets; `differs` says where a preset differs from its paper (None for attacks)."""
    from imaseg.attacks import Attack
    from imaseg.attacks.presets import PRESETS

    searches = []
    for name, member in Attack.known().items():
        entry = {"name": name, "kind": "search", **described(member, leave_out="perturbation"), "differs": None}
        entry["settings"]["objective"] = objective_of(member)
        searches.append(entry)
    presets = [
        {
            "name": name,
            "kind": "preset",
            "summary": f"{preset.attack} with these settings, on {preset.perturbation or 'any set'}.",
            "settings": {"attack": preset.attack, **preset.settings},
            **knowledge(preset),
            "source": Attack.about(name).reference,
            "differs": preset.differs,
        }
        for name, preset in PRESETS.items()
    ]
    return searches + presets


def objectives() -> list[Entry]:
    """Losses that an attack can maximise."""
    from imaseg.objectives import Objective

    return _family(Objective)


def criteria() -> list[Entry]:
    """Conditions under which a prediction counts as broken."""
    from imaseg.margins import Criterion

    return _family(Criterion)


def perturbations() -> list[Entry]:
    """Perturbation sets and the units of their budgets."""
    from imaseg.perturbations import Perturbation

    return [entry | {"unit": units_of(Perturbation.named(entry["name"]))} for entry in _family(Perturbation)]


def corruptions() -> list[Entry]:
    """Faults of scanners and acquisitions."""
    from imaseg.corruptions import Corruption

    return [
        entry
        | {
            "kind": "physical" if member.physical else "by change",
            "images": "all" if member.ct and member.other else "CT" if member.ct else "all but CT",
            "library": member.library or None,
        }
        for entry, member in zip(_family(Corruption), Corruption.known().values(), strict=True)
    ]


def probes() -> list[Entry]:
    """Kinds of questions that an audit plan can ask of each case."""
    from imaseg.auditing.probes import Probe

    return [
        {"name": kind, **described(member), "required": [], "settings": _fields(member)}
        for kind, member in Probe.known().items()
    ]


def _fields(model: Any) -> dict[str, Any]:
    """Default values of the fields of a pydantic model."""
    return {
        name: "required" if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if name not in ("kind", "name")
    }


def methods() -> list[Entry]:
    """Training methods of `imaseg train`."""
    from imaseg.training import TrainingMethod

    return [{"name": name, **described(member, leave_out="loss")} for name, member in TrainingMethod.known().items()]


def recipes() -> list[Entry]:
    """Preparation recipes of `imaseg prepare`."""
    from imaseg.data.preparation.recipe import load_recipe
    from imaseg.data.resources import resource, resource_names

    return [
        {
            "name": name,
            "summary": resource(f"data_prep/{name}.yaml").read_text().partition("\n")[0].lstrip("# "),
            "settings": load_recipe(name).model_dump(mode="json"),
        }
        for name in resource_names("data_prep")
    ]


KINDS: dict[str, Callable[[], list[Entry]]] = {
    kind.__name__: kind
    for kind in (attacks, objectives, perturbations, corruptions, probes, criteria, methods, recipes)
}


def _family(base: type[Registered]) -> list[Entry]:
    return [{"name": name, **described(member)} for name, member in base.known().items()]


def _print(entries: list[Entry]) -> None:
    width = min(_WIDTH, Console().width) if sys.stdout.isatty() else _WIDTH
    console = Console(width=width, highlight=False)
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    headings = [key for key in _HEADINGS if key in entries[0]]
    for key in headings:
        table.add_column(key, no_wrap=True)
    table.add_column("what it is, settings, source")
    for entry in entries:
        table.add_row(*(Text(_words(entry[key])) for key in headings), Text("\n".join(_lines(entry))))
    console.print(table)


def _lines(entry: Entry) -> Iterator[str]:
    yield entry["summary"]
    settings = [*entry.get("required", []), *(f"{key}={_yaml(value)}" for key, value in entry["settings"].items())]
    if settings:
        yield ", ".join(settings)
    if entry.get("source"):
        yield entry["source"]
    if entry.get("differs"):
        yield f"Not as published: {entry['differs']}"


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _yaml(value: Any) -> str:
    """A value as a plan or a configuration holds it.

    >>> _yaml((0.6, 0.75)), _yaml(None), _yaml({"name": "dice-below", "relative": False})
    ('[0.6, 0.75]', 'null', '{name: dice-below, relative: false}')
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_yaml(part)}' for key, part in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not _plain(value)):
        return json.dumps(value)
    return str(value)


def _plain(text: str) -> bool:
    """Whether YAML reads a text as itself without quotes, inside of brackets too."""
    try:
        return bool(yaml.safe_load(f"[{text}]") == [text])
    except yaml.YAMLError:
        return False
