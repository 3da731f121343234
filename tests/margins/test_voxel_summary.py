"""Summaries of a voxel map against plain NumPy, and distances from SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from imaseg.margins.voxel import VoxelMarginResult
from imaseg.margins.voxel_summary import QUANTILES, summarise_depths, summarise_structures


def _map(shape=(2, 6, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    margin = torch.rand(shape, generator=generator)
    right = torch.rand(shape, generator=generator) < 0.8
    censored = right & (torch.rand(shape, generator=generator) < 0.3)
    margin = torch.where(censored, 1.0, margin) * right
    return VoxelMarginResult(margin, censored, right, "attack", 1, 1), torch.randint(-1, 3, shape, generator=generator)


@pytest.mark.parametrize("shape", [(2, 6, 7), (1, 5, 4, 3)])
def test_structures_are_counted_as_in_numpy(shape):
    result, label = _map(shape)
    for one, rows in enumerate(summarise_structures(result, label)):
        assert [row.label for row in rows] == [0, 1, 2]
        for row in rows:
            where = (label[one] == row.label).numpy()
            right = where & result.right[one].numpy()
            margin = result.margin[one].numpy()[right]
            assert (row.labelled, row.voxels) == (where.sum(), right.sum())
            assert row.censored == pytest.approx(result.censored[one].numpy()[right].mean())
            expected = np.quantile(margin, QUANTILES, method="inverted_cdf")
            np.testing.assert_allclose(row.quantiles, expected, rtol=1e-6)
            assert (row.low, row.high) == (-math.inf, math.inf)


def test_a_channel_axis_of_the_label_changes_nothing():
    result, label = _map()
    assert summarise_structures(result, label[:, None]) == summarise_structures(result, label)


def test_regions_are_structures_that_may_overlap():
    result, _ = _map()
    label = torch.zeros(2, 3, 6, 7, dtype=torch.bool)
    label[:, 0] = True
    label[:, 2, :3] = True
    first, second = summarise_structures(result, label)[0]
    assert (first.label, first.labelled, second.label, second.labelled) == (0, 42, 2, 21)
    depth = torch.zeros(label.shape)
    depth[:, 2] = 3.0
    rows = summarise_depths(result, label, depth, edges=(0, 2))[1]
    assert [(row.label, row.low) for row in rows] == [(0, 0), (2, 2)]


def test_depths_are_bins_of_the_distance_to_the_boundary():
    spacing = (2.0, 1.0)
    label = torch.zeros(1, 9, 12, dtype=torch.long)
    label[0, 2:8, 3:10] = 1
    inside = np.asarray(label[0] == 1)
    distance = distance_transform_edt(inside, spacing) + distance_transform_edt(~inside, spacing)
    margin = torch.from_numpy(distance)[None].float()  # deeper voxels are further from flipping
    right = torch.ones(1, 9, 12, dtype=torch.bool)
    result = VoxelMarginResult(margin, ~right, right, "attack", 1, 1)
    rows = summarise_depths(result, label, margin, edges=(0, 1.5, 2.5))[0]
    assert sum(row.labelled for row in rows) == label.numel()
    for row in rows:
        values = distance[(np.asarray(label[0]) == row.label) & (distance >= row.low) & (distance < row.high)]
        assert row.voxels == len(values)
        assert row.quantiles[0] >= max(row.low, 1.0)
        assert row.quantiles[-1] < row.high
    assert [row.low for row in rows if row.label == 1] == [0, 1.5, 2.5]


def test_a_structure_without_right_voxels_is_listed_without_numbers():
    result, label = _map()
    nothing = VoxelMarginResult(result.margin, result.censored, result.right & (label != 1), "attack", 1, 1)
    row = next(row for row in summarise_structures(nothing, label)[0] if row.label == 1)
    assert row.voxels == 0
    assert row.labelled > 0
    assert math.isnan(row.censored)
    assert all(math.isnan(value) for value in row.quantiles)


def test_a_structure_that_is_absent_is_not_listed():
    result, label = _map()
    assert [row.label for row in summarise_structures(result, label.clamp(max=1))[0]] == [0, 1]
    assert summarise_structures(result, torch.full_like(label, -1)) == [[], []]


def test_what_does_not_fit_is_refused():
    result, label = _map()
    with pytest.raises(ValueError, match=r"label must fit the maps \(2, 6, 7\), got \(2, 6, 6\)"):
        summarise_structures(result, label[..., :6])
    with pytest.raises(ValueError, match=r"distance must have the label's shape \(2, 6, 7\), got \(6, 7\)"):
        summarise_depths(result, label, torch.zeros(6, 7))
    for edges in ((), (0, 2, 2)):
        with pytest.raises(ValueError, match="edges must be in rising order"):
            summarise_depths(result, label, torch.zeros(label.shape), edges=edges)
