"""The masks of `benchmarks/masks.py` hide gradients and leave decisions nearly alone."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "masks.py"
MASKS = runpy.run_path(str(FILE))["MASKS"]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.__name__)
def test_a_mask_keeps_most_decisions(mask):
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool3d(3, 1, 1), nn.Conv3d(1, 3, 3, padding=1))
    image = nn.functional.avg_pool3d(3 * torch.randn(1, 1, 20, 18, 8), 5, 1, 2)
    with torch.no_grad():
        plain, hidden = net(image), mask(net, image)
    assert hidden.shape == plain.shape
    assert (hidden.argmax(1) == plain.argmax(1)).float().mean() > 0.8


def test_there_are_twelve_of_them():
    assert len({mask.__name__ for mask in MASKS}) == 12
