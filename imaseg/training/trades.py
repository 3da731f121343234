"""TRADES: the clean loss plus the change of the prediction when the image is perturbed.

    loss = L(f(x), y) + beta * KL(p(x) || p(x')),   x' = the point of the set where that KL is largest
    KL = mean over voxels of sum_k p_k(x) [log p_k(x) - log p_k(x')]

The sum runs over classes and the mean over voxels, so that beta means the same for every image size. Regions: the sum
over channels of the two-point KL. `steps` + 1 backward passes per batch (the last one the caller's, over both).

Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019. Differences from the
authors' code: p(x) is a fixed target in the loss unless `fixed_target=False`; the search starts at a random point of
the set, not at the image plus noise of 0.001 (where the gradient of the KL nearly vanishes), with `PGD`'s shrinking
steps; and it keeps the point of largest drift, not the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from imaseg.attacks import PGD
from imaseg.attacks.search import Search
from imaseg.frozen import Model, as_plain_tensor, frozen, heads, unwrap_ddp
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.scores import Target
from imaseg.training.base import Loss, LossOf, TrainingMethod, check_label_fixed
from imaseg.training.ids import case_ids


class TRADES(TrainingMethod):
    """Clean loss plus the drift of the prediction under attack.

    Args:
        loss: see `TrainingMethod`. Of deep-supervision models it gets all heads, the drift that of full resolution.
        perturbation: what may change; its eps is the training budget.
        beta: weight of the drift, >= 0; the paper compares 1 and 6 on CIFAR-10.
        steps: number of search steps.
        warm: start each search where the case's last one ended, so that fewer steps suffice; `ids` are required then,
            unless the image's meta has them. As in `IMA`.
        fixed_target: True draws the perturbed prediction to the clean one only; False also the clean one to the
            perturbed one, as the authors' code does. The value of the loss is the same, its gradient is not.
        ignore_index: label value whose voxels carry no drift. Negative labels never do.
        seed: seed of the random starts.

    Raises:
        ValueError: if beta is negative, or the set moves the label.
    """

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        beta: float = 6.0,
        steps: int = 8,
        warm: bool = False,
        fixed_target: bool = True,
        ignore_index: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(loss, warm=warm)
        if not beta >= 0:
            msg = f"beta must be >= 0, got {beta}. The paper compares 1 and 6."
            raise ValueError(msg)
        if not isinstance(fixed_target, bool):
            msg = f"fixed_target must be true or false, got {fixed_target!r}."
            raise ValueError(msg)
        check_label_fixed(perturbation, "TRADES")
        self.beta, self.fixed_target = beta, fixed_target
        self.ignore_index = ignore_index
        self.attack = PGD(perturbation, steps=steps)
        self.seed, self._calls = seed, 0

    def loss_of(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> LossOf:
        """Perturb the batch."""
        self._calls += 1
        names = [] if self.starts is None else case_ids(image, ids)
        attacked = self._furthest(model, as_plain_tensor(image), as_plain_tensor(label), names, inside)

        def loss_of(network: Model) -> Tensor:
            output = network(image)
            before = heads(output, image)[0]
            before = before.detach() if self.fixed_target else before
            after = heads(unwrap_ddp(network)(attacked), image)[0]
            drift = _Drift(before, ignore_index=self.ignore_index)(after, label).mean()
            return self.loss(output, label).mean() + self.beta * drift

        return loss_of

    @property
    def searches(self) -> int:
        return self.attack.steps

    @property
    def passes(self) -> int:
        return self.attack.steps + 2

    def state_dict(self) -> dict[str, Any]:
        """The counter that determines the random starts, and with `warm` the starts themselves."""
        return {**super().state_dict(), "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self._calls = int(state["calls"])

    def _furthest(
        self, model: Model, image: Tensor, label: Tensor, names: list[str], inside: Tensor | None = None
    ) -> Tensor:
        """The image whose prediction drifted most among those that the search evaluated."""
        drift, seed = _Drift(ignore_index=self.ignore_index), self.seed + self._calls
        within = self.attack.perturbation.within(inside)
        start = None if self.starts is None else self.starts.begin(names, image, within, seed)
        with frozen(model):
            search = Search(model, image, label, within, drift, seed=seed, start=start)
            self.attack._run(search)
            result = search.result()
        if self.starts is not None:
            self.starts.keep(names, image, result.params)
        return result.image


class _Drift(Objective):
    """KL divergence from the prediction `before` (B, K, *spatial); if None, from the first logits evaluated."""

    targeted = True  # the drift itself, not the Dice, says which point is the worst, and no sample leaves the batch

    def __init__(self, before: Tensor | None = None, *, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.before = before

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        if self.before is None:
            self.before = logits.detach()
        before = self.before.to(logits.dtype).reshape(logits.shape)
        divergence = _two_point(before, logits) if target.regions else _kl(before.log_softmax(1), logits.log_softmax(1))
        return target.counted(divergence.sum(1, keepdim=True)).sum((1, 2)) / target.voxels.clamp(min=1)


def _kl(before: Tensor, after: Tensor) -> Tensor:
    """Terms p (log p - log q) of the KL divergence, from two log-probabilities."""
    return before.exp() * (before - after)


def _two_point(before: Tensor, after: Tensor) -> Tensor:
    """Sum of the "in" and "out" terms of the KL divergence, for each channel."""
    return _kl(logsigmoid(before), logsigmoid(after)) + _kl(logsigmoid(-before), logsigmoid(-after))
