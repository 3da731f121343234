"""Folders described by a `dataset.json`: Medical Segmentation Decathlon (MSD) and nnU-Net's raw data."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import ITK_SUFFIXES, NIFTI_SUFFIXES, PICTURE_SUFFIXES, TIFF_SUFFIXES, stem
from imaseg.data.formats.limits import MOST_VALUES
from imaseg.data.layouts.channels import checked_channels, split_name
from imaseg.data.layouts.links import listed_inside, tell_outside
from imaseg.data.layouts.paired import Declared, Pairs, channels_of, paired_cases
from imaseg.data.plain import is_number, read_json
from imaseg.errors import InputError

_VOLUMES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
_READERS = {
    "NaturalImage2DIO": PICTURE_SUFFIXES,
    "Tiff3DIO": TIFF_SUFFIXES,
    "SimpleITKIO": _VOLUMES,
    "SimpleITKIOWithReorient": _VOLUMES,
    "NibabelIO": _VOLUMES,
    "NibabelIOWithReorient": _VOLUMES,
}
"""nnU-Net's readers, and the suffixes of files that imaseg reads alike."""


def described_cases(root: Path, *, follow_links: bool = False) -> CaseSet:
    """Cases of a folder with a `dataset.json`.

    Those that it lists under `training` (MSD) or `dataset` (nnU-Net), else those of imagesTr (nnU-Net).

    Args:
        root: the folder.
        follow_links: let listed files be links to other folders; else such a case has a fault.

    Raises:
        InputError: if `dataset.json` is malformed.
    """
    content = read_json(root / "dataset.json")
    modality = _modality(root, content)
    pairs = _pairs(root, content, len(modality))
    if pairs.listed:
        tell_outside(root, pairs.cases)
    cases = pairs.cases if follow_links or not pairs.listed else listed_inside(root, pairs.cases)
    whole = [replace(case, channels=len(modality)) for case in cases]
    return CaseSet(
        root=root,
        name=str(content.get("name") or root.resolve().name),
        modality=modality,
        cases=tuple(whole),
        declared_labels=_labels(root, content.get("labels")),
        ignored=pairs.ignored,
    )


def _pairs(root: Path, content: dict[str, Any], channels: int) -> Pairs:
    listed, by_id = content.get("training"), content.get("dataset")
    if isinstance(listed, list) and listed:
        return Pairs(_listed(root, listed, channels), listed=True)
    if isinstance(by_id, dict) and by_id:
        return Pairs([_by_id(root, name, entry) for name, entry in by_id.items()], listed=True)
    _warn_of_reader(root, content)
    return paired_cases(root, Declared(channels or None, str(content.get("file_ending") or "")))


def _warn_of_reader(root: Path, content: dict[str, Any]) -> None:
    """Warn if nnU-Net is told to read these files by something that reads them otherwise than imaseg."""
    reader, ending = content.get("overwrite_image_reader_writer"), str(content.get("file_ending") or "").lower()
    suffixes = _READERS.get(str(reader), ())
    if reader and reader != "None" and not ending.endswith(suffixes):
        warnings.warn(
            f"overwrite_image_reader_writer in {root / 'dataset.json'} names {reader}, which is not run: files are "
            "read by their suffix. Compare a case with what it gives.",
            stacklevel=2,
        )


def _by_id(root: Path, name: str, entry: Any) -> Case:
    """A case that nnU-Net's `dataset` key lists, with paths that may lead anywhere."""
    images, label = (entry.get("images"), entry.get("label")) if isinstance(entry, dict) else (None, None)
    images = images if isinstance(images, list) else []
    if not images or not all(_is_path(root, path) for path in (*images, label or "")):
        _malformed(root, f"case {name!r} of dataset", '{"images": [...], "label": ...}', entry)
    return Case(name, tuple(root / path for path in images), root / label if label else None)


def _listed(root: Path, entries: list[Any], channels: int) -> list[Case]:
    cases = []
    from_zero = all(_number(entry) == 0 for entry in entries)
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str | list):
            _malformed(root, "each entry of training", '{"image": ..., "label": ...}', entry)
        names = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
        label = entry.get("label")
        if not all(_is_path(root, name) for name in (*names, label or "")) or not names:
            _malformed(root, "image and label of each entry of training", "file names", entry)
        image = tuple(path for name in names for path in channels_of(root / name))
        name = _case_id(Path(names[0]), Path(label) if label else None, from_zero=from_zero)
        if not name:
            _malformed(root, "each image of training", "a file name", names[0])
        fault = ""
        if len(names) == 1 and image != (root / names[0],):
            image, fault = checked_channels(name, image, range(max(channels, 1)))
        cases.append(Case(name, image, root / label if label else None, fault=fault))
    _require_unique((case.id for case in cases), root)
    return cases


def _is_path(root: Path, value: Any) -> bool:
    """Whether a value is text that the file system takes as a path: names may be too long for it."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value) and ((root / value).is_file() or True)
    except (OSError, ValueError):  # ValueError: half a character
        return False


def _number(entry: Any) -> int | None:
    """Four-digit number at the end of the first image of an entry."""
    image = entry.get("image") if isinstance(entry, dict) else None
    first = image[0] if isinstance(image, list) and image else image
    return split_name(stem(Path(first)))[1] if isinstance(first, str) else None


def _case_id(image: Path, label: Path | None, *, from_zero: bool) -> str:
    """Id of a listed image: its stem, without the number of a channel.

    Four digits number channels if the label lacks them or, without a label, if all listed images end in `_0000`.
    """
    name, number = split_name(stem(image))
    if number is None or (label is not None and stem(label) == stem(image)):
        return stem(image)
    return name if from_zero or (label is not None and stem(label) == name) else stem(image)


def _labels(root: Path, declared: Any) -> dict[int, str] | None:
    """`{"0": "background"}` (MSD) and `{"background": 0}` (nnU-Net) both become `{0: "background"}`.

    Of nnU-Net's regions (`{"whole": [1, 2]}`) the values are labels; those without a name of their own are called by
    their number.
    """
    if not declared:
        return None
    if not isinstance(declared, dict):
        _malformed(root, "labels", 'an object such as {"0": "background", "1": "tumour"}', declared)
    members = sum(len(value) if isinstance(value, list) else 1 for value in declared.values())
    if members > MOST_VALUES:
        _malformed(root, "labels", f"{MOST_VALUES} values at most, those of regions among them", members)
    labels: dict[int, str] = {}
    inside: set[int] = set()
    for key, value in declared.items():
        if isinstance(value, list) and value and all(isinstance(member, int) and member >= 0 for member in value):
            inside |= {*value}
            continue
        if is_number(key.strip()):
            number, name = int(key), str(value)
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            number, name = value, str(key)
        else:
            _malformed(root, f"label {key!r}", "one whole number, or those of a region", value)
        if number in labels:
            _malformed(root, f"label value {number}", "declared once", [labels[number], name])
        labels[number] = name
    unnamed = {number: str(number) for number in inside}
    return dict(sorted(({0: "background"} | unnamed | labels).items()))


def _modality(root: Path, content: dict[str, Any]) -> tuple[str, ...]:
    declared = content.get("channel_names") or content.get("modality") or {}
    if isinstance(declared, str):
        return (declared,)
    if not isinstance(declared, dict) or not all(is_number(key) for key in declared):
        _malformed(root, "modality", 'an object such as {"0": "MRI"}', declared)
    return tuple(str(declared[key]) for key in sorted(declared, key=int))


def _require_unique(ids: Iterable[str], root: Path) -> None:
    seen: set[str] = set()
    for i in ids:
        if i in seen:
            _malformed(root, "case ids", "unique", i)
        seen.add(i)


def _malformed(root: Path, what: str, constraint: str, value: object) -> None:
    msg = f"{what} in {root / 'dataset.json'} must be {constraint}, got {value!r:.300}."
    raise InputError(msg)
