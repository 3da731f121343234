"""The steps of a preparation: each takes a volume and returns the new one with a record of what it did.

Every step updates the affine, so that voxels keep their world coordinates; from the records `imaseg.data.inverse`
takes images and labels back to native space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.orient import orient
from imaseg.data.preparation.bias import bias_field, estimate_bias
from imaseg.data.preparation.body import body_mask
from imaseg.data.preparation.intensity import method_of, normalise
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.preparation.recorded.transforms import apply_transforms
from imaseg.data.preparation.resample import resample
from imaseg.data.relabel import relabel
from imaseg.data.volume import Step, Volume
from imaseg.errors import InputError
from imaseg.progress import counted

_T = TypeVar("_T")


def apply_recipe(volume: Volume, recipe: Recipe, cohort: CohortStatistics) -> tuple[Volume, list[Step]]:
    """Prepare one case in memory; the input is left as it is.

    Args:
        volume: as `read_volume` returns it.
        recipe: what to do.
        cohort: figures that `median` spacing, `auto` and `ct` refer to.

    Returns:
        The prepared volume, and one record per step with the parameters used.

    Raises:
        InputError: if the image has other channels than the cohort, no foreground, or does not vary in it.
    """
    if len(volume.image) != len(cohort.intensity):
        msg = f"{volume.id}: image must have {counted(len(cohort.intensity), 'channel')}, got {len(volume.image)}."
        raise InputError(msg)
    steps = []
    if recipe.label_map:
        volume, step = relabel(volume, recipe.label_map)
        steps.append(step)
    if recipe.transforms is not None:
        volume, done = apply_transforms(volume, recipe.transforms)
        return volume, [*steps, *done]
    if recipe.orientation is not None:
        volume, step = orient(volume, recipe.orientation)
        steps.append(step)
    methods = [method_of(recipe.normalise, cohort.modality, i) for i in range(len(volume.image))]
    if recipe.n4:
        volume, done = correct_bias(volume, methods)
        steps += done
    if recipe.spacing is not None:
        volume, step = resample(
            volume,
            _wanted_spacing(volume, cohort.spacing if recipe.spacing == "median" else recipe.spacing),
            image_order=recipe.image_order,
            label_order=recipe.label_order,
            thick_order=recipe.thick_order,
        )
        steps.append(step)
    if recipe.crop == "foreground":
        volume, step = crop(volume, recipe.crop_margin)
        steps.append(step)
    elif recipe.crop == "body":
        body = body_mask(volume.image[0], hounsfield=methods[0] == "ct")
        volume, step = crop(volume, recipe.crop_margin, body)
        steps.append(step)
    if recipe.size is not None:
        volume, step = crop_to(volume, _along_axes(volume, recipe.size))
        steps.append(step)
    channels = np.empty_like(volume.image)
    for i, channel in enumerate(volume.image):
        method, figures = methods[i], cohort.intensity[i]
        figures = figures if method == "ct" else {}
        channels[i], step = normalise(channel, method, figures, volume.id, recipe=recipe, number=i)
        steps.append({"name": "normalise", "channel": i, **step})
    return replace(volume, image=channels), steps


def _wanted_spacing(volume: Volume, spacing: Sequence[float | None]) -> tuple[float, ...]:
    """Wanted voxel size along the axes of the volume, from one along right, front, up; None keeps the present size."""
    asked = _along_axes(volume, spacing)
    return tuple(float(own if size is None else size) for size, own in zip(asked, volume.spacing, strict=True))


def _along_axes(volume: Volume, values: Sequence[_T]) -> list[_T]:
    """Reorder values given for right, front, up to the axes of a volume."""
    return [values[axis] for axis in nib.io_orientation(volume.affine)[:, 0].astype(int)]


def correct_bias(volume: Volume, methods: Sequence[str]) -> tuple[Volume, list[Step]]:
    """Divide every channel by its estimated bias field, except those normalised as CT."""
    steps, image = [], volume.image.copy()
    for i, method in enumerate(methods):
        if method != "ct":
            step = estimate_bias(volume.image[i], i, volume.id)
            image[i] /= bias_field(step, volume.shape)
            steps.append(step)
    return replace(volume, image=image), steps


def crop(volume: Volume, margin: int, foreground: NDArray[np.bool_] | None = None) -> tuple[Volume, Step]:
    """Cut to the bounding box of `foreground` plus `margin` voxels.

    Without a mask, foreground is what is brighter than the minimum by 1 % of the range in any channel.
    """
    foreground = _bright(volume.image) if foreground is None else foreground
    if not foreground.any():
        msg = f"{volume.id}: image must have a foreground, got a nearly constant one. Use crop: null."
        raise InputError(msg)
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero(foreground.any(axis=others))
        box.append(slice(max(0, int(inside[0]) - margin), int(inside[-1]) + 1 + margin))
    return _cut(volume, box)


def crop_to(volume: Volume, size: Sequence[int | None]) -> tuple[Volume, Step]:
    """Cut to `size` voxels around the centre; axes that are shorter, or have None, stay as they are."""
    box = []
    for whole, wanted in zip(volume.shape, size, strict=True):
        side = whole if wanted is None else min(whole, wanted)
        start = (whole - side) // 2
        box.append(slice(start, start + side))
    return _cut(volume, box)


def _cut(volume: Volume, box: Sequence[slice]) -> tuple[Volume, Step]:
    region = tuple(box)
    shift = np.eye(4)
    shift[:3, 3] = [s.start for s in region]
    moved = replace(
        volume,
        image=volume.image[:, *region],
        label=None if volume.label is None else volume.label[region],
        affine=volume.affine @ shift,
    )
    step = {
        "name": "crop",
        "start": [s.start for s in region],
        "shape": list(moved.shape),
        "shape_from": list(volume.shape),
    }
    return moved, step


def _bright(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    bright = np.zeros(image.shape[1:], bool)
    for channel in image:
        low = channel.min()
        bright |= channel > np.float32(low + 0.01 * (np.percentile(channel, 99.5) - low))
    return bright
