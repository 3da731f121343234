"""Bisection on models that break beyond a known share of the segment."""

from __future__ import annotations

import math

import pytest
import torch

from imaseg import L2, Dice
from imaseg.attacks.search import Search
from imaseg.margins.bisection import bisect

EDGES = torch.tensor([0.07, 0.3, 0.55, 0.8, 0.99])
GOOD, BAD = 1.0, 5.0


def _search():
    """One voxel, broken where its value exceeds the sample's own edge between 1 and 5."""

    def until(logits, label, clean):
        return logits[:, 1, 0] > GOOD + EDGES[label[:, 0]] * (BAD - GOOD)

    def model(x):
        return torch.cat([0 * x, x, *[0 * x] * 3], 1)

    # The label says which sample it is, so that a criterion shown another sample's label is noticed.
    return Search(model, torch.zeros(5, 1, 1), torch.arange(5).view(5, 1), L2(9.0), Dice(), criterion=until)


@pytest.mark.parametrize("iterations", [0, 1, 2, 5, 12])
def test_the_bad_end_is_the_first_bad_point_of_the_grid(iterations):
    search, index = _search(), torch.arange(5)
    good, bad = torch.full((5, 1, 1), GOOD), torch.full((5, 1, 1), BAD)
    before = search.forward_calls
    found = bisect(search, good, bad, index, iterations)
    shares = [math.ceil(edge * 2**iterations) / 2**iterations for edge in EDGES.tolist()]
    torch.testing.assert_close((found.flatten() - GOOD) / (BAD - GOOD), torch.tensor(shares))
    assert search.forward_calls - before == iterations


def test_part_of_a_batch_is_judged_as_itself():
    search, index = _search(), torch.tensor([3, 0])
    found = bisect(search, torch.full((2, 1, 1), GOOD), torch.full((2, 1, 1), BAD), index, 12)
    torch.testing.assert_close((found.flatten() - GOOD) / (BAD - GOOD), EDGES[index], rtol=0, atol=2**-12)
