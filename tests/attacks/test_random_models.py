"""Models that draw random numbers (expectation over transformation), and targeted objectives in the search."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import dropout

from imaseg import APGD, FGSM, IFGSM, L2, PGD, DiceBelow, Linf, ShrinkingSetPGD, WorstCase
from imaseg.attacks import Attack
from imaseg.attacks.search import FRESH_DRAWS
from imaseg.objectives import Erase, Grow
from imaseg.scores import foreground_dice
from tests.attacks.models import trained_model


@pytest.fixture(scope="module")
def trained():
    return trained_model()


class _Random:
    """A model with noise on its input, dropout left on, and random flips; it notes the random states it was given."""

    def __init__(self, net, *, noise=0.0, drop=0.0, flip=False):
        self.net, self.noise, self.drop, self.flip = net, noise, drop, flip
        self.states, self.given = [], []

    def __call__(self, image):
        self.states.append(torch.get_rng_state())
        self.given.append(image.detach())
        image = image + self.noise * torch.randn_like(image)
        flipped = self.flip and bool(torch.rand(()) < 0.5)
        image = image.flip(3) if flipped else image
        hidden = dropout(self.net[2](self.net[1](self.net[0](image))), self.drop, training=True)
        logits = self.net[4](hidden)
        return logits.flip(3) if flipped else logits


KINDS = {"noise": {"noise": 0.7}, "dropout": {"drop": 0.5}, "flips and noise": {"noise": 0.2, "flip": True}}


def _true_dice(model, image, label, draws=50):
    """Dice of each sample and draw, (draws, B), with random numbers of its own."""
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(987_654_321)
        return torch.stack([foreground_dice(model(image), label) for _ in range(draws)])


def _mean_gradient(model, image, label, states, objective):
    """Mean gradient over the draws that begin at `states`, and their mean objective."""
    gradients, values = [], []
    for state in states:
        with torch.random.fork_rng():
            torch.set_rng_state(state)
            leaf = image.clone().requires_grad_()
            value = objective(model(leaf), label)
            gradients.append(torch.autograd.grad(value.sum(), leaf)[0])
            values.append(value.detach())
    return torch.stack(gradients).mean(0), torch.stack(values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_mean_over_draws(trained, kind):
    net, image, label = trained
    model = _Random(net, **KINDS[kind])
    attack = FGSM(L2(1.0), samples=4)
    result = attack(model, image, label)
    # Clean image, gradient and last point; then the result and the clean image once more.
    assert len(model.states) == result.forward_calls == 4 * 3 + 2 * FRESH_DRAWS
    assert result.backward_calls == 4
    states = model.states[4:8]
    assert all(torch.equal(one, image) for one in model.given[:8])
    gradient, values = _mean_gradient(model, image, label, states, attack.objective)
    assert values.std(0).max() > 1e-3, "the four draws are meant to differ"
    expected = image + gradient / gradient.flatten(1).norm(dim=1).view(8, 1, 1, 1)
    torch.testing.assert_close(model.given[8], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 4])
def test_every_pass_draws_afresh_and_seeds_share_no_draws(trained, samples):
    net, image, label = trained
    drawn = []
    for seed in (0, 1):
        model = _Random(net, noise=0.5)
        PGD(L2(1.0), steps=3, samples=samples, seed=seed)(model, image, label)
        drawn += [state.numpy().tobytes() for state in model.states]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("attack", [PGD, APGD, ShrinkingSetPGD])
def test_calls_multiply_with_the_samples(trained, attack):
    net, image, label = trained
    one, four = (attack(L2(0.5), steps=5, samples=n)(_Random(net, noise=0.2), image, label) for n in (1, 4))
    assert four.backward_calls == 4 * one.backward_calls
    one_searched, four_searched = (result.forward_calls - 2 * FRESH_DRAWS for result in (one, four))
    assert four_searched == 4 * one_searched
    assert (one.draws, four.draws) == (FRESH_DRAWS, FRESH_DRAWS), "both are scored with draws of their own"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [1, 3])
def test_the_seed_decides_and_the_global_state_stays(trained, kind, samples):
    net, image, label = trained
    state = torch.get_rng_state()
    attack = PGD(L2(1.0), steps=4, samples=samples, seed=5)
    first = attack(_Random(net, **KINDS[kind]), image, label)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)  # what the caller draws in between must not matter
    again = attack(_Random(net, **KINDS[kind]), image, label)
    other = attack.on(L2(1.0), seed=6)(_Random(net, **KINDS[kind]), image, label)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.dice, again.dice)
    assert not torch.equal(first.image, other.image)


@pytest.mark.parametrize("name", Attack.known())
def test_samples_change_nothing_for_a_deterministic_model(trained, name):
    model, image, label = trained
    steps = {} if name == "fgsm" else {"steps": 5}
    one, three = (Attack.build({"name": name, **steps, "samples": n}, L2(1.0))(model, image, label) for n in (1, 3))
    torch.testing.assert_close(three.foreground_dice, one.foreground_dice, rtol=0, atol=1e-5)
    torch.testing.assert_close(three.objective, one.objective, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(three.image, one.image, rtol=0, atol=1e-3)
    assert three.backward_calls == 3 * one.backward_calls


@pytest.mark.parametrize(("kind", "gain"), [("noise", 0.01), ("dropout", 0.01), ("flips and noise", -0.02)])
def test_averaging_over_draws_is_stronger_than_a_single_draw(trained, kind, gain):
    """By the mean Dice over 50 draws that neither search has seen."""
    net, image, label = trained
    model = _Random(net, **KINDS[kind])
    true = {
        n: _true_dice(model, PGD(L2(2.0), steps=12, samples=n, seed=3)(model, image, label).image, label).mean()
        for n in (1, 8)
    }
    assert true[8] < true[1] - gain, true


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [0.0, 2.0])
@pytest.mark.parametrize("samples", [1, 12, 20])
def test_dice_is_reported_without_the_luck_of_the_search(trained, kind, eps, samples):
    """The reported means, clean and attacked, lie within four standard errors of those over many fresh draws."""
    net, image, label = trained
    model = _Random(net, **KINDS[kind])
    result = PGD(L2(eps), steps=6, samples=samples, seed=3)(model, image, label)
    assert result.draws == max(samples, FRESH_DRAWS)
    for reported, where in ((result.foreground_dice_clean, image), (result.foreground_dice, result.image)):
        draws = _true_dice(model, where, label, draws=150)
        per_draw = draws.mean(1)  # all samples of a batch share the flips
        error = (per_draw.var() * (1 / result.draws + 1 / 150)).sqrt() + 1e-3
        assert (reported.mean() - draws.mean()).abs() < 4 * error, (reported.mean(), draws.mean(), error)


def test_a_model_that_draws_nothing_is_not_scored_again(trained):
    net, image, label = trained
    model = _Random(net)  # dropout at rate 0 draws all the same
    result = PGD(L2(1.0), steps=3)(net, image, label)
    assert (result.draws, result.forward_calls) == (1, 5)
    assert PGD(L2(1.0), steps=3)(model, image, label).draws == FRESH_DRAWS


def test_a_random_model_is_not_left_unharmed_because_its_clean_score_was_lucky(trained):
    """The clean image is a candidate like all others, scored like all others."""
    net, image, label = trained
    model = _Random(net, noise=2.0)
    result = PGD(L2(2.0), steps=8, samples=16, seed=3)(model, image, label)
    assert (result.size > 0).sum() >= 6


def test_a_ladder_of_a_random_model_keeps_its_budgets(trained):
    net, image, label = trained
    model = _Random(net, noise=0.5)
    results = PGD(L2(1.0), steps=3, samples=2).ladder(model, image, label, [0.5, 1.0])
    assert [result.eps[0].item() for result in results] == [0.5, 1.0]
    assert all((result.size <= result.eps * (1 + 1e-5)).all() for result in results)
    assert results[0].forward_calls == len(model.states) - results[1].forward_calls


# Targeted objectives: the goal, not the Dice, says which point is the worst.


@pytest.mark.parametrize("name", ["ifgsm", "pgd", "apgd", "strong", "square"])
@pytest.mark.parametrize("goal", [Erase(1), Grow(1)], ids=["erase", "grow"])
def test_a_targeted_search_keeps_the_point_of_the_highest_objective(trained, name, goal):
    model, image, label = trained
    seen = []
    handle = model.register_forward_hook(lambda _, given, logits: seen.append((given[0].detach(), logits.detach())))
    budget = Linf(0.3)
    result = Attack.build({"name": name, "steps": 12}, budget, objective=goal)(model, image, label)
    handle.remove()
    inside = [(budget.size(given - image) <= 0.3 + 1e-5) for given, _ in seen]
    values = torch.stack(
        [goal(logits, label).where(ok, -torch.inf) for (_, logits), ok in zip(seen, inside, strict=True)]
    )
    torch.testing.assert_close(result.objective, values.amax(0))
    for i in range(8):
        torch.testing.assert_close(result.image[i], seen[int(values[:, i].argmax())][0][i])


def test_a_targeted_search_never_ends_early(trained):
    """Growing a structure everywhere is not over when the Dice is 0 and the rest of the volume is not yet painted."""
    model, image, label = trained
    empty = torch.zeros_like(label)
    attack = PGD(L2(9.0), steps=15, objective=Grow(1))
    result = attack(model, image, empty)
    assert (result.foreground_dice == 0).all()
    assert (result.backward_calls, result.forward_calls) == (15, 17)


def test_a_targeted_search_ends_where_its_criterion_holds(trained):
    model, image, label = trained
    attack = IFGSM(L2(torch.linspace(2.0, 9.0, 8)), steps=15, objective=Erase(1))
    result = attack(model, image, label, criterion=DiceBelow(0.5))
    assert result.success.sum() > 0
    with torch.no_grad():
        logits = model(result.image)
    assert torch.equal(DiceBelow(0.5)(logits, label, logits), result.success)
    torch.testing.assert_close(result.objective, Erase(1)(logits, label))
    free = attack(model, image, label)
    unmet = ~result.success
    assert (result.objective[unmet] >= free.objective[unmet] - 1e-5).all()


def test_a_worst_case_of_targeted_members_keeps_the_highest_objective(trained):
    model, image, label = trained
    budget = L2(1.0)
    members = [IFGSM(budget, steps=5, objective=Erase(1)), APGD(budget, steps=5, objective=Erase(1))]
    result = WorstCase(budget, members=members, objective=Erase(1))(model, image, label)
    first = members[0](model, image, label)
    assert (result.objective >= first.objective - 1e-6).all()
