"""On a GPU: what a step of PGD costs beside bare passes, an attack at full size, and half precision against float32.

    bash benchmarks/gpu.sh [DATA]     # this script, the GPU's tests, and with DATA IMA on hippocampus_3d at three seeds
    python benchmarks/gpu.py [--small]

Needs torch alone. Networks are U-Nets written here: a small one, trained for a minute on synthetic organs, and one of
the size that nnU-Net plans for patches of 128^3 (31 M parameters, weights as drawn), whose time does not depend on what
it has learned. Absolute times, medians over rounds; --small runs everything in small, on a CPU too, to see that it
runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from imaseg import L2, PGD, Dice, Linf, ShrinkingSetPGD, TiledModel
from imaseg.objectives import DiceCE
from imaseg.perturbations import near
from imaseg.scores import foreground_dice
from imaseg.version import __version__

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEPS, ROUNDS = 20, 5
SIZE, SPACING, ROI = (512, 512, 400), (0.8, 0.8, 1.5), 128
SPLEEN = (38, 25, 37)  # half axes in voxels


class UNet(nn.Module):
    """Two convolutions a level, instance norm, transposed convolutions up, skips."""

    def __init__(self, widths: Sequence[int], classes: int = 2) -> None:
        super().__init__()
        pairs = list(zip([1, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(_block(*pair, stride=1 + (place > 0)) for place, pair in enumerate(pairs))
        rising = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, wide, 2, 2) for deep, wide in rising)
        self.join = nn.ModuleList(_block(2 * wide, wide) for _, wide in rising)
        self.last = nn.Conv3d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, *spatial)."""
        seen = []
        for level in self.down:
            image = level(image)
            seen.append(image)
        for up, join, skip in zip(self.up, self.join, seen[-2::-1], strict=True):
            image = join(torch.cat([up(image), skip], 1))
        logits: Tensor = self.last(image)
        return logits


def _block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    parts: list[nn.Module] = []
    for first in (True, False):
        parts += [nn.Conv3d(channels if first else width, width, 3, stride if first else 1, 1)]
        parts += [nn.InstanceNorm3d(width, affine=True), nn.LeakyReLU(inplace=True)]
    return nn.Sequential(*parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    if DEVICE.type != "cuda" and not small:
        sys.exit("No GPU is here, and absolute times of a CPU say nothing. --small shows that everything runs.")
    torch.manual_seed(0)
    hardware = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    print(f"{hardware}, torch {torch.__version__}, imaseg {__version__}, seed 0\n", flush=True)
    net = trained(*((20, 16) if small else (400, 48)))
    side, steps, rounds = (16, 2, 1) if small else (48, STEPS, ROUNDS)
    tell_steps(net, side, steps, rounds)
    tell_precision(net, side, steps)
    tell_full_size(rounds, small=small)


def seconds(call: Callable[[], object], rounds: int) -> float:
    """Median over rounds, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        _wait()
        begin = time.perf_counter()
        call()
        _wait()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def organs(number: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, side, side, side) of balls in noise, a bright shell around half of them, and the balls."""
    draw = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(*[torch.arange(side) / side - 0.5] * 3, indexing="ij"))
    middle = 0.4 * torch.rand(number, 3, 1, 1, 1, generator=draw) - 0.2
    far = (grid - middle).norm(dim=1)
    label = (far < 0.2).long()
    image = label + 0.7 * ((far > 0.25) & (far < 0.3)) + 0.4 * torch.randn(number, side, side, side, generator=draw)
    return image[:, None].float().to(DEVICE), label.to(DEVICE)


def trained(steps: int, side: int) -> nn.Module:
    """A small network, half a million parameters, that finds the balls."""
    net, loss = UNet((16, 32, 64)).to(DEVICE), DiceCE()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for step in range(steps):
        value = loss(*_passed(net, *organs(4, side, 1000 + step))).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return net.eval().requires_grad_(requires_grad=False)


def _passed(net: nn.Module, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    return net(image), label


def tell_steps(net: nn.Module, side: int, steps: int, rounds: int) -> None:
    """PGD next to as many bare forward and backward passes."""
    image, label = organs(2, side, 0)
    objective = Dice()

    def bare() -> None:
        for _ in range(steps):
            pixels = image.clone().requires_grad_()
            torch.autograd.grad(objective(net(pixels), label).sum(), pixels)

    print(f"| {steps} steps, 2 x {side}^3 | ms a step | of a bare pass |\n| --- | --- | --- |")
    base = seconds(bare, rounds)
    print(f"| bare forward and backward | {1000 * base / steps:.2f} | 1.00 |")
    for name, perturbation in {"PGD, L2": L2(1e-3, unit="rms"), "PGD, Linf": Linf(1e-3)}.items():
        attack = PGD(perturbation, steps=steps)
        spent = seconds(lambda attack=attack: attack(net, image, label), rounds)
        print(f"| {name} | {1000 * spent / steps:.2f} | {spent / base:.2f} |", flush=True)


def tell_precision(net: nn.Module, side: int, steps: int) -> None:
    """Decisions, and Dice under attack, in half precision against float32."""
    image, label = organs(8, side, 1)
    print("\n| forward pass | decisions as in float32 | clean Dice | Dice under strong, RMS 0.1 |")
    print("| --- | --- | --- | --- |")
    attack = ShrinkingSetPGD(L2(0.1, unit="rms"), steps=steps)
    with torch.no_grad():
        decided = net(image).argmax(1)
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        with torch.autocast(DEVICE.type, kind, enabled=kind != torch.float32):
            with torch.no_grad():
                logits = net(image).float()
            found = attack(net, image, label)
        same = (logits.argmax(1) == decided).float().mean()
        with torch.no_grad():  # judged in full precision, whatever it was made in
            attacked = foreground_dice(net(found.image), label).mean()
        clean = foreground_dice(logits, label).mean()
        print(f"| {str(kind).removeprefix('torch.')} | {same:.5f} | {clean:.3f} | {attacked:.3f} |", flush=True)


def tell_full_size(rounds: int, *, small: bool) -> None:
    """A CT of 512 x 512 x 400 voxels through the large network: seconds of a step, near a spleen and anywhere."""
    coarser = 16 if small else 1
    size, roi = [side // coarser for side in SIZE], max(ROI // coarser, 16)
    net = UNet((4, 8) if small else (32, 64, 128, 256, 320, 320)).to(DEVICE).eval().requires_grad_(requires_grad=False)
    grids = torch.meshgrid(*[torch.arange(side, device=DEVICE) - side / 2 for side in size], indexing="ij")
    far = sum((grid * coarser / half) ** 2 for grid, half in zip(grids, SPLEEN, strict=True))
    label = (torch.as_tensor(far) < 1).long()[None]
    image = label[:, None] + 0.4 * torch.randn(1, 1, *size, device=DEVICE)
    model = TiledModel(net, roi, 0.5, even=True)
    region = near(label, 20.0, [mm * coarser for mm in SPACING])
    tiles = model.tiles(image.shape)
    print(f"\n| {' x '.join(map(str, size))}, {tiles} tiles of {roi}^3 | seconds |\n| --- | --- |")
    with torch.no_grad():
        tile = seconds(lambda: net(image[..., :roi, :roi, :roi]), rounds)
    print(f"| a pass of one tile | {tile:.4f} |")
    for kind in (torch.float32, torch.bfloat16):
        name = str(kind).removeprefix("torch.")
        with torch.autocast(DEVICE.type, kind, enabled=kind != torch.float32):
            for place, where in (("anywhere", None), ("within 20 mm of the spleen", region)):
                step = _step(model, image, label, L2(0.01, unit="rms", region=where))
                print(f"| a step of PGD {place}, {name} | {step:.2f} |", flush=True)


def _step(model: nn.Module, image: Tensor, label: Tensor, perturbation: L2) -> float:
    """What one step more takes."""
    spent = []
    for steps in (1, 3):
        _wait()
        begin = time.perf_counter()
        PGD(perturbation, steps=steps)(model, image, label, criterion=_never)
        _wait()
        spent.append(time.perf_counter() - begin)
    return (spent[1] - spent[0]) / 2


def _never(logits: Tensor, *_: Tensor) -> Tensor:
    """No point ends a search."""
    return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)


if __name__ == "__main__":
    main()
