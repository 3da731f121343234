"""Links out of the data folder: followed only if asked, where a file of somebody else's chose what is read."""

from __future__ import annotations

import json
import os
import warnings

import pytest
import SimpleITK

from imaseg.data import load_cases
from imaseg.data.layouts.held_out import held_out_images
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

AS_IT_IS = Recipe(spacing=None, crop=None)
SENTENCE = r"case_5\.nii\.gz must lie in .*raw, got a link to .*elsewhere.* --follow-links \(follow_links=True\)"


@pytest.fixture
def linked(raw):
    """Six cases listed in dataset.json, the image of the last of which is a link to another folder."""
    image, elsewhere = raw / "imagesTr" / "case_5.nii.gz", raw.parent / "elsewhere"
    elsewhere.mkdir()
    image.rename(elsewhere / "secret.nii.gz")
    image.symlink_to(elsewhere / "secret.nii.gz")
    return raw


def test_a_listed_link_is_not_followed_unless_asked(linked, tmp_path):
    with pytest.warns(UserWarning, match=SENTENCE):
        assert len(load_cases(linked)) == 5
    assert len(load_cases(linked, follow_links=True)) == 6
    summary = prepare(linked, tmp_path / "out", AS_IT_IS)
    assert list(summary.quarantined) == ["case_5"]
    assert "--follow-links" in summary.quarantined["case_5"][0]
    assert len(prepare(linked, tmp_path / "out", AS_IT_IS, follow_links=True).kept) == 6


def test_a_folder_of_links_is_not_followed_either(raw):
    (raw / "labelsTr").rename(raw.parent / "labels")
    (raw / "labelsTr").symlink_to(raw.parent / "labels")
    with pytest.raises(InputError, match=r"case_0\.nii\.gz must lie in .*, got a link to .*labels"):
        load_cases(raw)
    assert len(load_cases(raw, follow_links=True)) == 6


def test_links_within_the_folder_and_a_link_to_the_folder_are_fine(raw):
    store = raw / ".git" / "annex"
    store.mkdir(parents=True)
    for path in (raw / "imagesTr").iterdir():
        path.rename(store / path.name)
        path.symlink_to(os.path.relpath(store / path.name, path.parent))
    (raw.parent / "link").symlink_to(raw)
    for root in (raw, raw.parent / "link"):
        cohort = load_cases(root)
        assert len(cohort) == 6
        assert read_volume(cohort[0]).image.any()


def test_links_that_no_file_lists_are_followed(linked):
    (linked / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MRI"}, "labels": {"a": 1, "b": 2}}))
    assert len(load_cases(linked)) == 6


@pytest.mark.filterwarnings("ignore:.*lists files outside of its folder")
def test_paths_that_openly_lead_elsewhere_are_read_and_links_there_are_not(linked):
    elsewhere = linked.parent / "elsewhere"
    (elsewhere / "own.nii.gz").write_bytes((elsewhere / "secret.nii.gz").read_bytes())
    (linked.parent / "third").mkdir()
    (elsewhere / "secret.nii.gz").rename(linked.parent / "third" / "x.nii.gz")
    (elsewhere / "secret.nii.gz").symlink_to(linked.parent / "third" / "x.nii.gz")
    names = {"a": "../elsewhere/own.nii.gz", "b": str(elsewhere / "own.nii.gz"), "c": "../elsewhere/secret.nii.gz"}
    dataset = {name: {"images": [path], "label": "labelsTr/case_0.nii.gz"} for name, path in names.items()}
    (linked / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MRI"}, "dataset": dataset}))
    (linked / "split.json").unlink()
    with pytest.warns(UserWarning, match=r"secret\.nii\.gz must lie in .*elsewhere, got a link to .*third"):
        assert load_cases(linked).ids == ["a", "b"]
    assert load_cases(linked, follow_links=True).ids == ["a", "b", "c"]


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_beside_a_header_are_no_links_out_of_the_folder(tmp_path, picture, ball, suffix):
    for folder, array in (("imagesTr", picture(ball())), ("labelsTr", ball())):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for name in ("a", "b"):
            path = tmp_path / "raw" / folder / f"{name}{suffix}"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    voxels = next(path for path in (tmp_path / "raw" / "imagesTr").glob("b.*") if path.suffix != suffix)
    voxels.rename(tmp_path / "secret.raw")
    voxels.symlink_to(tmp_path / "secret.raw")
    sentence = rf"{voxels.name} must lie in .*raw, got a link to .*secret\.raw\. .*--follow-links"
    with pytest.warns(UserWarning, match=sentence):
        assert load_cases(tmp_path / "raw").ids == ["a"]
    followed = load_cases(tmp_path / "raw", follow_links=True)
    assert read_volume(followed[1]).image.tolist() == read_volume(followed[0]).image.tolist()


def test_images_of_the_test_part_are_held_to_it_too(linked):
    content = json.loads((linked / "dataset.json").read_text())
    content["test"] = ["./imagesTr/case_5.nii.gz", "./imagesTr/case_4.nii.gz"]
    (linked / "dataset.json").write_text(json.dumps(content))
    assert [bool(case.fault) for case in held_out_images(linked)] == [True, False]
    assert not any(case.fault for case in held_out_images(linked, follow_links=True))


def test_paths_that_lead_elsewhere_are_told(raw):
    content = json.loads((raw / "dataset.json").read_text())
    (raw / "imagesTr" / "case_0.nii.gz").rename(raw.parent / "case_0.nii.gz")
    content["training"][0]["image"] = "../case_0.nii.gz"
    (raw / "dataset.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=rf"dataset\.json lists files outside of its folder: in {raw.parent}\. Go on"):
        assert len(load_cases(raw)) == 6


def test_paths_that_stay_inside_are_not(raw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_cases(raw)) == 6
