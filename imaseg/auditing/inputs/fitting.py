"""A model and data that were not made for each other: label names, classes that the data lack, the axis of slices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from imaseg.auditing.inputs.source import CaseSource, as_read, recipe_of
from imaseg.data import CaseSet
from imaseg.errors import InputError
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.only import OnlyClasses


@dataclass(frozen=True)
class Fitted:
    """A model as it runs on these data.

    Attributes:
        model: with the card that `CaseSource` reads the data by.
        notes: sentences on what was matched, for the user.
    """

    model: SegmentationModel
    notes: tuple[str, ...] = ()


def fit(model: SegmentationModel, cases: CaseSet) -> Fitted:
    """Match the labels of the data with the classes of the model, and find the axis of a 2D network's slices.

    Labels are matched by the card's `label_map`, else by name where the data's names are among the model's, else by
    number. Classes that the data name no label for are counted as background.

    Raises:
        InputError: if the labels cannot be matched.
    """
    card, foreign = model.card, isinstance(model, AdaptedModel)
    if card.other_labels and not card.label_map:  # regions: label values are not classes, and the model maps them
        return Fitted(model)
    read = as_read(cases, recipe_of(cases, card, model.prepare))
    mapping, notes = match(read.labels, card.labels, given=card.label_map, where=str(cases.root))
    absent = [k for k in card.labels if k > 0 and k not in mapping.values()]
    if 0 < len(absent) < len(card.labels) - 1 and model.prepare is None and _named(read.labels):
        model, mapping = _without(model, absent, mapping)
        names = ", ".join(card.labels[k] for k in absent)
        notes.append(f"These data do not label {names}: what the model says there counts as background.")
    if any(value != k for value, k in mapping.items()) or card.label_map:
        model = _relabelled(model, mapping)
    if foreign and card.recipe is None and cases.prepared is not None:
        notes.append(
            f"{card.name} does not say how its images were prepared: they are taken as {cases.root} holds them."
        )
    model, more = _sliced(model, cases)
    return Fitted(model, (*notes, *more))


def match(
    data: Mapping[int, str], model: Mapping[int, str], *, given: Mapping[int, int], where: str
) -> tuple[dict[int, int], list[str]]:
    """Class of the model by label value of the data, background left out, and what to say of it.

    Args:
        data: label names by value.
        model: class names by number.
        given: what the card says, which comes first.
        where: the data, for messages.

    Raises:
        InputError: if a value has no class.
    """
    values = [value for value in data if value > 0]
    if given:
        mapping = {value: given.get(value, value) for value in values}
        told = [f"Labels are matched as the card says: {_list(mapping, data, model)}."]
        return _checked(mapping, data, model, where), told
    by_name = {_plain(name): k for k, name in model.items() if k > 0}
    found = {value: by_name[_plain(data[value])] for value in values if _plain(data[value]) in by_name}
    if found and len(found) == len(values) and len({*found.values()}) == len(values):
        moved = {value: k for value, k in found.items() if value != k}
        return found, [f"Labels are matched by name: {_list(moved, data, model)}."] if moved else []
    if any(value != k for value, k in found.items()) and _named(data):
        first = next(value for value in values if value not in found or [*found.values()].count(found[value]) > 1)
        _refuse(first, data, model, where)
    mapping = _checked({value: value for value in values}, data, model, where)
    differ = {
        v: k for v, k in mapping.items() if _named(data) and _named(model) and _plain(data[v]) != _plain(model[k])
    }
    return mapping, [
        f"Labels are matched by number, since names differ: {_list(differ, data, model)}."
    ] if differ else []


def _checked(mapping: dict[int, int], data: Mapping[int, str], model: Mapping[int, str], where: str) -> dict[int, int]:
    for value, k in mapping.items():
        if k not in model:
            _refuse(value, data, model, where)
    return mapping


def _refuse(value: int, data: Mapping[int, str], model: Mapping[int, str], where: str) -> None:
    known = ", ".join(f"{k} {name}" for k, name in model.items())
    msg = (
        f"labels of {where} must be among the model's ({known}), got {value} {data[value]} as well. Call it by the "
        f"model's name in dataset.json, or write `label_map: {{{value}: CLASS}}` into the model's card (0 for "
        "background)."
    )
    raise InputError(msg)


def _without(
    model: SegmentationModel, absent: list[int], mapping: dict[int, int]
) -> tuple[SegmentationModel, dict[int, int]]:
    kept = [k for k in sorted(model.card.labels) if k not in absent]
    labels = {place: model.card.labels[k] for place, k in enumerate(kept)}
    card = model.card.model_copy(update={"labels": labels})
    return OnlyClasses(model, kept, card), {value: kept.index(k) for value, k in mapping.items()}


def _relabelled(model: SegmentationModel, mapping: Mapping[int, int]) -> SegmentationModel:
    other = copy(model)
    other.card = model.card.model_copy(update={"label_map": dict(mapping)})
    return other


def _sliced(model: SegmentationModel, cases: CaseSet) -> tuple[SegmentationModel, list[str]]:
    """The slices of a 2D network lie across the axis with the largest voxels, unless its card says otherwise."""
    whole = model.whole if isinstance(model, OnlyClasses) else model
    if not isinstance(whole, AdaptedModel) or not whole.open_axes:
        return model, []
    loaded = next(CaseSource(cases, model.card, model.prepare).readable(), None)
    if loaded is None or 1 in loaded.volume.shape:
        return model, []
    spacing = loaded.volume.spacing
    axis = max(range(3), key=lambda one: (round(spacing[one] / max(spacing), 2), one))
    turned = whole.along("xyz"[axis])
    note = f"{model.card.name} is a 2D network: it walks along {'xyz'[axis]} ({spacing[axis]:g} mm)."
    if isinstance(model, OnlyClasses):
        return OnlyClasses(turned, model.kept, model.card), [note]
    return turned, [note]


def _named(labels: Mapping[int, str]) -> bool:
    """Whether somebody has given the labels names, or they are called by their numbers."""
    return any(name != str(value) and not name.isdecimal() for value, name in labels.items() if value > 0)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _list(mapping: Mapping[int, int], data: Mapping[int, str], model: Mapping[int, str]) -> str:
    return ", ".join(f"{value} {data[value]} is {k} {model.get(k, '?')}" for value, k in mapping.items())
