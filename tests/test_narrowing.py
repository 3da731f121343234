"""Narrowed models against the whole ones, tile passes counted by the network itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import L2, PGD, BiasField, Gamma, Linf, SampleMargin, ShrinkingSetPGD
from imaseg.attacks.evaluate import Evaluator
from imaseg.frozen import frozen
from imaseg.narrowing import Narrowed, narrowed
from imaseg.tiling import TiledModel


class Counting(nn.Module):
    """A network whose every logit depends on the whole tile, which counts the tiles that it sees."""

    def __init__(self, dims=3, draws=0.0):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(conv(1, 4, 3, padding=1), norm(4), nn.GELU(), conv(4, 3, 3, padding=1))
        self.draws, self.seen = draws, 0

    def forward(self, image):
        self.seen += len(image)
        return self.net(image) + (self.draws * torch.randn(()) if self.draws else 0.0)


class Turned(nn.Module):
    """A model that pads, flips and clips an image before its tiles are cut, as adapted checkpoints do."""

    def __init__(self, tiled):
        super().__init__()
        self.tiled = tiled

    def forward(self, image):
        seen = nn.functional.pad(image.clamp(-1, 1).flip(2), (0, 0, 0, 0, 3, 3))
        return self.tiled(seen)[:, :, 3:-3].flip(2)


def _case(*size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 1, *size, generator=generator)
    label = (torch.rand(1, *size, generator=generator) > 0.6).long()
    return image, label


def _region(image, *spans):
    region = torch.zeros_like(image, dtype=torch.bool)
    region[(..., *(slice(*span) for span in spans))] = True
    return region


HOW = {
    "plain": {},
    "flips": {"mirror_axes": (0, 2)},
    "batches": {"batch_size": 3},
    "memory": {"memory": 1e9},
    "constant": {"mode": "constant", "overlap": 0.5},
    "padded": {"padding_mode": "reflect"},
    "lowest": {"cval": None},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("turned", [False, True])
def test_logits_and_gradients_are_those_of_the_whole_model_for_fewer_tiles(how, turned):
    net = Counting()
    whole = TiledModel(net, 8, **HOW[how])
    whole = Turned(whole) if turned else whole
    image, _ = _case(26, 20, 7)
    region = _region(image, (2, 6), (14, 18), (2, 5))
    fast = narrowed(whole, image, region)
    assert isinstance(fast, Narrowed)
    assert net.seen == 0
    change = torch.where(region, 0.3 * _case(26, 20, 7, seed=1)[0], 0.0)
    probe = torch.randn(1, 3, 26, 20, 7, generator=torch.Generator().manual_seed(2))
    found = []
    for model in (whole, fast):
        torch.testing.assert_close(model(image), whole(image), rtol=0, atol=2e-6)
        net.seen, moved = 0, (image + change).requires_grad_()
        logits = model(moved)
        (gradient,) = torch.autograd.grad(logits, moved, probe)
        found.append((logits.detach(), gradient * region, net.seen))
    (logits, gradient, tiles), (same, also, fewer) = found
    torch.testing.assert_close(same, logits, rtol=0, atol=2e-6)
    torch.testing.assert_close(also, gradient, rtol=0, atol=1e-5)
    assert gradient.abs().max() > 0.01
    assert fewer < tiles / 2


@pytest.mark.parametrize(
    "attack",
    [
        lambda region: PGD(L2(2.0, region=region), steps=5),
        lambda region: ShrinkingSetPGD(Linf(0.2, region=region), steps=6),
        lambda region: PGD(BiasField(0.4, region=region), steps=4),
        lambda region: PGD(Gamma(0.5, region=region), steps=4),
    ],
)
def test_an_attack_in_a_region_finds_the_same_for_fewer_tiles(attack, monkeypatch):
    net = Counting()
    model = TiledModel(net, 8)
    image, label = _case(28, 28, 10)
    search = attack(_region(image, (3, 9), (3, 9), (2, 8)))
    fast = search(model, image, label)
    few, net.seen = net.seen, 0
    monkeypatch.setattr("imaseg.attacks.evaluate.narrowed", lambda model, *_: model)
    slow = search(model, image, label)
    assert few < 0.5 * net.seen
    torch.testing.assert_close(fast.image, slow.image, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast.dice, slow.dice, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast.zero_gradients, slow.zero_gradients, rtol=0, atol=1e-4)
    assert fast.foreground_dice < fast.foreground_dice_clean
    assert (fast.forward_calls, fast.backward_calls) == (slow.forward_calls, slow.backward_calls)


def test_a_region_that_is_clipped_to_one_value_is_still_within_reach():
    net = Counting()
    model = Turned(TiledModel(net, 8))
    image, _ = _case(26, 20, 7)
    region = _region(image, (2, 6), (14, 18), (2, 5))
    image = torch.where(region, 5.0, image)
    moved = torch.where(region, image - 4.5, image)
    fast = narrowed(model, image, region)
    assert isinstance(fast, Narrowed)
    fast(image)
    net.seen = 0
    torch.testing.assert_close(fast(moved), model(moved), rtol=0, atol=2e-6)
    assert net.seen < 1.6 * TiledModel(net, 8).tiles((1, 1, 32, 20, 7))


def test_the_first_pass_costs_what_a_pass_costs():
    net = Counting()
    model = TiledModel(net, 8)
    image, _ = _case(28, 28, 10)
    fast = narrowed(model, image, _region(image, (3, 9), (3, 9), (2, 8)))
    fast(image)
    assert net.seen == model.tiles(image.shape)


def test_images_that_differ_elsewhere_are_run_as_a_whole():
    net = Counting()
    model = TiledModel(net, 8)
    image, other = _case(28, 28, 10)[0], _case(28, 28, 10, seed=5)[0]
    fast = narrowed(model, image, _region(image, (3, 9), (3, 9), (2, 8)))
    fast(image)
    torch.testing.assert_close(fast(other), model(other), rtol=0, atol=0)
    torch.testing.assert_close(fast(other[..., :9]), model(other[..., :9]), rtol=0, atol=0)
    torch.testing.assert_close(fast(torch.cat([image, other])), model(torch.cat([image, other])), rtol=0, atol=0)


def test_another_precision_is_not_mixed_with_the_first():
    model = TiledModel(Counting(), 8)
    image, _ = _case(28, 28, 10)
    fast = narrowed(model, image, _region(image, (3, 9), (3, 9), (2, 8)))
    fast(image)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(fast(image), model(image), rtol=0, atol=2e-6)
    torch.testing.assert_close(fast(image), model(image), rtol=0, atol=2e-6)


def test_slices_out_of_reach_are_not_run():
    net = Counting(dims=2)
    model = TiledModel(net, -1, slices_along=2)
    image, label = _case(16, 16, 12)
    PGD(L2(2.0, region=_region(image, (2, 9), (2, 9), (4, 6))), steps=4)(model, image, label)
    assert net.seen == 12 + 2 * (4 * 2 + 1)  # one pass of all, then forward and back of two slices, and the last look


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv3d(1, 2, 3, padding=1),
        lambda image: torch.cat([image, -image], 1),
        nn.Sequential(TiledModel(nn.Conv3d(1, 1, 3, padding=1), 8), TiledModel(nn.Conv3d(1, 2, 3, padding=1), 8)),
        TiledModel(Counting(), -1),
        Turned(nn.Sequential(nn.InstanceNorm3d(1), TiledModel(Counting(), 8))),  # statistics of the whole image
    ],
    ids=["no-tiles", "function", "two", "one-tile", "normalised"],
)
def test_where_nothing_can_be_spared_the_model_stays_as_it_is(model):
    image, _ = _case(28, 28, 10)
    assert narrowed(model, image, _region(image, (3, 9), (3, 9), (2, 8))) is model


def test_no_region_several_images_and_a_region_everywhere_leave_the_model_as_it_is():
    model = TiledModel(Counting(), 8)
    image, _ = _case(28, 28, 10)
    assert narrowed(model, image, None) is model
    assert narrowed(model, torch.cat([image, image]), _region(image, (3, 9))) is model
    assert narrowed(model, image, torch.ones_like(image, dtype=torch.bool)) is model


def test_a_random_model_draws_for_all_tiles():
    net = Counting(draws=0.1)
    model = TiledModel(net, 8)
    image, label = _case(28, 28, 10)
    PGD(L2(2.0, region=_region(image, (3, 9), (3, 9), (2, 8))), steps=2)(model, image, label)
    # the clean image, two steps there and back, the last point; then fresh draws of the clean and the found image
    assert net.seen == (1 + 2 * 2 + 1 + 2 * 16) * model.tiles(image.shape)


def test_a_margin_near_a_structure_is_the_same(monkeypatch):
    net = Counting()
    model = TiledModel(net, 8)
    image, _ = _case(28, 28, 10)
    label = model(image).argmax(1)
    margin = SampleMargin(L2(20.0, region=_region(image, (2, 12), (2, 12), (1, 9))), rtol=0.1)
    fast = margin(model, image, label)
    few, net.seen = net.seen, 0
    monkeypatch.setattr("imaseg.attacks.evaluate.narrowed", lambda model, *_: model)
    slow = margin(model, image, label)
    assert few < 0.7 * net.seen
    torch.testing.assert_close(fast.margin, slow.margin, rtol=0.02, atol=0)


class Through(nn.Module):
    """A model around a tiled one."""

    def __init__(self, tiled, how):
        super().__init__()
        self.tiled, self.how = tiled, how

    def forward(self, image):
        return self.how(self.tiled, image)


def _small(tiled, image):
    if image.max() > 5:
        raise ValueError
    return tiled(image)


def _fallen_back(tiled, image):
    try:
        return tiled(image)
    except Exception:
        pytest.fail("the model was told of an error")


def _filled(tiled, image):
    even = bool(image[0, 0, 4, 4, 4] == image[0, 0, 5, 5, 5])
    return torch.zeros_like(image).expand(-1, 3, -1, -1, -1) if even else tiled(image)


@pytest.mark.parametrize("how", [_small, _fallen_back, _filled])
def test_a_model_that_refuses_other_values_or_handles_errors_is_attacked_all_the_same(how, monkeypatch):
    image, label = _case(28, 28, 10)
    search = PGD(L2(2.0, region=_region(image, (3, 9), (3, 9), (2, 8))), steps=2)
    model = Through(TiledModel(Counting(), 8), how)
    fast = search(model, image, label)
    monkeypatch.setattr("imaseg.attacks.evaluate.narrowed", lambda model, *_: model)
    torch.testing.assert_close(fast.image, search(model, image, label).image, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_a_region_of_numbers_is_a_mask_too(kind):
    model = TiledModel(Counting(), 8)
    image, _ = _case(28, 28, 10)
    region = _region(image, (3, 9), (3, 9), (2, 8))
    fast = narrowed(model, image, region.to(kind))
    assert isinstance(fast, Narrowed)
    assert len(fast._still.changing) == len(narrowed(model, image, region)._still.changing)


def test_an_even_image_of_large_values_has_a_gradient():
    model = TiledModel(Counting(), 8)
    image = torch.full((1, 1, 28, 28, 10), 3e8)
    region = _region(image, (3, 9), (3, 9), (2, 8))
    fast = narrowed(model, image, region)
    assert 0 < len(fast._still.changing) < model.tiles(image.shape)


def test_a_second_call_of_the_tiles_keeps_its_gradient():
    model = Through(TiledModel(Counting(), 8), lambda tiled, image: tiled(image[:, :1]) + 2 * tiled(image[:, 1:]))
    image = _case(28, 28, 10)[0].expand(-1, 2, -1, -1, -1).contiguous()
    region = _region(image, (3, 9), (3, 9), (2, 8))
    region[:, 0] = False
    probe = torch.randn(1, 3, 28, 28, 10, generator=torch.Generator().manual_seed(2))
    found = []
    for one in (model, narrowed(model, image, region)):
        leaf = image.clone().requires_grad_()
        found.append(torch.autograd.grad(one(leaf), leaf, probe)[0] * region)
    assert found[0].abs().max() > 0.01
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)


def test_clean_draws_of_a_random_model_differ_out_of_reach():
    model = TiledModel(Counting(draws=0.5), 8)
    image, label = _case(28, 28, 10)
    allowed = L2(2.0, region=_region(image, (3, 9), (3, 9), (2, 8)))
    with frozen(model):
        first, second, third = Evaluator(model, image, label, allowed, ignore_index=None, samples=3)._clean_draws
    assert ((first != second).float().mean(), (second != third).float().mean()) == (1.0, 1.0)
