"""Two folders, one of images and one of labels, whose files are paired by name."""

from __future__ import annotations

import re
from pathlib import Path

from imaseg.data.cases import Case
from imaseg.data.files import list_volumes, stem
from imaseg.data.layouts.patterns import without_image_word, without_label_word
from imaseg.errors import InputError

CHANNEL = re.compile(r"^(?P<id>.+)_(?P<channel>\d{4})$")
"""File names of nnU-Net, which end in the number of the channel."""
FOLDER_PAIRS = (
    ("imagesTr", ("labelsTr",)),
    ("images", ("labels", "masks", "segmentations", "label", "mask")),
    ("image", ("label", "mask", "labels", "masks")),
)
"""Folder of images, and names that its folder of labels may have."""


def paired_cases(root: Path) -> list[Case]:
    """Pair images and labels by stem; images that end in `_0000`, `_0001` are channels of one case."""
    pair = next((pair for pair in FOLDER_PAIRS if (root / pair[0]).is_dir()), None)
    if pair is None:
        msg = f"{root} must hold imagesTr/ beside its dataset.json, got none."
        raise InputError(msg)
    image_folder, label_folders = pair
    label_folder = next((root / name for name in label_folders if (root / name).is_dir()), root / label_folders[0])
    files = list_volumes(label_folder) if label_folder.is_dir() else []
    without_word = {without_label_word(stem(path)): path for path in files}
    labels = (without_word if len(without_word) == len(files) else {}) | {stem(path): path for path in files}
    images: dict[str, list[Path]] = {}
    for path in list_volumes(root / image_folder):
        images.setdefault(image_id(path, labels), []).append(path)
    for name, paths in images.items():
        if len(paths) > 1 and not all(CHANNEL.match(stem(path)) for path in paths):
            msg = f"{root} must hold one file per case and channel, got {len(paths)} files for {name}."
            raise InputError(msg)
    suffix = files[0].name.removeprefix(stem(files[0])) if files else ""
    return [
        Case(name, tuple(paths), labels.get(name) or (label_folder / f"{name}{suffix}" if files else None))
        for name, paths in images.items()
    ]


def channels_of(image: Path) -> list[Path]:
    """Channel files of a listed image: itself if it exists, else those with `_0000`, `_0001` added (nnU-Net)."""
    if image.is_file() or not image.parent.is_dir():
        return [image]
    name = stem(image)
    siblings = [p for p in list_volumes(image.parent) if CHANNEL.match(stem(p)) and stem(p)[:-5] == name]
    return siblings or [image]


def image_id(path: Path, labels: dict[str, Path]) -> str:
    """Id of the case that an image file belongs to.

    The file's stem or, without a word such as `_image` at its end, what is left of it, if there is a label of that
    name; else the stem without its channel number.
    """
    name = stem(path)
    match = CHANNEL.match(name)
    for candidate in (name, without_image_word(name)):
        if candidate in labels:
            return candidate
    return match["id"] if match else name
