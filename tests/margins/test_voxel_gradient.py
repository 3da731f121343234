"""First-order voxel margins: exact where parameters are few, converging where they are drawn, refused where unknown."""

from __future__ import annotations

import math

import pytest
import torch

from imaseg import L2, BiasField, Deformation, Frequency, Gamma, Linf
from imaseg.margins.voxel import VoxelMargin
from imaseg.margins.voxel_gradient import _dual
from imaseg.tiling import TiledModel
from tests.attacks.models import LinearConvolution, trained_model

SPREAD = {L2: math.sqrt(0.5), Linf: math.pi / 2}  # relative standard deviation times the root of the draws
ORDER = {L2: 2, Linf: 1}


def _estimate(perturbation, **arguments):
    return VoxelMargin(perturbation, method="gradient", **arguments)


def _linear(dims, batch=1, dtype=torch.float32, size=10):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, 2, *[size] * dims, generator=generator)
    model = LinearConvolution(torch.randn(1, 2, *[3] * dims, generator=generator), bias=0.3)
    return model.to(dtype), image.to(dtype)


def _one_logit(model):
    return lambda image: model.gap(image)[:, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", [L2, Linf])
def test_estimates_converge_to_the_closed_form(kind, dims, regions, dtype):
    model, image = _linear(dims, dtype=dtype, size=10 if dims == 2 else 6)
    draws = 150
    with torch.no_grad():
        gap, dual = model.gap(image), model.dual(image, ORDER[kind])
    label = (gap > 0)[:, None] if regions else (gap > 0).long()
    result = _estimate(kind(1e6), draws=draws)(_one_logit(model) if regions else model, image, label)
    error = (result.margin / (gap.abs() / dual).float() - 1).flatten()
    expected = SPREAD[kind] / math.sqrt(draws)
    assert error.square().mean().sqrt() < 1.4 * expected
    assert error.square().mean().sqrt() > 0.4 * expected  # random indeed, not the closed form by another way
    assert error.mean().abs() < expected
    assert result.method == "gradient"
    assert result.backward_calls == 0
    assert result.forward_calls == draws + 2


@pytest.mark.parametrize("kind", [L2, Linf])
def test_more_draws_estimate_better(kind):
    model, image = _linear(2)
    with torch.no_grad():
        gap, dual = model.gap(image), model.dual(image, ORDER[kind])

    def error(draws):
        result = _estimate(kind(1e6), draws=draws)(model, image, (gap > 0).long())
        return float((result.margin * dual / gap.abs()).log().square().mean().sqrt())

    assert error(160) < 0.5 * error(16)


@pytest.mark.parametrize("draws", [3, 5])
def test_a_mean_of_few_logarithms_is_unbiased(draws):
    """Rows of norm 2 along Cauchy directions; without the cosine the mean would be 3.1 for 3 draws, 2.6 for 5."""
    generator = torch.Generator().manual_seed(0)
    changes = [2 * torch.empty(500_000, dtype=torch.float64).cauchy_(generator=generator) for _ in range(draws)]
    assert _dual(iter(changes), euclidean=False, exact=False).mean().item() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("kind", [L2, Linf])
def test_few_parameters_are_taken_one_by_one_and_exact(kind):
    model, image = _linear(2, size=4)
    with torch.no_grad():
        gap, dual = model.gap(image), model.dual(image, ORDER[kind])
    result = _estimate(kind(1e6), draws=32)(model, image, (gap > 0).long())
    torch.testing.assert_close(result.margin, gap.abs() / dual, rtol=1e-4, atol=0)


@pytest.mark.parametrize("perturbation", [BiasField(5.0), Gamma(50.0)], ids=["bias field", "gamma"])
def test_intensity_sets_agree_with_the_jacobian(perturbation):
    model, image, label = trained_model()
    image = image[:1]
    label = model(image).argmax(1)

    def gap(params):
        logits = model(perturbation.apply(image, params))
        return (logits.gather(1, label[:, None]) - logits.gather(1, 1 - label[:, None])).flatten()

    zeros = perturbation.zeros(image)
    rows = torch.autograd.functional.jacobian(gap, zeros).flatten(1)
    expected = (gap(zeros) / rows.abs().sum(1)).detach()
    result = _estimate(perturbation)(model, image, label)
    within = expected < perturbation.eps
    torch.testing.assert_close(result.margin.flatten()[within], expected[within], rtol=1e-3, atol=1e-6)
    assert torch.equal(result.censored.flatten(), ~within)


def test_rms_and_region_change_the_measure_alone():
    model, image = _linear(2, size=4)
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[..., :2] = True
    gap = model.gap(image).detach()
    rows = torch.autograd.functional.jacobian(lambda one: model.gap(one).flatten(), image).flatten(1)
    dual = (rows * region.expand(1, 2, 4, 4).flatten()).norm(dim=1)
    result = _estimate(L2(1e6, unit="rms", region=region), draws=32)(model, image, (gap > 0).long())
    expected = gap.abs().flatten() / dual / math.sqrt(32)
    reached = dual > 0
    torch.testing.assert_close(result.margin.flatten()[reached], expected[reached], rtol=1e-4, atol=0)
    assert result.censored.flatten()[~reached].all()


def test_the_nearest_class_counts_not_the_runner_up():
    weight = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]])
    image = torch.tensor([[-1.0, -1.0]])  # gaps 1 and 9, norms 1 and 9: both at 1; moved so that the second is nearer
    image[0, 1] = -0.5
    result = _estimate(L2(9.0))(lambda one: one @ weight.T, image, torch.tensor([0]))
    assert result.margin.item() == pytest.approx(0.5)


def test_censored_wrong_and_ignored_voxels_are_as_in_the_other_method():
    model, image = _linear(2, size=4)
    gap = model.gap(image).detach()
    label = (gap > 0).long()
    label[0, 0, 0] = 1 - label[0, 0, 0]
    label[0, 1, 1] = -1
    budget = 0.4
    result = _estimate(L2(budget), draws=32)(model, image, label)
    assert not result.right[0, 0, 0]
    assert not result.right[0, 1, 1]
    assert (result.margin[~result.right] == 0).all()
    assert (result.margin[result.censored] == torch.tensor(budget)).all()
    assert 0 < result.censored.sum() < result.right.sum()
    assert (result.margin <= budget).all()
    assert not (result.censored & ~result.right).any()


@pytest.mark.parametrize("kind", [L2, Linf])
def test_a_batch_equals_its_singles_and_the_seed_decides(kind):
    model, image = _linear(2, batch=3)
    label = (model.gap(image) > 0).long()
    random = torch.get_rng_state()
    together = _estimate(kind(1e6), draws=12)(model, image, label).margin
    alone = torch.cat(
        [_estimate(kind(1e6), draws=12)(model, image[i : i + 1], label[i : i + 1]).margin for i in range(3)]
    )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert torch.equal(random, torch.get_rng_state())
    other = _estimate(kind(1e6), draws=12, seed=1)(model, image, label).margin
    assert not torch.allclose(together, other)


def test_a_nonlinear_model_agrees_with_its_own_gradients():
    model, image, label = trained_model()
    image, label = image[:1], model(image[:1]).argmax(1)
    logits = model(image.requires_grad_())
    gap = (logits.gather(1, label[:, None]) - logits.gather(1, 1 - label[:, None]))[0, 0]
    places = [(2, 3), (7, 7), (12, 4)]
    norms = [torch.autograd.grad(gap[place], image, retain_graph=True)[0].norm() for place in places]
    result = _estimate(L2(1e6), draws=256)(model, image.detach(), label)
    for place, norm in zip(places, norms, strict=True):
        assert result.margin[0][place].item() == pytest.approx(float(gap[place] / norm), rel=1e-3)


class _NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def test_a_model_without_forward_mode_is_differenced_for_l2_and_refused_for_others():
    model, image = _linear(2)
    label = (model.gap(image) > 0).long()
    usual = _estimate(L2(1e3), draws=20)(lambda one: model(one) * 2, image, label)
    differenced = _estimate(L2(1e3), draws=20)(lambda one: _NoForwardMode.apply(model(one)), image, label)
    torch.testing.assert_close(differenced.margin, usual.margin, rtol=1e-3, atol=1e-6)
    assert differenced.forward_calls > usual.forward_calls
    with pytest.raises(ValueError, match="model must support forward-mode differentiation .* Use method='attack'"):
        _estimate(Linf(1.0), draws=20)(lambda one: _NoForwardMode.apply(model(one)), image, label)


def test_tiles_are_differentiated_forward_too():
    model, image = _linear(2)
    label = (model.gap(image) > 0).long()
    tiled = TiledModel(model, roi_size=6, overlap=0.5)
    usual, by_tiles = (_estimate(Linf(1e3), draws=20)(one, image, label).margin for one in (_Blended(tiled), tiled))
    torch.testing.assert_close(by_tiles, usual, rtol=1e-3, atol=1e-6)


class _Blended(torch.nn.Module):
    """The same linear map as a dense matrix, from its values on unit images."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        zero = torch.zeros(1, *image.shape[1:])
        with torch.no_grad():
            units = torch.eye(zero.numel()).view(-1, *image.shape[1:])
            offset = self.model(zero)
            matrix = torch.cat([self.model(unit) - offset for unit in units.split(50)])
        return (image.flatten(1) @ matrix.flatten(1)).view(len(image), *offset.shape[1:]) + offset


@pytest.mark.parametrize("perturbation", [Deformation(2.0), Frequency(20.0)], ids=lambda one: one.name)
def test_sets_without_a_simple_dual_are_refused(perturbation):
    model, image, label = trained_model()
    with pytest.raises(ValueError, match=f"got {perturbation.name}. Use method='attack'"):
        _estimate(perturbation)(model, image, label)
