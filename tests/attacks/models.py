"""Small models with every kind of state that an attack must leave alone, and linear ones with known margins."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import conv2d, conv3d, cross_entropy


def messy_model(dims: int, *, classes: int = 3, channels: int = 2, seed: int = 0) -> nn.Module:
    """Convolutions with BatchNorm statistics, dropout, a frozen layer and mixed train/eval modes."""
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            conv(channels, 8, 3, padding=1), norm(8), nn.GELU(), nn.Dropout(0.5), conv(8, classes, 3, padding=1)
        )
        model[1].running_mean.normal_()
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[4].weight.grad = torch.ones_like(model[4].weight)
    return model


def state_of(model: nn.Module) -> list:
    """Modes, flags, gradients, weights and buffers, for comparison."""
    modes = [module.training for module in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [modes, flags, grads, {k: v.clone() for k, v in model.state_dict().items()}]


def same_state(a: list, b: list) -> bool:
    """Whether two results of `state_of` agree exactly."""
    grads = all((x is None and y is None) or torch.equal(x, y) for x, y in zip(a[2], b[2], strict=True))
    return a[0] == b[0] and a[1] == b[1] and grads and all(torch.equal(a[3][k], b[3][k]) for k in a[3])


class LinearPerVoxel(nn.Module):
    """Two classes; logit gap w.x + b at each voxel, so every voxel's margin is |w.x + b| over the dual norm of w."""

    def __init__(self, weight: torch.Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def gap(self, image: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bc...,c->b...", image, self.weight) + self.bias

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        gap = self.gap(image)
        return torch.stack([-gap / 2, gap / 2], 1)


class LinearConvolution(nn.Module):
    """Two classes; logit gap (w * x)(v) + b at voxel v, one kernel for all, zeros around: neighbours share voxels.

    A voxel's own margin is |gap| over the dual norm of the part of the kernel that lies within the image.
    """

    def __init__(self, weight: torch.Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)  # (1, channels, *odd sizes)
        self.bias = bias

    def _convolve(self, image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        conv = conv2d if image.ndim == 4 else conv3d
        return conv(image, weight, padding=[size // 2 for size in weight.shape[2:]])[:, 0]

    def gap(self, image: torch.Tensor) -> torch.Tensor:
        return self._convolve(image, self.weight) + self.bias

    def dual(self, image: torch.Tensor, order: float) -> torch.Tensor:
        """Norm of that order (1 for Linf, 2 for L2) of each voxel's kernel, (1, *spatial)."""
        whole = torch.ones_like(image[:1])
        return self._convolve(whole, self.weight.detach().abs() ** order) ** (1 / order)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        gap = self.gap(image)
        return torch.stack([-gap / 2, gap / 2], 1)


def trained_model() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small 2D net trained for a moment, so that attacks have something to break."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        label = torch.zeros(8, 16, 16, dtype=torch.long)
        for i in range(8):
            label[i, 2 + i % 4 : 9 + i % 5, 3 + i % 3 : 10] = 1
        image = label[:, None].float() + 0.3 * torch.randn(8, 1, 16, 16)
        model = messy_model(2, classes=2, channels=1)
        model[3].p = 0.0
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            cross_entropy(model(image), label).backward()
            optimizer.step()
    return model.eval(), image, label
