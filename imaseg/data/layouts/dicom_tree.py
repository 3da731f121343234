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
    """A case per series of images in `root` and below, without localisers, reports and plans.

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
            entry = series.setdefault((path.parent, str(header.SeriesInstanceUID)), _Series(path, header))
            entry.instances.add(str(header.SOPInstanceUID))
    values: dict[str, int] = {}
    for path, header in structures:
        wanted = set(_referred(header))
        for (_, uid), entry in series.items():
            if uid in wanted:
                entry.labels.append((path, header))
        for name in structure_names(header):
            values.setdefault(name, len(values) + 1)
    names = _ids(root, list(series.values()))
    cases = [_case(names[i], entry, values, labelled=bool(structures)) for i, entry in enumerate(series.values())]
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


def _case(name: str, series: _Series, values: dict[str, int], *, labelled: bool) -> Case:
    paths = [path for path, _ in series.labels]
    if labelled and not paths:
        paths = [series.first.parent / "a SEG or RTSTRUCT that refers to this series"]
    patient = str(series.header.get("PatientID", ""))
    kind = str(series.header.Modality)
    return Case(
        id=name,
        image=(series.first,),
        label=paths[0] if paths else None,
        more_labels=tuple(paths[1:]),
        segments=values,
        # Names and numbers of patients stay out of whatever is written.
        patient=hashlib.sha256(patient.encode()).hexdigest()[:12] if patient else "",
        modality=_MODALITIES.get(kind, kind),
    )


def _whole(case: Case, uid: str, series: Mapping[tuple[Path, str], _Series]) -> Case:
    """The case; if its slices are spread over several folders, one whose image file does not exist and says so."""
    parts = {folder: part.instances for (folder, other), part in series.items() if other == uid}
    # What is in both is a copy of a whole series; the check for images under two names says so.
    if len(parts) == 1 or len(set().union(*parts.values())) < sum(map(len, parts.values())):
        return case
    here = case.image[0].parent
    others = " and ".join(sorted(folder.name for folder in parts if folder != here))
    return replace(case, image=(here / f"all slices of this series (others are in {others}; put them together)",))


def _headers(root: Path) -> Iterator[tuple[Path, Header]]:
    """Headers of all DICOM files; damaged files are skipped, since reading their series raises and names them."""
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
