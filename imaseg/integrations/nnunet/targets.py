"""Converts between nnU-Net's targets and the labels that a search takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def search_label(target: Any, *, regions: bool, ignore: int | None) -> Tensor:
    """Return the full-resolution label as `imaseg.scores.encode` takes it.

    Args:
        target: of nnU-Net's loss: (B, 1, *spatial) classes or (B, R, *spatial) regions, the last of them the ignored
            voxels where there are such; with deep supervision a list, finest first.
        regions: whether the model is region-based.
        ignore: label value of ignored voxels, if any.
    """
    finest: Tensor = target[0] if isinstance(target, list | tuple) else target
    if regions:
        return finest.bool()
    label = finest.long()
    return label if ignore is None else label.where(label != ignore, -1)


def loss_target(label: Tensor, like: Any, *, ignore: int | None) -> Any:
    """Make a target in the form and sizes of `like` from a label that was moved.

    Args:
        label: as `search_label` gives it.
        like: the target of the batch.
        ignore: label value of ignored voxels, if any.
    """
    full = label if ignore is None or label.dtype == torch.bool else label.where(label >= 0, ignore)
    if not isinstance(like, list | tuple):
        return full.to(like.dtype)
    return [_resized(full, scale_target) for scale_target in like]


def _resized(label: Tensor, like: Tensor) -> Tensor:
    """Resize to a coarser output by nearest neighbour, as nnU-Net makes its targets."""
    if label.shape[2:] == like.shape[2:]:
        return label.to(like.dtype)
    return interpolate(label.float(), like.shape[2:], mode="nearest-exact").to(like.dtype)
