"""Masks that hold grey values rather than class numbers are refused with the key that mends them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from imaseg.data.cases import Case
from imaseg.data.cohort.survey import survey_case
from imaseg.data.formats.read import label_values
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.errors import InputError

RNG = np.random.default_rng(0)
DISC = sum((axis - 20) ** 2 for axis in np.mgrid[:40, :44]) < 12**2
MASK = np.where(DISC, 255, 0).astype(np.uint8)
WHITE = {255: 1, 65535: 1}


def reasons(tmp_path, mask, name="l.png", declared=None, **options):
    """What is wrong with a case of a noisy picture and this mask."""
    Image.fromarray(RNG.integers(0, 255, (40, 44)).astype(np.uint8)).save(tmp_path / "i.png")
    picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    picture.save(tmp_path / name, **({"quality": 75} if name.endswith("jpg") else {}))
    return survey_case(Case("a", (tmp_path / "i.png",), tmp_path / name), declared, **options).reasons


def frayed(how):
    if how == "antialiased":
        return np.asarray(Image.fromarray(MASK).resize((22, 20), Image.Resampling.BILINEAR).resize((44, 40)))
    if how == "enlarged":
        return np.asarray(Image.fromarray(MASK).resize((22, 20), Image.Resampling.BILINEAR)).repeat(2, 0).repeat(2, 1)
    if how == "noisy":
        return np.where(DISC, 255 - RNG.integers(0, 8, DISC.shape), RNG.integers(0, 8, DISC.shape)).astype(np.uint8)
    return np.where(gaussian_filter(DISC.astype(float), 1) > 0.9, 255, np.where(DISC, 128, 0)).astype(np.uint8)


@pytest.mark.parametrize("how", ["antialiased", "enlarged", "noisy", "one level between"])
@pytest.mark.parametrize("name", ["l.png", "l.bmp", "l.tif", "l.gif", "l.pgm"])
def test_frayed_masks_are_refused_with_the_key_named(tmp_path, how, name):
    (reason,) = reasons(tmp_path, frayed(how), name, mapping=WHITE)
    assert f"{name} must hold class numbers, got" in reason
    assert "label_threshold: 128" in reason
    assert "label_map" in reason


def test_a_mask_saved_as_jpeg_is_refused_even_where_its_values_are_small(tmp_path):
    (reason,) = reasons(tmp_path, MASK // 64, "l.jpg", mapping=WHITE)
    assert "grey values of a JPEG file" in reason
    assert "label_threshold" in reason


def test_with_a_threshold_frayed_masks_are_one_structure(tmp_path):
    assert reasons(tmp_path, frayed("noisy"), threshold=128) == []
    assert reasons(tmp_path, MASK, "l.jpg", threshold=128) == []


def test_colours_that_jpeg_made_of_grey_name_the_threshold(tmp_path):
    (reason,) = reasons(tmp_path, np.stack([MASK, MASK, MASK // 2], -1), "l.jpg")
    assert "label_threshold: 128" in reason


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        DISC.astype(np.uint8),
        DISC.astype(np.uint16) * 65535,
        DISC * np.uint8(128),
        np.arange(40 * 44).reshape(40, 44).astype(np.uint8) // 64,
        (np.arange(40 * 44).reshape(40, 44) // 500 * 85).astype(np.uint8),
    ],
    ids=["0 255", "0 1", "0 65535", "0 128", "0 to 27", "0 85 170 255"],
)
def test_class_numbers_pass(tmp_path, mask):
    assert reasons(tmp_path, mask) == []


def test_values_that_are_declared_or_mapped_pass(tmp_path):
    levels = np.where(DISC, 200, 60).astype(np.uint8)
    assert len(reasons(tmp_path, levels)) == 1
    assert reasons(tmp_path, levels, declared={0: "background", 60: "a", 200: "b"}) == []
    assert reasons(tmp_path, levels, mapping={60: 1, 200: 2}) == []


def test_a_soft_mask_in_a_volume_is_refused_and_a_parcellation_is_not(tmp_path):
    grid = np.mgrid[:24, :24, :24]
    soft = np.rint(gaussian_filter((sum((g - 12) ** 2 for g in grid) < 64).astype(float), 2) * 255)
    blocks = grid[0] // 4 * 36 + grid[1] // 4 * 6 + grid[2] // 4 + 1000
    for name, label in (("soft", soft.astype(np.uint8)), ("blocks", blocks.astype(np.int16))):
        nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(RNG.normal(size=soft.shape), np.eye(4)), tmp_path / "i.nii.gz")
    (reason,) = survey_case(Case("a", (tmp_path / "i.nii.gz",), tmp_path / "soft.nii.gz"), None).reasons
    assert "label_threshold" in reason
    assert survey_case(Case("a", (tmp_path / "i.nii.gz",), tmp_path / "blocks.nii.gz"), None).reasons == []


def test_an_audit_of_undeclared_masks_is_told_the_same(tmp_path):
    Image.fromarray(frayed("noisy")).save(tmp_path / "l.png")
    with pytest.raises(InputError, match=r"l.png must hold class numbers.*label_threshold"):
        label_values(tmp_path / "l.png")


def test_sixteen_bit_black_and_white_is_one_class_by_the_recipe_for_pictures(tmp_path):
    for kind, array in (
        ("images", RNG.integers(0, 255, (40, 44)).astype(np.uint8)),
        ("masks", DISC * np.uint16(65535)),
    ):
        (tmp_path / "raw" / kind).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / "raw" / kind / "a.png")
    prepare(tmp_path / "raw", tmp_path / "out", load_recipe("2d"))
    written = np.asarray(nib.load(tmp_path / "out" / "labelsTr" / "a.nii.gz").dataobj)
    np.testing.assert_array_equal(written.squeeze().T, DISC)
