"""The change that an attack makes to a prepared image, taken back to the native image.

Only the change is taken back, so that voxels which the attack did not change keep their native values exactly. Where
the preparation cannot be inverted:

- Resampling: the native change is the one whose preparation is nearest to the attack's change. Neither it nor its
  preparation is larger than the attack's change.
- Clipping and zeros: beyond the clip limits a change has no effect, and for `zscore` and `percentile` a native 0 means
  background, which is left out of mean and percentiles. `reached` marks the other voxels; zeros stay zeros.
- A deformation may move tissue to such voxels. There the change starts from the clip limit, and values that become 0
  are exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from imaseg.data.inverse.grid import GridMap
from imaseg.data.inverse.invert import invert_label
from imaseg.data.preparation.bias import bias_field
from imaseg.data.preparation.intensity import shift_and_scale
from imaseg.data.volume import Step, Volume

_ROUNDING = 1e-5
_OUTSIDE_STAYS_ZERO = "masked-zscore"
"""Normalisation that leaves zeros as they are."""


def reached(image: NDArray[np.float32], steps: Sequence[Step]) -> NDArray[np.bool_]:
    """Mask (C, X, Y, Z) of prepared voxels that are neither clipped nor background, so that attacks may change them."""
    free = np.ones(image.shape, bool)
    for step in _normalised(steps):
        values, (shift, scale) = image[step["channel"]], shift_and_scale(step)
        if "low" in step:
            low, high = (np.float32((step[end] - shift) / scale) for end in ("low", "high"))
            free[step["channel"]] &= (values > low) & (values < high)
        if _knows_zeros(step):
            nothing = 0.0 if step["method"] == _OUTSIDE_STAYS_ZERO else -shift / scale
            free[step["channel"]] &= values != np.float32(step.get("becomes", nothing))
    return free & _inside(image.shape[1:], steps)


def _inside(shape: Sequence[int], steps: Sequence[Step]) -> NDArray[np.bool_]:
    """Mask (X, Y, Z) of prepared voxels that are no padding; one voxel where nothing was padded."""
    padded = [step for step in steps if step["name"] == "crop" and _pads(step)]
    if not padded:
        return np.ones((1,) * len(shape), bool)
    native = next(step["shape_from"] for step in steps if "shape_from" in step)
    return GridMap(native, steps).forward(np.ones(native, np.float32)) > _ROUNDING


def _pads(step: Step) -> bool:
    sides = zip(step["start"], step["shape"], step["shape_from"], strict=True)
    return any(start < 0 or start + side > whole for start, side, whole in sides)


def clip_limits(image: NDArray[np.float32], steps: Sequence[Step]) -> tuple[float, float] | None:
    """Lowest and highest value in a prepared image; None if nothing is clipped or there are several channels."""
    clipped = [step for step in _normalised(steps) if "low" in step]
    if len(image) > 1 or not clipped:
        return None
    shift, scale = shift_and_scale(clipped[0])
    low, high = (float(np.float32((clipped[0][end] - shift) / scale)) for end in ("low", "high"))
    return min(low, float(image.min())), max(high, float(image.max()))


def native_change(
    change: NDArray[np.float32], native: Volume, steps: Sequence[Step], *, moved: bool = False
) -> NDArray[np.float64]:
    """The change to add to a native image, on its grid and in its units.

    Args:
        change: (C, X, Y, Z) in prepared space: attacked minus clean.
        native: the volume that was prepared.
        steps: the records of its preparation; none if the native image is what the model takes.
        moved: whether tissue was moved (a deformation) rather than its intensity changed.

    Returns:
        (C, X, Y, Z), exactly 0 where the attack touched nothing.
    """
    kept = np.zeros(native.image.shape, bool)
    if not moved:
        for step in _normalised(steps):
            kept[step["channel"]] = _background(native.image[step["channel"]], step)
    wide = _spread(change, native, steps, ~kept).astype(np.float64)
    for step in _normalised(steps):
        i = step["channel"]
        wide[i] *= shift_and_scale(step)[1]
        bias = native_bias(steps, i, native.shape)
        if moved:
            wide[i] = _replaced(wide[i], native.image[i] / bias, step)
        wide[i] *= bias
    return wide


def native_bias(steps: Sequence[Step], channel: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Bias field that N4 divided a channel by, on the native grid; an array of ones without N4."""
    corrections = [step for step in steps if step["name"] == "n4" and step["channel"] == channel]
    if not corrections:
        return np.ones((1, 1, 1), np.float32)
    oriented = [step for step in steps if step["name"] == "orient"]
    if not oriented:
        return bias_field(corrections[0], shape)
    here, there = (nib.orientations.axcodes2ornt(oriented[0][end]) for end in ("from", "to"))
    turned = nib.apply_orientation(np.empty(shape, bool), nib.orientations.ornt_transform(here, there)).shape
    return nib.apply_orientation(bias_field(corrections[0], turned), nib.orientations.ornt_transform(there, here))


def native_label(
    moved: NDArray[np.int64], label: NDArray[np.int64], native: Volume, steps: Sequence[Step]
) -> NDArray[np.int64]:
    """The native label (X, Y, Z) with the voxels replaced whose prepared label was changed by an attack.

    Args:
        moved: the label in prepared space after the attack.
        label: the same before.
        native: the volume that was prepared, with its label.
        steps: the records of its preparation.
    """
    after, before = (invert_label(np.ascontiguousarray(array), steps) for array in (moved, label))
    kept: NDArray[np.int64] = native.label if native.label is not None else before
    return np.where(after != before, after, kept)


def _spread(
    change: NDArray[np.float32], native: Volume, steps: Sequence[Step], allowed: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The change on the native grid, still in prepared units, at `allowed` voxels only."""
    grid = GridMap(native.shape, steps)
    native_channels = [grid.nearest_source(wanted, allowed=free) for wanted, free in zip(change, allowed, strict=True)]
    length = float(np.linalg.norm(change))
    arrives = float(np.linalg.norm([np.linalg.norm(grid.forward(channel)) for channel in native_channels]))
    return np.stack(native_channels) / np.float32(max(arrives / length, 1.0) if resampled(steps) and length else 1.0)


def _replaced(added: NDArray[np.float64], values: NDArray[np.float32], step: Step) -> NDArray[np.float64]:
    """The native change of one channel for a deformation, which may move tissue to clipped or background voxels."""
    before = values.astype(np.float64)
    if "low" in step:
        added = np.where(added != 0, added + before.clip(step["low"], step["high"]) - before, 0.0)
    if _knows_zeros(step):
        empty = step.get("background", 0.0)
        nothing = (added != 0) & (np.abs(before + added - empty) < _ROUNDING * shift_and_scale(step)[1])
        added = np.where(nothing, empty - before, added)
    return added


def resampled(steps: Sequence[Step]) -> bool:
    """Whether a step changed the voxel size."""
    return any(step["name"] == "resample" and step["spacing_from"] != step["spacing_to"] for step in steps)


def _normalised(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step["name"] == "normalise"]


def _background(native: NDArray[np.float32], step: Step) -> NDArray[np.bool_]:
    """Native voxels that a normalise step takes for no tissue."""
    if not _knows_zeros(step):
        return np.zeros(native.shape, bool)
    value = step.get("background", 0.0)
    return native <= value if value <= step.get("low", -np.inf) else native == value


def _knows_zeros(step: Step) -> bool:
    """Whether a value of 0 means "no tissue" to a normalise step."""
    if step["method"] == _OUTSIDE_STAYS_ZERO or "background" in step:
        return True
    return step["method"] in ("zscore", "percentile") and step.get("within", "nonzero") == "nonzero"
