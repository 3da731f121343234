"""Whether searches led by gradients in half precision find as much as those in full: Dice, margins, calls.

    python benchmarks/half_precision.py DATA [--runs DIR] [--cases N] [--nets NAME ...] [--small]

DATA and RUNS as in `benchmarks/attack_strength.py`. PGD with 20 and `strong` with 40 steps along a ladder of two
budgets, and the margin at which mean Dice falls below 0.5, on held-out cases. Every Dice is that of the model in
float32, and every margin the size of a change that breaks it there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, median

import torch
from attack_strength import footer, whole_cases
from hippocampus_3d import NETS, prepare_data, train_nets

from imaseg import L2, DiceBelow, SampleMargin, load_model
from imaseg.attacks import Attack
from imaseg.precision import HALF, HalfPrecisionGradients
from imaseg.progress import bar

BUDGETS = {"standard": (0.026, 0.052), "pgd": (0.1, 0.2), "ima": (0.1, 0.2)}
CEILING = 0.4
STEPS = {"pgd": 20, "strong": 40}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("work/hippocampus_3d"))
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=["standard", "ima"])
    parser.add_argument("--small", action="store_true", help="tiny networks, two steps, for tests")
    arguments = parser.parse_args()
    prepared = prepare_data(arguments.data, arguments.runs)
    nets = train_nets(prepared, arguments.runs, small=arguments.small)
    batches = whole_cases(prepared, "val", arguments.cases)
    print("| network | gradients in | " + " | ".join(f"{name}, two budgets" for name in STEPS) + " | median margin |")
    print("| --- | --- | --- | --- | --- |")
    jobs = [(net, precision) for net in arguments.nets for precision in ("float32", *HALF)]
    with bar("searches") as tell:
        for place, (net, precision) in enumerate(jobs):
            tell(place, len(jobs), f"{net}, {precision}")
            model = load_model(nets[net])
            led = model if precision == "float32" else HalfPrecisionGradients(model, HALF[precision])
            cells = [dices(led, name, BUDGETS[net], batches, small=arguments.small) for name in STEPS]
            margin = margins(led, batches, small=arguments.small)
            print(f"| {net} | {precision} | {' | '.join(cells)} | {margin:.4f} |", flush=True)
    print(footer(f"{len(batches)} val cases", (0,)))


def dices(
    model: torch.nn.Module,
    name: str,
    budgets: tuple[float, ...],
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    *,
    small: bool,
) -> str:
    """Mean Dice at each budget."""
    attack = Attack.build({"name": name, "steps": 2 if small else STEPS[name], "seed": 0}, L2(1.0, unit="rms"))
    found = [attack.ladder(model, image, label, budgets) for image, label in batches]
    means = [fmean(float(rungs[place].foreground_dice) for rungs in found) for place in range(len(budgets))]
    return ", ".join(f"{value:.3f}" for value in means)


def margins(model: torch.nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], *, small: bool) -> float:
    """Median RMS of the smallest change that breaks a case."""
    search = SampleMargin(L2(CEILING, unit="rms"), criterion=DiceBelow(0.5), rtol=0.5 if small else 0.05)
    return median(float(search(model, image, label).margin) for image, label in batches)


if __name__ == "__main__":
    main()
