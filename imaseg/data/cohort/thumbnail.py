"""A small picture of a case: one slice along each axis through the middle of its label, with contours."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from imaseg.data.files import whole_file
from imaseg.data.volume import Volume

COLOURS = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#bfef45",
    "#fabed4", "#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000",
)  # fmt: skip
"""Colours of labels 1, 2, ...; repeated for more labels."""
_HEIGHT = 150
_WIDEST = 480
"""Largest width in pixels of all views side by side, which share one scale."""
_GAP = 4


def draw_thumbnail(volume: Volume, path: Path) -> None:
    """Write a PNG: axial, coronal and sagittal slices in radiological orientation; of a 2D picture just the picture."""
    views = _views(volume)
    height = max(view.height for view in views)
    sheet = Image.new("RGB", (sum(view.width + _GAP for view in views) - _GAP, height))
    left = 0
    for view in views:
        sheet.paste(view, (left, (height - view.height) // 2))
        left += view.width + _GAP
    packed = io.BytesIO()
    sheet.save(packed, "PNG", compress_level=3)
    with whole_file(path) as part:
        part.write_bytes(packed.getvalue())


def _views(volume: Volume) -> list[Image.Image]:
    to_lps = nib.orientations.ornt_transform(nib.io_orientation(volume.affine), nib.orientations.axcodes2ornt("LPS"))
    grey = nib.apply_orientation(volume.image[0], to_lps)
    label = np.zeros(grey.shape, np.uint8) if volume.label is None else nib.apply_orientation(volume.label, to_lps)
    sizes = np.empty(3)
    sizes[to_lps[:, 0].astype(int)] = volume.spacing
    at = _middle(label)
    # (fixed axis, axis down, axis right, whether down must be turned up)
    planes = [(2, 1, 0, False), (1, 2, 0, True), (0, 2, 1, True)]
    if grey.shape[2] == 1:
        planes = planes[:1]
    sides = np.asarray(grey.shape) * sizes
    tall, wide = (sides[[plane[part] for plane in planes]] for part in (1, 2))
    scale = min(_HEIGHT / tall.max(), _WIDEST / wide.sum())
    return [_view(grey, label, scale * sides, at[plane[0]], plane) for plane in planes]


def _middle(label: NDArray[np.integer]) -> list[int]:
    """Along each axis, the index of the slice with most labelled voxels; the middle slice without a label."""
    slice_indices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        areas = np.count_nonzero(label, axis=others)
        slice_indices.append(int(areas.argmax()) if areas.any() else label.shape[axis] // 2)
    return slice_indices


def _view(
    grey: NDArray[np.float32],
    label: NDArray[np.integer],
    sides: NDArray[np.float64],
    at: int,
    plane: tuple[int, int, int, bool],
) -> Image.Image:
    fixed, down, right, flip = plane
    size = max(8, round(sides[right])), max(8, round(sides[down]))
    slices = []
    for array in (grey, label):
        cut = np.take(array, at, axis=fixed)
        cut = cut if down < right else cut.T
        slices.append(cut[::-1] if flip else cut)
    shown = Image.fromarray(_window(slices[0])).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    contour = np.asarray(Image.fromarray(slices[1].astype(np.int32)).resize(size, Image.Resampling.NEAREST))
    pixels = np.array(shown)
    for value in np.unique(contour[contour > 0]):
        pixels[_outline(contour == value)] = _rgb(int(value))
    view = Image.fromarray(pixels)
    if right == 0 and grey.shape[2] > 1:
        ImageDraw.Draw(view).text((2, 0), "R", fill="#ffffff")
    return view


def _window(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    values = np.nan_to_num(values.astype(np.float64), nan=0, posinf=0, neginf=0)
    low, high = np.percentile(values, [1, 99])
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return ((values - low) / (high - low or 1) * 255).clip(0, 255).astype(np.uint8)


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(inside, 1)
    core = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _rgb(value: int) -> tuple[int, int, int]:
    colour = COLOURS[(value - 1) % len(COLOURS)]
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
