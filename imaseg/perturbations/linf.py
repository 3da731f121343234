"""Perturbations of bounded largest value: |delta| <= eps in every voxel and channel."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from imaseg.perturbations.additive import _Additive
from imaseg.perturbations.base import draw, expand


class Linf(_Additive):
    """Box of half-width `eps` (units of the image) around the image.

    Args:
        eps: largest change of any value, in the units of the image.
        bounds: (low, high) of the perturbed image.
        region: boolean mask, broadcasts to the image; only there may it change.

    Raises:
        ValueError: if eps is negative.

    >>> Linf(0.5).project(torch.zeros(1, 1, 2), torch.tensor([[[0.2, -3.0]]]))
    tensor([[[ 0.2000, -0.5000]]])
    """

    title = "L-infinity ball"
    meaning = "A change of any shape in which no voxel changes by more than the budget."
    unit: Literal["max"] = "max"

    def init(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the box."""
        return self.project(image, draw(image, generator, gaussian=False) * expand(self.radius(image), image))

    def step(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        return params + expand(length, params) * self.masked(gradient).sign()

    def project(self, image: Tensor, params: Tensor) -> Tensor:
        radius = expand(self.radius(image), image)
        params = self.masked(params).clamp(-radius, radius)
        limits = self._range_left(image)
        return params if limits is None else params.clamp(*limits)

    def size(self, params: Tensor) -> Tensor:
        return params.flatten(1).abs().amax(1)
