"""The part of a 3D case that an audit stored around its structures, as a NIfTI file for the page's viewer.

The file has frames of 8 bits in canonical order (to the right, to the front, up): image, change, label, prediction on
the clean and on the attacked image, and where voxel margins are known, these. The viewer adds image and change.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from PIL.ImageColor import getrgb

from imaseg.errors import InputError
from imaseg.report.drawing.map_slides import WRONG, is_flipped
from imaseg.report.drawing.pictures import COLD, NEUTRAL, OUTLINES, WARM
from imaseg.report.drawing.stored import read_arrays
from imaseg.report.plot import shades
from imaseg.results.maps import VoxelMap

_CLASSES = ("label", "clean_prediction", "attacked_prediction")
_ARRAYS = ("image", "change", *_CLASSES)
_FACTS = ("window", "scale", "start", "step", "affine")
_CENTRE, _FIRST, _LAST, _WRONG = 128, 3, 250, 255
"""Value of no change in the frame of the change; in that of margins of the smallest and the largest, and of voxels that
are wrong unattacked. Between them is room, since the viewer blends neighbouring colours."""
_MARGINS = shades("Plasma_r", _LAST - _FIRST + 1)
_APART = 40
"""Between the values of two classes, for the same reason."""


class Crop(NamedTuple):
    """What an audit stored of a case: arrays by name, each (X, Y, Z), and where they lie."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, np.ndarray]


def read_crop(path: Path) -> Crop | None:
    """The stored part; None of 2D cases, volumes of a single slice among them, and in audits of earlier versions.

    Raises:
        InputError: if the file is broken.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {
                name.removeprefix("volume_"): np.asarray(file[name]) for name in file if name.startswith("volume_")
            }
        if not stored:
            return None
        crop = Crop({name: stored[name] for name in _ARRAYS}, {name: stored[name] for name in _FACTS})
        wrong = {array.shape for array in crop.arrays.values()} != {crop.arrays["image"].shape}
    except Exception as error:
        msg = f"{path} must hold arrays and the volume of a case, got {error}. Audit this case again."
        raise InputError(msg) from error
    if wrong or crop.arrays["image"].ndim != 3 or crop.facts["affine"].shape != (4, 4):
        msg = f"{path} must hold volumes of one 3D shape, got others. Audit this case again."
        raise InputError(msg)
    return crop if min(crop.arrays["image"].shape) > 1 else None


def thinned(crop: Crop, most: int) -> Crop:
    """Every second, third ... voxel along the axes on which they lie closest, until there are at most so many."""
    size = np.linalg.norm(crop.facts["affine"][:3, :3], axis=0) * crop.facts["step"]
    shape, every = np.array(crop.arrays["image"].shape), np.ones(3, int)
    while np.prod(-(-shape // every)) > most:
        every[int(np.argmin(np.where(every < shape, size * every, np.inf)))] += 1
    part = tuple(slice(None, None, int(step)) for step in every)
    arrays = {name: array[part] for name, array in crop.arrays.items()}
    return Crop(arrays, crop.facts | {"step": crop.facts["step"] * every})


def with_margins(crop: Crop, folder: Path, found: VoxelMap) -> Crop:
    """The margins of the same voxels too, as numbers of their colours; 0 where nothing flipped the voxel.

    The colours end at `margin_scale`: the 90th percentile in or next to a structure.

    Raises:
        InputError: as `read_arrays`.
    """
    whole = read_arrays({folder / found.view: [found.array]}, 3)[found.array]
    start, step, shape = crop.facts["start"], crop.facts["step"], crop.arrays["image"].shape
    values = whole[tuple(slice(a, a + n * s, s) for a, n, s in zip(start, shape, step, strict=True))]
    if values.shape != shape:
        msg = f"{folder / found.view} must hold the same case as its slice, got another shape. Audit this case again."
        raise InputError(msg)
    structures = (crop.arrays["label"] > 0) | (crop.arrays["clean_prediction"] > 0)
    telling = values[is_flipped(values) & structures]
    scale = float(np.quantile(telling, 0.9)) if telling.size else found.eps or 1.0
    along = _FIRST + (np.clip(values / scale, 0, 1) * (_LAST - _FIRST)).round()
    coded = np.where(values == 0, _WRONG, np.where(is_flipped(values), along, 0))
    return Crop(crop.arrays | {"margin": coded.astype(np.uint8)}, crop.facts | {"margin_scale": np.array(scale)})


def nifti(crop: Crop) -> tuple[str, list[dict[str, Any]]]:
    """The file, gzipped, in base64; and of each of its axes what it is called in the case, and where it begins."""
    arrays = crop.arrays | {"change": (crop.arrays["change"].astype(int) + _CENTRE).astype(np.uint8)}
    affine, step = crop.facts["affine"], crop.facts["step"]
    turn = nib.orientations.io_orientation(affine)
    frames = [nib.orientations.apply_orientation(array, turn) for array in arrays.values()]
    axes = []
    for axis in np.argsort(turn[:, 0]):
        last = arrays["image"].shape[axis] - 1
        first, by = int(crop.facts["start"][axis]), int(step[axis])
        backwards = turn[axis, 1] < 0
        axes.append(
            {"name": "xyz"[axis], "first": first + last * by if backwards else first, "by": -by if backwards else by}
        )
    spacing = [float(np.linalg.norm(affine[:3, axis]) * step[axis]) for axis in np.argsort(turn[:, 0])]
    image = nib.Nifti1Image(np.stack(frames, axis=-1), np.diag([*spacing, 1.0]))
    return base64.b64encode(gzip.compress(image.to_bytes(), 9, mtime=0)).decode("ascii"), axes


def gain(crop: Crop) -> float:
    """Grey levels of the image per step of the change."""
    low, high = crop.facts["window"]
    return float(crop.facts["scale"] / 127 * 255 / max(high - low, 1e-12))


def visible(crop: Crop) -> int:
    """Steps of the change at which its colours end: few voxels change more."""
    steps = np.abs(crop.arrays["change"].astype(int))
    return int(np.quantile(steps[steps > 0], 0.99).round()) if steps.any() else 127


def colours() -> dict[str, dict[str, list[int]]]:
    """Colour maps of the viewer, by value from 0 to 255: of the change, of margins, and of classes."""
    change = [(0, COLD, 255), (_CENTRE, NEUTRAL, 0), (255, WARM, 255)]  # no change is clear in three dimensions
    margins = [(0, WRONG, 0), (1, WRONG, 0)]
    margins += [(value, _MARGINS[value - _FIRST], 255) for value in np.linspace(_FIRST, _LAST, 9).round().astype(int)]
    margins += [(_LAST + 1, _MARGINS[-1], 255), (_LAST + 3, WRONG, 255), (_WRONG, WRONG, 255)]
    classes: list[tuple[int, Any, int]] = [(0, (0, 0, 0), 0), (_APART // 4, (0, 0, 0), 0)]
    for number, tint in enumerate(OUTLINES, start=1):
        classes += [(_APART * number + side, getrgb(tint), 255) for side in (-_APART // 4, _APART // 4)]
    return {"change": _map(change), "margin": _map(margins), "classes": _map([*classes, (255, (0, 0, 0), 0)])}


def _map(nodes: Sequence[tuple[int, Any, int]]) -> dict[str, list[int]]:
    red, green, blue = ([int(colour[k]) for _, colour, _ in nodes] for k in range(3))
    return {
        "R": red,
        "G": green,
        "B": blue,
        "A": [alpha for *_, alpha in nodes],
        "I": [int(value) for value, *_ in nodes],
    }
