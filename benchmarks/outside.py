"""Attacks of other libraries behind one call, for comparison only; empty where the libraries are not installed."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from imaseg import Linf, Perturbation

Fixed = Callable[[nn.Module, Tensor, Tensor, float, int, int], Tensor]
Within = Callable[[nn.Module, Tensor, Tensor, Perturbation, int, int], Tensor]
Smallest = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


@cache
def fixed_budget() -> dict[str, Fixed]:
    """Attacks within a given Linf budget: (model, image, label, eps, gradient calls, seed) -> image."""
    try:
        import torchattacks
    except ImportError:
        return {}

    def pgd(model: nn.Module, image: Tensor, label: Tensor, eps: float, calls: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        # The same step as our `pgd-ce`: eps / 4.
        return torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=calls)(image, label)

    return {"torchattacks PGD": pgd}


def within(perturbation: Perturbation) -> dict[str, Within]:
    """All of them within one budget: (model, image, label, set, gradient calls, seed) -> image in the set.

    The libraries know images of two axes in [0, 1] only: volumes are folded, and grey levels scaled so that the image's
    own range is the middle half. Searches for the smallest change have their results projected into the budget, and the
    settings of Halmosi et al. (arXiv 2407.09150), who cut them off there too.
    """
    norm = "linf" if isinstance(perturbation, Linf) else "l2"
    settings = {
        "DAG": {"\N{GREEK SMALL LETTER GAMMA}": 0.003},
        "PDPGD": {"primal_lr": 0.01},
        "ALMA-prox": {"lr_init": 1e-4},
    }
    smallest_changes = {name: partial(_without_budget, search) for name, search in smallest(norm, settings).items()}
    found = _torchattacks(norm) | smallest_changes
    return {name: partial(_folded, attack) for name, attack in found.items() if not name.endswith("ASMA")}


def _without_budget(
    search: Smallest, model: nn.Module, image: Tensor, label: Tensor, _eps: float, calls: int, _seed: int
) -> Tensor:
    return search(model, image, label, calls)


def _torchattacks(norm: str) -> dict[str, Fixed]:
    """On cross-entropy, the loss it has; it holds no attack made for segmentation."""
    if norm == "linf":
        pgd = fixed_budget()
        if not pgd:
            return {}
        from torchattacks import MIFGSM

        def momentum(model: nn.Module, image: Tensor, label: Tensor, eps: float, calls: int, _seed: int) -> Tensor:
            return MIFGSM(model, eps=eps, alpha=eps / 4, steps=calls)(image, label)

        return {**pgd, "torchattacks MIFGSM": momentum}
    try:
        from torchattacks import PGDL2
    except ImportError:
        return {}

    def pgdl2(model: nn.Module, image: Tensor, label: Tensor, eps: float, calls: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return PGDL2(model, eps=eps, alpha=eps / 4, steps=calls)(image, label)

    return {"torchattacks PGDL2": pgdl2}


def _folded(
    attack: Callable[..., Tensor],
    model: nn.Module,
    image: Tensor,
    label: Tensor,
    perturbation: Perturbation,
    calls: int,
    seed: int,
) -> Tensor:
    low, high = float(image.min()), float(image.max())
    low, high = (0.0, 1.0) if perturbation.bounds is not None else (low - (high - low) / 2, high + (high - low) / 2)
    shape = image.shape

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, given: Tensor) -> Tensor:
            logits = self.model(given.reshape(-1, *shape[1:]) * (high - low) + low)
            return logits.reshape(*logits.shape[:2], shape[2], -1)

    eps = float(perturbation.eps) / (high - low)
    if perturbation.unit == "rms":
        eps *= math.prod(shape[1:]) ** 0.5
    flat = ((image - low) / (high - low)).reshape(*shape[:2], shape[2], -1)
    found = attack(Folded().eval(), flat, label.reshape(len(label), shape[2], -1), eps, calls, seed)
    return image + perturbation.project(image, found.detach().reshape(shape) * (high - low) + low - image)


def smallest(norm: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Smallest]:
    """Searches of adversarial-library for the smallest change that makes 99 % of the foreground wrong.

    Args:
        norm: "linf" or "l2".
        settings: by name, arguments other than the library's own.

    Returns:
        By name, (model, image, label, gradient calls) -> image.
    """
    # It imports a plotting server that it uses only when asked to draw.
    visdom = ModuleType("visdom")
    visdom.Visdom = object  # type: ignore[attr-defined]
    sys.modules.setdefault("visdom", visdom)
    try:
        from adv_lib.attacks import segmentation
    except ImportError:
        return {}
    power = {"linf": float("inf"), "l2": 2.0}[norm]
    found: dict[str, Callable[..., Tensor]] = {
        "DAG": partial(segmentation.dag, p=power),
        "PDPGD": partial(segmentation.pdpgd, norm=power),
    }
    if norm == "linf":
        # Its constraint masking fails where 1 % of the foreground is less than a voxel.
        found["ALMA-prox"] = partial(segmentation.alma_prox, constraint_masking=False)
    else:
        found |= {"PDGD": segmentation.pdgd, "ASMA": segmentation.asma}

    def wrapped(name: str, attack: Callable[..., Tensor]) -> Smallest:
        length = "max_iter" if name == "DAG" else "num_steps"
        return lambda model, image, label, calls: attack(
            model,
            image,
            label,
            masks=label > 0,
            adv_threshold=0.99,
            **{length: calls},
            **(settings or {}).get(name, {}),
        )

    return {f"adversarial-library {name}": wrapped(name, attack) for name, attack in found.items()}
