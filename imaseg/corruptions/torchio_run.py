"""TorchIO's transforms on plain arrays, with the middle of the image at the origin and its own random state."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from imaseg.corruptions.scene import Image


def transformed(name: str, image: Image, spacing: tuple[float, float, float], **arguments: Any) -> Image:
    """One of TorchIO's transforms that leave nothing to chance.

    Args:
        name: of its class.
        image: (C, X, Y, Z).
        spacing: voxel size in mm.
        arguments: of its class.
    """
    import torchio

    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-size * (side - 1) / 2 for size, side in zip(spacing, image.shape[1:], strict=True)]
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    with torch.random.fork_rng(devices=[]):  # asks the global generator whether to do anything at all
        transformed_image = getattr(torchio, name)(**arguments)(torchio.ScalarImage(tensor=tensor, affine=affine))
    result: Image = transformed_image.data.numpy()
    return result
