"""Hard Dice against MONAI's, and its corner cases."""

from __future__ import annotations

import pytest
import torch
from monai.metrics import compute_dice
from monai.networks.utils import one_hot

from imaseg.scores import decide, encode, foreground_dice, hard_dice


@pytest.mark.parametrize("shape", [(7, 5), (4, 5, 6)])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_equals_monai(shape, classes):
    torch.manual_seed(0)
    logits, label = torch.randn(3, classes, *shape), torch.randint(classes, (3, *shape))
    decided = one_hot(logits.argmax(1, keepdim=True), classes)
    reference = compute_dice(decided, one_hot(label[:, None], classes), ignore_empty=False)
    torch.testing.assert_close(hard_dice(logits, label), reference)


def test_empty_in_label_and_decision_scores_one_and_painted_scores_zero():
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    clean = torch.stack([torch.ones(1, 2, 2), torch.zeros(1, 2, 2)], 1)
    assert foreground_dice(clean, label).item() == 1.0
    assert foreground_dice(-clean, label).item() == 0.0


def test_region_models_decide_each_channel_and_have_no_background():
    logits = torch.tensor([[[3.0, -3.0], [3.0, 3.0]]])
    label = torch.tensor([[[True, True], [True, True]]])
    dice = hard_dice(logits, label)
    torch.testing.assert_close(dice, torch.tensor([[2 / 3, 1.0]]))
    torch.testing.assert_close(foreground_dice(logits, label), dice.mean(1))


def test_one_more_channel_of_a_region_label_marks_ignored_voxels():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 6, 5), torch.rand(2, 3, 6, 5) > 0.5
    ignored = torch.zeros(2, 1, 6, 5, dtype=torch.bool)
    ignored[..., 4] = True
    dice = hard_dice(logits, torch.cat([label, ignored], 1))
    torch.testing.assert_close(dice, hard_dice(logits[..., :4], label[..., :4]))


def test_one_logit_channel_is_a_sigmoid_model():
    logits, label = torch.tensor([[[2.0, -2.0, 2.0]]]), torch.tensor([[1, 0, 0]])
    torch.testing.assert_close(hard_dice(logits, label), torch.tensor([[2 / 3]]))


@pytest.mark.parametrize("value", [-1, -100, 255])
def test_ignored_voxels_do_not_count(value):
    logits = torch.tensor([[[0.0, 0.0, 5.0, 0.0], [1.0, 1.0, 0.0, 1.0]]])
    label = torch.tensor([[1, 1, 0, value]])
    assert hard_dice(logits, label, ignore_index=255).tolist() == [[1.0, 1.0]]


def test_label_may_have_a_channel_axis_and_be_floating():
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    torch.testing.assert_close(hard_dice(logits, label[:, None].float()), hard_dice(logits, label))


def test_classifiers_have_one_voxel():
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert foreground_dice(logits, torch.tensor([0, 2])).tolist() == [1.0, 0.0]


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"label must be below the number of classes \(3\), got 7"):
        encode(torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), 7))


def test_a_label_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"label must be \(B, \*spatial\)"):
        encode(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 5, dtype=torch.long))


def test_a_region_begins_above_a_logit_of_zero():
    logits = torch.tensor([[[-1.0, 0.0, 1.0]]])
    assert decide(logits, regions=True).tolist() == [[[False, False, True]]]
    assert hard_dice(logits, torch.tensor([[[False, False, True]]])).item() == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float16])
def test_regions_may_be_zeros_and_ones_of_any_dtype(dtype):
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, 3, 6, 6, generator=generator), torch.rand(2, 3, 6, 6, generator=generator) < 0.4
    found, expected = encode(logits, label.to(dtype)), encode(logits, label)
    assert found.regions
    assert torch.equal(found.onehot, expected.onehot)
    assert torch.equal(found.valid, expected.valid)


def test_one_hot_labels_and_other_values_are_answered_with_the_mend():
    logits = torch.zeros(2, 3, 4, 4)
    onehot = torch.nn.functional.one_hot(torch.arange(32).reshape(2, 4, 4) % 3, 3).movedim(-1, 1)
    with pytest.raises(
        ValueError, match=r"got one channel per voxel in torch.int64. Give label.argmax\(1\) for a softmax"
    ):
        encode(logits, onehot)
    assert encode(logits, onehot.bool()).regions
    with pytest.raises(ValueError, match=r"must be 0 or 1 everywhere, got 0.5, 2."):
        encode(logits, torch.tensor([0.0, 0.5, 2.0, 1.0]).repeat(2, 3, 4, 1))


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_labels_that_are_no_whole_numbers_are_refused(value):
    label = torch.zeros(1, 2, 2)
    label[0, 0, 1] = value
    for channels in (1, 3):
        with pytest.raises(ValueError, match=f"label must hold whole numbers, got {value:g}"):
            encode(torch.zeros(1, channels, 2, 2), label)


def test_classifiers_of_independent_classes_take_zeros_and_ones_of_any_dtype():
    label = torch.tensor([[1, 1, 0], [0, 0, 0]])
    logits = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]])
    assert torch.equal(hard_dice(logits, label.float()), hard_dice(logits, label.bool()))
    assert hard_dice(logits, label).tolist() == [[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
