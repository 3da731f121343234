"""A folder of DICOM files: every file is of a series, a label, or ignored for a stated reason."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pydicom
import pytest

from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.errors import InputError

from ..dicom_writer import rewrite, strip, write_seg, write_series

SHAPE = (12, 10, 6)
AS_IT_IS = Recipe(spacing=None, crop=None, normalise="none", orientation=None)
MASK = np.zeros(SHAPE, bool)
MASK[3:8, 4:9, 2:5] = True


def stored(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2000, SHAPE)


def object_of(modality, path, source) -> None:
    header = pydicom.dcmread(source, stop_before_pixels=True)
    header.Modality, header.SOPClassUID = modality, "1.2.840.10008.5.1.4.1.1.88.33"
    header.save_as(path)


def test_every_file_of_a_tree_is_accounted_for(tmp_path):
    raw = tmp_path / "raw"
    slices = write_series(raw / "a", stored(1))
    write_series(raw / "b", stored(2))
    write_seg(raw / "a" / "seg.dcm", slices, {"Organ": MASK})
    shutil.copytree(raw / "a", raw / "copies", ignore=lambda _, names: {*names} - {"seg.dcm"})
    strip(raw / "a" / "007.dcm")
    write_series(raw / "scout", stored(3)[:, :, :1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_seg(raw / "stray.dcm", write_series(tmp_path / "elsewhere", stored(4)), {"Organ": MASK})
    object_of("SR", raw / "report.dcm", raw / "a" / "000.dcm")
    (raw / "DICOMDIR").write_bytes(b"x")
    (raw / "junk.dcm").write_bytes(b"junk" * 99)
    (raw / "readme.txt").write_text("hello")
    (raw / "a" / ".hidden").write_text("")
    summary = prepare(raw, tmp_path / "out", AS_IT_IS)
    files = json.loads((tmp_path / "out" / "prepare.json").read_text())["files"]
    numbers = [f"{7 * k:03d}.dcm" for k in range(SHAPE[2])]
    assert files["used"] == {"a": [*(f"a/{name}" for name in numbers), "a/seg.dcm"]}
    assert files["set_aside"] == {"b": [f"b/{name}" for name in numbers]}
    assert files["ignored"] == {
        "DICOMDIR": "describing the data set",
        "junk.dcm": "unreadable DICOM",
        "readme.txt": "of no format that is read",
        "report.dcm": "SR, which is not read as an image",
        "scout/000.dcm": "localiser",
        "copies/seg.dcm": "copy of another file",
        "stray.dcm": "SEG that refers to no series here",
        "a/.hidden": "hidden",
    }
    assert summary.files.summary().startswith("21 files in the source: 7 used, 6 of cases set aside, 8 ignored (")


def test_a_folder_of_nothing_usable_says_why(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"junk" * 99)
    write_series(tmp_path / "scout", stored()[:, :, :1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(InputError, match=r"got DICOM, but 1 unreadable DICOM: a.dcm; 1 localiser: scout/000.dcm"):
        load_cases(tmp_path)


def test_a_series_whose_slices_share_one_uid_is_no_copy_when_spread_over_folders(tmp_path):
    write_series(tmp_path / "a", stored())
    rewrite(tmp_path / "a", lambda _, header: setattr(header, "SOPInstanceUID", "1.2.3"))
    (tmp_path / "b").mkdir()
    for name in ("000.dcm", "007.dcm"):
        (tmp_path / "a" / name).rename(tmp_path / "b" / name)
    with pytest.raises(InputError, match=r"all slices of this series \(others are in b; put them together\)"):
        load_cases(tmp_path)


@pytest.mark.parametrize("damage", ["without what it refers to", "cut off"])
def test_a_damaged_segmentation_is_accounted_for(tmp_path, damage):
    path = tmp_path / "seg.dcm"
    write_seg(path, write_series(tmp_path, stored()), {"Organ": MASK})
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])  # within the references
    else:
        header = pydicom.dcmread(path)
        del header.ReferencedSeriesSequence[0].SeriesInstanceUID
        header.save_as(path)
    assert load_cases(tmp_path).ignored == {path: "unreadable DICOM"}
