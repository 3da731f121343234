"""Divides the voxels of each structure into cubes, which attacks on voxel groups then aim at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imaseg.scores import Target


def structures(target: Target) -> Tensor:
    """Structure (B, N) that each voxel belongs to: its class, or its combination of regions."""
    if not target.regions:
        return target.onehot.int().argmax(1)
    powers = 2 ** torch.arange(target.onehot.shape[1], device=target.onehot.device)
    return (target.onehot * powers[:, None]).sum(1)


def groups(structure: Tensor, voxels: Tensor, shape: Sequence[int], effort: int) -> list[Tensor]:
    """Divide the voxels of each structure into cubes.

    Structures share the effort alike, however large they are; what a small one does not need, down to single voxels,
    goes to the next larger one. An effort of the number of voxels is thus enough for a group each.

    Args:
        structure: (N,) integer.
        voxels: (N,) bool, those to be cut into groups.
        shape: spatial shape, of N voxels.
        effort: largest number of groups.

    Returns:
        Indices of each group's voxels, the smallest groups first.
    """
    values, volumes = torch.unique(structure[voxels], return_counts=True)
    cubes: list[Tensor] = []
    for done, order in enumerate(volumes.argsort().tolist()):
        share = (effort - len(cubes)) // (len(values) - done)
        if share:
            chosen = (voxels & (structure == values[order])).nonzero()[:, 0]
            cubes += _cubes(chosen, shape, share)
    return sorted(cubes, key=len)


def _cubes(voxels: Tensor, shape: Sequence[int], most: int) -> list[Tensor]:
    """Divide voxels (n,) into cubes as small as possible, at most `most` of them."""
    side = 1
    while True:
        order = torch.zeros_like(voxels)
        for size, position in zip(shape, torch.unravel_index(voxels, tuple(shape)), strict=True):
            order = order * (-(-size // side)) + position // side
        counts = torch.unique(order, return_counts=True)[1]
        if len(counts) <= most:
            return list(torch.split(voxels[order.argsort(stable=True)], counts.tolist()))
        side += 1
