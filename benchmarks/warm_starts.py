"""What searches of 3 steps find that start where the case's last one ended, visit by visit, beside cold searches.

    python benchmarks/warm_starts.py DATA [--runs DIR] [--cases N] [--visits N] [--small]

DATA and RUNS as in `benchmarks/attack_strength.py`; the networks stand still here. Training cases come as
`imaseg train` shows them: mirrored at random, some turned and scaled a little, with other intensities at every visit.
Figures are the mean soft Dice loss (higher is stronger) of the same images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from attack_strength import footer
from hippocampus_3d import NETS, ROOT, prepare_data, train_nets
from torch import Tensor, nn

from imaseg import L2, PGD, Dice, load_cases, load_model
from imaseg.progress import bar
from imaseg.runs import load_config
from imaseg.runs.batches import training_loader
from imaseg.training.starts import Starts

EPS = {"standard": 0.03, "pgd": 0.1, "ima": 0.1}
COLD = (3, 8, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("work/hippocampus_3d"))
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--visits", type=int, default=6)
    parser.add_argument("--small", action="store_true", help="tiny networks, two visits, for tests")
    arguments = parser.parse_args()
    prepared = prepare_data(arguments.data, arguments.runs)
    nets = train_nets(prepared, arguments.runs, small=arguments.small)
    visits = 2 if arguments.small else arguments.visits
    batches = list(shown(prepared, arguments.cases, visits))
    print("| network | visit | clean | 3 steps, warm | " + " | ".join(f"{steps} steps, cold" for steps in COLD) + " |")
    print("| --- |" + " --- |" * (3 + len(COLD)))
    with bar("visits") as tell:
        for place, name in enumerate(NETS):
            tell(place, len(NETS), name)
            for visit, values in enumerate(found(load_model(nets[name]), EPS[name], batches), 1):
                print(f"| {name}, RMS {EPS[name]:g} | {visit} | " + " | ".join(f"{v:.4f}" for v in values) + " |")
    print(footer(f"{arguments.cases} train cases", (0,)))


def shown(prepared: Path, cases: int, visits: int) -> Iterator[list[dict[str, Tensor]]]:
    """The batches of each visit."""
    config = load_config(ROOT / "configs/hippocampus_ima.yaml")
    cohort = load_cases(prepared)
    loader = training_loader(cohort.select(cohort.split["train"][:cases]), config, start=0)
    for _ in range(visits):
        yield list(loader)


def found(model: nn.Module, eps: float, visits: list[list[dict[str, Tensor]]]) -> Iterator[list[float]]:
    """Mean loss at each visit: clean, after 3 steps from the last end, after `COLD` steps from a random point."""
    starts, within = Starts(), L2(eps, unit="rms")
    for seed, batches in enumerate(visits):
        sums = torch.zeros(2 + len(COLD))
        for batch in batches:
            image, label, ids = batch["image"], batch["label"], batch["id"]
            start = starts.begin(ids, image, within, seed)
            attack = PGD(within, steps=3, objective=Dice(), seed=seed)
            warm = attack(model, image, label, start=start)
            starts.keep(ids, image, warm.params)
            cold = [attack.with_steps(steps)(model, image, label) for steps in COLD]
            sums += torch.stack([warm.objective_clean.sum(), *(one.objective.sum() for one in (warm, *cold))])
        starts.end_epoch()
        yield (sums / sum(len(batch["id"]) for batch in batches)).tolist()


if __name__ == "__main__":
    main()
