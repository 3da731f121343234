"""What every attack must do, on every set, in 2D and 3D: one table over the registry.

Kernels of other processors, thread counts and memory layouts round differently, and a sign or a tie blows a rounding
up into another image. So images are compared only where the same code ran on the same values, or in double precision.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from imaseg.attacks import Attack
from imaseg.perturbations import Perturbation
from imaseg.scores import foreground_dice, hard_dice
from tests.attacks.models import messy_model, same_state, state_of

SETS = Perturbation.known()
EPS = {name: kind.usual_ladder[len(kind.usual_ladder) // 2] for name, kind in SETS.items()}
EPS |= {"l2": 0.3, "linf": 0.3, "bias-field": 0.5, "gamma": 0.5, "frequency": 40.0, "deformation": 1.0}
RANDOM = ("gaussian-noise", "uniform-noise", "square")

pytestmark = pytest.mark.parametrize("name", Attack.known())
# What the shape of the parameters or the number of axes can change is asked of every set in 2D and 3D; what only the
# search itself can break, of one set with a parameter per voxel, one with a grid of vectors and one with a number.
every_set = pytest.mark.parametrize(("kind", "dims"), [(kind, dims) for kind in SETS for dims in (2, 3)])
some_sets = pytest.mark.parametrize(("kind", "dims"), [("l2", 3), ("deformation", 2), ("gamma", 3)])


def _data(dims, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (9, 8) if dims == 2 else (6, 5, 4)
    image = torch.randn(batch, 2, *shape, generator=generator)
    label = torch.randint(3, (batch, *shape), generator=generator)
    return image, label


def _set(kind, eps, **kw):
    unit = {"unit": SETS[kind].usual_unit} if SETS[kind].usual_unit else {}
    return Perturbation.build({"name": kind, "eps": eps, **unit, **kw})


def _attack(name, kind, eps=None, **kw):
    steps = {} if name == "fgsm" else {"steps": 4}
    perturbation = _set(kind, EPS[kind] if eps is None else eps, **kw)
    return Attack.build({"name": name, **steps}, perturbation, seed=3)


@cache
def _usual(name, kind, dims):
    """The attack without anything special, once for all tests that hold something else against it."""
    return _attack(name, kind)(messy_model(dims), *_data(dims))


@every_set
def test_result_has_the_promised_shapes_and_keeps_the_budget(name, kind, dims):
    image, label = _data(dims)
    result = _usual(name, kind, dims)
    assert result.image.shape == image.shape
    assert result.image.dtype == torch.float32
    assert result.dice.shape == (3, 3)
    assert result.prediction.shape == label.shape
    for values in (result.size, result.objective, result.foreground_dice, result.success, *result.sizes.values()):
        assert values.shape == (3,)
    assert (result.size <= EPS[kind] * (1 + 1e-5)).all()
    assert (result.eps == EPS[kind]).all()
    if SETS[kind].is_intensity:
        assert (_set(kind, 1.0).size(result.image - image) <= EPS[kind] * (1 + 1e-4)).all()
    perturbation = _set(kind, EPS[kind])
    torch.testing.assert_close(perturbation.size(result.params), result.size)
    assert torch.equal(perturbation.apply(image, result.params), result.image)
    assert not result.image.requires_grad


@every_set
def test_every_unit_is_stated_and_right(name, kind, dims):
    image, _ = _data(dims)
    result = _usual(name, kind, dims)
    change = (result.image - image).flatten(1)
    torch.testing.assert_close(result.sizes["l2"], change.norm(dim=1))
    torch.testing.assert_close(result.sizes["rms"], change.square().mean(1).sqrt())
    torch.testing.assert_close(result.sizes["linf"], change.abs().amax(1))
    spread = image.flatten(1).amax(1) - image.flatten(1).amin(1)
    torch.testing.assert_close(result.sizes["range"], change.abs().amax(1) / spread)


@every_set
def test_success_is_what_the_image_gives_when_scored_anew(name, kind, dims):
    image, label = _data(dims)
    model, result = messy_model(dims).eval(), _usual(name, kind, dims)
    logits, clean = model(result.image).detach(), model(image).detach()
    assert torch.equal(result.dice, hard_dice(logits, result.label))
    assert torch.equal(result.dice_clean, hard_dice(clean, label))
    assert torch.equal(result.foreground_dice, foreground_dice(logits, result.label))
    assert torch.equal(result.prediction, logits.argmax(1))
    if not SETS[kind].moves_label:  # where the objective sees the moved label interpolated
        torch.testing.assert_close(result.objective, _attack(name, kind).objective(logits, result.label))
        assert torch.equal(result.label, label)
    assert (result.foreground_dice <= result.foreground_dice_clean).all()


@every_set
def test_eps_zero_returns_the_image_bitwise(name, kind, dims):
    image, label = _data(dims)
    assert torch.equal(_attack(name, kind, eps=0.0)(messy_model(dims), image, label).image, image)


@every_set
def test_bounds_hold_exactly_and_nothing_is_clamped_without_them(name, kind, dims):
    image, label = _data(dims)
    low, high = float(image.min()) - 0.01, float(image.max()) + 0.01
    bounded = _attack(name, kind, bounds=(low, high))(messy_model(dims), image, label)
    assert bounded.image.min() >= low
    assert bounded.image.max() <= high
    if SETS[kind].is_intensity:
        free = _usual(name, kind, dims)
        assert free.image.min() < 0
        assert free.image.max() > 1


@some_sets
def test_model_and_global_random_state_are_left_as_they_were(name, kind, dims):
    image, label = _data(dims)
    model = messy_model(dims)
    before, random = state_of(model), torch.get_rng_state()
    _attack(name, kind)(model, image, label)
    assert same_state(before, state_of(model))
    assert torch.equal(random, torch.get_rng_state())


@every_set
def test_a_batch_equals_its_singles(name, kind, dims):
    image, label = _data(dims)
    model, image = messy_model(dims).double(), image.double()
    radii = torch.tensor([0.5, 1.0, 2.0]) * EPS[kind]
    together = _attack(name, kind, eps=radii)(model, image, label)
    for i in range(3):
        alone = _attack(name, kind, eps=float(radii[i]))(model, image[i : i + 1], label[i : i + 1])
        torch.testing.assert_close(alone.image[0], together.image[i], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(alone.dice[0], together.dice[i])


@some_sets
def test_the_same_seed_gives_the_same_result(name, kind, dims):
    image, label = _data(dims)
    model = messy_model(dims)
    first, second = _usual(name, kind, dims), _attack(name, kind)(model, image, label)
    assert torch.equal(first.image, second.image)
    assert first.forward_calls == second.forward_calls


@every_set
def test_double_precision_is_kept_and_agrees(name, kind, dims):
    image, label = _data(dims)
    model, single = messy_model(dims), _usual(name, kind, dims)
    double = _attack(name, kind)(model.double(), image.double(), label)
    assert double.image.dtype == torch.float64
    assert (double.foreground_dice - single.foreground_dice).abs().max() < 0.05
    if name != "minimum-norm":  # its point is the smallest that succeeds, whatever its objective
        torch.testing.assert_close(double.objective.float(), single.objective, rtol=0.05, atol=0.02)


@some_sets
def test_channels_last_changes_nothing(name, kind, dims):
    image, label = _data(dims)
    model, image = messy_model(dims).double(), image.double()
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    usual, other = (_attack(name, kind)(model, x, label) for x in (image, image.to(memory_format=layout)))
    torch.testing.assert_close(usual.image, other.image, rtol=1e-6, atol=1e-6)


@every_set
def test_an_empty_foreground_is_attacked_by_painting(name, kind, dims):
    image, label = _data(dims)
    model = messy_model(dims).eval()
    with torch.no_grad():
        logits = model(image)
        model[4].bias[0] += (logits[:, 1:].amax(1) - logits[:, 0]).amax() + 0.01
        assert not model(image).argmax(1).any()
    result = _attack(name, kind)(model, image, torch.zeros_like(label))
    assert torch.isfinite(result.objective).all()
    assert (result.foreground_dice_clean == 1).all()
    if name not in (*RANDOM, "minimum-norm") and SETS[kind].is_intensity:
        assert (result.foreground_dice < 1).any()
        assert (result.prediction > 0).any()


@every_set
def test_ignored_voxels_neither_count_nor_attract(name, kind, dims):
    image, label = _data(dims)
    ignored = label.clone()
    ignored[:, :2] = -1
    model = messy_model(dims)
    result = _attack(name, kind)(model, image, ignored)
    logits = model.eval()(result.image).detach()
    assert torch.equal(result.dice, hard_dice(logits, result.label))
    if not SETS[kind].moves_label:
        assert torch.equal(result.dice, hard_dice(logits[:, :, 2:], label[:, 2:]))
    assert not torch.equal(result.dice, hard_dice(logits, label))


@every_set
def test_finished_samples_end_on_a_point_that_meets_the_criterion(name, kind, dims):
    image, label = _data(dims)
    model = messy_model(dims)

    def criterion(logits, truth, clean):
        return foreground_dice(logits, truth) < foreground_dice(clean, truth)

    result = _attack(name, kind)(model, image, label, criterion=criterion)
    model.eval()
    # Under a deformation the clean prediction moves too; the other sets leave it where it is.
    clean = _set(kind, EPS[kind]).move(model(image).detach(), result.params, nearest=True)
    assert torch.equal(result.success, criterion(model(result.image).detach(), result.label, clean))


@some_sets
def test_it_works_under_no_grad_and_inference_mode(name, kind, dims):
    image, label = _data(dims)
    model, usual = messy_model(dims), _usual(name, kind, dims)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(_attack(name, kind)(model, image.clone(), label.clone()).image, usual.image)


@some_sets
def test_plain_callables_work(name, kind, dims):
    image, label = _data(dims)
    model = messy_model(dims).eval()
    result = _attack(name, kind)(lambda x: model(x), image, label)
    assert torch.equal(result.image, _usual(name, kind, dims).image)
