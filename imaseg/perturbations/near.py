"""Which voxels lie near a structure: `perturbation.within(near(label, 20, spacing))` lets only these change and count.

    d^2(x) = min over labelled y of sum over axes (spacing (x - y))^2

is a minimum along one axis after the other, so that exact distances take a pass per axis and voxel in reach.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

_SLACK = 1e-5
"""Share of a distance that rounding may add to it."""
_LENGTH = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*mm\s*")


def near(label: Tensor, mm: float, spacing: Sequence[float]) -> Tensor:
    """Boolean mask (B, 1, *spatial) of the voxels at most `mm` from a labelled one, between centres.

    All of an image without a labelled voxel counts: there is no structure that a change could be near to.

    Args:
        label: integer (B, *spatial) or (B, 1, *spatial), labelled above 0; or boolean (B, K, *spatial).
        mm: Euclidean distance.
        spacing: voxel size in mm, in the order of `spatial`.

    Raises:
        ValueError: if mm or a size is not positive, or spacing does not fit the label.

    >>> near(torch.tensor([[0, 0, 0, 1, 0, 0]]), 4.0, [2.0]).int()
    tensor([[[0, 1, 1, 1, 1, 1]]], dtype=torch.int32)
    """
    if not 0 < mm < math.inf or not all(0 < size < math.inf for size in spacing):
        msg = f"mm and spacing must be > 0, got {mm} and {list(spacing)}. Give both in mm."
        raise ValueError(msg)
    labelled = label > 0 if label.dtype != torch.bool else label
    if labelled.ndim == len(spacing) + 2:
        labelled = labelled.any(1)
    if labelled.ndim != len(spacing) + 1:
        msg = f"spacing must have one size per axis of the label {tuple(label.shape)}, got {list(spacing)}."
        raise ValueError(msg)
    found = labelled.clone()
    places = labelled.any(0).nonzero()
    if len(places):
        reach = [int(mm * (1 + _SLACK) / size) for size in spacing]
        ends = zip(places.amin(0).tolist(), places.amax(0).tolist(), reach, strict=True)
        box = (slice(None), *(slice(max(0, low - far), high + far + 1) for low, high, far in ends))
        found[box] = _squared(labelled[box], spacing, reach) <= (mm * (1 + _SLACK)) ** 2
    empty = ~labelled.flatten(1).any(1)
    return (found | empty.view(-1, *[1] * len(spacing))).unsqueeze(1)


def _squared(labelled: Tensor, spacing: Sequence[float], reach: Sequence[int]) -> Tensor:
    """Squared distance to the nearest labelled voxel, exact up to `reach` voxels along each axis."""
    far = torch.zeros(labelled.shape, device=labelled.device).masked_fill_(~labelled, torch.inf)
    for axis, (size, most) in enumerate(zip(spacing, reach, strict=True), start=1):
        before, length = far.clone(), far.shape[axis]
        for k in range(1, min(most, length - 1) + 1):
            more = (k * size) ** 2
            low, high = far.narrow(axis, 0, length - k), far.narrow(axis, k, length - k)
            torch.minimum(high, before.narrow(axis, 0, length - k) + more, out=high)
            torch.minimum(low, before.narrow(axis, k, length - k) + more, out=low)
    return far


def millimetres(value: object) -> float | None:
    """A distance as plans, configurations and the command line state it: "20 mm", or a number of mm; None stays.

    >>> millimetres("20 mm"), millimetres(7.5)
    (20.0, 7.5)

    Raises:
        ValueError: if it is something else, or not positive.
    """
    if value is None:
        return None
    form = _LENGTH.fullmatch(value) if isinstance(value, str) else None
    length = float(form[1]) if form else value
    if isinstance(length, bool) or not isinstance(length, int | float) or not 0 < length < math.inf:
        msg = f"within must be a distance above 0 in mm, got {value!r}. Write within: 20 mm, for example."
        raise ValueError(msg)
    return float(length)
