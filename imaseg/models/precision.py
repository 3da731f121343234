"""In which precision searches take their gradients: half where that is faster here and leads the same way.

Half precision pays on GPUs and on CPUs with matrix units (AMX); elsewhere it is emulated and slower. Whether a network
bears it shows on a case: what it decides, and where its gradient points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from imaseg.attacks.search import Search
from imaseg.errors import InputError, did_you_mean
from imaseg.frozen import Model, frozen
from imaseg.models.device import seconds_per_pass
from imaseg.models.segmentation import SegmentationModel
from imaseg.models.threads import timed_part
from imaseg.objectives import Dice
from imaseg.perturbations import L2
from imaseg.precision import HALF, HalfPrecisionGradients
from imaseg.scores import foreground_dice

FULL, AUTO = "float32", "auto"
PRECISIONS = (AUTO, FULL, *HALF)
"""What may be asked for."""
_QUICK = 0.05
"""Seconds of a pass with gradient, on a part of the image, below which nothing is worth a choice."""
_WORTH = 0.8
"""Share of the time in full precision that half must do with."""
_SAME_DECISIONS, _SAME_DIRECTION = 0.99, 0.9
"""Dice of the decisions in both precisions, and cosine of their gradients, that are asked for."""


@dataclass(frozen=True)
class Chosen:
    """A precision, and why, in a sentence; empty where there was nothing to choose."""

    name: str = FULL
    words: str = ""

    @property
    def half(self) -> bool:
        """Whether it is less than float32."""
        return self.name != FULL


def require_known(asked: str) -> None:
    """Refuse a precision that there is not.

    Raises:
        InputError: if it is none of `PRECISIONS`.
    """
    if asked not in PRECISIONS:
        msg = f"precision must be one of {', '.join(PRECISIONS)}, got {asked!r}.{did_you_mean(asked, PRECISIONS)}"
        raise InputError(msg)


def choose_precision(model: SegmentationModel, image: Tensor | None, asked: str = AUTO) -> Chosen:
    """The precision of gradients that suits a model on this machine.

    Args:
        model: on its device, its threads set.
        image: (1, C, *spatial) to try it on; None: nothing is known, so full precision.
        asked: "auto", or what the user wants, which is taken as it is.

    Raises:
        InputError: if asked is none of `PRECISIONS`.
    """
    require_known(asked)
    if asked != AUTO:
        return Chosen(asked, f"Searches take their gradients in {asked}, as asked for.")
    if image is None:
        return Chosen()
    device = next(model.parameters()).device
    old = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    name = "float16" if old else "bfloat16"
    half, image = HalfPrecisionGradients(model, HALF[name]), image.to(device)
    part = timed_part(image)
    try:
        with frozen(model):
            full = seconds_per_pass(model, part)
    except Exception:  # it has no gradients, or fails on this image: what needs either says so
        return Chosen()
    if full < _QUICK:
        return Chosen()
    try:
        with frozen(model):
            share = seconds_per_pass(half, part) / full
            if share > _WORTH:
                return Chosen(FULL, f"Searches stay in float32: in {name} a step would take {share:.2f} of the time.")
            decisions, direction = agreement(model, half, image, regions=model.independent)
    except Exception as error:
        return Chosen(FULL, f"Searches stay in float32: the model fails in {name} ({type(error).__name__}).")
    alike = f"Dice {decisions:.4f} of the decisions, cosine {direction:.3f} of the gradients"
    if not (decisions >= _SAME_DECISIONS and direction >= _SAME_DIRECTION):
        return Chosen(
            FULL, f"Searches stay in float32: in {name} decisions or gradients of the model differ ({alike})."
        )
    return Chosen(
        name,
        f"Searches take their gradients in {name}, a pass in {share:.2f} of the time ({alike}); all that is stated is "
        "computed in float32. --precision float32 switches it off.",
    )


def agreement(model: Model, half: Model, image: Tensor, *, regions: bool = False) -> tuple[float, float]:
    """Dice between decisions, and cosine between gradients, of a model in full and in half precision.

    The gradients are those of the soft Dice loss against the model's own decision.

    Args:
        model: image -> logits, frozen by the caller.
        half: the same in half precision.
        image: (1, C, *spatial).
        regions: whether channels are decided one by one.
    """
    with torch.no_grad():
        logits = model(image)
    label = logits > 0 if regions or logits.shape[1] == 1 else logits.argmax(1)
    with torch.enable_grad():
        other = half(image.detach().requires_grad_())
    one, two = (
        Search(network, image, label, L2(1.0), Dice()).gradient(torch.zeros_like(image)).flatten()
        for network in (model, half)
    )
    return float(foreground_dice(other.detach(), label)), float(cosine_similarity(one, two, dim=0))
