"""Strength and exactness: closed forms on linear models, order between attacks, counters, precision."""

from __future__ import annotations

import pytest
import torch

from imaseg import FGSM, IFGSM, L2, PGD, GaussianNoise, Linf, UniformNoise
from imaseg.attacks import Attack
from imaseg.margins import VoxelsFlipped
from imaseg.objectives import CrossEntropy
from tests.attacks.models import LinearPerVoxel, messy_model, trained_model


def _linear():
    torch.manual_seed(0)
    model = LinearPerVoxel(torch.tensor([3.0, -4.0]), bias=0.5)
    image = torch.randn(6, 2, 1, 1)
    with torch.no_grad():
        gap = model.gap(image).flatten()
    return model, image, (gap > 0).long().view(-1, 1, 1), gap.abs()


@pytest.mark.parametrize("name", ["fgsm", "ifgsm", "pgd"])
@pytest.mark.parametrize(("kind", "dual"), [(L2, 5.0), (Linf, 7.0)])
@pytest.mark.parametrize("objective", ["dice", "cross-entropy", "dice-ce"])
def test_linear_model_breaks_just_above_its_margin_and_not_just_below(name, kind, dual, objective):
    model, image, label, gap = _linear()
    spec = {"name": name, "objective": None}
    for factor, broken in ((1.01, True), (0.99, False)):
        spec = {"name": name} | ({} if name == "fgsm" else {"steps": 10})
        attack = Attack.build(spec, kind(gap / dual * factor), objective=_objective(objective))
        result = attack(model, image, label, criterion=VoxelsFlipped(0.0))
        assert (result.success == broken).all()


def _objective(name):
    from imaseg.objectives import Objective

    return Objective.build(name)


def test_noise_is_weaker_than_fgsm_and_fgsm_no_stronger_than_pgd():
    model, image, label = trained_model()
    for eps in (0.1, 0.2, 0.3):
        budget = L2(eps, unit="rms")
        dice = {
            attack.name: attack(model, image, label).foreground_dice.mean().item()
            for attack in (
                UniformNoise(budget),
                GaussianNoise(budget),
                FGSM(budget),
                IFGSM(budget, steps=20),
                PGD(budget, steps=20),
            )
        }
        assert min(dice["uniform-noise"], dice["gaussian-noise"]) > dice["fgsm"] + 0.02, dice
        assert dice["fgsm"] >= dice["ifgsm"], dice
        assert dice["fgsm"] >= dice["pgd"] - 1e-6, dice


@pytest.mark.parametrize("kind", [L2, Linf])
@pytest.mark.parametrize("name", ["ifgsm", "pgd", "gaussian-noise", "uniform-noise"])
def test_more_steps_or_restarts_never_weaken_the_result(name, kind):
    model, image, label = trained_model()
    budget = kind(0.15) if kind is Linf else kind(2.0)
    for longer in ({"steps": 7}, {"steps": 15}):
        short = Attack.build({"name": name, "steps": 3}, budget)(model, image, label).foreground_dice
        assert (Attack.build({"name": name, **longer}, budget)(model, image, label).foreground_dice <= short).all()
    once = Attack.build({"name": name, "steps": 3}, budget)(model, image, label).foreground_dice
    more = Attack.build({"name": name, "steps": 3, "restarts": 3}, budget)(model, image, label).foreground_dice
    assert (more <= once).all()


@pytest.mark.parametrize("kind", [L2, Linf])
def test_ifgsm_is_never_weaker_than_fgsm(kind):
    model, image, label = trained_model()
    for eps in (0.05, 0.2):
        budget = kind(eps * (16 if kind is L2 else 1))
        single = FGSM(budget)(model, image, label).foreground_dice
        assert (IFGSM(budget, steps=1)(model, image, label).foreground_dice <= single).all()


def test_a_large_budget_destroys_a_trained_model():
    model, image, label = trained_model()
    assert PGD(L2(3.0, unit="rms"), steps=20)(model, image, label).foreground_dice.max() < 0.05


def test_noise_has_exactly_the_size_asked_for():
    model, image, label = trained_model()
    for attack in (UniformNoise, GaussianNoise):
        for budget in (L2(0.4, unit="rms"), L2(3.0), Linf(0.3)):
            result = attack(budget, steps=3)(model, image, label)
            touched = result.size > 0
            assert touched.any()
            torch.testing.assert_close(result.size[touched], torch.full_like(result.size[touched], budget.eps))


@pytest.mark.parametrize("kind", [UniformNoise, GaussianNoise])
def test_restarts_of_noise_are_further_draws(kind):
    model, image, label = trained_model()
    again, longer = kind(L2(3.0), steps=2, restarts=3), kind(L2(3.0), steps=6)
    found, expected = again(model, image, label), longer(model, image, label)
    assert torch.equal(found.image, expected.image)
    assert found.forward_calls == expected.forward_calls == 7


def test_noise_fills_its_region_up_to_the_same_size():
    model, image, label = trained_model()
    region = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    region[..., 4:10, 4:10] = True
    result = UniformNoise(L2(0.4, unit="rms", region=region), steps=8)(model, image, label)
    touched = result.size > 0
    assert touched.any()
    torch.testing.assert_close(result.size[touched], torch.full_like(result.size[touched], 0.4))
    assert ((result.image - image) * ~region).abs().max() == 0


def test_calls_are_counted_where_the_model_is_called():
    model, image, label = trained_model()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for attack in (FGSM(L2(0.1)), PGD(L2(0.1), steps=5, restarts=2), GaussianNoise(L2(0.1), steps=3)):
        calls.clear()
        result = attack(model, image, label)
        assert result.forward_calls == len(calls)
    twice = PGD(L2(0.1), steps=5, restarts=2)(model, image, label)
    assert (twice.backward_calls, twice.forward_calls) == (10, 2 * (5 + 1) + 1)
    assert FGSM(L2(0.1))(model, image, label).backward_calls == 1
    assert GaussianNoise(L2(0.1))(model, image, label).backward_calls == 0


def test_samples_that_are_destroyed_leave_the_batch():
    model, image, label = trained_model()
    sizes = []
    model.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    radii = torch.tensor([100.0] * 4 + [1e-3] * 4)
    result = PGD(L2(radii), steps=10)(model, image, label)
    finished = int((result.foreground_dice == 0).sum())
    assert finished > 0
    assert sizes[0] == 8
    assert sizes[-2] == 8 - finished


def test_masked_gradients_are_counted():
    model, image, label = trained_model()
    saturated = PGD(L2(0.1), steps=2)(lambda x: torch.round(model(x)), image, label)
    assert saturated.zero_gradients.min() == 1.0
    usual = PGD(L2(0.1), steps=2)(model, image, label)
    assert usual.zero_gradients.max() < 0.1


def test_undefined_gradients_are_counted_and_do_not_spread():
    model, image, label = trained_model()

    def broken(x):
        logits = model(x)
        hole = torch.sqrt((x[:, :, :2] * 0).abs()).sum()
        return logits + hole * 0

    result = PGD(L2(0.5), steps=3)(broken, image, label)
    assert result.nonfinite_gradients.min() > 0
    assert torch.isfinite(result.image).all()


def test_gradient_signs_under_bf16_autocast_agree_with_fp32():
    model, image, label = trained_model()
    attack = FGSM(Linf(0.1), objective=CrossEntropy())
    full = attack(model, image, label).params.sign()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = attack(model, image, label)
    assert half.image.dtype == torch.float32
    assert (half.params.sign() == full).float().mean() > 0.95


@pytest.mark.parametrize("objective", ["dice", "cross-entropy", "dice-ce"])
def test_few_labelled_voxels_neither_overflow_nor_underflow_in_half_precision(objective):
    """One labelled voxel among 16 384: its gradient is 1, the mean's over all voxels 6e-5 before any layer."""
    torch.manual_seed(0)
    model = torch.nn.Conv2d(1, 3, 3, padding=1)
    image = torch.randn(2, 1, 128, 128)
    for label in (torch.full((2, 128, 128), -1), torch.zeros(2, 128, 128, dtype=torch.long)):
        label[:, 60, 60] = 1
        attack = FGSM(L2(0.5), objective=_objective(objective))
        full = attack(model, image, label)
        with torch.autocast("cpu", dtype=torch.float16):
            half = attack(model, image, label)
        assert half.nonfinite_gradients.max() == 0
        assert half.zero_gradients.max() <= full.zero_gradients.max() + 0.05
        cosine = torch.nn.functional.cosine_similarity(half.params.flatten(1), full.params.flatten(1))
        assert (cosine[full.size > 0] > 0.99).all()


def test_half_precision_images_are_attacked_in_fp32():
    model, image, label = trained_model()
    assert PGD(L2(0.1), steps=2)(model, image.half(), label).image.dtype == torch.float32


def test_classifiers_are_attacked_too():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    image = torch.randn(5, 4)
    label = model(image).argmax(1)
    result = PGD(L2(10.0), steps=10, objective=CrossEntropy())(model, image, label)
    assert (model(result.image).argmax(1) != label).all()


def test_monai_tensors_are_taken_as_plain_ones():
    from monai.data import MetaTensor

    model, image, label = trained_model()
    result = PGD(L2(0.1), steps=1)(model, MetaTensor(image), MetaTensor(label))
    assert type(result.image) is torch.Tensor


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (lambda: PGD(L2(1.0), steps=0), "steps must be a whole number >= 1, got 0"),
        (lambda: PGD(L2(1.0), steps=2.5), "steps must be a whole number >= 1, got 2.5"),
        (lambda: PGD(L2(1.0), restarts=0), "restarts must be a whole number >= 1, got 0"),
        (lambda: PGD(L2(1.0), step_size=0.0), "step_size must be > 0"),
        (lambda: FGSM(L2(1.0), steps=2), "steps and restarts of FGSM must be 1, got 2 and 1"),
    ],
)
def test_nonsense_is_refused(attack, text):
    with pytest.raises(ValueError, match=text):
        attack()


def test_integer_images_are_refused():
    with pytest.raises(ValueError, match=r"image must be floating, got torch.int64"):
        PGD(L2(1.0))(messy_model(2), torch.ones(1, 2, 4, 4, dtype=torch.long), torch.zeros(1, 4, 4))


def test_image_outside_bounds_is_refused():
    model, image, label = trained_model()
    with pytest.raises(ValueError, match="image must lie within bounds"):
        PGD(L2(1.0, bounds=(0.0, 1.0)))(model, image, label)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(0, 1, 4, 4), "image must hold at least one sample"),
        (torch.full((1, 1, 4, 4), float("nan")), "image must be finite, got 16 voxels"),
        (torch.zeros(1, 1, 4, 4).index_fill(3, torch.tensor([0]), float("inf")), "image must be finite, got 4 voxels"),
    ],
)
def test_images_that_say_nothing_are_one_line(image, words):
    with pytest.raises(ValueError, match=words):
        PGD(L2(1.0), steps=1)(torch.nn.Conv2d(1, 2, 1), image, torch.zeros(len(image), 4, 4).long())


def test_a_model_without_gradient_is_one_line():
    layer = torch.nn.Conv2d(1, 2, 1)
    with pytest.raises(ValueError, match="model must let the gradient of its logits reach the image"):
        PGD(L2(1.0), steps=1)(lambda image: layer(image).detach(), torch.randn(1, 1, 4, 4), torch.ones(1, 4, 4).long())


def test_an_image_with_more_axes_than_images_have_is_refused():
    with pytest.raises(ValueError, match=r"up to 3 spatial axes, got \(2, 1, 1, 4, 4, 4\)"):
        FGSM(L2(0.1))(lambda image: image, torch.zeros(2, 1, 1, 4, 4, 4), torch.zeros(2, 4, 4, 4).long())
