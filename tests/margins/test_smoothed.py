"""The smoothed model: majority of votes, gradient of the mean probability, one pass in memory."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import log_softmax

from imaseg import L2, PGD, SampleMargin, VoxelsFlipped
from imaseg.attacks import Attack
from imaseg.margins.smoothed import Smoothed
from tests.attacks.models import LinearPerVoxel, messy_model, same_state, state_of

SHAPES = {2: (6, 5), 3: (5, 4, 3)}


def _data(dims, batch=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, 2, *SHAPES[dims], generator=generator)
    return messy_model(dims).eval().to(dtype), image.to(dtype)


def _noisy(model, image, sigma, samples, seed=0):
    """The logits of all copies at once, (samples, B, K, *spatial)."""
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.randn(image.shape[1:], generator=generator).to(image) for _ in range(samples)]
    return torch.stack([model(image + sigma * one) for one in noise])


def _counts(decided, classes=3):
    return torch.stack([(decided == k).sum(0) for k in range(classes)], 1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_decisions_are_those_of_most_draws(dims, sigma):
    model, image = _data(dims)
    smoothed = Smoothed(model, sigma, 6)
    with torch.no_grad():
        noisy = _noisy(model, image, sigma, 6)
        votes, decided = _counts(noisy.argmax(2)), smoothed(image).argmax(1)
        mean = noisy.softmax(2).mean(0)
        assert torch.equal(smoothed.votes(image).long(), votes)
    assert torch.equal(votes.gather(1, decided[:, None])[:, 0], votes.amax(1))
    assert (decided != mean.argmax(1)).any()  # the mean probability decides otherwise at some voxels
    twice = (votes == votes.amax(1, keepdim=True)).sum(1) > 1
    best = mean.where(votes == votes.amax(1, keepdim=True), 0).argmax(1)
    assert twice.any()
    assert torch.equal(decided[twice], best[twice])


@pytest.mark.parametrize("dims", [2, 3])
def test_logits_are_those_of_the_mean_probability_where_it_agrees_with_the_votes(dims):
    model, image = _data(dims)
    with torch.no_grad():
        found = Smoothed(model, 0.7, 9)(image)
        expected = _mean_log(model, image, 0.7, 9, regions=False)
    same = (found.argmax(1) == expected.argmax(1))[:, None]
    torch.testing.assert_close(found.where(same, 0), expected.where(same, 0))
    assert (found.where(same, 0) - expected).abs().amax() > 0
    lifted = found.topk(2, 1).values.diff(dim=1).abs().where(~same, 0.001)
    torch.testing.assert_close(lifted, torch.full_like(lifted, 0.001), rtol=0.01, atol=0)


@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
def test_a_sure_minority_does_not_outvote_an_unsure_majority(regions):
    def model(image):
        odds = torch.where(image > -0.2, 0.01, -50.0)  # 58 % of the noise lies above
        return odds if regions else torch.cat([-odds / 2, odds / 2], 1)

    image = torch.zeros(1, 1, 8, 8)
    smoothed = Smoothed(model, 1.0, 201)
    logits, votes = smoothed(image), smoothed.votes(image)[:, -1]
    found = logits[:, 0] > 0 if regions else logits.argmax(1) == 1
    assert torch.equal(found, votes > 100)
    assert found.float().mean() > 0.9


def test_regions_are_voted_on_one_by_one():
    model, image = _data(2)
    smoothed = Smoothed(model, 0.7, 8, regions=True)
    with torch.no_grad():
        noisy = _noisy(model, image, 0.7, 8)
        votes, mean = (noisy > 0).sum(0), noisy.sigmoid().mean(0)
        logits = smoothed(image)
        assert torch.equal(smoothed.votes(image).long(), votes)
    assert (votes == 4).any()
    assert torch.equal(logits > 0, (votes > 4) | ((votes == 4) & (mean > 0.5)))
    agree = (logits > 0) == (mean > 0.5)
    assert not agree.all()
    torch.testing.assert_close(logits[agree], torch.logit(mean)[agree])


def test_a_single_channel_is_a_region():
    image = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    alone, region = Smoothed(lambda x: x, 0.5, 20), Smoothed(lambda x: x, 0.5, 20, regions=True)
    assert torch.equal(alone(image), region(image))
    assert torch.equal(alone.votes(image), region.votes(image))
    assert alone.votes(image).unique().numel() > 3


def test_classifiers_can_be_smoothed():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 3))
    image = torch.randn(4, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        decided = _noisy(model, image, 1.0, 15).argmax(2)
        votes, found = _counts(decided), Smoothed(model, 1.0, 15)(image).argmax(1)
    assert torch.equal(votes.gather(1, found[:, None])[:, 0], votes.amax(1))


def _mean_log(model, image, sigma, samples, *, regions):
    """log mean p, or log (mean p / (1 - mean p)) for regions, with the whole graph in memory."""
    logits = _noisy(model, image, sigma, samples)
    if regions:
        return torch.logit(logits.sigmoid().mean(0))
    return log_softmax(logits, 2).exp().mean(0).log()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_gradients_are_those_of_the_mean_probability(dims, regions, batch_size):
    model, image = _data(dims, dtype=torch.float64)
    image.requires_grad_()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    wanted = _mean_log(model, image, 0.7, 7, regions=regions)
    pull = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.autograd.grad((wanted * pull).sum(), [image, *weights])
    smoothed = Smoothed(model, 0.7, 7, batch_size=batch_size, regions=regions)
    found = torch.autograd.grad((smoothed(image) * pull).sum(), [image, *weights])
    assert len(expected) > 4
    torch.testing.assert_close(found, expected)


def test_weights_get_gradients_from_an_image_that_needs_none():
    model, image = _data(2, dtype=torch.float64)
    weight = model[0].weight
    _mean_log(model, image, 0.7, 4, regions=False)[:, 0].sum().backward()
    expected, weight.grad = weight.grad, None
    Smoothed(model, 0.7, 4)(image)[:, 0].sum().backward()
    torch.testing.assert_close(weight.grad, expected)
    assert model[0].bias.grad is None  # it asked for none


def test_gradients_survive_probabilities_that_underflow():
    model, image = _data(2)
    scaled = Smoothed(lambda x: model(x) * 300, 0.3, 5)
    leaf = image.clone().requires_grad_()
    (found,) = torch.autograd.grad(scaled(leaf)[:, 0].sum(), leaf)
    exact, wide = messy_model(2).eval().double(), image.double().requires_grad_()
    # In float64 the smallest probability is around exp(-600) and the plain formula still holds.
    mean = torch.logsumexp(log_softmax(_noisy(exact, wide, 0.3, 5) * 300, 2), 0)
    (expected,) = torch.autograd.grad(mean[:, 0].sum(), wide)
    assert (log_softmax(model(image) * 300, 1) < -110).any()
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-2)


def test_one_draw_is_in_memory_at_a_time():
    model, image = _data(2)
    for weight in model.parameters():
        weight.requires_grad_(False)

    def kept(samples, batch_size=1):
        sizes = []
        leaf = image.clone().requires_grad_()

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = Smoothed(model, 0.5, samples, batch_size=batch_size)(leaf)
        forward = sum(sizes)
        sizes.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value.sum().backward()
        return forward, sum(sizes) // samples

    assert kept(2)[0] == kept(20)[0] == image.numel() + 3 * image[:, 0].numel()
    assert kept(2)[1] == kept(20)[1]


def test_passes_are_as_many_as_promised():
    model, image = _data(2)
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    value = Smoothed(model, 0.5, 7, batch_size=3)(image.requires_grad_())
    assert calls == [False] * 3
    value.sum().backward()
    assert calls == [False] * 3 + [True] * 3
    handle.remove()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_batch_equals_its_singles_for_every_batch_size(dims):
    model, image = _data(dims)
    with torch.no_grad():
        usual = Smoothed(model, 0.7, 10)
        together, votes = usual(image), usual.votes(image)
        for batch_size in (3, 10, 50):
            other = Smoothed(model, 0.7, 10, batch_size=batch_size)
            torch.testing.assert_close(other(image), together)
            assert torch.equal(other.votes(image), votes)
        torch.testing.assert_close(torch.cat([usual(one[None]) for one in image]), together)
        assert torch.equal(torch.cat([usual.votes(one[None]) for one in image]), votes)


def test_noise_is_fixed_by_the_seed_and_leaves_the_global_generator_alone():
    model, image = _data(2)
    smoothed = Smoothed(model, 0.7, 10)
    before = torch.get_rng_state()
    with torch.no_grad():
        first, again, other = smoothed(image), smoothed(image), Smoothed(model, 0.7, 10, seed=1)(image)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_smoothing_a_half_space_keeps_its_boundary():
    model = LinearPerVoxel(torch.tensor([1.0, -2.0, 2.0]), bias=0.1)
    image = torch.randn(6, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        gap = model.gap(image)
    smoothed = Smoothed(model, 0.5, 400, batch_size=400)
    search = SampleMargin(L2(10.0), criterion=VoxelsFlipped(0.0), attack=PGD(L2(10.0), steps=3), rtol=0.05)
    margin = search(smoothed, image, (gap > 0).long()).margin
    # The share of votes at the boundary is known to 3 standard errors, a gap of 0.075; so is the boundary.
    slack = 0.5 * 3 * (torch.pi / 2 / 400) ** 0.5
    torch.testing.assert_close(margin, gap.abs().flatten() / 3, rtol=0.05, atol=slack)


@pytest.mark.parametrize("name", Attack.known())
def test_every_attack_runs_on_it_and_leaves_the_model_as_it_was(name):
    model = messy_model(2)
    _, image = _data(2)
    smoothed = Smoothed(model, 0.5, 6, batch_size=6)
    smoothed.train()
    model[1].eval()
    with torch.no_grad():
        label = Smoothed(messy_model(2).eval(), 0.5, 6)(image).argmax(1)
    before, random = state_of(smoothed), torch.get_rng_state()
    steps = {} if name == "fgsm" else {"steps": 4}
    result = Attack.build({"name": name, **steps}, L2(3.0))(smoothed, image, label)
    assert same_state(before, state_of(smoothed))
    assert torch.equal(torch.get_rng_state(), random)
    assert (result.foreground_dice_clean == 1).all()
    assert (result.foreground_dice < 1).any()
    with torch.no_grad():
        votes = Smoothed(model.eval(), 0.5, 6).votes(result.image)
    assert torch.equal(votes.gather(1, result.prediction[:, None])[:, 0], votes.amax(1))


def test_mixed_precision_of_the_forward_pass_is_that_of_the_backward_pass():
    model, image = _data(2)
    kinds = []
    handle = model[0].register_forward_hook(lambda _, __, output: kinds.append(output.dtype))
    leaf = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = Smoothed(model, 0.5, 2)(leaf)
    (found,) = torch.autograd.grad(value[:, 0].sum(), leaf)
    handle.remove()
    assert value.dtype == torch.float32
    assert kinds == [torch.bfloat16] * 4
    (expected,) = torch.autograd.grad(Smoothed(model, 0.5, 2)(leaf)[:, 0].sum(), leaf)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"sigma": 0.0}, r"sigma must be finite and > 0 \(units of image\), got 0"),
        ({"sigma": float("inf")}, "sigma must be finite and > 0"),
        ({"sigma": float("nan")}, "sigma must be finite and > 0"),
        ({"samples": 0}, "samples must be a whole number >= 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number >= 1, got 2.5"),
    ],
)
def test_nonsense_is_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        Smoothed(lambda image: image, **{"sigma": 0.5, "samples": 10, **settings})
