"""Base of the intensity sets whose parameters each lie within eps of 0; the changed image is clipped at the bounds."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from imaseg.perturbations.base import Bounds, Perturbation, draw, expand


class _Box(Perturbation):
    """Largest absolute parameter at most eps; subclasses define what the parameters change."""

    @abstractmethod
    def _change(self, image: Tensor, params: Tensor) -> Tensor:
        """What is added to image (B, C, *spatial); exactly 0 for params 0."""

    def init(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform in the box."""
        noise = draw(self.zeros(image), generator, gaussian=False)
        return noise * expand(self.radius(image), noise)

    def apply(self, image: Tensor, params: Tensor) -> Tensor:
        changed = clip(image + self._change(image, params), self.bounds)
        return changed if self.region is None else torch.where(self.region.to(image.device), changed, image)

    def step(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        return params + expand(length, params) * gradient.sign()

    def project(self, image: Tensor, params: Tensor) -> Tensor:
        radius = expand(self.radius(image), params)
        return params.clamp(-radius, radius)

    def size(self, params: Tensor) -> Tensor:
        return params.flatten(1).abs().amax(1)

    def check(self, image: Tensor) -> None:
        super().check(image)
        check_spatial(image)


def check_spatial(image: Tensor) -> None:
    """Raise unless the tensor is a batch of 2D or 3D images.

    Raises:
        ValueError: naming the shape.
    """
    if image.ndim not in (4, 5):
        msg = (
            f"image must be (B, C, H, W) or (B, C, H, W, D), got shape {tuple(image.shape)}. Use L2 or Linf for others."
        )
        raise ValueError(msg)


def clip(image: Tensor, bounds: Bounds | None) -> Tensor:
    """Clip the image at its bounds."""
    if bounds is None:
        return image
    low, high = (expand(value, image) for value in bounds)
    return image.clamp(low, high)


def span(image: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest value and range of each sample and channel, (B, C, 1, ...)."""
    axes = tuple(range(2, image.ndim))
    low = image.amin(axes, keepdim=True)
    return low, image.amax(axes, keepdim=True) - low


def relative(params: Tensor) -> Tensor:
    """Relative change f - 1, where f = 1 + p for parameters p >= 0 and 1 / (1 - p) below.

    |p| <= eps gives f within [1 / (1 + eps), 1 + eps], the same for a rise as for a fall.

    >>> 1 + relative(torch.tensor([0.25, -0.25]))
    tensor([1.2500, 0.8000])
    """
    return params / (1 + (-params).relu())
