"""A folder per case with an image and a mask per structure."""

from __future__ import annotations

import itertools
import json

import nibabel as nib
import numpy as np
import pytest

from imaseg.data import write_nifti
from imaseg.data.formats.masks import read_masks
from imaseg.data.formats.scan import Scan
from imaseg.data.layouts.load import load_cases
from imaseg.data.layouts.mask_folders import mask_folder_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.reading import read_volume

AS_IT_IS = Recipe(spacing=None, crop=None, normalise="none")
NAMES = {"heart": 0, "liver": 1, "spleen": 2}
"""Value of each structure in the ball, 0 for one that nobody has."""


@pytest.fixture
def source(tmp_path, save, ball, picture):
    root = tmp_path / "set"
    for i in range(3):
        save(root / f"s{i}" / "ct.nii.gz", picture(ball(), i))
        for name, value in NAMES.items():
            save(
                root / f"s{i}" / "segmentations" / f"{name}.nii.gz", ((ball() == value) & (value > 0)).astype(np.uint8)
            )
    (root / "meta.csv").write_text("image_id;split\n")
    return root


def test_masks_are_joined_in_alphabetical_order(source, tmp_path, ball):
    summary = prepare(source, tmp_path / "out", AS_IT_IS)
    assert summary.kept == ["s0", "s1", "s2"]
    assert summary.flagged == {}
    label = np.asarray(nib.load(tmp_path / "out" / "labelsTr" / "s1.nii.gz").dataobj)
    np.testing.assert_array_equal(label, np.array([0, 2, 3])[ball()])
    names = json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]
    assert names == {"0": "background", "1": "heart", "2": "liver", "3": "spleen"}
    assert prepare(source, tmp_path / "out", AS_IT_IS).written == []


def test_a_recipe_chooses_structures_and_their_values(source, tmp_path, ball):
    recipe = AS_IT_IS.model_copy(update={"labels": {1: "spleen"}})
    prepare(source, tmp_path / "out", recipe)
    label = np.asarray(nib.load(tmp_path / "out" / "labelsTr" / "s0.nii.gz").dataobj)
    np.testing.assert_array_equal(label, ball() == 2)


def test_they_are_read_raw_too(source, ball):
    np.testing.assert_array_equal(read_volume(load_cases(source)[0]).label, np.array([0, 2, 3])[ball()])


def test_what_is_wrong_with_a_mask_sets_its_case_aside(source, tmp_path, save, ball, picture):
    masks = source / "s0" / "segmentations"
    save(masks / "liver.nii.gz", ball())
    save(source / "s1" / "segmentations" / "heart.nii.gz", ball()[:-1])
    save(source / "s2" / "segmentations" / "heart.nii.gz", (ball() > 0).astype(np.uint8))
    save(source / "s3" / "ct.nii.gz", picture(ball(), 3))
    save(source / "s4" / "ct.nii.gz", picture(ball(), 4))
    save(source / "s4" / "segmentations" / "liver.nii.gz", ball() * 0.3)
    summary = prepare(source, tmp_path / "out", AS_IT_IS)
    assert summary.kept == ["s2"]
    assert (
        "segmentations/liver.nii.gz must mark one structure by one value on 0, got 0, 1, 2."
        in summary.quarantined["s0"][0]
    )
    assert "segmentations/heart.nii.gz must have the shape of s1/ct.nii.gz" in summary.quarantined["s1"][0]
    assert "segmentations must exist" in summary.quarantined["s3"][0]
    assert "must mark one structure by one value on 0, got 0, 0.3, 0.6." in summary.quarantined["s4"][0]
    assert len(summary.flagged["s2"]) == 2
    assert "structure 'liver' overlaps others in" in summary.flagged["s2"][0]


def test_versions_of_one_segmentation_are_no_structures(tmp_path, save, ball, picture):
    """KiTS keeps every annotator's masks in a folder beside image and label."""
    root = tmp_path / "kits"
    save(root / "case_1" / "imaging.nii.gz", picture(ball()))
    save(root / "case_1" / "segmentation.nii.gz", ball())
    save(root / "case_1" / "segmentations" / "kidney_instance-1_annotation-1.nii.gz", ball())
    assert mask_folder_cases(root) is None


@pytest.mark.parametrize("names", list(itertools.permutations(("core", "whole", "tip"))))
def test_masks_inside_each_other_are_painted_from_the_largest_to_the_smallest(tmp_path, names):
    image = Scan(tmp_path / "ct.nii.gz", np.zeros((8, 8, 8), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    reach = {"whole": 4, "core": 3, "tip": 1}
    wanted, values = np.zeros((8, 8, 8), int), {name: k for k, name in enumerate(names, start=1)}
    for name, size in reach.items():
        voxels = np.zeros((8, 8, 8), np.uint8)
        voxels[:size, 1 : 1 + size, :size] = 1
        write_nifti(tmp_path / f"{name}.nii.gz", voxels, np.eye(4), dtype=np.uint8)
        wanted[voxels > 0] = values[name]
    label = read_masks(tuple(tmp_path / f"{name}.nii.gz" for name in names), image, values)
    np.testing.assert_array_equal(label.data, wanted)
    assert len(label.flags) == 2
    assert "which the smaller one takes" in label.flags[0]
