"""Certified margins: exact statistics, closed forms of half-spaces, and no attack that gets below them."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from imaseg import L2, PGD, LogitMargin, SampleMargin, VoxelsFlipped, WeakestVoxels
from imaseg.margins.binomial import least_votes, log_tails
from imaseg.margins.certified import CertifiedMargin
from imaseg.margins.gap import certified_gap
from imaseg.margins.smoothed import Smoothed
from tests.attacks.models import (
    LinearConvolution,
    LinearPerVoxel,
    messy_model,
    same_state,
    state_of,
    trained_model,
)

SHAPES = {2: (9, 8), 3: (6, 5, 4)}
NORMAL = NormalDist()


def _data(dims, batch=3):
    image = torch.randn(batch, 2, *SHAPES[dims], generator=torch.Generator().manual_seed(1))
    return messy_model(dims), image


def _linear(kind, dims, seed=0):
    """A linear model, an image, and each voxel's signed distance to the model's boundary."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 2, *SHAPES[dims], generator=generator)
    if kind == "per voxel":
        model = LinearPerVoxel(torch.tensor([1.0, -2.0]), bias=0.1)
        norm = torch.tensor(5.0).sqrt()
    else:
        model = LinearConvolution(torch.randn(1, 2, *[3] * dims, generator=generator), bias=0.1)
        norm = model.dual(image, 2)
    with torch.no_grad():
        return model, image, model.gap(image) / norm


# Statistics, against scipy and against textbook procedures that sort


@pytest.mark.parametrize("samples", [1, 7, 100, 1000])
@pytest.mark.parametrize("tau", [0.55, 0.75, 0.95])
def test_table_of_p_values_is_that_of_the_exact_test(samples, tau):
    table = log_tails(samples, tau)
    assert table.dtype == torch.float64
    counts = np.arange(samples + 2)
    expected = torch.from_numpy(binom.logsf(counts - 1, samples, tau))
    torch.testing.assert_close(table, expected, rtol=1e-9, atol=1e-11)
    middle = int(0.9 * samples)
    one = binomtest(middle, samples, tau, alternative="greater").pvalue
    assert table[middle].exp().item() == pytest.approx(one, rel=1e-9)
    assert (table.diff() <= 0).all()


def _holm(pvalues, alpha):
    """Step down over sorted p-values until one is too large."""
    rejected = np.zeros(len(pvalues), dtype=bool)
    for rank, voxel in enumerate(np.argsort(pvalues, kind="stable")):
        if pvalues[voxel] > alpha / (len(pvalues) - rank):
            break
        rejected[voxel] = True
    return rejected


def _climb(votes, samples, taus, alpha):
    """Each voxel tests its next tau at alpha over the number of voxels that are not through all of them, one by one."""
    level = [0] * len(votes)
    while True:
        waiting = [voxel for voxel in range(len(votes)) if level[voxel] < len(taus)]
        for voxel in waiting:
            if binom.sf(votes[voxel] - 1, samples, taus[level[voxel]]) <= alpha / len(waiting):
                level[voxel] += 1
                break
        else:
            return level


votes_of_voxels = st.lists(st.integers(0, 30) | st.integers(24, 30), min_size=1, max_size=40)


@given(votes=votes_of_voxels, tau=st.sampled_from([0.55, 0.6, 0.75]), alpha=st.sampled_from([0.001, 0.05, 0.3]))
@settings(max_examples=200, deadline=None)
def test_holm_certifies_what_the_step_down_procedure_rejects_and_all_of_bonferroni(votes, tau, alpha):
    pvalues = binom.sf(np.array(votes) - 1, 30, tau)
    tails, counts = log_tails(30, tau)[None], torch.tensor(votes)
    holm = counts >= least_votes(counts, tails, alpha=alpha, holm=True)
    bonferroni = counts >= least_votes(counts, tails, alpha=alpha, holm=False)
    assert holm.tolist() == _holm(pvalues, alpha).tolist()
    assert bonferroni.tolist() == (pvalues <= alpha / len(votes)).tolist()
    assert (holm | ~bonferroni).all()


def test_holm_certifies_more_than_bonferroni_where_most_voxels_pass():
    votes = torch.tensor([30] * 95 + [27] * 5)
    tails = log_tails(30, 0.6)[None]
    assert (votes >= least_votes(votes, tails, alpha=0.01, holm=True)).all()
    assert (votes >= least_votes(votes, tails, alpha=0.01, holm=False)).sum() == 95


@given(votes=votes_of_voxels, alpha=st.sampled_from([0.001, 0.05, 0.3]))
@settings(max_examples=50, deadline=None)
def test_several_taus_are_climbed_as_the_sequential_procedure_does(votes, alpha):
    taus = (0.55, 0.65, 0.75, 0.85)
    counts = torch.tensor(votes)
    least = least_votes(counts, torch.stack([log_tails(30, tau) for tau in taus]), alpha=alpha, holm=True)
    assert (counts[:, None] >= least).sum(1).tolist() == _climb(votes, 30, taus, alpha)


@pytest.mark.parametrize("tau", [0.7, (0.55, 0.7, 0.8)])
@pytest.mark.parametrize("correction", ["holm", "bonferroni"])
def test_family_wise_error_rate_stays_below_alpha(tau, correction):
    # Voxels a hair closer to the boundary than the radius: certifying one of them is an error. The one between the
    # levels of several taus may be certified at the lower, the easy ones always.
    sigma, alpha, trials = 0.5, 0.2, 300
    radius = sigma * NORMAL.inv_cdf(0.7)
    distance = torch.tensor([radius] * 6 + [sigma * NORMAL.inv_cdf(0.75)] * 2 + [5.0] * 4) * (1 - 1e-4)
    model, image = LinearPerVoxel(torch.ones(1)), distance.reshape(1, 1, 3, 4)
    margin = CertifiedMargin(sigma, 60, alpha, tau=tau, batch_size=60, correction=correction)
    errors = 0
    for seed in range(trials):
        result = replace(margin, seed=seed)(model, image)
        errors += bool((result.radius.flatten() > distance).any())
        assert (result.radius.flatten()[-4:] > 0).all()
    slack = 3 * math.sqrt(alpha * (1 - alpha) / trials)
    assert 0.02 < errors / trials <= alpha + slack  # not by certifying nothing


# Half-spaces: smoothing keeps their boundary, so that every voxel's true radius is its distance


@pytest.mark.parametrize("kind", ["per voxel", "convolution"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("tau", [0.75, (0.6, 0.75, 0.9)])
def test_radii_of_linear_models_stay_below_the_true_distance_and_are_not_vacuous(kind, dims, tau):
    model, image, distance = _linear(kind, dims)
    sigma = 0.4
    result = CertifiedMargin(sigma, 400, 1e-6, tau=tau, batch_size=100)(model, image)
    levels = [sigma * NORMAL.inv_cdf(one) for one in result.settings.taus]
    certified = ~result.abstained
    assert (result.radius <= distance.abs()).all()
    assert torch.equal(result.prediction[certified], (distance > 0).long()[certified])
    assert torch.equal(result.radius > 0, certified)
    far, near = distance.abs() > 3 * sigma, distance.abs() < 0.2 * sigma
    assert far.any()
    assert near.any()
    torch.testing.assert_close(result.radius[far], torch.full_like(distance[far], levels[-1]))
    assert result.abstained[near].all()
    expected = torch.tensor([0.0, *levels])
    torch.testing.assert_close(result.radius.unique(), expected)
    assert result.radius.dtype == torch.float32


@given(power=st.integers(-6, 6), seed=st.integers(0, 20), dims=st.sampled_from([2, 3]))
@settings(max_examples=8, deadline=None)
def test_scaling_image_bias_and_sigma_scales_the_radius(power, seed, dims):
    scale = 2.0**power  # which rounds nothing
    model, image, _ = _linear("convolution", dims, seed)
    usual = CertifiedMargin(0.3, tau=(0.6, 0.8), seed=seed)(model, image)
    model.bias *= scale
    scaled = CertifiedMargin(0.3 * scale, tau=(0.6, 0.8), seed=seed)(model, image * scale)
    assert torch.equal(scaled.votes, usual.votes)
    torch.testing.assert_close(scaled.radius, usual.radius * scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_scaling_logits_changes_nothing(factor):
    model, image, _ = _linear("convolution", 2)
    usual = CertifiedMargin(0.3)(model, image)
    assert torch.equal(CertifiedMargin(0.3)(lambda x: model(x) * factor, image).radius, usual.radius)


def test_more_samples_certify_more_and_a_higher_tau_less():
    model, image, _ = _linear("convolution", 2)
    certified = [int((CertifiedMargin(0.4, samples)(model, image).radius > 0).sum()) for samples in (50, 200, 800)]
    assert certified[0] < certified[1] < certified[2]
    by_tau = [int((CertifiedMargin(0.4, 200, tau=tau)(model, image).radius > 0).sum()) for tau in (0.6, 0.75, 0.9)]
    assert by_tau[0] > by_tau[1] > by_tau[2]


# What is counted


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
def test_votes_are_counted_on_other_samples_than_those_that_pick_the_class(dims, regions):
    model, image = _data(dims)
    model.eval()
    result = CertifiedMargin(0.7, 60, tau=0.6, selection=5, seed=3, regions=regions)(model, image)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        noise = [torch.randn(image.shape[1:], generator=generator) for _ in range(65)]
        logits = torch.stack([model(image + 0.7 * one) for one in noise])
    if regions:
        decided = logits > 0
        picked = decided[:5].sum(0) >= 3
        votes = (decided[5:] == picked).sum(0).amin(1)
    else:
        decided = logits.argmax(2)
        counts = torch.stack([(decided[:5] == k).sum(0) for k in range(3)])
        picked = counts.argmax(0)
        votes = (decided[5:] == picked).sum(0)
    assert torch.equal(result.prediction, picked)
    assert torch.equal(result.votes.long(), votes)
    for one, radius in zip(votes, result.radius, strict=True):
        rejected = _holm(binom.sf(one.flatten().numpy() - 1, 60, 0.6), 0.001)
        assert (radius.flatten() > 0).tolist() == rejected.tolist()
    assert 0 < result.abstained.sum() < result.abstained.numel()


def test_a_voxel_is_certified_only_if_each_of_its_regions_is():
    # Two regions with boundaries at 0 and 1 of the one channel; the nearer one counts.
    image = torch.linspace(-1.5, 2.5, 41).reshape(1, 1, 1, 41)
    result = CertifiedMargin(0.2, 300, tau=(0.6, 0.75, 0.9), regions=True)(lambda x: torch.cat([x, x - 1], 1), image)
    distance = torch.minimum(image.abs(), (image - 1).abs())[:, 0]
    assert result.prediction.shape == (1, 2, 1, 41)
    assert (result.radius <= distance).all()
    assert (result.radius[distance > 0.45] > 0).all()
    assert result.abstained[distance < 0.03].all()
    certified = ~result.abstained
    truth = torch.cat([image > 0, image > 1], 1)
    assert torch.equal(result.prediction.movedim(1, -1)[certified], truth.movedim(1, -1)[certified])


def test_a_single_channel_is_a_region():
    image = torch.tensor([-2.0, 0.02, 2.0]).reshape(1, 1, 1, 3)
    result = CertifiedMargin(0.5)(lambda x: x, image)
    assert result.prediction[..., [0, 2]].tolist() == [[[[False, True]]]]
    assert result.abstained.tolist() == [[[False, True, False]]]


def test_classifiers_have_one_radius_each():
    image = torch.tensor([[-2.0], [0.01], [2.0]])
    result = CertifiedMargin(0.5, tau=0.7)(lambda x: torch.cat([-x, x], 1), image)
    assert result.abstained.tolist() == [False, True, False]
    torch.testing.assert_close(result.radius[0].item(), 0.5 * NORMAL.inv_cdf(0.7), rtol=1e-6, atol=0)
    assert result.prediction[[0, 2]].tolist() == [0, 1]


# What must not matter


@pytest.mark.parametrize("dims", [2, 3])
def test_a_batch_equals_its_singles_for_every_batch_size(dims):
    model, image = _data(dims)
    margin = CertifiedMargin(0.7, tau=0.6)
    together = margin(model, image)
    for batch_size in (3, 200):
        other = replace(margin, batch_size=batch_size)(model, image)
        assert torch.equal(other.votes, together.votes)
        assert other.forward_calls == math.ceil(10 / batch_size) + math.ceil(100 / batch_size)
    for i, one in enumerate(image):
        alone = margin(model, one[None])
        for name in ("radius", "abstained", "prediction", "votes"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[i])


def test_the_settings_of_a_result_replay_it_and_another_seed_does_not():
    model, image = _data(2)
    result = CertifiedMargin(0.7, tau=0.6, seed=5)(model, image)
    assert torch.equal(result.settings(model, image).votes, result.votes)
    assert not torch.equal(replace(result.settings, seed=6)(model, image).votes, result.votes)


def test_model_and_random_state_are_left_as_they_were_and_calls_are_counted():
    model, image = _data(2)
    before, random, calls = state_of(model), torch.get_rng_state(), []
    handle = model.register_forward_hook(lambda *_: calls.append(model.training or torch.is_grad_enabled()))
    result = CertifiedMargin(0.7, 50)(model, image.requires_grad_())
    handle.remove()
    assert same_state(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), random)
    assert calls == [False] * 60
    assert result.forward_calls == 60
    assert not result.radius.requires_grad
    assert image.grad is None


def test_half_precision_images_are_certified_in_full_precision():
    _, image = _data(2)
    kinds = set()

    def model(x):
        kinds.add(x.dtype)
        return torch.cat([x, -x], 1)

    CertifiedMargin(0.5, 40)(model, image.half())
    CertifiedMargin(0.5, 40)(model, image.double())
    assert kinds == {torch.float32, torch.float64}


# Attacks


def test_no_attack_below_the_radius_takes_the_majority_from_a_certified_voxel():
    model, image, _ = trained_model()
    sigma = 0.5
    result = CertifiedMargin(sigma, 200, batch_size=100)(model, image)
    label = result.prediction.where(~result.abstained, -1)
    radius = result.radius.max().item()

    def share(at, samples=800):
        """Votes for the prediction with fresh noise."""
        votes = Smoothed(model, sigma, samples, seed=99, batch_size=100).votes(at)
        return votes.gather(1, result.prediction[:, None])[:, 0] / samples

    smoothed = Smoothed(model, sigma, 20, seed=1, batch_size=20)
    for eps, strong_enough in ((radius * 0.999, False), (radius * 8, True)):
        attack = PGD(L2(eps), steps=4, objective=LogitMargin())
        lost = share(attack(smoothed, image, label).image)[~result.abstained] < 0.5 - 4 * 0.5 / 800**0.5
        assert bool(lost.any()) == strong_enough
    assert (~result.abstained).float().mean() > 0.7


def test_the_margin_of_any_certified_voxel_lies_above_the_radius():
    model, image, distance = _linear("convolution", 2)
    result = CertifiedMargin(0.4, 200, batch_size=50)(model, image)
    label = result.prediction.where(~result.abstained, -1)
    smoothed = Smoothed(model, 0.4, 50, seed=1, batch_size=50)
    attack = PGD(L2(3.0), steps=5, objective=WeakestVoxels())
    margin = SampleMargin(L2(3.0), criterion=VoxelsFlipped(0.0), attack=attack, rtol=0.1)(smoothed, image, label).margin
    nearest = distance.abs().where(~result.abstained, torch.inf).flatten(1).amin(1)
    assert (margin > result.radius.max()).all()
    # 50 draws know a boundary to 0.07 of the 0.44 that the nearest certified voxel is away from it.
    torch.testing.assert_close(margin, nearest, rtol=0.35, atol=0)


# The gap


def test_gap_lies_between_the_certificate_and_what_an_attack_found():
    model, image, distance = _linear("convolution", 3)
    certified = CertifiedMargin(0.4, 200, 1e-6)(model, image)
    censored = distance.abs() > 1.5
    found = certified_gap(certified, distance.abs().clamp(max=1.5), censored)
    assert not found.violations.any()
    assert torch.equal(found.lower, certified.radius)
    assert censored.any()
    assert (found.upper[censored] == torch.inf).all()
    torch.testing.assert_close(found.gap[~censored], (distance.abs() - certified.radius)[~censored])
    assert (found.gap[censored] == torch.inf).all()


def test_margins_below_the_certificate_are_violations_where_they_are_not_censored():
    model, image, _ = _linear("per voxel", 2)
    certified = CertifiedMargin(0.4, 200)(model, image)
    low = torch.full_like(certified.radius, 0.99 * float(certified.radius.max()))
    censored = torch.zeros_like(certified.abstained)
    censored[0] = True
    violations = certified_gap(certified, low, censored).violations
    assert torch.equal(violations[1], ~certified.abstained[1])
    assert violations[1].any()
    assert not violations[0].any()
    assert not certified_gap(certified, certified.radius, censored).violations.any()


@pytest.mark.parametrize("dims", [2, 3])
def test_radius_and_gap_in_rms_are_measured_as_l2_measures(dims):
    model, image = _data(dims)
    certified = CertifiedMargin(0.7, tau=0.6)(model, image)
    change = torch.randn_like(image)
    change *= float(certified.radius.max()) / change[0].norm()
    expected = L2(1.0, unit="rms").size(change[:1])
    torch.testing.assert_close(certified.radius_rms.max(), expected[0])
    nowhere = torch.zeros_like(certified.abstained)
    found = certified_gap(certified, torch.ones_like(certified.radius), nowhere, unit="rms")
    assert torch.equal(found.lower, certified.radius_rms)
    torch.testing.assert_close(found.gap, 1 - certified.radius_rms)
    assert found.unit == "rms"


def test_a_gap_needs_margins_of_voxels_in_a_known_unit():
    model, image = _data(2)
    certified = CertifiedMargin(0.7, tau=0.6)(model, image)
    with pytest.raises(ValueError, match=r"radius' shape \(3, 9, 8\), got \(3,\) and \(3,\). Use margins of voxels"):
        certified_gap(certified, torch.ones(3), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="unit must be 'norm' or 'rms', got 'mm'"):
        certified_gap(certified, certified.radius, certified.abstained, unit="mm")


# What is refused


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"sigma": -0.1}, "sigma must be finite and > 0"),
        ({"samples": 0}, "samples must be a whole number >= 1, got 0"),
        ({"selection": 0}, "selection must be a whole number >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"alpha": 0.0}, r"alpha must be in \(0, 1\), got 0.0"),
        ({"alpha": 1.0}, r"alpha must be in \(0, 1\), got 1.0"),
        ({"tau": 0.5}, r"tau must be in \(0.5, 1\), several in rising order, got 0.5"),
        ({"tau": 1.0}, r"tau must be in \(0.5, 1\)"),
        ({"tau": (0.8, 0.7)}, r"rising order, got \(0.8, 0.7\)"),
        ({"tau": ()}, r"rising order, got \(\)"),
        ({"correction": "none"}, "correction must be 'holm' or 'bonferroni', got 'none'"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        CertifiedMargin(**{"sigma": 0.5, **arguments})


def test_samples_that_could_certify_nothing_are_refused_with_the_number_needed():
    model, image, _ = _linear("per voxel", 2)
    # 72 voxels at 0.001: 0.75^n <= 1.39e-5 from n = 39 on.
    with pytest.raises(ValueError, match=r"samples must be >= 39 to certify any of 72 voxels with tau=0.75 .* got 38"):
        CertifiedMargin(0.1, 38)(model, image)
    assert (CertifiedMargin(0.01, 39)(model, image).radius > 0).any()
    with pytest.raises(ValueError, match=r"samples must be >= 107 to certify any of 72 voxels with tau=0.9 .* got 106"):
        CertifiedMargin(0.01, 106, tau=(0.6, 0.75, 0.9))(model, image)
    found = CertifiedMargin(0.01, 107, tau=(0.6, 0.75, 0.9))(model, image).radius
    assert found.max().item() == pytest.approx(0.01 * NORMAL.inv_cdf(0.9))


def test_whole_number_images_and_undefined_logits_are_refused():
    model, image, _ = _linear("per voxel", 2)
    with pytest.raises(ValueError, match="image must be floating, got torch.int64"):
        CertifiedMargin(0.1)(model, image.long())
    with pytest.raises(ValueError, match="logits of the model must be defined on noisy copies of the image, got NaN"):
        CertifiedMargin(0.1)(lambda x: model(x).log(), image)
