"""What a spatial transform did to a grid, as records of steps that can be undone, read off its affine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from imaseg.data.preparation.box import take_box
from imaseg.data.preparation.resample import sample_labels
from imaseg.data.volume import Step

_ROUNDING = 1e-4
"""Of positions, in voxels."""


def grid_steps(
    affine: NDArray[np.float64],
    before: Sequence[int],
    moved: NDArray[np.float64],
    after: Sequence[int],
) -> list[Step] | None:
    """The steps from one grid to another: orient, then crop (or pad) or resample.

    Args:
        affine: of the old grid, (4, 4).
        before: its shape.
        moved: affine of the new grid.
        after: its shape.

    Returns:
        Records, of linear interpolation, none if both grids are the same; None if the new one lies at an angle.
    """
    steps: list[Step] = []
    here, there = nib.io_orientation(affine), nib.io_orientation(moved)
    change = nib.orientations.ornt_transform(here, there)
    shape = list(before)
    if not np.array_equal(change[:, 0], range(3)) or (change[:, 1] < 0).any():
        codes = ["".join(nib.orientations.ornt2axcodes(ends)) for ends in (here, there)]
        steps.append({"name": "orient", "from": codes[0], "to": codes[1], "shape_from": shape})
        affine = affine @ nib.orientations.inv_ornt_aff(change, shape)
        shape = [shape[int(i)] for i in np.argsort(change[:, 0])]
    to_old = np.linalg.inv(affine) @ moved
    ratio, start = np.diag(to_old)[:3], to_old[:3, 3]
    if np.abs(to_old[:3, :3] - np.diag(ratio)).max() > _ROUNDING:
        return None
    if np.abs(ratio - 1).max() * max(after) > _ROUNDING or np.abs(start - np.rint(start)).max() > _ROUNDING:
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        steps.append(
            {
                "name": "resample",
                "spacing_from": sizes.tolist(),
                "spacing_to": (sizes * ratio).tolist(),
                "shape_from": shape,
                "shape_to": list(after),
                "start": start.tolist(),
                "orders": [1] * 3,
                "label_orders": [1] * 3,
            }
        )
    elif list(after) != shape or np.rint(start).any():
        box = {"start": np.rint(start).astype(int).tolist(), "shape": list(after)}
        steps.append({"name": "crop", **box, "shape_from": shape})
    return steps


def moved_array(array: NDArray[Any], step: Step) -> NDArray[Any]:
    """An array (X, Y, Z) turned, cropped or padded with 0 as a step says; labels are resampled, too."""
    if step["name"] == "orient":
        here, there = (nib.orientations.axcodes2ornt(tuple(step[end])) for end in ("from", "to"))
        turned: NDArray[Any] = nib.apply_orientation(array, nib.orientations.ornt_transform(here, there))
        return turned
    if step["name"] == "crop":
        return take_box(array, step["start"], step["shape"], 0)
    ratio = np.asarray(step["spacing_to"]) / np.asarray(step["spacing_from"])
    keep = float(np.prod(ratio))
    return sample_labels(array, tuple(step["shape_to"]), np.asarray(step["start"]), ratio, (1, 1, 1), keep=keep)


def moved_affine(affine: NDArray[np.float64], step: Step) -> NDArray[np.float64]:
    """The affine of the grid that a step leads to."""
    to_old = np.eye(4)
    if step["name"] == "orient":
        here, there = (nib.orientations.axcodes2ornt(tuple(step[end])) for end in ("from", "to"))
        change = nib.orientations.ornt_transform(here, there)
        to_old = nib.orientations.inv_ornt_aff(change, tuple(step["shape_from"]))
    else:
        to_old[:3, 3] = step["start"]
    if step["name"] == "resample":
        to_old[:3, :3] = np.diag(np.asarray(step["spacing_to"]) / np.asarray(step["spacing_from"]))
    return affine @ to_old
