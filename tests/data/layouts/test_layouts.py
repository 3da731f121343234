from __future__ import annotations

import json
import time

import numpy as np
import pytest

from imaseg.data.layouts.load import load_cases
from imaseg.errors import InputError
from imaseg.models.nnunet.documents import DatasetDocument
from imaseg.validated import validated


def test_images_and_labels_are_paired_by_stem(tmp_path, save, ball, picture):
    for name in ("b.1", "a"):
        save(tmp_path / "images" / f"{name}.nii", picture(ball()))
        save(tmp_path / "labels" / f"{name}.nii.gz", ball())
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["a", "b.1"]
    assert cohort[1].label == tmp_path / "labels" / "b.1.nii.gz"
    assert (cohort.name, cohort.modality, cohort.split) == (tmp_path.name, (), {})


def test_hidden_files_are_not_cases(tmp_path, save, ball, picture):
    save(tmp_path / "imagesTr" / "a.nii.gz", picture(ball()))
    for name in ("._a.nii.gz", ".DS_Store", "notes.txt"):
        (tmp_path / "imagesTr" / name).write_bytes(b"junk")
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["a"]
    assert cohort[0].label is None


def test_nnunet_raw_folder_with_two_channels(tmp_path, save, ball, picture):
    for name in ("p_01", "p_02"):
        for channel in (1, 0):
            save(tmp_path / "imagesTr" / f"{name}_{channel:04d}.nii.gz", picture(ball(), channel))
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", ball())
    content = {"channel_names": {"1": "CT", "0": "PET"}, "labels": {"background": 0, "tumour": 1, "organ": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(content | {"file_ending": ".nii.gz", "numTraining": 2}))
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["p_01", "p_02"]
    assert [path.name for path in cohort[0].image] == ["p_01_0000.nii.gz", "p_01_0001.nii.gz"]
    assert cohort.modality == ("PET", "CT")
    assert cohort.labels == {0: "background", 1: "tumour", 2: "organ"}


def test_listed_name_without_channel_finds_the_channel_files(tmp_path, save, ball, picture, describe):
    for channel in (0, 1):
        save(tmp_path / "imagesTr" / f"a_{channel:04d}.nii.gz", picture(ball(), channel))
    save(tmp_path / "imagesTr" / "a_b_0000.nii.gz", picture(ball()))
    save(tmp_path / "labelsTr" / "a.nii.gz", ball())
    describe(tmp_path, ["a"], modality={"0": "T1", "1": "T2"})
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["a"]
    assert [path.name for path in cohort[0].image] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_a_stem_that_ends_in_four_digits_is_an_id_if_the_label_has_it(tmp_path, save, ball, picture):
    for name in ("scan_0001", "scan_0002"):
        save(tmp_path / "images" / f"{name}.nii.gz", picture(ball()))
        save(tmp_path / "labels" / f"{name}.nii.gz", ball())
    assert load_cases(tmp_path).ids == ["scan_0001", "scan_0002"]


def test_one_case_in_two_files_is_refused(tmp_path, save, ball, picture):
    for suffix in (".nii", ".nii.gz"):
        save(tmp_path / "imagesTr" / f"a{suffix}", picture(ball()))
    with pytest.raises(InputError, match="one file per case and channel, got 2 files for a"):
        load_cases(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": ["a.nii.gz"]}, r"each entry of training in .*dataset.json must be \{.image"),
        ({"training": [{"image": [1]}]}, "image and label of each entry of training .* must be file names"),
        ({"training": [{"image": "/"}]}, "each image of training in .*dataset.json must be a file name, got '/'"),
        ({"training": [{"image": "x" * 999}]}, "image and label of each entry of training .* must be file names"),
        ({"training": [], "dataset": {"a": {"images": ["x" * 999]}}}, "case 'a' of dataset in .* must be"),
        ({"training": [{"image": "\ud800.nii"}]}, "image and label of each entry of training .* must be file names"),
        ({"training": [{"image": "a\0b.nii"}]}, "image and label of each entry of training .* must be file names"),
        ({"labels": {5000 * "9": "a"}}, "label .* must be one whole number"),
        ({"modality": {5000 * "9": "CT"}}, "modality .* must be an object"),
        ({"labels": ["a", "b"]}, "labels in .*dataset.json must be an object"),
        ({"labels": {"whole": [1, "x"]}}, r"label 'whole' .* must be one whole number, or .* got \[1, 'x'\]"),
        ({"labels": {"whole": []}}, r"label 'whole' .* must be one whole number, or those of a region, got \[\]"),
        ({"labels": {"a": 1, "b": 1}}, "label value 1 .* must be declared once"),
        ({"modality": {"T1": "0"}}, 'modality .* must be an object such as {"0": "MRI"}'),
    ],
)
def test_malformed_descriptions_are_named(raw, describe, change, message):
    describe(raw, ["case_0"], **change)
    with pytest.raises(InputError, match=message):
        load_cases(raw)


def test_labels_of_regions_are_the_values_inside_them(raw, describe):
    describe(raw, ["case_0"], labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3, "ignore": 4})
    assert load_cases(raw).labels == {0: "background", 1: "1", 2: "2", 3: "tip", 4: "ignore"}


@pytest.mark.parametrize(
    "labels",
    [
        {f"l{i}": i for i in range(200_000)},
        {str(i): f"l{i}" for i in range(200_000)},
        {"background": 0, "region": [*range(200_000)]},
    ],
)
def test_labels_without_end_are_refused_before_each_is_looked_at(raw, describe, labels):
    describe(raw, ["case_0"], labels=labels)
    told = r"labels in .*dataset\.json must be 4096 values at most, those of regions among them, got 20000[01]\."
    with pytest.raises(InputError, match=told):
        load_cases(raw)
    described = {"channel_names": {"0": "MRI"}, "labels": labels}
    begin = time.process_time()
    with pytest.raises(InputError, match=r"labels.* must be valid, got 200000 entries"):
        validated(DatasetDocument, described, source="dataset.json")
    assert time.process_time() - begin < 0.5


def test_the_same_case_twice_is_refused(raw, describe):
    describe(raw, ["case_0", "case_0"])
    with pytest.raises(InputError, match=r"case ids in .*dataset.json must be unique, got 'case_0'"):
        load_cases(raw)


def test_modality_may_be_a_plain_name(raw, describe):
    describe(raw, ["case_0"], modality="CT", labels={"1": "organ"})
    cohort = load_cases(raw)
    assert cohort.modality == ("CT",)
    assert cohort.labels == {0: "background", 1: "organ"}
    assert np.all([path.is_file() for path in cohort[0].image])
