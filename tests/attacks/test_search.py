"""Which of the points a search is shown it keeps, against the rule written out."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from imaseg import Linf
from imaseg.attacks.search import Search
from imaseg.objectives import Objective

# Logits of class 1 at four voxels that all are of class 1: as many are right as are positive, and the objective is
# the largest magnitude. Which voxel is wrong tells points of equal Dice and equal objective apart.
CLEAN = (1.0, 1.0, 1.0, 1.0)
POINTS = (
    (-3.0, 1.0, 1.0, 1.0),
    (1.0, -3.0, 1.0, 1.0),
    (1.0, 1.0, -2.0, 1.0),
    (9.0, 9.0, 9.0, 9.0),
    (-0.5, -0.5, 0.5, 0.5),
)


def _as_written(image):
    return torch.cat([torch.zeros_like(image), image], 1)


class _Largest(Objective):
    def __init__(self, *, targeted):
        super().__init__()
        self.targeted = targeted

    def _loss(self, logits, target, progress):
        return logits.abs().amax((1, 2))


def _worse(point, best, *, targeted):
    right, largest = (lambda p: sum(z > 0 for z in p)), (lambda p: max(map(abs, p)))
    if not targeted and right(point) != right(best):
        return right(point) < right(best)
    return largest(point) > largest(best)


@pytest.mark.parametrize("targeted", [False, True])
def test_lower_dice_counts_then_a_higher_objective_then_the_first(targeted):
    orders = list(permutations(POINTS))
    image = torch.tensor([CLEAN] * len(orders)).unsqueeze(1)
    label = torch.ones(len(orders), 4, dtype=torch.long)
    search = Search(_as_written, image, label, Linf(20.0), _Largest(targeted=targeted))
    expected = [CLEAN] * len(orders)
    for place in range(len(POINTS)):
        shown = [order[place] for order in orders]
        search.score(torch.tensor(shown).unsqueeze(1) - image)
        pairs = zip(shown, expected, strict=True)
        expected = [point if _worse(point, best, targeted=targeted) else best for point, best in pairs]
        assert torch.equal((image + search.best)[:, 0], torch.tensor(expected))
    assert torch.equal(search.result().image[:, 0], torch.tensor(expected))


def test_a_search_that_goes_on_from_another_leaves_that_one_as_it_was():
    def until(logits, label, clean):
        return (logits[:, 1] <= 0).any(1)

    image, label = torch.tensor([CLEAN] * 2).unsqueeze(1), torch.ones(2, 4, dtype=torch.long)
    objective = _Largest(targeted=False)
    known = Search(_as_written, image, label, Linf(2.0), objective, criterion=until)
    known.score(torch.full_like(image, 0.5))
    before = {name: value.clone() for name, value in vars(known).items() if isinstance(value, torch.Tensor)}
    larger = Search(_as_written, image, label, Linf(20.0), objective, criterion=until, previous=known)
    assert torch.equal(larger.last_good, known.last_good)
    for size in (1.0, -9.0):
        larger.score(torch.full_like(image, size))
    assert larger.success.all()
    assert (larger.last_good == 1.0).all()
    assert all(torch.equal(getattr(known, name), value) for name, value in before.items())
