"""States how cases reach a model and how its output is read, in sentences that can be signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from imaseg.auditing.inputs.fitting import plain_name
from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.data import CaseSet
from imaseg.data.files import is_picture
from imaseg.data.formats.picture import UNREADABLE
from imaseg.data.preparation.intensity import shift_and_scale
from imaseg.data.volume import Step
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.only import OnlyClasses
from imaseg.results.preparation import EIGHT_BITS, LabelMatch, Preparation
from imaseg.tiling import TiledModel

_ENDING = {
    "framework": "the network ends without an activation, as its software builds it",
    "card": "as the card says",
    "bundle": "as the bundle's postprocessing says",
    "probe": "found by running the network on noise",
    "case": "found on a real case",
}
_BLENDING = {"constant": "all alike", "gaussian": "weighted by a Gaussian"}
_BACK = {"logits": "logits", "softmax": "probabilities", "sigmoid": "probabilities"}
_LARGEST = 255
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Of Pillow."""
_METHODS = {
    "ct": "clipping and z-score with figures of the training cohort",
    "zscore": "z-score of each case",
    "whole-zscore": "z-score of each case",
    "masked-zscore": "z-score of each case, zeros kept at 0",
    "percentile": "percentiles of each case",
    "window": "the same window for all cases",
    "range": "range of the grey values",
    "line": "what the transforms come to",
}
_WITHIN = {"image": "all voxels", "nonzero": "the voxels that are not 0", "body": "the voxels of the body"}
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
    steps = [sentence for step in source.steps(example) for sentence in _said(step)] if example else []
    return Preparation(
        by=_by(model, cases),
        steps=[*steps, *(_turned(whole, example) if example else [])],
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
        unit=_unit(source, cases, example),
        grid=_grid(whole, source, example),
        sized=example is None or example.spaced,
    )


def match_labels(model: SegmentationModel, whole: SegmentationModel, labels: Mapping[int, str]) -> list[LabelMatch]:
    """Which label value of the data was taken for which structure.

    Args:
        model: as it is audited, whose card maps the values.
        whole: the same with all its classes.
        labels: names of the data by value.
    """
    mapping, names = model.card.label_map, model.card.labels
    found = whole.found if isinstance(whole, AdaptedModel) else None
    stated = {} if found is None else found.card.label_map or {}
    parts = {} if found is None else found.layout.values
    known = {plain_name(name) for name in (*parts.values(), *model.card.regions)}
    matches = []
    for value, name in sorted(labels.items()):
        structure = mapping.get(value, value)
        if value == 0 or structure not in names:
            continue
        told = "" if name == str(value) else name
        same = bool(told) and plain_name(told) in {plain_name(names[structure]), *known}
        how = "card" if value in stated else "name" if same else "number"
        called = _inside(structure, names[structure], model.card.regions)
        matches.append(LabelMatch(value=value, name=told, structure=structure, structure_name=called, matched=how))
    return matches


def _inside(structure: int, name: str, regions: Mapping[str, Sequence[int]]) -> str:
    """Name of a class, and of the regions that hold it."""
    around = [region for region, inside in regions.items() if structure in inside and region != name]
    return f"{name}, within {' and '.join(around)}" if around else name


def _by(model: SegmentationModel, cases: CaseSet) -> str:
    if model.prepare is not None:
        return "the preprocessor of the model's own software, run on each raw case"
    if cases.prepared is not None and model.card.recipe is None:
        return "`imaseg prepare`, which wrote these cases; the model does not say how its own were prepared"
    if cases.prepared is not None:
        return "`imaseg prepare`, which wrote these cases by the recipe that the model states"
    if model.card.recipe is not None and model.card.recipe.get("transforms"):
        return "the transforms that the checkpoint lists, run by MONAI on each raw case"
    return "the recipe that the model states, applied by imaseg to each raw case"


def _said(step: Step) -> list[str]:
    """A recorded step as a sentence; none where it did nothing."""
    name = step["name"]
    if name == "relabel":
        return [f"label values: {', '.join(f'{old} becomes {new}' for old, new in step['map'].items())}"]
    if name == "threshold":
        return [f"label values from {step['from']:g} on become 1, others 0"]
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
    if step["method"] == "none":
        return f"channel {step['channel']}: intensities as they are"
    shift, scale = shift_and_scale(step)
    clipped = f"clipped to {step['low']:g} to {step['high']:g}, " if "low" in step else ""
    over = f", over {_WITHIN.get(step['within'], step['within'])}" if "within" in step else ""
    why = f"{_METHODS.get(step['method'], step['method'])}{over}"
    return f"channel {step['channel']}: {clipped}less {shift:g}, divided by {scale:g} ({why})"


def _turned(model: SegmentationModel, example: Loaded) -> list[str]:
    """Which axes the network sees as its own, where they are not x, y, z."""
    if not isinstance(model, AdaptedModel):
        return []
    axes, flip, flat = model.axes(example.volume.shape), model.found.card.flip, model.found.card.spatial_dims == 2
    if axes == "xyz" and not flip and not flat:
        return []
    seen = f"slices across {axes[2]}, with axes {axes[0]} and {axes[1]}" if flat else f"axes {', '.join(axes)}"
    reversed_ = f", {' and '.join(flip)} reversed" if flip else ""
    return [f"seen by the network as {seen}{reversed_}"]


def _tiled(model: SegmentationModel) -> TiledModel | None:
    tiled = getattr(model, "_tiled", None) if isinstance(model, AdaptedModel) else model.network
    return tiled if isinstance(tiled, TiledModel) else None


def _tiles(model: SegmentationModel) -> str:
    tiled = _tiled(model)
    if tiled is None:
        return "none: whole images"
    mirrored = "; mean over mirrored images" if getattr(tiled, "mirror_axes", ()) else ""
    if tiled.roi_size == -1:
        return f"none: whole slices{mirrored}"
    size = tiled.roi_size if isinstance(tiled.roi_size, int) else _by_sides(tiled.roi_size)
    return f"{size} voxels, overlap {tiled.overlap:g}, {_BLENDING[tiled.mode]}{mirrored}"


def _padding(model: SegmentationModel) -> str:
    divisor = model.found.probe.divisor if isinstance(model, AdaptedModel) else model.card.divisor
    tiled = _tiled(model)
    value = model.card.pad_value
    where = [f"no multiple of {divisor}"] if divisor > 1 else []
    where += ["shorter than a tile"] if tiled is not None and tiled.roi_size != -1 else []
    if not where:
        return "none"
    way = "constant" if tiled is None else tiled.padding_mode
    fill = "the lowest value of each channel" if value is None else f"{value:g}"
    filled = f"with {fill}" if way == "constant" else f"with {fill}, in tiles {way}"
    return f"{filled}, at both ends of sides that are {' or '.join(where)}"


def _activation(model: SegmentationModel) -> tuple[str, str]:
    found = model.ending.activation
    what = "logits" if found in ("none", "unknown") else f"{found}, undone so that attacks see logits"
    return what, _ENDING[model.ending.by]


def _unit(source: CaseSource, cases: CaseSet, example: Loaded | None) -> str:
    if {name.strip().upper() for name in source.modality} == {"CT"}:
        return "HU"
    scaled = [step for step in source.steps(example) if step.get("method") == "range"] if example else []
    eight = all(step["highest"] == _LARGEST for step in scaled) if scaled else _eight_bits(cases, example)
    return EIGHT_BITS if eight else "not stated"


def _eight_bits(cases: CaseSet, example: Loaded | None) -> bool:
    """Whether a case is a picture of 8 bits."""
    files = next((case.image for case in cases if example is not None and case.id == example.volume.id), ())
    try:
        modes = [Image.open(path).mode for path in files if is_picture(path)]
    except UNREADABLE:  # reading it says so
        return False
    return bool(modes) and all(mode in _EIGHT_BIT_MODES for mode in modes)


def _grid(model: SegmentationModel, source: CaseSource, example: Loaded | None) -> str:
    if example is None:
        return ""
    size = f"{_by_sides(example.volume.shape)} voxels"
    if example.spaced:
        size += f" of {_by_sides(example.volume.spacing)} mm"
    else:
        size += ", whose size the files do not state, so that lengths and volumes are in pixels,"
    if source.prepares:
        back = "nearest decisions" if model.back == "nearest" else f"interpolated {_BACK[model.back]}"
        also = f"Dice of every prediction also on the grid of the files, by {back}"
        return f"the model's grid ({size} in {example.volume.id}); {also}"
    return f"that of the prepared files ({size} in {example.volume.id})"


def _by_sides(sides: Sequence[Any]) -> str:
    return " x ".join(f"{side:.4g}" if isinstance(side, float) else str(side) for side in sides)
