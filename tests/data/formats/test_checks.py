from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.formats import checks
from imaseg.data.formats.read import read_scan
from imaseg.data.formats.scan import Scan, on_grid_of


def scan(data, affine=None, name="imagesTr/a.nii.gz", pixdim=(1.0, 1.0, 1.0)) -> Scan:
    return Scan(Path(name), np.asarray(data), np.eye(4) if affine is None else np.asarray(affine, float), pixdim)


@pytest.fixture
def image(ball, picture) -> Scan:
    return scan(picture(ball()))


@pytest.fixture
def label(ball) -> Scan:
    return scan(ball(), name="labelsTr/a.nii.gz")


LABELS = {0: "background", 1: "front", 2: "back"}


def test_a_good_case_has_no_reasons(image, label):
    assert checks.check_image([image]) == []
    assert checks.check_label(label, image, LABELS) == []
    assert checks.header_flags(image) == []


@pytest.mark.parametrize("pixdim", [(1, 1, 0), (1, -1, 1), (np.nan, 1, 1), (np.inf, 1, 1)])
def test_voxel_sizes_must_be_positive(image, pixdim):
    image.pixdim = pixdim
    (reason,) = checks.check_image([image])
    assert reason.startswith("imagesTr/a.nii.gz must have voxel sizes above 0 mm, got")


def test_affine_must_be_finite_and_span_space(image):
    image.affine = np.diag([1, 1, np.nan, 1])
    assert "must have a finite affine" in checks.check_image([image])[0]
    image.affine = np.diag([1, 0, 1, 1.0])
    assert "must have an affine that spans space" in checks.check_image([image])[0]


def test_not_finite_is_counted(image):
    image.data[0, 0, :3] = np.nan
    image.data[1, 0, 0] = -np.inf
    assert checks.check_image([image]) == [
        "imagesTr/a.nii.gz must hold finite numbers, got 3 NaN and 1 infinite voxels."
    ]


@pytest.mark.parametrize(("value", "text"), [(np.nan, "1 NaN and 0 infinite"), (np.inf, "0 NaN and 1 infinite")])
def test_a_single_undefined_voxel_is_enough(image, value, text):
    image.data[2, 3, 4] = value
    assert checks.check_image([image]) == [f"imagesTr/a.nii.gz must hold finite numbers, got {text} voxels."]


def test_constant_image_and_constant_channel(image):
    flat = scan(np.full((3, 3, 3), 42.0, np.float32))
    assert checks.check_image([flat]) == ["imagesTr/a.nii.gz must vary, got 42 in every voxel."]
    two = scan(np.stack([image.data, np.zeros_like(image.data)], -1))
    assert checks.check_image([two]) == ["channel 1 of imagesTr/a.nii.gz must vary, got 0 in every voxel."]


def test_shapes_must_agree(image, label):
    label.data = label.data[:, :, :-1]
    reasons = checks.check_label(label, image, LABELS)
    assert reasons == [
        "labelsTr/a.nii.gz must have the shape of imagesTr/a.nii.gz, got 14 x 16 x 11 and 14 x 16 x 12 voxels."
    ]


@pytest.mark.parametrize(("shift", "fine"), [(0.4, True), (0.6, False)])
def test_of_long_voxels_the_shortest_side_counts(image, label, shift, fine):
    image.affine = np.diag([1.0, 1.0, 6.0, 1.0])
    label.affine = image.affine.copy()
    label.affine[2, 3] = shift
    assert (checks.same_place(label, image) == []) is fine


@pytest.mark.parametrize(("shift", "fine"), [(0.4, True), (0.6, False), (7.0, False)])
def test_half_a_voxel_is_the_limit_of_a_shift(image, label, shift, fine):
    label.affine[0, 3] += shift
    reasons = checks.check_label(label, image, LABELS)
    assert (reasons == []) is fine
    assert fine or f"corners are {shift:.2f} mm apart (at most 0.50 mm)" in reasons[0]


def test_other_voxel_size_shows_at_the_corners(image, label):
    label.affine = np.diag([1, 1, 1.2, 1.0])
    assert "corners are 2.20 mm apart" in checks.check_label(label, image, LABELS)[0]


def test_interpolated_labels_are_counted(image, label):
    label.data = label.data.astype(np.float32)
    label.data[label.data == 1] = 0.63
    n = int((label.data == np.float32(0.63)).sum())
    assert checks.check_label(label, image, LABELS) == [
        f"labelsTr/a.nii.gz must hold whole label numbers from 0, got 0.63 in {n} voxels."
    ]


def test_undeclared_labels_are_counted(image, label):
    label.data[0, 0, 0] = 7
    assert checks.check_label(label, image, LABELS) == [
        "labelsTr/a.nii.gz must hold the declared labels 0, 1, 2, got 7 in 1 voxel."
    ]
    assert checks.check_label(label, image, None) == []


def test_negative_labels_are_refused_even_if_nobody_declares_any(image, label):
    label.data = label.data.astype(np.int16)
    label.data[0, 0, 0] = -1
    assert "whole label numbers from 0, got -1 in 1 voxel" in checks.check_label(label, image)[0]


def test_empty_label(image, label):
    label.data[:] = 0
    assert checks.check_label(label, image, LABELS) == [
        "labelsTr/a.nii.gz must mark at least one voxel, got background everywhere."
    ]


def test_channels_in_several_files_must_agree(image):
    other = scan(image.data[:-1], name="imagesTr/a_0001.nii.gz")
    assert "a_0001.nii.gz must have the shape of" in checks.check_image([image, other])[0]


def test_conflicting_headers_are_flagged_not_refused(tmp_path, ball, picture):
    volume = nib.Nifti1Image(picture(ball()), np.eye(4))
    moved = np.eye(4)
    moved[:3, 3] = (5, 0, 0)
    volume.set_sform(np.eye(4), code=1)
    volume.set_qform(moved, code=1)
    nib.save(volume, tmp_path / "a.nii.gz")
    read = read_scan(tmp_path / "a.nii.gz")
    assert checks.check_image([read]) == []
    assert [flag.split(": ")[1] for flag in checks.header_flags(read)] == [
        "qform and sform lie 5.0 mm apart; sform used."
    ]


def test_a_header_without_orientation_is_flagged(tmp_path, ball, picture):
    nib.save(nib.Nifti1Image(picture(ball()), None), tmp_path / "a.nii.gz")
    (flag,) = checks.header_flags(read_scan(tmp_path / "a.nii.gz"))
    assert "sets no orientation" in flag


def test_header_and_affine_with_other_voxel_sizes_are_flagged(image):
    image.pixdim = (1.0, 1.0, 3.0)
    assert "disagree on the voxel size (1 x 1 x 3 and 1 x 1 x 1 mm)" in checks.header_flags(image)[0]


def test_zero_pixdim_survives_reading(tmp_path, ball, picture):
    """nibabel sets it to 1 and goes on; the bytes say 0."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(picture(ball()), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[76 + 3 * 4 : 76 + 4 * 4] = bytes(4)
    path.write_bytes(content)
    assert "must have voxel sizes above 0 mm, got 1 x 1 x 0" in checks.check_image([read_scan(path)])[0]


def test_a_singular_affine_is_not_reordered(image, label):
    label.affine = np.zeros((4, 4))
    assert on_grid_of(label, image) is label


def test_a_label_that_numbers_objects_is_refused(image):
    many = np.arange(20 * 20 * 20).reshape(20, 20, 20)
    assert checks.whole_numbers(Scan(Path("l/a.nii"), many, np.eye(4), (1, 1, 1))) == [
        "l/a.nii must hold at most 4096 label values, got 8000. If they number objects, map them to classes first."
    ]
