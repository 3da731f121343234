"""Corruptions of contrast, dose, kernel and places against closed forms, SciPy and scikit-image's back-projection."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import iradon

from imaseg.corruptions import BrightSpot, CTKernel, InvertedContrast, LowDose, Shadow, TissueContrast
from imaseg.corruptions.low_dose import amplitude
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.tissue_contrast import tissues
from imaseg.corruptions.turning import turning
from imaseg.data.volume import Volume
from tests.corruptions.volumes import CT, ct, phantom, tissue


def body_of(volume):
    return Scene(volume.image, volume.spacing).body


def soft_tissue(shape=(64, 64, 24), spacing=(0.7, 0.7, 2.0), *, name="soft"):
    """A CT of 40 HU with 30 HU of texture, without air."""
    noise = np.random.default_rng(3).standard_normal(shape)
    return Volume(name, (40 + 30 * noise).astype(np.float32)[None], np.zeros(shape, np.int64), np.diag([*spacing, 1.0]))


@pytest.mark.parametrize("kind", [TissueContrast, InvertedContrast])
def test_contrast_turns_by_its_angle_and_keeps_mean_and_deviation(kind):
    volume = phantom()
    inside = body_of(volume)
    clean = volume.image[0][inside].astype(np.float64)
    for corrupted in kind().ladder(volume):
        changed = corrupted.volume.image[0][inside].astype(np.float64)
        assert changed.mean() == pytest.approx(clean.mean(), rel=1e-4)
        assert changed.std() == pytest.approx(clean.std(), rel=1e-3)
        correlation = corrupted.parameters["correlation"]
        assert np.corrcoef(clean, changed)[0, 1] == pytest.approx(correlation, abs=1e-3)
        assert corrupted.change == pytest.approx(math.sqrt(2 - 2 * correlation), abs=1e-3)
        assert np.array_equal(corrupted.volume.image[0][~inside], volume.image[0][~inside]), "air stays"
        assert np.array_equal(corrupted.volume.label, volume.label)


def test_the_last_severity_inverts_the_contrast():
    volume = phantom(channels=2)
    inside = body_of(volume)
    corrupted = InvertedContrast()(volume, severity=5)
    for clean, changed in zip(volume.image, corrupted.volume.image, strict=True):
        np.testing.assert_allclose(changed[inside], 2 * clean[inside].mean() - clean[inside], rtol=1e-3, atol=0.5)
    assert corrupted.parameters["degrees"] == pytest.approx(180)


def test_tissues_of_one_brightness_stay_alike_and_may_change_their_order():
    levels = np.array([0.0, 700.0, 780.0, 860.0, 940.0])
    place = np.broadcast_to(np.arange(20)[:, None, None] // 4, (20, 16, 12))
    orders = set()
    for case in range(8):
        volume = Volume(f"c{case}", levels[place].astype(np.float32)[None], place, np.eye(4))
        inside = body_of(volume)
        image = TissueContrast()(volume, severity=5).volume.image[0]
        found = np.array([image[inside & (place == level)].mean() for level in (1, 2, 3, 4)])
        assert max(np.ptp(image[inside & (place == level)]) for level in (1, 2, 3, 4)) < 1e-2
        orders.add(tuple(np.argsort(found)))
    assert len(orders) > 1, "past its neighbours"


def test_tissues_are_those_that_lie_apart():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(centre, 0.5, 2000) for centre in (0, 10, 40, 50)])
    np.testing.assert_allclose(tissues(values), [0, 10, 40, 50], atol=0.1)
    assert tissues(np.ones(9)).tolist() == [1.0]


def test_maps_in_si_units_turn_as_others_do():
    volume = phantom()
    small = replace(volume, image=volume.image * np.float32(1e-12))  # about 1e-9, as of diffusion in m^2/s
    for one, other in zip(InvertedContrast().ladder(volume), InvertedContrast().ladder(small), strict=True):
        assert other.change == pytest.approx(one.change, rel=1e-3)


def test_an_image_that_does_not_vary_reaches_no_severity():
    volume = phantom()
    flat = replace(volume, image=np.full_like(volume.image, 7.0))
    assert not any(corrupted.reached for corrupted in InvertedContrast().ladder(flat))


def test_turning_leaves_a_constant_channel():
    image = np.stack([tissue().image[0], np.full((14, 13, 12), 7.0, np.float32)])
    turned = turning(Scene(image, (1.0, 1.0, 1.0)), [np.square, np.square])(1.0)
    assert np.array_equal(turned[1], image[1])
    assert not np.array_equal(turned[0], image[0])


def spectrum(planes, size):
    """Radial mean of the power spectrum of planes (N, X, X) of pixels of `size` mm, in 16 bands up to Nyquist."""
    power = (np.abs(np.fft.fft2(planes - planes.mean((1, 2), keepdims=True))) ** 2).mean(0)
    waves = np.fft.fftfreq(planes.shape[-1], size)
    band = (np.hypot(*np.meshgrid(waves, waves)) / (0.5 / size) * 16).astype(int)
    return np.array([power[band == k].mean() for k in range(16)])


def test_noise_of_a_low_dose_has_the_sigma_in_hu_that_it_states():
    volume = soft_tissue()
    for corrupted in LowDose().ladder(volume, modality=CT):
        noise = (corrupted.volume.image - volume.image)[0].astype(np.float64)
        assert noise.std() == pytest.approx(corrupted.parameters["sigma"], rel=0.02)
        assert noise.std() / volume.image.std() == pytest.approx(corrupted.change, rel=1e-3)
    assert abs(noise.mean((0, 1))).max() < 1e-3 * noise.std(), "the ramp filter passes no mean"


def test_slices_share_no_noise():
    noise = LowDose()(soft_tissue(), severity=5, modality=CT).volume.image[0] - soft_tissue().image[0]
    flat = np.moveaxis(noise, 2, 0).reshape(24, -1)
    apart = [abs(np.corrcoef(one, other)[0, 1]) for one, other in itertools.pairwise(flat)]
    assert max(apart) < 0.1
    beside = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    assert beside > 0.3, "neighbours within a slice do"


def test_the_noise_power_spectrum_is_that_of_back_projected_white_noise():
    side, size = 64, 1.0
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 180, 120, endpoint=False)
    projected = np.stack(
        [iradon(rng.standard_normal((2 * side, 120)), angles, output_size=side, filter_name="hann") for _ in range(12)]
    )
    middle = slice(side // 4, -side // 4)  # inside the circle that iradon fills
    shape = (side, side, 12)
    volume = soft_tissue(shape, (size, size, 3.0))
    added = LowDose()(volume, severity=5, modality=CT).volume.image[0] - volume.image[0]
    ours = spectrum(np.moveaxis(added, 2, 0)[:, middle, middle], size)
    theirs = spectrum(projected[:, middle, middle], size)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    white = spectrum(rng.standard_normal((12, side // 2, side // 2)), size)
    assert np.corrcoef(ours, white)[0, 1] < 0.5, "the comparison tells white noise"


@pytest.mark.parametrize("size", [0.4, 0.7, 1.5])
def test_the_noise_peaks_where_the_formula_says(size):
    power = amplitude([256, 256], [size, size])[:128, 0] ** 2
    waves = np.fft.fftfreq(256, size)[:128]
    cut_off = min(0.8, 0.5 / size)
    frequency = np.linspace(0, cut_off, 2000)
    expected = frequency[np.argmax(frequency * np.cos(np.pi * frequency / cut_off / 2) ** 4)]
    assert waves[np.argmax(power)] == pytest.approx(expected, abs=1 / 256 / size)
    assert power[waves >= cut_off].max(initial=0) == 0
    assert power[0] == 0


def wave(period, *, axis=0, name="wave"):
    """Stripes of `period` pixels of 0.7 mm along an axis, 100 HU above and below 0."""
    shape = (60, 60, 12)
    along = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
    image = np.broadcast_to(100 * np.sin(2 * np.pi * along / period), shape).astype(np.float32)
    return Volume(name, image[None], np.zeros(shape, np.int64), np.diag([0.7, 0.7, 0.7, 1.0]))


def kernel(volume, *, sharper):
    """Effect of the first draw of that kind."""
    scene = Scene(volume.image, volume.spacing, ct=True)
    effects = (CTKernel()._effect(scene, np.random.default_rng(number)) for number in range(20))
    return next(effect for effect in effects if (effect.describe(1.0)["enhancement"] > 0) == sharper)


@pytest.mark.parametrize("period", [4, 6, 12])
@pytest.mark.parametrize("sharper", [True, False])
def test_a_kernel_multiplies_waves_by_its_transfer_function(period, sharper):
    volume, effect = wave(period), kernel(wave(period), sharper=sharper)
    stated = effect.describe(0.9)
    width = 0.7 if sharper else stated["blur_mm"]
    gauss = math.exp(-2 * (math.pi * width / (period * 0.7)) ** 2)
    gain = 1 + stated["enhancement"] * (1 - gauss) if sharper else gauss
    inside = slice(12, -12)
    np.testing.assert_allclose(effect.apply(0.9)[0, inside], gain * volume.image[0, inside], atol=1.0)
    assert (gain > 1) == sharper


@pytest.mark.parametrize("sharper", [True, False])
def test_a_kernel_acts_within_the_slice_and_keeps_the_mean(sharper):
    across = wave(6, axis=2)
    np.testing.assert_allclose(kernel(across, sharper=sharper).apply(1.0), across.image, atol=1e-2)
    noise = soft_tissue().image
    assert kernel(soft_tissue(), sharper=sharper).apply(2.0).mean() == pytest.approx(noise.mean(), abs=0.1)


def test_a_soft_kernel_is_the_filter_of_scipy():
    effect = kernel(ct(), sharper=False)
    expected = ndimage.gaussian_filter(ct().image[0], [1.3, 1.3, 0], mode="nearest")
    np.testing.assert_allclose(effect.apply(1.3)[0], expected, rtol=1e-3, atol=0.5)


def test_kernels_of_both_kinds_are_drawn():
    found = [CTKernel(seed=seed)(ct(), severity=2, modality=CT).parameters for seed in range(8)]
    assert {(one["enhancement"] > 0, one["blur_mm"] > 0) for one in found} == {(True, False), (False, True)}


def test_a_bright_spot_is_the_gaussian_that_it_states():
    volume = tissue()
    corrupted = BrightSpot()(volume, severity=4)
    added = (corrupted.volume.image - volume.image)[0].astype(np.float64)
    assert added.min() >= 0
    centre = np.unravel_index(added.argmax(), added.shape)
    assert added.max() == pytest.approx(corrupted.parameters["peak_std"] * volume.image.std(), rel=1e-3)
    distance = np.linalg.norm(np.indices(added.shape).transpose(1, 2, 3, 0) - centre, axis=-1)
    width = corrupted.parameters["width_mm"]
    expected = added.max() * np.exp(-(distance**2) / (2 * width**2))
    np.testing.assert_allclose(added, expected, atol=2e-3 * added.max())
    assert 0.05 * 13 <= width <= 0.1 * 13


def test_a_shadow_loses_the_share_of_the_signal_that_it_states():
    volume = ct()
    corrupted = Shadow()(volume, severity=3, modality=CT)
    lost = (volume.image - corrupted.volume.image)[0]
    signal = volume.image[0] + 1000
    assert lost.min() >= 0
    share = lost[signal > 0] / signal[signal > 0]
    assert share.max() == pytest.approx(corrupted.parameters["lost_share"], rel=1e-3)
    assert body_of(volume)[np.unravel_index((lost / signal.clip(1)).argmax(), lost.shape)], "it lies in the body"


@pytest.mark.parametrize("kind", [BrightSpot, Shadow])
def test_places_scale_with_mm_and_not_with_voxels(kind):
    one, two = (Volume("v", tissue().image, tissue().label, np.diag([size, size, size, 1.0])) for size in (1.0, 3.0))
    small, large = (kind()(volume, severity=3) for volume in (one, two))
    np.testing.assert_allclose(small.volume.image, large.volume.image, rtol=1e-5)
    assert large.parameters["width_mm"] == pytest.approx(3 * small.parameters["width_mm"])
