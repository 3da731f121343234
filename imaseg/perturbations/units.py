"""Converts budgets from a share of the intensity range or from native units (HU) to units of the model's input.

Both give an eps per sample in the units of the image, for `Linf` and for `L2` in RMS per voxel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def eps_of_range(share: float, image: Tensor) -> Tensor:
    """Convert a share of each sample's intensity range to units of the image.

    Args:
        share: e.g. 0.05 for five percent.
        image: (B, C, *spatial).

    Returns:
        (B,) tensor to be used as eps.

    >>> eps_of_range(0.1, torch.tensor([[[0.0, 2.0]], [[-5.0, 5.0]]]))
    tensor([0.2000, 1.0000])
    """
    flat = image.flatten(1)
    return share * (flat.amax(1) - flat.amin(1))


def eps_of_native(eps: float, scale: float | Tensor) -> Tensor:
    """Convert native units, such as HU, to units of the normalised image.

    Args:
        eps: in native units.
        scale: what native intensities were divided by, one number or one per sample (B,); for prepared cases
            `imaseg.data.native_scale` of the steps in `prepare.json`.

    Returns:
        (B,) tensor, or one of a single number, to be used as eps.

    Raises:
        ValueError: if scale is not positive.

    >>> eps_of_native(20.0, 200.0)
    tensor(0.1000)
    """
    divisor = torch.as_tensor(scale, dtype=torch.float32)
    if not bool((divisor > 0).all()):
        msg = f"scale must be > 0 (native units per unit of the image), got {scale}."
        raise ValueError(msg)
    return eps / divisor
