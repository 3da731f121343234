"""Contrast curve: a power of the intensity within each sample's and channel's own range.

    x -> low + range * t^g,   t = (x - low) / range,   g = 1 + p for p >= 0, 1 / (1 - p) below

Lowest and highest value do not change; p > 0 darkens the values between, p < 0 brightens them. The curve is that of
`skimage.exposure.adjust_gamma`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.perturbations.box import _Box, relative, span


class Gamma(_Box):
    """Exponents within [1 / (1 + eps), 1 + eps], one per sample and channel.

    Args:
        eps: largest relative change of the exponent; 0.5 allows 0.67 to 1.5.
        bounds: (low, high) at which changed values are clipped; the curve itself never leaves the image's range.
        region: boolean mask, broadcasts to the image; only there may it change.

    Raises:
        ValueError: if eps is negative.

    >>> image = torch.tensor([0.0, 0.5, 0.8, 1.0]).view(1, 1, 2, 2)
    >>> Gamma(1.0).apply(image, torch.tensor([[1.0]])).flatten()
    tensor([0.0000, 0.2500, 0.6400, 1.0000])
    """

    title = "contrast (gamma)"
    meaning = "One contrast curve for the whole image; a budget of 0.5 allows exponents from 1/1.5 to 1.5."
    usual_ladder = (0.1, 0.2, 0.5, 1.0)
    usual_ceiling = 2.0
    unit = "relative"

    def zeros(self, image: Tensor) -> Tensor:
        return image.new_zeros(image.shape[:2])

    def _change(self, image: Tensor, params: Tensor) -> Tensor:
        low, width = span(image)
        share = (image - low) / width.where(width > 0, 1.0)
        # At t = 0 the curve does not move; t is replaced by 1 there, because 0 * log(0) has no gradient.
        logarithm = share.where(share > 0, 1.0).log()
        exponent = relative(params).view(*params.shape, *[1] * (image.ndim - 2))
        return width * share * torch.expm1(exponent * logarithm)
