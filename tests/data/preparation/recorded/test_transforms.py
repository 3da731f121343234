"""MONAI's transforms as steps: each record, and the maps and inverses made of it, next to what MONAI did."""

from __future__ import annotations

import numpy as np
import pytest

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.inverse.grid import GridMap
from imaseg.data.inverse.invert import invert_image, invert_label, native_scale
from imaseg.data.inverse.native import native_change, reached
from imaseg.data.preparation.recipe import parse_recipe
from imaseg.data.preparation.recorded.transforms import apply_transforms, image_keys
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.volume import Volume
from imaseg.errors import InputError

AFFINE = np.array([[0, -1.2, 0, 7.0], [0, 0, 2.5, -3.0], [0.9, 0, 0, 11.0], [0, 0, 0, 1.0]])
SHAPE = (14, 12, 9)


def do(name, **arguments):
    return {"_target_": name, "keys": "image", **arguments}


RAS = do("Orientationd", axcodes="RAS")


def case(channels=1):
    rng = np.random.default_rng(0)
    image = np.zeros((channels, *SHAPE), np.float32)
    image[:, 2:11, 1:9, 2:7] = rng.uniform(20, 300, (channels, 9, 8, 5))
    label = np.zeros(SHAPE, np.int64)
    label[4:9, 3:7, 3:6] = 1
    return Volume("a", image, label, AFFINE)


GRIDS = {
    "turned": [RAS],
    "turned twice": [do("Orientationd", axcodes="LPS"), do("Orientationd", axcodes="SRA")],
    "flipped": [do("Flipd", spatial_axis=1), do("Rotate90d", k=1)],
    "cropped and padded": [do("CropForegroundd", source_key="image", margin=1), do("DivisiblePadd", k=8), RAS],
    "padded beyond": [do("ResizeWithPadOrCropd", spatial_size=[20, 6, 9])],
    "spacing": [RAS, do("Spacingd", pixdim=[1, 2, 1.3])],
    "spacing, then turned": [do("Spacingd", pixdim=[1, 2, 1.3]), do("SpatialPadd", spatial_size=[20, 9, 9]), RAS],
    "nearest": [do("Resized", spatial_size=[7, 24, 27], mode="nearest-exact")],
    "aligned corners": [do("Resized", spatial_size=[9, 30, 5], mode="trilinear", align_corners=True)],
    "area": [do("Resized", spatial_size=[5, 12, 4], mode="area")],
    "twice": [do("Resized", spatial_size=[9, 30, 5], mode="trilinear"), do("Spacingd", pixdim=[2, 1, 1])],
}


@pytest.mark.parametrize("chain", GRIDS.values(), ids=GRIDS)
def test_the_map_of_the_records_is_what_monai_did(chain):
    volume = case()
    done, steps = apply_transforms(volume, chain)
    np.testing.assert_allclose(GridMap(SHAPE, steps).forward(volume.image[0]), done.image[0], atol=2e-3)


@pytest.mark.parametrize("chain", GRIDS.values(), ids=GRIDS)
def test_labels_move_along_and_come_back(chain):
    volume = case()
    done, steps = apply_transforms(volume, chain)
    assert done.label.shape == done.image.shape[1:]
    where, before = ([np.mean(np.argwhere(v.label == 1), 0)] for v in (done, volume))
    world = [affine[:3, :3] @ place[0] + affine[:3, 3] for affine, place in ((done.affine, where), (AFFINE, before))]
    np.testing.assert_allclose(*world, atol=0.9)
    back = invert_label(done.label, steps)
    overlap = 2 * (back & volume.label).sum() / (back.sum() + volume.label.sum())
    assert overlap > (0.99 if not any(step["name"] == "resample" for step in steps) else 0.35)


@pytest.mark.parametrize(
    "intensity",
    [
        [do("ScaleIntensityRanged", a_min=0, a_max=400, b_min=-1, b_max=1)],
        [do("NormalizeIntensityd"), do("ScaleIntensityd")],
    ],
)
@pytest.mark.parametrize("chain", [GRIDS["turned twice"], GRIDS["cropped and padded"]])
def test_images_come_back_in_native_units(chain, intensity):
    volume = case(2)
    done, steps = apply_transforms(volume, [*intensity, *chain])
    back, inside = invert_image(done.image, steps), invert_label(np.ones(done.shape, int), steps) == 1
    np.testing.assert_allclose(back[:, inside], volume.image[:, inside], atol=0.05)
    assert native_scale(apply_transforms(case(), intensity)[1]) > 1


@pytest.mark.parametrize("chain", [GRIDS["spacing"], [do("Resized", spatial_size=[7, 24, 5], mode="trilinear"), RAS]])
def test_places_come_back_to_where_they_were(chain):
    places = np.stack(np.meshgrid(*[np.arange(float(side)) for side in SHAPE], indexing="ij")).astype(np.float32)
    done, steps = apply_transforms(Volume("a", places, None, AFFINE), chain)
    back = invert_image(done.image, steps)
    inside = (slice(None), slice(2, -3), slice(2, -3), slice(2, -3))
    np.testing.assert_allclose(back[inside], places[inside], atol=1e-3)


def test_a_change_arrives_where_it_was_made():
    volume = case()
    chain = [do("ScaleIntensityRanged", a_min=0, a_max=400, b_min=0, b_max=2, clip=True), *GRIDS["cropped and padded"]]
    done, steps = apply_transforms(volume, chain)
    change = np.where(reached(done.image, steps), 0.01, 0).astype(np.float32)
    moved = Volume("a", volume.image + native_change(change, volume, steps).astype(np.float32), None, AFFINE)
    again = GridMap(SHAPE, steps).forward(((moved.image - volume.image)[0] / 200).astype(np.float32))
    np.testing.assert_allclose(again, change[0], atol=1e-6)


def test_padding_clipped_voxels_and_background_are_out_of_reach():
    volume = case()
    chain = [do("NormalizeIntensityd", nonzero=True), do("SpatialPadd", spatial_size=[20, 20, 20], value=5), RAS]
    done, steps = apply_transforms(volume, chain)
    free = reached(done.image, steps)
    tissue = GridMap(SHAPE, steps).forward((volume.image[0] != 0).astype(np.float32)) > 0.5
    np.testing.assert_array_equal(free[0], tissue)
    window = [do("ScaleIntensityRanged", a_min=50, a_max=200, b_min=0, b_max=1, clip=True)]
    done, steps = apply_transforms(volume, [*window, do("NormalizeIntensityd", nonzero=True)])
    native = volume.image
    np.testing.assert_array_equal(reached(done.image, steps), (native > 50) & (native < 200))
    moved = native_change(np.full_like(done.image, 0.1), volume, steps)
    assert (moved[native <= 50] == 0).all()
    assert (moved[(native > 50) & (native < 200)] > 0).all()


def test_a_recipe_of_transforms_does_nothing_else():
    entries = [RAS, do("Spacingd", pixdim=[1, 1, 1])]
    recipe = parse_recipe({"transforms": entries, "spacing": [5, 5, 5], "normalise": "zscore"}, source="x")
    volume = case()
    done, steps = apply_recipe(volume, recipe, CohortStatistics((), (1.0,) * 3, SHAPE, ({},), {}))
    wanted, records = apply_transforms(volume, entries)
    np.testing.assert_array_equal(done.image, wanted.image)
    assert steps == records


def test_keys_of_several_images_are_channels_in_the_order_they_are_joined():
    joined = {"_target_": "ConcatItemsd", "keys": ["b", "a"], "name": "image"}
    first = {"_target_": "NormalizeIntensityd", "keys": ["a", "b"]}
    assert image_keys([first, joined]) == ["b", "a"]
    volume = case(2)
    done, _ = apply_transforms(volume, [first, joined])
    for native, prepared in zip(volume.image, done.image, strict=True):
        np.testing.assert_allclose(prepared, (native - native.mean()) / native.std(), atol=1e-4)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([do("GaussianSmoothd", sigma=1)], "transforms must be among .*, got 'GaussianSmoothd'"),
        ([do("Spacingd")], "Spacingd must be made with its arguments, got TypeError"),
        ([do("Resized", spatial_size=[1, 2, 3, 4])], "a: Resized must run with its arguments"),
        ([do("ScaleIntensityd", minv=1, maxv=0)], "a: ScaleIntensityd must scale grey values by a rising line"),
        ([do("DeleteItemsd")], "transforms must leave one image, got none"),
        ([do("NormalizeIntensityd", keys=["a", "b"])], "image must have 2 channels .a, b., got 1"),
    ],
)
def test_what_cannot_be_done_or_undone_is_one_line(entries, text):
    with pytest.raises(InputError, match=text):
        apply_transforms(case(), entries)


def test_an_image_that_is_constant_or_becomes_so_is_said_to_be():
    window = do("ScaleIntensityRanged", a_min=900, a_max=1000, b_min=0, b_max=1, clip=True)
    with pytest.raises(InputError, match="a: image must vary after ScaleIntensityRanged, got 0 throughout"):
        apply_transforms(case(), [window])
    flat = Volume("a", np.full((1, 4, 4, 4), 3, np.float32), None, np.eye(4))
    with pytest.raises(InputError, match="a: image must vary before NormalizeIntensityd, got 3 throughout"):
        apply_transforms(flat, [do("NormalizeIntensityd")])


def test_channels_may_not_change_places():
    volume = case(2)
    chain = [{"_target_": "NormalizeIntensityd", "keys": ["a", "b"]}]
    joined = [{"_target_": "ConcatItemsd", "keys": ["a", "b"], "name": "c"}]
    again = [{"_target_": "ConcatItemsd", "keys": ["b", "a"], "name": "image"}]
    with pytest.raises(InputError, match="must keep all channels in their order"):
        apply_transforms(volume, [*chain, *joined, *again])


@pytest.mark.parametrize("pixdim", [(0.1, 0.1, 0.1), (0.001, -1, -1), 0.1])
def test_spacing_that_multiplies_the_voxels_is_refused(pixdim):
    volume = Volume("case7", np.ones((1, 48, 48, 48), np.float32), None, np.eye(4))
    with pytest.raises(InputError, match=r"case7: spacing must give a grid .* at most 100 times"):
        apply_transforms(volume, [{"_target_": "Spacingd", "keys": "image", "pixdim": pixdim}])
