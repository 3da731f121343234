"""Free adversarial training: no search, the caller's own backward pass moves the perturbation."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from imaseg import L2, Deformation, FreeTraining, Linf
from tests.attacks.models import messy_model, trained_model


def _loss(logits, label):
    return cross_entropy(logits, label)


def _free(perturbation, **more):
    return FreeTraining(_loss, perturbation, mix=1.0, replays=4, **more)


def test_each_replay_takes_a_full_step_along_the_gradient_of_the_one_before():
    model, image, label = trained_model()
    method, delta = _free(Linf(0.1)), torch.zeros_like(image)
    for _ in range(3):
        leaf = delta.clone().requires_grad_()
        expected = _loss(model(image + leaf), label)
        found = method(model, image, label)
        torch.testing.assert_close(found, expected)
        found.backward()
        (gradient,) = torch.autograd.grad(expected, leaf)
        delta = (delta + 0.1 * gradient.sign()).clamp(-0.1, 0.1)


def test_one_pass_each_and_the_loss_rises_while_the_weights_stand_still():
    model, image, label = trained_model()
    method, seen, losses = _free(L2(1.0)), [], []
    model.register_forward_hook(lambda *_: seen.append(1))
    for _ in range(method.replays):
        losses.append(method(model, image, label))
        losses[-1].backward()
    assert len(seen) == method.passes == 4
    assert losses[0] < losses[1] < losses[2]


def test_overflowed_gradients_of_mixed_precision_leave_the_perturbation_where_it_is():
    model, image, label = trained_model()
    method = _free(L2(1.0))
    (method(model, image, label) * torch.inf).backward()
    torch.testing.assert_close(method(model, image, label), _loss(model(image), label))


def test_undefined_values_of_a_gradient_do_not_move_the_perturbation():
    method, image = _free(L2(0.5)), torch.zeros(1, 1, 1, 4)
    gradient = torch.tensor([torch.inf, -torch.inf, torch.nan, 2.0]).view(1, 1, 1, 4)
    method.load_state_dict(method.state_dict() | {"replay": {"params": torch.zeros_like(image), "gradient": gradient}})
    attacked, _ = method._attacked(L2(0.5), None, image, torch.zeros(1, 1, 1, 4), None)
    assert attacked.flatten().tolist() == [0.0, 0.0, 0.0, 0.5]


def test_a_batch_of_another_shape_starts_afresh():
    model, image, label = trained_model()
    method = _free(L2(1.0))
    method(model, image, label).backward()
    torch.testing.assert_close(method(model, image[:3], label[:3]), _loss(model(image[:3]), label[:3]))


def test_saved_state_goes_on_exactly():
    model, image, label = trained_model()
    method = _free(L2(1.0), ramp_epochs=2)
    method(model, image, label).backward()
    method.end_epoch()
    other = _free(L2(1.0), ramp_epochs=2)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other(model, image, label), method(model, image, label))


def test_replays_train_a_model_that_holds_better_than_a_standard_one():
    from imaseg import PGD, Standard

    torch.manual_seed(0)
    label = torch.zeros(6, 12, 12, dtype=torch.long)
    label[:, 3:9, 3:9] = 1
    image = torch.stack([label + 0.3 * torch.randn(6, 12, 12), 0.05 * label], 1)
    dice = {}
    for name, method in {"standard": Standard(_loss), "free": _free(L2(1.5))}.items():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = messy_model(2, classes=2).train()
            model[3].p = 0.0
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(120):
                optimizer.zero_grad()
                method(model, image, label).backward()
                optimizer.step()
        dice[name] = PGD(L2(2.5))(model, image, label).foreground_dice.mean()
    assert dice["free"] > dice["standard"] + 0.1, dice


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FreeTraining(_loss, L2(1.0), replays=0), "replays must be a whole number >= 1, got 0"),
        (lambda: FreeTraining(_loss, L2(1.0), replays=1.5), "replays must be a whole number >= 1, got 1.5"),
        (lambda: _free(Deformation(1.0)), "perturbation of FreeTraining must leave the label in place"),
    ],
)
def test_nonsense_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
