"""Folder layouts told apart by inspection; each function turns one of them into a CaseSet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import list_volumes, read_json, stem
from imaseg.data.layouts.patterns import matched, named_pairs, without_image_word, without_label_word
from imaseg.errors import InputError

if TYPE_CHECKING:
    from imaseg.data.layouts.patterns import Layout

_CHANNEL = re.compile(r"^(?P<id>.+)_(?P<channel>\d{4})$")
_FOLDER_PAIRS = (
    ("imagesTr", ("labelsTr",)),
    ("images", ("labels", "masks", "segmentations", "label", "mask")),
    ("image", ("label", "mask", "labels", "masks")),
)


def find_cases(root: Path, layout: Layout | None = None) -> CaseSet:
    """Read whichever supported layout `root` has, or the one whose patterns are given.

    Raises:
        InputError: if it has none, or the one it has is malformed.
    """
    if layout is not None:
        cohort = CaseSet(root, root.resolve().name, (), tuple(matched(root, layout)))
    elif (root / "dataset.json").is_file():
        return _described(root, read_json(root / "dataset.json"))
    elif any((root / images).is_dir() and list_volumes(root / images) for images, _ in _FOLDER_PAIRS):
        cohort = CaseSet(root, root.resolve().name, (), tuple(_paired(root)))
    elif masked := _masked(root):
        cohort = masked
    elif named := named_pairs(root):
        cohort = CaseSet(root, root.resolve().name, (), tuple(named))
    else:
        from imaseg.data.layouts.dicom_tree import dicom_cases

        cohort = dicom_cases(root)
        if not cohort.cases and not any((root / images).is_dir() for images, _ in _FOLDER_PAIRS):
            wanted = " or ".join(f"{images}/ + {labels[0]}/" for images, labels in _FOLDER_PAIRS[:2])
            msg = f"{root} must hold dataset.json or {wanted} or x_image + x_label files or DICOM, got none of them."
            raise InputError(msg)
    return replace(cohort, split=_split(root), prepared=_prepared(root))


def _masked(root: Path) -> CaseSet | None:
    from imaseg.data.layouts.mask_folders import mask_folder_cases

    return mask_folder_cases(root)


def _described(root: Path, content: dict[str, Any]) -> CaseSet:
    """MSD lists its cases under `training`; nnU-Net leaves them to the file names."""
    listed = content.get("training")
    cases = _listed(root, listed) if isinstance(listed, list) and listed else _paired(root)
    return CaseSet(
        root=root,
        name=str(content.get("name") or root.resolve().name),
        modality=_modality(root, content),
        cases=tuple(cases),
        declared_labels=_labels(root, content.get("labels")),
        split=_split(root),
        prepared=_prepared(root),
    )


def _listed(root: Path, entries: list[Any]) -> list[Case]:
    cases = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str | list):
            _malformed(root, "each entry of training", '{"image": ..., "label": ...}', entry)
        names = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
        label = entry.get("label")
        if not all(isinstance(name, str) for name in (*names, label or "")) or not names:
            _malformed(root, "image and label of each entry of training", "file names", entry)
        image = tuple(path for name in names for path in channels_of(root / name))
        name = _case_id(Path(names[0]), Path(label) if label else None)
        cases.append(Case(name, image, root / label if label else None))
    _require_unique((case.id for case in cases), root)
    return cases


def _case_id(image: Path, label: Path | None) -> str:
    """Id of a listed image: its stem, without the channel number that nnU-Net files carry and labels do not."""
    match = _CHANNEL.match(stem(image))
    own = label is not None and stem(label) == stem(image)
    return match["id"] if match and not own else stem(image)


def channels_of(image: Path) -> list[Path]:
    """The file itself, or the `_0000`, `_0001` files that nnU-Net keeps under one listed name."""
    if image.is_file() or not image.parent.is_dir():
        return [image]
    name = stem(image)
    siblings = [p for p in list_volumes(image.parent) if _CHANNEL.match(stem(p)) and stem(p)[:-5] == name]
    return siblings or [image]


def _paired(root: Path) -> list[Case]:
    """Pair images and labels by stem; images that end in `_0000`, `_0001` are channels of one case."""
    pair = next((pair for pair in _FOLDER_PAIRS if (root / pair[0]).is_dir()), None)
    if pair is None:
        msg = f"{root} must hold imagesTr/ beside its dataset.json, got none."
        raise InputError(msg)
    image_folder, label_folders = pair
    labels_at = next((root / name for name in label_folders if (root / name).is_dir()), root / label_folders[0])
    files = list_volumes(labels_at) if labels_at.is_dir() else []
    bare = {without_label_word(stem(path)): path for path in files}
    labels = (bare if len(bare) == len(files) else {}) | {stem(path): path for path in files}
    images: dict[str, list[Path]] = {}
    for path in list_volumes(root / image_folder):
        images.setdefault(image_id(path, labels), []).append(path)
    for name, paths in images.items():
        if len(paths) > 1 and not all(_CHANNEL.match(stem(path)) for path in paths):
            msg = f"{root} must hold one file per case and channel, got {len(paths)} files for {name}."
            raise InputError(msg)
    suffix = files[0].name.removeprefix(stem(files[0])) if files else ""
    return [
        Case(name, tuple(paths), labels.get(name) or (labels_at / f"{name}{suffix}" if files else None))
        for name, paths in images.items()
    ]


def image_id(path: Path, labels: dict[str, Path]) -> str:
    """Case id: the stem, or what is left of it without the word that says image, if a label has that.

    Else the stem without its channel number.
    """
    name = stem(path)
    match = _CHANNEL.match(name)
    for known in (name, without_image_word(name)):
        if known in labels:
            return known
    return match["id"] if match else name


def _labels(root: Path, declared: Any) -> dict[int, str] | None:
    """`{"0": "background"}` (MSD) and `{"background": 0}` (nnU-Net) both become `{0: "background"}`.

    Of nnU-Net's regions (`{"whole": [1, 2]}`) the values are labels; those without a name of their own are called by
    their number.
    """
    if not declared:
        return None
    if not isinstance(declared, dict):
        _malformed(root, "labels", 'an object such as {"0": "background", "1": "tumour"}', declared)
    labels: dict[int, str] = {}
    inside: set[int] = set()
    for key, value in declared.items():
        if isinstance(value, list) and value and all(isinstance(one, int) and one >= 0 for one in value):
            inside |= {*value}
            continue
        if str(key).strip().isdecimal():
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
    if not isinstance(declared, dict) or not all(str(key).isdecimal() for key in declared):
        _malformed(root, "modality", 'an object such as {"0": "MRI"}', declared)
    return tuple(str(declared[key]) for key in sorted(declared, key=int))


def _split(root: Path) -> dict[str, list[str]]:
    path = root / "split.json"
    if not path.is_file():
        return {}
    content = read_json(path)
    seen: dict[str, str] = {}
    for name, ids in content.items():
        if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
            msg = f"{path} must map split names to lists of case ids, got {type(ids).__name__} for {name!r}."
            raise InputError(msg)
        for i in ids:
            if seen.setdefault(i, name) != name:
                msg = f"{path} must keep every case in one split, got {i} in {seen[i]} and in {name}."
                raise InputError(msg)
    return content


def _prepared(root: Path) -> dict[str, Any] | None:
    path = root / "prepare.json"
    return read_json(path) if path.is_file() else None


def _require_unique(ids: Iterable[str], root: Path) -> None:
    seen: set[str] = set()
    for i in ids:
        if i in seen:
            _malformed(root, "case ids", "unique", i)
        seen.add(i)


def _malformed(root: Path, what: str, constraint: str, value: object) -> None:
    msg = f"{what} in {root / 'dataset.json'} must be {constraint}, got {value!r}."
    raise InputError(msg)
