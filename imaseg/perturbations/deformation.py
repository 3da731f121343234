"""Smooth deformation without folds: the image at x is taken from x + u(x), u a cubic B-spline.

The ball holds the Euclidean length of every control point, hence the length of u anywhere. At most h / A long (control
points h apart), u changes distances by less than themselves, |u(x) - u(y)| < |x - y|, so that x + u(x) is one to one
and its Jacobian determinant positive: sum over control points c of |grad B_c . v| <= A |v| / h, A = 1.596416 in 2D and
1.654117 in 3D. Choi & Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", Graphical Models
2000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from imaseg.perturbations.base import Bounds, Perturbation, draw, expand
from imaseg.perturbations.box import check_spatial, clip
from imaseg.perturbations.bspline import confined, evaluate, grid_shape

_VOXELS = 8.0
_FOLD_FREE = {2: 0.626, 3: 0.604}  # 1 / A, rounded down
_ROUNDING = 1e-6


class Deformation(Perturbation):
    """Displacements of bounded length, free of folds; label, masks and logits go along by `move`.

    Params (B, d, *grid): displacement of each control point, axes in the order of `spatial`, in the unit of eps.

    Args:
        eps: largest length of any displacement, in mm if spacing is given, else in voxels.
        spacing: voxel size in mm, in the order of `spatial`.
        control_spacing: distance of control points, in the unit of eps and the same along all axes; 8 voxels (of
            their geometric mean size) if not given. eps may be 0.626 times as large in 2D, 0.604 times in 3D.
        bounds: (low, high) of the image; interpolation stays within them by itself.
        region: boolean mask of the image's spatial shape; control points move only if all they move lies inside.

    Raises:
        ValueError: if eps is negative or so large that folds could occur (without spacing this is seen when an image
            comes), or spacing or control_spacing is not positive.

    >>> ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    >>> right = torch.tensor([0.0, 0.5]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    >>> Deformation(0.5).apply(ramp, right)[0, 0, 0]
    tensor([0.5000, 1.5000, 2.5000, 3.5000, 4.0000])
    """

    title = "deformation"
    meaning = "Tissue moves smoothly and without folds, and the label with it; the budget is the longest way."
    usual_ladder = (1.0, 2.0, 3.0)  # mm
    usual_ceiling = 4.0
    reference = (
        "Choi Y, Lee S. Injectivity conditions of 2D and 3D uniform cubic B-spline functions. Graphical "
        "Models 2000; 62(6):411-427."
    )
    cited = "Choi and Lee 2000"
    moves_label = True

    def __init__(
        self,
        eps: float | Tensor,
        *,
        spacing: Sequence[float] | None = None,
        control_spacing: float | None = None,
        bounds: Bounds | None = None,
        region: Tensor | None = None,
    ) -> None:
        if spacing is not None and (len(spacing) not in (2, 3) or not all(0 < size < math.inf for size in spacing)):
            msg = f"spacing must be 2 or 3 positive sizes (mm), got {spacing}. Use None to count in voxels."
            raise ValueError(msg)
        self.unit = "voxel" if spacing is None else "mm"
        if control_spacing is None:
            control_spacing = _VOXELS if spacing is None else _VOXELS * math.prod(spacing) ** (1 / len(spacing))
        if not 0 < control_spacing < math.inf:
            msg = f"control_spacing must be > 0 ({self.unit}), got {control_spacing}. Use None for 8 voxels."
            raise ValueError(msg)
        self.spacing = spacing
        self.control_spacing = control_spacing
        super().__init__(eps, bounds=bounds, region=region)

    def zeros(self, image: Tensor) -> Tensor:
        shape = image.shape[2:]
        return image.new_zeros(len(image), len(shape), *grid_shape(shape, self._steps(len(shape))))

    def init(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Each control point uniform in the cube around the ball, shortened to the ball."""
        noise = draw(self.zeros(image), generator, gaussian=False)
        return self.project(image, noise * expand(self.radius(image), noise))

    def apply(self, image: Tensor, params: Tensor) -> Tensor:
        # Only rounding is clipped here.
        return clip(self.move(image, params, nearest=False), self.bounds)

    def move(self, volume: Tensor, params: Tensor, *, nearest: bool) -> Tensor:
        shape = volume.shape[2:]
        shift = evaluate(params, shape, self._steps(len(shape)))
        axes = [torch.linspace(-1, 1, size, dtype=shift.dtype, device=shift.device) for size in shape]
        voxels = zip(shape, self._voxel(len(shape)), strict=True)
        scale = shift.new_tensor([2 / (max(size - 1, 1) * voxel) for size, voxel in voxels])
        positions = torch.stack(torch.meshgrid(*axes, indexing="ij")) + shift * scale.view(-1, *[1] * len(shape))
        # grid_sample counts axes from the last.
        positions = positions.flip(1).movedim(1, -1).to(volume)
        mode = "nearest" if nearest else "bilinear"
        moved = grid_sample(volume, positions, mode=mode, padding_mode="border", align_corners=True)
        # Where nothing moves the value is kept to the last bit, which grid_sample does not; the gradient is its own.
        still = (shift == 0).all(1, keepdim=True)
        return torch.where(still, volume.detach() + (moved - moved.detach()), moved)

    def step(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        """Every control point along its own gradient, which is steepest for the largest length."""
        gradient = self.masked(gradient)
        scale = gradient.abs().amax(1, keepdim=True)
        # Scaling by the largest value first keeps the length of tiny gradients from underflowing.
        return params + expand(length, params) * normalize(gradient / scale.where(scale > 0, 1.0), dim=1)

    def project(self, image: Tensor, params: Tensor) -> Tensor:
        params = self.masked(params)
        radius, length = expand(self.radius(image), params), _length(params)
        # A few roundings short of the radius, so that a second projection changes nothing.
        shorter = radius * (1 - 8 * torch.finfo(params.dtype).eps) / length.where(length > 0, 1.0)
        return torch.where(length > radius, params * shorter, params)

    def stretched(self, factor: float) -> Self:
        # Not into folds. The limit of 3D is the tighter one and needs no image to be known.
        limit = min(_FOLD_FREE.values()) * self.control_spacing
        eps = torch.as_tensor(self.eps)
        return self.with_eps((eps * factor).clamp(max=limit).maximum(eps))

    def size(self, params: Tensor) -> Tensor:
        return _length(params).flatten(1).amax(1)

    def masked(self, values: Tensor) -> Tensor:
        return values if self.region is None else values * self._free(self.region).to(values)

    def check(self, image: Tensor) -> None:
        super().check(image)
        check_spatial(image)
        if self.spacing is not None and len(self.spacing) != image.ndim - 2:
            msg = f"spacing must have one size per axis of the image ({image.ndim - 2}), got {self.spacing}."
            raise ValueError(msg)
        self._check_folds(self.eps, image.ndim - 2)
        if self.region is not None:
            self._check_region(self.region, image)

    def _check_eps(self, eps: float | Tensor) -> None:
        super()._check_eps(eps)
        if self.spacing is not None:
            self._check_folds(eps, len(self.spacing))

    def _check_folds(self, eps: float | Tensor, dims: int) -> None:
        largest, limit = float(torch.as_tensor(eps).max()), _FOLD_FREE[dims] * self.control_spacing
        if largest > limit * (1 + _ROUNDING):
            coarser = math.ceil(largest / _FOLD_FREE[dims] * 100) / 100
            msg = (
                f"eps must be at most {limit:.4g} {self.unit}, lest the image folds, got {eps}. "
                f"Use a control_spacing of {coarser:g} {self.unit} or more."
            )
            raise ValueError(msg)

    def _check_region(self, region: Tensor, image: Tensor) -> None:
        if region.ndim != image.ndim or region.shape[2:] != image.shape[2:]:
            msg = f"region must have the image's spatial shape {tuple(image.shape[2:])}, got {tuple(region.shape)}."
            raise ValueError(msg)
        if not bool(self._free(region).flatten(1).any(1).all()):
            msg = (
                f"region must hold all voxels that a control point moves, got none for control_spacing "
                f"{self.control_spacing:g} {self.unit}. Use a finer control_spacing or a wider region."
            )
            raise ValueError(msg)

    def _free(self, region: Tensor) -> Tensor:
        """Control points (B or 1, 1, *grid) that move nothing outside the region."""
        return confined(region.all(1, keepdim=True), self._steps(region.ndim - 2))

    def _voxel(self, dims: int) -> Sequence[float]:
        return (1.0,) * dims if self.spacing is None else self.spacing

    def _steps(self, dims: int) -> list[float]:
        """Distance of control points in voxels, per axis."""
        return [self.control_spacing / voxel for voxel in self._voxel(dims)]


def _length(params: Tensor) -> Tensor:
    """Length (B, 1, *grid) of each control point's displacement."""
    length: Tensor = torch.linalg.vector_norm(params, dim=1, keepdim=True)
    return length
