"""Expected calibration error: how far a model's confidence is from how often it is right.

    ECE = sum over bins of (voxels in bin / voxels) * |share decided rightly - mean confidence|

15 bins of equal width over the confidence in the decided class (Guo et al., ICML 2017; Naeini et al., AAAI 2015), over
the voxels of one case that are labelled or within 5 mm of one that is, along each axis. Over the whole image the
background that every model gets right would hide the rest, by an amount that depends on the field of view. Which voxels
count depends on the label alone, so that all models and all attacks are judged on the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor

BINS = 15
MARGIN_MM = 5.0


def calibration_error(
    logits: Tensor, label: Tensor, *, spacing: Sequence[float], independent: bool = False
) -> float | None:
    """Expected calibration error of one case.

    Args:
        logits: (K, *spatial).
        label: integer (*spatial); negative values are ignored.
        spacing: voxel size in mm.
        independent: whether the probability of a decision is the sigmoid of its own logit, as for regions; else it is
            the softmax over the channels. One channel is a sigmoid in any case.

    Returns:
        Between 0 and 1; None if a confidence is undefined or every voxel that counts is ignored.
    """
    counted = region(label, spacing) & (label >= 0)
    confidence, decision = _decide(logits[:, counted].float(), independent=independent)
    right, certain = (values.double().cpu().numpy() for values in (decision == label[counted], confidence))
    if not len(certain) or not np.isfinite(certain).all():
        return None
    place = np.ceil(certain * BINS).astype(np.int64).clip(1, BINS)
    gaps = np.bincount(place, right, BINS + 1) - np.bincount(place, certain, BINS + 1)
    return float(np.abs(gaps).sum() / len(certain))


def region(label: Tensor, spacing: Sequence[float]) -> Tensor:
    """Voxels (*spatial) that are labelled, or within `MARGIN_MM` of one that is; all of them where nothing is."""
    inside = (label > 0).cpu().numpy()
    if not inside.any():
        return torch.ones_like(label, dtype=torch.bool)
    reach = [2 * math.ceil(MARGIN_MM / size) + 1 for size in spacing]
    return torch.from_numpy(maximum_filter(inside, reach, mode="constant")).to(label.device)


def _decide(logits: Tensor, *, independent: bool) -> tuple[Tensor, Tensor]:
    """Confidence (N,) in the decided class of logits (K, N), and which that is."""
    if len(logits) == 1:
        return logits[0].abs().sigmoid(), logits[0] > 0
    highest, decision = logits.max(0)
    if independent:
        return highest.sigmoid(), decision
    return 1 / (logits - highest).exp_().sum(0), decision
