"""The L2 ladder of standard training, PGD, TRADES and IMA on scikit-learn's digits: a classifier, no download.

    python -m pip install scikit-learn
    python benchmarks/digits.py [--seeds 0 1 2] [--methods NAME ...] [--small]

1797 handwritten digits of 8 x 8 pixels in [0, 1], a third held out. One small convolutional network, the same epochs,
schedule and batches for all. Robust accuracy: digits that none of four PGD searches brings to another class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from classifying import fit, robust_accuracy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, TRADES, CrossEntropy, Misclassified, PGDTraining, Standard, TrainingMethod

LADDER = [0.25, 0.5, 0.75, 1.0, 1.5]
BOUNDS = (0.0, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(methods()), choices=list(methods()))
    parser.add_argument("--small", action="store_true", help="fewer digits, epochs and steps, for tests")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds, epochs, steps, digits = (arguments.seeds, 40, 100, 1797)
    if arguments.small:
        seeds, epochs, steps, digits = [0], 5, 4, 240
    image, label = load(digits)
    split = len(image) * 2 // 3
    rows: dict[str, list[list[float]]] = {}
    for name in arguments.methods:
        for seed in seeds:
            torch.manual_seed(seed)
            model = network()
            method = methods()[name](seed)
            fit(f"{name}, seed {seed}", model, method, image[:split], label[:split], epochs=epochs, batch=64)
            with torch.no_grad():
                clean = (model(image[split:]).argmax(1) == label[split:]).float().mean().item()
            held = robust_accuracy(model, image[split:], label[split:], L2(1.0, bounds=BOUNDS), LADDER, steps=steps)
            rows.setdefault(name, []).append([clean, *held])
            if isinstance(method, IMA):
                print(f"{name}, seed {seed}: mean margin {method.last_epoch['mean_margin']:.2f}", flush=True)
    print(table(rows))
    print(f"\n{len(image) - split} held-out digits, seeds {seeds}, {epochs} epochs, {steps} steps")


def methods() -> dict[str, Callable[[int], TrainingMethod]]:
    """All with 8 search steps, half-and-half where they train on both; no budget is larger than IMA's ceiling."""
    attack = {"steps": 8, "objective": CrossEntropy()}
    return {
        "standard": lambda _: Standard(loss),
        "PGD at 0.5": lambda seed: PGDTraining(loss, L2(0.5, bounds=BOUNDS), **attack, seed=seed),
        "PGD at 1": lambda seed: PGDTraining(loss, L2(1.0, bounds=BOUNDS), **attack, seed=seed),
        "PGD at 1, adversarial only": lambda seed: PGDTraining(
            loss, L2(1.0, bounds=BOUNDS), mix=1.0, **attack, seed=seed
        ),
        "PGD at 2": lambda seed: PGDTraining(loss, L2(2.0, bounds=BOUNDS), **attack, seed=seed),
        "PGD up to 2": lambda seed: PGDTraining(loss, L2(2.0, bounds=BOUNDS), random_eps=True, **attack, seed=seed),
        "PGD, rising to 2": lambda seed: PGDTraining(loss, L2(2.0, bounds=BOUNDS), ramp_epochs=20, **attack, seed=seed),
        "TRADES at 1": lambda seed: TRADES(loss, L2(1.0, bounds=BOUNDS), beta=3.0, seed=seed),
        "IMA, ceiling 2": lambda seed: IMA(
            loss, L2(2.0, bounds=BOUNDS), increment=0.1, criterion=Misclassified(), **attack, seed=seed
        ),
        "IMA, beyond, spread": lambda seed: IMA(
            loss,
            L2(2.0, bounds=BOUNDS),
            increment=0.2,
            criterion=Misclassified(),
            beyond=True,
            spread=1.0,
            **attack,
            seed=seed,
        ),
    }


def loss(logits: Tensor, label: Tensor) -> Tensor:
    return cross_entropy(logits, label, reduction="none")


def load(digits: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8) in [0, 1] and classes (N,), shuffled."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.images), generator=torch.Generator().manual_seed(0))[:digits]
    image = torch.from_numpy(found.images).float()[:, None] / 16
    return image[order], torch.from_numpy(found.target).long()[order]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip


def table(rows: dict[str, list[list[float]]]) -> str:
    """Markdown: mean accuracy over the seeds with its range."""
    lines = ["| training | clean | " + " | ".join(f"{eps:g}" for eps in LADDER) + " |", "| --- |" + " --- |" * 6]
    for name, values in rows.items():
        columns = torch.tensor(values).T
        cells = [
            f"{float(column.mean()):.3f} ({float(column.min()):.3f} to {float(column.max()):.3f})" for column in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
