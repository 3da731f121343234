"""Regions that lie within each other, such as whole tumour, tumour core and enhancing tumour of BraTS.

A region is a set of classes. A voxel is decided to be inside if its class is one of them, so that a region is scored as
the union of what is painted inside it. As a logit, from those of the classes,

    z(region) = max over classes inside - max over classes outside

which is above 0 where the class with the highest logit lies inside. Where each class logit is that of one sigmoid up to
its sign (`imaseg.models.outputs.decision`), half of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

Groups = Mapping[int, Sequence[int]]
"""Classes inside each structure, by the structure's number."""


def painted(stated: Mapping[str, Collection[int]], *, source: str) -> list[str]:
    """Names of regions in the order in which they are painted: each before those inside it, the largest first.

    Args:
        stated: label values inside each region.
        source: for messages.

    Raises:
        ValueError: if two regions are the same or overlap without one holding the other.

    >>> painted({"core": [1, 3], "whole": [1, 2, 3], "enhancing": [3]}, source="card")
    ['whole', 'core', 'enhancing']
    """
    order = sorted(stated, key=lambda name: -len({*stated[name]}))
    for place, larger in enumerate(order):
        for smaller in order[place + 1 :]:
            one, other = {*stated[larger]}, {*stated[smaller]}
            if one & other and (one == other or not one >= other):
                told = f"{larger} {sorted(one)} and {smaller} {sorted(other)}"
                msg = f"regions of {source} must lie within each other or apart, got {told}"
                raise ValueError(msg)
    return order


def innermost(value: int, stated: Mapping[str, Collection[int]], order: Sequence[str]) -> int:
    """Place, from 1 on, of the smallest region that holds a label value; 0 if none does.

    >>> innermost(3, {"whole": [1, 2, 3], "core": [1, 3]}, ["whole", "core"])
    2
    """
    return max((place for place, name in enumerate(order, start=1) if value in stated[name]), default=0)


def region_logits(logits: Tensor, groups: Groups, *, independent: bool = False) -> Tensor:
    """Logits (B, R, *spatial) of regions, from those of the classes (B, K, *spatial).

    Args:
        logits: of the classes; the highest one decides.
        groups: classes inside each region.
        independent: whether class logits are those of sigmoids.

    >>> region_logits(torch.tensor([[[0.0], [3.0], [1.0]]]), {1: [1, 2], 2: [2]})
    tensor([[[ 3.],
             [-2.]]])
    """
    regions = []
    for inside in groups.values():
        outside = [k for k in range(logits.shape[1]) if k not in inside]
        regions.append(logits[:, list(inside)].amax(1) - logits[:, outside].amax(1))
    return torch.stack(regions, 1) / (2 if independent else 1)


def masks(classes: Tensor, groups: Groups) -> Tensor:
    """Masks (B, R, *spatial) of regions in a map of classes (B, *spatial); negative values are ignored.

    Returns:
        Boolean, as `imaseg.scores.encode` takes it: with one more channel for ignored voxels where there are some.
    """
    inside = [torch.isin(classes, torch.tensor([*group], device=classes.device)) for group in groups.values()]
    ignored = classes < 0
    return torch.stack([*inside, ignored] if bool(ignored.any()) else inside, 1)


def classes_in(found: Tensor, groups: Groups, classes: Sequence[int]) -> Tensor:
    """A map of classes (B, *spatial) with these masks (B, R or R + 1, *spatial): of equal ones, the first class.

    >>> classes_in(masks(torch.tensor([[0, 1, 2, -1]]), {1: [1, 2], 2: [2]}), {1: [1, 2], 2: [2]}, [1, 2])
    tensor([[ 0,  1,  2, -1]])
    """
    told = torch.zeros_like(found[:, 0], dtype=torch.long)
    for k in reversed(classes):
        member = torch.tensor([k in group for group in groups.values()], device=found.device)
        same = found[:, : len(groups)] == member.reshape(1, -1, *[1] * (found.ndim - 2))
        told = told.masked_fill(same.all(1) & bool(member.any()), k)
    return told.masked_fill(found[:, len(groups)], -1) if found.shape[1] > len(groups) else told
