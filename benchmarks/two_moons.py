"""IMA on two moons: margins stop growing by themselves; where the boundary comes to rest, as published and weighted.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/two_moons.py [--figure FILE] [--small]

A perceptron with two hidden layers on 200 points of two noisy half-circles, standard, by PGD and by IMA under a ceiling
that no margin can reach. Margins are measured on a fine grid over the plane, not by an attack. Of a point and the
nearest one of the other class, the smaller margin says how far from half-way the boundary runs: as a share of half
their distance it is 1 where the boundary runs in the middle, 0 where it touches one of them.
"""

from __future__ import annotations

import argparse
import math
import re
from functools import partial
from pathlib import Path

import torch
from classifying import fit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, Misclassified, PGDTraining, Standard, TrainingMethod

CEILING = 1.5
POINTS, EPOCHS = 200, 150
WEIGHTED = "IMA, weighting 6"
ACROSS, UP = torch.linspace(-1.8, 2.8, 600), torch.linspace(-1.4, 1.9, 430)
Run = tuple[nn.Module, TrainingMethod, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="SVG or PNG of the boundaries and of the margins over the epochs")
    parser.add_argument("--small", action="store_true", help="fewer points and epochs, for tests")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    points, epochs = (60, 30) if arguments.small else (POINTS, EPOCHS)
    image, label = moons(points)
    runs = {name: train(name, image, label, epochs) for name in ("standard", "PGD at 0.5", "IMA", WEIGHTED)}
    print(table(runs, image, label))
    if arguments.figure is not None:
        draw(runs, image, label, arguments.figure)
        print(f"Created {arguments.figure}")


def moons(points: int) -> tuple[Tensor, Tensor]:
    """Points (N, 2) on two interleaved half-circles with noise, and their class (N,)."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(points) % 2
    angle = math.pi * torch.rand(points, generator=generator)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    place = torch.where(label[:, None] == 0, upper, lower)
    return place + 0.06 * torch.randn(points, 2, generator=generator), label


def train(name: str, image: Tensor, label: Tensor, epochs: int) -> Run:
    growing = partial(IMA, loss, L2(CEILING), increment=CEILING / 100, criterion=Misclassified(), bisections=6)
    methods: dict[str, TrainingMethod] = {
        "standard": Standard(loss),
        "PGD at 0.5": PGDTraining(loss, L2(0.5)),
        "IMA": growing(),
        WEIGHTED: growing(weighting=6.0),
    }
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    means = fit(name, model, methods[name], image, label, epochs=epochs, batch=50)
    return model, methods[name], means


def loss(logits: Tensor, label: Tensor) -> Tensor:
    return cross_entropy(logits, label, reduction="none")


def decided(model: nn.Module) -> Tensor:
    """Class of each point of the grid (600, 430)."""
    with torch.no_grad():
        return model(torch.cartesian_prod(ACROSS, UP)).argmax(1).reshape(len(ACROSS), len(UP))


def margins(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Distance (N,) of each point to the nearest place where the decision is not its label."""
    grid, decision = torch.cartesian_prod(ACROSS, UP), decided(model).flatten()
    return torch.stack(
        [(grid[decision != one] - place).norm(dim=1).amin() for place, one in zip(image, label, strict=True)]
    )


def table(runs: dict[str, Run], image: Tensor, label: Tensor) -> str:
    """Markdown: accuracy, margins, how near to half-way the boundary runs, and how still IMA's table stands."""
    apart = torch.cdist(image, image).masked_fill(label[:, None] == label[None], torch.inf)
    room, partner = apart.min(1)
    lines = ["| training | right | smallest margin | mean margin | half-way: 5 % | median |", "| --- |" + " --- |" * 5]
    for name, (model, *_) in runs.items():
        found = margins(model, image, label)
        halfway = torch.minimum(found, found[partner]) / (room / 2)
        cells = [
            f"{float(value):.2f}" for value in (found.min(), found.mean(), halfway.quantile(0.05), halfway.median())
        ]
        with torch.no_grad():
            right = (model(image).argmax(1) == label).float().mean()
        lines.append(f"| {name} | {right:.3f} | {' | '.join(cells)} |")
    lines += [stillness(name, runs[name], image, label) for name in ("IMA", WEIGHTED)]
    lines.append(f"\n{len(image)} points, {len(runs[WEIGHTED][2])} epochs, seed 0.")
    return "\n".join(lines)


def stillness(name: str, run: Run, image: Tensor, label: Tensor) -> str:
    """Whether IMA's own margins are true and have come to rest."""
    model, method, means = run
    quarters = ", ".join(f"{means[len(means) * part // 4 - 1]:.3f}" for part in (1, 2, 3, 4))
    at_ceiling = sum(margin >= CEILING for margin in method.margins.values())
    true = margins(model, image, label)
    kept = torch.tensor([method.margins[str(i)] for i in range(len(image))])
    ratio = (kept / true.clamp(min=1e-3))[true > 0.1].median()
    return (
        f"\n{name}: its own margin over the true one, median of points with one above 0.1: {float(ratio):.2f}; mean "
        f"margin after each quarter of the epochs: {quarters}; {at_ceiling} of {len(image)} at the ceiling."
    )


def draw(runs: dict[str, Run], image: Tensor, label: Tensor, path: Path) -> None:
    """Boundary of each run, and IMA's mean margin over the epochs."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(runs) + 1, figsize=(4 * (len(runs) + 1), 3.4), layout="constrained")
    for panel, (name, (model, *_)) in zip(panels, runs.items(), strict=False):
        panel.contourf(ACROSS, UP, decided(model).T, levels=[-0.5, 0.5, 1.5], colors=["#cfe2f3", "#fbe0c8"])
        panel.scatter(*image.T, c=["#1f5f9f" if one == 0 else "#c05a10" for one in label], s=5)
        panel.set(title=name, aspect="equal")
    for name, style in (("IMA", "--"), (WEIGHTED, "-")):
        panels[-1].plot(range(1, len(runs[name][2]) + 1), runs[name][2], style, color="black", label=name)
    panels[-1].set(title="mean margin", xlabel="epoch", ylim=(0, None))
    panels[-1].legend()
    figure.savefig(path, dpi=80, metadata={"Date": None} if path.suffix == ".svg" else None)
    if path.suffix == ".svg":
        # One decimal of a point is more than a page shows, and a third less to store.
        path.write_text(re.sub(r' d="[^"]*"', rounded, path.read_text()))


def rounded(found: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", found[0]).replace("\n", " ")


if __name__ == "__main__":
    main()
