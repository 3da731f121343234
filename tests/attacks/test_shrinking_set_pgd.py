"""`strong`: no weaker than what it replaces, its stages against a literal loop, and saturated logits."""

from __future__ import annotations

import copy

import pytest
import torch

from imaseg import APGD, FGSM, L2, PGD, Linf, ShrinkingSetPGD, UniformNoise, VoxelsFlipped
from imaseg.objectives import CrossEntropy, TemperedDice
from tests.attacks.models import LinearConvolution, LinearPerVoxel, trained_model

BUDGETS = [(L2, 1.0), (L2, 2.0), (L2, 3.0), (Linf, 0.14), (Linf, 0.21), (Linf, 0.3)]


@pytest.fixture(scope="module")
def trained():
    return trained_model()


def _never(logits, label, clean):
    return torch.zeros(len(logits), dtype=torch.bool)


def test_noise_is_weaker_than_fgsm_than_pgd_than_strong(trained):
    """Mean Dice of the batch at 40 gradient calls each; single budgets may differ by 0.015."""
    model, image, label = trained
    rows = []
    for kind, eps in BUDGETS:
        budget = kind(eps)
        strong = ShrinkingSetPGD(budget, steps=40)
        attacks = (UniformNoise(budget, steps=10), FGSM(budget), PGD(budget, steps=40), strong)
        results = [attack(model, image, label) for attack in attacks]
        assert results[2].backward_calls == results[3].backward_calls == 40
        rows.append([result.foreground_dice.mean().item() for result in results])
        noise, fgsm, pgd, strong = rows[-1]
        assert strong <= min(pgd, fgsm) + 0.015, (budget, rows[-1])
        assert pgd < fgsm < noise, (budget, rows[-1])
    noise, fgsm, pgd, strong = torch.tensor(rows).mean(0).tolist()
    assert strong <= pgd <= fgsm - 0.05
    assert fgsm <= noise - 0.05


@pytest.mark.parametrize(("kind", "eps"), [(L2, 1.0), (Linf, 0.1)])
@pytest.mark.parametrize(("steps", "lengths"), [(20, (3, 17)), (7, (1, 6)), (2, (0, 2))])
def test_every_point_equals_that_of_a_literal_loop(trained, kind, eps, steps, lengths):
    """15 % at 2 eps, 85 % at eps, steps from 6 and 4 radii falling linearly."""
    model, image, label = trained
    model, image = copy.deepcopy(model).double(), image.double()
    start = kind(eps).project(image, torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).double())
    seen = []
    handle = model.register_forward_hook(lambda _, given, __: seen.append((given[0] - image).detach()))
    result = ShrinkingSetPGD(kind(eps), steps=steps, objective=CrossEntropy())(
        model, image, label, start=start, criterion=_never
    )
    handle.remove()
    assert (result.backward_calls, result.forward_calls) == (steps, steps + 2)
    assert (result.size <= eps * (1 + 1e-9)).all()

    delta, points = start, []
    for length, stretch, longest in zip(lengths, (2.0, 1.0), (6, 4), strict=True):
        radius = stretch * eps
        delta, velocity = _onto(delta, radius, kind) if length else delta, torch.zeros_like(delta)
        for k in range(length):
            points.append(delta)
            leaf = delta.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(CrossEntropy()(model(image + leaf), label).sum(), leaf)
            norms = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            velocity = velocity / 2 + gradient / norms
            direction = (
                velocity.sign() if kind is Linf else velocity / velocity.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            )
            delta = _onto(delta + longest * radius * (1 - k / length) * direction, radius, kind)
    for found, expected in zip(seen[1:], [*points, delta], strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def _onto(delta, radius, kind):
    if kind is Linf:
        return delta.clamp(-radius, radius)
    norms = delta.flatten(1).norm(dim=1).clamp(min=radius).view(-1, 1, 1, 1)
    return delta * radius / norms


def test_restarts_add_their_steps_and_never_weaken(trained):
    model, image, label = trained
    once, thrice = (ShrinkingSetPGD(L2(2.0), steps=6, restarts=n)(model, image, label) for n in (1, 3))
    assert (once.backward_calls, thrice.backward_calls) == (6, 18)
    assert thrice.forward_calls <= 3 * 7 + 1
    assert (thrice.foreground_dice <= once.foreground_dice).all()
    with torch.no_grad():  # stated as it is at the end of the search, whenever the point was found
        torch.testing.assert_close(once.objective, TemperedDice()(model(once.image), label))


@pytest.mark.parametrize("attack", [PGD, APGD, ShrinkingSetPGD])
@pytest.mark.parametrize(("kind", "order"), [(L2, 2.0), (Linf, 1.0)])
@pytest.mark.parametrize("shared", [False, True], ids=["per voxel", "shared kernel"])
def test_linear_models_break_just_above_their_margin_and_not_just_below(attack, kind, order, shared):
    """One labelled voxel per sample, the others ignored: its margin is |gap| over the dual norm of its kernel."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(6, 2, 7, 6, generator=generator)
    if shared:
        model = LinearConvolution(torch.randn(1, 2, 3, 3, generator=generator), bias=0.3)
        dual = model.dual(image, order)[0, 3, 2]
    else:
        model = LinearPerVoxel(torch.tensor([3.0, -4.0]), bias=0.5)
        dual = 5.0 if kind is L2 else 7.0
    gap = model.gap(image).detach()[:, 3, 2]
    label = torch.full((6, 7, 6), -1)
    label[:, 3, 2] = (gap > 0).long()
    for factor, broken in ((1.01, True), (0.99, False)):
        budget = kind(gap.abs() / dual * factor)
        result = attack(budget, steps=20)(model, image, label, criterion=VoxelsFlipped(0.0))
        assert (result.success == broken).all()


def test_logits_times_1000_do_not_protect(trained):
    """Soft scores saturate and their gradient vanishes; brought to a common scale they do not."""
    model, image, label = trained

    def saturated(x):
        return 1000 * model(x)

    for budget in (L2(2.0), Linf(0.21)):
        usual = PGD(budget, steps=20)(model, image, label)
        found = ShrinkingSetPGD(budget, steps=20)(saturated, image, label)
        assert found.foreground_dice.mean() <= usual.foreground_dice.mean()
        assert found.zero_gradients.max() < 0.05
        blind = PGD(budget, steps=20, objective=CrossEntropy())(saturated, image, label)
        assert blind.zero_gradients.mean() > 0.5
        assert blind.foreground_dice.mean() > found.foreground_dice.mean() + 0.02


def test_momentum_is_a_share():
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got 1.0. Use 0.5."):
        ShrinkingSetPGD(L2(1.0), momentum=1.0)


@pytest.mark.parametrize("factor", [0.001, 0.1, 10.0, 1000.0])
def test_the_scale_of_the_logits_changes_nothing(trained, factor):
    """Every decision stays, so must the attack: the same points, and so the same Dice, in double precision."""
    model, image, label = trained
    model, image = copy.deepcopy(model).double(), image.double()

    def scaled(x):
        return factor * model(x)

    for budget in (L2(2.0), Linf(0.21)):
        usual = ShrinkingSetPGD(budget, steps=20)(model, image, label)
        found = ShrinkingSetPGD(budget, steps=20)(scaled, image, label)
        torch.testing.assert_close(found.foreground_dice, usual.foreground_dice, rtol=0, atol=1e-3)
        torch.testing.assert_close(found.objective, usual.objective, rtol=0, atol=1e-3)
        assert found.zero_gradients.max() < 0.05


def test_more_steps_do_more_damage(trained):
    """Stages depend on the number of steps, so single budgets may differ; in the mean longer searches go further."""
    model, image, label = trained
    rows = [
        [
            ShrinkingSetPGD(kind(eps), steps=steps)(model, image, label).foreground_dice.mean().item()
            for steps in (5, 20, 80)
        ]
        for kind, eps in BUDGETS
    ]
    few, some, many = torch.tensor(rows).mean(0).tolist()
    assert many <= some <= few
    assert many < few - 0.01


def test_comes_nearer_to_the_known_optimum_than_pgd():
    """The image is the logit gap itself: flipping a voxel costs its square, so that the lowest Dice can be counted."""
    torch.manual_seed(0)
    image = torch.randn(4, 1, 12, 12) + 0.3
    model, label = LinearPerVoxel(torch.tensor([1.0])), (image[:, 0] > 0).long()
    eps = 3.0
    lowest = torch.tensor([_lowest_dice(one[0], eps) for one in image])
    strong, pgd = (attack(L2(eps), steps=20)(model, image, label).foreground_dice for attack in (ShrinkingSetPGD, PGD))
    assert (strong >= lowest - 1e-6).all()
    assert (strong - lowest).mean() < (pgd - lowest).mean()


def _lowest_dice(gap, eps):
    """Over all numbers of flipped foreground and background voxels, the cheapest of each first."""
    inside, outside = (gap[where].square().sort().values.cumsum(0).tolist() for where in (gap > 0, gap <= 0))
    return min(
        2 * (len(inside) - lost) / (2 * len(inside) - lost + painted)
        for lost in range(len(inside) + 1)
        for painted in range(len(outside) + 1)
        if ([0.0, *inside][lost] + [0.0, *outside][painted]) <= eps**2
    )
