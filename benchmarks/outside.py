"""Attacks of other libraries behind one call, for comparison only; empty where the libraries are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType

import torch
from torch import Tensor, nn

Fixed = Callable[[nn.Module, Tensor, Tensor, float, int, int], Tensor]
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


def smallest(norm: str) -> dict[str, Smallest]:
    """Searches of adversarial-library for the smallest change that makes 99 % of the foreground wrong.

    Args:
        norm: "linf" or "l2".

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
            model, image, label, masks=label > 0, adv_threshold=0.99, **{length: calls}
        )

    return {f"adversarial-library {name}": wrapped(name, attack) for name, attack in found.items()}
