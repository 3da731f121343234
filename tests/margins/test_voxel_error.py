"""The error of an estimate: ratios and ranks, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from imaseg import L2
from imaseg.margins.voxel import VoxelMargin, VoxelMarginResult
from imaseg.margins.voxel_error import margin_error
from tests.attacks.models import trained_model


def _map(margin, censored=None, right=None):
    never = torch.zeros(margin.shape, dtype=torch.bool)
    return VoxelMarginResult(
        margin, never if censored is None else censored, ~never if right is None else right, "attack", 1, 1
    )


def test_ratio_and_rank_correlation_are_those_of_numpy_and_scipy():
    generator = torch.Generator().manual_seed(0)
    found = torch.rand(2, 7, 9, generator=generator) + 0.1
    estimate = (found * (1 + 0.3 * torch.randn(found.shape, generator=generator))).clamp(0.05, 0.8)  # with ties
    censored = torch.rand(found.shape, generator=generator) < 0.2
    right = torch.rand(found.shape, generator=generator) < 0.8
    error = margin_error(_map(estimate), _map(found, censored, right))
    for one in range(2):
        here = (right & ~censored)[one]
        first, second = estimate[one][here].numpy(), found[one][here].numpy()
        assert error.voxels[one] == here.sum()
        assert error.spearman[one].item() == pytest.approx(spearmanr(first, second).statistic, abs=1e-5)
        for share, value in ((0.5, error.ratio), (0.05, error.low), (0.95, error.high)):
            expected = np.quantile(first / second, share, method="nearest")
            assert value[one].item() == pytest.approx(expected, rel=1e-5)


def test_a_map_is_no_different_from_itself():
    found = torch.rand(1, 30, generator=torch.Generator().manual_seed(0)) + 1
    error = margin_error(_map(found), _map(found))
    assert error.ratio.item() == error.low.item() == error.high.item() == 1
    assert error.spearman.item() == pytest.approx(1)
    assert margin_error(_map(-found), _map(found)).spearman.item() == pytest.approx(-1)


def test_without_voxels_there_is_no_error_to_speak_of():
    found = torch.ones(1, 4)
    error = margin_error(_map(found), _map(found, censored=torch.ones(1, 4, dtype=torch.bool)))
    assert error.voxels.item() == 0
    assert torch.isnan(error.ratio).all()
    assert torch.isnan(error.spearman).all()


def test_the_estimate_ranks_voxels_as_attacks_do():
    model, image, label = trained_model()
    estimate = VoxelMargin(L2(9.0), method="gradient")(model, image[:1], label[:1])
    found = VoxelMargin(L2(9.0), rungs=6, focus=400)(model, image[:1], label[:1])
    error = margin_error(estimate, found)
    assert error.spearman.item() > 0.8
    assert 0.5 < error.ratio.item() < 1.3


def test_maps_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must have the same shape, got \(1, 3\) and \(1, 4\)"):
        margin_error(_map(torch.ones(1, 3)), _map(torch.ones(1, 4)))
