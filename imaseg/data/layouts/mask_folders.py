"""Cases with a mask per structure, as TotalSegmentator has them: `s1/ct.nii.gz`, `s1/segmentations/liver.nii.gz`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import SUFFIXES, is_picture, list_volumes, stem, walk
from imaseg.data.formats.checks import finite, one_per_voxel, same_place, same_shape, spacing
from imaseg.data.formats.scan import Scan, on_grid_of, read_scan
from imaseg.errors import InputError

_FOLDERS = ("segmentations", "masks")


def mask_folder_cases(root: Path) -> CaseSet | None:
    """A case per folder that holds one image and a folder of masks; None if there is no such folder.

    Label values are given to the names of structures in alphabetical order over all cases.
    """
    images: dict[Path, Path] = {}
    masks: dict[Path, list[Path]] = {}
    for folder, names in walk(root):
        volumes = [folder / n for n in names if n.lower().endswith(SUFFIXES) and not is_picture(folder / n)]
        if len(volumes) == 1 and folder.name not in _FOLDERS:
            images[folder] = volumes[0]
            inner = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
            masks[folder] = [path for path in list_volumes(inner[0]) if not is_picture(path)] if inner else []
    kinds = {images[folder].name for folder, found in masks.items() if found}
    if not kinds:
        return None
    structures = sorted({stem(path) for found in masks.values() for path in found})
    values = {name: value for value, name in enumerate(structures, 1)}
    cases = []
    for folder in (folder for folder, image in images.items() if image.name in kinds):
        files = masks[folder] or [folder / _FOLDERS[0]]
        name = "_".join(folder.relative_to(root).parts) or root.resolve().name
        cases.append(Case(name, (images[folder],), files[0], more_labels=tuple(files[1:]), segments=values))
    declared = {0: "background"} | {value: name for name, value in values.items()}
    return CaseSet(root, root.resolve().name, (), tuple(cases), declared)


def read_masks(paths: tuple[Path, ...], image: Scan, values: Mapping[str, int]) -> Scan:
    """Join the masks of one case on the grid of its image.

    Args:
        paths: a file per structure, named after it.
        image: they were drawn on.
        values: label value by name; other structures are left out.

    Raises:
        InputError: if a file is unreadable, lies on another grid, or is no mask.
    """
    label = np.zeros(image.data.shape[:3], np.uint8 if max(values.values(), default=0) < 256 else np.uint16)
    flags = []
    for path in (path for path in paths if stem(path) in values):
        scan = on_grid_of(read_scan(path, dtype=None), image)
        reasons = [*spacing(scan), *finite(scan), *one_per_voxel(scan)]
        reasons = reasons or same_shape(scan, image) or same_place(scan, image)
        if reasons:
            raise InputError(reasons[0])
        found = np.unique(scan.data).tolist()
        if len(found) > 2 or found[0] < 0 or (len(found) == 2 and found[0] != 0):
            few = ", ".join(f"{value:g}" for value in found[:4])
            msg = f"{scan.name} must mark one structure by one value on 0, got {few}."
            raise InputError(msg)
        mask = scan.data != 0
        over = int(np.count_nonzero(label[mask]))
        if over:
            flags.append(f"structure {stem(path)!r} overlaps others in {over} voxels, which it takes")
        label[mask] = values[stem(path)]
    return Scan(paths[0], label, image.affine.copy(), image.pixdim, flags=flags)
