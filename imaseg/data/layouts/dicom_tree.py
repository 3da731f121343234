"""Cases of a folder of DICOM files: a series is a case, the SEG and RTSTRUCT objects that refer to it are its label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imaseg.data.cases import Case, CaseSet
from imaseg.data.files import walk
from imaseg.data.formats.dicom_files import Header, dicom_files, read_header
from imaseg.errors import InputError

_MODALITIES = {"MR": "MRI"}
_STRUCTURES = ("SEG", "RTSTRUCT")
_NO_VOLUMES = ("SR", "PR", "KO", "REG", "RTPLAN", "RTDOSE", "RTIMAGE", "DOC", "SEG", "RTSTRUCT")


@dataclass
class _Series:
    first: Path
    header: Header
    labels: list[tuple[Path, Header]] = field(default_factory=list)
    instances: set[str] = field(default_factory=set)


def dicom_cases(root: Path) -> CaseSet:
    """Every series of images below `root`; localisers, reports and plans are left out.

    Label values are given to structure names in the order of their first appearance.

    Raises:
        InputError: if pydicom is missing.
    """
    series: dict[tuple[Path, str], _Series] = {}
    structures: list[tuple[Path, Header]] = []
    for path, header in _headers(root):
        if header.Modality in _STRUCTURES:
            structures.append((path, header))
        elif header.Modality not in _NO_VOLUMES and "Rows" in header and "LOCALIZER" not in header.get("ImageType", []):
            found = series.setdefault((path.parent, str(header.SeriesInstanceUID)), _Series(path, header))
            found.instances.add(str(header.SOPInstanceUID))
    values: dict[str, int] = {}
    for path, header in structures:
        wanted = set(_referred(header))
        for (_, uid), found in series.items():
            if uid in wanted:
                found.labels.append((path, header))
        for name in structure_names(header):
            values.setdefault(name, len(values) + 1)
    names = _ids(root, list(series.values()))
    cases = [_case(names[i], found, values, labelled=bool(structures)) for i, found in enumerate(series.values())]
    cases = [_whole(case, uid, series) for case, (_, uid) in zip(cases, series, strict=True)]
    kinds = [case.modality for case in cases]
    modality = (max(kinds, key=kinds.count),) if kinds else ()
    declared = {0: "background"} | {value: name for name, value in values.items()} if values else None
    return CaseSet(root, root.resolve().name, modality, tuple(cases), declared)


def structure_names(header: Header) -> list[str]:
    """Names of the structures of a SEG or RTSTRUCT, in its order."""
    if header.Modality == "SEG":
        return [str(item.SegmentLabel) for item in header.SegmentSequence]
    return [str(item.get("ROIName", item.ROINumber)) for item in header.get("StructureSetROISequence", [])]


def _case(name: str, found: _Series, values: dict[str, int], *, labelled: bool) -> Case:
    paths = [path for path, _ in found.labels]
    if labelled and not paths:
        paths = [found.first.parent / "a SEG or RTSTRUCT that refers to this series"]
    patient = str(found.header.get("PatientID", ""))
    kind = str(found.header.Modality)
    return Case(
        id=name,
        image=(found.first,),
        label=paths[0] if paths else None,
        more_labels=tuple(paths[1:]),
        segments=values,
        # Names and numbers of patients stay out of whatever is written.
        patient=hashlib.sha256(patient.encode()).hexdigest()[:12] if patient else "",
        modality=_MODALITIES.get(kind, kind),
    )


def _whole(case: Case, uid: str, series: Mapping[tuple[Path, str], _Series]) -> Case:
    """The case, or one that cannot be read if this folder holds some of its slices and other folders the rest."""
    parts = {folder: found.instances for (folder, other), found in series.items() if other == uid}
    # What is in both is a copy of a whole series; the check for images under two names says so.
    if len(parts) == 1 or len(set().union(*parts.values())) < sum(map(len, parts.values())):
        return case
    here = case.image[0].parent
    others = " and ".join(sorted(folder.name for folder in parts if folder != here))
    return replace(case, image=(here / f"all slices of this series (others are in {others}; put them together)",))


def _headers(root: Path) -> Iterator[tuple[Path, Header]]:
    """A damaged file is passed over here; reading the series of its folder names it."""
    for folder, _ in walk(root):
        for path in dicom_files(folder):
            try:
                header = read_header(path)
            except InputError as error:
                if error.__cause__ is not None and isinstance(error.__cause__, ImportError):
                    raise
                continue
            if header.get("Modality") and header.get("SeriesInstanceUID"):
                yield path, header


def _referred(header: Header) -> Iterator[str]:
    """UIDs of the series that a SEG or RTSTRUCT was drawn on."""
    if header.Modality == "SEG":
        yield from (str(item.SeriesInstanceUID) for item in header.get("ReferencedSeriesSequence", []))
        return
    for frame in header.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            yield from (str(item.SeriesInstanceUID) for item in study.get("RTReferencedSeriesSequence", []))


def _ids(root: Path, series: list[_Series]) -> list[str]:
    """Folder names, with the number of the series where a folder holds several."""
    folders = [found.first.parent for found in series]
    short = [folder.name if folder != root else root.resolve().name for folder in folders]
    if len(set(short)) != len(set(folders)):
        short = ["_".join(folder.relative_to(root).parts) or root.resolve().name for folder in folders]
    names = []
    for i, found in enumerate(series):
        number = found.header.get("SeriesNumber")
        several = folders.count(folders[i]) > 1
        names.append(f"{short[i]}_series{number if number is not None else i}" if several else short[i])
    return [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]
