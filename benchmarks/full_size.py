"""What an attack on a clinical CT costs, in tiles, and what searching near the structures saves and leaves.

    python benchmarks/full_size.py [--out DIR] [--part passes tiles memory damage] [--threads N] [--seconds S] [--small]

A synthetic CT of 512 x 512 x 400 voxels at 0.8 x 0.8 x 1.5 mm with ellipsoids of the size of organs; tiles of 128^3 as
nnU-Net lays them (overlap 0.5, evenly).

passes: one tile through a network as nnU-Net plans it for such data (PlainConvUNet, 31 M parameters), and through one
of 0.5 M: time of a pass with a gradient by that of a bare pass (median over rounds that take turns), and what its graph
holds.
tiles: how many tiles a pass of the whole volume takes and how many a step of a search near a structure, counted by a
network that does next to nothing, inside a real attack; and what everything but the tiles of a step costs.
memory: what prediction, attacks and a margin hold at most beside network and image, in a process of their own, in
volumes of the image; that network, graphs of tiles left out.
damage: the same CT at a quarter of the resolution in all axes, tiles of 32^3, and a small network trained on 16 of
them to find the spleen, which looks like the liver. `strong` with 20 steps, or as many as a row says, on three others
by `imaseg.audit`: on the whole image, with `search_near`, and within 20 mm: Dice, and tiles that the network saw.

From passes and tiles follows what a plan takes for ten such cases, in passes of one tile. --seconds says how long one
takes on your machine, in hours then. Stopped at any moment, the same command goes on.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import platform
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from attack_strength import Book
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from monai.networks.nets import UNet
from numpy.typing import NDArray
from torch import Tensor, nn

from imaseg import L2, PGD, SampleMargin, ShrinkingSetPGD, audit
from imaseg.auditing.engine.cost import costs
from imaseg.auditing.plan import Plan, load_plan
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.objectives import DiceCE
from imaseg.perturbations import near
from imaseg.progress import bar
from imaseg.scores import foreground_dice
from imaseg.tiling import TiledModel

SIZE, SPACING, ROI, SCALE = (512, 512, 400), (0.8, 0.8, 1.5), 128, 4
ORGANS = {  # middle in mm from the middle of the image, half axes in mm, HU
    "liver": ((-60, 0, 40), (80, 70, 75), 60),
    "spleen": ((85, 50, 50), (30, 20, 55), 60),
    "kidney": ((60, 60, -50), (25, 28, 55), 30),
    "tumour of 20 mm": ((-70, 10, 30), (10, 10, 10), 20),
}
STEPS, EPS, CASES = 20, 0.015, 3
WAYS: dict[str, dict[str, Any]] = {
    "whole image": {},
    "search_near: 20 mm": {"search_near": "20 mm"},
    "search_near: 40 mm": {"search_near": "40 mm"},
    "search_near: 40 mm, 10 steps": {"search_near": "40 mm", "steps": 10},
    "search_near: 40 mm, 6 steps": {"search_near": "40 mm", "steps": 6},
    "search_near: 0.5": {"search_near": 0.5},
    "within: 20 mm": {"within": "20 mm"},
}
AS_IT_IS = {"orientation": None, "spacing": None, "crop": None, "normalise": "none"}
PARTS = ("passes", "tiles", "memory", "damage")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/full_size"))
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="of a bare pass of one tile, for hours")
    parser.add_argument("--small", action="store_true", help="tiny tiles and two steps, for tests")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    book, small = Book(arguments.out / "results.json"), arguments.small
    factor, seen = 3.0, []
    if "passes" in arguments.part:
        factor = tell_passes(book, arguments.rounds, 64 if small else ROI)
    if "tiles" in arguments.part:
        seen = tell_tiles(book, 8 if small else 1)
        tell_plans(seen, factor, arguments.seconds)
    if "memory" in arguments.part:
        tell_memory(book, 8 if small else 2)
    if "damage" in arguments.part:
        tell_damage(book, arguments.out, small=small)
    versions = ", ".join(f"{name} {version(name)}" for name in ("imaseg", "torch", "monai"))
    print(f"\nseed 0, {platform.processor() or platform.machine()}, {arguments.threads} threads, {versions}")


def full_network() -> nn.Module:
    """As nnU-Net plans it for patches of 128^3."""
    features = [32, 64, 128, 256, 320, 320]
    normed = {"norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    pools, twice = [1, 2, 2, 2, 2, 2], [2] * len(features)
    return PlainConvUNet(
        1, len(features), features, nn.Conv3d, 3, pools, twice, 2, twice[1:], conv_bias=True, **normed,
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    )  # fmt: skip


def small_network() -> nn.Module:
    """That of the other benchmarks in 3D."""
    return UNet(3, 1, 2, (16, 32, 64, 128), (2, 2, 2), num_res_units=1)


def tell_passes(book: Book, rounds: int, side: int) -> float:
    """Time of a pass with a gradient by that of a bare one, and memory of its graph; that of the full network."""
    networks = {"nnU-Net's, 31 M": full_network, "0.5 M": small_network}
    print("| network | with gradient / bare pass | of the full network's bare pass | graph of one tile |")
    print("| --- | --- | --- | --- |")
    found = {
        name: book.fill(f"passes {name} {side} {rounds}", lambda make=make: passes(make(), side, rounds))
        for name, make in networks.items()
    }
    (_, full, _), *_ = found.values()
    for name, (ratio, bare, held) in found.items():
        print(f"| {name} | {ratio:.2f} | {bare / full:.3f} | {held / 2**30:.2f} GiB |")
    return next(iter(found.values()))[0]


def passes(network: nn.Module, side: int, rounds: int) -> list[float]:
    """Ratio of a pass with gradient to a bare one, seconds of the bare one, and bytes that a graph holds."""
    network = network.to(DEVICE).eval().requires_grad_(requires_grad=False)
    image, times, held = torch.randn(1, 1, side, side, side, device=DEVICE), ([], []), {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for _ in range(rounds + 1):
        begin = clock()
        with torch.no_grad():
            network(image)
        middle = clock()
        pixels = image.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            value = network(pixels).square().mean()
        torch.autograd.grad(value, pixels)
        times[0].append(middle - begin)
        times[1].append(clock() - middle)
    bare, whole = (statistics.median(one[1:]) for one in times)
    return [whole / bare, bare, float(sum(held.values()))]


def clock() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def tell_tiles(book: Book, coarser: int) -> list[list[int]]:
    """Tiles of a pass of the whole volume and of a step near each structure: [whole, near] by organ, at 20 mm."""
    print("\n| structure | voxels | tiles, whole | within 40 mm | within 20 mm | within 10 mm | fewer at 20 mm |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    with bar("searches") as tell:
        for number, name in enumerate(ORGANS):
            key = f"tiles {name} {coarser}"
            voxels, whole, *few = book.fill(key, lambda name=name: [int(n) for n in tiles(name, coarser)])
            tell(number + 1, len(ORGANS), name)
            rows.append([whole, few[1]])
            cells = " | ".join(map(str, [voxels, whole, *few]))
            print(f"| {name} | {cells} | {whole / few[1]:.1f} times |", flush=True)
    return rows


class Idle(nn.Module):
    """Logits of two classes that cost next to nothing; counts the tiles it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, *spatial)."""
        self.seen += len(image)
        return torch.cat([-image, image], 1)


def tiles(organ: str, coarser: int) -> list[int]:
    """Voxels of an organ, and tiles that the forward pass of a step takes: anywhere, within 40, 20 and 10 mm."""
    size, spacing = [side // coarser for side in SIZE], [mm * coarser for mm in SPACING]
    label = torch.from_numpy(inside(organ, size, spacing)).long()[None]
    image, net = label[None].float() - 0.5, Idle()
    model = TiledModel(net, ROI // coarser, 0.5, even=True)
    counts = [int(label.sum())]
    for mm in (None, 40.0, 20.0, 10.0):
        region = None if mm is None else near(label, mm, spacing)
        seen = []
        for steps in (1, 2):  # what one step more takes: there and back
            net.seen = 0
            PGD(L2(0.01, unit="rms", region=region), steps=steps)(model, image, label, criterion=never)
            seen.append(net.seen)
        counts.append((seen[1] - seen[0]) // 2)
    return counts


def never(logits: Tensor, *_: Tensor) -> Tensor:
    """No point ends a search."""
    return torch.zeros(len(logits), dtype=torch.bool)


def inside(
    organ: str, size: Sequence[int], spacing: Sequence[float], shift: Sequence[float] = (0, 0, 0)
) -> NDArray[Any]:
    """Which voxels lie in an organ."""
    middle, half, _ = ORGANS[organ]
    grids = np.ogrid[tuple(slice(side) for side in size)]
    far = [
        ((grid - side / 2) * mm - at - by) / axis
        for grid, side, mm, at, by, axis in zip(grids, size, spacing, middle, shift, half, strict=True)
    ]
    return sum(one**2 for one in far) <= 1


def tell_plans(rows: Sequence[Sequence[int]], factor: float, seconds: float | None) -> None:
    """Passes of one tile that shipped plans take for ten cases with a spleen, one structure, checks included."""
    whole, few = rows[1]
    unit = "bare passes of one tile" if seconds is None else "hours"
    print(f"\n| plan, 10 cases, one structure ({unit}) | whole image | near the structure |\n| --- | --- | --- |")
    for name in ("quick", "standard"):
        cells = []
        for near_tiles in (whole, few):
            total = 0.0
            for part in costs(load_plan(name), 1, 10):
                # A gradient takes the tiles of a step without a graph, then once more with one.
                tiles_of_step = near_tiles if part.perturbation in ("l2", "linf") else whole  # others move all tissue
                once = part.gradients * tiles_of_step * (1 + factor) + part.forwards * whole
                total += once * (10 if part.first is None else min(10, part.first))
            cells.append(f"{total:.3g}" if seconds is None else f"{total * seconds / 3600:.1f}")
        print(f"| {name} | {' | '.join(cells)} |")


def tell_memory(book: Book, coarser: int) -> None:
    """Most memory of each kind of search, each in a process of its own."""
    size = math.prod(side // coarser for side in SIZE) * 4
    print("\n| of a volume with one channel and two classes | volumes held at most |\n| --- | --- |")
    with bar("processes") as tell:
        for number, kind in enumerate(KINDS):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                held = book.fill(
                    f"memory {kind} {coarser}", lambda kind=kind, pool=pool: pool.apply(peak, (kind, coarser))
                )
            tell(number + 1, len(KINDS), kind)
            print(f"| {kind} | {held[0] / size:.0f} |", flush=True)


def peak(kind: str, coarser: int) -> list[float]:
    """Bytes that a search of the spleen adds to what this process held before."""
    torch.set_num_threads(1)
    size, spacing = [side // coarser for side in SIZE], [mm * coarser for mm in SPACING]
    label = torch.from_numpy(inside("spleen", size, spacing)).long()[None]
    image, model = label[None].float() - 0.5, TiledModel(Idle(), ROI // coarser, 0.5, even=True)
    tile = image[..., :8, :8, :8]
    KINDS[kind](TiledModel(Idle(), 8), tile, (tile[0] > 0).long())  # what is loaded on first use is none of it
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    KINDS[kind](model, image, label)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if most <= start:
        raise RuntimeError(f"{kind}: what was held before hides what is held now")
    return [float(most - before)]


def _predict(model: nn.Module, image: Tensor, label: Tensor) -> None:
    with torch.no_grad():
        foreground_dice(model(image), label)


SET = L2(0.01, unit="rms")
KINDS: dict[str, Callable[[nn.Module, Tensor, Tensor], object]] = {
    "prediction and its Dice": _predict,
    "PGD": lambda model, image, label: PGD(SET, steps=2)(model, image, label, criterion=never),
    "`strong`": lambda model, image, label: ShrinkingSetPGD(SET, steps=4)(model, image, label, criterion=never),
    "`strong`, a ladder of two": lambda model, image, label: ShrinkingSetPGD(SET, steps=4).ladder(
        model, image, label, [0.005, 0.01], criterion=never
    ),
    "a margin": lambda model, image, label: SampleMargin(
        L2(4.0, unit="rms"), attack=PGD(L2(4.0, unit="rms"), steps=2), rtol=0.5
    )(model, image, label),
}


def tell_damage(book: Book, folder: Path, *, small: bool) -> None:
    """Dice under attack and tiles, by way of searching."""
    steps, cases, epochs = (2, 1, 1) if small else (STEPS, CASES, 300)
    data, net = folder / f"ct-{cases}", small_network()
    write(data, cases)
    train(net, folder / f"net-{epochs}.pt", epochs)
    print("\n| search | clean | Dice | tiles | searched within |\n| --- | --- | --- | --- | --- |")
    first = 0
    for way, keys in WAYS.items():
        clean, dice, seen, mm = book.fill(
            f"damage {way} {EPS} {steps} {cases} {epochs}",
            lambda way=way, keys=keys: damage(net, data, folder / "audits" / way.replace(": ", "-"), keys, steps),
        )
        first = first or seen
        where = f"{mm:g} mm" if mm else "anywhere"
        print(
            f"| {way} | {clean:.3f} | {dice:.3f} | {int(seen)} ({first / seen:.1f} times fewer) | {where} |", flush=True
        )


def ct(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """A CT at a quarter of the resolution in HU, its organs moved by chance, and where the spleen is."""
    rng = np.random.default_rng(seed)
    size, spacing = [side // SCALE for side in SIZE], [mm * SCALE for mm in SPACING]
    image, spleen = np.full(size, -50.0, np.float32), np.zeros(size, np.uint8)
    for organ, (_, _, value) in ORGANS.items():
        voxels = inside(organ, size, spacing, rng.normal(0, 8, 3))
        image[voxels] = value
        spleen = np.where(voxels, organ == "spleen", spleen)
    return image + rng.normal(0, 20, size).astype(np.float32), spleen.astype(np.uint8)


def scaled(image: NDArray[Any]) -> NDArray[Any]:
    return (image / 50).astype(np.float32)


def write(folder: Path, cases: int) -> None:
    """Held-out cases as NIfTI, the model's own units."""
    affine = np.diag([*(mm * SCALE for mm in SPACING), 1.0])
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        image, label = ct(100 + number)
        for part, voxels in (("images", scaled(image)), ("labels", label)):
            nib.save(nib.Nifti1Image(voxels, affine), folder / part / f"ct_{number}.nii.gz")


def train(net: nn.Module, path: Path, epochs: int) -> None:
    """Find the spleen in tiles of 16 other cases, every second one with some of it in."""
    if path.is_file():
        net.load_state_dict(torch.load(path, weights_only=True))
        return
    torch.manual_seed(0)
    rng, loss, side = np.random.default_rng(0), DiceCE(), ROI // SCALE
    cases = [ct(seed) for seed in range(16)]
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    with bar("epochs") as tell:
        for epoch in range(epochs):
            for _ in range(8):
                pieces = [piece(*cases[rng.integers(16)], side, rng, labelled=place % 2 == 0) for place in range(4)]
                image, label = (torch.from_numpy(np.stack(parts)) for parts in zip(*pieces, strict=True))
                value = loss(net(image[:, None]), label.long()).mean()
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            schedule.step()
            tell(epoch + 1, epochs, f"loss {value.item():.3f}")
    torch.save(net.state_dict(), path)


def piece(
    image: NDArray[Any], label: NDArray[Any], side: int, rng: np.random.Generator, *, labelled: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A tile of a case, around a voxel of the spleen or anywhere."""
    places = np.argwhere(label)
    middle = places[rng.integers(len(places))] if labelled else rng.integers(image.shape)
    start = [int(np.clip(at - side // 2, 0, whole - side)) for at, whole in zip(middle, image.shape, strict=True)]
    box = tuple(slice(first, first + side) for first in start)
    return scaled(image[box]), label[box]


class Counted(nn.Module):
    """A network that counts the tiles it sees."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, *spatial)."""
        self.seen += len(image)
        logits: Tensor = self.net(image)
        return logits


def damage(net: nn.Module, data: Path, out: Path, keys: dict[str, Any], steps: int) -> list[float]:
    """Mean Dice clean and under attack, tiles of the whole audit, and the largest distance searched (0: anywhere)."""
    counted = Counted(net)
    card = ModelCard(
        name="spleen", network={}, labels={0: "background", 1: "spleen"}, in_channels=1, spatial_dims=3, recipe=AS_IT_IS
    )
    model = SegmentationModel(TiledModel(counted, ROI // SCALE, 0.5, even=True), card)
    probe = {
        "attack": "strong",
        "perturbation": "l2",
        "unit": "rms",
        **keys,
        "steps": min(steps, keys.get("steps", steps)),
    }
    eps = EPS if "within" not in keys else EPS * math.sqrt(whole_by_near(data))
    plan = Plan.model_validate({"name": "damage", "probes": [{**probe, "eps": [eps]}], "verify": False})
    shutil.rmtree(out, ignore_errors=True)  # tiles of an audit that was stopped were not counted
    summary = audit(model, data, plan, out, select="all").audit.summary
    (entry,) = summary.probes
    near_all = entry.searched_near
    mm = (near_all.mm if near_all else 0.0) if "within" not in keys else 20.0
    return [float(summary.dice or 0), float(entry.dice or 0), counted.seen, mm]


def whole_by_near(data: Path) -> float:
    """How many voxels a case has for one within 20 mm, so that a budget has the same norm in both; mean over cases."""
    shares = []
    for path in sorted((data / "labels").glob("*.nii.gz")):
        label = torch.from_numpy(np.asarray(nib.load(path).dataobj)).long()[None]
        shares.append(float(near(label, 20.0, [mm * SCALE for mm in SPACING]).float().mean()))
    return 1 / statistics.fmean(shares)


if __name__ == "__main__":
    main()
