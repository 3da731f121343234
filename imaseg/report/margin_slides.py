"""Voxel margins over slices: image with outlines next to the image with each voxel's margin in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imaseg.errors import InputError
from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import VoxelMap
from imaseg.report.margin_tables import ranked
from imaseg.report.numerals import set_name, short, unit_name
from imaseg.report.pictures import data_uri, grey_levels, outline
from imaseg.report.worst import Panel

_AT_MOST = 4
_LONG_SIDE = 300
_COLOURS = 96
_STOPS = np.array([[240, 249, 33], [248, 149, 64], [204, 71, 120], [126, 3, 168], [13, 8, 135]], float)
_WRONG, _CERTIFIED = (0, 235, 235), (0, 158, 115)
COLOURS = {
    "scale": ", ".join(f"rgb({red:.0f},{green:.0f},{blue:.0f})" for red, green, blue in _STOPS),
    "wrong": f"rgb{_WRONG}",
    "certified": f"rgb{_CERTIFIED}",
}
"""For the style sheet: the scale with the first to flip on the left, and what else the maps show."""
_VEIL = 0.8
_AXES = ("x", "y", "z")
_NEEDED = ("image", "label", "prediction", "places", "axis", "spacing")


@dataclass(frozen=True)
class Slide:
    """One slice: its panels, and what is said of it."""

    panels: tuple[Panel, ...]
    said: str


@dataclass(frozen=True)
class Viewer:
    """The slices of one case and set, the one shown first, the ends of the colours, and whose sliders move along."""

    key: str
    title: str
    note: str
    slides: list[Slide]
    first: int
    scale: str
    unit: str
    certified: bool
    group: str = ""


def viewers(margins: Margins) -> list[Viewer]:
    """Of each set with maps the weakest case, and of a lone set the three weakest."""
    found: list[Viewer] = []
    kinds = list(dict.fromkeys(one.perturbation for case in margins.cases for one in case.maps))
    each = max(1, min(3, _AT_MOST // max(1, len(kinds))))
    for kind in kinds:
        cases = [case for case in ranked(margins) if case.case in margins.views and case.maps_of(kind)]
        for case in cases[:each]:
            maps = case.maps_of(kind)
            view = read_view(margins.views[case.case], [one.view for one in maps])
            found.append(make_viewer(case.case, view, maps, colour_scale(view, maps)))
    return found[:_AT_MOST]


def read_view(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The slices of a case.

    Args:
        path: that `imaseg margin` wrote.
        names: of the maps that it must hold.

    Raises:
        InputError: if the file cannot be read, an array is missing, or their shapes differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in (*_NEEDED, *names)}
    except Exception as error:
        msg = f"{path} must hold slices with {', '.join((*_NEEDED, *names))}, got {error}. Measure this case again."
        raise InputError(msg) from error
    shapes = {arrays[name].shape for name in ("image", "label", "prediction", *names)}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or len(arrays["places"]) != next(iter(shapes))[0]:
        msg = f"{path} must hold stacks of slices of one shape, got {sorted(shapes)}. Measure this case again."
        raise InputError(msg)
    return arrays


def make_viewer(
    case: str,
    view: Mapping[str, np.ndarray],
    maps: Sequence[VoxelMap],
    scale: float,
    *,
    model: str = "",
    group: str = "",
) -> Viewer:
    """The slices of a case under the colours of its maps.

    Args:
        case: id.
        view: as `read_view` gives it.
        maps: of one set, each under its name in `view`.
        scale: where the colours end.
        model: named where several are shown.
        group: viewers of one group show the same slice.
    """
    kind = maps[0].perturbation
    low, high = np.percentile(view["image"], [1, 99])
    window = (float(low), float(high) if high > low else float(low) + 1)
    slides = [_slide(case, view, maps, place, scale, window) for place in range(len(view["places"]))]
    margins = next((one for one in maps if one.method != "certified"), maps[0])
    weak = view[margins.view]
    known = (weak > 0) & (weak < margins.eps) & ((view["label"] > 0) | (view["prediction"] > 0))
    first = int((known & (weak <= scale)).sum(axis=(1, 2)).argmax())
    unit = unit_name(margins.unit)
    note = (
        f"Searched up to {short(margins.eps)} ({unit}). Bright voxels flip first; grey voxels were flipped by nothing "
        "that was tried."
    )
    return Viewer(
        f"slices-{_plain('-'.join([kind, case, *([model] if model else [])]))}",
        f"{f'{model}, ' if model else ''}{case}: {set_name(kind)}",
        note,
        slides,
        first,
        short(scale),
        unit,
        any(one.method == "certified" for one in maps),
        group,
    )


def colour_scale(view: Mapping[str, np.ndarray], maps: Sequence[VoxelMap]) -> float:
    """Where the colours end: the 90th percentile of the margins that were found in or next to a structure."""
    near = (view["label"] > 0) | (view["prediction"] > 0)
    for one in sorted(maps, key=lambda one: one.method != "attack"):
        values = view[one.view]
        known = values[near & (values > 0) & (values < one.eps)]
        if one.method != "certified" and known.size:
            return float(np.quantile(known, 0.9))
    return max(one.eps for one in maps) or 1.0


def _slide(
    case: str,
    view: Mapping[str, np.ndarray],
    maps: Sequence[VoxelMap],
    place: int,
    scale: float,
    window: tuple[float, float],
) -> Slide:
    where = f"{_AXES[int(view['axis'])]} = {int(view['places'][place])}"
    grey = grey_levels(view["image"][place], *window)
    plain = _picture(grey, view)
    outline(plain, view["prediction"][place].astype(int), view["label"][place].astype(int), thin=True)
    panels = [
        Panel(
            data_uri(_indexed(plain)),
            "Image, prediction (solid), label (dashed)",
            f"Slice {where} of {case} with outlines.",
        )
    ]
    said = []
    for one in maps:
        values = view[one.view][place]
        picture = _picture(_coloured(grey, values, one, scale), view)
        known = values[(values > 0) & (values < one.eps)]
        if one.method == "certified":
            text = f"{int((values > 0).sum())} voxels certified"
        elif known.size:
            text = f"{known.size} voxels flip, the first at {short(float(known.min()))}"
        else:
            text = "no voxel flips"
        caption = _CAPTIONS[one.method] + _radius(one)
        panels.append(Panel(data_uri(_indexed(picture)), caption, f"Slice {where} of {case}, {caption}: {text}."))
        said.append(text)
    return Slide(tuple(panels), f"slice {place + 1} of {len(view['places'])} ({where}): {said[0]}")


_CAPTIONS = {
    "attack": "Margin found by attacks",
    "gradient": "Estimate from gradients",
    "certified": "Certified by noise",
}


def _radius(one: VoxelMap) -> str:
    """How far a certificate reaches."""
    if one.rms is None:
        return ""
    return f" within {short(one.eps)} (L2 norm), which is {short(one.rms)} RMS per voxel"


def _coloured(grey: np.ndarray, values: np.ndarray, one: VoxelMap, scale: float) -> np.ndarray:
    """Grey levels (R, C, 3) under a veil of the margins' colours."""
    if one.method == "certified":
        known, wrong = values > 0, np.zeros(values.shape, bool)
        colours = np.broadcast_to(np.array(_CERTIFIED, float), grey.shape)
    else:
        known, wrong = (values > 0) & (values < one.eps), values == 0
        along = np.clip(values / scale, 0, 1) * (len(_STOPS) - 1)
        colours = np.stack([np.interp(along, range(len(_STOPS)), stop) for stop in _STOPS.T], axis=-1)
    mixed = np.where(known[..., None], (1 - _VEIL) * grey + _VEIL * colours, grey)
    return np.where(wrong[..., None], np.array(_WRONG), mixed).round().astype(np.uint8)


def _picture(pixels: np.ndarray, view: Mapping[str, np.ndarray]) -> Image.Image:
    """Voxels stay sharp, and as large as they are in mm."""
    rows, columns = (size * mm for size, mm in zip(pixels.shape[:2], view["spacing"], strict=True))
    factor = _LONG_SIDE / max(rows, columns)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def _indexed(picture: Image.Image) -> Image.Image:
    """Few colours, which keeps the page small; voxels that are wrong unattacked keep theirs, however few they are."""
    few = picture.quantize(_COLOURS - 1, dither=Image.Dither.NONE)
    palette = [*(few.getpalette() or [])[: 3 * (_COLOURS - 1)]]
    palette += [0] * (3 * (_COLOURS - 1) - len(palette))
    index = np.where((np.asarray(picture) == _WRONG).all(axis=2), _COLOURS - 1, np.asarray(few))
    kept = Image.fromarray(index.astype(np.uint8)).convert("P")
    kept.putpalette([*palette, *_WRONG])
    return kept


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
