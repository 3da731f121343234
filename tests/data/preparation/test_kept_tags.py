"""DICOM attributes in a table of the cases: those of scanners only, as `--groups` reads them."""

from __future__ import annotations

import csv

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary

from imaseg.data.groups import NOT_STATED, read_groups
from imaseg.data.preparation.kept_tags import ALLOWED, parse_tags
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.errors import InputError
from tests.data.dicom_writer import write_series

TAGS = ["Manufacturer", "MagneticFieldStrength", "PatientAge", "ScanningSequence"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Six scans of two makers; the last one states nothing."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for i in range(6):
        stated = {
            "Manufacturer": ["=Maker", "Other\nmaker"][i % 2], "MagneticFieldStrength": [1.5, 3.0][i // 3],
            "PatientAge": ["045Y", "099Y"][i % 2], "ScanningSequence": ["SE", "IR"],
            "PatientName": "Doe^Jane", "InstitutionName": "Doe Hospital",
        }  # fmt: skip
        volume = rng.integers(100, 900, (10, 9, 8))
        write_series(root / f"scan_{i}", volume, modality="MR", patient=f"Doe{i}", **(stated if i < 5 else {}))
    return root


def test_the_table_holds_what_the_headers_state_and_groups_read_it(scans, tmp_path):
    prepare(scans, tmp_path / "o", load_recipe("convert"), keep_tags=TAGS)
    with (tmp_path / "o" / "groups.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", *TAGS]
    for row in rows[:5]:
        header = pydicom.dcmread(next((scans / row["case"]).glob("*.dcm")))
        assert row["MagneticFieldStrength"] == str(header.MagneticFieldStrength)
        assert row["ScanningSequence"] == "SE/IR"
    assert [row["PatientAge"] for row in rows] == ["45", "90", "45", "90", "45", ""]
    groups = read_groups(tmp_path / "o" / "groups.csv", [row["case"] for row in rows])
    assert groups["Manufacturer"] == {
        "scan_0": "=Maker", "scan_1": "Other maker", "scan_2": "=Maker", "scan_3": "Other maker", "scan_4": "=Maker",
        "scan_5": NOT_STATED,
    }  # fmt: skip
    assert set(groups["MagneticFieldStrength"].values()) == {"1.5", "3.0", NOT_STATED}
    assert "Doe" not in (tmp_path / "o" / "groups.csv").read_text()


def test_a_rerun_may_keep_others(scans, tmp_path):
    prepare(scans, tmp_path / "o", load_recipe("convert"), keep_tags=["Manufacturer"])
    summary = prepare(scans, tmp_path / "o", load_recipe("convert"), keep_tags=["PatientSex"])
    assert summary.written == []
    assert (tmp_path / "o" / "groups.csv").read_text().startswith("case,PatientSex")
    prepare(scans, tmp_path / "none", load_recipe("convert"))
    assert not (tmp_path / "none" / "groups.csv").exists()


def test_only_what_identifies_nobody_may_be_kept():
    assert parse_tags("Manufacturer, KVP,Manufacturer") == ["Manufacturer", "KVP"]
    for tag in ("PatientName", "PatientID", "StudyDate", "PatientBirthDate", "SeriesInstanceUID", "AccessionNumber",
                "InstitutionName", "DeviceSerialNumber", "SeriesDescription", "0010,0010", ""):  # fmt: skip
        with pytest.raises(InputError, match="keep-tags must be DICOM keywords of what identifies no patient"):
            parse_tags(f"Manufacturer,{tag}" if tag else "")
    with pytest.raises(InputError, match="Did you mean 'Manufacturer'"):
        parse_tags("manufacturer")


def test_none_of_the_allowed_is_a_name_a_date_a_uid_or_a_number_by_its_type():
    """The types of DICOM's dictionary: person names, dates and times, UIDs, and long text."""
    types = {keyword: vr for vr, _, _, _, keyword in DicomDictionary.values()}
    identifying = {"PN", "DA", "DT", "TM", "UI", "LT", "ST", "UT", "UC", "UR"}
    assert {types[tag] for tag in ALLOWED}.isdisjoint(identifying)
    measured = {"DS", "IS", "FD", "FL"}
    ends = ("ID", "Number", "UID", "Date", "Time")
    assert not [tag for tag in ALLOWED if tag.endswith(ends) and types[tag] not in measured]
    assert [tag for tag in ALLOWED if tag.startswith("Patient")] == ["PatientAge", "PatientPosition", "PatientSex"]


def test_other_formats_have_no_tags(raw_phantom, tmp_path):
    with pytest.raises(InputError, match="must hold DICOM for --keep-tags, got other formats only"):
        prepare(raw_phantom, tmp_path / "o", load_recipe("msd"), keep_tags=["Manufacturer"])
