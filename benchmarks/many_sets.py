"""One training for five kinds of change at once: IMA with a margin per slice and kind, beside what people do today.

    python benchmarks/many_sets.py DATA [--out DIR] [--epochs N] [--seed N] [--only NAME ...] [--small]

DATA is MSD Task04_Hippocampus with a `split.json`. Every row goes on from the same standard 2D network (slices and
network as in `ima_ablation.py`) for the same epochs; the columns are the mean Dice of held-out slices, clean and under
PGD with 40 steps in each set by itself, at a moderate and at a large budget. Controls train at fixed or random budgets
of the same sets, drawn per batch as IMA draws them, at three sizes, since nobody knows the right one; on random (not
adversarial) changes of the same kinds and sizes, the usual augmentation; and on L2 alone.
Stopped at any moment, the same command goes on, and several processes may share the rows among them by `--only`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from attack_strength import Book, footer
from hippocampus_2d import network, read_planes
from hippocampus_3d import prepare_data
from ima_cost import filled, options
from planes import CHUNK, Planes, final_margins, loss, train
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
from imaseg.progress import bar
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
WARM: dict[str, Any] = {"steps": 3, "warm": True}
BATCHES = 16


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
}


def main() -> None:
    parser = options(__doc__, Path("work/many_sets"), list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0, help="of weights and order; takes an --out of its own")
    arguments = parser.parse_args()
    epochs, steps, every = (1, 2, 20) if arguments.small else (arguments.epochs, 40, 2)
    prepared = prepare_data(arguments.data, arguments.out)
    fit, held = (filled(read_planes(prepared, split, every)) for split in ("train", "val"))
    start, book = arguments.out / "standard", Book(arguments.out / "results.json")

    def row(name: str, folder: Path, method: TrainingMethod, length: int, **more: Any) -> None:
        model = train(
            folder, lambda: network(small=arguments.small), method, fit, epochs=length, seed=arguments.seed, **more
        )  # fmt: skip
        cells = [f"{one:.3f}" for one in judged(book, folder.name, model, held, steps)]
        lowest = sum(float(cell) for cell in cells[2::2]) / len(SETS)
        print(f"| {name} | " + " | ".join([*cells, f"{lowest:.3f}", margins_in(folder)]) + " |", flush=True)

    columns = [f"{name} {eps:g}" for name, (_, *budgets) in SETS.items() for eps in budgets]
    header = ["training", "clean", *columns, "mean of the larger budgets", "mean margins"]
    print("| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    row("standard", start, Standard(loss), min(epochs, 12))
    for name in arguments.only:
        folder = arguments.out / name.replace(",", "").replace(" ", "_")
        row(name, folder, VARIANTS[name](), epochs, start=start, rate=1e-3)
    what = f"{len(held)} held-out slices, {epochs} epochs from the same start, PGD with {steps}"
    print(footer(what, (arguments.seed,)))


def judged(book: Book, key: str, model: nn.Module, planes: Planes, steps: int) -> list[float]:
    """Mean Dice of slices, clean first, then at both budgets of each set."""
    found: list[list[float]] = []
    with bar(f"attack {key}") as tell:
        for number, (name, (make, *budgets)) in enumerate(SETS.items()):
            for place in range(0, len(planes), CHUNK):
                part = slice(place, place + CHUNK)
                image, label = planes.image[part], planes.label[part]
                entry = f"{key}, PGD with {steps}, {name} at {budgets} of {len(planes)}: {place}"
                book.fill(entry, lambda i=image, y=label, m=make, b=budgets: _attacked(model, m, i, y, b, steps))
                found.append(book.entries[entry])
            tell(number + 1, len(SETS), "")
    by_set = torch.tensor(
        [_mean(found[n * len(found) // len(SETS) : (n + 1) * len(found) // len(SETS)]) for n in range(len(SETS))]
    )
    return [float(by_set[0, 0]), *by_set[:, 1:].flatten().tolist()]


def _attacked(
    model: nn.Module, make: Make, image: Tensor, label: Tensor, budgets: Sequence[float], steps: int
) -> list[float]:
    """Dice of each slice, clean and at each budget, one after the other."""
    model.eval()
    results = PGD(make(budgets[-1]), steps=steps).ladder(model, image, label, list(budgets))
    dices = [results[0].foreground_dice_clean, *(result.foreground_dice for result in results)]
    return torch.stack(dices).flatten().tolist()


def _mean(chunks: list[list[float]]) -> list[float]:
    """Of clean Dice and Dice at both budgets, over the slices of all chunks."""
    columns = 3
    whole = torch.cat([torch.tensor(chunk).reshape(columns, -1) for chunk in chunks], 1)
    return whole.mean(1).tolist()


def margins_in(folder: Path) -> str:
    """Mean of IMA's final margins in each set."""
    margins = final_margins(folder)
    if not margins:
        return ""
    by_set = {
        name: [one[name] for one in margins if name in one] for name in sorted({n for one in margins for n in one})
    }
    return ", ".join(f"{name} {sum(values) / len(values):.2g}" for name, values in by_set.items())


if __name__ == "__main__":
    main()
