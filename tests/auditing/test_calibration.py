"""Expected calibration error against sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from imaseg.auditing.calibration import BINS, calibration_error, region


def _logits_of(confidence):
    """Two channels whose softmax gives the second one that confidence."""
    p = torch.as_tensor(confidence, dtype=torch.float64)
    return torch.stack([torch.zeros_like(p), (p / (1 - p)).log()])


def test_two_bins_by_hand():
    label = torch.tensor([[1, 1, 1, 0, 1, 0]])
    confidence = torch.tensor([[0.9, 0.9, 0.9, 0.9, 0.62, 0.62]])
    # In the bin of 0.9 three of four are right, in that of 0.62 one of two.
    expected = 4 / 6 * abs(0.75 - 0.9) + 2 / 6 * abs(0.5 - 0.62)
    assert calibration_error(_logits_of(confidence), label, spacing=(1, 1)) == pytest.approx(expected)


def test_equals_a_loop_over_voxels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 6, 7, generator=generator) * 2
    label = torch.randint(4, (5, 6, 7), generator=generator)
    bins = [[] for _ in range(BINS)]
    for place in np.ndindex(5, 6, 7):
        z = [float(logits[(k, *place)]) for k in range(4)]
        p = [math.exp(v) / sum(math.exp(w) for w in z) for v in z]
        best = p.index(max(p))
        which = next(m for m in range(BINS) if p[best] <= (m + 1) / BINS)
        bins[which].append((p[best], best == int(label[place])))
    expected = sum(abs(sum(right - p for p, right in inside)) for inside in bins) / 210
    assert calibration_error(logits, label, spacing=(1, 1, 1)) == pytest.approx(expected, abs=1e-6)


def test_a_calibrated_model_has_none_and_a_certain_one_its_error_rate():
    rng = np.random.default_rng(0)
    p = torch.from_numpy(rng.uniform(0.02, 0.98, (40, 40, 40)))
    label = torch.from_numpy((rng.uniform(size=p.shape) < p.numpy()).astype(np.int64))
    assert calibration_error(_logits_of(p), label, spacing=(1, 1, 1)) < 0.01
    certain = torch.stack([torch.zeros_like(p), torch.full_like(p, 100.0)])
    assert calibration_error(certain, label, spacing=(1, 1, 1)) == pytest.approx(float((label == 0).double().mean()))


def test_a_sigmoid_is_the_softmax_of_two_channels():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, 6, 6, generator=generator)
    label = torch.randint(2, (6, 6), generator=generator)
    both = torch.cat([torch.zeros_like(z), z])
    expected = calibration_error(both, label, spacing=(1, 1))
    assert calibration_error(z, label, spacing=(1, 1)) == pytest.approx(expected)
    # One region, as scores of "out" and "in": each is certain by its own sigmoid.
    regions = torch.cat([-z, z])
    assert calibration_error(regions, label, spacing=(1, 1), independent=True) == pytest.approx(expected)
    assert calibration_error(regions, label, spacing=(1, 1)) != pytest.approx(expected, abs=1e-3)


def test_voxels_count_that_are_labelled_or_within_5_mm_of_one_that_is():
    label = torch.zeros(40, 30, 20, dtype=torch.long)
    label[18:20, 14, 3] = 2
    expected = torch.zeros_like(label, dtype=torch.bool)
    expected[13:25, 12:17, 2:5] = True
    assert torch.equal(region(label, (1.0, 2.5, 5.0)), expected)
    expected[:] = False
    expected[13:25, 4:25, 0:9] = True
    assert torch.equal(region(label, (1.0, 0.5, 1.0)), expected)
    assert torch.equal(region(label[:, :, 3], (1.0, 0.5)), expected[:, :, 3])


def test_what_lies_further_away_does_not_count():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 40, 8, generator=generator)
    label = torch.zeros(40, 8, dtype=torch.long)
    label[:5] = 1
    near = calibration_error(logits[:, :10], label[:10], spacing=(1, 1))
    assert calibration_error(logits, label, spacing=(1, 1)) == near


def test_an_empty_label_is_judged_on_the_whole_image():
    label = torch.zeros(4, 5, dtype=torch.long)
    assert bool(region(label, (1, 1)).all())
    assert calibration_error(torch.stack([torch.ones(4, 5), torch.zeros(4, 5)]), label, spacing=(1, 1)) > 0


def test_ignored_voxels_do_not_count():
    label = torch.tensor([[1, 1, 0, 0]])
    confidence = torch.tensor([[0.9, 0.6, 0.3, 0.99]])
    ignored = torch.tensor([[1, 1, 0, -1]])
    expected = calibration_error(_logits_of(confidence[:, :3]), label[:, :3], spacing=(1, 1))
    assert calibration_error(_logits_of(confidence), ignored, spacing=(1, 1)) == expected


def test_undefined_confidence_and_labels_without_a_voxel_are_none():
    label = torch.tensor([[1, 0]])
    logits = _logits_of(torch.tensor([[0.9, 0.5]]))
    assert calibration_error(logits.clone().fill_(torch.nan), label, spacing=(1, 1)) is None
    assert calibration_error(logits, torch.full_like(label, -1), spacing=(1, 1)) is None
