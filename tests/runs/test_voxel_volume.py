"""Limits in mm3 know the voxels that training sees."""

from __future__ import annotations

import pytest

from imaseg.models.segmentation import ModelCard
from imaseg.runs.job import _voxel_volume

BARE = {
    "name": "net",
    "network": {"name": "UNet"},
    "labels": {0: "background", 1: "one"},
    "in_channels": 1,
    "spatial_dims": 3,
}


@pytest.mark.parametrize(
    ("spacing", "volume"),
    [("median", 2.5), (None, 2.5), ([1.0, 2.0, 3.0], 6.0), ([None, None, 4.0], 4.0)],
)
def test_voxels_are_those_of_the_recipe_or_of_the_median_case(spacing, volume):
    card = ModelCard(**BARE, recipe={"spacing": spacing}, fingerprint={"spacing": [1.0, 1.0, 2.5]})
    assert _voxel_volume(card) == volume


def test_without_any_spacing_a_voxel_is_one_cubic_millimetre():
    assert _voxel_volume(ModelCard(**BARE)) == 1.0
