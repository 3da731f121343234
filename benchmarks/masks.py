"""Known ways to hide gradients, put around one network: is each flagged by an audit, or does it hide nothing?

    python benchmarks/masks.py [--out DIR] [--only MASK ...]

A small 3D network is trained on phantoms (seed 0) and audited on held-out ones as it is, then behind each mask, by the
same plan. `reached` is the lowest mean Dice that the plan's attacks find behind the mask. `true` is what an attacker
gets who knows of the mask: the images that `strong` makes for the network alone, given to the network behind the mask,
or `reached` if that is lower. A mask that makes these differ hides damage; one that keeps both high averts it. The
table, of docs/auditing.md, says which checks turn red. Takes some minutes on two cores; finished audits are taken as
they are.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot, pad

from imaseg import audit, load_model
from imaseg.auditing import Plan
from imaseg.data.phantom import write_phantom
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.models import SegmentationModel
from imaseg.results.summary import Summary
from imaseg.runs import TrainConfig, train

EPS = 0.03
PLAN = {
    "name": "masks",
    "probes": [
        {"attack": "gaussian-noise", "unit": "std", "eps": [EPS / 2, EPS]},
        {"attack": "fgsm", "unit": "std", "eps": [EPS / 2, EPS]},
        {"attack": "pgd", "unit": "std", "eps": [EPS / 2, EPS], "steps": 20},
        {"attack": "strong", "unit": "std", "eps": [EPS / 2, EPS], "steps": 40},
    ],
    "validity": {"cases": 3, "large_eps": 5.0, "scaled_eps": EPS},
}
KNOWING = {
    "name": "knowing",
    "probes": [{"attack": "strong", "unit": "std", "eps": [EPS], "steps": 40}],
    "verify": False,
}
Network = Callable[[Tensor], Tensor]
Mask = Callable[[Network, Tensor], Tensor]


def quantisation(net: Network, x: Tensor) -> Tensor:
    """Grey values rounded to an eighth of a standard deviation."""
    return net((8 * x).round() / 8)


def shattering(net: Network, x: Tensor) -> Tensor:
    """A ripple too small to change a decision."""
    return net(x + 0.005 * torch.sin(2000 * x))


def logits_times_1000(net: Network, x: Tensor) -> Tensor:
    """Softmax saturates."""
    return 1000 * net(x)


def logits_times_100000(net: Network, x: Tensor) -> Tensor:
    """Softmax saturates."""
    return 1e5 * net(x)


def noise_at_inference(net: Network, x: Tensor) -> Tensor:
    """New in each pass."""
    return net(x + 0.2 * torch.randn_like(x))


def random_resize(net: Network, x: Tensor) -> Tensor:
    """To 0.8 to 1.2 times the size, in even numbers of voxels, and back."""
    factor = 0.8 + 0.4 * float(torch.rand(()))
    size = [2 * round(side * factor / 2) for side in x.shape[2:]]
    small = interpolate(x, size, mode="trilinear")
    return interpolate(net(small), x.shape[2:], mode="trilinear")


def jpeg_like(net: Network, x: Tensor) -> Tensor:
    """Cosine coefficients of blocks of 8 x 8 rounded to a fifth of a standard deviation."""
    place = torch.arange(8, dtype=x.dtype)
    basis = torch.cos(math.pi / 8 * (place[None] + 0.5) * place[:, None]) / 2
    basis[0] /= math.sqrt(2)
    missing = [-side % 8 for side in x.shape[2:4]]
    padded = pad(x, (0, 0, 0, missing[1], 0, missing[0]))
    b, c, width, height, depth = padded.shape
    blocks = padded.reshape(b, c, width // 8, 8, height // 8, 8, depth)
    waves = torch.einsum("ui,vj,bcxiyjz->bcxuyvz", basis, basis, blocks)
    blocks = torch.einsum("ui,vj,bcxuyvz->bcxiyjz", basis, basis, (5 * waves).round() / 5)
    return net(blocks.reshape(padded.shape)[:, :, : x.shape[2], : x.shape[3]])


def argmax_straight_through(net: Network, x: Tensor) -> Tensor:
    """The decision, with the gradient of the logits."""
    logits = net(x)
    hard = one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).to(x.dtype) * 10
    return hard + logits - logits.detach()


class _Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient * torch.randn_like(gradient).sign()


def sign_noise(net: Network, x: Tensor) -> Tensor:
    """Gradients of random sign on the way back."""
    return net(_Signs.apply(x))


def temperature(net: Network, x: Tensor) -> Tensor:
    """Logits divided by 1000."""
    return net(x) / 1000


def clipping(net: Network, x: Tensor) -> Tensor:
    """Logits cut off half a unit from their mean; what lies beyond decides, but without a gradient."""
    logits = net(x)
    centred = logits - logits.mean(1, keepdim=True)
    return centred.clamp(-0.5, 0.5) + 1e-3 * centred.detach()


def dead_relu(net: Network, x: Tensor) -> Tensor:
    """A last ReLU that is off for all classes more than half a unit behind."""
    logits = net(x)
    return (logits - logits.amax(1, keepdim=True).detach() + 0.5).relu()


MASKS = (
    quantisation, shattering, logits_times_1000, logits_times_100000, noise_at_inference, random_resize, jpeg_like,
    argmax_straight_through, sign_noise, temperature, clipping, dead_relu,
)  # fmt: skip


class Masked(nn.Module):
    """A network behind a mask."""

    def __init__(self, network: nn.Module, mask: Callable[[Network, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.mask = network, mask

    def forward(self, image: Tensor) -> Tensor:
        """Logits behind the mask."""
        return self.mask(self.network, image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("work/masks"))
    parser.add_argument("--only", nargs="+", default=[mask.__name__ for mask in MASKS], metavar="MASK")
    parser.add_argument("--epochs", type=int, default=80)
    given = parser.parse_args()
    run, data = _trained(given.out, given.epochs)
    honest = _audited(given.out, run, data, None)
    versions = f"imaseg {version('imaseg')}, torch {torch.__version__}, Python {platform.python_version()}"
    print(f"# seed 0, n = {honest.data.cases}, l2 at {EPS:g} std, {versions}")
    print("| mask | clean | reached | true | red checks |\n| --- | --- | --- | --- | --- |")
    print(_line("none", honest, _lowest(honest)), flush=True)
    for mask in MASKS:
        if mask.__name__ in given.only:
            found, known = _audited(given.out, run, data, mask), _transferred(given.out, run, data, mask)
            print(_line(mask.__name__, found, min(known, _lowest(found))), flush=True)


def _trained(out: Path, epochs: int) -> tuple[Path, Path]:
    """The network and the data, made where they are missing."""
    raw, data, run = out / "raw", out / "data", out / "run"
    if not data.is_dir():
        write_phantom(raw, cases=9, seed=0, shape=(40, 40, 24))
        prepare(raw, data, load_recipe("msd"))
    if not (run / "weights.safetensors").is_file():
        network = {"name": "UNet", "channels": [8, 16], "strides": [2], "num_res_units": 0, "norm": "batch"}
        train(TrainConfig(network=network, patch=[24, 24, 16], epochs=epochs, learning_rate=0.02), data, run)
    return run, data


def _audited(out: Path, run: Path, data: Path, mask: Mask | None) -> Summary:
    folder = out / ("none" if mask is None else mask.__name__)
    return audit(_behind(run, mask), data, Plan.model_validate(PLAN), folder, resume=folder.is_dir()).audit.summary


def _transferred(out: Path, run: Path, data: Path, mask: Mask) -> float:
    """Mean Dice behind a mask on the images that were made for the network alone."""
    folder, plan = out / f"knowing_{mask.__name__}", Plan.model_validate(KNOWING)
    resume = folder.is_dir()
    found = audit(_behind(run, mask), data, plan, folder, resume=resume, attacker=load_model(run)).audit.summary
    (entry,) = [entry for entry in found.probes if entry.made_on]
    return float(entry.foreground_mean["dice"] or 0.0)


def _behind(run: Path, mask: Mask | None) -> SegmentationModel:
    model = load_model(run)
    if mask is not None:
        model.network = Masked(model.network, mask)
    return model


def _line(name: str, found: Summary, true: float) -> str:
    red = [check.check for check in found.validity if check.ok is False]
    clean = found.foreground_mean["dice"]
    return f"| {name} | {clean:.3f} | {_lowest(found):.3f} | {true:.3f} | {_words(red)} |"


def _lowest(summary: Summary) -> float:
    """Mean over the cases of the lowest Dice under any attack."""
    (worst,) = [entry for entry in summary.probes if entry.attack == "worst-case" and entry.eps == EPS]
    return float(worst.foreground_mean["dice"] or 0.0)


def _words(red: Sequence[str]) -> str:
    return "; ".join(red) or "none"


if __name__ == "__main__":
    main()
