"""Memory and time of a PGD step through `TiledModel`, on volumes of three sizes.

    python benchmarks/tiling.py [--rounds N] [--threads N] [--kept-only]

PGD (L2, RMS) with one step: three forward passes and one backward pass; tiles of 64^3, overlap 0.25; a small MONAI
UNet. The full graph, MONAI's sliding window with autograd on, stands next to it on the smallest volume.

Memory. Each size runs in a process of its own. A dispatch mode follows every storage that an operation returns until it
is freed. What an operation needs inside itself comes on top: on a CPU the peak resident set during the operation less
the resident set after it (Linux; glibc is told to give every large block back at once), on a GPU the same from the
allocator's statistics.

"The volume's own" are the storages with values for every voxel of the volume, known by their shape: the last axis, or
the last three, are the volume's. They are image, label and its one-hot forms, the perturbation as it stands, as it was
at its worst and as it moves, the perturbed image, its gradient, the logits, those of the clean image and of the worst
point, their gradient, what the loss and the Dice make of them, and the sum of the blending weights; what was held at
the moment of the peak is listed by the operation that made it. "Tiles" is everything else: the highest sum, at any
moment of the attack, of all other storages and of what the running operation needs inside, where it does not work on
a whole volume. "Resident" is the peak as the operating system (or the GPU's allocator) saw it in a run without the
dispatch mode: it must agree with the peak of all storages, or something was overlooked.

Time. Median over rounds in which the sizes take turns, without any measuring of memory. Tiles overlap more or less, as
the sides fall on multiples of the step or not, so time is also given per voxel that the network sees. Where there is
memory for the graphs of all tiles, no tile is run a second time: what that saves is measured on the smallest volume, in
rounds that take turns too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from imaseg import L2, PGD
from imaseg.frozen import Model
from imaseg.tiling import TiledModel

SIZES = ("128x128x96", "192x192x144", "256x256x192")
ROI, OVERLAP = 64, 0.25
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LARGE = 2**17  # bytes; glibc maps and unmaps larger blocks, so that the resident set follows what is held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kept-only", action="store_true", help="only what keeping the graphs of tiles saves")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        what, model, size = arguments.child
        print(json.dumps(MEASURES[what](model, tuple(map(int, size.split("x"))))))
        return
    jobs = [*(("tiled", size) for size in SIZES), ("full graph", SIZES[0])]

    def all_of(what: str) -> dict[tuple[str, str], Any]:
        return {job: in_child(what, *job, arguments.threads) for job in jobs}

    hardware = torch.cuda.get_device_name() if DEVICE.type == "cuda" else platform.processor() or platform.machine()
    print(f"{hardware}, {arguments.threads} threads, torch {version('torch')}, monai {version('monai')}, seed 0\n")
    pairs = [
        [in_child("seconds", name, SIZES[0], arguments.threads) for name in ("tiled", "kept")]
        for _ in range(arguments.rounds)
    ]
    without, kept = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"Time with all graphs kept, by that without, tiled {SIZES[0]}: {kept / without:.3f}\n")
    if arguments.kept_only:
        return
    held, resident = all_of("held"), all_of("resident")
    rounds = [all_of("seconds") for _ in range(arguments.rounds)]
    seconds = {job: statistics.median(one[job] for one in rounds) for job in jobs}
    print(table(jobs, held, resident, seconds))
    print(f"\nHeld at the peak of tiled {SIZES[-1]}, MB of the volume's own\n")
    print("\n".join(f"- {megabytes:.1f} {name}" for name, megabytes in held[jobs[2]]["own"].items()))


def in_child(what: str, model: str, size: str, threads: int) -> Any:
    """The measurement, in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--child", what, model, size]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(LARGE)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(jobs: list[tuple[str, str]], held: dict, resident: dict, seconds: dict) -> str:
    """Markdown: memory in MB and time of each job, ratios to the smallest volume."""
    first = jobs[0]
    lines = [
        "| model, volume | tiles | peak | volume's own | resident | tiles' memory | ratio | s | us per voxel | ratio "
        "| us per voxel seen | ratio |",
        "| --- |" + " --- |" * 11,
    ]
    voxels = {job: math.prod(map(int, job[1].split("x"))) for job in jobs}
    seen = {job: held[job]["tiles"] * ROI**3 for job in jobs}
    for job in jobs:
        each, each_seen = seconds[job] / voxels[job] * 1e6, seconds[job] / seen[job] * 1e6
        to_first = seconds[first] / voxels[first] * 1e6, seconds[first] / seen[first] * 1e6
        entry = held[job]
        lines.append(
            f"| {' '.join(job)} | {entry['tiles']} | {entry['peak']:.1f} | {sum(entry['own'].values()):.1f} "
            f"| {resident[job]:.1f} | {entry['besides']:.1f} | {entry['besides'] / held[first]['besides']:.3f} "
            f"| {seconds[job]:.1f} | {each:.2f} | {each / to_first[0]:.3f} | {each_seen:.2f} "
            f"| {each_seen / to_first[1]:.3f} |"
        )
    return "\n".join(lines)


def search(model: Model, image: Tensor, label: Tensor) -> None:
    """What is measured; eps is so small that the sample is never finished and leaves the search early."""
    PGD(L2(1e-3, unit="rms"), steps=1)(model, image, label)


def networks(name: str) -> Model:
    """A small UNet, tiled or as the full graph."""
    torch.manual_seed(0)
    net = UNet(3, 1, 3, channels=(8, 16, 32), strides=(2, 2), num_res_units=0, norm="instance").to(DEVICE).eval()
    if name in ("tiled", "kept"):
        return TiledModel(net, ROI, OVERLAP, memory=1e12 if name == "kept" else 0.0)
    net.requires_grad_(requires_grad=False)
    return lambda image: sliding_window_inference(image, (ROI,) * 3, 1, net, OVERLAP, "gaussian")


def volumes(size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """An image, and a label of which half is right."""
    label = torch.zeros(1, *size, dtype=torch.long)
    label[:, : size[0] // 2] = 1
    return torch.rand(1, 1, *size).to(DEVICE), label.to(DEVICE)


def held(name: str, size: tuple[int, ...]) -> dict[str, Any]:
    """Peaks of what is held, in MB, and the volume's own at the highest."""
    model = networks(name)
    search(model, *volumes((ROI,) * 3))
    image, label = volumes(size)
    with Ledger(size) as ledger:
        ledger.enter("the image", image)
        ledger.enter("the label", label)
        search(model, image, label)
    return {
        "peak": ledger.peak / 1e6,
        "own": {name: count / 1e6 for name, count in ledger.own_at_peak.most_common() if count},
        "besides": ledger.besides / 1e6,
        "tiles": TiledModel(model, ROI, OVERLAP).tiles(image.shape),
    }


def resident(name: str, size: tuple[int, ...]) -> float:
    """Peak of the whole attack in MB, its image and label included, as the operating system or the GPU saw it."""
    model = networks(name)
    search(model, *volumes((ROI,) * 3))
    before = now()
    given = volumes(size)
    forget_peak()
    search(model, *given)
    return (highest() - before) / 1e6


def seconds(name: str, size: tuple[int, ...]) -> float:
    """Time of the whole attack."""
    model = networks(name)
    search(model, *volumes((ROI,) * 3))
    given = volumes(size)
    # With one thread its own time is what counts, whatever else the machine does.
    clock = time.process_time if torch.get_num_threads() == 1 and DEVICE.type == "cpu" else time.perf_counter
    start = clock()
    search(model, *given)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


MEASURES = {"held": held, "resident": resident, "seconds": seconds}


class Ledger(TorchDispatchMode):
    """Bytes held by all storages that operations return, those of the whole volume apart from the others."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__()
        self.size, self.known = size, set[int]()
        self.own: Counter[str] = Counter()
        self.own_at_peak: Counter[str] = Counter()
        self.others = self.peak = self.besides = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        forget_peak()
        result = func(*args, **(kwargs or {}))
        inside = max(0, highest() - now())
        for tensor in tensors(result):
            self.enter(str(func), tensor)
        of_volume = any(self.covers(tensor) for tensor in tensors((args, kwargs, result)))
        self.besides = max(self.besides, self.others + (0 if of_volume else inside))
        return result

    def covers(self, tensor: Tensor) -> bool:
        """Whether a tensor has values for every voxel of the volume."""
        return tuple(tensor.shape[-3:]) == self.size or tensor.shape[-1:] == (math.prod(self.size),)

    def enter(self, name: str, tensor: Tensor) -> None:
        """Note the storage of a tensor, if it is new, until it is freed."""
        storage = tensor.untyped_storage()
        key, count = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        entry = f"{name} {tuple(tensor.shape)} {tensor.dtype}" if self.covers(tensor) else ""
        weakref.finalize(storage, self.strike, key, count, entry)
        if entry:
            self.own[entry] += count
        else:
            self.others += count
        held = self.others + self.own.total()
        if held > self.peak:
            self.peak, self.own_at_peak = held, self.own.copy()

    def strike(self, key: int, count: int, entry: str) -> None:
        """Note that a storage was freed."""
        self.known.remove(key)
        if entry:
            self.own[entry] -= count
        else:
            self.others -= count


def tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors within arguments or results."""
    return (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))


def forget_peak() -> None:
    """Begin a new peak here."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def highest() -> int:
    """Bytes at the peak since `forget_peak`."""
    return torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else status("VmHWM")


def now() -> int:
    """Bytes held."""
    return torch.cuda.memory_allocated() if DEVICE.type == "cuda" else status("VmRSS")


def status(field: str) -> int:
    """A size that the operating system keeps of this process, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
