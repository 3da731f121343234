"""Sizes of a change in every unit, against numpy."""

from __future__ import annotations

import numpy as np
import torch

from imaseg.attacks.result import measure


def test_sizes_are_those_of_each_sample_over_all_its_values():
    generator = torch.Generator().manual_seed(0)
    image, change = 7 * torch.randn(2, 3, 2, 4, 5, 6, generator=generator)
    found = measure(change, image)
    for i in range(len(image)):
        x, d = image[i].numpy().ravel(), change[i].numpy().ravel()
        expected = {
            "l2": np.sqrt((d**2).sum()),
            "rms": np.sqrt((d**2).mean()),
            "linf": np.abs(d).max(),
            "range": np.abs(d).max() / (x.max() - x.min()),
        }
        np.testing.assert_allclose([found[unit][i].item() for unit in expected], [*expected.values()], rtol=1e-5)
