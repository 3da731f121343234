"""Structures that files know by name (SEG, RTSTRUCT, `.seg.nrrd`): which are wanted, and joining them to a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.scan import Scan, on_grid_of
from imaseg.errors import InputError

Mask = tuple[str, NDArray[np.bool_], list[str]]
"""Name, voxels, and what was not plain about them."""
MasksOf = Callable[[Path, Scan, Mapping[str, int]], Iterator[tuple[str, int, NDArray[np.bool_], list[str]]]]
"""Masks of a file on the grid of an image, with the values of those that are wanted."""
_FEW = 3


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Label value of every spelling of a name, in the order of their first appearance.

    >>> numbered(["GTV", "Lung L", "gtv "])
    {'GTV': 1, 'Lung L': 2, 'gtv ': 1}
    """
    by_letters: dict[str, int] = {}
    return {name: by_letters.setdefault(letters(name), len(by_letters) + 1) for name in names}


def first_spellings(values: Mapping[str, int]) -> dict[int, str]:
    """Name by value; the first spelling stands for all."""
    names: dict[int, str] = {}
    for name, value in values.items():
        names.setdefault(value, name)
    return dict(sorted(names.items()))


def letters(name: str) -> str:
    """A name without what people write now one way, now another: case and blanks.

    >>> letters("Lung L "), letters("lungL")
    ('lungl', 'lungl')
    """
    return "".join(name.split()).casefold()


def chosen_structures(path: Path, names: Sequence[str], values: Mapping[str, int]) -> dict[str, int]:
    """Label value of each wanted name of a file; a name matches as it is spelled, else without case and blanks.

    Args:
        path: of the file, for errors.
        names: of its structures.
        values: label value by wanted name.

    Raises:
        InputError: if names that differ by case or blanks only match one value.
    """
    loosely = {letters(name): value for name, value in values.items()}
    spellings: dict[int, list[str]] = {}
    for name in dict.fromkeys(names):
        value = values.get(name, loosely.get(letters(name)))
        if value is not None:
            spellings.setdefault(value, []).append(name)
    chosen = {}
    for value, found in spellings.items():
        best = [name for name in found if name in values] or found
        if len(best) > 1:
            got = " and ".join(map(repr, best))
            msg = (
                f"{path} must hold structures whose names differ by more than case and blanks, got {got}. Rename one, "
                f"or name the one to take in a --config file, such as labels: {{{value}: {best[0]!r}}}."
            )
            raise InputError(msg)
        chosen[best[0]] = value
    return chosen


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
            over = int(((label > 0) & (label != value))[mask].sum())
            if over:
                flags.append(f"structure {name!r} of {path.name} overlaps others in {over} voxels, which it takes")
            label[mask] = value
            marked[value] = marked.get(value, False) or bool(mask.any())
    if not marked:
        few = ", ".join(repr(name) for name in list(names.values())[:_FEW])
        msg = (
            f"{paths[0]} must hold a structure that is wanted ({few}{', ...' * (len(names) > _FEW)}), got others only."
        )
        raise InputError(msg)
    return Scan(paths[0], label, image.affine.copy(), image.pixdim, flags=flags + _about_voids(label, names, marked))


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
