"""Auto-PGD against a slow, literal one of a single sample; its schedule against the published recursion."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import APGD, L2, Linf
from imaseg.attacks import Attack
from imaseg.attacks.apgd import checkpoints
from imaseg.objectives import CrossEntropy
from tests.attacks.models import LinearPerVoxel, trained_model


def _published_checkpoints(steps):
    """p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06); w_j = ceil(p_j n)."""
    p = [0.0, 0.22]
    while True:
        following = p[-1] + max(p[-1] - p[-2] - 0.03, 0.06)
        if following > 1 + 1e-9:
            return sorted({math.ceil(place * steps - 1e-9) for place in p[1:]})
        p.append(following)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 33, 50, 100, 120, 300, 1000])
def test_checkpoints_follow_the_published_recursion(steps):
    assert checkpoints(steps) == _published_checkpoints(steps)


def _project(delta, eps, kind):
    return delta.clamp(-eps, eps) if kind is Linf else delta * min(1.0, eps / max(float(delta.norm()), 1e-30))


def _auto_pgd(f, start, eps, steps, kind):
    """Algorithm 1 of Croce & Hein (2020) for one sample; points visited, the best one, and where the step was halved.

    As in the authors' code, checkpoint k sees f(x_k), and the step after it leaves from the best point.
    """

    def gradient_step(x, gradient, eta):
        direction = gradient.sign() if kind is Linf else gradient / gradient.norm()
        return _project(x + eta * direction, eps, kind)

    x, eta = _project(start, eps, kind), 2 * eps
    value, gradient = f(x)
    points, values, halvings = [x], [value], []
    best = (value, x, gradient)
    old, last_check, last_best, last_halved = x, 0, value, False
    for k in range(steps):
        if k in _published_checkpoints(steps):
            rises = sum(values[i + 1] > values[i] for i in range(last_check, k))
            condition_1 = rises < 0.75 * (k - last_check)
            condition_2 = not last_halved and best[0] == last_best
            last_check, last_best, last_halved = k, best[0], condition_1 or condition_2
            if last_halved:
                eta = eta / 2
                halvings.append(k)
                _, x, gradient = best
        z = gradient_step(x, gradient, eta)
        following = z if k == 0 else _project(x + 0.75 * (z - x) + 0.25 * (x - old), eps, kind)
        x, old = following, x
        value, gradient = f(x)
        points.append(x)
        values.append(value)
        if value > best[0] and k < steps - 1:
            best = (value, x, gradient)
    return points, best, halvings


def _never(logits, label, clean):
    return torch.zeros(len(logits), dtype=torch.bool)


@pytest.fixture(scope="module")
def trained():
    model, image, label = trained_model()
    return model.double(), image.double(), label


def _cross_entropy_of(model, image, label):
    """Value and gradient of one sample's cross-entropy at a change of it."""

    def f(delta):
        leaf = delta.clone().requires_grad_()
        value = cross_entropy(model((image + leaf)[None]), label[None])
        (gradient,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), gradient

    return f


def _visited(attack, model, image, label, start):
    """The result, and the changes of the image at which the model was called, clean one left out."""
    seen = []
    handle = model.register_forward_hook(lambda _, given, __: seen.append((given[0] - image).detach()))
    result = attack(model, image, label, start=start, criterion=_never)
    handle.remove()
    return result, seen[1:]


def _start(image, seed=1):
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=image.dtype)


@pytest.mark.parametrize("steps", [7, 50])
@pytest.mark.parametrize(("kind", "eps"), [(L2, 0.6), (L2, 1.5), (Linf, 0.05), (Linf, 0.3)])
def test_every_point_equals_the_literal_algorithm_s(trained, kind, eps, steps):
    model, image, label = trained
    start = _start(image)
    attack = APGD(kind(eps), steps=steps, objective=CrossEntropy())
    result, seen = _visited(attack, model, image, label, start)
    assert len(seen) == steps + 1
    assert result.backward_calls == steps
    halvings = []
    for i in range(len(image)):
        points, _, halved = _auto_pgd(_cross_entropy_of(model, image[i], label[i]), start[i], eps, steps, kind)
        halvings.append(tuple(halved))
        for found, expected in zip(seen, points, strict=True):
            torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-7)
    if steps == 50:
        assert len(set(halvings)) > 1, "the case is meant to halve the steps of some samples only"
        assert any(halvings)


@pytest.mark.parametrize(("kind", "eps"), [(L2, 1.0), (Linf, 0.1)])
def test_larger_sets_are_searched_first_for_30_30_and_40_percent_of_the_steps(trained, kind, eps):
    model, image, label = trained
    start = kind(eps).project(image, _start(image))
    attack = APGD(kind(eps), steps=30, objective=CrossEntropy(), larger_first=True)
    result, seen = _visited(attack, model, image, label, start)
    assert len(seen) == 31
    for i in range(len(image)):
        f, x, expected = _cross_entropy_of(model, image[i], label[i]), start[i], []
        for steps, stretch in ((9, 2.0), (9, 1.5), (12, 1.0)):
            points, (_, x, _), _ = _auto_pgd(f, x, stretch * eps, steps, kind)
            expected += points[:steps]
        for found, wanted in zip(seen, [*expected, points[-1]], strict=True):
            torch.testing.assert_close(found[i], wanted, rtol=0, atol=1e-6)
    sizes = torch.stack([kind(1.0).size(point) for point in seen])
    assert (sizes[:9].amax(0) > 1.5 * eps).all()
    assert (sizes[18:] <= eps * (1 + 1e-9)).all()
    assert (result.size <= eps * (1 + 1e-9)).all()


@pytest.mark.parametrize(("kind", "dual"), [(L2, 5.0), (Linf, 7.0)])
def test_points_of_larger_sets_guide_and_never_count(kind, dual):
    """At 1.5 and 2 times eps every sample breaks, at eps none does."""
    model = LinearPerVoxel(torch.tensor([3.0, -4.0]), bias=0.5)
    image = torch.randn(6, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    gap = model.gap(image).detach().flatten()
    label = (gap > 0).long().view(-1, 1, 1)
    budget = kind(gap.abs() / dual * 0.99)
    result = APGD(budget, steps=20, objective=CrossEntropy(), larger_first=True)(
        model, image, label, criterion=lambda logits, label, _: (logits.argmax(1) != label).flatten(1).any(1)
    )
    assert not result.success.any()
    assert torch.equal(result.dice, result.dice_clean)
    assert (result.size <= budget.eps * (1 + 1e-6)).all()
    assert result.backward_calls == 20


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 101])
def test_stages_use_up_the_steps_whatever_their_number(steps):
    model, image, label = trained_model()
    result = APGD(L2(0.5), steps=steps, larger_first=True)(model, image[:1], label[:1], criterion=_never)
    assert (result.backward_calls, result.forward_calls) == (steps, steps + 2)


def test_it_is_stronger_than_chance_and_restarts_never_weaken_it():
    model, image, label = trained_model()
    once, thrice = (APGD(L2(1.5), steps=10, restarts=n)(model, image, label).foreground_dice for n in (1, 3))
    assert (thrice <= once).all()
    clean = APGD(L2(0.0), steps=1)(model, image, label).foreground_dice
    assert once.mean() < clean.mean() - 0.1


@pytest.mark.parametrize("name", ["ifgsm", "pgd", "apgd", "strong", "square"])
@pytest.mark.parametrize("kind", [L2, Linf])
def test_samples_that_drop_out_of_the_batch_leave_the_others_as_they_are(trained, name, kind):
    """Kept points, scores and momentum of one sample must not share memory with what another one overwrites."""
    model, image, label = trained
    radii = torch.tensor([90.0, 0.8, 1.0, 1.2, 90.0, 0.6, 0.5, 0.9]) * (0.1 if kind is Linf else 1.0)
    attack = Attack.build({"name": name, "steps": 12}, kind(radii), objective=CrossEntropy())
    result = attack(model, image, label)
    assert 0 < (result.foreground_dice == 0).sum() < 8
    for i in range(8):
        recomputed = cross_entropy(model(result.image[i, None]), label[i, None]).detach()
        torch.testing.assert_close(result.objective[i], recomputed)
        alone = attack.on(kind(radii[i]))(model, image[i, None], label[i, None])
        torch.testing.assert_close(alone.image[0], result.image[i], rtol=0, atol=1e-6)
