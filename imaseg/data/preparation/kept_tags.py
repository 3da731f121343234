"""Carries DICOM attributes that identify nobody into a table of the cases, which `imaseg audit --groups` reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case
from imaseg.data.files import SUFFIXES
from imaseg.data.formats.dicom_files import read_header
from imaseg.data.table_file import write_table
from imaseg.errors import InputError, did_you_mean

ALLOWED = (
    "BodyPartExamined", "ContrastBolusAgent", "ConvolutionKernel", "CTDIvol", "EchoTime", "EchoTrainLength",
    "ExposureTime", "FlipAngle", "InversionTime", "KVP", "MagneticFieldStrength", "Manufacturer",
    "ManufacturerModelName", "Modality", "MRAcquisitionType", "PatientAge", "PatientPosition", "PatientSex",
    "PixelBandwidth", "ReceiveCoilName", "ReconstructionDiameter", "RepetitionTime", "ScanningSequence",
    "SequenceVariant", "SliceThickness", "SoftwareVersions", "SpacingBetweenSlices", "XRayTubeCurrent",
)  # fmt: skip
"""Keywords of attributes that may be kept: of scanner and protocol, sex and age. All others are refused: names, dates,
UIDs, numbers of patients and devices, places, and free text, which holds anything."""
TABLE = "groups.csv"
_LONGEST = 64
_OLDEST = 90
"""Ages from here on are one value: so few people are that old that an age tells who they are."""


def parse_tags(text: str) -> list[str]:
    """Keywords in a list with commas.

    Raises:
        InputError: if one may not be kept, or there is none.
    """
    tags = list(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))
    for tag in tags or [text]:
        if tag not in ALLOWED:
            msg = (
                "keep-tags must be DICOM keywords of what identifies no patient (names, dates, UIDs, numbers and free "
                f"text do), got {tag!r}. Leave it out, or choose from {', '.join(ALLOWED)}."
            )
            raise InputError(msg + did_you_mean(tag, ALLOWED))
    return tags


def require_dicom(cases: Iterable[Case], source: Path) -> None:
    """Check that there is any DICOM to take attributes from.

    Raises:
        InputError: if all cases are of other formats.
    """
    if not any(_is_dicom(case) for case in cases):
        msg = (
            f"{source} must hold DICOM for --keep-tags, got other formats only. Leave --keep-tags out, and write a "
            "table with the column case and others for `imaseg audit --groups` yourself."
        )
        raise InputError(msg)


def write_tags(path: Path, cases: Iterable[Case], tags: Sequence[str]) -> None:
    """Write a row per case with its attributes, empty where its header does not state one.

    Args:
        path: CSV file.
        cases: of DICOM series, whose first slice speaks for all; others have empty cells.
        tags: keywords that `parse_tags` let pass.
    """
    rows = []
    for case in cases:
        header = read_header(case.image[0]) if _is_dicom(case) else {}
        rows.append({"case": case.id} | {tag: _text(tag, header.get(tag)) for tag in tags})
    write_table(path, ["case", *tags], rows)


def _is_dicom(case: Case) -> bool:
    return not case.image[0].name.lower().endswith(SUFFIXES)


def _text(tag: str, value: Any) -> str:
    """One line of text; several values are joined, ages are in years."""
    several = not isinstance(value, str) and hasattr(value, "__iter__")
    text = " ".join(("/".join(map(str, value)) if several else "" if value is None else str(value)).split())
    return _years(text) if tag == "PatientAge" else text[:_LONGEST]


def _years(age: str) -> str:
    """DICOM's age string in years; empty if it is none.

    >>> _years("045Y"), _years("007M"), _years("093Y"), _years("Doe")
    ('45', '0', '90', '')
    """
    found = re.fullmatch(r"(\d{3})([DWMY])", age)
    if found is None:
        return ""
    return str(min(int(found[1]) if found[2] == "Y" else 0, _OLDEST))
