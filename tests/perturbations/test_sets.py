"""Projections against brute force; budgets, bounds and regions of every set."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from imaseg.perturbations import L2, Linf, Perturbation

SETS = [L2, Linf, lambda eps, **kw: L2(eps, unit="rms", **kw)]
IDS = ["l2", "linf", "l2-rms"]
sets = pytest.mark.parametrize("make", SETS, ids=IDS)
values = st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4)


def _tensor(numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, 2, 2)


def _brute_force(image, params, perturbation, low, high):
    """Nearest point by a general-purpose solver."""
    goal, base = params.flatten().numpy(), image.flatten().numpy()
    radius = float(perturbation.eps)

    def room(z):
        size = perturbation.size(torch.from_numpy(z).view(1, 1, 2, 2))
        return radius - float(size)

    box = list(zip(low - base, high - base, strict=True))
    if isinstance(perturbation, Linf):
        box = [(max(a, -radius), min(b, radius)) for a, b in box]
    constraints = [{"type": "ineq", "fun": room}] if isinstance(perturbation, L2) else []
    start = torch.zeros(4, dtype=torch.float64).numpy()
    found = minimize(
        lambda z: ((z - goal) ** 2).sum(), start, bounds=box, constraints=constraints, options={"ftol": 1e-12}
    )
    return torch.from_numpy(found.x).view(1, 1, 2, 2)


@sets
@given(image=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), params=values, eps=st.floats(0.1, 3))
@settings(max_examples=25, deadline=None)
def test_projection_equals_brute_force(make, image, params, eps):
    perturbation = make(eps, bounds=(-1.0, 1.0))
    base, moved = _tensor(image), _tensor(params)
    found = perturbation.project(base, moved)
    expected = _brute_force(base, moved, perturbation, -1.0, 1.0)
    distance, best = (found - moved).norm(), (expected - moved).norm()
    assert distance <= best + 1e-4
    # Only feasible points may be compared: outside the bounds there are nearer ones.
    assert perturbation.size(found).item() <= eps * (1 + 1e-9)
    assert (base + found).abs().max().item() <= 1 + 1e-9
    torch.testing.assert_close(perturbation.apply(base, found), base + found, rtol=0, atol=1e-12)
    torch.testing.assert_close(perturbation.project(base, found), found, rtol=1e-9, atol=1e-9)


@given(image=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), params=values, eps=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_linf_projects_each_value_on_to_its_own_interval(image, params, eps):
    found = Linf(eps, bounds=(-1.0, 1.0)).project(_tensor(image), _tensor(params))
    nearest = [min(max(p, -eps, -1.0 - x), eps, 1.0 - x) for x, p in zip(image, params, strict=True)]
    assert torch.equal(found, _tensor(nearest))


@given(image=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), params=values, eps=st.floats(0.01, 3))
@settings(max_examples=50, deadline=None)
def test_l2_projection_within_bounds_solves_for_the_multiplier(image, params, eps):
    """Minimising |z - p|^2 + m |z|^2 within the box gives z = clip(p / (1 + m)), with m = 0 or |z| = eps."""
    base, moved = _tensor(image), _tensor(params)

    def point(multiplier):
        return (moved / (1 + multiplier)).clamp(-1 - base, 1 - base)

    def excess(multiplier):
        return float(point(multiplier).norm()) - eps

    multiplier = 0.0 if excess(0.0) <= 0 else brentq(excess, 0.0, 1e6, xtol=1e-12)
    found = L2(eps, bounds=(-1.0, 1.0)).project(base, moved)
    torch.testing.assert_close(found, point(multiplier), rtol=0, atol=1e-8)


@sets
@given(params=values, eps=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_projection_is_idempotent_and_leaves_interior_points_alone(make, params, eps):
    base, moved = torch.zeros(1, 1, 2, 2, dtype=torch.float64), _tensor(params)
    perturbation = make(eps)
    once = perturbation.project(base, moved)
    torch.testing.assert_close(perturbation.project(base, once), once, rtol=1e-12, atol=1e-12)
    if perturbation.size(moved).item() <= eps:
        assert torch.equal(once, moved)


@sets
def test_init_lies_inside_and_uses_only_its_generator(make):
    image, state = torch.randn(3, 2, 4, 4), torch.get_rng_state()
    perturbation = make(torch.tensor([0.0, 0.5, 2.0]))
    params = perturbation.init(image, torch.Generator().manual_seed(1))
    assert (perturbation.size(params) <= perturbation.eps * (1 + 1e-5)).all()
    assert perturbation.size(params)[1:].min() > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_random_starts_lie_at_all_depths_of_the_ball():
    image, generator = torch.zeros(1, 2, 4, 4), torch.Generator().manual_seed(0)
    for perturbation in (L2(3.0), L2(3.0, unit="rms")):
        sizes = torch.cat([perturbation.size(perturbation.init(image, generator)) for _ in range(400)])
        # Kolmogorov and Smirnov: 400 values of the uniform distribution stay this near to it with probability .999.
        assert (sizes.sort().values / 3 - torch.arange(1, 401) / 400).abs().max() < 1.95 / 400**0.5
    values = torch.cat([Linf(3.0).init(image, generator) for _ in range(20)]).flatten().sort().values
    assert ((values + 3) / 6 - torch.arange(1, 641) / 640).abs().max() < 1.95 / 640**0.5


@sets
def test_region_keeps_changes_inside(make):
    image = torch.randn(2, 1, 4, 4)
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[..., :2] = True
    perturbation = make(0.5, region=region)
    for params in (
        perturbation.init(image, torch.Generator().manual_seed(0)),
        perturbation.step(torch.zeros_like(image), torch.randn_like(image), torch.ones(2)),
        perturbation.project(image, torch.randn_like(image)),
    ):
        assert params[..., 2:].abs().max() == 0
        assert params[..., :2].abs().max() > 0


@sets
def test_step_has_the_length_asked_for_and_is_the_steepest(make):
    gradient = torch.randn(3, 1, 4, 4)
    perturbation, length = make(1.0), torch.tensor([0.1, 1.0, 0.0])
    step = perturbation.step(torch.zeros_like(gradient), gradient, length)
    torch.testing.assert_close(perturbation.size(step), length)
    gain = (step * gradient).flatten(1).sum(1)
    for seed in range(20):
        other = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
        other = other * (length / perturbation.size(other)).view(3, 1, 1, 1)
        assert (gain >= (other * gradient).flatten(1).sum(1) - 1e-5).all()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e20])
def test_l2_step_survives_tiny_and_huge_gradients(scale):
    step = L2(1.0).step(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), scale), torch.tensor([1.0]))
    torch.testing.assert_close(L2(1.0).size(step), torch.tensor([1.0]))


@sets
def test_zero_gradient_does_not_move(make):
    params = torch.randn(1, 1, 4, 4)
    assert torch.equal(make(9.0).step(params, torch.zeros_like(params), torch.ones(1)), params)


def test_rms_does_not_depend_on_the_number_of_voxels_or_channels():
    perturbation = L2(0.25, unit="rms")
    for channels, side in ((1, 4), (1, 32), (3, 4)):
        image = torch.zeros(1, channels, side, side)
        params = perturbation.project(image, torch.ones_like(image))
        torch.testing.assert_close(params, torch.full_like(params, 0.25))


@sets
def test_bounds_per_sample_are_kept(make):
    image = torch.stack([torch.zeros(1, 4, 4), torch.full((1, 4, 4), 100.0)])
    bounds = (torch.tensor([0.0, 99.5]), torch.tensor([1.0, 100.5]))
    perturbation = make(50.0, bounds=bounds)
    changed = perturbation.apply(image, perturbation.project(image, torch.randn(2, 1, 4, 4) * 9))
    for i in range(2):
        assert changed[i].min() >= bounds[0][i]
        assert changed[i].max() <= bounds[1][i]


@sets
def test_take_and_with_eps_give_the_same_set_for_part_of_a_batch(make):
    region = torch.rand(3, 1, 2, 2) > 0.5
    whole = make(torch.tensor([0.1, 0.2, 0.3]), bounds=(torch.tensor([-1.0, -2.0, -3.0]), 5.0), region=region)
    part = whole.take(torch.tensor([2, 0]))
    assert part.eps.tolist() == pytest.approx([0.3, 0.1])
    assert part.bounds[0].tolist() == [-3.0, -1.0]
    assert torch.equal(part.region, region[[2, 0]])
    assert whole.with_eps(7.0).eps == 7.0
    assert whole.eps.tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", Perturbation.known())
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"eps": -0.1}, "eps must be finite and >= 0"),
        ({"eps": float("nan")}, "eps must be finite and >= 0"),
        ({"eps": 1.0, "bounds": (1.0, 0.0)}, r"bounds must be \(low, high\)"),
    ],
)
def test_nonsense_is_refused(name, arguments, text):
    with pytest.raises(ValueError, match=text):
        Perturbation.named(name)(**arguments)


@pytest.mark.parametrize("name", Perturbation.known())
def test_another_budget_is_checked_too(name):
    with pytest.raises(ValueError, match="eps must be finite and >= 0"):
        Perturbation.named(name)(1.0).with_eps(torch.tensor([1.0, -1.0]))


def test_unit_must_be_known():
    with pytest.raises(ValueError, match="unit must be 'norm' or 'rms', got 'mm'"):
        L2(1.0, unit="mm")


@sets
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_image_outside_bounds_is_refused(make, value):
    perturbation = make(1.0, bounds=(0.0, 1.0))
    perturbation.check(torch.tensor([[[0.0, 1.0]]]))
    with pytest.raises(ValueError, match="image must lie within bounds"):
        perturbation.check(torch.tensor([[[value, 0.5]]]))


@sets
def test_eps_must_fit_the_batch(make):
    with pytest.raises(ValueError, match=r"one value or one per sample \(3\), got 2"):
        make(torch.tensor([1.0, 2.0])).radius(torch.zeros(3, 1, 2, 2))
