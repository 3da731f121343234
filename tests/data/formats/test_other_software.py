"""The same case prepared by MONAI's transforms and by nnU-Net's recipe, voxel by voxel where the grids agree."""

from __future__ import annotations

import json
import math

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from skimage.transform import resize

from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.reading import read_volume

BOTH = ["image", "label"]
TARGET = (2.0, 1.5, 4.0)


@pytest.fixture
def received(tmp_path):
    """Two smooth cases stored along odd axes; sides for which all three programs choose the same grid."""
    shape, spacing = (31, 27, 19), (1.0, 0.75, 2.0)
    index = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    for i, name in enumerate(("a", "b")):
        far = np.sqrt((index[0] - 15) ** 2 + (index[1] - 9 - i) ** 2 + (index[2] - 18) ** 2)
        grey = np.where(far < 13, 300 + 100 * np.cos(far / 3) + 3 * index[0], 0).astype(np.float32)
        label = (far < 7).astype(np.uint8)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = (-20, 30, 5)
        turn = nib.orientations.axcodes2ornt("PIL")
        turn = nib.orientations.ornt_transform(nib.io_orientation(affine), turn)
        for folder, array in (("images", grey), ("labels", label)):
            (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
            file = nib.Nifti1Image(array, affine).as_reoriented(turn)
            nib.save(file, tmp_path / "raw" / folder / f"{name}.nii.gz")
    return tmp_path


def run(received, **recipe):
    out = received / "out"
    prepare(received / "raw", out, Recipe(**{"spacing": TARGET, "crop": None} | recipe))
    story = json.loads((out / "prepare.json").read_text())
    image, label = (nib.load(out / folder / "a.nii.gz") for folder in ("imagesTr", "labelsTr"))
    return image.get_fdata(), label.get_fdata(), image.affine, story


def monai_of(received, *scaling, spacing=True):
    raw = received / "raw"
    steps = [
        LoadImaged(BOTH),
        EnsureChannelFirstd(BOTH),
        Orientationd(BOTH, axcodes="RAS"),
        *([Spacingd(BOTH, pixdim=TARGET, mode=("bilinear", "nearest"))] if spacing else []),
        *scaling,
    ]
    case = Compose(steps)({"image": raw / "images" / "a.nii.gz", "label": raw / "labels" / "a.nii.gz"})
    return case["image"][0].numpy(), case["label"][0].numpy(), case["image"].affine.numpy()


def test_grid_and_voxels_are_those_of_monai(received):
    image, label, affine, _ = run(received, normalise="none")
    theirs, their_label, their_affine = monai_of(received)
    np.testing.assert_allclose(affine, their_affine, atol=1e-4)
    np.testing.assert_allclose(image, theirs, atol=1e-2)  # of values up to 450
    shared = 2 * ((label == 1) & (their_label == 1)).sum() / (label.sum() + their_label.sum())
    assert shared > 0.95  # MONAI takes the nearest voxel, imaseg the largest share


def test_zscores_are_those_of_monai(received):
    # Without Spacing, whose rounding leaves no exact zeros of the air, so that MONAI counts it as tissue.
    image, _, _, _ = run(received, spacing=None)
    theirs, _, _ = monai_of(received, NormalizeIntensityd("image", nonzero=True), spacing=False)
    np.testing.assert_allclose(image, np.where(theirs == 0, image.min(), theirs), atol=2e-4)


def test_clipped_hu_are_those_of_monai(received):
    image, _, _, story = run(received, normalise="ct", modality=("CT",))
    figures = story["fingerprint"]["intensity"][0]
    low, high = figures["percentile_00_5"], figures["percentile_99_5"]
    ends = ((end - figures["mean"]) / figures["std"] for end in (low, high))
    theirs, _, _ = monai_of(received, ScaleIntensityRanged("image", low, high, *ends, clip=True))
    np.testing.assert_allclose(image, theirs, atol=1e-3)


def nnunet_style(array, spacing, target, *, order):
    """`resample_data_or_seg` without a separate axis: skimage's resize to the rounded shape, edges continued."""
    shape = np.round(np.asarray(array.shape) * np.asarray(spacing) / np.asarray(target)).astype(int)
    return resize(array.astype(float), shape, order=order, mode="edge", anti_aliasing=False, clip=True)


@pytest.fixture
def even(tmp_path):
    """Voxels that fill the field of view for both sizes, since nnU-Net scales the whole field of view."""
    shape, spacing = (30, 24, 16), (1.0, 1.5, 3.0)
    index = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    for i, name in enumerate(("a", "b")):
        far = np.sqrt((index[0] - 15) ** 2 + (index[1] - 17 - i) ** 2 + (index[2] - 24) ** 2)
        (tmp_path / "raw" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / "labels").mkdir(parents=True, exist_ok=True)
        grey = (300 + 100 * np.cos(far / 5)).astype(np.float32)
        nib.save(nib.Nifti1Image(grey, np.diag([*spacing, 1.0])), tmp_path / "raw" / "images" / f"{name}.nii.gz")
        nib.save(
            nib.Nifti1Image((far < 10).astype(np.uint8), np.diag([*spacing, 1.0])),
            tmp_path / "raw" / "labels" / f"{name}.nii.gz",
        )
    return tmp_path


@pytest.mark.parametrize(("order", "target"), [(3, (1.0, 1.0, 2.0)), (1, (1.0, 1.0, 2.0)), (3, (2.0, 1.0, 1.0))])
def test_cubic_voxels_are_those_of_nnunet(even, order, target):
    image, label, _, _ = run(even, spacing=target, image_order=order, normalise="zscore", within="image")
    raw = nib.load(even / "raw" / "images" / "a.nii.gz").get_fdata()
    theirs = nnunet_style(raw, (1.0, 1.5, 3.0), target, order=order)
    theirs = (theirs - theirs.mean()) / theirs.std()
    assert image.shape == theirs.shape
    away = [math.ceil(4 * size / wanted) for size, wanted in zip((1.0, 1.5, 3.0), target, strict=True)]
    inner = tuple(slice(n, -n) for n in away)  # splines are continued beyond the edge in two ways
    np.testing.assert_allclose(image[inner], theirs[inner], atol=0.02)  # standard deviations
    raw_label = nib.load(even / "raw" / "labels" / "a.nii.gz").get_fdata()
    share = nnunet_style(raw_label, (1.0, 1.5, 3.0), target, order=1)
    theirs = share > 0.5
    assert 2 * ((label == 1) & theirs).sum() / (label.sum() + theirs.sum()) > 0.94
    # nnU-Net's loses 9 % of the volume here.
    assert label.sum() * np.prod(target) == pytest.approx(raw_label.sum() * 1.0 * 1.5 * 3.0, rel=0.01)


def test_the_reference_is_what_nnunet_does_itself(even):
    nnunet = pytest.importorskip("nnunetv2.preprocessing.resampling.default_resampling", reason="nnunetv2 is missing")
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization

    raw = nib.load(even / "raw" / "images" / "a.nii.gz").get_fdata().astype(np.float32)
    spacing, target = (1.0, 1.5, 3.0), (1.0, 1.0, 2.0)
    shape = nnunet.compute_new_shape(raw.shape, spacing, target)
    normalised = ZScoreNormalization(use_mask_for_norm=False, intensityproperties={}).run(raw.copy())
    theirs = np.asarray(nnunet.resample_data_or_seg(normalised[None], shape, is_seg=False, order=3))[0]
    reference = nnunet_style(normalised, spacing, target, order=3)
    np.testing.assert_allclose(theirs, reference, atol=1e-4)  # standard deviations
    image, _, _, _ = run(even, spacing=target, image_order=3, normalise="zscore", within="image")
    # nnU-Net normalises first and resamples afterwards, the recipe the other way round.
    inner = tuple(slice(n, -n) for n in (4, 6, 6))
    np.testing.assert_allclose(image[inner], theirs[inner], atol=0.03)


def test_slices_are_left_alone_as_nnunet_leaves_them(even):
    """Anisotropic: nnU-Net resamples in the plane and takes the nearest slice across."""
    image, _, _, _ = run(even, spacing=(0.75, 0.75, 2.0), image_order=3, thick_order=0, normalise="none")
    raw = nib.load(even / "raw" / "images" / "a.nii.gz").get_fdata()
    plane = resize(raw, (40, 48, 16), order=3, mode="edge", anti_aliasing=False, clip=True)
    place = (np.arange(24) + 0.5) * 16 / 24 - 0.5
    theirs = plane[:, :, np.floor(place + 0.5).astype(int).clip(0, 15)]
    inner = (slice(4, -4), slice(4, -4), slice(None))
    np.testing.assert_allclose(image[inner], theirs[inner], atol=0.5)  # of values up to 400


def test_the_written_case_is_what_monai_loads(received):
    image, label, affine, _ = run(received)
    out = received / "out"
    case = Compose([LoadImaged(BOTH), EnsureChannelFirstd(BOTH)])(
        {"image": out / "imagesTr" / "a.nii.gz", "label": out / "labelsTr" / "a.nii.gz"}
    )
    np.testing.assert_array_equal(case["image"][0].numpy(), image.astype(np.float32))
    np.testing.assert_array_equal(case["label"][0].numpy(), label)
    np.testing.assert_allclose(case["image"].affine.numpy(), affine, atol=1e-6)
    from imaseg.data import load_cases

    np.testing.assert_array_equal(read_volume(load_cases(out)[0]).image[0], image.astype(np.float32))
