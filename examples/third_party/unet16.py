"""The plain 2D U-Net behind the `advchain` checkpoints (Chen et al.), written from the names of its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Double(nn.Module):
    """Twice convolution, BatchNorm, ReLU."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        layers = (nn.Conv2d(n, m, 3, padding=1), nn.BatchNorm2d(m), nn.ReLU())
        again = (nn.Conv2d(m, m, 3, padding=1), nn.BatchNorm2d(m), nn.ReLU())
        self.conv = nn.Sequential(*layers, *again)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.conv(x)


class Inside(nn.Module):
    """A block under another name."""

    def __init__(self, name: str, block: nn.Module) -> None:
        super().__init__()
        self.add_module(name, block)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return next(self.children())(x)


class UNet16(nn.Module):
    """Widths 16, 32, 64, 128, 128; bilinear on the way up."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.inc = Inside("conv", Double(1, 16))
        down, up = ((16, 32), (32, 64), (64, 128), (128, 128)), ((256, 64), (128, 32), (64, 16), (32, 16))
        for i, (n, m) in enumerate(down, 1):
            self.add_module(f"down{i}", Inside("mpconv", nn.Sequential(nn.MaxPool2d(2), Double(n, m))))
        for i, (n, m) in enumerate(up, 1):
            self.add_module(f"up{i}", Inside("conv", Double(n, m)))
        self.outc = Inside("conv", nn.Conv2d(16, classes, 1))
        self.larger = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        skips = [self.inc(x)]
        for i in range(1, 5):
            skips.append(self.get_submodule(f"down{i}")(skips[-1]))
        x = skips.pop()
        for i in range(1, 5):
            x = self.get_submodule(f"up{i}")(torch.cat([skips.pop(), self.larger(x)], 1))
        return self.outc(x)
