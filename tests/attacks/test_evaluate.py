"""Gradients through half precision have the length of those in full precision, sample by sample."""

from __future__ import annotations

import torch

from imaseg import L2
from imaseg.attacks.evaluate import Evaluator
from imaseg.objectives import CrossEntropy
from tests.attacks.models import trained_model


def test_scaling_for_half_precision_is_undone():
    model, image, label = trained_model()
    label[:4, 2:] = -1  # other means, other scales

    def gradient():
        see = Evaluator(model, image, label, L2(1.0), ignore_index=None)
        zeros = torch.zeros_like(image)
        return see.with_gradient(zeros, torch.arange(8), CrossEntropy(), 1.0, lambda _: True).gradient

    full = gradient().flatten(1).norm(dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gradient().flatten(1).norm(dim=1)
    torch.testing.assert_close(half, full, rtol=0.1, atol=0)
