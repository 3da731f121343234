"""Cases of a folder of DICOM files: a series is a case, the SEG and RTSTRUCT objects that refer to it are its label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from filecmp import cmp
from pathlib import Path

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import walk
from imaseg.data.formats.dicom_files import (
    STRUCTURES,
    Header,
    broken,
    dicom_files,
    read_header,
    require_pydicom,
    structure_names,
    why_no_slice,
)
from imaseg.data.formats.dicom_slices import place
from imaseg.data.formats.names import first_spellings, numbered

_MODALITIES = {"MR": "MRI"}


@dataclass
class _Series:
    first: Path
    header: Header
    labels: list[tuple[Path, Header]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    images: set[tuple[str, tuple[float, ...]]] = field(default_factory=set)


@dataclass
class _Found:
    """What the files of a folder turned out to be."""

    series: dict[tuple[Path, str], _Series] = field(default_factory=dict)
    structures: list[tuple[Path, Header]] = field(default_factory=list)
    ignored: dict[Path, str] = field(default_factory=dict)


def dicom_cases(root: Path) -> CaseSet:
    """A case per series of images in `root` and below, without localisers, reports and plans.

    Label values are given to structure names in the order of their first appearance; names that differ by case or
    blanks only have one value.

    Raises:
        InputError: if pydicom is missing.
    """
    found = _sorted_out(root)
    series = found.series
    for path, header in found.structures:
        wanted = set(_referred(header))
        drawn_on = [entry for (_, uid), entry in series.items() if uid in wanted]
        for entry in drawn_on:
            entry.labels.append((path, header))
        if not drawn_on:
            found.ignored[path] = f"{header.Modality} that refers to no series here"
    values = numbered(name for _, header in found.structures for name in structure_names(header))
    names = _ids(root, list(series.values()))
    labelled = bool(found.structures)
    cases = [_case(names[i], entry, values, labelled=labelled) for i, entry in enumerate(series.values())]
    cases = [_whole(case, uid, series) for case, (_, uid) in zip(cases, series, strict=True)]
    kinds = [case.modality for case in cases]
    modality = (max(kinds, key=kinds.count),) if kinds else ()
    declared = {0: "background"} | first_spellings(values) if values else None
    return CaseSet(root, root.resolve().name, modality, tuple(cases), declared, ignored=found.ignored)


def _sorted_out(root: Path) -> _Found:
    """All DICOM files, by what they are; damaged ones are ignored here, since reading their series names them."""
    found = _Found()
    for folder, _ in walk(root):
        for path in dicom_files(folder):
            require_pydicom(path)
            try:
                _sort(path, read_header(path), found)
            except broken():
                found.ignored[path] = "unreadable DICOM"
    return found


def _sort(path: Path, header: Header, found: _Found) -> None:
    if header.get("Modality") in STRUCTURES:
        list(_referred(header)), structure_names(header)  # pydicom parses sequences when asked: damage shows here
        if any(cmp(path, other, shallow=False) for other, _ in found.structures):
            found.ignored[path] = "copy of another file"
        else:
            found.structures.append((path, header))
    elif reason := why_no_slice(header):
        found.ignored[path] = reason
    else:
        uid = str(header.get("SeriesInstanceUID") or "")
        entry = found.series.setdefault((path.parent, uid), _Series(path, header))
        entry.files.append(path)
        entry.images.add((str(header.get("SOPInstanceUID")), place(header)))


def _case(name: str, series: _Series, values: dict[str, int], *, labelled: bool) -> Case:
    paths = [path for path, _ in series.labels]
    if labelled and not paths:
        paths = [series.first.parent / "a SEG or RTSTRUCT that refers to this series"]
    patient = str(series.header.get("PatientID", ""))
    kind = str(series.header.get("Modality", ""))
    return Case(
        id=name,
        image=(series.first,),
        label=paths[0] if paths else None,
        more_labels=tuple(paths[1:]),
        slices=tuple(series.files),
        segments=values,
        # Names and numbers of patients stay out of whatever is written.
        patient=hashlib.sha256(patient.encode()).hexdigest()[:12] if patient else "",
        modality=_MODALITIES.get(kind, kind),
    )


def _whole(case: Case, uid: str, series: Mapping[tuple[Path, str], _Series]) -> Case:
    """The case; if its slices are spread over several folders, one whose image file does not exist and says so."""
    parts = {folder: part.images for (folder, other), part in series.items() if other == uid} if uid else {}
    # What is in both is a copy of a whole series; the check for images under two names says so.
    if len(parts) < 2 or len(set().union(*parts.values())) < sum(map(len, parts.values())):
        return case
    here = case.image[0].parent
    others = " and ".join(sorted(folder.name for folder in parts if folder != here))
    return replace(case, image=(here / f"all slices of this series (others are in {others}; put them together)",))


def _referred(header: Header) -> Iterator[str]:
    """UIDs of the series that a SEG or RTSTRUCT was drawn on."""
    if header.Modality == "SEG":
        yield from (str(item.SeriesInstanceUID) for item in header.get("ReferencedSeriesSequence", []))
        return
    for frame in header.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            yield from (str(item.SeriesInstanceUID) for item in study.get("RTReferencedSeriesSequence", []))


def _ids(root: Path, series: list[_Series]) -> list[str]:
    """A case id per series: its folder's name, with the series number where a folder holds several."""
    folders = [entry.first.parent for entry in series]
    short = [folder.name if folder != root else root.resolve().name for folder in folders]
    if len(set(short)) != len(set(folders)):
        short = ["_".join(folder.relative_to(root).parts) or root.resolve().name for folder in folders]
    names = []
    for i, entry in enumerate(series):
        number = entry.header.get("SeriesNumber")
        several = folders.count(folders[i]) > 1
        names.append(f"{short[i]}_series{number if number is not None else i}" if several else short[i])
    return [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]
