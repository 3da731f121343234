"""Left ventricle on cardiac MRI: an SMP U-Net (ResNet-18, no download) by six methods, split by patient.

    python benchmarks/sunnybrook_2d.py DATA [--out DIR] [--seeds 0 1 2] [--methods NAME ...] [--small]

DATA holds `images/` and `labels/` with PNG slices of the same names, the patient in front of `-IM-` (Sunnybrook: 30 of
them). Every fifth patient is held out. Slices are halved in size and z-scored; of each the middle 64 x 64 pixels are
used, where the heart is. Budgets are L2 in RMS per pixel. All methods search 3 steps from where the slice's last search
ended. Each slice is attacked by `strong`. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from attack_strength import Book, footer
from PIL import Image
from planes import Planes, by_patient, counts, dice_two_ways, loss, make_ima, print_stopped, table, train
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from imaseg import L2, Dice, PGDTraining, ShrinkingSetPGD, Standard, TrainingMethod

EPS = [0.013, 0.026, 0.052, 0.1]
SIDE = 64
SEARCH: dict[str, Any] = {"steps": 3, "warm": True}
METHODS = ["standard", "pgd-half", "pgd-ramp", "pgd-random", "ima", "ima-jitter"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("work/sunnybrook_2d"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100, help="of the attack that measures")
    parser.add_argument("--small", action="store_true", help="one epoch and short attacks, for tests")
    arguments = parser.parse_args()
    epochs, steps = (1, 4) if arguments.small else (arguments.epochs, arguments.steps)
    planes = read_planes(arguments.data)
    patients = sorted({patient_of(name) for name in planes.names})
    out_of_training = set(patients[::5])
    held_out = torch.tensor([patient_of(name) in out_of_training for name in planes.names])
    fit, held = planes.where(~held_out), planes.where(held_out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    book, rows = Book(arguments.out / "results.json"), {}
    for seed in arguments.seeds:
        for name in arguments.methods:
            folder = arguments.out / f"{name}-{seed}"
            model = train(folder, network, make_method(name, seed, epochs), fit, epochs=epochs, seed=seed, rate=1e-3)
            found = counts(
                book,
                f"{folder.name}, strong with {steps}",
                model,
                held,
                ShrinkingSetPGD(L2(EPS[-1], unit="rms"), steps=steps),
                EPS,
            )
            rows.setdefault(name, []).append(dice_two_ways(torch.tensor(by_patient(found, held.names)["voxels"])))
    print(f"Dice pooled over voxels / mean of patients:\n\n{table(rows, ('pooled', 'patients'), EPS)}\n")
    print_stopped((arguments.out / f"{name}-{seed}" for name in rows for seed in arguments.seeds), EPS[-1])
    what = f"{len(held)} slices of {len(out_of_training)} held-out patients of {len(patients)}, {epochs} epochs"
    print(footer(f"{what}, strong with {steps}", tuple(arguments.seeds)))


def make_method(name: str, seed: int, epochs: int) -> TrainingMethod:
    """Budget and ceiling are the same; the ramp and IMA's margins reach it after five sixths of the epochs."""
    within, rising = L2(EPS[-1], unit="rms"), max(1, epochs * 5 // 6)
    if name == "standard":
        return Standard(loss)
    if name in ("ima", "ima-jitter"):
        return make_ima(name, within, EPS[-1] / rising, seed, **SEARCH)
    ramp, drawn = rising if name == "pgd-ramp" else 0, name == "pgd-random"
    return PGDTraining(loss, within, objective=Dice(), ramp_epochs=ramp, random_eps=drawn, seed=seed, **SEARCH)


def network() -> nn.Module:
    return smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=2)


def patient_of(name: str) -> str:
    return name.partition("/")[0]


def read_planes(data: Path) -> Planes:
    """The middle of all slices, half as large, z-scored."""
    names, images, labels = [], [], []
    for path in sorted((data / "images").glob("*.png")):
        names.append(path.name.replace("-IM-", "/", 1))
        image, label = (first_channel(data / folder / path.name) for folder in ("images", "labels"))
        small = avg_pool2d(image[None], 2)[0]
        images.append(middle((small - small.mean()) / small.std().clamp(min=1e-6)))
        labels.append(middle((avg_pool2d((label[None] > 0).float(), 2)[0] >= 0.5).long()))
    if not names:
        raise SystemExit(f"{data} must hold images/*.png and labels/*.png, got none.")
    return Planes(names, torch.stack(images)[:, None], torch.stack(labels))


def middle(plane: Tensor) -> Tensor:
    top, left = (max(0, (side - SIDE) // 2) for side in plane.shape)
    return plane[top : top + SIDE, left : left + SIDE]


def first_channel(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("L"))).float()


if __name__ == "__main__":
    main()
