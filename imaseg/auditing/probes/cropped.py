"""What the page's viewer shows of an attack on a 3D case: the part around the structures, in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MARGIN_MM = 8.0
_LONGEST = 96
"""Voxels along a side; of longer ones every second, third ... is kept."""


def cropped(
    image: NDArray[Any], change: NDArray[Any], *, classes: dict[str, NDArray[Any]], affine: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Arrays whose names begin with `volume_`.

    Args:
        image: (X, Y, Z), in the model's units.
        change: what an attack added to it.
        classes: maps of classes by name; the part around the first two is kept, around all where those are empty.
        affine: voxel index to world in mm.

    Returns:
        `image` (0 to 255 over `window`), `change` (-127 to 127 for its largest size, `scale`), the maps of classes, and
        where they lie: `start` and `step` in voxels of the whole case, and the case's `affine`.
    """
    first, step = _part([*classes.values()], affine)
    part = tuple(slice(int(a), int(b), int(s)) for a, b, s in zip(*first, step, strict=True))
    inside, added = np.nan_to_num(image[part]), np.nan_to_num(change[part])
    low, high = np.percentile(inside, [1, 99])
    scale = float(np.abs(added).max(initial=0.0))
    grey = np.clip((inside - low) / max(high - low, 1e-12), 0, 1) * 255
    found = {
        "image": grey.round().astype(np.uint8),
        "change": (added / (scale or 1.0) * 127).round().astype(np.int8),
        **{name: values[part].astype(np.uint8) for name, values in classes.items()},
        "window": np.array([low, high]),
        "scale": np.array(scale),
        "start": first[0],
        "step": step,
        "affine": affine,
    }
    return {f"volume_{name}": values for name, values in found.items()}


def _part(classes: list[NDArray[Any]], affine: NDArray[Any]) -> tuple[tuple[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """First and last voxel of the part along each axis, and the step between voxels that are kept."""
    shape = np.array(classes[0].shape)
    held = [np.any([one > 0 for one in some], axis=0) for some in (classes[:2], classes)]
    mask = next((each for each in held if each.any()), np.ones(shape, bool))
    spots = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    room = np.ceil(_MARGIN_MM / np.linalg.norm(affine[:3, :3], axis=0)).astype(int)
    first, last = (np.array([spot[end] for spot in spots]) for end in (0, -1))
    ends = np.maximum(first - room, 0), np.minimum(last + room + 1, shape)
    return ends, np.ceil((ends[1] - ends[0]) / _LONGEST).astype(int)
