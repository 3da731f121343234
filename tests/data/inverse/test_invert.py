from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import zoom

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.inverse.invert import invert_image, invert_label, invert_logits, native_scale
from imaseg.data.preparation.bias import bias_field
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.volume import Volume

PLAIN = CohortStatistics(("MRI",), (1.0, 1.0, 1.0), (14, 16, 12), ({},), {})


def native(codes: str) -> Volume:
    shape, spacing = (36, 30, 24), np.array([0.9, 1.0, 1.5])
    axes = np.ix_(*[(np.arange(n) - n / 2 + 0.5) * s for n, s in zip(shape, spacing, strict=True)])
    far = np.sqrt(axes[0] ** 2 + 1.3 * (axes[1] - 2) ** 2 + axes[2] ** 2)
    label = np.where(far < 10, np.where(np.broadcast_to(axes[1], shape) > 1, 1, 2), 0)
    grey = np.where(far < 13, 4000 + 500 * np.cos(far / 3), 0).astype(np.float32)
    affine = np.diag([*spacing, 1.0])
    ornt = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    image = nib.Nifti1Image(grey, affine).as_reoriented(ornt)
    turned = nib.apply_orientation(label, ornt)
    return Volume(codes, np.asarray(image.dataobj)[None], turned, image.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_without_resampling_the_round_trip_is_exact(codes):
    volume = native(codes)
    done, steps = apply_recipe(volume, Recipe(spacing=None, crop_margin=1), PLAIN)
    assert done.shape != volume.shape
    np.testing.assert_array_equal(invert_label(done.label, steps), volume.label)
    np.testing.assert_allclose(invert_image(done.image, steps), volume.image, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_with_resampling_labels_come_back_with_a_dice_of_95_percent(codes):
    volume = native(codes)
    done, steps = apply_recipe(volume, Recipe(spacing=(0.8, 0.8, 0.8)), PLAIN)
    back = invert_label(done.label, steps)
    assert back.shape == volume.label.shape
    for value in (1, 2):
        a, b = back == value, volume.label == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95
    inside = volume.label > 0
    image = invert_image(done.image, steps)
    assert np.abs(image - volume.image)[0][inside].mean() < 0.02 * 4000


def test_native_scale_is_what_intensities_were_divided_by():
    volume = native("LPS")
    done, steps = apply_recipe(volume, Recipe(spacing=None, crop=None), PLAIN)
    body = volume.image[volume.image != 0].astype(np.float64)
    assert native_scale(steps) == pytest.approx(body.std())
    change = np.zeros_like(done.image)
    change[0, 3, 4, 5] = 0.1
    moved = invert_image(done.image + change, steps) - invert_image(done.image, steps)
    assert np.abs(moved).max() == pytest.approx(0.1 * body.std(), rel=1e-3)


def test_native_scale_of_several_channels_is_undefined():
    step = {"name": "normalise", "method": "zscore", "mean": 1.0, "std": 2.0}
    assert native_scale([step | {"channel": 0}]) == 2.0
    assert native_scale([step | {"channel": 0}, step | {"channel": 1}]) is None
    assert native_scale([]) is None


def test_a_bias_field_that_was_divided_out_is_multiplied_back_in_its_own_channel():
    step = {"name": "n4", "channel": 1, "nodes_shape": [2, 2, 2], "log_bias_nodes": [0.1 * i for i in range(8)]}
    image = np.random.default_rng(0).uniform(1, 2, (2, 4, 5, 6)).astype(np.float32)
    corrected = image.copy()
    corrected[1] /= bias_field(step, (4, 5, 6))
    assert not np.allclose(corrected, image, rtol=0.1)
    np.testing.assert_allclose(invert_image(corrected, [step]), image, rtol=1e-6)


def test_cropped_voxels_hold_the_darkest_value_of_their_channel_in_images_and_background_in_labels():
    step = {"name": "crop", "start": [1, 0, 1], "shape": [2, 2, 1], "shape_from": [4, 2, 3]}
    image = np.stack([np.arange(5.0, 9.0), np.arange(-3.0, 1.0)]).reshape(2, 2, 2, 1).astype(np.float32)
    back, label = invert_image(image, [step]), invert_label(np.full((2, 2, 1), 7), [step])
    assert back.shape == (2, 4, 2, 3)
    np.testing.assert_array_equal(back[:, 1:3, :, 1:2], image)
    np.testing.assert_array_equal(label[1:3, :, 1:2], 7)
    outside = np.ones((4, 2, 3), bool)
    outside[1:3, :, 1:2] = False
    assert (back[0][outside] == 5).all()
    assert (back[1][outside] == -3).all()
    assert not label[outside].any()


def test_logits_decide_after_they_are_taken_to_the_grid_of_the_files():
    """Against scipy's own interpolation of each class, and background where the preparation cropped."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 6, 4)).astype(np.float32)
    steps = [
        {"name": "crop", "start": [2, 0, 1], "shape": [10, 6, 8], "shape_from": [13, 6, 9]},
        {"name": "resample", "spacing_from": [1.0, 1.0, 1.0], "spacing_to": [2.0, 1.0, 2.0],
         "shape_from": [10, 6, 8], "shape_to": [5, 6, 4]},
    ]  # fmt: skip
    wide = np.stack([zoom(one, (2, 1, 2), order=1, mode="nearest", grid_mode=True) for one in logits])
    wanted = np.zeros((13, 6, 9), int)
    wanted[2:12, :, 1:9] = wide.argmax(0)
    assert np.array_equal(invert_logits(logits, steps), wanted)
