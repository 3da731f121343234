"""Standard training, PGD, TRADES and IMA on hippocampus slices, each at the settings that trace its front, and options.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/ima_ablation.py DATA [--out DIR] [--epochs N] [--seed N] [--only NAME ...] [--small]
                                           [--figure FILE]

DATA is MSD Task04_Hippocampus with a `split.json`. Every row goes on from the same standard 2D network for the same
epochs, half clean and half perturbed, with 3 search steps from where the slice's last search ended (network and slices
as in `hippocampus_2d.py`, every second slice of those with foreground). `rows.json` in DIR keeps the voxels of every
patient that are right, predicted and labelled, from which `fronts.py` compares methods at equal clean Dice.
Stopped at any moment, the same command goes on, and several processes may share the rows among them by `--only`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attack_strength import Book, footer
from hippocampus_2d import EPS, network, read_planes
from hippocampus_3d import prepare_data
from ima_cost import filled, options
from planes import by_patient, counts, dice_two_ways, draw, final_margins, keep, loss, train
from torch import nn

from imaseg import IMA, L2, TRADES, Dice, DiceBelow, PGDTraining, ShrinkingSetPGD, Standard, TrainingMethod
from imaseg.margins import MaxDiceBelow
from imaseg.training import PublishedIMA

CEILING = 30.0
WARM: dict[str, Any] = {"steps": 3, "warm": True}


def pgd(eps: float, **more: Any) -> Callable[[], TrainingMethod]:
    return lambda: PGDTraining(loss, L2(eps), objective=Dice(), **WARM | more)


def trades(eps: float) -> Callable[[], TrainingMethod]:
    return lambda: TRADES(loss, L2(eps), beta=1.0, **WARM)


def ima(*, threshold: float = 0.6, relative: bool = False, **more: Any) -> Callable[[], TrainingMethod]:
    settings = {"criterion": DiceBelow(threshold, relative=relative), "objective": Dice(), **WARM}
    settings["increment"] = 3.0 if "radius_jitter" in more else 1.5
    return lambda: IMA(loss, L2(CEILING), **settings | more)


JITTER: dict[str, Any] = {"train_on": "worst", "radius_jitter": 1.0}
VARIANTS: dict[str, Callable[[], TrainingMethod]] = {
    "standard, longer": lambda: Standard(loss),
    "PGD at 4": pgd(4.0),
    "PGD at 6": pgd(6.0),
    "PGD at 9": pgd(9.0),
    "PGD at 15": pgd(15.0),
    "PGD up to 8": pgd(8.0, random_eps=True),
    "PGD up to 11": pgd(11.0, random_eps=True),
    "PGD up to 15": pgd(15.0, random_eps=True),
    "PGD up to 22": pgd(22.0, random_eps=True),
    "TRADES at 4": trades(4.0),
    "TRADES at 6": trades(6.0),
    "TRADES at 9": trades(9.0),
    "TRADES at 15": trades(15.0),
    "IMA": ima(),
    "IMA, Dice below 0.3": ima(threshold=0.3),
    "IMA, relative 0.7": ima(threshold=0.7, relative=True),
    "IMA, relative 0.9": ima(threshold=0.9, relative=True),
    "IMA, worst, jitter": ima(**JITTER),
    "IMA, worst, jitter, Dice below 0.3": ima(threshold=0.3, **JITTER),
    "IMA, worst, jitter, relative 0.7": ima(threshold=0.7, relative=True, **JITTER),
    "IMA, worst, jitter, relative 0.9": ima(threshold=0.9, relative=True, **JITTER),
    "IMA, as published": lambda: PublishedIMA(loss, L2(CEILING), increment=1.5),
    "IMA, best class": ima(criterion=MaxDiceBelow(0.6)),
    "IMA, weighting 2": ima(weighting=2.0),
    "IMA, worst": ima(train_on="worst"),
    "IMA, jitter": ima(radius_jitter=1.0),
    "IMA, increment 7.5": ima(increment=CEILING / 4),
    "IMA, increment 30": ima(increment=CEILING),  # friendly adversarial training, but for the bisection
}
EXTRAS: dict[str, dict[str, Any]] = {", AWP": {"awp": 0.005}, ", EMA": {"ema": 0.995}}
"""Ends of names that stand for something that goes with every method."""
WITH_EXTRAS = [name + key for key in EXTRAS for name in ("PGD at 6", "PGD up to 15", "IMA", "IMA, worst, jitter")]
FRONTS: dict[str, list[str]] = {
    "PGD": ["standard, longer", *(name for name in VARIANTS if name.startswith("PGD at"))],
    "PGD, random budgets": ["standard, longer", *(name for name in VARIANTS if name.startswith("PGD up"))],
    "TRADES": ["standard, longer", *(name for name in VARIANTS if name.startswith("TRADES"))],
    "IMA": ["IMA", "IMA, Dice below 0.3", "IMA, relative 0.7", "IMA, relative 0.9"],
    "IMA, worst, jitter": [name for name in VARIANTS if name.startswith("IMA, worst, jitter")],
}
"""The settings of a method, which trace its front."""


def main() -> None:
    parser = options(__doc__, Path("work/ima_ablation"), [*VARIANTS, *WITH_EXTRAS])
    parser.add_argument("--figure", type=Path, help="SVG or PNG of attacked against clean Dice")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order; takes an --out of its own")
    arguments = parser.parse_args()
    epochs, steps, every = (1, 4, 5) if arguments.small else (arguments.epochs, 100, 2)
    prepared = prepare_data(arguments.data, arguments.out)
    fit, held = (filled(read_planes(prepared, split, every)) for split in ("train", "val"))
    start, book, rows = arguments.out / "standard", Book(arguments.out / "results.json"), {}

    def make() -> nn.Module:
        return network(small=arguments.small)

    def row(name: str, folder: Path, method: TrainingMethod, **more: Any) -> None:
        model = train(folder, make, method, fit, epochs=epochs, seed=arguments.seed, **more)
        attack, key = ShrinkingSetPGD(L2(EPS[-1]), steps=steps), f"{folder.name}, strong with {steps}"
        found = by_patient(counts(book, key, model, held, attack, EPS), held.names)
        margins, dice = final_margins(folder), dice_two_ways(torch.tensor(found["voxels"]))
        columns = {f"{eps:g}": [place] for place, eps in enumerate(EPS, 1)}
        about = {"columns": columns, "fronts": FRONTS, "epochs": epochs, "steps": steps, "seed": arguments.seed}
        values = {"voxels": found["voxels"], "margins": {"L2": sum(margins) / len(margins)} if margins else {}}
        keep(arguments.out / "rows.json", {**about, "patients": found["patients"]}, name, values)
        rows[name] = dice["pooled"]
        cells = [f"{pooled:.3f}/{mean:.3f}" for pooled, mean in zip(dice["pooled"], dice["patients"], strict=True)]
        print(f"| {name} | " + " | ".join([*cells, margins_in(folder)]) + " |", flush=True)

    header = ["training", "clean", *(f"{eps:g}" for eps in EPS), "mean margin"]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    row("standard", start, Standard(loss))
    for name in arguments.only:
        base, more = next(((name[: -len(key)], one) for key, one in EXTRAS.items() if name.endswith(key)), (name, {}))
        folder = arguments.out / name.replace(",", "").replace(" ", "_")
        row(name, folder, VARIANTS[base](), start=start, rate=1e-3, **more)
    what = f"{len(held)} held-out slices, {epochs} epochs from the same start, strong with {steps}"
    print(footer(f"pooled/mean of patients; {what}", (arguments.seed,)))
    if arguments.figure is not None:
        draw(rows, [name for name in FRONTS["PGD"] if name in rows], [f"L2 {eps:g}" for eps in EPS], arguments.figure)


def margins_in(folder: Path) -> str:
    """Mean of IMA's final margins and the share below the ceiling."""
    margins = final_margins(folder)
    if not margins:
        return ""
    below = sum(margin < CEILING for margin in margins) / len(margins)
    return f"{sum(margins) / len(margins):.1f} ({below:.0%} below {CEILING:g})"


if __name__ == "__main__":
    main()
