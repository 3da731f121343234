"""Every file of a folder is accounted for once: compared with what the test itself put there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK

from imaseg.data.layouts.accounting import account_for_files
from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe

from ..conftest import ball, picture, save

AS_IT_IS = Recipe(spacing=None, crop=None, normalise="none")


def listed(root: Path) -> set[str]:
    """All files by the operating system's own listing."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_every_file_is_used_set_aside_or_ignored_with_a_reason(raw, tmp_path):
    (raw / "labelsTr" / "case_3.nii.gz").write_bytes(b"")
    (raw / "notes.txt").write_text("read me")
    save(raw / "imagesTr" / "stray.nii.gz", picture(ball()))
    (raw / "imagesTr" / "._case_0.nii.gz").write_bytes(b"mac")
    (raw / "scan.dcm").write_bytes(b"x")
    summary = prepare(raw, tmp_path / "out", AS_IT_IS)
    files = json.loads((tmp_path / "out" / "prepare.json").read_text())["files"]
    assert files["set_aside"] == {"case_3": ["imagesTr/case_3.nii.gz", "labelsTr/case_3.nii.gz"]}
    assert files["used"]["case_0"] == ["imagesTr/case_0.nii.gz", "labelsTr/case_0.nii.gz"]
    assert files["ignored"] == {
        "dataset.json": "describing the data set",
        "split.json": "describing the data set",
        "notes.txt": "of no format that is read",
        "imagesTr/stray.nii.gz": "of no case",
        "imagesTr/._case_0.nii.gz": "hidden",
        "scan.dcm": "DICOM in a folder of another layout",
    }
    groups = [*files["used"].values(), *files["set_aside"].values(), list(files["ignored"])]
    assert sorted(name for names in groups for name in names) == sorted(listed(raw))
    assert files["summary"] == summary.files.summary()
    assert files["summary"] == (
        "18 files in the source: 10 used, 2 of cases set aside, 6 ignored (2 describing the data set: dataset.json, "
        "split.json; 1 of no format that is read: notes.txt; 1 DICOM in a folder of another layout: scan.dcm; "
        "1 of no case: imagesTr/stray.nii.gz; 1 hidden: imagesTr/._case_0.nii.gz)."
    )
    assert files["summary"].split(":")[0] in (tmp_path / "out" / "prepare.html").read_text()


def test_voxels_of_a_detached_header_are_used_with_it(tmp_path):
    for name in ("a_image.mhd", "a_label.mhd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ball().astype(np.float32)), str(tmp_path / name))
    files = account_for_files(load_cases(tmp_path), ["a"])
    assert set(files.used["a"]) == {"a_image.mhd", "a_image.raw", "a_label.mhd", "a_label.raw"}
    assert files.ignored == {}


def test_images_of_the_test_part_are_only_compared(raw):
    save(raw / "imagesTs" / "case_9.nii.gz", picture(ball()))
    files = account_for_files(load_cases(raw), [])
    assert files.ignored["imagesTs/case_9.nii.gz"] == "of the test part, only compared"
    assert files.used == {}


def test_a_hidden_folder_counts_as_one_file(raw):
    (raw / ".git" / "objects").mkdir(parents=True)
    (raw / ".git" / "objects" / "00").write_bytes(b"x")
    assert account_for_files(load_cases(raw), []).ignored[".git/"] == "hidden"
