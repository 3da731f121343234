"""One training for five kinds of change at once: IMA with a margin per slice and kind, beside what people do today.

    python benchmarks/many_sets.py DATA [--out DIR] [--epochs N] [--seed N] [--only NAME ...] [--small]

DATA is MSD Task04_Hippocampus with a `split.json`. Every row goes on from the same standard 2D network (slices and
network as in `ima_ablation.py`) for the same epochs. Columns are the mean over patients of Dice, clean, under PGD with
40 steps in each set by itself at a moderate and at a large budget, and under 15 corruptions (`corrupted_planes.py`),
13 of them of kinds that no row trains on. Controls train at fixed or random budgets of the same sets, drawn per batch
as IMA draws them, at several sizes, since nobody knows the right one; on random (not adversarial) changes of the same
kinds, the usual augmentation; and on L2 alone. `rows.json` in DIR is for `fronts.py`.
Stopped at any moment, the same command goes on, and several processes may share the rows among them by `--only`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from attack_strength import Book, footer
from corrupted_planes import corrupted_dice, corrupted_planes
from hippocampus_2d import network, read_planes
from hippocampus_3d import prepare_data
from ima_cost import filled, options
from planes import Planes, by_patient, counts, dice, final_margins, keep, loss, train
from torch import Tensor, nn

from imaseg import (
    IMA,
    L2,
    PGD,
    BiasField,
    Deformation,
    Dice,
    DiceBelow,
    Frequency,
    Gamma,
    PGDTraining,
    Standard,
    TrainingMethod,
)  # fmt: skip
from imaseg.perturbations import Perturbation
from imaseg.training import OneOf

Make = Callable[[float], Perturbation]
SETS: dict[str, tuple[Make, float, float]] = {
    "L2": (L2, 5.0, 10.0),
    "bias field": (BiasField, 0.5, 1.0),
    "gamma": (Gamma, 0.5, 1.0),
    "deformation": (Deformation, 1.0, 2.0),
    "frequency": (Frequency, 20.0, 40.0),
}
"""Each set with the two budgets at which networks are judged; IMA's ceilings are three times the larger one."""
ALIKE = ("bias-field", "gamma")
"""Corruptions of kinds that are trained on."""
WARM: dict[str, Any] = {"steps": 3, "warm": True}


class RandomChanges(Standard):
    """Standard training on randomly changed images: of a set drawn per batch, at a size drawn per slice."""

    def __init__(self, sets: Sequence[Perturbation], seed: int = 0) -> None:
        super().__init__(loss)
        self.sets, self.generator = sets, torch.Generator().manual_seed(seed)

    def __call__(
        self, model: nn.Module, image: Tensor, label: Tensor, ids: Sequence[str] | None = None,
        *, inside: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the loss on the batch, half of which is changed."""
        drawn = self.sets[int(torch.randint(len(self.sets), (), generator=self.generator))]
        half = torch.rand(len(image), generator=self.generator) < 0.5  # half of the slices stay as they are
        params = [drawn.init(image[i : i + 1], self.generator) for i in range(len(image))]
        params = torch.cat(params) * half.view(-1, *[1] * (params[0].ndim - 1)).to(image)
        changed = drawn.apply(image, params)
        if drawn.moves_label:
            label = drawn.move(label[:, None].to(image), params, nearest=True)[:, 0].round().long()
        return super().__call__(model, changed, label, ids)


def sets(share: float) -> list[Perturbation]:
    """All sets at a share of their larger budget; a deformation never more than its control points allow."""
    return [make(min(share * large, 4.0) if make is Deformation else share * large) for make, _, large in SETS.values()]


def pgd(share: float, **more: Any) -> Callable[[], TrainingMethod]:
    return lambda: OneOf([PGDTraining(loss, one, objective=Dice(), **WARM | more) for one in sets(share)])


def ima(**more: Any) -> Callable[[], TrainingMethod]:
    return lambda: IMA(loss, sets(3.0), criterion=DiceBelow(0.7, relative=True), objective=Dice(), **WARM | more)


def faster(**more: Any) -> Callable[[], TrainingMethod]:
    """Increments as many times as large as there are sets: a set is drawn for every fifth batch."""
    how = {"criterion": DiceBelow(0.7, relative=True), "objective": Dice(), **WARM, **more}
    return lambda: OneOf([IMA(loss, one, increment=float(one.eps) / 10 * len(SETS), **how) for one in sets(3.0)])


VARIANTS: dict[str, Callable[[], TrainingMethod]] = {
    "standard, longer": lambda: Standard(loss),
    "random changes, up to the larger budget": lambda: RandomChanges(sets(1.0)),
    "random changes, three times as large": lambda: RandomChanges(sets(3.0)),
    "PGD, L2 at 6 alone": lambda: PGDTraining(loss, L2(6.0), objective=Dice(), **WARM),
    "PGD, half of the larger budgets": pgd(0.5),
    "PGD, the larger budgets": pgd(1.0),
    "PGD, three times as large": pgd(3.0),
    "PGD, random up to the larger budgets": pgd(1.0, random_eps=True),
    "PGD, random, three times as large": pgd(3.0, random_eps=True),
    "IMA, a margin per set": ima(),
    "IMA, a margin per set, worst, jitter": ima(train_on="worst", radius_jitter=1.0),
    "IMA, larger increments": faster(),
    "IMA, larger increments, worst, jitter": faster(train_on="worst", radius_jitter=1.0),
}


FRONTS: dict[str, list[str]] = {
    "PGD": [
        "standard, longer", "PGD, half of the larger budgets", "PGD, the larger budgets", "PGD, three times as large",
    ],
    "PGD, random budgets": [
        "standard, longer", "PGD, random up to the larger budgets", "PGD, random, three times as large",
    ],
    "random changes": [
        "standard, longer", "random changes, up to the larger budget", "random changes, three times as large",
    ],
    "IMA": ["IMA, a margin per set", "IMA, larger increments"],
    "IMA, worst, jitter": ["IMA, a margin per set, worst, jitter", "IMA, larger increments, worst, jitter"],
}  # fmt: skip
"""The settings of a method, which trace its front."""


def main() -> None:
    parser = options(__doc__, Path("work/many_sets"), list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0, help="of weights and order; takes an --out of its own")
    arguments = parser.parse_args()
    epochs, steps, every = (1, 2, 5) if arguments.small else (arguments.epochs, 40, 2)
    prepared = prepare_data(arguments.data, arguments.out)
    fit, held = (filled(read_planes(prepared, split, every)) for split in ("train", "val"))
    corrupted = corrupted_planes(arguments.data, prepared, arguments.out / "corrupted.pt", every)
    start, book = arguments.out / "standard", Book(arguments.out / "results.json")
    columns = {f"{name} {eps:g}": [] for name, (_, *budgets) in SETS.items() for eps in budgets}
    columns = {header: [place] for place, header in enumerate(columns, 1)}
    last = len(columns)
    columns |= {
        "mean, smaller": [*range(1, 1 + last, 2)],
        "mean, larger": [*range(2, 1 + last, 2)],
        "corruptions": [*range(1 + last, 1 + last + len(corrupted))],
        "other kinds": [1 + last + place for place, name in enumerate(corrupted) if name not in ALIKE],
    }
    about = {
        "columns": columns,
        "fronts": FRONTS,
        "corruptions": [*corrupted],
        "epochs": epochs,
        "steps": steps,
        "seed": arguments.seed,
    }

    def row(name: str, folder: Path, method: TrainingMethod, length: int, **more: Any) -> None:
        model = train(
            folder, lambda: network(small=arguments.small), method, fit, epochs=length, seed=arguments.seed, **more
        )  # fmt: skip
        found, patients = judged(book, folder.name, model, held, steps)
        found = torch.cat([found, corrupted_dice(model, corrupted)])
        values = {"dice": found.round(decimals=5).tolist(), "margins": mean_margins(folder)}
        keep(arguments.out / "rows.json", {**about, "patients": patients}, name, values)
        means = found.mean(1)
        cells = [f"{float(means[places].mean()):.3f}" for places in ([0], *columns.values())]
        margins = ", ".join(f"{key} {value:.2g}" for key, value in values["margins"].items())
        print(f"| {name} | " + " | ".join([*cells, margins]) + " |", flush=True)

    header = ["training", "clean", *columns, "mean margins"]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    row("standard", start, Standard(loss), min(epochs, 12))
    for name in arguments.only:
        folder = arguments.out / name.replace(",", "").replace(" ", "_")
        row(name, folder, VARIANTS[name](), epochs, start=start, rate=1e-3)
    what = f"{len(held)} held-out slices, {epochs} epochs from the same start, PGD with {steps}"
    print(footer(f"{what}, {len(corrupted)} corruptions", (arguments.seed,)))


def judged(book: Book, key: str, model: nn.Module, planes: Planes, steps: int) -> tuple[Tensor, list[str]]:
    """Dice (1 + two budgets per set, patients), clean first, and the names of the patients."""
    clean, attacked, patients = [], [], []
    for name, (make, *budgets) in SETS.items():
        attack = PGD(make(budgets[-1]), steps=steps)
        one = by_patient(
            counts(book, f"{key}, PGD with {steps}, {name}", model, planes, attack, [*budgets]), planes.names
        )
        each, patients = dice(torch.tensor(one["voxels"])).nanmean(2), one["patients"]
        clean, attacked = [each[:1]], [*attacked, each[1:]]
    return torch.cat([*clean, *attacked]), patients


def mean_margins(folder: Path) -> dict[str, float]:
    """Mean of IMA's final margins in each set."""
    margins = final_margins(folder)
    names = sorted({name for one in margins for name in one})
    by_set = {name: [one[name] for one in margins if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in by_set.items()}


if __name__ == "__main__":
    main()
