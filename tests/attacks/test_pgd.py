"""PGD and I-FGSM against a literal loop on a model whose gradient is the same everywhere."""

from __future__ import annotations

import pytest
import torch

from imaseg import IFGSM, L2, PGD, Linf
from imaseg.objectives import LogitMargin
from tests.attacks.models import LinearPerVoxel

WEIGHT = torch.tensor([3.0, -4.0], dtype=torch.float64)
STEPS = 6


def _never(logits, label, clean):
    return torch.zeros(len(logits), dtype=torch.bool)


def _case():
    """Two samples of one voxel, labelled 0: the margin of class 1 rises along the weight, as fast everywhere."""
    image = torch.tensor([[-1.0, 1.0], [-5.0, 2.0]], dtype=torch.float64).view(2, 2, 1, 1)
    return LinearPerVoxel(WEIGHT), image, torch.zeros(2, 1, 1, dtype=torch.long)


class _Watched(LogitMargin):
    """Notes how far the search says it has come."""

    def __init__(self):
        super().__init__(cap=None)
        self.seen = []

    def _loss(self, logits, target, progress):
        self.seen.append(progress)
        return super()._loss(logits, target, progress)


def _visited(attack, start=None):
    """Changes at which the model was called, (restarts * (steps + 1), B, 2); the clean image is left out."""
    model, image, label = _case()
    seen = []
    model.register_forward_hook(lambda _, given, __: seen.append((given[0] - image).detach().flatten(1)))
    attack(model, image, label, start=start, criterion=_never)
    return torch.stack(seen[1:])


def _literal(kind, start, radii, step_size, decay):
    points = [start]
    for t in range(1, STEPS + 1):
        moved = []
        for one, eps in zip(points[-1], radii, strict=True):
            steepest = WEIGHT.sign() if kind is Linf else WEIGHT / WEIGHT.norm()
            to = one + step_size * eps / t**decay * steepest
            moved.append(to.clamp(-eps, eps) if kind is Linf else to * min(1.0, float(eps / to.norm())))
        points.append(torch.stack(moved))
    return torch.stack(points)


@pytest.mark.parametrize("kind", [L2, Linf])
@pytest.mark.parametrize(("step_size", "decay"), [(0.1, 0.5), (0.1, 0.0), (0.2, 1.0), (2.0, 0.5)])
def test_every_iterate_is_that_of_the_literal_loop(kind, step_size, decay):
    radii = torch.tensor([1.0, 3.0], dtype=torch.float64)
    settings = {"steps": STEPS, "objective": LogitMargin(cap=None), "step_size": step_size, "decay": decay}
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    found, expected = _visited(IFGSM(kind(radii), **settings)), _literal(kind, zeros, radii, step_size, decay)
    torch.testing.assert_close(found, expected)
    start = torch.tensor([[0.2, 0.3], [-1.0, 0.5]], dtype=torch.float64)
    found = _visited(PGD(kind(radii), **settings), start=start.view(2, 2, 1, 1))
    torch.testing.assert_close(found, _literal(kind, start, radii, step_size, decay))


def test_lengths_are_the_sums_of_one_over_the_root_of_the_step():
    found = _visited(IFGSM(L2(10.0), steps=STEPS, objective=LogitMargin(cap=None), step_size=0.1))
    lengths = [sum(1 / t**0.5 for t in range(1, made + 1)) for made in range(STEPS + 1)]
    torch.testing.assert_close(found[:, 0].norm(dim=1), torch.tensor(lengths, dtype=torch.float64))


def test_the_objective_is_told_how_far_the_search_has_come():
    objective = _Watched()
    _visited(PGD(L2(1.0), steps=4, objective=objective))
    assert objective.seen[1:6] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("kind", [IFGSM, PGD])
def test_restarts_after_the_first_leave_from_random_points(kind):
    start = torch.full((2, 2, 1, 1), 0.1, dtype=torch.float64)
    first, second, third = _visited(kind(L2(1.0), steps=1, restarts=3), start=start)[::2]
    torch.testing.assert_close(first, start.flatten(1))
    assert not torch.allclose(second, first)
    assert not torch.allclose(second, third)
    assert (second != 0).all()
