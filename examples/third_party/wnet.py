"""The W-Net of `lwnet` (Galdran et al.) for vessels of the retina, written from the names of its weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Twice convolution, ReLU, BatchNorm; beside them a shortcut."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(n, m, 1, bias=False), nn.BatchNorm2d(m))
        first = (nn.Conv2d(n, m, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(m))
        second = (nn.Conv2d(m, m, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(m))
        self.block = nn.Sequential(*first, *second)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.block(x) + self.shortcut(x)


class Plain(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.block(x)


class Up(nn.Module):
    """Twice as large, next to what was kept on the way down."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.up_layer = Plain(nn.ConvTranspose2d(n, m, 2, stride=2))
        self.conv_layer = Block(2 * m, m)
        self.conv_bridge_layer = Plain(nn.Conv2d(m, m, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(m))

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:  # noqa: D102
        return self.conv_layer(torch.cat([self.up_layer(x), self.conv_bridge_layer(kept)], 1))


class Small(nn.Module):
    """A U-Net of widths 8, 16, 32 with one output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Block(channels, 8)
        self.down_path = nn.ModuleList([Block(8, 16), Block(16, 32)])
        self.up_path = nn.ModuleList([Up(32, 16), Up(16, 8)])
        self.final = nn.Conv2d(8, 1, 1)
        self.smaller = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        kept = [self.first(x)]
        for down in self.down_path:
            kept.append(down(self.smaller(kept[-1])))
        x = kept.pop()
        for up in self.up_path:
            x = up(x, kept.pop())
        return self.final(x)


class WNet(nn.Module):
    """Two of them: the second sees the image and what the first one said."""

    def __init__(self) -> None:
        super().__init__()
        self.unet1, self.unet2 = Small(3), Small(4)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.unet2(torch.cat([x, self.unet1(x)], 1))
