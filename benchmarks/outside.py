"""Attacks of other libraries behind one call, for comparison only; empty where the libraries are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn

Fixed = Callable[[nn.Module, Tensor, Tensor, float, int, int], Tensor]


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


def alma_prox() -> Callable[..., Tensor] | None:
    """adversarial-library's ALMA-prox, which looks for the smallest Linf change."""
    # It imports a plotting server that it uses only when asked to draw.
    visdom = ModuleType("visdom")
    visdom.Visdom = object  # type: ignore[attr-defined]
    sys.modules.setdefault("visdom", visdom)
    try:
        from adv_lib.attacks.segmentation import alma_prox as found
    except ImportError:
        return None
    return found
