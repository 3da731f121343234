"""Whether gradients tell what happens: steps along them are taken, and the gain held against the predicted one.

A ripple on the image, x + 0.005 sin(2000 x), changes no decision and turns the gradient into noise of any size:
searches find little, and nothing about the gradients is zero or undefined. Two things give it away. The gain along
the gradient is a small part of the predicted one; and the mean gradient over noisy copies of the image, from which
ripples average out, leads further (Athalye, Carlini & Wagner, ICML 2018).

Logits that are cut off, rounded or taken from an argmax have no gradient at all where the decision is clear: an attack
does not see those voxels until the others have moved. `silent` looks for them one voxel at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from imaseg.attacks import Attack
from imaseg.attacks.search import Search
from imaseg.frozen import Model, frozen, full_resolution
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.scores import decide, encode

DRAWS = 16
"""Noisy copies that a gradient is averaged over."""
STEPS = (0.25, 1.0)
"""Lengths of the steps that are tried, in units of eps."""
VOXELS = 8
"""Voxels of a case whose logits are looked at one by one."""


def noise_level(perturbation: Perturbation, image: Tensor, seed: int) -> float:
    """RMS per voxel of a random change of the image (1, C, *spatial) that spends the whole budget."""
    point = perturbation.init(image, torch.Generator().manual_seed(seed))
    size = perturbation.size(point)
    whole = torch.where(size > 0, perturbation.radius(image) / size, 0.0)
    point = perturbation.project(image, point * expand(whole, point))
    with torch.no_grad():
        return float((perturbation.apply(image, point) - image).square().mean().sqrt())


def noisy(model: Model, sigma: float) -> Callable[[Tensor], Tensor]:
    """The model on images with Gaussian noise, new in each pass; an attack's `samples` averages over it."""
    return lambda image: model(image + sigma * torch.randn_like(image))


def gains(model: Model, image: Tensor, label: Tensor, attack: Attack, *, sigma: float) -> list[list[float]]:
    """Take steps from the unchanged image: along the steepest ascent, and along that of the mean gradient.

    Args:
        model: image (1, C, *spatial) -> logits.
        image: of one case.
        label: of the image.
        attack: whose set, objective, seed and draws are used.
        sigma: noise of the copies that the mean gradient is over.

    Returns:
        For each length of `STEPS` the gain of the objective that the gradient predicts, the gain there, and the gain
        along the mean gradient.
    """
    found = []
    with frozen(model):
        search = _search(model, image, label, attack, 1)
        averaged = _search(noisy(model, sigma), image, label, attack, DRAWS)
        start = attack.perturbation.zeros(image)
        gradient, mean = search.gradient(start), averaged.gradient(start)
        for share in STEPS:
            length = share * attack.perturbation.radius(image)
            there = search.ascend(start, gradient, length)
            predicted = float((gradient * (there - start)).sum())
            real, free = (
                float(search.score(point) - search.objective_clean)
                for point in (there, search.ascend(start, mean, length))
            )
            found.append([predicted, real, free])
    return found


def silent(model: Model, image: Tensor, label: Tensor, *, seed: int = 0) -> list[int]:
    """Count voxels whose decision has no gradient: no change of the image, however small, moves their logits.

    Args:
        model: image (1, C, *spatial) -> logits.
        image: of one case.
        label: of the image.
        seed: of the choice of voxels, drawn from the rightly decided foreground.

    Returns:
        Number of voxels whose lead of the decided class over the next one has a gradient of 0 everywhere, and number
        of voxels looked at, at most `VOXELS`; both 0 where no foreground is decided rightly.
    """
    with frozen(model), torch.enable_grad():
        leaf = image.detach().requires_grad_()
        logits = full_resolution(model(leaf))
        target = encode(logits.detach(), label)
        right = decide(logits.detach(), regions=target.regions) & target.onehot
        channel, voxel = right[0, target.foreground].nonzero(as_tuple=True)
        drawn = torch.randperm(len(voxel), generator=torch.Generator().manual_seed(seed))[:VOXELS].to(voxel.device)
        flat = logits.flatten(2)[0]
        dead = 0
        for k, n in zip(channel[drawn].tolist(), voxel[drawn].tolist(), strict=True):
            values = flat[:, n]
            lead = values[k] if target.regions else values.topk(2).values.diff().sum()
            (gradient,) = torch.autograd.grad(lead, leaf, retain_graph=True, allow_unused=True)
            dead += gradient is None or not bool(gradient.any())
    return [dead, len(drawn)]


def _search(model: Model, image: Tensor, label: Tensor, attack: Attack, draws: int) -> Search:
    """A search that never ends by itself."""
    return Search(
        model,
        image,
        label,
        attack.perturbation,
        attack.objective,
        seed=attack.seed,
        samples=max(draws, attack.samples),
        criterion=lambda logits, *_: torch.zeros(len(logits), dtype=torch.bool, device=logits.device),
    )
