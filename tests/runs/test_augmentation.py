"""Random changes by name: what moves takes the label along, what would break a batch is refused."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose

from imaseg.errors import InputError
from imaseg.runs.augmentation import _known, augmentation
from imaseg.runs.config import TrainConfig


def _config(augment, **more):
    return TrainConfig(network={"name": "UNet"}, patch=[16, 16, 8], augment=augment, foreground=0.0, **more)


def _item():
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(1, 16, 16, 8)
    label[:, 2:9, 3:12, 2:6] = 1
    # The image is the label, brighter: whoever moves one of them alone is found out.
    return {
        "image": 3 * label + 0.01 * torch.rand(1, 16, 16, 8, generator=generator),
        "label": label,
        "inside": torch.ones(1, 16, 16, 8, dtype=torch.uint8),
    }


def _done(augment, seed=0, **more):
    return Compose(augmentation(_config(augment, **more), {1: "kidney"})).set_random_state(seed=seed)(_item())


SETTINGS = {
    "RandAffined": {"rotate_range": [0.5, 0.5, 0.5]},
    "RandRotated": {"range_x": 0.6},
    "RandZoomd": {"min_zoom": 0.6, "max_zoom": 0.7},
    "Rand3DElasticd": {"sigma_range": (2, 3), "magnitude_range": (20, 30)},
    "RandGridDistortiond": {"distort_limit": 0.3},
    "RandSmoothDeformd": {"spatial_size": [16, 16, 8], "rand_size": [4, 4, 4], "def_range": 0.3},
    "RandGaussianNoised": {"std": 0.1},
    "RandGibbsNoised": {},
    "RandHistogramShiftd": {},
    "RandBiasFieldd": {},
    "RandCoarseDropoutd": {"holes": 2, "spatial_size": 3},
    "RandKSpaceSpikeNoised": {},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_label_and_image_stay_together_whatever_is_named(name):
    item = _done([{"name": name, "prob": 1.0, **SETTINGS[name]}], flip=[])
    before = _item()
    moved = not torch.equal(item["label"], before["label"])
    assert item["image"].shape == item["label"].shape == (1, 16, 16, 8)
    assert not torch.equal(item["image"], before["image"])
    assert set(item["label"].unique().tolist()) <= {0.0, 1.0}
    moving = ("RandAffined", "RandRotated", "RandZoomd", "Rand3DElasticd", "RandGridDistortiond", "RandSmoothDeformd")
    assert moved == (name in moving)
    if moved:
        bright = item["image"] > 1.5
        overlap = 2 * (bright & (item["label"] > 0)).sum() / (bright.sum() + item["label"].sum())
        assert overlap > 0.9


def test_a_list_replaces_the_usual_changes():
    item = _done([], flip=[])
    assert torch.equal(item["image"], _item()["image"])
    assert not torch.equal(_done(True, seed=1)["image"], _item()["image"])


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"name": "RandGausianNoised"}, r"got 'RandGausianNoised'.*Did you mean 'RandGaussianNoised'"),
        (
            {"name": "RandFlipd", "prob": 0.5},
            "augment must list .* got 'RandFlipd'. Mirrored axes stand in `flip`",
        ),
        ({"name": "RandLambdad"}, "got 'RandLambdad'"),
        ({"name": "RandSpatialCropd"}, "got 'RandSpatialCropd'"),
        ({"name": "GaussianSmoothd"}, "got 'GaussianSmoothd'"),
        ({}, "got 'None'"),
        ({"name": "RandGaussianNoised", "keys": ["label"]}, "got keys for RandGaussianNoised, which it chooses itself"),
        (
            {"name": "RandGaussianNoised", "sigma": 2},
            "RandGaussianNoised must get arguments that it takes, got {'sigma': 2}",
        ),
        ({"name": "RandAffined", "spatial_size": [4, 4, 4]}, r"makes a patch of \[4, 4, 4\] of one of \[16, 16, 8\]"),
        (
            {"name": "RandZoomd", "keep_size": False, "min_zoom": 0.5, "max_zoom": 0.5, "prob": 0.01},
            r"makes a patch of \[8, 8, 4\]",
        ),
        ({"name": "RandGaussianNoised", "std": float("nan")}, r"got {'std': nan} \(Range exceeds valid bounds"),
        ({"name": "RandScaleIntensityd", "factors": float("inf")}, "RandScaleIntensityd must get arguments"),
    ],
)
def test_what_cannot_be_done_is_refused(entry, text):
    with pytest.raises(InputError, match=text):
        augmentation(_config([entry]), {1: "kidney"})


def test_nothing_that_changes_sizes_or_mirrors_is_offered():
    assert "RandGaussianNoised" in _known()
    assert [name for name in _known() if "Flip" in name or "Crop" in name or "Lambda" in name] == []
