"""Metrics against hand-made volumes and MONAI's own results."""

from __future__ import annotations

import pytest
import torch
from monai.metrics import HausdorffDistanceMetric, SurfaceDiceMetric

from imaseg.auditing.metrics import bootstrap, mean_scores, score


def _volumes():
    label = torch.zeros(12, 10, 8, dtype=torch.long)
    label[2:8, 2:7, 2:6] = 1
    label[8:11, 2:7, 2:6] = 2
    return label, label.roll(1, 0)


def _dice(prediction, label, k):
    a, b = prediction == k, label == k
    return float(2 * (a & b).sum() / (a.sum() + b.sum())) if (a | b).any() else 1.0


def _scores(prediction, label, spacing=(1.0, 1.5, 2.0), classes=(1, 2)):
    dice = torch.tensor([_dice(prediction, label, k) for k in (0, *classes)])
    return score(prediction, label, dice, spacing=spacing, classes=classes)


def test_equals_monai_with_spacing():
    label, prediction = _volumes()
    scores = _scores(prediction, label)
    onehot = [torch.stack([volume == k for k in (1, 2)])[None].float() for volume in (prediction, label)]
    hausdorff = HausdorffDistanceMetric(include_background=True, percentile=95)
    surface = SurfaceDiceMetric([1.0, 1.0], include_background=True)
    distances, overlaps = hausdorff(*onehot, spacing=(1.0, 1.5, 2.0))[0], surface(*onehot)[0]
    for row, k in enumerate(("1", "2")):
        assert scores[k]["hd95"] == pytest.approx(float(distances[row]))
        assert scores[k]["surface_dice"] == pytest.approx(float(overlaps[row]))
        assert scores[k]["fp_volume"] == 0.0


def test_a_shift_along_one_axis_is_as_many_millimetres_as_its_spacing():
    label, prediction = _volumes()
    assert _scores(prediction, label, spacing=(3.0, 1.0, 1.0))["1"]["hd95"] == pytest.approx(3.0)


def test_a_painted_structure_is_a_volume_and_has_no_distance():
    label, _ = _volumes()
    bare = torch.where(label == 2, 0, label)
    scores = _scores(label, bare, spacing=(1.0, 2.0, 0.5))
    assert scores["2"] == {"dice": 0.0, "hd95": None, "surface_dice": 0.0, "fp_volume": float((label == 2).sum())}
    assert scores["foreground_mean"]["hd95_undefined"] == 1.0
    assert scores["foreground_mean"]["hd95"] == 0.0


def test_a_missed_structure_scores_zero_without_a_distance():
    label, _ = _volumes()
    scores = _scores(torch.where(label == 2, 0, label), label)
    assert scores["2"] == {"dice": 0.0, "hd95": None, "surface_dice": 0.0, "fp_volume": 0.0}


def test_empty_on_both_sides_is_perfect():
    label, _ = _volumes()
    bare = torch.where(label == 2, 0, label)
    assert _scores(bare, bare)["2"] == {"dice": 1.0, "hd95": 0.0, "surface_dice": 1.0, "fp_volume": 0.0}


def test_what_is_painted_on_ignored_voxels_does_not_count():
    label, _ = _volumes()
    ignored = torch.where(label == 2, -1, label)
    assert _scores(label, ignored)["2"]["fp_volume"] == 0.0


def test_means_leave_undefined_values_out_and_count_them():
    rows = [
        {"dice": 1.0, "hd95": None, "surface_dice": 0.5, "fp_volume": 0.0},
        {"dice": 0.5, "hd95": 2.0, "surface_dice": 0.7, "fp_volume": 4.0},
    ]
    means = mean_scores(rows)
    assert means == {
        "dice": 0.75, "hd95": 2.0, "hd95_undefined": 1.0, "surface_dice": pytest.approx(0.6), "fp_volume": 2.0
    }  # fmt: skip


def test_bootstrap_interval_covers_as_the_normal_one_does():
    generator = torch.Generator().manual_seed(0)
    values = (torch.randn(400, generator=generator) * 2 + 5).tolist()
    low, high = bootstrap(values)
    half = 1.96 * torch.tensor(values).std().item() / 20
    mean = sum(values) / 400
    assert low == pytest.approx(mean - half, abs=0.03)
    assert high == pytest.approx(mean + half, abs=0.03)
    assert bootstrap([0.5] * 9) == [0.5, 0.5]
    assert bootstrap(values) == bootstrap(values)
