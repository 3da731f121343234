"""Voxel margins over slices: image with outlines next to the image with each voxel's margin in colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from imaseg.report.blocks import Panel, Slide, Viewer
from imaseg.report.drawing.pictures import data_uri, grey_levels, grey_window, outline, size_in_mm
from imaseg.report.drawing.volumes import Slices
from imaseg.report.numerals import set_name, short, unit_name
from imaseg.results.maps import VoxelMap

_LONG_SIDE = 300
_COLOURS = 96
_STOPS = np.array([[240, 249, 33], [248, 149, 64], [204, 71, 120], [126, 3, 168], [13, 8, 135]], float)
_SCALE = ", ".join(f"rgb({red:.0f},{green:.0f},{blue:.0f})" for red, green, blue in _STOPS)
_WRONG, _CERTIFIED = (0, 235, 235), (0, 158, 115)
SWATCHES = {"wrong unattacked": f"rgb{_WRONG}", "certified": f"rgb{_CERTIFIED}"}
"""What the maps show besides margins."""
_VEIL = 0.8
_AXES = ("x", "y", "z")
_CAPTIONS = {
    "attack": "Margin found by attacks",
    "gradient": "Estimate from gradients",
    "certified": "Certified by noise",
}


class Look(NamedTuple):
    """How the slices of a case are drawn.

    Attributes:
        case: id.
        maps: of one set, in the order of the panels.
        scale: where the colours end.
        window: of the grey levels.
    """

    case: str
    maps: Sequence[VoxelMap]
    scale: float
    window: tuple[float, float]


def make_viewer(
    case: str, view: Slices, maps: Sequence[VoxelMap], scale: float, *, model: str = "", group: str = ""
) -> Viewer:
    """The slices of a case under the colours of its maps.

    Args:
        case: id.
        view: slices, each map under its method.
        maps: of one set.
        scale: where the colours end.
        model: named where several are shown.
        group: viewers of one group show the same slice.
    """
    look = Look(case, maps, scale, grey_window(view.image))
    kind, shown = maps[0].perturbation, maps[0]
    unit = unit_name(shown.unit)
    return Viewer(
        key=f"slices-{_as_anchor('-'.join([kind, case, *([model] if model else [])]))}",
        title=f"{f'{model}, ' if model else ''}{case}: {set_name(kind)}",
        note=(
            f"Searched up to {short(shown.eps)} ({unit}). Bright voxels flip first; grey voxels were flipped by "
            "nothing that was tried."
        ),
        slides=[_slide(view, look, number) for number in range(len(view.places))],
        first=_telling_slice(view, shown, scale),
        colours=_SCALE,
        scale=short(scale),
        unit=unit,
        group=group,
    )


def colour_scale(view: Slices, maps: Sequence[VoxelMap]) -> float:
    """Where the colours end: the 90th percentile of the margins that were found in or next to a structure."""
    for shown in (one for one in maps if one.method != "certified"):
        values = view.maps[shown.array][view.structures]
        flipped = values[_flipped(values)]
        if flipped.size:
            return float(np.quantile(flipped, 0.9))
    return max(one.eps for one in maps) or 1.0


def _flipped(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = (values > 0) & np.isfinite(values)
    return found


def _telling_slice(view: Slices, shown: VoxelMap, scale: float) -> int:
    """The slice with most voxels of structures that flip early."""
    values = view.maps[shown.array]
    return int((_flipped(values) & view.structures & (values <= scale)).sum(axis=(1, 2)).argmax())


def _slide(view: Slices, look: Look, number: int) -> Slide:
    where = f"{_AXES[view.axis]} = {view.places[number]}"
    grey = grey_levels(view.image[number], *look.window)
    plain = _picture(grey, view)
    outline(plain, view.prediction[number], view.label[number], thin=True)
    caption = "Image, prediction (solid), label (dashed)"
    panels = [Panel(data_uri(_indexed(plain)), caption, f"Slice {where} of {look.case} with outlines.")]
    said = []
    for shown in look.maps:
        values = view.maps[shown.array][number]
        picture = _indexed(_picture(_coloured(grey, values, shown.method, look.scale), view))
        said.append(_count(values, shown.method))
        caption = _CAPTIONS.get(shown.method, shown.method) + _radius(shown)
        panels.append(Panel(data_uri(picture), caption, f"Slice {where} of {look.case}, {caption}: {said[-1]}."))
    return Slide(tuple(panels), f"slice {number + 1} of {len(view.places)} ({where}): {said[0]}")


def _count(values: np.ndarray, method: str) -> str:
    if method == "certified":
        return f"{int((values > 0).sum())} voxels certified"
    flipped = values[_flipped(values)]
    if not flipped.size:
        return "no voxel flips"
    return f"{flipped.size} voxels flip, the first at {short(float(flipped.min()))}"


def _radius(shown: VoxelMap) -> str:
    """How far a certificate reaches."""
    if shown.rms is None:
        return ""
    return f" within {short(shown.eps)} (L2 norm), which is {short(shown.rms)} RMS per voxel"


def _coloured(grey: np.ndarray, values: np.ndarray, method: str, scale: float) -> np.ndarray:
    """Grey levels (R, C, 3) under a veil of the margins' colours."""
    if method == "certified":
        veiled, wrong = values > 0, np.zeros(values.shape, bool)
        colours = np.broadcast_to(np.array(_CERTIFIED, float), grey.shape)
    else:
        veiled, wrong = _flipped(values), values == 0
        along = np.clip(values / scale, 0, 1) * (len(_STOPS) - 1)
        colours = np.stack([np.interp(along, range(len(_STOPS)), stop) for stop in _STOPS.T], axis=-1)
    mixed = np.where(veiled[..., None], (1 - _VEIL) * grey + _VEIL * colours, grey)
    return np.where(wrong[..., None], np.array(_WRONG), mixed).round().astype(np.uint8)


def _picture(pixels: np.ndarray, view: Slices) -> Image.Image:
    """Voxels stay sharp, and as large as they are in mm."""
    size = size_in_mm(pixels.shape[:2], view.spacing.tolist(), _LONG_SIDE)
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


def _as_anchor(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
