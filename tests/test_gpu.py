"""The same results on a CUDA device as on the CPU."""

from __future__ import annotations

import pytest
import torch

from imaseg import IMA, L2, PGD, DiceBelow, Linf, SampleMargin
from tests.attacks.models import trained_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]


@pytest.mark.parametrize("perturbation", [L2(0.2, unit="rms"), Linf(0.2), L2(torch.linspace(0.5, 4, 8))])
def test_attacks_agree_with_the_cpu(perturbation):
    model, image, label = trained_model()
    here = PGD(perturbation, steps=10)(model, image, label)
    there = PGD(perturbation, steps=10)(model.cuda(), image.cuda(), label.cuda())
    torch.testing.assert_close(there.foreground_dice.cpu(), here.foreground_dice, atol=0.05, rtol=0)


def test_margins_and_training_run_there():
    model, image, label = trained_model()
    here = SampleMargin(L2(9.0), criterion=DiceBelow(0.5))(model, image, label).margin
    model, image, label = model.cuda(), image.cuda(), label.cuda()
    there = SampleMargin(L2(9.0), criterion=DiceBelow(0.5))(model, image, label).margin.cpu()
    torch.testing.assert_close(there, here, rtol=0.1, atol=0)
    method = IMA(torch.nn.CrossEntropyLoss(), L2(4.0), steps=3)
    with torch.autocast("cuda"):
        assert method(model, image, label, list("abcdefgh")).isfinite()
    method.end_epoch()
    assert len(method.margins) == 8
