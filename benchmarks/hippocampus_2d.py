"""The setting of the IMA paper: hippocampus in 2D, L2 at 0, 1, 5, 10 and 15 - same epochs, schedule and mix for all.

    python -m pip install matplotlib   # only for --figure
    python benchmarks/hippocampus_2d.py DATA [--out DIR] [--seeds 0 1 2] [--methods NAME ...] [--figure FILE] [--small]

DATA is MSD Task04_Hippocampus with a `split.json` (train, val). Axial slices of 56 x 40 of z-scored cases, every slice
a case of its own in IMA's table; trained on the slices with foreground and a third of the others. All methods start
from fresh weights and search 3 steps from where the slice's last search ended, those named `-cold` 8 steps from a
random point. Each slice is attacked by `strong` with 100 gradient calls; L2 is the norm over the slice.
Stopped at any moment, the same command goes on; several processes may do different methods in one DIR.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from attack_strength import Book, footer
from hippocampus_3d import prepare_data
from monai.networks.nets import UNet
from planes import Planes, counts, dice_in_four_ways, draw, final_margins, loss, make_ima, print_stopped, table, train
from torch import Tensor, nn
from torch.nn.functional import pad

from imaseg import L2, TRADES, Dice, PGDTraining, Standard, TrainingMethod, load_cases
from imaseg.data.reading import read_volume

EPS = [1.0, 5.0, 10.0, 15.0]
SIZE = (56, 40)
METHODS = ["standard", "pgd-only", "pgd-half", "pgd-ramp", "pgd-random", "trades", "ima", "ima-jitter", "pgd-at-margin"]
METHODS += ["pgd-half-cold", "pgd-random-cold", "ima-cold", "ima-jitter-cold"]
PUBLISHED = """
Published (Ma & Liang, 2023), pooled/slices, PGD-100, last iterate, on the 35 test cases of the same split:

| training | clean | 1 | 5 | 10 | 15 |
| --- | --- | --- | --- | --- | --- |
| standard | .86/.75 | .78/.64 | .15/.09 | 0/0 | 0/0 |
| PGD at 15 | .80/.69 | .78/.67 | .69/.58 | .51/.41 | .27/.22 |
| IMA | .82/.74 | .80/.72 | .72/.64 | .56/.49 | .32/.27 |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/hippocampus_2d"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=100, help="of the attack that measures")
    parser.add_argument("--figure", type=Path, help="SVG or PNG of attacked against clean Dice, pooled, first seed")
    parser.add_argument("--small", action="store_true", help="one epoch of a tiny network, short attacks, for tests")
    arguments = parser.parse_args()
    epochs, steps, every = (1, 4, 5) if arguments.small else (arguments.epochs, arguments.steps, 1)
    prepared = prepare_data(arguments.data, arguments.out)
    fit, held = (read_planes(prepared, split, every) for split in ("train", "val"))
    filled = fit.label.flatten(1).any(1)
    fit = fit.where(filled | (torch.arange(len(fit)) % 3 == 0))
    book, rows = Book(arguments.out / "results.json"), {}
    for seed in arguments.seeds:
        for name in arguments.methods:
            folder = arguments.out / f"{name}-{seed}"
            method = make_method(name, arguments.out, seed, epochs)
            model = train(folder, lambda: network(small=arguments.small), method, fit, epochs=epochs, seed=seed)
            found = counts(book, folder.name, model, held, L2(EPS[-1]), EPS, steps=steps)
            rows.setdefault(name, []).append(dice_in_four_ways(found, held.names))
    print(f"Pooled over voxels / mean of slices, slices with foreground:\n\n{table(rows, ('pooled', 'slices'), EPS)}")
    print(f"\nMean of all slices / of whole cases:\n\n{table(rows, ('all slices', 'cases'), EPS)}")
    print(PUBLISHED)
    print_stopped((arguments.out / f"{name}-{seed}" for name in rows for seed in arguments.seeds), EPS[-1])
    cases = len({name.rpartition("/")[0] for name in held.names})
    what = f"{len(held)} slices of {cases} held-out cases, {epochs} epochs, strong with {steps}"
    print(footer(what, tuple(arguments.seeds)))
    if arguments.figure is not None:
        pooled = {name: runs[0]["pooled"] for name, runs in rows.items()}
        draw(
            pooled, [name for name in ("standard", "pgd-at-margin", "pgd-half") if name in rows], EPS, arguments.figure
        )


def make_method(name: str, out: Path, seed: int, epochs: int) -> TrainingMethod:
    """Budget and ceiling are the same; the ramp and IMA's margins reach it after five sixths of the epochs."""
    within, rising = L2(EPS[-1]), max(1, epochs * 5 // 6)
    search: dict[str, Any] = {"steps": 8} if name.endswith("-cold") else {"steps": 3, "warm": True}
    name = name.removesuffix("-cold")
    if name == "standard":
        return Standard(loss)
    if name == "trades":
        return TRADES(loss, within, beta=1.0, seed=seed, **search)
    if name in ("ima", "ima-jitter"):
        return make_ima(name, within, EPS[-1] / rising, seed, **search)
    if name == "pgd-at-margin":
        within = L2(mean_margin(out / f"ima-{seed}"))
    return PGDTraining(
        loss, within, mix=1.0 if name == "pgd-only" else 0.5, ramp_epochs=rising if name == "pgd-ramp" else 0,
        random_eps=name == "pgd-random", objective=Dice(), seed=seed, **search,
    )  # fmt: skip


def mean_margin(folder: Path) -> float:
    """Mean of IMA's final margins."""
    margins = final_margins(folder)
    if not margins:
        raise SystemExit(f"{folder / 'margins.json'} must exist. Name `ima` before `pgd-at-margin` in --methods.")
    return sum(margins) / len(margins)


def network(*, small: bool) -> nn.Module:
    """A 2D U-Net with instance normalisation."""
    channels = (4, 8) if small else (16, 32, 64, 128)
    return UNet(2, 1, 3, channels=channels, strides=(2,) * (len(channels) - 1), num_res_units=0, norm="instance")


def read_planes(prepared: Path, split: str, every: int = 1) -> Planes:
    """Axial slices of a split, 56 back to front and 40 from left to right."""
    names, images, labels = [], [], []
    cohort = load_cases(prepared)
    for case in cohort.select(cohort.split[split]):
        volume = read_volume(case)
        image, label = torch.from_numpy(volume.image)[0].float(), torch.from_numpy(volume.label).long()
        for place in range(0, image.shape[2], every):
            names.append(f"{case.id}/{place:03d}")
            images.append(fitted(image[:, :, place].T))
            labels.append(fitted(label[:, :, place].T))
    return Planes(names, torch.stack(images)[:, None], torch.stack(labels))


def fitted(plane: Tensor) -> Tensor:
    """Filled up with 0, or cut, to `SIZE` around the middle."""
    gaps = [wanted - side for wanted, side in zip(SIZE, plane.shape, strict=True)]
    return pad(plane, (gaps[1] // 2, gaps[1] - gaps[1] // 2, gaps[0] // 2, gaps[0] - gaps[0] // 2))


if __name__ == "__main__":
    main()
