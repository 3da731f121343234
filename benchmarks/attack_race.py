"""Every preset and outside search on four networks at equal gradient calls: who does most damage to Dice.

    python -m pip install torchattacks adv-lib   # only for their searches; left out, and said so, where missing
    python benchmarks/attack_race.py DATA [--nets DIR] [--out DIR] [--cases N] [--calls 20 100 500] [--only NET ...]
                                     [--searches NAME ...]

DATA is MSD Task04_Hippocampus with a `split.json`, NETS holds the networks of `four_nets.py`, which trains what is
missing. Every figure is the mean hard Dice over the foreground that the label holds, over validation cases, one seed.
Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import outside
import padam
from attack_strength import Book, dice, footer
from four_nets import BUDGETS, net_and_cases
from torch import Tensor, nn

from imaseg import Perturbation
from imaseg.attacks import PRESETS, Attack
from imaseg.progress import bar

SEED = 0
OURS = ("pgd", *(name for name, preset in PRESETS.items() if preset.perturbation is None), "apgd", "strong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--nets", type=Path, default=Path("work/four_nets"))
    parser.add_argument("--out", type=Path, default=Path("work/attack_race"))
    parser.add_argument("--cases", type=int, default=4, help="of the val split, evenly spread")
    parser.add_argument("--calls", type=int, nargs="+", default=[20, 100, 500])
    parser.add_argument("--only", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    parser.add_argument("--searches", nargs="+", help="instead of all")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    book = Book(arguments.out / "results.json")
    for net in arguments.only:
        model, image, label = net_and_cases(net, arguments.data, arguments.nets, "val", arguments.cases)
        names = arguments.searches or [*OURS, *padam.searches(), *outside.within(BUDGETS[net])]
        book.fill(_key(net, "clean", 0, len(image)), partial(dice, model, image, label))
        jobs = [(name, calls) for calls in arguments.calls for name in names]
        with bar(net) as tell:
            for place, (name, calls) in enumerate(jobs):
                key = _key(net, name, calls, len(image))
                book.fill(key, partial(attacked, name, model, image, label, BUDGETS[net], calls))
                tell(place + 1, len(jobs), key)
        print(table(net, names, arguments.calls, len(image), book), flush=True)
    print(footer(f"{arguments.cases} val cases", (SEED,)))


def attacked(
    name: str, model: nn.Module, image: Tensor, label: Tensor, perturbation: Perturbation, calls: int
) -> list[float]:
    """Dice of each case under one search, and the largest share of the budget that was spent."""
    others = {**padam.searches(), **outside.within(perturbation)}
    started = time.perf_counter()
    if name in others:
        found = others[name](model, image, label, perturbation, calls, SEED)
        if bool((perturbation.size(found - image) > float(perturbation.eps) * 1.001).any()):
            raise RuntimeError(f"{name} must stay within {perturbation!r}.")
        values = dice(model, found, label)
    else:
        result = Attack.build({"name": name, "steps": calls, "seed": SEED}, perturbation)(model, image, label)
        if result.backward_calls > calls:
            raise RuntimeError(f"{name} must spend at most {calls} gradient calls, got {result.backward_calls}.")
        values = result.foreground_dice.tolist()
    print(f"{name} {calls}: {sum(values) / len(values):.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    return values


def table(net: str, names: list[str], calls: list[int], cases: int, book: Book) -> str:
    """Markdown: one line per search, the lowest Dice of every column in bold."""
    means = {name: [book.mean([_key(net, name, number, cases)]) for number in calls] for name in names}
    lowest = [min(value for value in column if value is not None) for column in zip(*means.values(), strict=True)]
    clean = book.mean([_key(net, "clean", 0, cases)])
    lines = [
        f"\n**{net}**, {BUDGETS[net]!r}, {cases} cases, clean {clean:.3f}\n",
        "| search | " + " | ".join(f"{number} calls" for number in calls) + " |",
        "| --- |" + " --- |" * len(calls),
    ]
    for name, row in means.items():
        cells = ["" if value is None else f"{value:.3f}" for value in row]
        best = [f"**{cell}**" if value == low else cell for cell, value, low in zip(cells, row, lowest, strict=True)]
        lines.append(f"| {name} | " + " | ".join(best) + " |")
    return "\n".join(lines)


def _key(net: str, search: str, calls: int, cases: int) -> str:
    return f"{net} {search} {calls} of {cases}"


if __name__ == "__main__":
    main()
