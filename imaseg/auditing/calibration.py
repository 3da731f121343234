"""Expected calibration error: how far a model's confidence is from how often it is right.

    ECE = sum over bins of (voxels in bin / voxels) * |share decided rightly - mean confidence|

15 bins of equal width over the confidence in the decided class (Guo et al., ICML 2017; Naeini et al., AAAI 2015), over
the voxels of one case: the box around everything labelled, 10 mm wider on every side. Over the whole image the
background that every model gets right would hide the rest, by an amount that depends on the field of view. The box
depends on the label alone, so that all models and all attacks are judged on the same voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

BINS = 15
MARGIN_MM = 10.0


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
        Between 0 and 1; None if a confidence is undefined or every voxel of the box is ignored.
    """
    box = region(label, spacing)
    logits, label = logits[(slice(None), *box)].float(), label[box]
    valid = label >= 0
    confidence, decision = _decide(logits, independent=independent)
    right, certain = (values[valid].double().cpu().numpy() for values in (decision == label, confidence))
    if not len(certain) or not np.isfinite(certain).all():
        return None
    place = np.ceil(certain * BINS).astype(np.int64).clip(1, BINS)
    gaps = np.bincount(place, right, BINS + 1) - np.bincount(place, certain, BINS + 1)
    return float(np.abs(gaps).sum() / len(certain))


def region(label: Tensor, spacing: Sequence[float]) -> tuple[slice, ...]:
    """The box around all labelled voxels, `MARGIN_MM` wider on every side; everything where nothing is labelled."""
    inside = label > 0
    if not bool(inside.any()):
        return (slice(None),) * label.ndim
    box = []
    for axis, (side, size) in enumerate(zip(label.shape, spacing, strict=True)):
        others = [other for other in range(label.ndim) if other != axis]
        places = (inside.any(others[0]) if len(others) == 1 else inside.sum(others) > 0).nonzero()
        wider = math.ceil(MARGIN_MM / size)
        box.append(slice(max(int(places[0]) - wider, 0), min(int(places[-1]) + 1 + wider, side)))
    return tuple(box)


def _decide(logits: Tensor, *, independent: bool) -> tuple[Tensor, Tensor]:
    """Confidence in the decided class, and which that is."""
    if len(logits) == 1:
        return logits[0].abs().sigmoid(), logits[0] > 0
    highest, decision = logits.max(0)
    if independent:
        return highest.sigmoid(), decision
    return 1 / (logits - highest).exp_().sum(0), decision
