"""The L2 ladder of standard training, PGD, TRADES and IMA on scikit-learn's digits: a classifier, no download.

    python -m pip install scikit-learn
    python benchmarks/digits.py [--out DIR] [--seeds 0 1 2] [--methods NAME ...] [--small]

1797 handwritten digits of 8 x 8 pixels in [0, 1], a third held out. One small convolutional network, the same epochs,
schedule and batches for all; all search 3 steps from where the digit's last search ended. Robust accuracy: digits that
none of four PGD searches brings to another class. Stopped at any moment, the same command goes on with the next run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from attack_strength import Book, footer
from classifying import fit, robust_accuracy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from imaseg import IMA, L2, TRADES, CrossEntropy, Misclassified, PGDTraining, Standard, TrainingMethod

LADDER = [0.25, 0.5, 0.75, 1.0, 1.5]
BOUNDS = (0.0, 1.0)
SEARCH: dict[str, Any] = {"steps": 3, "warm": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/digits"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(methods()), choices=list(methods()))
    parser.add_argument("--small", action="store_true", help="fewer digits, epochs and steps, for tests")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds, epochs, steps, digits = (arguments.seeds, 40, 100, 1797)
    if arguments.small:
        seeds, epochs, steps, digits = [0], 5, 4, 240
    image, label = load(digits)
    arguments.out.mkdir(parents=True, exist_ok=True)
    book = Book(arguments.out / "results.json")
    what = f"{digits - digits * 2 // 3} held-out digits, {epochs} epochs, PGD with {steps}"
    rows: dict[str, list[list[float]]] = {}
    for name, seed in product(arguments.methods, seeds):
        key = f"{name}, seed {seed}, {what}"
        book.fill(key, partial(accuracies, name, seed, image, label, epochs, steps))
        rows.setdefault(name, []).append(book.entries[key])
    print(table(rows))
    print(footer(what, tuple(seeds)))


def accuracies(name: str, seed: int, image: Tensor, label: Tensor, epochs: int, steps: int) -> list[float]:
    """Train on two thirds; accuracy on the others, clean and at each budget, and the mean margin of training."""
    torch.manual_seed(seed)
    split, model, method = len(image) * 2 // 3, network(), methods()[name](seed)
    means = fit(f"{name}, seed {seed}", model, method, image[:split], label[:split], epochs=epochs, batch=64)
    with torch.no_grad():
        clean = (model(image[split:]).argmax(1) == label[split:]).float().mean().item()
    held = robust_accuracy(model, image[split:], label[split:], L2(1.0, bounds=BOUNDS), LADDER, steps=steps)
    return [clean, *held, means[-1]]


def methods() -> dict[str, Callable[[int], TrainingMethod]]:
    """Half-and-half where they train on both; no budget is larger than IMA's ceiling."""

    def pgd(eps: float, **more: Any) -> Callable[[int], TrainingMethod]:
        return lambda seed: PGDTraining(loss, within(eps), objective=CrossEntropy(), seed=seed, **SEARCH | more)

    def ima(increment: float, **more: Any) -> Callable[[int], TrainingMethod]:
        return lambda seed: IMA(
            loss, within(2.0), increment=increment, criterion=Misclassified(), objective=CrossEntropy(), seed=seed,
            **SEARCH | more,
        )  # fmt: skip

    return {
        "standard": lambda _: Standard(loss),
        "PGD at 0.5": pgd(0.5),
        "PGD at 1": pgd(1.0),
        "PGD at 1, adversarial only": pgd(1.0, mix=1.0),
        "PGD at 2": pgd(2.0),
        "PGD up to 2": pgd(2.0, random_eps=True),
        "PGD, rising to 2": pgd(2.0, ramp_epochs=20),
        "TRADES at 1": lambda seed: TRADES(loss, within(1.0), beta=3.0, seed=seed, **SEARCH),
        "IMA": ima(0.1),
        "IMA, weighting 2": ima(0.1, weighting=2.0),
        "IMA, worst, jitter": ima(0.2, train_on="worst", radius_jitter=1.0),
    }


def within(eps: float) -> L2:
    return L2(eps, bounds=BOUNDS)


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
    """Markdown: mean over the seeds with its range."""
    header = ["training", "clean", *(f"{eps:g}" for eps in LADDER), "mean margin"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for name, values in rows.items():
        *columns, margin = zip(*values, strict=True)
        cells = [f"{mean(one):.3f} ({min(one):.3f} to {max(one):.3f})" for one in columns]
        cells.append(f"{mean(margin):.2f}" if any(margin) else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
