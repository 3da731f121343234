"""Half precision for the passes that only lead a search; what is judged is computed as ever.

A search takes directions from gradients and judges the points that it comes to. Directions bear rounding, decisions at
the boundary do not: so passes with a gradient of the image run under autocast, and searches judge their result, and
every point that seems to break a criterion, in a pass without.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from imaseg.frozen import Model, full_resolution

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions that gradients may be taken in, by name."""


class HalfPrecisionGradients(nn.Module):
    """A model whose gradients with respect to the image are taken in half precision; other passes are its own.

    Logits and gradients come in float32. Each sample's gradient at the logits is scaled to a largest value of 1 on its
    way back, since means over millions of voxels underflow in float16. First derivatives only, and none of weights.

    Args:
        model: image (B, C, *spatial) -> logits (B, K, *spatial), frozen by the caller.
        dtype: `torch.bfloat16` or `torch.float16`.

    Raises:
        ValueError: if dtype is another one.

    >>> model = HalfPrecisionGradients(nn.Conv2d(1, 2, 3, padding=1).requires_grad_(False), torch.bfloat16)
    >>> image = torch.zeros(1, 1, 8, 8, requires_grad=True)
    >>> model(image).dtype
    torch.float32
    """

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        super().__init__()
        if dtype not in HALF.values():
            msg = (
                f"dtype must be torch.bfloat16 or torch.float16, got {dtype}. Use the model itself for full precision."
            )
            raise ValueError(msg)
        self.model, self.dtype = model, dtype

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the image."""
        if not (torch.is_grad_enabled() and image.requires_grad):
            return full_resolution(self.model(image))
        logits: Tensor = _Halved.apply(image, self.model, self.dtype)
        return logits


def leads_in_half_precision(model: Model) -> bool:
    """Whether logits of passes with a gradient are less precise than those of passes without."""
    return isinstance(model, nn.Module) and any(isinstance(part, HalfPrecisionGradients) for part in model.modules())


class _Halved(Function):
    """Image -> logits in float32 of a pass under autocast, whose graph is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, model: Model, dtype: torch.dtype) -> Tensor:
        with torch.enable_grad(), torch.autocast(image.device.type, dtype):
            ctx.leaf = image.detach().requires_grad_()
            ctx.logits = full_resolution(model(ctx.leaf.clone()))  # models may change their input in place
        wide: Tensor = ctx.logits.detach().to(torch.promote_types(ctx.logits.dtype, torch.float32))
        if not ctx.logits.requires_grad:
            ctx.mark_non_differentiable(wide)
        return wide

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        largest = gradient.flatten(1).abs().amax(1)
        largest = largest.where(largest > 0, 1.0).reshape(-1, *[1] * (gradient.ndim - 1))
        (at_image,) = torch.autograd.grad(ctx.logits, ctx.leaf, (gradient / largest).to(ctx.logits.dtype))
        return at_image * largest, None, None
