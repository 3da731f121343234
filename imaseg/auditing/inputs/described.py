"""States how cases reach a model and how its output is read, in sentences that can be signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.data import CaseSet
from imaseg.data.preparation.intensity import shift_and_scale
from imaseg.data.volume import Step
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.only import OnlyClasses
from imaseg.results.preparation import LabelMatch, Preparation
from imaseg.tiling import TiledModel

_ENDING = {
    "framework": "the network ends without an activation, as its software builds it",
    "card": "as the card says",
    "bundle": "as the bundle's postprocessing says",
    "probe": "found by a probe with noise",
    "case": "found on a real case",
}
_BACK = {"logits": "logits", "softmax": "probabilities", "sigmoid": "probabilities"}
_METHODS = {
    "zscore": "z-score",
    "masked-zscore": "z-score, zeros stay",
    "whole-zscore": "z-score",
    "ct": "CT window, z-score",
    "line": "linear",
}
_ORDERS = {0: "nearest voxel", 1: "linear", 3: "cubic spline"}


def describe_preparation(
    model: SegmentationModel, source: CaseSource, cases: CaseSet, example: Loaded | None
) -> Preparation:
    """Say what is done to cases before the model sees them, and to its output before Dice is counted.

    Args:
        model: as it is audited.
        source: reads the cases for it.
        cases: that were chosen.
        example: one of them, whose figures are stated; None if none can be read.
    """
    whole = model.whole if isinstance(model, OnlyClasses) else model
    activation, how = _activation(whole)
    return Preparation(
        by=_by(model, cases),
        steps=[sentence for step in source.steps(example) for sentence in _said(step)] if example else [],
        example=example.volume.id if example else "",
        tiles=_tiles(whole),
        padding=_padding(whole),
        activation=activation,
        activation_by=how,
        labels=match_labels(model, whole, source.labels),
        classes_left_out=[
            name
            for k, name in whole.card.labels.items()
            if isinstance(model, OnlyClasses) and k > 0 and k not in model.kept
        ],
        postprocessing_left_out=list(whole.left_out),
        unit=_unit(source.modality),
        grid=_grid(whole, source, example),
    )


def match_labels(model: SegmentationModel, whole: SegmentationModel, labels: Mapping[int, str]) -> list[LabelMatch]:
    """Which label value of the data was taken for which structure.

    Args:
        model: as it is audited, whose card maps the values.
        whole: the same with all its classes.
        labels: names of the data by value.
    """
    mapping, names = model.card.label_map, model.card.labels
    matches = []
    for value, name in sorted(labels.items()):
        structure = mapping.get(value, value)
        if value == 0 or structure not in names:
            continue
        told = "" if name == str(value) else name
        by_itself = "name" if _plain(told) == _plain(names[structure]) else "number"
        how = "card" if value in whole.card.label_map else by_itself
        matches.append(
            LabelMatch(value=value, name=told, structure=structure, structure_name=names[structure], matched=how)
        )
    return matches


def _plain(name: str) -> str:
    return "".join(letter for letter in name if letter.isalnum()).casefold()


def _by(model: SegmentationModel, cases: CaseSet) -> str:
    if model.prepare is not None:
        return "the preprocessor of the model's own software, run on each raw case"
    if cases.prepared is not None and model.card.recipe is None:
        return "`imaseg prepare`, which wrote these cases; the model does not say how its own were prepared"
    if cases.prepared is not None:
        return "`imaseg prepare`, which wrote these cases by the recipe that the model states"
    return "the recipe that the model states, applied to each raw case"


def _said(step: Step) -> list[str]:
    """A recorded step as a sentence; none where it did nothing."""
    name = step["name"]
    if name == "normalise":
        return [_normalised(step)]
    if name == "orient":
        turned = step["from"] != step["to"]
        return [f"axes turned from {''.join(step['from'])} to {''.join(step['to'])}"] if turned else []
    if name == "resample":
        return _resampled(step)
    if name == "crop":
        whole = step["shape"] == step["shape_from"]
        return [] if whole else [f"cropped from {_by_sides(step['shape_from'])} to {_by_sides(step['shape'])} voxels"]
    if name == "n4":
        return [f"channel {step['channel']}: bias field taken out (N4)"]
    settings = ", ".join(f"{key} {value}" for key, value in step.items() if key != "name")
    return [f"{name}: {settings}"]


def _resampled(step: Step) -> list[str]:
    if step["spacing_from"] == step["spacing_to"]:
        return []
    orders = step.get("orders", (1, 1, 1))
    order = ", ".join(dict.fromkeys(_ORDERS.get(order, f"order {order}") for order in orders))
    return [f"resampled from {_by_sides(step['spacing_from'])} to {_by_sides(step['spacing_to'])} mm ({order})"]


def _normalised(step: Step) -> str:
    who = f"channel {step['channel']}: {_METHODS.get(step['method'], step['method'])}"
    if step["method"] == "none":
        return f"channel {step['channel']}: intensities as they are"
    shift, scale = shift_and_scale(step)
    clipped = f"clipped to {step['low']:g} to {step['high']:g}, " if "low" in step else ""
    within = f" (figures of the {step['within']} voxels)" if "within" in step else ""
    return f"{who}: {clipped}less {shift:g}, divided by {scale:g}{within}"


def _tiles(model: SegmentationModel) -> str:
    tiled = getattr(model, "_tiled", None) if isinstance(model, AdaptedModel) else model.network
    if not isinstance(tiled, TiledModel):
        return "none: whole images"
    mirrored = "; mean over mirrored images" if getattr(tiled, "mirror_axes", ()) else ""
    size = tiled.roi_size if isinstance(tiled.roi_size, int) else _by_sides(tiled.roi_size)
    return f"{'whole slices' if size == -1 else f'{size} voxels'}, overlap {tiled.overlap:g}, {tiled.mode}{mirrored}"


def _padding(model: SegmentationModel) -> str:
    divisor = model.found.probe.divisor if isinstance(model, AdaptedModel) else model.card.divisor
    value = model.card.pad_value
    told = "the lowest value of each channel" if value is None else f"{value:g}"
    return f"{told}, up to a tile" + (f" and to multiples of {divisor}" if divisor > 1 else "")


def _activation(model: SegmentationModel) -> tuple[str, str]:
    found = model.ending.activation
    what = "logits" if found in ("none", "unknown") else f"{found}, undone so that attacks see logits"
    return what, _ENDING[model.ending.by]


def _unit(modality: Sequence[str]) -> str:
    return "HU" if {name.strip().upper() for name in modality} == {"CT"} else "file's units"


def _grid(model: SegmentationModel, source: CaseSource, example: Loaded | None) -> str:
    if example is None:
        return ""
    size = f"{_by_sides(example.volume.shape)} voxels of {_by_sides(example.volume.spacing)} mm"
    if source.prepares:
        back = "nearest decisions" if model.back == "nearest" else f"interpolated {_BACK[model.back]}"
        return f"the model's ({size} in {example.volume.id}); clean Dice also on the grid of the files, by {back}"
    return f"that of the prepared files ({size} in {example.volume.id})"


def _by_sides(sides: Sequence[Any]) -> str:
    return " x ".join(f"{side:.4g}" if isinstance(side, float) else str(side) for side in sides)
