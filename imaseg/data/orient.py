"""Permutes and flips the axes of a volume."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from imaseg.data.volume import Step, Volume


def orient(volume: Volume, target: str) -> tuple[Volume, Step]:
    """Permute and flip the axes of a volume until they run as in `target`; no voxel changes its value.

    Args:
        volume: volume to reorient.
        target: direction of each axis, such as `RAS` for right, anterior (front), superior (up).

    Returns:
        The turned volume, with an affine that keeps every voxel at its place in the world, and the record of the step.
        Its label, and a single channel, are views of the voxels of `volume`.
    """
    here = nib.io_orientation(volume.affine)
    change = nib.orientations.ornt_transform(here, nib.orientations.axcodes2ornt(tuple(target)))
    step = {
        "name": "orient",
        "from": "".join(nib.orientations.ornt2axcodes(here)),
        "to": target,
        "shape_from": list(volume.shape),
    }
    channels = [nib.apply_orientation(channel, change) for channel in volume.image]
    moved = replace(
        volume,
        image=np.stack(channels) if len(channels) > 1 else channels[0][None],
        label=None if volume.label is None else nib.apply_orientation(volume.label, change),
        affine=volume.affine @ nib.orientations.inv_ornt_aff(change, volume.shape),
    )
    return moved, step
