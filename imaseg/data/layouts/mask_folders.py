"""Cases with a mask per structure, as TotalSegmentator has them: `s1/ct.nii.gz`, `s1/segmentations/liver.nii.gz`."""

from __future__ import annotations

from pathlib import Path

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import images_among, is_picture, list_volumes, stem, walk

_FOLDERS = ("segmentations", "masks")


def mask_folder_cases(root: Path) -> CaseSet | None:
    """A case per folder that holds one image and a folder of masks; None if there is no such folder.

    Structures are numbered from 1 in alphabetical order of their names over all cases.
    """
    images: dict[Path, Path] = {}
    masks: dict[Path, list[Path]] = {}
    for folder, names in walk(root):
        volumes = [path for path in images_among(folder / name for name in names) if not is_picture(path)]
        if len(volumes) == 1 and folder.name not in _FOLDERS:
            images[folder] = volumes[0]
            inner = [folder / name for name in _FOLDERS if (folder / name).is_dir()]
            masks[folder] = [path for path in list_volumes(inner[0]) if not is_picture(path)] if inner else []
    image_names = {images[folder].name for folder, files in masks.items() if files}
    if not image_names:
        return None
    structures = sorted({stem(path) for files in masks.values() for path in files})
    values = {name: value for value, name in enumerate(structures, 1)}
    cases = []
    for folder in (folder for folder, image in images.items() if image.name in image_names):
        files = masks[folder] or [folder / _FOLDERS[0]]
        name = "_".join(folder.relative_to(root).parts) or root.resolve().name
        cases.append(Case(name, (images[folder],), files[0], more_labels=tuple(files[1:]), segments=values))
    declared = {0: "background"} | {value: name for name, value in values.items()}
    return CaseSet(root, root.resolve().name, (), tuple(cases), declared)
