"""What PGD costs beyond bare passes, and what half precision, memory format and compilation save: ratios of one run.

    python -m pip install torchattacks   # only for the outside reference; left out where it is missing
    python benchmarks/attack_cost.py [--rounds N] [--steps N] [--threads N] [--only NET ...] [--skip WORD ...]

A bare pass is one forward and one backward pass to the input, soft Dice at the end; the yardstick is as many of them as
PGD takes --steps (20). Each round times every entry once, in turn, so that whatever else the machine does falls on all
of them alike; the ratio is that of the medians, with the ratio of the fastest rounds next to it. On a GPU times are
given too. `nnU-Net` is the network of `full_size.py` on a tile of 64^3, with 31 M parameters: give it few steps.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import outside
import torch
from full_size import full_network
from monai.networks.nets import DynUNet, UNet
from torch import Tensor, nn

from imaseg import L2, PGD, Dice, Linf
from imaseg.precision import HALF, HalfPrecisionGradients

EPS = 1e-3  # so small that no sample is ever finished and leaves the search early
Timed = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip", nargs="+", default=[], help="entries whose name holds one of these words")
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=["UNet", "DynUNet"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{hardware}, {arguments.threads} threads, torch {version('torch')}, monai {version('monai')}, seed 0")
    for name in arguments.only:
        make, shape = NETWORKS[name]
        torch.manual_seed(0)
        model = make().to(device).eval().requires_grad_(False)
        image = torch.rand(1, 1, *shape, device=device)
        with torch.no_grad():
            label = model(image).max(1).indices
        label[:, : shape[0] // 2] = 0
        print(f"\n**{name}**, {shape}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters\n")
        timed = entries(model, image, label, arguments.steps)
        timed = {entry: run for entry, run in timed.items() if not any(word in entry for word in arguments.skip)}
        print(table(timed, arguments.rounds, device))


def _unet() -> nn.Module:
    """That of `configs/hippocampus_*.yaml`."""
    return UNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=0, norm="instance")


def _dynunet() -> nn.Module:
    """A larger one as nnU-Net builds them."""
    kernel, strides = [3] * 5, [1, 2, 2, 2, 2]
    return DynUNet(3, 1, 3, kernel, strides, strides[1:], filters=[16, 32, 64, 128, 160])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "UNet": (_unet, (40, 56, 40)),
    "DynUNet": (_dynunet, (48, 48, 48)),
    "nnU-Net": (full_network, (64, 64, 64)),
}


def entries(model: nn.Module, image: Tensor, label: Tensor, steps: int) -> Timed:
    """What is timed; the first is the yardstick."""
    objective = Dice()

    def bare(net: Callable[[Tensor], Tensor], given: Tensor) -> None:
        for _ in range(steps):
            leaf = given.clone().requires_grad_()
            torch.autograd.grad(objective(net(leaf), label).sum(), leaf)

    layout = torch.channels_last_3d
    relaid, other = image.to(memory_format=layout), copy.deepcopy(model).to(memory_format=layout)
    compiled = torch.compile(copy.deepcopy(model))
    found: Timed = {
        f"{steps} bare passes": lambda: bare(model, image),
        "PGD (Linf)": lambda: PGD(Linf(EPS), steps=steps)(model, image, label),
    }
    ways = {"": (model, image), ", channels last": (other, relaid), ", torch.compile": (compiled, image)}
    for way, (net, given) in ways.items():
        for precision, dtype in {"": None, **{f", gradients in {name}": kind for name, kind in HALF.items()}}.items():
            used = net if dtype is None else HalfPrecisionGradients(net, dtype)
            found[f"PGD (L2){way}{precision}"] = partial(_pgd, steps, used, given, label)
    for name, attack in outside.fixed_budget().items():
        found[name] = lambda attack=attack: attack(model, image, label, EPS, steps, 0)
    return found


def _pgd(steps: int, model: nn.Module, image: Tensor, label: Tensor) -> object:
    return PGD(L2(EPS, unit="rms"), steps=steps)(model, image, label)


def table(timed: Timed, rounds: int, device: torch.device) -> str:
    """Markdown: ratios to the yardstick."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for run in timed.values():
        run()
    for _ in range(rounds):
        for name, run in timed.items():
            seconds[name].append(clock(run, device))
    reference = seconds[next(iter(timed))]
    lines = [
        "| | ratio of medians | of the fastest |" + (" ms |" if device.type == "cuda" else ""),
        "| --- | --- | --- |",
    ]
    for name, taken in seconds.items():
        median = statistics.median(taken)
        row = f"| {name} | {median / statistics.median(reference):.3f} | {min(taken) / min(reference):.3f} |"
        lines.append(row + (f" {median * 1000:.0f} |" if device.type == "cuda" else ""))
    return "\n".join(lines)


def clock(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
