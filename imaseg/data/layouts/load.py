"""`load_cases`: recognises the layout of a folder and lists its cases; reads JSON and DICOM headers only."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import list_volumes
from imaseg.data.layouts.accounting import reasons_counted
from imaseg.data.layouts.described import described_cases
from imaseg.data.layouts.dicom_tree import dicom_cases
from imaseg.data.layouts.links import voxels_inside
from imaseg.data.layouts.mask_folders import mask_folder_cases
from imaseg.data.layouts.paired import FOLDER_PAIRS, paired_cases, unlabelled_cases
from imaseg.data.layouts.patterns import Layout, matched, named_pairs
from imaseg.data.layouts.slicer_names import by_segment_names
from imaseg.data.plain import read_json
from imaseg.errors import InputError


def load_cases(
    path: Path | str, *, missing_ok: bool = False, layout: Layout | None = None, follow_links: bool = False
) -> CaseSet:
    """List the cases of a folder, whatever its layout.

    Supported are MSD and nnU-Net raw folders, `imagesTr` + `labelsTr`, `images` + `labels` (or `masks`), `x_image` +
    `x_label` files, folders with a file per mask, and folders of DICOM series with SEG or RTSTRUCT; and, of cases
    without labels, a folder of image files alone.

    Cases of a raw folder with files that do not exist are left out with a warning.

    Args:
        path: the folder.
        missing_ok: list these cases, too; they then fail when read.
        layout: patterns of file names; None tells the layout by looking at the folder.
        follow_links: let files that `dataset.json` lists, and voxel files that `.mhd` and `.nhdr` headers name, be
            symbolic links to other folders; else such a case has a fault. `path` itself may be a link.

    Raises:
        InputError: if the folder has no supported layout or no whole case, or one of its descriptions is malformed; or
            if it was prepared and misses a file.
    """
    root = Path(path)
    if not root.is_dir():
        what = "a file" if root.is_file() else "nothing there"
        msg = f"data must be a folder with imagesTr/ and labelsTr/, got {what}: {root}."
        raise InputError(msg)
    cohort = _inspected(root, follow_links=follow_links) if layout is None else _unnamed(root, matched(root, layout))
    if not follow_links:
        cohort = replace(cohort, cases=tuple(voxels_inside(root, cohort)))
    cohort = _with_patients(replace(by_segment_names(cohort), split=_split(root), prepared=_prepared(root)))
    if not cohort.cases and layout is not None:
        wanted = f"files that match {layout.images[0]!r}, as the recipe says"
        msg = f"{root} must hold {wanted}, got none. Name another recipe."
        raise InputError(msg)
    if not cohort.cases:
        msg = (
            f"{root} must hold at least one case (.nii or .nii.gz), got none. "
            "MetaImage, NRRD, DICOM and pictures are read as well."
        )
        raise InputError(msg)
    return cohort if missing_ok else _whole(cohort)


def _inspected(root: Path, *, follow_links: bool) -> CaseSet:
    """Cases by the first layout that fits; the order matters, since folders may fit several."""
    if (root / "dataset.json").is_file():
        return described_cases(root, follow_links=follow_links)
    if any((root / images).is_dir() and list_volumes(root / images) for images, _ in FOLDER_PAIRS):
        paired = paired_cases(root)
        return replace(_unnamed(root, paired.cases), ignored=paired.ignored)
    if (masked := mask_folder_cases(root)) is not None:
        return masked
    if pairs := named_pairs(root):
        return _unnamed(root, pairs)
    cohort = dicom_cases(root)
    if not cohort.cases and not cohort.ignored and (images := list_volumes(root)):
        return _unnamed(root, unlabelled_cases(images))
    if not cohort.cases and not any((root / images).is_dir() for images, _ in FOLDER_PAIRS):
        wanted = " or ".join(f"{images}/ + {labels[0]}/" for images, labels in FOLDER_PAIRS[:2])
        got = f"DICOM, but {reasons_counted(_relative(cohort))}" if cohort.ignored else "none of them"
        msg = f"{root} must hold dataset.json or {wanted} or x_image + x_label files or DICOM, got {got}."
        raise InputError(msg)
    return cohort


def _relative(cohort: CaseSet) -> dict[str, str]:
    return {path.relative_to(cohort.root).as_posix(): reason for path, reason in cohort.ignored.items()}


def _unnamed(root: Path, cases: list[Case]) -> CaseSet:
    """Cases of a folder that states neither its name nor its modality."""
    return CaseSet(root, root.resolve().name, (), tuple(cases))


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
    from imaseg.data.layouts.prepared import checked_preparation  # pydantic, which most cohorts need not

    path = root / "prepare.json"
    return checked_preparation(read_json(path), path) if path.is_file() else None


def _with_patients(cohort: CaseSet) -> CaseSet:
    """The cohort with the patients that `prepare.json` names."""
    named = {entry["id"]: entry.get("patient") for entry in (cohort.prepared or {}).get("cases", ())}
    return replace(cohort, cases=tuple(replace(case, patient=named.get(case.id) or case.patient) for case in cohort))


def _whole(cohort: CaseSet) -> CaseSet:
    """The cohort without cases that miss a file, each of which is warned of."""
    faults = {case.id: fault for case in cohort if (fault := _fault(case))}
    if faults and (cohort.prepared is not None or len(faults) == len(cohort)):
        raise InputError(next(iter(faults.values())))
    for fault in faults.values():
        warnings.warn(f"{fault} That case is left out.", stacklevel=3)
    return replace(
        cohort,
        cases=tuple(case for case in cohort if case.id not in faults),
        split={part: [name for name in names if name not in faults] for part, names in cohort.split.items()},
    )


def _fault(case: Case) -> str:
    """What makes files of a case unusable that can be told without reading them; empty if nothing does."""
    for path in case.files:
        if not path.is_file():
            return (
                f"{path} must exist (case {case.id}), got nothing there. "
                "Restore it, or run `imaseg prepare`, which sets such cases aside."
            )
    return case.fault
