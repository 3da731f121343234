"""Mask files, one per structure, joined into one label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imaseg.data.files import stem
from imaseg.data.formats.checks import finite, one_per_voxel, same_place, same_shape, spacing
from imaseg.data.formats.read import read_scan
from imaseg.data.formats.scan import Scan, on_grid_of
from imaseg.errors import InputError


def read_masks(paths: tuple[Path, ...], image: Scan, values: Mapping[str, int]) -> Scan:
    """Join the masks of one case on the grid of its image, as if painted from the largest to the smallest.

    A tumour core inside a whole tumour would otherwise vanish if the whole came later.

    Args:
        paths: a file per structure, named after it.
        image: they were drawn on.
        values: label value by name; other structures are left out.

    Raises:
        InputError: if a file is unreadable, lies on another grid, or is no mask.
    """
    label = np.zeros(image.data.shape[:3], np.uint8 if max(values.values(), default=0) < 256 else np.uint16)
    flags, sizes = [], np.full(max(values.values(), default=0) + 1, np.inf)
    for path in (path for path in paths if stem(path) in values):
        scan = on_grid_of(read_scan(path, dtype=None, label=True), image)
        reasons = [*spacing(scan), *finite(scan), *one_per_voxel(scan)]
        reasons = reasons or same_shape(scan, image) or same_place(scan, image)
        if reasons:
            raise InputError(reasons[0])
        mask_values = np.unique(scan.data).tolist()
        if len(mask_values) > 2 or mask_values[0] < 0 or (len(mask_values) == 2 and mask_values[0] != 0):
            few = ", ".join(f"{value:g}" for value in mask_values[:4])
            msg = f"{scan.name} must mark one structure by one value on 0, got {few}."
            raise InputError(msg)
        mask = scan.data != 0
        over = int(np.count_nonzero(label[mask]))
        if over:
            flags.append(f"structure {stem(path)!r} overlaps others in {over} voxels, which the smaller one takes")
        sizes[values[stem(path)]] = size = np.count_nonzero(mask)
        label[mask & (sizes[label] >= size)] = values[stem(path)]
    return Scan(paths[0], label, image.affine.copy(), image.pixdim, flags=flags)
