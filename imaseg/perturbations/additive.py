"""Base of L2 and Linf: the parameters are the difference to the image."""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.perturbations.base import Perturbation, expand


class _Additive(Perturbation):
    """Adds `params` (B, C, *spatial) to the image; bounds and region as in `Perturbation`."""

    on_voxels = True
    is_intensity = True
    usual_ladder = (0.01, 0.02, 0.05, 0.1, 0.2)
    usual_ceiling = 0.4

    def zeros(self, image: Tensor) -> Tensor:
        return torch.zeros_like(image, memory_format=torch.contiguous_format)

    def apply(self, image: Tensor, params: Tensor) -> Tensor:
        changed = image + params
        if self.bounds is None:
            return changed
        low, high = (expand(value, image) for value in self.bounds)
        # Only rounding is clamped here: project has already kept params within the bounds.
        return changed.clamp(low, high)

    def masked(self, values: Tensor) -> Tensor:
        return values if self.region is None else values * self.region.to(values)

    def _range_left(self, image: Tensor) -> tuple[Tensor, Tensor] | None:
        """How far each value may fall and rise before it reaches the bounds."""
        if self.bounds is None:
            return None
        low, high = (expand(value, image) for value in self.bounds)
        return low - image, high - image
