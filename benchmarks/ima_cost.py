"""What each of IMA's savings saves, and what it costs in robustness: passes, gradient calls, Dice under attack.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/ima_cost.py DATA [--out DIR] [--epochs N] [--only NAME ...] [--figure FILE] [--small]

DATA is MSD Task04_Hippocampus with a `split.json`. Every variant goes on from the same standard 2D network for the same
epochs (slices as in `hippocampus_2d.py`, without flips). Passes are counted slice by
slice while training; the cost in standard steps weighs them by how long one takes here, all three kinds timed in turn:
forward only (f), forward and backward to the image (g), forward and backward to the weights (1). Controls are standard
training, PGD and free adversarial training from the same network. --figure draws Dice under attack against the cost.
Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from attack_strength import Book, footer
from hippocampus_2d import EPS, network, read_planes
from hippocampus_3d import prepare_data
from planes import Planes, by_patient, counts, dice_two_ways, loss, train
from torch import Tensor, nn

from imaseg import IMA, L2, Dice, DiceBelow, FreeTraining, PGDTraining, ShrinkingSetPGD, Standard
from imaseg.models.device import pick_device
from imaseg.training.base import TrainingMethod

CEILING = 10.0
JITTER: dict[str, Any] = {"train_on": "worst", "radius_jitter": 1.0}
# Each row takes one saving up, or puts several together; what is not named is IMA's default (8 steps, 4 bisections).
VARIANTS: dict[str, dict[str, Any]] = {
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
    "thrifty, warm, every 2, twice the increment": {
        "steps": 3,
        "fewest_steps": 2,
        "bisections": 2,
        "warm": True,
        "every": 2,
        "increment": 2.0,
    },
    "thrifty, every 2": {"steps": 3, "fewest_steps": 2, "bisections": 2, "every": 2},
    "worst, jitter": JITTER,
    "worst, jitter, 3 steps, 2 bisections": {**JITTER, "steps": 3, "bisections": 2},
}


CONTROLS: dict[str, Callable[[], TrainingMethod]] = {
    "standard, longer": partial(Standard, loss),
    "PGD at 5, 3 warm steps": partial(PGDTraining, loss, L2(5.0), steps=3, warm=True),
    "PGD up to 10, 3 warm steps": partial(PGDTraining, loss, L2(CEILING), steps=3, warm=True, random_eps=True),
    "free at 5, 4 replays": partial(FreeTraining, loss, L2(5.0)),
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
    parser = options(__doc__, Path("work/ima_cost"), [*CONTROLS, *VARIANTS])
    parser.add_argument("--figure", type=Path, help="SVG or PNG of Dice under attack against the cost")
    arguments = parser.parse_args()
    epochs, steps, every = (1, 4, 5) if arguments.small else (arguments.epochs, 100, 2)
    prepared = prepare_data(arguments.data, arguments.out)
    fit, held = (filled(read_planes(prepared, split, every)) for split in ("train", "val"))
    start = arguments.out / "standard"

    def make() -> nn.Module:
        return Counted(network(small=arguments.small))

    train(start, make, Standard(loss), fit, epochs=epochs, seed=0, flip=False)
    book = Book(arguments.out / "results.json")
    weights = book.fill("time of passes", lambda: timed(make(), fit))
    print(f"f = {weights[0]:.2f}, g = {weights[1]:.2f} standard steps\n")
    eps = [e for e in EPS if e <= CEILING]
    criterion = DiceBelow(0.01 if arguments.small else 0.6)  # one epoch does not bring a network to 0.6
    header = ["IMA", "forward only", "gradient calls", "standard steps", "clean", *(f"{e:g}" for e in eps)]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    rows: dict[str, tuple[float, list[float]]] = {}
    for name in arguments.only:
        method = CONTROLS[name]() if name in CONTROLS else ima(VARIANTS[name], criterion, epochs)
        folder = arguments.out / name.replace(":", "").replace(",", "").replace(" ", "_")
        model = train(folder, make, method, fit, epochs=epochs, seed=0, start=start, rate=1e-3, flip=False)
        saved, before = (torch.load(path / "weights.pt", weights_only=True)["passes"] for path in (folder, start))
        spent = (saved - before) / (epochs * len(fit))
        steps_spent = float((spent * torch.tensor([*weights, 1.0])).sum())
        found = counts(
            book, f"{folder.name}, strong with {steps}", model, held, ShrinkingSetPGD(L2(CEILING), steps=steps), eps
        )
        dice = dice_two_ways(torch.tensor(by_patient(found, held.names)["voxels"]))
        rows[name] = steps_spent, dice["patients"]
        cells = [f"{float(spent[0]):.1f}", f"{float(spent[1]):.1f}", f"{steps_spent:.1f}"]
        cells += [f"{value:.3f}" for value in dice["patients"]]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if arguments.figure is not None:
        draw(rows, eps, arguments.figure)
    print(footer(f"{len(held)} held-out slices, {epochs} epochs from the same start, strong with {steps}", (0,)))


def ima(chosen: dict[str, Any], criterion: DiceBelow, epochs: int) -> TrainingMethod:
    """IMA whose margins reach the ceiling after five sixths of the epochs if nothing breaks a case."""
    increment = (2 if "radius_jitter" in chosen else 1) * CEILING / max(1, epochs * 5 // 6)
    how: dict[str, Any] = {"increment": min(increment, CEILING), "criterion": criterion, "objective": Dice()}
    return IMA(loss, L2(CEILING), **{**how, **chosen})


def draw(rows: dict[str, tuple[float, list[float]]], eps: list[float], path: Path) -> None:
    """Dice at each budget against the cost in standard steps, a panel per budget; rows by number."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(eps), figsize=(4 * len(eps) + 3, 4), layout="constrained")
    chosen = [place for place, _ in enumerate(["clean", *eps]) if place != 1]  # all rows are alike at the smallest
    for panel, place in zip(panels, chosen, strict=True):
        for number, (name, (cost, dice)) in enumerate(rows.items(), 1):
            control = name in CONTROLS
            panel.plot(
                cost, dice[place], "s" if control else "o", color="tab:orange" if control else "tab:blue",
                markersize=4, label=f"{number}  {name}",
            )  # fmt: skip
            panel.annotate(str(number), (cost, dice[place]), fontsize=7, xytext=(3, 2), textcoords="offset points")
        title = "clean" if place == 0 else f"L2 {eps[place - 1]:g}"
        panel.set(xlabel="cost (steps of standard training)", ylabel="mean Dice of slices", title=title, xscale="log")
        panel.set_xticks([1, 2, 3, 5, 10, 15], ["1", "2", "3", "5", "10", "15"])
        panel.minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right center", frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


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
