"""One attack on the whole tiled model, or one on each tile and the pieces put together? At equal gradient calls.

    python benchmarks/joint_or_stitched.py PREPARED RUN=EPS [RUN=EPS ...] [--out DIR] [--steps K] [--roi SIDE]

PREPARED is what `imaseg prepare` made of MSD Task04_Hippocampus, each RUN a folder that `imaseg train` wrote, EPS its
L2 budget in RMS per voxel. The model is that network tiled (Gaussian, overlap 0.25) with tiles smaller than a case.

joint: PGD with K steps on the tiled model. stitched: pieces of the case are attacked one by one, each as a case of its
own, by PGD with K steps and the same RMS budget; a partition of the case is filled with their changes, and the whole
brought to the budget. The pieces are the tiles that the tiled model sees, each filling the voxels nearest to its middle
("stitched tiles"), or the boxes of a partition into as few as sides of at most SIDE allow ("stitched boxes"). All are
scored on the tiled model, by mean foreground hard Dice.

Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from itertools import pairwise, product
from pathlib import Path

import torch
from attack_strength import Book, dice, whole_cases
from torch import Tensor, nn

from imaseg import L2, PGD, CrossEntropy, Dice, load_model
from imaseg.attacks import Attack
from imaseg.progress import bar
from imaseg.tiling import TiledModel

OBJECTIVES = {"Dice": Dice(), "cross-entropy": CrossEntropy()}
WAYS = ("joint", "stitched tiles", "stitched boxes")
OVERLAP = 0.25
Place = tuple[slice, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("runs", nargs="+", metavar="RUN=EPS")
    parser.add_argument("--out", type=Path, default=Path("work/joint_or_stitched"))
    parser.add_argument("--cases", type=int, default=17, help="of the val split, evenly spread")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--roi", type=int, default=32)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    book = Book(arguments.out / "results.json")
    cases = whole_cases(arguments.prepared, "val", arguments.cases)
    rows = [(Path(run), float(eps)) for run, _, eps in (given.rpartition("=") for given in arguments.runs)]
    jobs = [(*row, *rest) for row in rows for rest in product(OBJECTIVES, WAYS, range(len(cases)))]
    with bar("attacks") as tell:
        for place, (run, eps, objective, way, number) in enumerate(jobs):
            attack = PGD(L2(eps, unit="rms"), steps=arguments.steps, objective=OBJECTIVES[objective])
            key = key_of(run, eps, arguments, objective, way, number)
            book.fill(key, partial(attacked, load_model(run), arguments.roi, attack, way, *cases[number]))
            tell(place + 1, len(jobs), key)
    print(table(rows, arguments, len(cases), book))
    print(f"\n{len(cases)} val cases, seed 0, tiles of {arguments.roi}^3, {arguments.steps} gradient calls, ", end="")
    print(f"{platform.processor() or platform.machine()}, torch {version('torch')}, monai {version('monai')}")


def key_of(run: Path, eps: float, arguments: argparse.Namespace, objective: str, way: str, number: int) -> str:
    return f"{run.name} {eps} {arguments.roi} {arguments.steps} {objective} {way} {number}"


def attacked(net: nn.Module, roi: int, attack: Attack, way: str, image: Tensor, label: Tensor) -> list[float]:
    """Clean Dice, Dice under attack, and RMS of the change."""
    tiled = TiledModel(net, roi, OVERLAP)
    if way == "joint":
        found = attack(tiled, image, label, criterion=never).image
    elif way == "stitched tiles":
        found = stitched(tiled, tiles(tuple(image.shape[2:]), roi), attack, image, label)
    else:
        found = stitched(net, boxes(tuple(image.shape[2:]), roi), attack, image, label)
    size = (found - image).square().mean().sqrt()
    return [*dice(tiled, image, label), *dice(tiled, found, label), float(size)]


def stitched(
    model: nn.Module, pieces: Iterator[tuple[Place, Place]], attack: Attack, image: Tensor, label: Tensor
) -> Tensor:
    """The image with the changes of pieces that were attacked alone: (what was attacked, where its change is used)."""
    change = torch.zeros_like(image)
    for piece, part in pieces:
        moved = torch.zeros_like(image)
        result = attack(model, image[:, :, *piece], label[:, *piece], criterion=never)
        moved[:, :, *piece] = result.image - image[:, :, *piece]
        change[:, :, *part] = moved[:, :, *part]
    return image + change * (attack.perturbation.eps / change.square().mean().sqrt())


def never(logits: Tensor, *_: Tensor) -> Tensor:
    """No search ends early: boxes without foreground would, at the first voxel that is painted in."""
    return torch.zeros(len(logits), dtype=torch.bool)


def tiles(size: tuple[int, ...], roi: int) -> Iterator[tuple[Place, Place]]:
    """The tiles of the tiled model, and of each the box of voxels that are nearest to its middle."""
    along = []
    for whole in size:
        side = min(roi, whole)
        starts = [*range(0, whole - side, int(roi * (1 - OVERLAP))), whole - side]
        cuts = [0, *((one + other + side) // 2 for one, other in pairwise(starts)), whole]
        along.append(
            [(slice(start, start + side), slice(*cut)) for start, cut in zip(starts, pairwise(cuts), strict=True)]
        )
    return (tuple(zip(*pairs, strict=True)) for pairs in product(*along))


def boxes(size: tuple[int, ...], roi: int) -> Iterator[tuple[Place, Place]]:
    """A partition into as few boxes as possible with sides of at most `roi`, near equal in size."""
    along = []
    for side in size:
        count = -(-side // roi)
        along.append([slice(*cut) for cut in pairwise(side * place // count for place in range(count + 1))])
    return ((box, box) for box in product(*along))


def table(rows: list[tuple[Path, float]], arguments: argparse.Namespace, cases: int, book: Book) -> str:
    """Markdown: mean Dice of each way, and in how many cases the joint attack's is lower than the stitched one's."""
    lines = [
        "| network | RMS budget | objective | clean | " + " | ".join(WAYS) + " | joint lower, of both stitched ones |",
        "| --- |" + " --- |" * (4 + len(WAYS)),
    ]
    for (run, eps), objective in product(rows, OBJECTIVES):
        results = {
            way: torch.tensor(
                [book.entries[key_of(run, eps, arguments, objective, way, number)] for number in range(cases)]
            )
            for way in WAYS
        }
        clean = float(results["joint"][:, 0].mean())
        cells = [f"{float(found[:, 1].mean()):.3f} (RMS {float(found[:, 2].mean()):.4f})" for found in results.values()]
        wins = [
            f"{int((results['joint'][:, 1] < results[way][:, 1]).sum())}/{cases} "
            f"(ties {int((results['joint'][:, 1] == results[way][:, 1]).sum())})"
            for way in WAYS[1:]
        ]
        lines.append(f"| {run.name} | {eps} | {objective} | {clean:.3f} | {' | '.join(cells)} | {', '.join(wins)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
