"""The linear map of the grid steps, next to the functions that prepare images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.inverse.grid import GridMap
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.volume import Volume

COHORT = CohortStatistics(("MRI",), (1.0, 1.0, 1.0), (9, 8, 7), ({},), {})
TURNED = np.array([[0, -1.2, 0, 7.0], [0, 0, 2.5, -3.0], [0.9, 0, 0, 11.0], [0, 0, 0, 1.0]])
SPACINGS = [None, (0.7, 0.7, 0.7), (1.0, 1.1, 1.2), (2.0, 3.5, 9.0)]


def prepared(affine, spacing, shape=(9, 8, 7)):
    image = np.zeros((1, *shape), np.float32)
    image[:, 2:7, 1:7, 2:6] = np.random.default_rng(0).uniform(1, 2, (5, 6, 4))
    volume = Volume("x", image, None, affine)
    done, steps = apply_recipe(volume, Recipe(spacing=spacing, crop_margin=0, normalise="none"), COHORT)
    return volume.image[0], done.image[0], GridMap(shape, steps)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1.0, 1.3, 1.0]), TURNED])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_it_is_what_the_preparation_does(affine, spacing):
    native, done, grid = prepared(affine, spacing)
    np.testing.assert_allclose(grid.forward(native), done, atol=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_transpose_is_one(spacing):
    native, done, grid = prepared(TURNED, spacing)
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal(array.shape).astype(np.float32) for array in (native, done))
    assert float((grid.forward(x) * y).sum()) == pytest.approx(float((x * grid.transposed(y)).sum()), rel=1e-4)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_gain_bounds_the_map(spacing):
    native, _, grid = prepared(TURNED, spacing)
    x = np.random.default_rng(2).standard_normal(native.shape).astype(np.float32)
    for _ in range(30):
        x = grid.transposed(grid.forward(x))
        longest = np.linalg.norm(x)
        x /= longest
    assert longest <= grid.gain * (1 + 1e-4)


def test_without_resampling_the_source_is_exact():
    _, done, grid = prepared(TURNED, None)
    wanted = np.random.default_rng(3).standard_normal(done.shape).astype(np.float32)
    np.testing.assert_array_equal(grid.forward(grid.nearest_source(wanted)), wanted)


def test_only_voxels_that_feed_the_change_and_may_change_differ_from_zero():
    native, done, grid = prepared(TURNED, (1.0, 1.1, 1.2))
    wanted = np.zeros_like(done)
    wanted[2, 2, 2] = 1
    feeds = grid.transposed(wanted) > 0
    assert 0 < feeds.sum() <= 8
    assert not grid.nearest_source(wanted)[~feeds].any()
    allowed = np.arange(native.size).reshape(native.shape) % 2 == 0
    assert not grid.nearest_source(wanted, allowed=allowed)[~allowed].any()


@pytest.mark.parametrize("spacing", [(0.5, 0.7, 0.6), (1.4, 1.3, 1.0)], ids=["finer", "coarser"])
def test_the_nearest_source_is_the_bounded_least_squares_solution(spacing):
    native, done, grid = prepared(np.eye(4), spacing, shape=(8, 8, 7))
    wanted = np.random.default_rng(4).uniform(-1, 1, done.shape).astype(np.float32)
    found = grid.nearest_source(wanted, steps=2000)
    columns = np.eye(native.size, dtype=np.float32).reshape(-1, *native.shape)
    matrix = np.stack([grid.forward(column).ravel() for column in columns], 1)
    largest = float(np.abs(wanted).max())
    best = lsq_linear(matrix.astype(np.float64), wanted.ravel().astype(np.float64), bounds=(-largest, largest))
    assert np.abs(found).max() <= largest
    missing = np.linalg.norm(grid.forward(found) - wanted)
    assert missing <= 1.01 * np.linalg.norm(matrix @ best.x - wanted.ravel()) + 0.01 * np.linalg.norm(wanted)
    if spacing[0] > 1:
        free = np.linalg.lstsq(matrix, wanted.ravel(), rcond=None)[0]
        assert np.abs(free).max() > largest, "the case is meant to reach the bounds"


def test_nothing_wanted_is_nothing_found():
    _, done, grid = prepared(TURNED, (1.0, 1.1, 1.2))
    assert not grid.nearest_source(np.zeros_like(done)).any()


def test_splines_after_a_crop_are_those_that_nnunet_resamples_with():
    from skimage.transform import resize

    native = np.random.default_rng(2).standard_normal((20, 22, 16)).astype(np.float32)
    steps = [
        {"name": "crop", "start": [2, 1, 0], "shape": [16, 19, 16], "shape_from": [20, 22, 16]},
        {
            "name": "resample",
            "shape_from": [16, 19, 16],
            "shape_to": [18, 17, 16],
            "spacing_from": [1.0, 1.0, 1.0],
            "spacing_to": [16 / 18, 19 / 17, 1.0],
            "orders": [3, 3, 0],
            "border": "continued",
        },
    ]
    grid = GridMap(native.shape, steps)
    by_resize = resize(native[2:18, 1:20], (18, 17, 16), 3, mode="edge", anti_aliasing=False, clip=False)
    np.testing.assert_allclose(grid.forward(native), by_resize, atol=0.02)
    assert np.linalg.norm(grid.transposed(grid.forward(native))) <= grid.gain * np.linalg.norm(native)
