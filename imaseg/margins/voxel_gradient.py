"""First-order voxel margins: the logit gap over the dual norm of its gradient, for all voxels at once, forward only.

When parameters move by v, a voxel's gap z_y - z_k changes by J v, one forward-mode derivative (JVP) for all voxels.
Random directions give the norm of every row of J:

    Euclidean sizes (L2)             v ~ N(0, 1):       E (J v)^2 = ||J||_2^2
    sizes by the largest value       v ~ Cauchy(0, 1):  J v ~ ||J||_1 Cauchy, and E log |Cauchy| = 0

Indyk, "Stable distributions, pseudorandom generators, embeddings, and data stream computation", JACM 2006; the mean of
logarithms, unbiased by cos^m(pi / 2m), Li, Church & Hastie, "Nonlinear estimators and tail bounds for dimension
reduction in l1 using Cauchy random projections", JMLR 2007. With m draws the relative standard deviation is about
sqrt(1 / 2m) and (pi / 2) / sqrt(m). Sets with no more parameters than draws take one JVP per parameter and are exact.

The estimate is no bound: it ignores curvature, and bounds of the image. m JVPs, each about two forward passes long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from imaseg.frozen import Model, full_resolution, seed_all
from imaseg.perturbations import L2, BiasField, Gamma, Linf, Perturbation
from imaseg.perturbations.base import expand, norm, per_sample_count
from imaseg.scores import Target

Derivative = Callable[[Tensor], Tensor]
_DIFFERENCE = 1e-2  # of the largest budget, either way
_forward: Any = forward_ad  # torch ships it without types


@dataclass(frozen=True)
class FirstOrder:
    """First-order margins of all voxels.

    Attributes:
        margin: (B, N) in the set's unit, of the nearest rival; infinite where the gradient is 0, 0 where wrong.
        forward_calls: forward passes of the model, JVPs among them.
    """

    margin: Tensor
    forward_calls: int


def supports(perturbation: Perturbation) -> bool:
    """Whether the dual norm of the set's size is implemented."""
    return isinstance(perturbation, L2 | Linf | BiasField | Gamma)


def first_order(
    model: Model,
    image: Tensor,
    target: Target,
    right: Tensor,
    perturbation: Perturbation,
    *,
    draws: int,
    seed: int = 0,
) -> FirstOrder:
    """Estimate the margin of every voxel to first order.

    Args:
        model: image -> logits, frozen by the caller.
        image: (B, C, *spatial).
        target: the label.
        right: (B, N) bool, voxels that are right on the clean image.
        perturbation: L2, Linf, BiasField or Gamma; only its unit and region matter.
        draws: largest number of JVPs.
        seed: seed of the random directions.

    Raises:
        ValueError: if the set is another one, or the model has no forward-mode derivative where it is needed.
    """
    if not supports(perturbation):
        msg = f"perturbation must be L2, Linf, BiasField or Gamma for method='gradient', got {perturbation.name}. "
        raise ValueError(msg + "Use method='attack'.")
    rows = _Rows(model, image, perturbation, seed)
    gaps = _gaps(rows.logits, target)
    few = per_sample_count(rows.zeros) <= draws
    directions = _unit_vectors(rows.zeros) if few else _random(rows.zeros, draws, seed, perturbation)
    changes = (_gaps(rows.along(perturbation.masked(direction)), target) for direction in directions)
    dual = _dual(changes, euclidean=isinstance(perturbation, L2), exact=few)
    margin = (gaps.clamp(min=0) / dual).nan_to_num(nan=0.0, posinf=torch.inf).masked_fill(_own(target), torch.inf)
    margin = margin.amin(1) * expand(_unit(perturbation, rows.zeros), margin.amin(1))
    return FirstOrder(margin.where(right, 0.0).float(), rows.forward_calls)


class _Rows:
    """Computes J v by forward-mode differentiation, or by central differences where the model does not support it."""

    def __init__(self, model: Model, image: Tensor, perturbation: Perturbation, seed: int) -> None:
        self.model, self.image, self.perturbation, self.seed = model, image, perturbation, seed
        self.zeros = perturbation.zeros(image)
        self.forward_calls = 0
        self._differences = False
        with torch.no_grad():
            self.logits = self._logits(self.zeros)

    def along(self, direction: Tensor) -> Tensor:
        """Derivative (B, K, *spatial) of the logits at "no change"."""
        if not self._differences:
            try:
                return self._tangent(direction)
            except (NotImplementedError, RuntimeError) as error:
                self._fall_back(error)
        return self._difference(direction)

    def _tangent(self, direction: Tensor) -> Tensor:
        with torch.no_grad(), _forward.dual_level():
            logits = self._logits(_forward.make_dual(self.zeros, direction))
            tangent: Tensor | None = _forward.unpack_dual(logits).tangent
        return torch.zeros_like(logits) if tangent is None else tangent

    def _fall_back(self, error: Exception) -> None:
        if not isinstance(self.perturbation, L2):
            # A Cauchy direction is dominated by a few huge values; rounding would drown the others' share.
            msg = (
                f"model must support forward-mode differentiation for method='gradient' with {self.perturbation.name}, "
                f"got {type(error).__name__}. Use method='attack'."
            )
            raise ValueError(msg) from error
        self._differences = True

    def _difference(self, direction: Tensor) -> Tensor:
        size = self.perturbation.size(direction).clamp(min=torch.finfo(direction.dtype).tiny)
        length = _DIFFERENCE * self.perturbation.radius(self.image) / size
        step = expand(length, direction) * direction
        with torch.no_grad():
            return (self._logits(step) - self._logits(-step)) / expand(2 * length, self.logits)

    def _logits(self, params: Tensor) -> Tensor:
        self.forward_calls += 1
        seed_all(self.seed)  # a model that draws random numbers draws the same ones every time
        logits = full_resolution(self.model(self.perturbation.apply(self.image, params)))
        return logits if logits.dtype.itemsize >= 4 else logits.float()


def _gaps(values: Tensor, target: Target) -> Tensor:
    """Lead (B, K, N) of the label over each class, linear in the logits; for regions of each channel's decision."""
    flat = values.flatten(2) if values.ndim > 2 else values.unsqueeze(2)
    if target.regions:
        return torch.where(target.onehot, flat, -flat)
    return (flat * target.onehot).sum(1, keepdim=True) - flat


def _own(target: Target) -> Tensor:
    """Entries (B, K, N) of `_gaps` that compare the label with itself."""
    return torch.zeros_like(target.onehot) if target.regions else target.onehot


def _unit_vectors(zeros: Tensor) -> Iterator[Tensor]:
    for index in range(per_sample_count(zeros)):
        direction = torch.zeros_like(zeros)
        direction.flatten(1)[:, index] = 1
        yield direction


def _random(zeros: Tensor, draws: int, seed: int, perturbation: Perturbation) -> Iterator[Tensor]:
    """Random directions, the same for every sample, so that the result of a sample does not depend on its batch."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        direction = torch.empty(zeros.shape[1:], dtype=torch.float64)
        fill = direction.normal_ if isinstance(perturbation, L2) else direction.cauchy_
        yield fill(generator=generator).to(zeros).expand_as(zeros).clone()


def _dual(changes: Iterator[Tensor], *, euclidean: bool, exact: bool) -> Tensor:
    """Norm (B, K, N) of the rows of J from its products with directions."""
    total, number = torch.zeros(()), 0
    for change in changes:
        if euclidean:
            total = total.to(change) + change.square()
        else:
            total = total.to(change) + (change.abs() if exact else change.abs().log())
        number += 1
    if exact:
        return total.sqrt() if euclidean else total
    if euclidean:
        return (total / number).sqrt()
    return (total / number).exp() * math.cos(math.pi / (2 * number)) ** number


def _unit(perturbation: Perturbation, zeros: Tensor) -> Tensor:
    """Size (B,) of parameters of norm 1, in the norm that the dual belongs to."""
    ones = torch.ones_like(zeros)
    length = norm(ones) if isinstance(perturbation, L2) else ones.flatten(1).abs().amax(1)
    return perturbation.size(ones) / length
