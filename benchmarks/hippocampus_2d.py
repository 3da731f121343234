"""Hippocampus in 2D, as in the IMA paper: axial slices of 56 x 40 of z-scored cases, L2 at 1, 5, 10 and 15, a U-Net."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.networks.nets import UNet
from planes import Planes
from torch import Tensor, nn
from torch.nn.functional import pad

from imaseg import load_cases
from imaseg.data.reading import read_volume

EPS = [1.0, 5.0, 10.0, 15.0]
SIZE = (56, 40)


def network(*, small: bool) -> nn.Module:
    """A 2D U-Net with instance normalisation."""
    channels = (4, 8) if small else (16, 32, 64, 128)
    return UNet(2, 1, 3, channels=channels, strides=(2,) * (len(channels) - 1), num_res_units=0, norm="instance")


def read_planes(prepared: Path, split: str, every: int = 1) -> Planes:
    """Axial slices of a split, 56 back to front and 40 from left to right."""
    names, images, labels = [], [], []
    cohort = load_cases(prepared)
    for case in cohort.select(cohort.split[split]):
        volume = read_volume(case)
        image, label = torch.from_numpy(volume.image)[0].float(), torch.from_numpy(volume.label).long()
        for place in range(0, image.shape[2], every):
            names.append(f"{case.id}/{place:03d}")
            images.append(fitted(image[:, :, place].T))
            labels.append(fitted(label[:, :, place].T))
    return Planes(names, torch.stack(images)[:, None], torch.stack(labels))


def fitted(plane: Tensor) -> Tensor:
    """Filled up with 0, or cut, to `SIZE` around the middle."""
    gaps = [wanted - side for wanted, side in zip(SIZE, plane.shape, strict=True)]
    return pad(plane, (gaps[1] // 2, gaps[1] - gaps[1] // 2, gaps[0] // 2, gaps[0] - gaps[0] // 2))
