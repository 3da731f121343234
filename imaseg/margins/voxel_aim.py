"""Objectives of voxel margins: another objective restricted to chosen voxels, or the logit gaps of a group."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from imaseg.objectives import Objective
from imaseg.objectives.decisions import decision_margin
from imaseg.scores import Target

_LEAK = 0.1


class _Aim(Objective):
    """Base: samples stay in the search until its end, since flipped voxels still lead it to their neighbours."""

    targeted = True


class _Only(_Aim):
    """Another objective, restricted to the voxels (B, N) of each sample."""

    def __init__(self, objective: Objective, voxels: Tensor) -> None:
        super().__init__(ignore_index=objective.ignore_index)
        self.objective, self.voxels = objective, voxels

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        where = self.voxels[:, None]
        soft = None if target.soft is None else target.soft * where
        chosen = replace(target, onehot=target.onehot & where, valid=target.valid & where, soft=soft)
        return self.objective._loss(logits, chosen, progress)


class _Group(_Aim):
    """Mean over a group of how far each voxel is on the wrong side; flipped voxels count a tenth.

    Args:
        voxels: (B, M) indices of each sample's group.
        counted: (B, M) bool, False on the padding of small groups.
    """

    def __init__(self, voxels: Tensor, counted: Tensor) -> None:
        super().__init__()
        self.voxels, self.counted = voxels, counted

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        def in_group(values: Tensor) -> Tensor:
            # Only the group is looked at: margins of a whole volume take a tenth of the network's time.
            return values.gather(2, self.voxels[:, None].expand(-1, values.shape[1], -1))

        soft = None if target.soft is None else in_group(target.soft)
        group = Target(in_group(target.onehot), in_group(target.valid), target.regions, soft)
        margin = decision_margin(in_group(logits), group).amax(1)
        margin = torch.where(margin > 0, _LEAK * margin, margin)
        return (margin * self.counted).sum(1) / self.counted.sum(1)


class _Rival(_Aim):
    """How close the voxel (B,) of each sample is to its rival of a given rank: class, or channel of a region model."""

    def __init__(self, voxel: Tensor, rank: int) -> None:
        super().__init__()
        self.voxel, self.rank = voxel, rank

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        rows = torch.arange(len(logits), device=logits.device)
        values, label = logits[rows, :, self.voxel], target.onehot[rows, :, self.voxel]
        if target.regions:
            leads = torch.where(label, -values, values)
        else:
            leads = (values - (values * label).sum(1, keepdim=True)).masked_fill(label, -torch.inf)
        return leads.topk(self.rank + 1, dim=1).values[:, self.rank]
