"""Gradients in half precision: they lead as full ones do, and nothing is judged by them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import APGD, IMA, L2, PGD, Linf, MinimumNorm, SampleMargin, ShrinkingSetPGD, Square, WorstCase
from imaseg.attacks.evaluate import Evaluator
from imaseg.margins.criteria import DiceBelow
from imaseg.objectives import Dice
from imaseg.precision import HALF, HalfPrecisionGradients
from imaseg.scores import foreground_dice
from imaseg.tiling import TiledModel

KINDS = list(HALF.values())


def _network(offset=0.0):
    """Three classes; a large offset of all logits drowns their differences in half precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))
    with torch.no_grad():
        net[2].bias += offset
    return net.requires_grad_(False)


def _case(model, size=(16, 16), batch=2):
    image = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(1))
    label = model(image).argmax(1)
    label[:, :2] = 0
    return image, label


def _gradient(model, image, weight):
    leaf = image.clone().requires_grad_()
    return torch.autograd.grad((model(leaf) * weight).sum(), leaf)[0]


@pytest.mark.parametrize("dtype", KINDS)
def test_the_gradient_points_where_that_of_full_precision_does(dtype):
    model = _network()
    image, _ = _case(model)
    weight = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    full, half = (_gradient(one, image, weight) for one in (model, HalfPrecisionGradients(model, dtype)))
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert (half - full).norm() < 0.02 * full.norm()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9])
def test_gradients_of_any_size_come_back_sample_by_sample(dtype, size):
    model = nn.Conv2d(1, 2, 1, bias=False).requires_grad_(False)
    model.weight[:] = torch.tensor([1.0, 0.5])[:, None, None, None]
    weight = torch.tensor([size, 0.25])[:, None, None, None].expand(2, 2, 4, 4)  # of the two samples
    found = _gradient(HalfPrecisionGradients(model, dtype), torch.zeros(2, 1, 4, 4), weight)
    torch.testing.assert_close(found, torch.tensor([1.5 * size, 0.375])[:, None, None, None].expand(2, 1, 4, 4))


@pytest.mark.parametrize("dtype", KINDS)
def test_passes_without_a_gradient_are_the_models_own(dtype):
    model = _network()
    image, _ = _case(model)
    half = HalfPrecisionGradients(model, dtype)
    with torch.no_grad():
        assert torch.equal(half(image.requires_grad_()), model(image))
    assert torch.equal(half(image.detach()), model(image))
    assert not torch.equal(half(image), model(image))


def test_heads_and_float64_pass_through():
    model = _network().double()
    image = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    half = HalfPrecisionGradients(lambda seen: [model(seen)[..., ::2, ::2], model(seen)], torch.bfloat16)
    assert half(image).shape == (1, 3, 8, 8)
    assert half(image).dtype == torch.float64
    assert half(image.detach()).shape == (1, 3, 8, 8)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"dtype must be torch\.bfloat16 or torch\.float16, got torch\.float32"):
        HalfPrecisionGradients(_network(), torch.float32)


ATTACKS = {
    "pgd": PGD(L2(1.0), steps=6),
    "strong": ShrinkingSetPGD(L2(1.0), steps=6),
    "apgd": APGD(Linf(0.1), steps=6),
    "smallest": MinimumNorm(L2(20.0), steps=6),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_results_are_those_of_the_model_itself(name, offset):
    """With the offset every decision in half precision is another one: nothing that is stated may come from it."""
    model = _network(offset)
    image, label = _case(model)
    criterion = DiceBelow(0.8)
    half = HalfPrecisionGradients(model, torch.bfloat16)
    leaf = image.clone().requires_grad_()
    assert ((half(leaf).argmax(1) == model(image).argmax(1)).float().mean() > 0.97) == (offset == 0.0)
    for wanted in (None, criterion):
        found = ATTACKS[name](half, image, label, criterion=wanted)
        logits = model(found.image)
        assert torch.equal(found.prediction, logits.argmax(1))
        assert torch.equal(found.foreground_dice, foreground_dice(logits, label))
        assert torch.equal(found.foreground_dice_clean, foreground_dice(model(image), label))
        assert (found.foreground_dice <= found.foreground_dice_clean).all()
        if wanted is not None:
            assert torch.equal(found.success, criterion(logits, label, model(image)))


def test_the_search_does_as_much_damage_as_in_full_precision():
    model = _network()
    image, label = _case(model, batch=4)
    attack = ShrinkingSetPGD(L2(0.08, unit="rms"), steps=20)
    full, half = (attack(one, image, label) for one in (model, HalfPrecisionGradients(model, torch.bfloat16)))
    assert full.foreground_dice.mean() < full.foreground_dice_clean.mean() - 0.1
    assert half.foreground_dice.mean() == pytest.approx(float(full.foreground_dice.mean()), abs=0.02)


@pytest.mark.parametrize("criterion", [None, DiceBelow(0.1)])
def test_no_result_is_better_than_the_clean_image_or_a_smaller_budget(criterion):
    """With labels of other images and decisions that half precision makes up, a search goes either way."""
    model = _network(300.0)
    image, _ = _case(model, batch=32)
    label, half = model(image.flip(0)).argmax(1), HalfPrecisionGradients(model, torch.bfloat16)
    ladder = PGD(L2(1.0), steps=3).ladder(half, image, label, [0.1, 0.2, 0.4, 0.8], criterion=criterion)
    dices = torch.stack([foreground_dice(model(image), label), *(rung.foreground_dice for rung in ladder)])
    assert (dices.diff(dim=0) <= 0).all()
    for rung in ladder:
        assert torch.equal(rung.foreground_dice, foreground_dice(model(rung.image), label))
        torch.testing.assert_close(rung.image, image + rung.params)


def test_margins_are_sizes_of_changes_that_break_the_model_itself():
    model = _network()
    image, label = _case(model)
    margin = SampleMargin(L2(20.0), criterion=DiceBelow(0.7), rtol=0.1)
    full = margin(model, image, label)
    half = margin(HalfPrecisionGradients(model, torch.bfloat16), image, label)
    assert not half.censored.any()
    assert DiceBelow(0.7)(model(half.adversarial), label, model(image)).all()
    torch.testing.assert_close(half.margin, L2(20.0).size(half.adversarial - image))
    torch.testing.assert_close(half.margin, full.margin, rtol=0.15, atol=0)


def test_what_seems_to_break_is_looked_at_in_full_precision_before_the_search_ends():
    """In half precision the very first point breaks: the search goes on until one does in truth."""
    model = _network(300.0)
    image, label = _case(model)
    criterion = DiceBelow(0.8)
    found = PGD(L2(30.0), steps=20)(HalfPrecisionGradients(model, torch.bfloat16), image, label, criterion=criterion)
    assert found.success.all()
    assert criterion(model(found.image), label, model(image)).all()


class Noisy(nn.Module):
    """Draws a little noise in every pass."""

    def __init__(self, offset):
        super().__init__()
        self.net = _network(offset)

    def forward(self, image):
        return self.net(image) + 1e-3 * torch.randn(())


@pytest.mark.parametrize("samples", [1, 4])
def test_random_models_are_looked_at_in_full_precision_too(samples):
    model = Noisy(300.0)
    image, label = _case(model.net)
    criterion = DiceBelow(0.8)
    attack = PGD(L2(30.0), steps=20, samples=samples)
    found = attack(HalfPrecisionGradients(model, torch.bfloat16), image, label, criterion=criterion)
    assert found.success.all()
    assert criterion(model.net(found.image), label, model.net(image)).all()


def test_a_criterion_that_is_applied_at_the_end_judges_the_model_itself():
    model = _network(300.0)
    image, label = _case(model)
    method = IMA(lambda logits, truth: logits.mean(), L2(0.1), increment=0.01, train_on="worst", steps=3)
    for name, network in {"full": model, "half": HalfPrecisionGradients(model, torch.bfloat16)}.items():
        method.table.margins.clear()
        method._perturb(network, image, label, ["a", "b"])
        method.end_epoch()
        assert method.margins == pytest.approx({"a": 0.02, "b": 0.02}), name


@pytest.mark.parametrize(("broken", "rows"), [(0.0, 16), (torch.nan, 16), (0.0, 15)])
def test_of_several_searches_the_one_counts_that_does_most_in_full_precision(broken, rows):
    """In half precision most logits are 0, or no numbers, as where float16 overflows: every point looks bad."""

    class Overflowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = _network()

        def forward(self, image):
            logits = self.net(image)
            if torch.is_autocast_enabled(image.device.type):
                logits = torch.cat([logits[:, :, :rows] * broken, logits[:, :, rows:]], 2)
            return logits

    model = Overflowing()
    image, label = _case(model.net)
    square = Square(L2(6.0), steps=30, seed=1)
    alone = square(model, image, label)
    assert (alone.foreground_dice < alone.foreground_dice_clean).all()
    for order in (1, -1):
        both = WorstCase(L2(6.0), members=[PGD(L2(6.0), steps=3), square][::order], seed=1)
        found = both(HalfPrecisionGradients(model, torch.float16), image, label)
        assert (found.foreground_dice <= alone.foreground_dice).all()
        assert torch.equal(found.foreground_dice, foreground_dice(model(found.image), label))


def test_a_model_that_changes_its_input_in_place_is_led_too():
    model = nn.Sequential(nn.ReLU(inplace=True), _network())
    image, label = _case(model)
    found = PGD(L2(1.0), steps=3)(HalfPrecisionGradients(model, torch.bfloat16), image, label)
    assert (found.foreground_dice <= found.foreground_dice_clean).all()
    assert found.backward_calls == 3


def test_a_model_without_gradients_is_refused_in_the_same_words():
    model = _network()
    half = HalfPrecisionGradients(lambda image: model(image).detach(), torch.bfloat16)
    image, label = _case(model)
    with pytest.raises(ValueError, match="model must let the gradient of its logits reach the image"):
        PGD(L2(1.0), steps=3)(half, image, label)


def test_tiled_models_are_led_the_same_way():
    tiled = TiledModel(_network(), 8, 0.5)
    image, label = _case(tiled, batch=1)
    gradients = []
    for model in (tiled, HalfPrecisionGradients(tiled, torch.float16)):
        at = Evaluator(model, image, label, L2(1.0), ignore_index=None)
        point = at.with_gradient(torch.zeros_like(image), torch.arange(1), Dice(), 1.0, lambda _: True)
        gradients.append(point.gradient)
    full, half = gradients
    assert not torch.equal(full, half)
    assert (half - full).norm() < 0.02 * full.norm()


def test_tiles_out_of_reach_are_run_once_in_each_precision():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.seen = _network(), 0

        def forward(self, image):
            self.seen += len(image)
            return self.net(image)

    seen = {}
    for name, wrap in {
        "full": lambda model: model,
        "half": lambda model: HalfPrecisionGradients(model, HALF["bfloat16"]),
    }.items():
        for steps in (2, 6):
            network = Counting()
            tiled = TiledModel(network, 8, 0.5)
            image, label = _case(tiled, size=(32, 32), batch=1)
            region = torch.zeros_like(image, dtype=torch.bool)
            region[..., :8, :8] = True
            network.seen = 0
            found = PGD(L2(1.0, region=region), steps=steps)(wrap(tiled), image, label)
            seen[name, steps] = network.seen
            assert torch.equal(found.foreground_dice, foreground_dice(tiled(found.image), label))
    reached = seen["full", 6] - seen["full", 2]  # of four steps, there and back
    assert seen["half", 6] - seen["half", 2] == reached < 4 * tiled.tiles(image.shape)
