"""A 2D network for the benchmarks: U-Net (ResNet-18) of segmentation-models-pytorch on hippocampus slices in [0, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from imaseg import load_cases
from imaseg.data.reading import read_volume
from imaseg.objectives import DiceCE
from imaseg.progress import bar

SIDE = 64
EPOCHS = 5
_Pairs = list[tuple[Tensor, Tensor]]


def train_slice_net(
    prepared: Path, file: Path, cases: int, split: str = "val", every: int = 1
) -> tuple[nn.Module, _Pairs]:
    """The network, trained once on every so many-th case and kept in `file`, and the widest slices of some cases."""
    torch.manual_seed(0)
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=3)
    cohort = load_cases(prepared)
    if not file.is_file():
        train = cohort.select(cohort.split["train"][::every])
        _train(model, [pair for case in train for pair in _slices(read_volume(case))[::3]])
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    names = cohort.split[split][:: max(1, len(cohort.split[split]) // cases)][:cases]
    widest = [
        max(_slices(read_volume(case)), key=lambda pair: int((pair[1] > 0).sum())) for case in cohort.select(names)
    ]
    image, label = (torch.cat(parts) for parts in zip(*widest, strict=True))
    return model.eval(), [(image, label)]


def _train(model: nn.Module, pairs: _Pairs) -> None:
    image, label = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = len(image) // 32
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=EPOCHS * batches)
    loss = DiceCE()
    with bar("slice network") as tell:
        for epoch in range(EPOCHS):
            order = torch.randperm(len(image))
            for place in range(batches):
                chosen = order[place * 32 : (place + 1) * 32]
                optimizer.zero_grad()
                loss(model(image[chosen]), label[chosen]).mean().backward()
                optimizer.step()
                schedule.step()
            tell(epoch + 1, EPOCHS, "")


def _slices(volume: object) -> _Pairs:
    """Coronal slices with at least 20 labelled voxels, (1, 1, 64, 64) in [0, 1] and (1, 64, 64)."""
    image, label = volume.image[0], volume.label  # type: ignore[attr-defined]
    image = (image - image.min()) / (image.max() - image.min())
    pairs = []
    for place in range(image.shape[1]):
        if (label[:, place] > 0).sum() >= 20:
            pair = (_square(image[:, place]), _square(label[:, place]))
            pairs.append((torch.from_numpy(pair[0])[None, None].float(), torch.from_numpy(pair[1])[None].long()))
    return pairs


def _square(plane: np.ndarray) -> np.ndarray:
    """Cut or filled up with 0 to 64 x 64, centred."""
    for axis in (0, 1):
        size = plane.shape[axis]
        first = max(0, (size - SIDE) // 2)
        plane = np.take(plane, range(first, min(first + SIDE, size)), axis)
        missing = SIDE - plane.shape[axis]
        widths = [(0, 0), (0, 0)]
        widths[axis] = (missing // 2, missing - missing // 2)
        plane = np.pad(plane, widths)
    return plane
