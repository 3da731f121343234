from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.inverse.invert import invert_image, invert_label
from imaseg.data.orient import orient
from imaseg.data.preparation.bias import bias_field
from imaseg.data.preparation.recipe import Recipe, parse_recipe
from imaseg.data.preparation.steps import apply_recipe, correct_bias, crop
from imaseg.data.volume import Volume
from imaseg.errors import InputError

CODES = [
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "IS")) for letters in itertools.product(*axes)
]
UNTOUCHED = {"orientation": None, "spacing": None, "crop": None, "normalise": "none"}
PLAIN = CohortStatistics(("MRI",), (1.0, 1.0, 1.0), (14, 16, 12), ({},), {})


def landmark_volume(codes="RAS", spacing=(0.8, 1.1, 2.0), oblique=True) -> tuple[Volume, np.ndarray]:
    """A smooth bright spot at a known world point, stored in any orientation; the label is its core."""
    shape = (30, 26, 16)
    tilt = nib.eulerangles.euler2mat(0.15, -0.1, 0.2) if oblique else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag(spacing)
    affine[:3, 3] = (-40, 12, 7)
    point = (affine @ (17, 11, 8, 1))[:3]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    far = np.linalg.norm(nib.affines.apply_affine(affine, index) - point, axis=-1)
    # The rim is exactly dark, so that there is something to crop.
    grey = np.where(far < 9, 100 * np.exp(-((far / 4) ** 2)) + 5, 0).astype(np.float32)
    image = nib.Nifti1Image(grey, affine)
    label = nib.Nifti1Image((far < 5).astype(np.uint8), affine)
    ornt = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    image, label = image.as_reoriented(ornt), label.as_reoriented(ornt)
    data = np.asarray(image.dataobj)[None], np.asarray(label.dataobj).astype(np.int64)
    return Volume(codes, *data, np.asarray(image.affine)), point


def centre_of_mass(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, weights.shape), indexing="ij"), -1).reshape(-1, 3)
    mean = np.average(index, axis=0, weights=weights.reshape(-1))
    return nib.affines.apply_affine(affine, mean)


def test_there_are_48_orientations():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("codes", CODES)
def test_a_world_point_stays_in_place_from_any_orientation(codes):
    volume, point = landmark_volume(codes)
    recipe = Recipe(spacing=(1.0, 1.3, 1.5), crop_margin=1, normalise="none")
    done, _ = apply_recipe(volume, recipe, PLAIN)
    assert nib.aff2axcodes(done.affine) == ("R", "A", "S")
    np.testing.assert_allclose(done.spacing, (1.0, 1.3, 1.5), rtol=1e-6)
    assert np.linalg.norm(centre_of_mass(done.image[0], done.affine) - point) < 0.1
    assert np.linalg.norm(centre_of_mass(done.label, done.affine) - point) < 0.25
    assert done.image.shape[1:] == done.label.shape
    assert done.image.dtype == np.float32


def test_all_orientations_prepare_to_the_same_voxels():
    recipe = Recipe(spacing=(1.0, 1.3, 1.5), normalise="zscore")
    first, _ = apply_recipe(landmark_volume("RAS")[0], recipe, PLAIN)
    for codes in ("LPS", "PIR", "SAL"):
        other, _ = apply_recipe(landmark_volume(codes)[0], recipe, PLAIN)
        np.testing.assert_allclose(other.image, first.image, atol=1e-4)
        np.testing.assert_array_equal(other.label, first.label)
        np.testing.assert_allclose(other.affine, first.affine, atol=1e-9)


@pytest.mark.parametrize("codes", ["PIR", "SLA"])
def test_spacing_means_world_axes_even_if_the_axes_stay_as_stored(codes):
    volume, point = landmark_volume(codes)
    recipe = Recipe(orientation=None, spacing=(1.0, 1.3, 1.5), crop=None, normalise="none")
    done, steps = apply_recipe(volume, recipe, PLAIN)
    assert [step["name"] for step in steps] == ["resample", "normalise"]
    assert "".join(nib.aff2axcodes(done.affine)) == codes
    sizes = {"R": 1.0, "L": 1.0, "A": 1.3, "P": 1.3, "S": 1.5, "I": 1.5}
    np.testing.assert_allclose(done.spacing, [sizes[letter] for letter in codes], rtol=1e-6)
    assert np.linalg.norm(centre_of_mass(done.image[0], done.affine) - point) < 0.1


def test_orient_agrees_with_nibabel():
    volume, _ = landmark_volume("PIR")
    done, step = orient(volume, "RAS")
    expected = nib.as_closest_canonical(nib.Nifti1Image(volume.image[0], volume.affine))
    np.testing.assert_array_equal(done.image[0], expected.get_fdata())
    np.testing.assert_allclose(done.affine, expected.affine)
    assert step == {"name": "orient", "from": "PIR", "to": "RAS", "shape_from": [26, 16, 30]}


def test_crop_keeps_the_margin_and_stops_at_the_edge():
    image = np.zeros((1, 10, 10, 10), np.float32)
    image[0, 4:7, 0:3, 9] = 50
    done, step = crop(Volume("a", image, None, np.diag([1, 2, 3, 1.0])), 2)
    assert step == {"name": "crop", "start": [2, 0, 7], "shape": [7, 5, 3], "shape_from": [10, 10, 10]}
    np.testing.assert_allclose(done.affine[:3, 3], (2, 0, 21))
    np.testing.assert_array_equal(done.image, image[:, 2:9, 0:5, 7:10])


def test_the_input_is_left_as_it_is():
    volume, _ = landmark_volume("LPS")
    copies = volume.image.copy(), volume.label.copy(), volume.affine.copy()
    apply_recipe(volume, Recipe(), PLAIN)
    for now, before in zip((volume.image, volume.label, volume.affine), copies, strict=True):
        np.testing.assert_array_equal(now, before)


def test_a_recipe_of_nothing_changes_nothing():
    volume, _ = landmark_volume("LPS")
    recipe = Recipe(orientation=None, spacing=None, crop=None, normalise="none")
    done, steps = apply_recipe(volume, recipe, PLAIN)
    np.testing.assert_array_equal(done.image, volume.image)
    np.testing.assert_allclose(done.affine, volume.affine)
    assert steps == [{"name": "normalise", "channel": 0, "method": "none"}]


def test_a_case_with_other_channels_than_the_cohort_is_refused():
    volume, _ = landmark_volume()
    volume.image = np.concatenate([volume.image, volume.image])
    with pytest.raises(InputError, match="RAS: image must have 1 channel, got 2"):
        apply_recipe(volume, Recipe(), PLAIN)


def test_an_image_without_foreground_is_refused():
    flat = Volume("flat", np.zeros((1, 4, 4, 4), np.float32), None, np.eye(4))
    with pytest.raises(InputError, match="flat: image must have a foreground"):
        apply_recipe(flat, Recipe(spacing=None), PLAIN)


def test_a_fixed_window_is_monais(steps_volume):
    from monai.transforms import ScaleIntensityRange

    window = {"low": -1.0, "high": 2.0, "to_low": -1.0, "to_high": 3.0}
    recipe = parse_recipe(UNTOUCHED | {"normalise": "window", "window": window}, source="test")
    done, steps = apply_recipe(steps_volume, recipe, PLAIN)
    wanted = ScaleIntensityRange(-1.0, 2.0, -1.0, 3.0, clip=True)(steps_volume.image)
    np.testing.assert_allclose(done.image, wanted.numpy(), atol=1e-5)
    inside = (steps_volume.image > -1) & (steps_volume.image < 2)
    np.testing.assert_allclose(invert_image(done.image, steps)[inside], steps_volume.image[inside], atol=1e-5)


def test_masked_zscore_is_monais_and_leaves_zeros(steps_volume):
    from monai.transforms import NormalizeIntensity

    recipe = parse_recipe(UNTOUCHED | {"normalise": "masked-zscore"}, source="test")
    done, _ = apply_recipe(steps_volume, recipe, PLAIN)
    wanted = NormalizeIntensity(nonzero=True)(steps_volume.image)
    np.testing.assert_allclose(done.image, wanted.numpy(), atol=1e-5)
    assert (done.image[steps_volume.image == 0] == 0).all()


def test_percentiles_are_those_of_the_recipe(steps_volume):
    settings = {"normalise": "percentile", "percentiles": [10, 80], "within": "image"}
    done, _ = apply_recipe(steps_volume, parse_recipe(UNTOUCHED | settings, source="test"), PLAIN)
    low, high = np.percentile(steps_volume.image, [10, 80])
    np.testing.assert_allclose(done.image, ((steps_volume.image.clip(low, high) - low) / (high - low)), atol=1e-5)


def test_a_size_is_kept_around_the_middle_and_comes_back_to_its_place(steps_volume):
    recipe = parse_recipe(UNTOUCHED | {"size": [6, None, 90]}, source="test")
    done, steps = apply_recipe(steps_volume, recipe, PLAIN)
    assert done.shape == (6, *steps_volume.shape[1:])
    start = (steps_volume.shape[0] - 6) // 2
    np.testing.assert_array_equal(done.image, steps_volume.image[:, start : start + 6])
    np.testing.assert_allclose(done.affine[:3, 3], (steps_volume.affine @ [start, 0, 0, 1])[:3])
    assert invert_label(done.label, steps).shape == steps_volume.shape


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"window": {"low": 2, "high": 1}}, "window must be low, high"),
        ({"percentiles": [99, 1]}, "percentiles must be two rising numbers"),
        ({"size": [0, 1, 1]}, "size must be three whole numbers"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        parse_recipe(settings, source="test")


def test_a_window_that_nobody_gave_is_asked_for(steps_volume):
    with pytest.raises(InputError, match="window must be given for each channel"):
        apply_recipe(steps_volume, parse_recipe(UNTOUCHED | {"normalise": "window"}, source="test"), PLAIN)


@pytest.fixture
def steps_volume():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 2, (1, 14, 9, 6)).astype(np.float32)
    image[:, :3] = 0
    return Volume("a", image, np.ones((14, 9, 6), np.int64), np.diag([1.0, 2.0, 3.0, 1.0]))


def test_the_bias_field_is_divided_out_and_channels_of_ct_are_left_alone():
    rng = np.random.default_rng(0)
    shade = np.exp(np.linspace(-0.5, 0.5, 24))[:, None, None] * np.ones((24, 20, 16))
    tissue = np.zeros((24, 20, 16))
    tissue[2:-2, 2:-2, 2:-2] = 100 + rng.normal(0, 1, (20, 16, 12))
    image = np.stack([tissue * shade] * 2).astype(np.float32)
    done, steps = correct_bias(Volume("a", image, None, np.eye(4)), ["zscore", "ct"])
    (step,) = steps
    inside = tissue > 0
    before, after = (channel[inside].std() / channel[inside].mean() for channel in (image[0], done.image[0]))
    assert after < 0.3 * before
    np.testing.assert_allclose(done.image[0] * bias_field(step, (24, 20, 16)), image[0], rtol=1e-5)
    np.testing.assert_array_equal(done.image[1], image[1])
