"""Perturbations of bounded Euclidean norm: ||delta||_2 <= eps, or RMS(delta) <= eps."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from imaseg.perturbations.additive import _Additive
from imaseg.perturbations.base import Bounds, draw, expand, norm, per_sample_count

_BISECTIONS = 50


class L2(_Additive):
    """Euclidean ball around the image.

    Args:
        eps: radius. unit="norm": the norm over all values of a sample. unit="rms": that norm divided by
            sqrt(number of values of the whole image, padding aside), in the units of the image, so that the radius
            does not depend on the number of voxels. It still is no threat that is free of size: at equal RMS a field
            of view eight times as large holds a norm 2.8 times as large, all of which may be spent on one structure.
            `region` bounds that.
        unit: "norm" or "rms".
        bounds: (low, high) of the perturbed image; the projection on to ball and box together is exact.
        region: boolean mask, broadcasts to the image; only there may it change.

    Raises:
        ValueError: if eps is negative or unit unknown.

    >>> L2(0.1, unit="rms").size(torch.full((1, 1, 4, 4), 0.1))
    tensor([0.1000])
    """

    title = "L2 ball"
    meaning = "A change of any shape; its budget is the root mean square over the voxels."
    usual_unit = "rms"
    shared_budget = True

    def __init__(
        self,
        eps: float | Tensor,
        unit: Literal["norm", "rms"] = "norm",
        *,
        bounds: Bounds | None = None,
        region: Tensor | None = None,
    ) -> None:
        if unit not in ("norm", "rms"):
            msg = f"unit must be 'norm' or 'rms', got {unit!r}."
            raise ValueError(msg)
        self.unit = unit
        super().__init__(eps, bounds=bounds, region=region)

    def init(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Random direction, radius uniform in [0, eps]."""
        direction = self.masked(draw(image, generator, gaussian=True))
        fraction = float(torch.rand((), generator=generator))
        return self.project(image, self.step(torch.zeros_like(direction), direction, self.radius(image) * fraction))

    def step(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        gradient = self.masked(gradient)
        steepest = norm(gradient)
        scale = _safe_scale(gradient, steepest)
        if scale is not None:
            gradient = gradient / expand(scale, gradient)
            steepest = norm(gradient)
        factor = length * self._norm_per_unit(params) / (steepest + (steepest == 0))
        return (gradient * expand(factor, params)).add_(params)

    def project(self, image: Tensor, params: Tensor) -> Tensor:
        params = self.masked(params)
        radius = self.radius(image) * self._norm_per_unit(params)
        limits = self._range_left(image)
        if limits is None:
            return _shrink(params, radius)
        return _shrink(_onto_ball_and_box(params, radius, *limits), radius)

    def size(self, params: Tensor) -> Tensor:
        return norm(params) / self._norm_per_unit(params)

    def _norm_per_unit(self, params: Tensor) -> float | Tensor:
        if self.unit == "norm":
            return 1.0
        whole = math.sqrt(per_sample_count(params))
        return whole if self.share is None else whole * self.share.to(params).sqrt().clamp(min=1e-30)


def _safe_scale(gradient: Tensor, length: Tensor) -> Tensor | None:
    """What to divide each gradient by so that squares of it neither underflow nor overflow; None where nothing."""
    limit = torch.finfo(gradient.dtype).tiny ** 0.25
    safe = (length > limit) & (length < 1 / limit)
    if gradient.device.type == "cpu" and bool(safe.all()):  # elsewhere a look at it makes the host wait
        return None
    largest = gradient.abs().flatten(1).amax(1)
    return torch.where(safe | (largest == 0), 1.0, largest)


def _shrink(params: Tensor, radius: Tensor) -> Tensor:
    """Scale samples that are longer than `radius` back on to the sphere, leave the others untouched."""
    length = norm(params)
    # Without the slack of a few roundings a point that was scaled before would be scaled again, and never stand still.
    outside = length > radius * (1 + 8 * torch.finfo(params.dtype).eps)
    return params * expand((radius / length.clamp(min=1e-30)).where(outside, 1.0), params)


def _onto_ball_and_box(params: Tensor, radius: Tensor, fall: Tensor, rise: Tensor) -> Tensor:
    """Exact projection on to {||z|| <= radius, fall <= z <= rise}, with fall <= 0 <= rise.

    By the Karush-Kuhn-Tucker conditions z = clip(t * params, fall, rise) for one t in [0, 1] per sample, and
    ||z|| grows with t: bisect for the largest t whose z fits into the ball.
    """
    clipped = params.clamp(fall, rise)
    if params.device.type == "cpu" and bool((norm(clipped) <= radius).all()):
        return clipped
    low, high = torch.zeros_like(radius), torch.ones_like(radius)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = norm((expand(middle, params) * params).clamp(fall, rise)) <= radius
        low, high = low.where(~fits, middle), high.where(fits, middle)
    inside = expand(norm(clipped) <= radius, params).bool()
    return torch.where(inside, clipped, (expand(low, params) * params).clamp(fall, rise))
