"""Runs TorchIO's transforms on plain arrays, with the centre of the image at the origin."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from imaseg.corruptions.scene import Image


def transformed(name: str, image: Image, spacing: tuple[float, float, float], **arguments: Any) -> Image:
    """Apply one of TorchIO's deterministic transforms.

    Args:
        name: name of the transform's class.
        image: (C, X, Y, Z).
        spacing: voxel size in mm.
        arguments: arguments of that class.
    """
    import torchio

    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-size * (side - 1) / 2 for size, side in zip(spacing, image.shape[1:], strict=True)]
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    with torch.random.fork_rng(devices=[]):  # asks the global generator whether to do anything at all
        transformed_image = getattr(torchio, name)(**arguments)(torchio.ScalarImage(tensor=tensor, affine=affine))
    result: Image = transformed_image.data.numpy()
    return result
