from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from imaseg.data.preparation import resample as resampling
from imaseg.data.preparation import room
from imaseg.data.preparation.resample import resample, sample_grid
from imaseg.data.volume import Volume
from imaseg.errors import InputError


def big_ball(spacing, radius=18.0, extent=48.0) -> Volume:
    shape = tuple(round(extent / s) for s in spacing)
    axes = np.ix_(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)])
    inside = sum(a**2 for a in axes) < radius**2
    # A sheet along the grid would move by up to half a voxel as one; a tilted one is as likely to gain as to lose.
    front = axes[1] + 0.37 * axes[0] - 0.21 * axes[2] > 1
    label = np.where(inside, np.where(front, 1, 4), 0).astype(np.int64)
    return Volume("ball", (label > 0).astype(np.float32)[None], label, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 0.7, 2.5), (1.5, 1.2, 1.03), (0.97, 1.04, 1.6)])
def test_volumes_are_conserved(spacing):
    volume = big_ball((1.0, 1.0, 1.6))
    done, _ = resample(volume, spacing)
    np.testing.assert_allclose(done.spacing, spacing)
    for values, tolerance in (((1, 4), 0.01), ((1,), 0.015), ((4,), 0.015)):
        before = np.isin(volume.label, values).sum() * np.prod(volume.spacing)
        after = np.isin(done.label, values).sum() * np.prod(done.spacing)
        assert after == pytest.approx(before, rel=tolerance)
    assert set(np.unique(done.label)) == {0, 1, 4}
    assert done.label.dtype == np.int64


def test_a_ramp_stays_the_same_function_of_the_world():
    index = np.indices((12, 10, 8))
    affine = np.array([[1.0, 0, 0, 3], [0, 2, 0, -4], [0, 0, 3, 5], [0, 0, 0, 1]])
    world = index * np.array([1, 2, 3])[:, None, None, None] + np.array([3, -4, 5])[:, None, None, None]
    ramp = (world[0] + 10 * world[1] - 3 * world[2]).astype(np.float32)
    done, _ = resample(Volume("ramp", ramp[None], None, affine), (1.4, 1.4, 1.4))
    i = np.indices(done.shape).reshape(3, -1)
    x, y, z = done.affine[:3, :3] @ i + done.affine[:3, 3:]
    expected = (x + 10 * y - 3 * z).reshape(done.shape)
    inner = tuple(slice(2, -2) for _ in range(3))
    np.testing.assert_allclose(done.image[0][inner], expected[inner], atol=1e-3)


def test_the_centre_of_the_volume_stays():
    volume = big_ball((1.0, 1.0, 1.6))
    done, _ = resample(volume, (1.3, 0.9, 2.0))
    for v in (volume, done):
        v.centre = (v.affine @ [*(np.array(v.shape) - 1) / 2, 1])[:3]
    np.testing.assert_allclose(done.centre, volume.centre, atol=1e-9)


def test_equal_spacing_touches_no_voxel():
    volume = big_ball((1.0, 1.0, 1.6))
    done, step = resample(volume, (1.0002, 1.0, 1.6))
    assert done is volume
    assert step["shape_to"] == step["shape_from"]
    assert step["spacing_to"] == step["spacing_from"]


def test_agrees_with_scipy():
    from scipy import ndimage

    image = np.random.default_rng(0).random((9, 8, 7)).astype(np.float32)
    start, ratio, shape = np.array([0.3, 0.1, 0.0]), np.array([0.8, 1.3, 1.0]), (8, 5, 7)
    points = np.meshgrid(*[s + r * np.arange(n) for s, r, n in zip(start, ratio, shape, strict=True)], indexing="ij")
    expected = ndimage.map_coordinates(image, points, order=1, mode="nearest")
    np.testing.assert_allclose(sample_grid(image, shape, ratio, (1, 1, 1), start), expected, atol=1e-5)


def test_a_single_slice_stays_one():
    done, _ = resample(Volume("slice", np.ones((1, 8, 8, 1), np.float32), None, np.eye(4)), (2.0, 2.0, 5.0))
    assert done.shape == (4, 4, 1)


def test_small_lesions_keep_their_volume_and_flat_faces_stay_flat():
    label = np.zeros((40, 40, 40), np.int64)
    rng = np.random.default_rng(0)
    for corner in rng.integers(4, 32, (12, 3)):
        label[tuple(slice(c, c + 3) for c in corner)] = 1
    label[:, :, 36:38] = 2
    done, _ = resample(Volume("x", np.zeros((1, 40, 40, 40), np.float32), label, np.eye(4)), (1.4, 1.4, 1.4))
    assert (done.label == 1).sum() * 1.4**3 == pytest.approx((label == 1).sum(), rel=0.01)
    plates = np.unique((done.label == 2).sum(axis=(0, 1)))
    assert set(plates) <= {0, done.label.shape[0] * done.label.shape[1]}


@pytest.mark.parametrize("ratio", [0.5, 1 / 3, 0.8])
def test_nearest_with_halves_to_even_is_that_of_pytorch(ratio):
    from torch.nn.functional import grid_sample

    image = np.random.default_rng(0).random((9, 8, 7)).astype(np.float32)
    shape = tuple(int((n - 1) / ratio) + 1 for n in image.shape)
    taken = sample_grid(image, shape, np.full(3, ratio), ("even",) * 3, np.zeros(3))
    at = [2 * np.arange(new) * ratio / (old - 1) - 1 for old, new in zip(image.shape, shape, strict=True)]
    grid = torch.from_numpy(np.stack(np.meshgrid(*at, indexing="ij")[::-1], -1))[None]
    given = torch.from_numpy(image).double()[None, None]
    wanted = grid_sample(given, grid, mode="nearest", padding_mode="border", align_corners=True)
    np.testing.assert_allclose(taken, wanted[0, 0].numpy(), atol=1e-6)


def test_a_header_that_makes_a_thousand_voxels_of_one_is_refused_though_they_would_fit(monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 1e15)
    assert room.require_grid("case7", (64, 64, 64), np.full(3, 0.25), 1) == (256, 256, 256)
    assert room.require_grid("case7", (12, 12, 12), np.full(3, 0.1), 1) == (120, 120, 120)  # which harms nobody
    told = r"at most 100 times as many voxels as before, got 640 x 640 x 640 from 64 x 64 x 64, 5\.24 GB with"
    with pytest.raises(InputError, match=told):
        room.require_grid("case7", (64, 64, 64), np.full(3, 0.1), 1)
    monkeypatch.setattr(room, "free_memory", lambda: 3e8)
    with pytest.raises(InputError, match=r"256 x 256 x 256 from 64 x 64 x 64, 0\.336 GB with 0\.3 GB free"):
        room.require_grid("case7", (64, 64, 64), np.full(3, 0.25), 1)


@pytest.mark.parametrize(("side", "spacing"), [(1.0, 1e-9), (1.0, 1e-320), (1e30, 1.0), (1e-300, 1e30)])
def test_a_grid_that_no_memory_holds_is_refused(side, spacing):
    volume = Volume("case7", np.ones((1, 4, 4, 4), np.float32), None, np.diag([side] * 3 + [1.0]))
    with pytest.raises(InputError, match=r"case7: spacing must give a grid that fits into memory .* got .* x .* from"):
        resample(volume, (spacing,) * 3)


@pytest.mark.parametrize(("image_order", "label_order", "thick_order"), [(1, 1, None), (3, 1, 0), (0, 0, None)])
@pytest.mark.parametrize("spacing", [(0.7, 2.1, 0.6), (1.3, 1.0, 4.5), (2.0, 3.0, 1.5)])
@pytest.mark.parametrize("at_once", [1, 400])
def test_few_planes_at_a_time_make_the_same_volume(
    at_once, spacing, image_order, label_order, thick_order, monkeypatch
):
    """Label too: the volumes of structures are kept over the whole of it."""
    rng = np.random.default_rng(0)
    label = gaussian_filter(rng.normal(size=(4, 17, 12, 23)), (0, 2, 2, 2)).argmax(0).astype(np.uint8)
    volume = Volume("a", rng.normal(size=(2, 17, 12, 23)).astype(np.float32), label, np.diag([1.0, 2.0, 1.5, 1.0]))
    how = {"image_order": image_order, "label_order": label_order, "thick_order": thick_order}
    whole, _ = resample(volume, spacing, **how)
    monkeypatch.setattr(resampling, "_VOXELS", at_once)
    parts, _ = resample(volume, spacing, **how)
    assert parts.shape[-1] > 3  # more than one part
    np.testing.assert_allclose(parts.image, whole.image, atol=1e-6)
    np.testing.assert_array_equal(parts.label, whole.label)
