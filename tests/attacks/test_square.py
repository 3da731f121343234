"""Square: windows as announced, uphill only, no gradients, and where that helps."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from imaseg import L2, PGD, Linf, Square
from imaseg.attacks.search import Search
from imaseg.objectives import CrossEntropy
from tests.attacks.models import messy_model, trained_model


@pytest.fixture(scope="module")
def trained():
    return trained_model()


def _never(logits, label, clean):
    return torch.zeros(len(logits), dtype=torch.bool)


def _visited(model, run):
    """The result of `run`, and the images and logits of each call of the model."""
    seen = []
    handle = model.register_forward_hook(lambda _, given, logits: seen.append((given[0], logits)))
    result = run()
    handle.remove()
    return result, seen


def test_no_gradient_is_asked_for(trained):
    model, image, label = trained
    attack = Square(L2(1.0), steps=9, restarts=2)
    result, seen = _visited(model, lambda: attack(model, image, label, criterion=_never))
    assert not any(given.requires_grad or logits.requires_grad for given, logits in seen)
    assert (result.backward_calls, result.forward_calls, len(seen)) == (0, 21, 21)
    assert result.zero_gradients.max() == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_each_step_changes_one_window_of_the_best_point_and_only_rises(dims):
    """In Linf without bounds a window is set to +eps or -eps, one sign per channel; its side follows the schedule."""
    generator = torch.Generator().manual_seed(0)
    sides = (12, 9) if dims == 2 else (7, 6, 5)
    image = torch.randn(3, 2, *sides, generator=generator)
    label = torch.randint(3, (3, *sides), generator=generator)
    model, eps, objective = messy_model(dims).eval(), 0.2, CrossEntropy()
    attack = Square(Linf(eps), steps=30, objective=objective)
    _, seen = _visited(model, lambda: attack(model, image, label, criterion=_never))
    changes = [(given - image) for given, _ in seen[1:]]
    values = [objective(logits, label) for _, logits in seen[1:]]
    torch.testing.assert_close(changes[0].abs(), torch.full_like(image, eps))
    assert torch.allclose(changes[0], changes[0][:, :, :1].expand_as(image)), "stripes along the first axis"
    best, highest = changes[0].clone(), values[0].clone()
    rises = 0
    for step, (change, value) in enumerate(zip(changes[1:], values[1:], strict=True)):
        share = 0.8 / 2 ** sum(step >= place for place in (1, 5, 20))
        widths = [max(1, round(side * share ** (1 / dims))) for side in sides]
        touched = ((change - best).abs() > 1e-6).any(0).any(0)
        for axis, width in enumerate(widths):
            others = [k for k in range(dims) if k != axis]
            inside = touched.any(dim=tuple(others)).nonzero()
            if len(inside):
                assert int(inside[-1] - inside[0]) < width
        torch.testing.assert_close(change.abs(), torch.full_like(image, eps))
        for i in range(3):
            if value[i] > highest[i]:
                best[i], highest[i] = change[i], value[i]
                rises += 1
    assert rises >= 5


@pytest.mark.parametrize("kind", [L2, Linf])
def test_a_longer_search_walks_the_same_path_further(trained, kind):
    model, image, label = trained
    budget = kind(2.5) if kind is L2 else kind(0.2)
    results = [Square(budget, steps=steps)(model, image, label) for steps in (1, 8, 40)]
    clean = results[0].foreground_dice_clean
    dice = [clean, *(result.foreground_dice for result in results)]
    assert all((later <= earlier).all() for earlier, later in pairwise(dice))
    assert dice[-1].mean() < clean.mean() - 0.03


@pytest.mark.parametrize(("kind", "eps"), [(L2, 3.0), (Linf, 0.2)])
def test_scores_alone_are_weaker_than_gradients(trained, kind, eps):
    model, image, label = trained
    black = Square(kind(eps), steps=40)(model, image, label).foreground_dice.mean()
    white = PGD(kind(eps), steps=40)(model, image, label).foreground_dice.mean()
    assert white < black - 0.02


@pytest.mark.parametrize(("kind", "eps"), [(L2, 4.0), (Linf, 0.5)])
def test_it_breaks_a_model_whose_gradient_is_zero(trained, kind, eps):
    """Rounded logits hide the gradient; the loss of the hard decision still rises and falls."""
    model, image, label = trained

    def rounded(x):
        return (4 * model(x)).round() / 4

    blind = PGD(kind(eps), steps=40)(rounded, image, label)
    seeing = Square(kind(eps), steps=200)(rounded, image, label)
    assert blind.zero_gradients.min() == 1
    assert seeing.foreground_dice.mean() < blind.foreground_dice.mean() - 0.1


def test_steps_in_l2_shrink_with_the_window(trained):
    """The budget is shared: a smaller window moves by sqrt(share) of the diameter, not by the whole."""
    model, image, label = trained
    attack = Square(L2(1.0), steps=40, objective=CrossEntropy())
    _, seen = _visited(model, lambda: attack(model, image, label, criterion=_never))
    changes = [(given - image).flatten(1) for given, _ in seen[1:]]
    values = [CrossEntropy()(logits, label) for _, logits in seen[1:]]
    torch.testing.assert_close(changes[0].norm(dim=1), torch.ones(8))
    best, highest = changes[0], values[0]
    for step, (change, value) in enumerate(zip(changes[1:], values[1:], strict=True)):
        length = 2 * (0.8 / 2 ** sum(step >= place for place in (1, 5, 20))) ** 0.5
        assert (change.norm(dim=1) <= 1 + 1e-5).all()
        assert ((change - best).norm(dim=1) <= length + 1e-5).all()
        assert ((change - best).norm(dim=1) > length / 4).all()
        rises = value > highest
        best, highest = torch.where(rises[:, None], change, best), value.where(rises, highest)


def test_windows_lie_anywhere_up_to_both_ends():
    image = torch.zeros(1, 1, 6, 4)
    search = Search(lambda x: torch.cat([x, -x], 1), image, torch.zeros(1, 6, 4), Linf(1.0), CrossEntropy())
    attack, firsts = Square(Linf(1.0), share=0.25), [set(), set()]
    for _ in range(200):
        changed = attack._windowed(search, image, 0)[0, 0] != 0
        for axis in (0, 1):
            places = changed.any(1 - axis).nonzero()[:, 0]
            firsts[axis].add(int(places[0]))
            assert len(places) == (3, 2)[axis]
    assert firsts == [{0, 1, 2, 3}, {0, 1, 2}]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_share_must_be_positive_and_at_most_1(share):
    with pytest.raises(ValueError, match=rf"share must be in \(0, 1\], got {share}"):
        Square(L2(1.0), share=share)
