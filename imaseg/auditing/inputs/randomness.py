"""Whether a model gives another output each time: dropout left on, noise layers, random test-time augmentation."""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.attacks.search import FRESH_DRAWS
from imaseg.frozen import Model, frozen, seed_all

SAMPLES = 4
"""Draws over which gradients and scores of a random model are averaged where the plan names no number."""
_ROUNDING = 1e-4
"""Difference of two outputs, in standard deviations of the logits, that order of summation may bring about."""


def redecided(model: Model, image: Tensor) -> float | None:
    """Share of the voxels that a second pass over the same image (B, C, *spatial) decides otherwise.

    Returns:
        None where both passes, each with its own seed, give the same output but for rounding.
    """
    outputs = []
    with frozen(model), torch.no_grad():
        for seed in (0, 1):
            seed_all(seed)
            outputs.append(model(image))
    one, other = outputs
    if float((one - other).abs().max()) <= _ROUNDING * float(one.std()):
        return None
    if one.shape[1] == 1:
        return float(((one > 0) != (other > 0)).float().mean())
    return float((one.argmax(1) != other.argmax(1)).float().mean())


def random_note(share: float | None) -> str:
    """What follows for an audit, in words; empty for a deterministic model."""
    if share is None:
        return ""
    return (
        f"The model is random: a second pass over the same image decides {share:.2%} of its voxels otherwise. Attacks "
        f"and margins average over draws (`samples` of a probe, {SAMPLES} if not given), and Dice is the mean over "
        f"{FRESH_DRAWS} fresh draws, or `samples` if that is more."
    )
