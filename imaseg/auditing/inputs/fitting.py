"""A model and data that were not made for each other: label names, classes that the data lack, the axis of slices."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from imaseg.auditing.inputs.source import CaseSource, as_read, recipe_of
from imaseg.data import CaseSet
from imaseg.errors import InputError
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.layout import Layout
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

    Labels are matched by the card's `label_map`, else by name, else by number where names are missing. Classes that the
    data have no label for are counted as background.

    Raises:
        InputError: if the labels cannot be matched.
    """
    card, foreign = model.card, isinstance(model, AdaptedModel)
    read, where = as_read(cases, recipe_of(cases, card, model.prepare)), str(cases.root)
    own = {} if card.label_map else {value: value for value in card.other_labels}  # the model makes classes of these
    data = {value: name for value, name in read.labels.items() if value not in own}
    layout = model.found.layout if isinstance(model, AdaptedModel) else None
    mapping, notes = (
        match_parts(data, layout, given=card.label_map, where=where, card=_card_of(model))
        if layout is not None and layout.values
        else match(data, card.labels, given=card.label_map, where=where, card=_card_of(model))
    )
    absent = [k for k in card.labels if k > 0 and k not in mapping.values()]
    if card.regions:
        model, more = _scored(model, {*mapping.values()})
        notes += more
    elif absent and len(absent) < len(card.labels) - 1:
        model, mapping = _without(model, absent, mapping)
        names = ", ".join(card.labels[k] for k in absent)
        notes.append(f"These data do not label {names}: what the model says there counts as background.")
    if any(value != k for value, k in mapping.items()) or card.label_map:
        model = _relabelled(model, mapping | own)
    if foreign and card.recipe is None and cases.prepared is not None:
        notes.append(
            f"{card.name} does not say how its images were prepared: they are taken as {cases.root} holds them."
        )
    model, more = _sliced(model, cases)
    return Fitted(model, (*notes, *more))


_CARDS = {
    "bundle": "`imaseg.yaml` in the bundle's folder",
    "smp": "`imaseg.yaml` in the model's folder",
    "torchscript": "the `.yaml` beside the TorchScript file",
    "python": "the factory's card",
}


def _card_of(model: SegmentationModel) -> str:
    """Where the card of a model is written; empty for models without one, as nnU-Net's and runs."""
    return _CARDS.get(model.found.kind, "the model's card") if isinstance(model, AdaptedModel) else ""


def match(
    data: Mapping[int, str],
    model: Mapping[int, str],
    *,
    given: Mapping[int, int],
    where: str,
    card: str = "the model's card",
) -> tuple[dict[int, int], list[str]]:
    """Class of the model by label value of the data, background left out, and what to say of it.

    Names match but for case, blanks, hyphens and underscores. Numbers match only where a side has no name. The same
    goes for values that the card's map leaves out.

    Args:
        data: label names by value.
        model: class names by number.
        given: what the card says, which comes first.
        where: the data, for messages.
        card: where a `label_map` is written; empty if nowhere.

    Raises:
        InputError: if a value has no class, or names disagree; the message holds the map to write.
    """
    values = [value for value in data if value > 0]
    if given:
        said = {value: given[value] for value in values if value in given}
        _known(said, data, model, where)
        rest = {value: data[value] for value in values if value not in given}
        taken = {k for k in said.values() if k > 0}
        told = [f"Labels are matched as the card says: {_list(said, data, model)}."] if said else []
        others, notes = _matched(rest, {k: name for k, name in model.items() if k not in taken}, where, said, card)
        return {value: {**said, **others}[value] for value in values}, told + notes
    return _matched(data, model, where, {}, card)


def _matched(
    data: Mapping[int, str], model: Mapping[int, str], where: str, said: Mapping[int, int], card: str
) -> tuple[dict[int, int], list[str]]:
    """As `match`, of what the card leaves open; `said` is what it says, `card` where it lies."""
    values = [value for value in data if value > 0]
    by_name = {value: _named(data[value], model) for value in values}
    found = {value: k for value, k in by_name.items() if k is not None}
    by_number = {v: v for v in values if v not in found and v in model and not _both_named(v, data, model)}
    mapping = {value: {**found, **by_number}.get(value, -1) for value in values}
    if -1 in mapping.values() or len({*mapping.values()}) < len(values):
        _refuse(found, by_number, data, model, where, said=said, card=card)
    moved = {value: k for value, k in found.items() if value != k}
    notes = [f"Labels are matched by name: {_list(moved, data, model)}."] if moved else []
    if by_number:
        notes.append(
            f"Labels are matched by number, since names are missing: {_list(by_number, data, model)}. `label_map:` in "
            "the card says otherwise."
        )
    return mapping, notes


def _named(name: str, model: Mapping[int, str]) -> int | None:
    """The only class with the name of a label; None if the label has no name, or no class or several have it."""
    same = [k for k, other in model.items() if k > 0 and plain_name(other) == plain_name(name)]
    return same[0] if len(same) == 1 and not name.isdecimal() else None


def _both_named(value: int, data: Mapping[int, str], model: Mapping[int, str]) -> bool:
    """Whether both sides have a name for a number; one that is a number itself is nobody's."""
    return not (data[value].isdecimal() or model[value].isdecimal())


def match_parts(
    data: Mapping[int, str], layout: Layout, *, given: Mapping[int, int], where: str, card: str
) -> tuple[dict[int, int], list[str]]:
    """As `match`, for a model whose channels are regions: data may name the parts that regions are made of, or regions.

    Raises:
        InputError: as `match`.
    """
    regions = {plain_name(name) for name in layout.regions}
    named = {plain_name(name) for value, name in data.items() if value > 0}
    if not given and named and named <= regions:
        return match(data, layout.labels, given=given, where=where, card=card)
    mapping, notes = match(data, layout.values, given=given, where=where, card=card)
    return {value: layout.classes.get(k, 0) for value, k in mapping.items()}, notes


def _scored(model: SegmentationModel, labelled: set[int]) -> tuple[SegmentationModel, list[str]]:
    """The model with those regions that the data label, since the others cannot be scored."""
    groups = model.card.regions
    kept = {name: inside for name, inside in groups.items() if labelled & {*inside}} or groups
    notes = [f"Scored are regions, each as all that is painted inside it: {', '.join(kept)}."]
    if lost := [name for name in groups if name not in kept]:
        notes.append(f"These data do not label {', '.join(lost)}: it is not scored by itself.")
    other = copy(model)
    other.card = model.card.model_copy(update={"regions": kept})
    return other, notes


def _known(mapping: Mapping[int, int], data: Mapping[int, str], model: Mapping[int, str], where: str) -> None:
    """Raise if the card's own map leads to no class."""
    for value, k in mapping.items():
        if k not in model:
            known = ", ".join(f"{number} {name}" for number, name in model.items())
            msg = (
                f"labels of {where} must be among the model's ({known}), got {value} {data[value]} as well. Write "
                f"`{value}: 0` into the card's `label_map:` to leave it out, or its class."
            )
            raise InputError(msg)


def _refuse(
    found: Mapping[int, int],
    by_number: Mapping[int, int],
    data: Mapping[int, str],
    model: Mapping[int, str],
    where: str,
    *,
    said: Mapping[int, int],
    card: str,
) -> None:
    """Say which names disagree, with the map to write: by name, else the class of the same number if it is free."""
    values = [value for value in data if value > 0]
    taken = list(found.values())
    twice = [value for value in found if taken.count(found[value]) > 1]
    lost = [value for value in values if value not in found and (value not in by_number or value in taken)]
    wanted = {v: k for v, k in found.items() if v not in twice}
    for value in values:
        free = value in model and value not in wanted.values()
        wanted.setdefault(value, value if free else 0)
    names = ", ".join(f"{k} {name}" for k, name in model.items() if k > 0)
    problem = ", ".join(f"{value} {data[value]}" for value in lost or twice)
    msg = f"label names of {where} must agree with the model's ({names}), got {problem}. "
    if not card:
        msg += "Call the labels by the model's names in dataset.json."
        raise InputError(msg)
    written = ", ".join(f"{v}: {k}" for v, k in sorted({**said, **wanted}.items()))
    msg += (
        f"If {_list({v: k for v, k in wanted.items() if v in (lost or twice)}, data, model)}, write "
        f"`label_map: {{{written}}}` into {card} (0 leaves "
        "a label out) or change what is not so; or call the labels by the model's names in dataset.json."
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


def plain_name(name: str) -> str:
    """A name without what people write differently: case, forms of accents, blanks, hyphens and underscores."""
    parts = re.sub(r"[\s_]+|(?<=\w)-(?=\w)", "", unicodedata.normalize("NFKC", name))
    return parts.casefold()


def _list(mapping: Mapping[int, int], data: Mapping[int, str], model: Mapping[int, str]) -> str:
    return ", ".join(
        f"{_called(value, data[value])} is {_called(k, model.get(k, '?'))}" for value, k in mapping.items()
    )


def _called(number: int, name: str) -> str:
    return f"{number}" if name == str(number) else f"{number} {name}"
