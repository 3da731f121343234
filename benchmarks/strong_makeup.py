"""What each part of the `strong` attack is worth: the attack as it is, and with one part replaced, on training cases.

    python benchmarks/strong_makeup.py DATA [--runs DIR] [--cases N] [--calls N]

DATA and RUNS as in `benchmarks/attack_strength.py`. The make-up was chosen on these cases, so that the table of
`attack_strength.py` is of cases that no choice has seen. Mean foreground hard Dice; two seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attack_strength import footer, whole_cases
from hippocampus_3d import prepare_data, train_nets

from imaseg import L2, load_model
from imaseg.attacks import Attack
from imaseg.progress import bar

SEEDS = (0, 1)
NETS = {"standard": 0.05, "pgd": 0.15, "ima": 0.15}
VARIANTS = {
    "strong": {"name": "strong"},
    "not sharper on the way": {"name": "strong", "objective": "dice"},
    "Dice + cross-entropy": {"name": "strong", "objective": "dice-ce"},
    "cross-entropy": {"name": "strong", "objective": "cross-entropy"},
    "balanced masked cross-entropy": {"name": "strong", "objective": "balanced-masked-ce"},
    "balanced logit margin, capped at 0.5": {"name": "strong", "objective": "logit-margin"},
    "no momentum": {"name": "strong", "momentum": 0.0},
    "no larger sets, steps falling by 1 / sqrt(t)": {"name": "pgd", "objective": "tempered-dice"},
    "APGD's steps, larger sets first": {"name": "apgd", "objective": "tempered-dice", "larger_first": True},
    "APGD's steps": {"name": "apgd", "objective": "tempered-dice"},
    "plain PGD on Dice": {"name": "pgd", "objective": "dice"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("work/hippocampus_3d"))
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--calls", type=int, default=20)
    arguments = parser.parse_args()
    prepared = prepare_data(arguments.data, arguments.runs)
    nets = train_nets(prepared, arguments.runs)
    batches = whole_cases(prepared, "train", arguments.cases)
    print(
        f"| {arguments.calls} gradient calls | " + " | ".join(f"{net}, RMS {eps:g}" for net, eps in NETS.items()) + " |"
    )
    print("| --- |" + " --- |" * len(NETS))
    models = {net: load_model(nets[net]) for net in NETS}
    with bar("variants") as tell:
        for done, (title, spec) in enumerate(VARIANTS.items()):
            tell(done, len(VARIANTS), title)
            cells = []
            for net, eps in NETS.items():
                found = [
                    float(Attack.build({**spec, "steps": arguments.calls, "seed": seed}, L2(eps, unit="rms"))(
                        models[net], image, label
                    ).foreground_dice)
                    for seed in SEEDS
                    for image, label in batches
                ]  # fmt: skip
                cells.append(f"{sum(found) / len(found):.3f}")
            print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    print(footer(f"{len(batches)} train cases", SEEDS))


if __name__ == "__main__":
    main()
