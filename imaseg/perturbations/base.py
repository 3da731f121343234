"""Base of all perturbation sets: parameters, their effect on an image, and the ball that bounds them.

A search moves `params`; only the set interprets them, and only the set holds the budget `eps`.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from torch import Tensor

from imaseg.registry import Registered

Bounds = tuple[float | Tensor, float | Tensor]


class Perturbation(Registered, ABC):
    """Set of allowed changes of an image, a ball of radius `eps` around "no change".

    Parameters of size s times a number f >= 0 have size s * f, in every set.

    Attributes:
        unit: of eps and size.
        moves_label: whether the label moves with the image.
        on_voxels: whether parameters lie on the voxels, so that those of a mirrored image are mirrored too.
        shared_budget: whether all values share the budget (a norm over the image) or each has it to itself.
        is_intensity: whether parameters are added voxel values, so that eps converts to HU and other native units.
        title: what tables and sentences call it.
        meaning: a sentence that says what changes, and what eps counts.
        usual_unit: the constructor's `unit` that is usually wanted; None where the set has one unit.
        usual_ladder: budgets usually tried, in rising order, in `usual_unit`.
        usual_ceiling: how far a margin search usually looks, in the same unit.
        reference: the published work in full; empty if there is none.
        cited: how a sentence names that work.

    Args:
        eps: radius in the set's own unit, one float or a tensor (B,) with one radius per sample.
        bounds: (lowest, highest) value of the perturbed image, floats or tensors (B,); None leaves it free.
        region: boolean mask that broadcasts to the image (B, C, *spatial); only there may it change.

    Raises:
        ValueError: if eps is negative or not finite, or bounds are out of order.
    """

    plugin_group = "imaseg.perturbations"
    required = ("title", "meaning", "usual_ladder", "usual_ceiling")

    title: ClassVar[str]
    meaning: ClassVar[str]
    usual_unit: ClassVar[str | None] = None
    usual_ladder: ClassVar[tuple[float, ...]]
    usual_ceiling: ClassVar[float]
    is_intensity: ClassVar[bool] = False
    reference: ClassVar[str] = ""
    cited: ClassVar[str] = ""
    unit: str = ""
    moves_label: bool = False
    on_voxels: bool = False
    shared_budget: bool = False

    def __init__(self, eps: float | Tensor, *, bounds: Bounds | None = None, region: Tensor | None = None) -> None:
        self._check_eps(eps)
        if bounds is not None and not bool((torch.as_tensor(bounds[0]) < torch.as_tensor(bounds[1])).all()):
            msg = f"bounds must be (low, high) with low < high, got {bounds}. Use None to leave values free."
            raise ValueError(msg)
        # Lists come from configuration files.
        self.eps = eps if isinstance(eps, int | float | Tensor) else torch.as_tensor(eps)
        self.bounds = bounds
        self.region = region

    @abstractmethod
    def zeros(self, image: Tensor) -> Tensor:
        """Parameters (B, ...) of "no change" for image (B, C, *spatial)."""

    @abstractmethod
    def init(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Random parameters inside the set. All samples share one draw, so that a batch equals its singles."""

    @abstractmethod
    def apply(self, image: Tensor, params: Tensor) -> Tensor:
        """The changed image (B, C, *spatial), differentiable in `params`."""

    @abstractmethod
    def step(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        """Move along the steepest ascent of this geometry by `length` (B,), in the set's unit."""

    @abstractmethod
    def project(self, image: Tensor, params: Tensor) -> Tensor:
        """Nearest parameters whose size is at most eps and whose image lies within bounds and region."""

    @abstractmethod
    def size(self, params: Tensor) -> Tensor:
        """Size (B,) in the set's own unit."""

    def move(self, volume: Tensor, params: Tensor, *, nearest: bool) -> Tensor:
        """Carry a volume (B, K, *spatial) along with the image; only sets with `moves_label` change it.

        Args:
            volume: one-hot or integer label, mask or logits, floating.
            params: as in `apply`.
            nearest: take the nearest voxel's value (labels) instead of interpolating (differentiable in `params`).
        """
        return volume

    def stretched(self, factor: float) -> Self:
        """The same set with `factor` times the budget, for searches that begin outside."""
        return self if factor == 1 else self.with_eps(self.eps * factor)

    def radius(self, image: Tensor) -> Tensor:
        """`eps` as a tensor (B,) on the image's device.

        Raises:
            ValueError: if eps is a tensor whose length is not the batch size.
        """
        values = torch.as_tensor(self.eps, dtype=image.dtype, device=image.device).flatten()
        if values.numel() not in (1, len(image)):
            msg = f"eps must have one value or one per sample ({len(image)}), got {values.numel()}."
            raise ValueError(msg)
        return values.expand(len(image))

    def check(self, image: Tensor) -> None:
        """Refuse an image that lies outside `bounds`, since then "no change" is not allowed.

        Raises:
            ValueError: naming the image's range.
        """
        if self.bounds is None:
            return
        low, high = (expand(value, image) for value in self.bounds)
        if bool(((image < low) | (image > high)).any()):
            msg = (
                f"image must lie within bounds {self.bounds}, got values from {float(image.min()):.4g} to "
                f"{float(image.max()):.4g}. Use bounds=None, or bounds in the units of the image."
            )
            raise ValueError(msg)

    def with_eps(self, eps: float | Tensor) -> Self:
        """The same set with another budget.

        Raises:
            ValueError: if eps is negative or not finite.
        """
        self._check_eps(eps)
        other = copy.copy(self)
        other.eps = eps
        return other

    def take(self, index: Tensor) -> Self:
        """The same set for the samples `index` of a batch."""
        other = copy.copy(self)
        other.eps = _take(self.eps, index)
        if self.bounds is not None:
            other.bounds = (_take(self.bounds[0], index), _take(self.bounds[1], index))
        if self.region is not None and len(self.region) > 1:
            other.region = self.region[index.to(self.region.device)]
        return other

    def masked(self, values: Tensor) -> Tensor:
        """`values`, shaped like parameters, with what lies outside the region set to 0."""
        return values

    def _check_eps(self, eps: float | Tensor) -> None:
        values = torch.as_tensor(eps)
        if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
            msg = f"eps must be finite and >= 0 (unit: {self.unit}), got {eps}. Use eps=0 for the clean baseline."
            raise ValueError(msg)


def _take(value: float | Tensor, index: Tensor) -> float | Tensor:
    if isinstance(value, Tensor) and value.numel() > 1:
        return value.flatten()[index.to(value.device)]
    return value


def expand(value: float | Tensor, image: Tensor) -> Tensor:
    """A float or a tensor (B,) shaped to broadcast over image (B, ...)."""
    values = torch.as_tensor(value, dtype=image.dtype, device=image.device).flatten()
    return values.view(-1, *[1] * (image.ndim - 1))


def norm(params: Tensor) -> Tensor:
    """Euclidean norm (B,) of each sample."""
    length: Tensor = torch.linalg.vector_norm(params.flatten(1), dim=1)
    return length


def draw(image: Tensor, generator: torch.Generator, *, gaussian: bool) -> Tensor:
    """Noise (B, C, *spatial), the same for every sample: standard normal or uniform in [-1, 1]."""
    shape = image.shape[1:]
    noise = torch.randn(shape, generator=generator) if gaussian else torch.rand(shape, generator=generator) * 2 - 1
    return noise.to(image).expand(len(image), *shape).clone()


def per_sample_count(params: Tensor) -> int:
    """Number of values in one sample."""
    return math.prod(params.shape[1:])
