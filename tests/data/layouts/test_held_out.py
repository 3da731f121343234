"""The test part of a data set is looked through for copies of what is prepared."""

from __future__ import annotations

import json
import shutil

import pytest

from imaseg.data.layouts.held_out import held_out_images
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe

AS_IT_IS = Recipe(spacing=None, crop=None)


@pytest.fixture
def source(raw, save, ball, picture):
    save(raw / "imagesTs" / "new.nii.gz", picture(ball(), 90))
    shutil.copy(raw / "imagesTr" / "case_1.nii.gz", raw / "imagesTs" / "old.nii.gz")
    (raw / "imagesTs" / "broken.nii.gz").write_bytes(b"x")
    return raw


def test_a_copy_in_the_test_part_is_flagged(source, tmp_path):
    summary = prepare(source, tmp_path / "out", AS_IT_IS)
    assert summary.flagged == {
        "case_1": ["same image as imagesTs-old; train and imagesTs share it, so scores will flatter."]
    }
    assert len(summary.kept) == 6
    assert summary.remarks == [
        "3 images of the data set's own test part are not prepared, only compared, 1 of them could not be read."
    ]
    (source / "split.json").unlink()
    summary = prepare(source, tmp_path / "no_split", AS_IT_IS)
    assert "; training and imagesTs share it" in summary.flagged["case_1"][0]


def test_one_patient_in_both_parts_is_flagged(source, tmp_path, save, ball, picture):
    save(source / "imagesTs" / "case_3.nii.gz", picture(ball(), 91))
    summary = prepare(source, tmp_path / "out", AS_IT_IS.model_copy(update={"patient": r"^case_\d"}))
    assert summary.flagged["case_3"] == [
        "the same patient is in train (case_3) and imagesTs (imagesTs-case_3), so scores will flatter."
    ]


def test_images_are_those_listed_and_channels_belong_together(source):
    described = json.loads((source / "dataset.json").read_text())
    listed = ["./imagesTs/new.nii.gz", {"image": "./imagesTs/old.nii.gz"}, "./imagesTs/not_there.nii.gz"]
    (source / "dataset.json").write_text(json.dumps(described | {"test": listed}))
    assert [case.id for case in held_out_images(source)] == ["imagesTs-new", "imagesTs-old"]
    (source / "dataset.json").write_text(json.dumps(described | {"test": []}))
    for path in (source / "imagesTs").iterdir():
        path.unlink()
    for channel in range(2):
        (source / "imagesTs" / f"x_{channel:04d}.nii.gz").write_bytes(b"x")
    (case,) = held_out_images(source)
    assert [path.name for path in case.image] == ["x_0000.nii.gz", "x_0001.nii.gz"]
