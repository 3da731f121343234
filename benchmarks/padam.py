"""PAdam of Halmosi, Mohos & Jelasity, ECCV 2024 (arXiv 2407.09150), written anew for comparison.

Adam (AMSGrad, step eps / 4) from a random start, projected after every step, on cross-entropy or on one minus the
cosine of logits and one-hot label. For the attacks on internal representations (Halmosi & Jelasity,
arXiv 2306.14217v1) on one minus the cosine of the deepest features and those of the clean image.
Departures: the worst iterate by Dice counts, not the last; only the deepest features; L2 balls too, with the step as
RMS per voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, one_hot

from imaseg import Perturbation
from imaseg.scores import foreground_dice

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]  # changed image -> logits, loss


def searches() -> dict[str, Callable[..., Tensor]]:
    """By name, (model, image, label, perturbation, gradient calls, seed) -> image."""
    losses = {"PAdam-CE": _cross_entropy, "PAdam-Cos": _cosine, "PAdam on deepest features": _features}
    return {name: partial(_padam, loss_of=loss) for name, loss in losses.items()}


def _padam(
    model: nn.Module,
    image: Tensor,
    label: Tensor,
    perturbation: Perturbation,
    calls: int,
    seed: int,
    *,
    loss_of: Callable[[nn.Module, Tensor, Tensor], Evaluate],
) -> Tensor:
    evaluate = loss_of(model, image, label)
    radius = float(perturbation.eps)
    params = perturbation.project(image, perturbation.init(image, torch.Generator().manual_seed(seed))).requires_grad_()
    adam = torch.optim.Adam([params], lr=radius / 4, amsgrad=True, maximize=True)
    worst, lowest = image.clone(), torch.full((len(image),), torch.inf)
    for call in range(calls + 1):
        changed = image + params
        logits, loss = evaluate(changed)
        dice = foreground_dice(logits.detach(), label)
        worst[dice < lowest] = changed.detach()[dice < lowest]
        lowest = dice.minimum(lowest)
        if call < calls:
            (params.grad,) = torch.autograd.grad(loss, params)
            adam.step()
            with torch.no_grad():
                params.copy_(perturbation.project(image, params))
    return worst


def _cross_entropy(model: nn.Module, _image: Tensor, label: Tensor) -> Evaluate:
    def of(changed: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(changed)
        return logits, cross_entropy(logits, label)

    return of


def _cosine(model: nn.Module, _image: Tensor, label: Tensor) -> Evaluate:
    def of(changed: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(changed)
        truth = one_hot(label, logits.shape[1]).movedim(-1, 1).to(logits)
        return logits, 1 - cosine_similarity(logits, truth).mean()

    return of


def _features(model: nn.Module, image: Tensor, _label: Tensor) -> Evaluate:
    with torch.no_grad():
        clean = _deepest(model, image)[1]

    def of(changed: Tensor) -> tuple[Tensor, Tensor]:
        logits, deepest = _deepest(model, changed)
        return logits, 1 - cosine_similarity(deepest, clean).mean()

    return of


def _deepest(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and flat (B, n) the last output of a module among those of the fewest voxels."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == image.ndim:
            seen.append(output)

    handles = [module.register_forward_hook(keep) for module in model.modules()]
    logits = model(image)
    for handle in handles:
        handle.remove()
    fewest = min(one[0, 0].numel() for one in seen)
    return logits, [one for one in seen if one[0, 0].numel() == fewest][-1].flatten(1)
