"""Bias field: the smooth change of brightness that receive coils leave in MR images.

    x -> z + (x - z) * f,   f = 1 + p for p >= 0, 1 / (1 - p) below,   p = spline(params)

z is the value that stands for no signal, since prepared images rarely put it at 0. The field is shared by all channels.

Sled, Zijdenbos & Evans, "A nonparametric method for automatic correction of intensity nonuniformity in MRI data", IEEE
TMI 1998 (the field as B-spline); Chen et al., "Realistic adversarial data augmentation for MR image segmentation",
MICCAI 2020 (adversarial bias fields).
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from imaseg.perturbations.base import Bounds, _take, expand
from imaseg.perturbations.box import _Box, relative, span
from imaseg.perturbations.bspline import evaluate


class BiasField(_Box):
    """Smooth factors within [1 / (1 + eps), 1 + eps].

    Args:
        eps: largest relative change of the signal: 0.12 is a bias field of 12 percent.
        control_points: control points of the spline per axis; 4 make the field one cubic polynomial along each axis.
        zero_level: value of no signal, in the units of the image, one float or a tensor (B,). None takes the lowest
            value of each sample and channel, which suits whole MR images, not crops.
        bounds: (low, high) at which changed values are clipped.
        region: boolean mask, broadcasts to the image; only there may it change.

    Raises:
        ValueError: if eps is negative, control_points below 4 or zero_level not finite.

    >>> image = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 2, 2)
    >>> BiasField(0.5).apply(image, torch.full((1, 1, 4, 4), 0.5)).flatten()
    tensor([0.0000, 1.5000, 3.0000, 4.5000])
    """

    title = "bias field"
    meaning = "Smooth brightness; a budget of 0.5 lets it rise by a factor of up to 1.5 and fall by as much."
    usual_ladder = (0.1, 0.2, 0.5, 1.0)
    usual_ceiling = 2.0
    reference = (
        "Chen C, Qin C, Qiu H, et al. Realistic adversarial data augmentation for MR image segmentation. "
        "MICCAI 2020. arXiv:2006.13322."
    )
    cited = "Chen et al. 2020"
    unit = "relative"

    def __init__(
        self,
        eps: float | Tensor,
        *,
        control_points: int = 4,
        zero_level: float | Tensor | None = None,
        bounds: Bounds | None = None,
        region: Tensor | None = None,
    ) -> None:
        if not isinstance(control_points, int) or control_points < 4:
            msg = f"control_points must be a whole number >= 4, got {control_points}. Use 4, the smoothest."
            raise ValueError(msg)
        if zero_level is not None and not bool(torch.isfinite(torch.as_tensor(zero_level)).all()):
            msg = f"zero_level must be finite (units of the image), got {zero_level}. Use None for the lowest value."
            raise ValueError(msg)
        super().__init__(eps, bounds=bounds, region=region)
        self.control_points = control_points
        self.zero_level = zero_level

    def zeros(self, image: Tensor) -> Tensor:
        # No more spline pieces than steps between voxels.
        grid = (min(self.control_points, max(size - 1, 1) + 3) for size in image.shape[2:])
        return image.new_zeros(len(image), 1, *grid)

    def take(self, index: Tensor) -> Self:
        other = copy.copy(super().take(index))
        other.zero_level = None if self.zero_level is None else _take(self.zero_level, index)
        return other

    def _change(self, image: Tensor, params: Tensor) -> Tensor:
        shape = image.shape[2:]
        spacing = [max(size - 1, 1) / (points - 3) for size, points in zip(shape, params.shape[2:], strict=True)]
        zero = span(image)[0] if self.zero_level is None else expand(self.zero_level, image)
        return (image - zero) * relative(evaluate(params, shape, spacing))
