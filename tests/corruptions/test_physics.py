"""Each corruption against what is known of it in closed form, or from another library."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.exposure import adjust_gamma

from imaseg.corruptions import (
    BiasField,
    Blur,
    CTStreaks,
    Gamma,
    GaussianNoise,
    Ghosting,
    GibbsRinging,
    IntensityShift,
    MissingChannel,
    MissingSlices,
    Motion,
    ResolutionLoss,
    RicianNoise,
    Rotation,
    SliceThickness,
    Spikes,
    Translation,
)
from imaseg.corruptions.averaging import averaged
from imaseg.corruptions.moving import moved_image, moved_label, rotation_matrix
from imaseg.data.volume import Volume
from tests.corruptions.volumes import CT, ct, phantom, tissue


def volume_of(image, *, spacing=(1.0, 1.0, 1.0), name="v"):
    image = np.asarray(image, np.float32)
    return Volume(name, image[None], np.zeros(image.shape, np.int64), np.diag([*spacing, 1.0]))


def test_gaussian_noise_has_the_sigma_that_it_states():
    volume = tissue()
    std = volume.image.std()
    for corrupted in GaussianNoise().ladder(volume):
        noise = corrupted.volume.image - volume.image
        rms = math.sqrt(np.mean(noise.astype(np.float64) ** 2)) / std
        assert rms == pytest.approx(corrupted.change, rel=1e-3)
        assert corrupted.parameters["sigma_std"] == pytest.approx(rms, rel=0.05)  # 2184 draws
    assert abs(noise.mean() / noise.std()) < 0.1


def test_rician_noise_lifts_the_dark_by_its_known_mean():
    image = np.zeros((40, 40, 20), np.float32)
    image[:20] = 1000 + np.random.default_rng(0).standard_normal((20, 40, 20)) * 100
    image[20:] = np.random.default_rng(1).uniform(0, 1e-3, (20, 40, 20))  # no block of zeros, which would stay
    corrupted = RicianNoise()(volume_of(image), severity=5)
    sigma = corrupted.parameters["sigma_std"] * image[:20].std()
    dark = corrupted.volume.image[0, 21:]
    assert dark.mean() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.02)
    assert (dark**2).mean() == pytest.approx(2 * sigma**2, rel=0.03)


def test_rician_noise_keeps_the_zero_of_a_normalised_image():
    volume = tissue()
    scored = Volume("z", (volume.image - volume.image.mean()) / volume.image.std(), volume.label, volume.affine)
    corrupted = RicianNoise()(scored, severity=1)
    assert corrupted.change == pytest.approx(0.05, rel=0.02), "negative values are not folded over"


def test_gamma_is_that_of_scikit_image_with_mean_and_deviation_kept():
    volume = tissue()
    low, high = volume.image.min(), volume.image.max()
    for corrupted in Gamma().ladder(volume):
        share = (volume.image - low) / (high - low)
        curve = adjust_gamma(share.astype(np.float64), corrupted.parameters["gamma"])
        expected = (curve - curve.mean()) / curve.std() * volume.image.std() + volume.image.mean()
        np.testing.assert_allclose(corrupted.volume.image, expected, rtol=1e-3)


def test_intensity_shift_is_exact():
    volume = tissue()
    corrupted = IntensityShift()(volume, severity=3)
    added = corrupted.volume.image - volume.image
    np.testing.assert_allclose(added, corrupted.parameters["shift_std"] * volume.image.std(), rtol=1e-3)
    assert abs(corrupted.parameters["shift_std"]) == pytest.approx(0.2, rel=1e-3)


def test_a_bias_field_is_smooth_positive_and_no_plain_gain():
    volume = tissue()
    corrupted = BiasField()(volume, severity=4)
    field = np.log(corrupted.volume.image / volume.image)[0]
    assert np.abs(field).max() == pytest.approx(math.log(corrupted.parameters["largest_gain"]), rel=1e-3)
    assert field.std() > 0.1 * np.abs(field).max()
    # Fourth differences of a polynomial of third order vanish.
    for axis in range(3):
        assert np.abs(np.diff(field, 4, axis=axis)).max() < 1e-3 * np.abs(field).max()


def test_averaging_of_whole_slabs_is_their_mean():
    image = np.random.default_rng(0).standard_normal((1, 4, 5, 9)).astype(np.float32)
    thick = averaged(image, 3.0, (2,))
    means = image.reshape(1, 4, 5, 3, 3).mean(-1)
    np.testing.assert_allclose(thick[..., 1::3], means, rtol=1e-4, atol=1e-6)  # the middle of each slab
    between = means[..., 0] + (means[..., 1] - means[..., 0]) / 3
    np.testing.assert_allclose(thick[..., 2], between, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(averaged(image, 1.0, (0, 1, 2)), image, rtol=1e-6)
    np.testing.assert_allclose(averaged(np.ones_like(image), 2.7, (0, 1, 2)), 1.0, rtol=1e-6)


def test_slice_thickness_goes_across_the_longest_voxels():
    image = np.random.default_rng(0).standard_normal((16, 9, 10)) + 100
    volume = volume_of(image, spacing=(4.0, 1.0, 1.0))
    second = SliceThickness()(volume, severity=3)
    assert second.parameters == {"factor": 4.0, "slice_mm": 16.0}
    np.testing.assert_allclose(second.volume.image, averaged(volume.image, 4.0, (0,)), rtol=1e-5)


def test_resolution_is_lost_within_the_slice_only():
    ramp = np.broadcast_to(np.arange(8.0), (24, 24, 8)).copy() + 50
    volume = volume_of(ramp, spacing=(1.0, 1.0, 3.0))
    image = ResolutionLoss()(volume, severity=5).volume.image
    np.testing.assert_allclose(image, volume.image, rtol=1e-5)
    stripes = np.broadcast_to(np.arange(24.0)[:, None, None] % 2, (24, 24, 8)).copy() + 50
    corrupted = ResolutionLoss()(volume_of(stripes, spacing=(1.0, 1.0, 3.0)), severity=2)
    assert corrupted.parameters == {"factor": 2.0, "pixel_mm": 2.0}
    np.testing.assert_allclose(corrupted.volume.image[0, 1:], 50.5, rtol=1e-5)  # the first row looks like padding


def test_blur_is_that_of_scipy_in_mm():
    volume = phantom()
    corrupted = Blur()(volume, severity=3)
    std = corrupted.parameters["std_mm"]
    expected = ndimage.gaussian_filter(volume.image[0], [std, std, std / 1.6])
    there = volume.image[0] > 0
    np.testing.assert_allclose(corrupted.volume.image[0][there], expected[there], rtol=1e-3)


def test_ghosting_and_spikes_grow_in_proportion():
    volume = tissue()
    for corruption, key in ((Ghosting(), "intensity"), (Spikes(), "intensity")):
        one, three = (corruption(volume, severity=s) for s in (1, 3))
        ratio = three.parameters[key] / one.parameters[key]
        first, third = (c.volume.image.astype(np.float64) - volume.image for c in (one, three))
        np.testing.assert_allclose(third, first * ratio, atol=2e-3 * np.abs(third).max())


def test_ghosts_change_every_nth_line_of_k_space_alone():
    volume = tissue()
    corrupted = Ghosting()(volume, severity=3)
    axis, step = int(corrupted.parameters["axis"]), int(corrupted.parameters["ghosts"])
    before, after = (np.fft.fftshift(np.fft.fftn(image[0])) for image in (volume.image, corrupted.volume.image))
    lines = np.moveaxis(np.abs(after - before), axis, 0).max((1, 2))
    quiet = np.ones(len(lines), bool)
    for place in range(0, len(lines), step):  # the real part of the image adds the mirrored lines
        quiet[[place, (2 * (len(lines) // 2) - place) % len(lines)]] = False
    assert quiet.sum() >= 3
    assert lines[quiet].max() < 1e-3 * lines.max()


def test_gibbs_ringing_cuts_high_frequencies_only():
    rng = np.random.default_rng(0)
    volume = volume_of(rng.standard_normal((15, 15, 15)) + 20)
    corrupted = GibbsRinging()(volume, severity=4)
    before, after = (np.fft.fftshift(np.fft.fftn(image[0])) for image in (volume.image, corrupted.volume.image))
    distance = np.linalg.norm(np.indices(before.shape) - 7, axis=0)
    radius = (1 - corrupted.parameters["alpha"]) * 15 * math.sqrt(2) / 2
    np.testing.assert_allclose(after[distance <= radius], before[distance <= radius], atol=0.05)
    assert np.abs(after[distance > radius]).max() < 0.05


def test_motion_of_no_size_is_none_and_a_slice_stays_within_itself():
    volume = phantom()
    scene = Motion()._scene(volume, ())
    effect = Motion()._effect(scene, np.random.default_rng(0))
    np.testing.assert_allclose(effect.apply(0.0), volume.image, atol=1e-3 * volume.image.max())
    moved = effect.apply(3.0)
    assert moved.mean() == pytest.approx(volume.image.mean(), rel=0.01), "the middle of k-space is measured at rest"


def test_missing_slices_are_nested_and_the_label_stays():
    volume = phantom()
    lost = []
    for corrupted in MissingSlices().ladder(volume):
        gone = np.flatnonzero((corrupted.volume.image[0] == 0).all((0, 1)))
        assert len(gone) == corrupted.parameters["slices"]
        kept = np.setdiff1d(np.arange(16), gone)
        assert np.array_equal(corrupted.volume.image[..., kept], volume.image[..., kept])
        assert np.array_equal(corrupted.volume.label, volume.label)
        lost.append(set(gone))
    assert all(few < many for few, many in itertools.pairwise(lost))
    assert not lost[-1] & {0, 15}


def test_a_missing_channel_leaves_the_others_and_ends_at_its_mean():
    volume = phantom(channels=3)
    corrupted = MissingChannel()(volume, severity=5)
    channel = int(corrupted.parameters["channel"])
    others = [c for c in range(3) if c != channel]
    assert np.array_equal(corrupted.volume.image[others], volume.image[others])
    inside = volume.image[channel] > 0
    assert np.ptp(corrupted.volume.image[channel][inside]) < 1e-3 * volume.image[channel].max()


def test_translation_by_whole_voxels_is_exact():
    image = np.random.default_rng(0).standard_normal((1, 7, 6, 5)).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 4, (7, 6, 5))
    moved = moved_image(image, np.eye(3), np.array([-2.0, 1.0, 0.0]))
    np.testing.assert_allclose(moved[0, 2:, :5], image[0, :5, 1:], atol=1e-6)
    assert np.array_equal(moved_label(label, np.eye(3), np.array([-2.0, 1.0, 0.0]))[2:, :5], label[:5, 1:])
    assert np.array_equal(moved[0, 0, :5], image[0, 0, 1:]), "the border goes on outside"


def test_rotation_is_by_its_degrees_in_mm():
    spacing = np.array([1.0, 2.0, 3.0])
    # A smooth blob on each axis, whose centre of mass interpolation does not move.
    places = np.indices((41, 31, 21)).reshape(3, -1).T * spacing
    middle = (np.array([41, 31, 21]) - 1) / 2 * spacing
    arms = []
    for axis in range(3):
        blob = np.exp(-(((places - middle - 8 * np.eye(3)[axis]) ** 2).sum(1)) / 18).reshape(41, 31, 21)
        (corrupted,) = Rotation().ladder(volume_of(blob, spacing=spacing), severities=(5,))
        mass = corrupted.volume.image[0].ravel()
        arms.append((places * mass[:, None]).sum(0) / mass.sum() - middle)
    matrix = np.stack(arms, 1) / 8
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=0.02)
    assert math.degrees(math.acos((np.trace(matrix) - 1) / 2)) == pytest.approx(16.0, abs=0.3)
    np.testing.assert_allclose(rotation_matrix(np.array([0.6, 0.0, 0.8]), 30) @ [0.6, 0, 0.8], [0.6, 0, 0.8], atol=1e-9)


@pytest.mark.parametrize("kind", [Rotation, Translation])
def test_the_label_moves_with_the_image(kind):
    volume = phantom()
    pair = Volume("pair", (volume.label > 0).astype(np.float32)[None] * 100, volume.label, volume.affine)
    for corrupted in kind().ladder(pair, severities=(3, 4, 5)):
        inside = corrupted.volume.label > 0
        assert not np.array_equal(inside, volume.label > 0)
        # A voxel whose nearest source is labelled has at least an eighth of it under linear interpolation.
        assert corrupted.volume.image[0][inside].min() > 12
        assert corrupted.volume.image[0][~inside].max() < 88
        assert set(np.unique(corrupted.volume.label)) <= {0, 1, 2}


def test_streaks_are_where_the_metal_is_and_grow_in_proportion():
    volume = ct()
    one, four = (CTStreaks()(volume, severity=s, modality=CT) for s in (1, 4))
    first, fourth = (c.volume.image[0].astype(np.float64) - volume.image[0] for c in (one, four))
    ratio = four.parameters["lost_share"] / one.parameters["lost_share"]
    np.testing.assert_allclose(fourth, first * ratio, atol=2e-3 * np.abs(fourth).max())
    touched = np.abs(fourth).max((0, 1)) > 0
    assert touched.sum() == 8, "half of the slices"
    assert np.diff(np.flatnonzero(touched)).max() == 1
    assert fourth.min() < 0 < fourth.max(), "dark and bright streaks"
