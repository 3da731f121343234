"""Four digits at the end of a name: channels of a case, or cases."""

from __future__ import annotations

import json

import pytest

from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.errors import InputError

AS_IT_IS = Recipe(orientation=None, spacing=None, crop=None, normalise="none")


@pytest.fixture
def folder(tmp_path, save, ball, picture):
    """Write images and labels by their stems, in nnU-Net's folders or others."""

    def write(images, labels=(), content=None, folders=("imagesTr", "labelsTr"), suffix=".nii.gz"):
        root = tmp_path / "raw"
        for i, name in enumerate(images):
            save(root / folders[0] / f"{name}{suffix}", picture(ball(), i))
        for name in labels:
            save(root / folders[1] / f"{name}{suffix}", ball())
        if content is not None:
            (root / "dataset.json").write_text(json.dumps(content))
        return root

    return write


def described(channels, **more):
    return {
        "channel_names": {str(i): f"c{i}" for i in range(channels)},
        "labels": {"background": 0, "a": 1, "b": 2},
    } | more


def names(cohort):
    return {case.id: [path.name.removesuffix(".nii.gz") for path in case.image] for case in cohort}


def test_numbers_of_patients_without_labels_are_cases(folder):
    assert load_cases(folder([f"pancreas_{i:04d}" for i in range(1, 5)])).ids == [
        f"pancreas_{i:04d}" for i in range(1, 5)
    ]


def test_one_label_that_has_the_number_tells_that_they_are_cases(folder):
    cohort = load_cases(folder(["p_0001", "p_0002"], ["p_0001"]), missing_ok=True)
    assert names(cohort) == {"p_0001": ["p_0001"], "p_0002": ["p_0002"]}
    assert cohort[1].label.name == "p_0002.nii.gz"


def test_one_label_without_the_number_tells_that_they_are_channels(folder):
    cohort = load_cases(folder(["p_0000", "p_0001", "q_0000", "q_0001"], ["p"]), missing_ok=True)
    assert names(cohort) == {"p": ["p_0000", "p_0001"], "q": ["q_0000", "q_0001"]}


def test_ids_that_end_in_four_digits_have_channels_as_well(folder):
    cohort = load_cases(folder(["p_0001_0000", "p_0002_0000"], ["p_0001", "p_0002"], described(1)))
    assert names(cohort) == {"p_0001": ["p_0001_0000"], "p_0002": ["p_0002_0000"]}


def test_numbers_that_repeat_from_0000_are_channels(folder):
    cohort = load_cases(folder(["p_0000", "p_0001", "q_0000", "q_0001"]))
    assert names(cohort) == {"p": ["p_0000", "p_0001"], "q": ["q_0000", "q_0001"]}


def test_one_name_numbered_from_0000_is_a_question(folder):
    root = folder(["p_0000", "p_0001", "p_0002"], folders=("images", "labels"))
    with pytest.raises(InputError, match=r"must tell channels from cases, got 3 files called p_NUMBER and no label"):
        load_cases(root)
    (root / "dataset.json").write_text(json.dumps(described(3)))
    (root / "images").rename(root / "imagesTr")
    assert names(load_cases(root)) == {"p": ["p_0000", "p_0001", "p_0002"]}


def test_a_case_with_a_channel_too_few_or_too_many_is_set_aside_by_name(folder, tmp_path):
    images = ["a_0000", "a_0001", "b_0000", "c_0000", "c_0001", "c_0002", "d_0000", "d_0002"]
    root = folder(images, "abcd", described(2))
    summary = prepare(root, tmp_path / "out", AS_IT_IS)
    assert summary.kept == ["a"]
    assert "imagesTr/b_0001.nii.gz must exist, got nothing there" in summary.quarantined["b"][0]
    assert "c must have the channels that dataset.json declares" in summary.quarantined["c"][0]
    assert "(0000 to 0001), got c_0002.nii.gz" in summary.quarantined["c"][0]
    assert "got d_0002.nii.gz" in summary.quarantined["d"][0]


def test_without_a_declaration_most_cases_say_which_channels_there_are(folder, tmp_path):
    images = ["a_0000", "a_0001", "b_0000", "b_0001", "c_0000", "c_0002"]
    summary = prepare(folder(images, "abc"), tmp_path / "out", AS_IT_IS)
    assert summary.kept == ["a", "b"]
    assert "got c_0002.nii.gz" in summary.quarantined["c"][0]


def test_one_channel_less_than_declared_in_all_cases_is_refused(folder):
    root = folder(["a_0000", "b_0000"], "ab", described(2))
    with pytest.raises(InputError, match=r"a_0001.nii.gz must exist \(case a\)"):
        load_cases(root)


def test_numbers_that_dataset_json_does_not_declare_are_refused(folder):
    root = folder([f"pancreas_{i:04d}" for i in range(1, 4)], content=described(1))
    with pytest.raises(InputError, match=r"pancreas must have the channels .*\(0000 only\), got pancreas_0001"):
        load_cases(root)


def test_listed_images_that_end_in_numbers_are_cases(folder):
    names_listed = [f"pancreas_{i:04d}" for i in range(1, 4)]
    root = folder(names_listed)
    entries = [{"image": f"imagesTr/{name}.nii.gz"} for name in names_listed]
    (root / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "training": entries}))
    assert load_cases(root).ids == names_listed


def test_one_number_in_two_formats_is_refused(folder, save, ball):
    root = folder(["a_0000", "b_0000"], "ab")
    save(root / "imagesTr" / "a_0000.nii", ball())
    with pytest.raises(InputError, match="one file per case and channel, got 2 files for a"):
        load_cases(root)


def test_labels_without_an_image_are_named(folder, tmp_path):
    root = folder(["case1", "Case_2"], ["case1", "case2", "case3"])
    summary = prepare(root, tmp_path / "out", AS_IT_IS)
    assert list(summary.quarantined) == ["Case_2"]
    assert summary.files.ignored == {
        "labelsTr/case2.nii.gz": "label without an image",
        "labelsTr/case3.nii.gz": "label without an image",
    }


def test_files_of_another_ending_than_declared_are_left_out_and_named(folder, save, ball):
    root = folder(["a_0000"], ["a"], described(1, file_ending=".nii.gz"))
    save(root / "imagesTr" / "b_0000.nii", ball())
    cohort = load_cases(root)
    assert cohort.ids == ["a"]
    assert {path.name: why for path, why in cohort.ignored.items()} == {
        "b_0000.nii": "not .nii.gz, as file_ending in dataset.json says"
    }


def test_an_ending_that_no_file_has_is_refused(folder):
    root = folder(["a_0000"], ["a"], described(1, file_ending=".tif"))
    with pytest.raises(InputError, match=r"must hold files that end in .tif, as file_ending .* got a.nii.gz"):
        load_cases(root)


def test_an_ending_that_is_not_read_is_refused(folder):
    root = folder(["a_0000"], ["a"], described(1, file_ending=".mgz"))
    with pytest.raises(InputError, match=r"file_ending in .*dataset.json must be one of .*got '.mgz'"):
        load_cases(root)


def test_the_dataset_key_of_nnunet_lists_files_anywhere(folder, save, ball, picture):
    root = folder(["unused"], content={})
    for i in range(2):
        save(root.parent / "store" / f"im{i}.nii.gz", picture(ball(), i))
        save(root.parent / "store" / f"lb{i}.nii.gz", ball())
    listed = {f"c{i}": {"images": [f"../store/im{i}.nii.gz"], "label": f"../store/lb{i}.nii.gz"} for i in range(2)}
    (root / "dataset.json").write_text(json.dumps(described(1, dataset=listed)))
    with pytest.warns(UserWarning, match="lists files outside of its folder"):
        cohort = load_cases(root)
    assert [(case.id, case.image[0].name, case.label.name) for case in cohort] == [
        ("c0", "im0.nii.gz", "lb0.nii.gz"),
        ("c1", "im1.nii.gz", "lb1.nii.gz"),
    ]
    (root / "dataset.json").write_text(json.dumps(described(1, dataset={"c0": {"images": "im0.nii.gz"}})))
    with pytest.raises(InputError, match=r"case 'c0' of dataset in .* must be"):
        load_cases(root)


@pytest.mark.parametrize(
    ("reader", "told"), [("SimpleITKIO", False), ("None", False), ("OwnReader", True), ("Tiff3DIO", True)]
)
def test_a_reader_that_would_read_otherwise_is_warned_of(folder, recwarn, reader, told):
    root = folder(["a_0000"], ["a"], described(1, file_ending=".nii.gz", overwrite_image_reader_writer=reader))
    assert load_cases(root).ids == ["a"]
    assert [f"names {reader}, which is not run" in str(each.message) for each in recwarn] == [True] * told
