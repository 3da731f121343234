"""Models that hide their gradients, and the numbers of a result by which an auditor notices."""

from __future__ import annotations

import pytest
import torch

from imaseg import L2, PGD, Linf, MinimumNorm, ShrinkingSetPGD, Square
from imaseg.objectives import CrossEntropy
from tests.attacks.models import trained_model

BUDGETS = [(L2, 3.0), (Linf, 0.25)]


@pytest.fixture(scope="module")
def trained():
    return trained_model()


def _honest(net):
    return net


def _saturated(net):
    return lambda x: 1000 * net(x)


def _rounded_logits(net):
    return lambda x: (4 * net(x)).round() / 4


def _rounded_input(net):
    return lambda x: net((8 * x).round() / 8)


def _shattered(net):
    """A ripple too small to change a decision and too steep to leave anything of the gradient."""
    return lambda x: net(x + 0.02 * torch.sin(3000 * x))


def _undefined(net):
    """The square root of 0 in the first rows: a finite output with an infinite slope."""
    return lambda x: net(x) + 0 * (x[:, :, :4] * 0).sqrt().sum()


def _symptoms(model, image, label, kind, eps):
    """What an audit sees: Dice by gradients and by scores alone, and how much of the gradients was unusable."""
    white = PGD(kind(eps), steps=20, objective=CrossEntropy())(model, image, label)
    black = Square(kind(eps), steps=150)(model, image, label)
    return {
        "clean": white.foreground_dice_clean.mean().item(),
        "white": white.foreground_dice.mean().item(),
        "black": black.foreground_dice.mean().item(),
        "zero": white.zero_gradients.mean().item(),
        "nonfinite": white.nonfinite_gradients.mean().item(),
    }


@pytest.mark.parametrize(("kind", "eps"), BUDGETS)
def test_an_honest_model_raises_no_suspicion(trained, kind, eps):
    net, image, label = trained
    found = _symptoms(_honest(net), image, label, kind, eps)
    assert found["zero"] < 0.02
    assert found["nonfinite"] == 0
    assert found["white"] < found["clean"] - 0.1


@pytest.mark.parametrize(("kind", "eps"), BUDGETS)
def test_saturated_logits_show_as_zero_gradients(trained, kind, eps):
    net, image, label = trained
    found = _symptoms(_saturated(net), image, label, kind, eps)
    honest = _symptoms(_honest(net), image, label, kind, eps)
    assert found["zero"] > 0.5
    assert found["white"] > honest["white"] + 0.02


@pytest.mark.parametrize(("kind", "eps"), BUDGETS)
@pytest.mark.parametrize("masked", [_rounded_logits, _rounded_input])
def test_rounding_shows_as_zero_gradients_and_as_a_black_box_that_wins(trained, kind, eps, masked):
    net, image, label = trained
    found = _symptoms(masked(net), image, label, kind, eps)
    assert found["zero"] == 1
    assert found["black"] < found["white"] - 0.05


@pytest.mark.parametrize(("kind", "eps"), BUDGETS)
def test_shattered_gradients_show_as_a_black_box_that_wins(trained, kind, eps):
    """They are neither zero nor undefined: only the comparison tells."""
    net, image, label = trained
    found = _symptoms(_shattered(net), image, label, kind, eps)
    honest = _symptoms(_honest(net), image, label, kind, eps)
    assert abs(found["clean"] - honest["clean"]) < 0.02
    assert found["zero"] < 0.02
    assert found["nonfinite"] == 0
    assert found["white"] > honest["white"] + 0.1
    assert found["black"] < found["white"] - 0.05
    assert abs(found["black"] - honest["black"]) < 0.1, "scores alone do not see the ripple"


@pytest.mark.parametrize(("kind", "eps"), BUDGETS)
def test_undefined_gradients_are_counted_where_they_are(trained, kind, eps):
    net, image, label = trained
    found = _symptoms(_undefined(net), image, label, kind, eps)
    assert found["nonfinite"] == pytest.approx(4 / 16)
    assert found["zero"] < 0.02
    assert found["white"] < found["clean"] - 0.05, "the rest of the gradient still serves"


@pytest.mark.parametrize(("kind", "eps"), BUDGETS)
def test_gradients_that_come_and_go_are_counted_by_sample(trained, kind, eps):
    """A model that is saturated for part of the batch only."""
    net, image, label = trained
    scale = torch.tensor([1.0] * 4 + [0.0] * 4).view(8, 1, 1, 1)

    def half(x):
        return net(x) * scale[: len(x)] + net(x).detach() * (1 - scale[: len(x)])

    result = PGD(kind(eps), steps=5, objective=CrossEntropy())(half, image, label, criterion=_never)
    assert result.zero_gradients[:4].max() < 0.02
    assert result.zero_gradients[4:].min() == 1


def _never(logits, label, clean):
    return torch.zeros(len(logits), dtype=torch.bool)


def test_searches_that_bring_logits_to_scale_are_not_deceived(trained):
    net, image, label = trained
    for attack in (ShrinkingSetPGD(L2(3.0), steps=20), MinimumNorm(L2(9.0), steps=40)):
        honest, found = attack(net, image, label), attack(_saturated(net), image, label)
        assert found.zero_gradients.mean() < honest.zero_gradients.mean() + 0.05
        # Rounding decides where the two part ways: on another processor the means lie up to 0.055 apart.
        assert found.foreground_dice.mean() <= honest.foreground_dice.mean() + 0.1
        assert (found.success == honest.success).all()
