"""What certified radii say about a case: the lowest Dice that any change within a radius can bring about.

A voxel certified at that radius keeps its decision. All others are taken to be wrong in the worst way: missing from
their own structure, and painted into the one that is being counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imaseg.attacks import PGD
from imaseg.margins import CertifiedMarginResult, Smoothed
from imaseg.margins.binomial import log_tails
from imaseg.objectives import CrossEntropy
from imaseg.perturbations import L2

DRAWS = 8
"""That stand for the smoothed model when it is attacked."""
VOTES = 100
"""Fresh draws that decide what the attacked image is."""
STEPS = 10
_SURE = 0.001


def certificate(result: CertifiedMarginResult, label: Tensor, classes: Sequence[int]) -> dict[str, Any]:
    """Figures of one case.

    Args:
        result: of the case alone.
        label: (1, *spatial); negative values are ignored.
        classes: foreground classes.

    Returns:
        `sigma`, `radii` (norm over the image, its units), `radii_rms`, `abstained` (share of voxels), `dice` of the
        smoothed model, `dice_at_radius` (lower bounds) and `certified_foreground` (share of labelled voxels that are
        right and stay so), one value per radius.
    """
    radii = [float(result.settings.sigma * torch.special.ndtri(torch.tensor(tau))) for tau in result.settings.taus]
    reach, prediction, truth = result.radius[0], result.prediction[0], label[0]
    everything = torch.ones_like(truth, dtype=torch.bool)
    sure = [reach >= radius * (1 - 1e-5) for radius in radii]
    foreground = torch.isin(truth, torch.tensor(classes, device=truth.device))
    kept = [(where & (prediction == truth) & foreground).sum() / foreground.sum().clamp(min=1) for where in sure]
    return {
        "sigma": float(result.settings.sigma),
        "radii": radii,
        "radii_rms": [radius / math.sqrt(result.values) for radius in radii],
        "abstained": float(result.abstained.float().mean()),
        "dice": dice_floor(prediction, truth, everything, classes),
        "dice_at_radius": [dice_floor(prediction, truth, where, classes) for where in sure],
        "certified_foreground": [float(share) for share in kept],
    }


def dice_floor(prediction: Tensor, label: Tensor, sure: Tensor, classes: Sequence[int]) -> float:
    """The lowest mean Dice over classes if voxels that are not `sure` may take any decision.

    Each class is taken at its own worst, so that the mean is a bound that no single change need reach.

    Args:
        prediction: integer (*spatial).
        label: integer (*spatial); negative values are ignored.
        sure: bool (*spatial), where the prediction cannot change.
        classes: over which the mean is taken.

    >>> one, none = torch.tensor([1, 1, 0]), torch.tensor([True, False, True])
    >>> dice_floor(one, one, none, [1])
    0.6666666666666666
    """
    valid, total = label >= 0, 0.0
    for k in classes:
        right = int((sure & (prediction == k) & (label == k)).sum())
        painted = int((((prediction == k) | ~sure) & (label != k) & valid).sum())
        both = right + painted + int((label == k).sum())
        total += 2 * right / both if both else 1.0
    return total / len(classes)


def flipped_within(
    result: CertifiedMarginResult, model: Any, image: Tensor, *, seed: int
) -> tuple[int, int, dict[str, int]]:
    """Attack the smoothed model within the largest radius that any voxel is certified for, and ask fresh draws.

    Args:
        result: certificates of the case.
        model: that was smoothed.
        image: (1, C, *spatial).
        seed: of attack and draws.

    Returns:
        How many of the certified voxels clearly lost their majority, how many were certified, and the calls spent.
    """
    radius = float(result.radius.max())
    sure = result.radius >= radius
    if radius == 0:
        return 0, 0, {"forward_calls": 0, "backward_calls": 0}
    sigma = result.settings.sigma
    attack = PGD(L2(radius), steps=STEPS, objective=CrossEntropy(), seed=seed)
    found = attack(Smoothed(model, sigma, DRAWS, seed=seed), image, result.prediction.where(sure, -1))
    votes = Smoothed(model, sigma, VOTES, seed=seed + 1).votes(found.image)
    held = votes.gather(1, result.prediction[:, None])[:, 0][sure].long()
    # P[X <= v] of a fair coin is P[X >= n - v]; corrected over the voxels.
    tails = log_tails(VOTES, 0.5)[VOTES - held.cpu()]
    lost = int((tails < math.log(_SURE / len(held))).sum())
    calls = {
        "forward_calls": found.forward_calls * DRAWS + VOTES,
        "backward_calls": found.backward_calls * DRAWS * 2,
    }
    return lost, len(held), calls
