"""The result of an attack, with all that is needed to judge and to replay it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttackResult:
    """The worst point that an attack evaluated for each sample, scored again after projection.

    Attributes:
        image: (B, C, *spatial) perturbed image, in the units the model takes.
        label: the label that `image` is judged by: the given one, moved with the image by a deformation.
        params: parameters of the perturbation set that give `image`: `perturbation.apply(image, params)`.
        eps: (B,) budget in the set's own unit.
        size: (B,) size of the perturbation in the set's own unit, at most its eps.
        objective: (B,) objective at `image`; `objective_clean` at the unperturbed image.
        dice: (B, K) hard Dice per logits channel at `image` (column 0 is the background of softmax models);
            `dice_clean` at the unperturbed image.
        foreground_dice: (B,) mean of `dice` over the foreground classes that the label holds, or over all where it
            holds none; `foreground_dice_clean` likewise.
        false_positives: (B,) voxels decided for foreground classes that the label does not hold;
            `false_positives_clean` likewise.
        prediction: (B, *spatial) int64 decided label at `image`; (B, K, *spatial) bool for region-based models.
        success: (B,) bool, whether the call's `criterion` holds at `image` (always False without it).
        sizes: the change of the image in further units, each (B,): "l2", "rms", "linf" in image units, and
            "range", the largest change as a fraction of the sample's intensity range.
        seed: seed of the search.
        forward_calls: forward passes of the model; each covers the samples still searched.
        backward_calls: backward passes, likewise.
        zero_gradients: (B,) fraction of exactly zero values in the gradients seen, high when a model masks them.
        nonfinite_gradients: (B,) fraction of infinite or undefined ones.
        draws: passes over which objective and Dice are means: 1, or `samples` of the attack; at least `FRESH_DRAWS` of
            a random model, none of which the search has seen.
        attack: the attack with all its settings, perturbation set included, as it would be written in Python.
    """

    image: Tensor
    label: Tensor = field(repr=False)
    params: Tensor = field(repr=False)
    eps: Tensor
    size: Tensor
    objective: Tensor
    objective_clean: Tensor
    dice: Tensor
    dice_clean: Tensor
    foreground_dice: Tensor
    foreground_dice_clean: Tensor
    false_positives: Tensor
    false_positives_clean: Tensor
    prediction: Tensor = field(repr=False)
    success: Tensor
    sizes: dict[str, Tensor]
    seed: int
    forward_calls: int
    backward_calls: int
    zero_gradients: Tensor
    nonfinite_gradients: Tensor
    draws: int = 1
    attack: str = ""


def measure(change: Tensor, image: Tensor, share: Tensor | None = None) -> dict[str, Tensor]:
    """Size of a change (B, C, *spatial) of an image in every intensity unit, each (B,).

    RMS is over the `share` (B,) of the values that is no padding, over all for None.
    """
    flat = change.flatten(1).float()
    length = torch.linalg.vector_norm(flat, dim=1)
    highest = flat.abs().amax(1)
    values = image.flatten(1).float()
    spread = (values.amax(1) - values.amin(1)).clamp(min=torch.finfo(torch.float32).tiny)
    rms = length / flat.shape[1] ** 0.5
    rms = rms if share is None else rms / share.to(rms).sqrt().clamp(min=1e-30)
    return {"l2": length, "rms": rms, "linf": highest, "range": highest / spread}
