"""Warm starts: each search of a case starts where the last search of the same case ended.

Zheng et al., "Efficient adversarial training with transferable adversarial examples", CVPR 2020, who follow the
augmentation too. There the transform is given; here it is recognised from the image: how it is mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand

# Correlation of two thumbnails of a hippocampus under the augmentation of `imaseg train`: 0.7 and more after a slight
# rotation, at most 0.5 for another reflection. From 0.75 on a kept start is no worse than a random one.
_ALIKE = 0.75
_FINEST = 16
_POOL: tuple[Callable[..., Tensor], ...] = (
    functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d,
    functional.adaptive_avg_pool3d,
)


class Starts:
    """Last parameters by case id, on the CPU in half precision, with a thumbnail of the image they belong to.

    A start is mirrored as the image is at this visit, if its parameters lie on the voxels, and limited to the budget.
    A case whose image differs otherwise (another crop, another shape) starts as a new case. The starts take as much
    memory, and space in a checkpoint, as the training images in half precision. If `torch.distributed` is initialised,
    the ranks exchange their starts after each epoch, since a case may go to another rank in the next one.
    """

    def __init__(self) -> None:
        self._params: dict[str, Tensor] = {}
        self._thumbnails: dict[str, Tensor] = {}
        self._fresh: set[str] = set()

    def keep(self, ids: Sequence[str], image: Tensor, params: Tensor) -> None:
        """Store where the search of each sample of image (B, C, *spatial) ended; of equal ids the last one counts."""
        # bfloat16, because it has the range of float32: images may be in thousands of HU.
        values = params.detach().to("cpu", torch.bfloat16)
        for key, ending, thumbnail in zip(ids, values, _thumbnails_of(image), strict=True):
            self._params[key], self._thumbnails[key] = ending.clone(), thumbnail.clone()
            self._fresh.add(key)

    def begin(self, ids: Sequence[str], image: Tensor, perturbation: Perturbation, seed: int) -> Tensor:
        """Parameters (B, ...) to start from: the stored ones of the case, else random ones."""
        params = perturbation.init(image, torch.Generator().manual_seed(seed))
        kept = self._fill(params, ids, image, perturbation)
        size = perturbation.size(params)
        stretch = perturbation.radius(image) / size.where(size > 0, 1.0)
        return params * expand(stretch.where(kept.to(stretch.device), 1.0), params)

    def recall(self, ids: Sequence[str], image: Tensor, perturbation: Perturbation) -> Tensor:
        """Parameters (B, ...) where the last search of each case ended, as large as they were; no change for others."""
        params = perturbation.zeros(image)
        self._fill(params, ids, image, perturbation)
        return perturbation.project(image, params)

    def _fill(self, params: Tensor, ids: Sequence[str], image: Tensor, perturbation: Perturbation) -> Tensor:
        """Put what is stored into params (B, ...), mirrored as each image is now; returns of whom (B,) something is."""
        kept = torch.zeros(len(params), dtype=torch.bool)
        for row, (key, thumbnail) in enumerate(zip(ids, _thumbnails_of(image), strict=True)):
            values = self._params.get(key)
            if values is None or values.shape != params.shape[1:] or thumbnail.shape != self._thumbnails[key].shape:
                continue
            most = thumbnail.ndim if perturbation.on_voxels else 1
            axes = _mirrored(self._thumbnails[key], thumbnail, range(most))
            if axes is not None:
                params[row] = values.flip(axes).to(params)
                kept[row] = True
        return kept

    def end_epoch(self) -> None:
        """Exchange the starts of this epoch among ranks; of a case seen by several ranks the last one counts."""
        if distributed.is_available() and distributed.is_initialized():
            ranks: list[Any] = [None] * distributed.get_world_size()
            own = {key: (self._params[key], self._thumbnails[key]) for key in sorted(self._fresh)}
            distributed.all_gather_object(ranks, own)
            for key, (params, thumbnail) in (item for kept in ranks for item in kept.items()):
                self._params[key], self._thumbnails[key] = params, thumbnail
        self._fresh.clear()

    def state_dict(self) -> dict[str, Any]:
        """All stored starts."""
        return {"params": dict(self._params), "thumbnails": dict(self._thumbnails)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for kept, name in ((self._params, "params"), (self._thumbnails, "thumbnails")):
            kept.clear()
            kept.update({str(key): value.to("cpu", torch.bfloat16) for key, value in state.get(name, {}).items()})


def _thumbnails_of(image: Tensor) -> Tensor:
    """Downsample image (B, C, *spatial) to thumbnails (B, C, *coarse)."""
    image = image.detach().float()
    if image.ndim > 2:
        image = _POOL[image.ndim - 3](image, [min(size, _FINEST) for size in image.shape[2:]])
    return image.to("cpu", torch.bfloat16)


def _mirrored(before: Tensor, now: Tensor, counts: Sequence[int]) -> tuple[int, ...] | None:
    """Axes along which a picture was mirrored, trying `counts` of them at once; None if it is another picture."""
    ways = [axes for count in counts for axes in combinations(range(1, now.ndim), count)]
    alike = torch.stack([_correlation(before.flip(axes), now) for axes in ways])
    best = int(alike.argmax())
    return ways[best] if alike[best] >= _ALIKE else None


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    first, second = (values.float().flatten() - values.float().mean() for values in (first, second))
    scale = first.norm() * second.norm()
    # Two constant pictures count as the same.
    return torch.where(scale > 0, first @ second / scale, (first.norm() == second.norm()).float())
