"""What the benchmarks on classifiers share: training by any method, and accuracy under attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imaseg import PGD, LogitMargin, Misclassified, Perturbation, TrainingMethod, WeakestVoxels
from imaseg.progress import bar


def fit(
    name: str, model: nn.Module, method: TrainingMethod, image: Tensor, label: Tensor, *, epochs: int, batch: int
) -> list[float]:
    """Train by Adam under a cosine schedule; the mean margin after every epoch (0 for methods without margins)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    order = torch.Generator().manual_seed(0)
    means = []
    with bar(name) as tell:
        for epoch in range(epochs):
            model.train()
            for index in torch.randperm(len(image), generator=order).split(batch):
                for _ in range(method.replays):
                    optimizer.zero_grad()
                    method(model, image[index], label[index], [str(int(i)) for i in index]).backward()
                    optimizer.step()
            method.end_epoch()
            schedule.step()
            means.append(getattr(method, "last_epoch", {}).get("mean_margin", 0.0))
            tell(epoch + 1, epochs, f"mean margin {means[-1]:.3f}")
    model.eval()
    return means


def robust_accuracy(
    model: nn.Module, image: Tensor, label: Tensor, perturbation: Perturbation, eps: list[float], *, steps: int
) -> list[float]:
    """Share that no search brings to another class, at each budget; PGD on two forms of the logit margin, twice."""
    standing = torch.ones(len(eps), len(image), dtype=torch.bool)
    for objective in (WeakestVoxels(), LogitMargin(cap=None)):
        attack = PGD(perturbation, steps=steps, objective=objective, restarts=2)
        found = attack.ladder(model, image, label, eps, criterion=Misclassified())
        standing &= ~torch.stack([result.success for result in found])
    return standing.float().mean(1).tolist()
