"""Two folders, one of images and one of labels, whose files are paired by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imaseg.data.cases import Case
from imaseg.data.files import SUFFIXES, list_volumes, stem
from imaseg.data.layouts.channels import checked_channels, expected_numbers, numbers_are_channels, split_name
from imaseg.data.layouts.patterns import without_image_word, without_label_word
from imaseg.errors import InputError

FOLDER_PAIRS = (
    ("imagesTr", ("labelsTr",)),
    ("images", ("labels", "masks", "segmentations", "label", "mask")),
    ("image", ("label", "mask", "labels", "masks")),
)
"""Folder of images, and names that its folder of labels may have."""
WITHOUT_IMAGE = "label without an image"


@dataclass(frozen=True)
class Declared:
    """What a `dataset.json` of nnU-Net says of the files beside it.

    Attributes:
        channels: number of channels; None where it does not say.
        ending: of the names of all images and labels, such as `.nii.gz`; empty for any.
    """

    channels: int | None = None
    ending: str = ""


@dataclass
class Pairs:
    """Cases of two folders, and the files that are none with the reason."""

    cases: list[Case]
    ignored: dict[Path, str] = field(default_factory=dict)
    listed: bool = False
    """Whether paths of a `dataset.json` led to them, rather than the names of what lies in the folders."""


def paired_cases(root: Path, declared: Declared | None = None) -> Pairs:
    """Pair images and labels by stem; images that end in `_0000`, `_0001` are channels of one case.

    Args:
        root: holds the two folders.
        declared: what `dataset.json` says; None without one.

    Raises:
        InputError: if there is no folder of images, several files for one case, no file with the declared ending, or
            if channels cannot be told from cases.
    """
    pair = next((pair for pair in FOLDER_PAIRS if (root / pair[0]).is_dir()), None)
    if pair is None:
        msg = f"{root} must hold imagesTr/ beside its dataset.json, got none."
        raise InputError(msg)
    image_folder, label_folders = root / pair[0], pair[1]
    label_folder = next((root / name for name in label_folders if (root / name).is_dir()), root / label_folders[0])
    ignored: dict[Path, str] = {}
    ending = declared.ending if declared else ""
    files = _with_ending(label_folder, ending, ignored) if label_folder.is_dir() else []
    without_word = {without_label_word(stem(path)): path for path in files}
    labels = (without_word if len(without_word) == len(files) else {}) | {stem(path): path for path in files}
    suffix = files[0].name.removeprefix(stem(files[0])) if files else ""
    cases = []
    groups = grouped(_with_ending(image_folder, ending, ignored), labels, declared)
    expected = expected_numbers(groups, declared.channels if declared else None)
    for name, paths in groups.items():
        image, fault = checked_channels(name, paths, expected)
        label = labels.get(name) or (label_folder / f"{name}{suffix}" if files else None)
        cases.append(Case(name, image, label, fault=fault))
    used = {case.label for case in cases}
    ignored |= {path: WITHOUT_IMAGE for path in files if path not in used}
    return Pairs(cases, ignored)


def unlabelled_cases(paths: list[Path]) -> list[Case]:
    """Image files of one folder as cases without labels; `_0000`, `_0001` at the end are channels of one case."""
    groups = grouped(paths, {})
    expected = expected_numbers(groups, None)
    checked = {name: checked_channels(name, files, expected) for name, files in groups.items()}
    return [Case(name, image, None, fault=fault) for name, (image, fault) in checked.items()]


def grouped(paths: list[Path], labels: Mapping[str, Path], declared: Declared | None = None) -> dict[str, list[Path]]:
    """Image files by the id of their case.

    The id is the file's stem or, without a word such as `_image` at its end, what is left of it, if there is a label
    of that name; else the stem, without the number of the channel where it ends in one.

    Raises:
        InputError: if two files have one id and number.
    """
    channels = numbers_are_channels(paths, labels, declared=declared is not None) if paths else False
    groups: dict[str, list[Path]] = {}
    for path in paths:
        name = stem(path)
        bare = next((word for word in (name, without_image_word(name)) if word in labels), None)
        groups.setdefault(bare or (split_name(name)[0] if channels else name), []).append(path)
    for name, files in groups.items():
        if len({split_name(stem(path)) for path in files}) < len(files) or (
            len(files) > 1 and any(split_name(stem(path))[1] is None for path in files)
        ):
            msg = (
                f"{paths[0].parent.parent} must hold one file per case and channel, got {len(files)} files for {name}."
            )
            raise InputError(msg)
    return groups


def channels_of(image: Path) -> list[Path]:
    """Channel files of a listed image: itself if it exists, else those with `_0000`, `_0001` added (nnU-Net)."""
    if image.is_file() or not image.parent.is_dir():
        return [image]
    name = stem(image)
    siblings = [p for p in list_volumes(image.parent) if split_name(stem(p))[1] is not None and stem(p)[:-5] == name]
    return siblings or [image]


def _with_ending(folder: Path, ending: str, ignored: dict[Path, str]) -> list[Path]:
    """Image files of a folder whose names end as `dataset.json` says; the others are noted in `ignored`."""
    if not ending:
        return list_volumes(folder)
    if not ending.lower().endswith(SUFFIXES):
        msg = f"file_ending in {folder.parent / 'dataset.json'} must be one of {', '.join(SUFFIXES)}, got {ending!r}."
        raise InputError(msg)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    fits = [path for path in files if path.name.lower().endswith(ending.lower())]
    if not fits and (others := list_volumes(folder)):
        msg = (
            f"{folder} must hold files that end in {ending}, as file_ending in dataset.json says, got "
            f"{others[0].name}. Correct file_ending."
        )
        raise InputError(msg)
    reason = f"not {ending}, as file_ending in dataset.json says"
    ignored |= {path: reason for path in files if path not in fits and path.name.lower().endswith(SUFFIXES)}
    return fits
