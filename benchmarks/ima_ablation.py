"""What each of IMA's options does to clean and attacked Dice, beside PGD at budgets that trace the whole front.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/ima_ablation.py DATA [--out DIR] [--epochs N] [--seed N] [--only NAME ...] [--small]
                                           [--figure FILE]

DATA is MSD Task04_Hippocampus with a `split.json`. Every row goes on from the same standard 2D network for the same
epochs, half clean and half perturbed, with 3 search steps from where the slice's last search ended (network and slices
as in `hippocampus_2d.py`, every second slice of those with foreground). A method is worth its while where it lies above
the line through the fixed budgets.
Stopped at any moment, the same command goes on, and several processes may share the rows among them by `--only`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attack_strength import Book, footer
from hippocampus_2d import EPS, network, read_planes
from hippocampus_3d import prepare_data
from ima_cost import filled, options
from planes import counts, dice_in_four_ways, draw, final_margins, loss, train
from torch import nn

from imaseg import IMA, L2, TRADES, Dice, DiceBelow, PGDTraining, Standard, TrainingMethod
from imaseg.margins import MaxDiceBelow
from imaseg.training import PublishedIMA

CEILING = 30.0
WARM: dict[str, Any] = {"steps": 3, "warm": True}


def pgd(eps: float, **more: Any) -> Callable[[], TrainingMethod]:
    return lambda: PGDTraining(loss, L2(eps), objective=Dice(), **WARM | more)


def ima(*, threshold: float = 0.6, relative: bool = False, **more: Any) -> Callable[[], TrainingMethod]:
    settings = {"criterion": DiceBelow(threshold, relative=relative), "objective": Dice(), **WARM, **more}
    increment = 3.0 if "radius_jitter" in more else 1.5
    return lambda: IMA(loss, L2(CEILING), increment=increment, **settings)


# Fixed budgets first: they are the front.
VARIANTS: dict[str, Callable[[], TrainingMethod]] = {
    "standard, longer": lambda: Standard(loss),
    "PGD at 4": pgd(4.0),
    "PGD at 6": pgd(6.0),
    "PGD at 9": pgd(9.0),
    "PGD at 15": pgd(15.0),
    "PGD up to 15": pgd(15.0, random_eps=True),
    "PGD up to 22": pgd(22.0, random_eps=True),
    "TRADES at 9": lambda: TRADES(loss, L2(9.0), beta=1.0, **WARM),
    "IMA": ima(),
    "IMA, as published": lambda: PublishedIMA(loss, L2(CEILING), increment=1.5),
    "IMA, best class": ima(criterion=MaxDiceBelow(0.6)),
    "IMA, Dice below 0.3": ima(threshold=0.3),
    "IMA, relative 0.7": ima(threshold=0.7, relative=True),
    "IMA, weighting 2": ima(weighting=2.0),
    "IMA, worst": ima(train_on="worst"),
    "IMA, jitter": ima(radius_jitter=1.0),
    "IMA, worst, jitter": ima(train_on="worst", radius_jitter=1.0),
    "IMA, worst, jitter, relative 0.5": ima(threshold=0.5, relative=True, train_on="worst", radius_jitter=1.0),
}


def main() -> None:
    parser = options(__doc__, Path("work/ima_ablation"), list(VARIANTS))
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
        dice = dice_in_four_ways(counts(book, folder.name, model, held, L2(EPS[-1]), EPS, steps=steps), held.names)
        rows[name] = dice["pooled"]
        cells = [f"{pooled:.3f}/{mean:.3f}" for pooled, mean in zip(dice["pooled"], dice["slices"], strict=True)]
        print(f"| {name} | " + " | ".join([*cells, margins_in(folder)]) + " |", flush=True)

    header = ["training", "clean", *(f"{eps:g}" for eps in EPS), "mean margin"]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    row("standard", start, Standard(loss))
    for name in arguments.only:
        row(name, arguments.out / name.replace(",", "").replace(" ", "_"), VARIANTS[name](), start=start, rate=1e-3)
    what = f"{len(held)} held-out slices, {epochs} epochs from the same start, strong with {steps}"
    print(footer(f"pooled/slices; {what}", (arguments.seed,)))
    if arguments.figure is not None:
        front = [name for name in rows if name == "standard, longer" or name.startswith("PGD at")]
        draw(rows, front, EPS, arguments.figure)


def margins_in(folder: Path) -> str:
    """Mean of IMA's final margins and the share below the ceiling."""
    margins = final_margins(folder)
    if not margins:
        return ""
    below = sum(margin < CEILING for margin in margins) / len(margins)
    return f"{sum(margins) / len(margins):.1f} ({below:.0%} below {CEILING:g})"


if __name__ == "__main__":
    main()
