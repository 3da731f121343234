"""The training losses against a reference written elsewhere, and what all of them must do."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from imaseg.objectives import CrossEntropy, Dice, DiceCE, Objective

ALL = [CrossEntropy, Dice, DiceCE]


def _monai_dice(logits, label):
    return DiceLoss(include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1.0, smooth_dr=1.0)(
        logits, label[:, None]
    )


REFERENCES = {
    "cross-entropy": cross_entropy,
    "dice": _monai_dice,
    "dice-ce": lambda logits, label: _monai_dice(logits, label) + cross_entropy(logits, label),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
@pytest.mark.parametrize("classes", [2, 5])
def test_equals_the_reference_on_each_sample(name, shape, classes):
    torch.manual_seed(1)
    logits, label = torch.randn(3, classes, *shape), torch.randint(classes, (3, *shape))
    found = Objective.build(name)(logits, label)
    reference = torch.stack([REFERENCES[name](logits[i : i + 1], label[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(found, reference)


def test_dice_ce_equals_monais_loss():
    torch.manual_seed(2)
    logits, label = torch.randn(1, 3, 8, 8), torch.randint(3, (1, 8, 8))
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1.0, smooth_dr=1.0)
    # MONAI leaves the background out of its cross-entropy too, so only the Dice part is comparable there.
    torch.testing.assert_close(DiceCE()(logits, label)[0], _monai_dice(logits, label) + cross_entropy(logits, label))
    torch.testing.assert_close(Dice()(logits, label)[0], loss.dice(logits, label[:, None]))


def test_regions_use_sigmoids():
    torch.manual_seed(3)
    logits, label = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 4, 4) > 0.5
    reference = binary_cross_entropy_with_logits(logits, label.float(), reduction="none").flatten(1).mean(1)
    torch.testing.assert_close(CrossEntropy()(logits, label), reference)
    dice = DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0, reduction="none")(logits, label.float())
    torch.testing.assert_close(Dice()(logits, label), dice.flatten(1).mean(1))


@pytest.mark.parametrize("objective", ALL)
def test_ignored_voxels_carry_no_gradient(objective):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    label = torch.randint(3, (1, 4, 4))
    label[0, :2] = 9
    label[0, 2] = -1
    (gradient,) = torch.autograd.grad(objective(ignore_index=9)(logits, label).sum(), logits)
    assert gradient[:, :, :3].abs().max() == 0
    assert gradient[:, :, 3].abs().max() > 0


@pytest.mark.parametrize("objective", ALL)
def test_a_sample_that_is_wholly_ignored_is_finite(objective):
    value = objective()(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), -1))
    assert torch.isfinite(value).all()


@pytest.mark.parametrize("objective", ALL)
def test_gradient_equals_finite_differences(objective):
    torch.manual_seed(4)
    logits = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    label = torch.randint(3, (2, 2, 2))
    assert torch.autograd.gradcheck(lambda z: objective()(z, label), logits)


@pytest.mark.parametrize("objective", ALL)
def test_half_precision_logits_are_scored_in_float32(objective):
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    half = objective()(logits.bfloat16(), label)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, objective()(logits.bfloat16().float(), label))


@pytest.mark.parametrize("objective", ALL)
def test_an_empty_structure_can_be_painted_in(objective):
    """The gradient must lead towards a phantom lesion, not vanish."""
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    value = objective()(logits, torch.zeros(1, 8, 8, dtype=torch.long))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert (gradient[:, 1] > 0).all()


def test_dice_is_zero_for_a_sure_and_right_prediction_and_near_one_for_a_wrong_one():
    label = torch.tensor([[0, 1, 1, 0]])
    sure = 50.0 * torch.stack([label == 0, label == 1], 1).float()
    assert Dice()(sure, label).item() == pytest.approx(0.0, abs=1e-6)
    assert Dice()(-sure, label).item() == pytest.approx(1 - 1 / 5)


def test_smooth_must_be_positive():
    with pytest.raises(ValueError, match="smooth must be > 0"):
        Dice(smooth=0.0)
