"""A change carried back to the native grid: exact where the preparation is, and never larger than it was."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.inverse.grid import GridMap
from imaseg.data.inverse.invert import invert_image, native_scale
from imaseg.data.inverse.native import clip_limits, native_change, native_label, reached
from imaseg.data.orient import orient
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.preparation.resample import resample
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.volume import Volume

CT = {"percentile_00_5": 800.0, "percentile_99_5": 1200.0, "mean": 1000.0, "std": 100.0}
COHORT = CohortStatistics(("MRI",), (1.0, 1.0, 1.0), (14, 16, 12), (CT,), {})
LPS = np.diag([-1.1, -1.0, 1.3, 1.0])


def head(affine=LPS, shape=(20, 18, 14)) -> Volume:
    """Air of exactly 0 around textured tissue near 1000, two structures."""
    rng = np.random.default_rng(0)
    image, label = np.zeros((1, *shape), np.float32), np.zeros(shape, np.int64)
    image[0, 5:16, 4:15, 3:11] = 1000 + 150 * rng.standard_normal((11, 11, 8))
    label[7:12, 6:12, 4:9], label[10:12, 6:12, 4:9] = 1, 2
    return Volume("head", image, label, affine)


def prepared(volume, **recipe):
    return apply_recipe(volume, Recipe(**{"spacing": None, "crop_margin": 1} | recipe), COHORT)


def noise(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def carried(change, native, steps):
    """What the grid steps make of a native change, by the functions that prepare images."""
    volume = Volume(native.id, change.astype(np.float32), None, native.affine)
    for step in steps:
        if step["name"] == "orient":
            volume, _ = orient(volume, step["to"])
        elif step["name"] == "resample":
            volume, _ = resample(volume, tuple(step["spacing_to"]))
        elif step["name"] == "crop":
            box = tuple(slice(start, start + n) for start, n in zip(step["start"], step["shape"], strict=True))
            volume.image = volume.image[:, *box]
    return volume.image


@pytest.mark.parametrize("affine", [LPS, np.diag([1.0, 1.0, 1.0, 1.0]), LPS[[2, 0, 1, 3]]])
def test_without_resampling_the_preparation_gives_back_the_change(affine):
    volume = head(affine)
    done, steps = prepared(volume)
    wanted = noise(done.image.shape) * reached(done.image, steps)
    change = native_change(wanted, volume, steps)
    (scale,) = (step["std"] for step in steps if step["name"] == "normalise")
    np.testing.assert_allclose(carried(change / scale, volume, steps), wanted, atol=1e-5)
    assert not change[volume.image == 0].any()


@pytest.mark.parametrize("affine", [LPS, LPS[[2, 0, 1, 3]]])
def test_through_n4_a_change_is_what_inverting_the_images_says(affine):
    volume = head(affine)
    done, steps = prepared(volume, n4=True)
    (field,) = (step for step in steps if step["name"] == "n4")
    assert np.std(field["log_bias_nodes"]) > 0
    wanted = noise(done.image.shape) * reached(done.image, steps)
    change = native_change(wanted, volume, steps)
    expected = invert_image(done.image + wanted, steps) - invert_image(done.image, steps)
    inside = volume.image > 0
    np.testing.assert_allclose(change[inside], expected[inside], atol=0.01)
    assert native_scale(steps) is None


def test_no_change_is_exactly_none():
    for spacing in (None, (0.8, 1.4, 1.0)):
        volume = head()
        done, steps = prepared(volume, spacing=spacing)
        assert not native_change(np.zeros_like(done.image), volume, steps).any()
        assert not native_change(np.zeros_like(done.image), volume, steps, moved=True).any()
        np.testing.assert_array_equal(native_label(done.label, done.label, volume, steps), volume.label)


def test_prepared_files_take_the_change_as_it_is():
    volume = head()
    change = noise(volume.image.shape)
    np.testing.assert_array_equal(native_change(change, volume, []), change)


def test_outside_of_the_crop_nothing_changes():
    volume = head()
    volume.image[0, 0, 0, 0] = 3.0  # not air, but cropped away
    done, steps = prepared(volume, spacing=(1.0, 1.2, 1.1))
    change = native_change(noise(done.image.shape), volume, steps)
    assert change.any()
    assert not change[:, :2].any()
    assert not change[:, :, :2].any()


def small(spacing):
    """A volume without air, prepared with resampling alone."""
    image = 1000 + 100 * np.abs(noise((1, 9, 8, 7), seed=3))
    volume = Volume("small", image, None, LPS)
    done, steps = prepared(volume, spacing=spacing, crop=None, orientation=None)
    (scale,) = (step["std"] for step in steps if step["name"] == "normalise")
    return volume, done, steps, scale


SPACINGS = [(0.7, 0.7, 0.7), (1.0, 1.1, 1.2), (2.0, 1.5, 1.0)]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_resampling_never_adds_to_a_change(spacing):
    volume, done, steps, scale = small(spacing)
    wanted = noise(done.image.shape)
    change = native_change(wanted, volume, steps) / scale
    arrived = carried(change, volume, steps)
    assert np.linalg.norm(arrived) <= np.linalg.norm(wanted) * (1 + 1e-4)
    assert np.abs(arrived).max() <= np.abs(wanted).max() * (1 + 1e-4)
    assert np.abs(change).max() <= np.abs(wanted).max() * (1 + 1e-4)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_resampling_loses_no_more_than_it_must(spacing):
    volume, done, steps, scale = small(spacing)
    wanted = noise(done.image.shape)
    arrived = carried(native_change(wanted, volume, steps) / scale, volume, steps)
    voxels = np.eye(volume.image.size, dtype=np.float32).reshape(-1, *volume.image.shape)
    preparation = np.stack([carried(voxel, volume, steps).ravel() for voxel in voxels], axis=1).astype(float)
    height = np.abs(wanted).max()
    best = lsq_linear(preparation, wanted.ravel().astype(float), (-height, height))
    least = np.sqrt(2 * best.cost)
    assert np.linalg.norm(arrived - wanted) <= 1.02 * least + 1e-3


def test_what_the_preparation_clips_away_is_not_reached():
    volume = head()
    done, steps = prepared(volume, normalise="ct")
    free = reached(done.image, steps)
    low, high = clip_limits(done.image, steps)
    assert (low, high) == pytest.approx((-2, 2))
    assert free.any()
    assert done.image[free].min() > low
    assert done.image[free].max() < high
    clipped = done.image[~free]
    np.testing.assert_allclose(np.where(clipped < 0, low, high), clipped)
    assert clip_limits(done.image, []) is None
    assert clip_limits(np.concatenate([done.image] * 2), steps) is None


@pytest.mark.parametrize(("method", "reaches_air"), [("zscore", False), ("percentile", False), ("none", True)])
def test_zeros_count_as_no_tissue_where_the_preparation_says_so(method, reaches_air):
    volume = head()
    air = prepared(volume, normalise="none")[0].image == 0
    assert 0 < air.mean() < 1
    done, steps = prepared(volume, normalise=method)
    assert reached(done.image, steps)[air].all() == reaches_air
    assert reached(done.image, steps)[~air].mean() > 0.95


def test_a_move_brings_air_to_exactly_zero():
    volume = head()
    done, steps = prepared(volume)
    moved = np.roll(done.image, 1, axis=1)
    after = volume.image + native_change(moved - done.image, volume, steps, moved=True)
    assert (after == 0).sum() == (volume.image == 0).sum()
    assert (after != 0).sum() == (volume.image != 0).sum()


def test_a_move_brings_tissue_to_where_all_was_clipped():
    volume = head()
    done, steps = prepared(volume, normalise="ct", crop=None)
    moved = np.roll(done.image, 1, axis=1)
    after = (volume.image + native_change(moved - done.image, volume, steps, moved=True)).astype(np.float32)
    again, _ = prepared(Volume("head", after, volume.label, volume.affine), normalise="ct", crop=None)
    np.testing.assert_allclose(again.image, moved, atol=1e-4)
    untouched = native_change(moved - done.image, volume, steps, moved=True) == 0
    np.testing.assert_array_equal(after[untouched], volume.image[untouched])


def test_a_label_moves_where_it_moved_and_stays_elsewhere():
    volume = head()
    done, steps = prepared(volume, spacing=(1.0, 0.8, 1.3))
    moved = done.label.copy()
    moved[moved == 2] = 0
    after = native_label(moved, done.label, volume, steps)
    assert not (after == 2).sum() > 0.1 * (volume.label == 2).sum()
    far = np.zeros_like(volume.label, dtype=bool)
    far[:8] = True
    np.testing.assert_array_equal(after[far], volume.label[far])


def test_a_search_that_ends_early_does_not_enlarge_the_change():
    """Cubic splines on to voxels twice as long: what the search has after its steps overshoots by half a thousandth."""
    image = np.zeros((1, 14, 12, 10), np.float32)
    image[:, 2:12, 2:10, 2:8] = 1 + noise((10, 8, 6))
    volume = Volume("a", image, None, np.eye(4))
    done, steps = prepared(volume, spacing=(2.0, 2.0, 2.0), image_order=3, crop=None, normalise="none")
    wanted = noise(done.image.shape)
    change = native_change(wanted, volume, steps)[0].astype(np.float32)
    assert np.linalg.norm(GridMap(image.shape[1:], steps).forward(change)) <= np.linalg.norm(wanted) * (1 + 1e-5)
