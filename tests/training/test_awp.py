"""Adversarial weights against the formula, with the weights put into a copy of the network by hand."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from imaseg import IMA, L2, TRADES, DiceBelow, PGDTraining, Standard, TrainingMethod
from imaseg.objectives import DiceCE
from imaseg.training import FreeTraining, OneOf, adversarial_weights

GAMMA = 0.05


def _network(*, norm=False):
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*parts, nn.Conv2d(6, 2, 3, padding=1)).train()


def _batch():
    image = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    label = (image[:, 0] > 0.3).long()
    return image, label, ["a", "b", "c"]


def _method(name):
    loss, within = DiceCE(), L2(1.0)
    return {
        "standard": lambda: Standard(loss),
        "pgd": lambda: PGDTraining(loss, within, steps=2),
        "free": lambda: FreeTraining(loss, within),
        "trades": lambda: TRADES(loss, within, steps=2),
        "ima": lambda: IMA(loss, within, steps=2, criterion=DiceBelow(0.1)),
        "one-of": lambda: OneOf([PGDTraining(loss, within, steps=2), PGDTraining(loss, L2(2.0), steps=2)]),
    }[name]()


def _gradients(model, loss):
    return torch.autograd.grad(loss, [*model.parameters()])


@pytest.mark.parametrize("name", ["standard", "pgd", "free", "trades", "ima", "one-of"])
def test_the_gradient_is_that_of_a_copy_at_the_moved_weights(name):
    model, (image, label, ids) = _network(), _batch()
    loss_of = _method(name).loss_of(model, image, label, ids)
    plain = _gradients(model, loss_of(model))
    moved = deepcopy(model)
    with torch.no_grad():
        for weight, gradient in zip(moved.parameters(), plain, strict=True):
            if weight.ndim > 1:  # biases stay
                weight += GAMMA * weight.norm() * gradient / gradient.norm()
    wanted = loss_of(moved)
    loss = adversarial_weights(_method(name), model, image, label, ids, gamma=GAMMA)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert loss > loss_of(model)
    for found, one in zip(_gradients(model, loss), _gradients(moved, wanted), strict=True):
        torch.testing.assert_close(found, one, rtol=1e-3, atol=1e-6)


def test_a_batch_is_searched_once():
    model, (image, label, ids) = _network(), _batch()
    method, other = _method("ima"), _method("ima")
    adversarial_weights(method, model, image, label, ids)
    other(model, image, label, ids)
    for one in (method, other):
        one.end_epoch()
    assert method.margins == other.margins
    assert method.table.counts == other.table.counts == {key: (1, other.table.counts[key][1]) for key in ids}


def test_weights_stay_and_statistics_move_once():
    model, (image, label, ids) = _network(norm=True), _batch()
    before, other = deepcopy(model.state_dict()), deepcopy(model)
    adversarial_weights(Standard(DiceCE()), model, image, label, ids, gamma=1e-6).backward()
    Standard(DiceCE())(other, image, label, ids)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], rtol=1e-4, atol=1e-6)
    assert int(model.state_dict()["1.num_batches_tracked"]) == int(before["1.num_batches_tracked"]) + 1
    assert all(weight.grad is not None for weight in model.parameters())


def test_frozen_and_unused_weights_stay_where_they_are():
    model, (image, label, ids) = _network(), _batch()
    model[0].requires_grad_(False)
    model.unused = nn.Linear(2, 2)
    model.forward = lambda image: model[3](model[2](model[1](model[0](image))))
    adversarial_weights(Standard(DiceCE()), model, image, label, ids).backward()
    assert model[0].weight.grad is None
    assert model.unused.weight.grad is None
    assert model[3].weight.grad.abs().sum() > 0


class _Others(TrainingMethod):
    def __call__(self, model, image, label, ids=None, *, inside=None):
        return self._mean_loss(model, image, label)


class _Nothing(TrainingMethod):
    pass


def test_methods_of_others_need_what_is_asked_of_them():
    model, (image, label, ids) = _network(), _batch()
    with pytest.raises(ValueError, match=r"_Others must define loss_of to go with adversarial weights"):
        adversarial_weights(_Others(DiceCE()), model, image, label, ids)
    with pytest.raises(ValueError, match=r"gamma must be > 0, got 0"):
        adversarial_weights(Standard(DiceCE()), model, image, label, ids, gamma=0)
    with pytest.raises(NotImplementedError, match=r"_Nothing must define loss_of or __call__"):
        _Nothing(DiceCE())(model, image, label, ids)
    assert OneOf([_Others(DiceCE())])(model, image, label, ids) == _Others(DiceCE())(model, image, label)
