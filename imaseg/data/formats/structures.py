"""Structures that files know by name (SEG, RTSTRUCT, `.seg.nrrd`) joined into a label on the grid of their image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.names import first_spellings
from imaseg.data.formats.scan import Scan, on_grid_of
from imaseg.errors import InputError

Mask = tuple[str, NDArray[np.bool_], list[str]]
"""Name, voxels, and what was not plain about them."""
MasksOf = Callable[[Path, Scan, Mapping[str, int]], Iterator[tuple[str, int, NDArray[np.bool_], list[str]]]]
"""Masks of a file on the grid of an image, with the values of those that are wanted."""
_FEW = 3


def join_structures(paths: tuple[Path, ...], image: Scan, values: Mapping[str, int], masks_of: MasksOf) -> Scan:
    """Join the structures of one or several files on the grid of `image`.

    Args:
        paths: of the files.
        image: the series they were drawn on.
        values: label value by structure name; other structures are left out. Several spellings may have one value.
        masks_of: reads a file.

    Raises:
        InputError: if a file is unreadable, lies on another grid or in another frame of reference, or a structure is
            there twice: in two files, or in one by names that differ by case or blanks only.
    """
    label = np.zeros(image.data.shape[:3], np.uint8 if max(values.values(), default=0) < 256 else np.uint16)
    flags = [f"structures of {len(paths)} files joined"] if len(paths) > 1 else []
    names = first_spellings(values)
    marked: dict[int, bool] = {}
    for path in paths:
        if not path.is_file():
            msg = f"{path} must exist, got nothing there."
            raise InputError(msg)
        before = {*marked}
        for name, value, mask, notes in masks_of(path, image, values):
            if value in before:
                msg = f"{path} must not hold {name!r} again, got it in another segmentation of the series. Keep one."
                raise InputError(msg)
            flags += [f"structure {name!r} of {path.name}: {note}" for note in notes]
            if name != names[value]:
                flags.append(f"structure {name!r} of {path.name} taken for {names[value]!r}")
            if value in marked:
                flags.append(f"several structures of {path.name} are called {name!r}; joined")
            if taken := _covered(label[mask], names, value):
                flags.append(f"structure {name!r} of {path.name} takes voxels of those that it overlaps: {taken}")
            label[mask] = value
            marked[value] = marked.get(value, False) or bool(mask.any())
    if not marked:
        few = ", ".join(repr(name) for name in list(names.values())[:_FEW])
        msg = (
            f"{paths[0]} must hold a structure that is wanted ({few}{', ...' * (len(names) > _FEW)}), got others only."
        )
        raise InputError(msg)
    return Scan(paths[0], label, image.affine.copy(), image.pixdim, flags=flags + _about_voids(label, names, marked))


def _covered(before: NDArray[np.integer], names: Mapping[int, str], value: int) -> str:
    """How many voxels of which other structures a new one covers."""
    found, counts = np.unique(before, return_counts=True)
    return ", ".join(
        f"{count} of {names[old]!r}"
        for old, count in zip(found.tolist(), counts.tolist(), strict=True)
        if old not in (0, value)
    )


def _about_voids(label: NDArray[np.generic], names: Mapping[int, str], marked: Mapping[int, bool]) -> list[str]:
    """Flags about structures that have no voxel in the label: empty, covered by others, or absent."""
    there = {int(value) for value in np.unique(label)}
    flags = []
    for value in (value for value in marked if value not in there):
        why = "is covered by others" if marked[value] else "marks no voxel of the image"
        flags.append(f"structure {names[value]!r} {why}")
    absent = [repr(name) for value, name in names.items() if value not in marked]
    if absent:
        more = f" and {len(absent) - _FEW} more" if len(absent) > _FEW else ""
        flags.append(f"without the structures {', '.join(absent[:_FEW])}{more} of other cases: background here")
    return flags


def placed(part: Scan, image: Scan) -> NDArray[np.bool_]:
    """Mask on the grid of `image` with the voxels of `part`, which may cover only some slices, at their place."""
    turned = on_grid_of(part, image)
    to_image = np.linalg.inv(image.affine) @ turned.affine
    start = np.rint(to_image[:3, 3]).astype(int)
    shape = np.asarray(turned.data.shape)
    # One slice has no spacing of its own: its third side says nothing.
    sides = [axis for axis in range(3) if shape[axis] > 1]
    drift = np.abs((to_image[:3, :3] - np.eye(3))[:, sides]) * (shape[sides] - 1) if sides else np.zeros((3, 1))
    if drift.max() > 0.5 or np.abs(to_image[:3, 3] - start).max() > 0.25:
        msg = f"{part.path} must lie on the voxels of its image, got another grid. Resample it to the image."
        raise InputError(msg)
    whole = np.zeros(image.data.shape[:3], bool)
    low, high = np.maximum(start, 0), np.minimum(start + shape, whole.shape)
    if (low < high).all():
        inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = turned.data[inside]
    return whole
