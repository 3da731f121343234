"""Training methods count and change only what is image: their budgets mean what those of an audit mean."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, TRADES, DiceBelow, FreeTraining, PGDTraining, SampleMargin, Standard


class Recorder(torch.nn.Module):
    """Class 1 where the image is above 0.5; keeps the images it saw."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.5))
        self.seen = []

    def forward(self, image):
        self.seen.append(image.detach())
        return torch.cat([torch.zeros_like(image), 5 * (image - self.shift)], 1)


def _loss(logits, label):
    return cross_entropy(logits, label[:, 0], reduction="none").flatten(1).mean(1)


@pytest.fixture
def batch():
    """Two cases of 4 x 6 and 8 x 8 voxels, the first padded."""
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    inside = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    inside[0, :, :, 6:] = inside[0, :, 4:] = False
    image = image * inside
    return image, (image > 0.5).long(), inside


METHODS = {
    "ima": lambda: IMA(_loss, L2(0.2, unit="rms"), increment=0.2, criterion=DiceBelow(0.9), steps=4),
    "pgd": lambda: PGDTraining(_loss, L2(0.2, unit="rms"), steps=4),
    "trades": lambda: TRADES(_loss, L2(0.2, unit="rms"), steps=4),
    "free": lambda: FreeTraining(_loss, L2(0.2, unit="rms")),
}


@pytest.mark.parametrize("name", METHODS)
def test_padding_is_never_perturbed_and_never_counted(name, batch):
    image, label, inside = batch
    model, method = Recorder(), METHODS[name]()
    for _ in range(2):  # free training perturbs from the second call on
        method(model, image, label, ["a", "b"], inside=inside).backward()
    changes = [seen - image[: len(seen)] for seen in model.seen if seen.shape == image.shape]
    assert all(bool((change[~inside] == 0).all()) for change in changes)
    largest = max(float(change[0].norm()) for change in changes)
    assert 0.5 * 0.2 * 24**0.5 < largest <= 0.2 * 24**0.5 * (1 + 1e-5)  # of 24 voxels, not 64


def test_standard_training_takes_the_mask_and_needs_none(batch):
    image, label, inside = batch
    model = Recorder()
    assert torch.equal(Standard(_loss)(model, image, label, inside=inside), Standard(_loss)(model, image, label))


def test_a_margin_in_training_is_in_the_unit_of_an_audit(batch):
    image, label, inside = batch
    model, criterion = Recorder(), DiceBelow(0.9)
    ima = IMA(_loss, L2(0.4, unit="rms"), increment=0.001, criterion=criterion, steps=20, bisections=12, smoothing=1.0)
    for _ in range(20):
        ima(model, image, label, ["a", "b"], inside=inside)
        ima.end_epoch()
    small, its_label = image[:1, :, :4, :6], label[:1, :, :4, :6]
    audited = float(SampleMargin(L2(0.4, unit="rms"), criterion=criterion)(model, small, its_label).margin)
    # The audit finds the nearest boundary, training one that its ascent meets. With padding counted, training's would
    # be 1.63 times smaller.
    assert 0.99 * audited <= ima.margins["a"] < 2 * audited


def test_a_method_tells_its_criterion_how_large_a_voxel_is():
    given = DiceBelow(0.9)
    ima = IMA(_loss, L2(0.2), criterion=given)
    ima.set_voxel_volume(2.5)
    assert ima.criterion.voxel_volume == 2.5
    assert given.voxel_volume == 1.0  # the caller's own stays as it was
    Standard(_loss).set_voxel_volume(2.5)  # which has none


@pytest.mark.parametrize("train_on", ["boundary", "worst"])
def test_a_crop_in_which_nothing_may_change_says_nothing_about_the_margin(batch, train_on):
    image, label, inside = batch
    method = IMA(_loss, L2(0.2, unit="rms"), increment=0.02, criterion=DiceBelow(0.01), steps=2, train_on=train_on)
    inside[1] = False
    method(Recorder(), image, label, ["near", "far"], inside=inside)
    method.end_epoch()
    assert method.margins == pytest.approx({"near": 0.04, "far": 0.02})
