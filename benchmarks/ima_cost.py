"""What each of IMA's savings saves, and what it costs in robustness: passes, gradient calls, Dice under attack.

    python benchmarks/ima_cost.py DATA [--out DIR] [--epochs N] [--only NAME ...] [--small]

DATA is MSD Task04_Hippocampus with a `split.json`. Every variant goes on from the same standard 2D network for the same
epochs (slices as in `hippocampus_2d.py`, without flips). Passes are counted slice by
slice while training; the cost in standard steps weighs them by how long one takes here, all three kinds timed in turn:
forward only (f), forward and backward to the image (g), forward and backward to the weights (1). Stopped at any moment,
the same command goes on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from attack_strength import Book, footer
from hippocampus_2d import EPS, network, read_planes
from hippocampus_3d import prepare_data
from planes import Planes, by_patient, counts, dice_two_ways, loss, train
from torch import Tensor, nn

from imaseg import IMA, L2, Dice, DiceBelow, ShrinkingSetPGD, Standard
from imaseg.models.device import pick_device

CEILING = 10.0
JITTER: dict[str, object] = {"train_on": "worst", "radius_jitter": 1.0}
# Each row takes one saving up, or puts several together; what is not named is IMA's default (8 steps, 4 bisections).
VARIANTS: dict[str, dict[str, object]] = {
    "long": {"steps": 20, "bisections": 10},
    "default": {},
    "2 bisections": {"bisections": 2},
    "3 steps": {"steps": 3},
    "fewest_steps 2": {"fewest_steps": 2},
    "warm, 3 steps": {"steps": 3, "warm": True},
    "every 2": {"every": 2},
    "thrifty: 3 steps, fewest 2, 2 bisections": {"steps": 3, "fewest_steps": 2, "bisections": 2},
    "thrifty, warm": {"steps": 3, "fewest_steps": 2, "bisections": 2, "warm": True},
    "warm, 3 steps, every 2": {"steps": 3, "warm": True, "every": 2},
    "thrifty, warm, every 2": {"steps": 3, "fewest_steps": 2, "bisections": 2, "warm": True, "every": 2},
    "thrifty, every 2": {"steps": 3, "fewest_steps": 2, "bisections": 2, "every": 2},
    "worst, jitter": JITTER,
    "worst, jitter, 3 steps, 2 bisections": {**JITTER, "steps": 3, "bisections": 2},
}


class Counted(nn.Module):
    """A network that counts the samples of its passes: forward only, with a gradient to the image, to the weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("passes", torch.zeros(3, dtype=torch.long))

    def forward(self, image: Tensor) -> Tensor:
        """As the network, and one more noted."""
        trained = next(self.network.parameters()).requires_grad
        kind = 1 + trained if torch.is_grad_enabled() else 0
        self.passes[kind] += len(image)
        return self.network(image)


def main() -> None:
    arguments = options(__doc__, Path("work/ima_cost"), list(VARIANTS)).parse_args()
    epochs, steps, every = (1, 4, 5) if arguments.small else (arguments.epochs, 100, 2)
    prepared = prepare_data(arguments.data, arguments.out)
    fit, held = (filled(read_planes(prepared, split, every)) for split in ("train", "val"))
    start = arguments.out / "standard"

    def make() -> nn.Module:
        return Counted(network(small=arguments.small))

    train(start, make, Standard(loss), fit, epochs=epochs, seed=0, flip=False)
    weights, book = timed(make(), fit), Book(arguments.out / "results.json")
    print(f"f = {weights[0]:.2f}, g = {weights[1]:.2f} standard steps\n")
    eps = [e for e in EPS if e <= CEILING]
    criterion = DiceBelow(0.01 if arguments.small else 0.6)  # one epoch does not bring a network to 0.6
    header = ["IMA", "forward only", "gradient calls", "standard steps", "clean", *(f"{e:g}" for e in eps)]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for name in arguments.only:
        chosen = VARIANTS[name]
        increment = (2 if "radius_jitter" in chosen else 1) * CEILING / max(1, epochs * 5 // 6)
        ima = IMA(
            loss, L2(CEILING), increment=min(increment, CEILING), criterion=criterion, objective=Dice(), **chosen
        )  # fmt: skip
        folder = arguments.out / name.replace(":", "").replace(",", "").replace(" ", "_")
        model = train(folder, make, ima, fit, epochs=epochs, seed=0, start=start, rate=1e-3, flip=False)
        saved, before = (torch.load(path / "weights.pt", weights_only=True)["passes"] for path in (folder, start))
        spent = (saved - before) / (epochs * len(fit))
        steps_spent = float((spent * torch.tensor([*weights, 1.0])).sum())
        found = counts(
            book, f"{folder.name}, strong with {steps}", model, held, ShrinkingSetPGD(L2(CEILING), steps=steps), eps
        )
        dice = dice_two_ways(torch.tensor(by_patient(found, held.names)["voxels"]))
        cells = [f"{float(spent[0]):.1f}", f"{float(spent[1]):.1f}", f"{steps_spent:.1f}"]
        cells += [f"{value:.3f}" for value in dice["patients"]]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(footer(f"{len(held)} held-out slices, {epochs} epochs from the same start, strong with {steps}", (0,)))


def options(description: str | None, out: Path, rows: list[str]) -> argparse.ArgumentParser:
    """The command line of tables whose rows all go on from one standard network."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", nargs="+", default=rows, choices=rows)
    parser.add_argument("--small", action="store_true", help="one epoch of a tiny network, short attacks, for tests")
    return parser


def filled(planes: Planes) -> Planes:
    """The slices with foreground."""
    return planes.where(planes.label.flatten(1).any(1))


def timed(model: nn.Module, planes: Planes, rounds: int = 7) -> list[float]:
    """Time of a forward pass, and of one with its backward pass to the image, in those to the weights; medians."""
    device = pick_device("auto")
    model, image, label = model.to(device), planes.image[:16].to(device), planes.label[:16].to(device)
    seconds: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        for kind in range(3):
            start = time.perf_counter()
            model.requires_grad_(kind == 2)
            with torch.set_grad_enabled(kind > 0):
                value = loss(model(image.clone().requires_grad_(kind == 1)), label).sum()
            if kind > 0:
                value.backward()
            float(value.detach())  # waits for a GPU
            seconds[kind].append(time.perf_counter() - start)
    forward, to_image, to_weights = (statistics.median(taken) for taken in seconds)
    return [forward / to_weights, to_image / to_weights]


if __name__ == "__main__":
    main()
