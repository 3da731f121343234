"""The steps of a preparation: each takes a volume and returns the new one with a record of what it did.

Every step keeps the affine right, so that a voxel stays where it is in the world; the records are enough
for `imaseg.data.invert` to go back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from imaseg.data.intensity import method_for, normalise
from imaseg.data.nifti import Step, Volume
from imaseg.data.recipe import Recipe
from imaseg.data.resample import resample
from imaseg.errors import InputError

if TYPE_CHECKING:
    from imaseg.data.cohort import CohortStatistics


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
        msg = f"{volume.id}: image must have {len(cohort.intensity)} channels, got {len(volume.image)}."
        raise InputError(msg)
    steps = []
    if recipe.orientation is not None:
        volume, step = orient(volume, recipe.orientation)
        steps.append(step)
    if recipe.spacing is not None:
        spacing = cohort.spacing if recipe.spacing == "median" else recipe.spacing
        world = nib.io_orientation(volume.affine)[:, 0].astype(int)
        volume, step = resample(volume, tuple(float(spacing[axis]) for axis in world))
        steps.append(step)
    if recipe.crop is not None:
        volume, step = crop(volume, recipe.crop_margin)
        steps.append(step)
    channels = []
    for i, channel in enumerate(volume.image):
        method = recipe.normalise if recipe.normalise != "auto" else method_for(cohort.modality, i)
        normalised, step = normalise(channel, method, cohort.intensity[i] if method == "ct" else {}, volume.id)
        channels.append(normalised)
        steps.append({"name": "normalise", "channel": i, **step})
    return replace(volume, image=np.stack(channels)), steps


def orient(volume: Volume, target: str) -> tuple[Volume, Step]:
    """Permute and flip axes until they are the closest to `target`; no voxel changes its value."""
    here = nib.io_orientation(volume.affine)
    change = nib.orientations.ornt_transform(here, nib.orientations.axcodes2ornt(tuple(target)))
    step = {
        "name": "orient",
        "from": "".join(nib.orientations.ornt2axcodes(here)),
        "to": target,
        "shape_from": list(volume.shape),
    }
    moved = replace(
        volume,
        image=np.stack([nib.apply_orientation(channel, change) for channel in volume.image]),
        label=None if volume.label is None else nib.apply_orientation(volume.label, change),
        affine=volume.affine @ nib.orientations.inv_ornt_aff(change, volume.shape),
    )
    return moved, step


def crop(volume: Volume, margin: int) -> tuple[Volume, Step]:
    """Cut to the box of the voxels brighter than the darkest by 1 % of the range, in any channel."""
    flat = volume.image.reshape(len(volume.image), -1)
    low = flat.min(axis=1)
    threshold = low + 0.01 * (np.percentile(flat, 99.5, axis=1) - low)
    foreground = (volume.image > threshold.astype(np.float32)[:, None, None, None]).any(axis=0)
    if not foreground.any():
        msg = f"{volume.id}: image must have a foreground, got a nearly constant one. Use crop: null."
        raise InputError(msg)
    box = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        inside = np.flatnonzero(foreground.any(axis=others))
        box.append(slice(max(0, int(inside[0]) - margin), int(inside[-1]) + 1 + margin))
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
