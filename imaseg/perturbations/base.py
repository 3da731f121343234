"""Base class of all perturbation sets: parameters, their effect on an image, and the ball that bounds them.

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
    """Threat model: the set of allowed changes of an image, a ball of radius `eps` around "no change".

    Parameters of size s times a number f >= 0 have size s * f, in every set.

    Attributes:
        unit: unit of eps and size.
        moves_label: whether the label moves with the image.
        on_voxels: whether parameters lie on the voxels, so that those of a mirrored image are mirrored too.
        shared_budget: whether all values share the budget (a norm over the image) or each has it to itself.
        is_intensity: whether parameters are added voxel values, so that eps converts to HU and other native units.
        title: name in tables and sentences.
        meaning: a sentence that says what changes, and what eps measures.
        usual_unit: default `unit` of the constructor in audits; None if the set has one unit only.
        usual_ladder: default budgets of an audit, in rising order, in `usual_unit`.
        usual_ceiling: default largest budget of a margin search, in the same unit.
        reference: the published work in full; empty if there is none.
        cited: short citation of that work, as used in sentences.

    Args:
        eps: radius in the set's own unit, one float or a tensor (B,) with one radius per sample.
        bounds: (lowest, highest) value of the perturbed image, floats or tensors (B,); None leaves it free.
        region: boolean mask that broadcasts to the image (B, C, *spatial); only there may it change. Means over the
            image, such as RMS, are over all of it; `within` says what of it is padding.

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
        self._inside: Tensor | None = None

    @abstractmethod
    def zeros(self, image: Tensor) -> Tensor:
        """Parameters (B, ...) that stand for "no change" of image (B, C, *spatial)."""

    @abstractmethod
    def init(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Random parameters inside the set. All samples share one draw, so that results do not depend on the batch."""

    @abstractmethod
    def apply(self, image: Tensor, params: Tensor) -> Tensor:
        """Return the perturbed image (B, C, *spatial), differentiable in `params`."""

    @abstractmethod
    def step(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        """Move `length` (B,), in the set's unit, along the steepest ascent in the norm of the set."""

    @abstractmethod
    def project(self, image: Tensor, params: Tensor) -> Tensor:
        """Return the nearest parameters whose size is at most eps and whose image respects bounds and region."""

    @abstractmethod
    def size(self, params: Tensor) -> Tensor:
        """Size (B,) of the perturbation in the set's own unit."""

    def move(self, volume: Tensor, params: Tensor, *, nearest: bool) -> Tensor:
        """Move a volume (B, K, *spatial) along with the image; only sets with `moves_label` change it.

        Args:
            volume: one-hot or integer label, mask or logits, floating.
            params: as in `apply`.
            nearest: take the nearest voxel's value (labels) instead of interpolating (differentiable in `params`).
        """
        return volume

    def stretched(self, factor: float) -> Self:
        """Return the same set with `factor` times the budget, for searches that begin outside the set."""
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
        """Raise if an image lies outside `bounds`, since then "no change" would not be allowed.

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
        """Return the same set with another budget.

        Raises:
            ValueError: if eps is negative or not finite.
        """
        self._check_eps(eps)
        other = copy.copy(self)
        other.eps = eps
        return other

    def take(self, index: Tensor) -> Self:
        """Return the same set for the samples `index` of a batch."""
        other = copy.copy(self)
        other.eps = _take(self.eps, index)
        if self.bounds is not None:
            other.bounds = (_take(self.bounds[0], index), _take(self.bounds[1], index))
        if self.region is not None and len(self.region) > 1:
            other.region = self.region[index.to(self.region.device)]
        if self._inside is not None and len(self._inside) > 1:
            other._inside = self._inside[index.to(self._inside.device)]
        return other

    def within(self, inside: Tensor | None) -> Self:
        """Return the same set for a part of the image: only what is `inside`, a mask like `region`, changes and counts.

        An RMS is then a mean over the voxels inside: padding is not the patient, and with the mask that `near` gives a
        budget does not grow with the field of view. None stands for whole images. A deformation is not restricted: it
        moves tissue, and padding along with it; give it a `region`.
        """
        if inside is None or self.moves_label:
            return self
        other = copy.copy(self)
        other.region = inside if self.region is None else inside & self.region
        other._inside = inside.float().flatten(1).mean(1)
        return other

    @property
    def share(self) -> Tensor | None:
        """Part of each sample's values (B,) or (1,) that is inside; None where no mask was named."""
        return self._inside

    def masked(self, values: Tensor) -> Tensor:
        """Set `values`, shaped like parameters, to 0 outside of the region."""
        return values

    def _check_eps(self, eps: float | Tensor) -> None:
        values = torch.as_tensor(eps)
        if not bool((torch.isfinite(values) & (values >= 0)).all()):
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
