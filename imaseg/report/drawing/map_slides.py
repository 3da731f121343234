"""Voxel margins over slices: image with outlines next to the image with each voxel's margin in colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from imaseg.report.blocks import Panel, Scale, Slide, Viewer
from imaseg.report.drawing.pictures import data_uri, enlarged, grey_levels, grey_window, outline
from imaseg.report.drawing.volumes import Volumes
from imaseg.report.plot import gradient, shades
from imaseg.report.wording import set_name, short, unit_name
from imaseg.results.maps import VoxelMap

_LONG_SIDE = 300
_COLOURS = 95  # few of them keep the page small
_SHADES = shades("Plasma_r", 257)
WRONG, _CERTIFIED = (0, 235, 235), (0, 158, 115)
SWATCHES = {"wrong unattacked": f"rgb{WRONG}", "certified": f"rgb{_CERTIFIED}"}
"""What the maps show besides margins."""
_VEIL = 0.8
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
    case: str, view: Volumes, maps: Sequence[VoxelMap], scale: float, *, model: str = "", group: str = ""
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
    look, shown = Look(case, maps, scale, grey_window(view.image)), maps[0]
    unit = unit_name(shown.unit)
    return Viewer(
        key="slices-" + re.sub(r"\W|_", "-", "-".join(filter(None, [shown.in_set, case, model]))),
        title=f"{f'{model}, ' if model else ''}{case}: {set_name(shown.perturbation, shown.within)}",
        note=(
            f"Searched up to {short(shown.eps)} ({unit}). Bright voxels flip first; grey voxels were flipped by "
            "nothing that was tried."
        ),
        slides=[_slide(view, look, number) for number in range(len(view.places))],
        first=_telling_slice(view, shown, scale),
        scale=Scale(gradient(_SHADES[::64]), f"0 ({unit})", f"{short(scale)} or more"),
        group=group,
    )


def colour_scale(view: Volumes, maps: Sequence[VoxelMap]) -> float:
    """Where the colours end: the 90th percentile of the margins that were found in or next to a structure."""
    for shown in (one for one in maps if one.method != "certified"):
        values = view.maps[shown.array][view.structures]
        flipped = values[is_flipped(values)]
        if flipped.size:
            return float(np.quantile(flipped, 0.9))
    return max(one.eps for one in maps) or 1.0


def is_flipped(values: np.ndarray) -> np.ndarray:
    """Where a margin was found: neither wrong unattacked nor unflipped."""
    found: np.ndarray = (values > 0) & np.isfinite(values)
    return found


def _telling_slice(view: Volumes, shown: VoxelMap, scale: float) -> int:
    """The slice with most voxels of structures that flip early."""
    values = view.maps[shown.array]
    return int((is_flipped(values) & view.structures & (values <= scale)).sum(axis=(1, 2)).argmax())


def _slide(view: Volumes, look: Look, number: int) -> Slide:
    where = f"{'xyz'[view.axis]} = {view.places[number]}"
    grey = grey_levels(view.image[number], *look.window)
    plain = _picture(grey, view)
    outline(plain, view.prediction[number], view.label[number], thin=True)
    caption = "Image, outlines as in the key"
    panels = [Panel(data_uri(plain), caption, f"Slice {where} of {look.case} with outlines.")]
    said = [_count(view.maps[shown.array][number], shown.method) for shown in look.maps]
    for shown, count in zip(look.maps, said, strict=True):
        picture = _picture(_coloured(grey, view.maps[shown.array][number], shown.method, look.scale), view)
        caption = _CAPTIONS.get(shown.method, shown.method) + _radius(shown)
        panels.append(Panel(data_uri(picture), caption, f"Slice {where} of {look.case}, {caption}: {count}."))
    return Slide(tuple(panels), f"slice {number + 1} of {len(view.places)} ({where}): {said[0]}")


def _count(values: np.ndarray, method: str) -> str:
    flipped = values[is_flipped(values)]
    if method == "certified":
        return f"{flipped.size} voxels certified"
    return f"{flipped.size} voxels flip, the first at {short(flipped.min())}" if flipped.size else "no voxel flips"


def _radius(shown: VoxelMap) -> str:
    """How far a certificate reaches."""
    if shown.rms is None:
        return ""
    return f" within {short(shown.eps)} (L2 norm), which is {short(shown.rms)} RMS per voxel"


def _coloured(grey: np.ndarray, values: np.ndarray, method: str, scale: float) -> np.ndarray:
    """Grey levels (R, C, 3) under a veil of the margins' colours; what is wrong unattacked is not veiled but marked."""
    certified = method == "certified"
    along = (np.clip(values / scale, 0, 1) * (len(_SHADES) - 1)).astype(int)
    veiled = (1 - _VEIL) * grey + _VEIL * (np.array(_CERTIFIED) if certified else _SHADES[along])
    mixed = np.where(is_flipped(values)[..., None], veiled, grey).round().astype(np.uint8)
    few = np.asarray(Image.fromarray(mixed).quantize(_COLOURS, dither=Image.Dither.NONE).convert("RGB"))
    return np.where((values == 0)[..., None] & (not certified), np.array(WRONG, np.uint8), few)


def _picture(pixels: np.ndarray, view: Volumes) -> Image.Image:
    """Voxels stay sharp."""
    return enlarged(pixels, view.spacing, _LONG_SIDE, Image.Resampling.NEAREST)
