"""Several training methods, or one method at several perturbation sets, that take turns: each batch draws one of them.

    IMA(loss, [L2(0.1, unit="rms"), BiasField(0.3), Gamma(0.5)])     is short for
    OneOf([IMA(loss, L2(0.1, unit="rms")), IMA(loss, BiasField(0.3)), IMA(loss, Gamma(0.5))])

Every method keeps its own state: three IMAs keep three margins for each case, one per set, so that nobody has to choose
a budget for any of the sets. Of one set a case is visited less often than once per epoch: margins grow more slowly, and
increments may be larger. A batch costs what one method costs. Maini, Wong &
Kolter, "Adversarial robustness against the union of multiple perturbation models", ICML 2020, compare training on the
worst and on the mean of all sets; Madaan, Shin & Hwang, "Learning to generate noise for multi-attack robustness", ICML
2021, draw one set per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imaseg.frozen import Model
from imaseg.training.base import LossOf, TrainingMethod


class OneOf(TrainingMethod):
    """Computes each batch's loss by one of several methods, drawn at random with equal chances.

    Args:
        methods: at least one; each with its own loss, set and settings.
        seed: of the draws; every rank of `torch.distributed` draws the same method.

    Raises:
        ValueError: if there is no method, or one that repeats batches (`FreeTraining`) is among several.
    """

    def __init__(self, methods: Sequence[TrainingMethod], *, seed: int = 0) -> None:
        if not methods:
            msg = "methods must hold at least one training method, got none."
            raise ValueError(msg)
        if len({method.replays for method in methods}) > 1:
            msg = "methods must all repeat their batches equally often, got free-training beside others. Leave it out."
            raise ValueError(msg)
        super().__init__(methods[0].loss)
        self.methods, self.seed, self._calls = list(methods), seed, 0

    def __call__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of the batch by the method that is drawn."""
        return self._drawn()(model, image, label, ids, inside=inside)

    def loss_of(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> LossOf:
        """Let the method that is drawn search."""
        return self._drawn().loss_of(model, image, label, ids, inside=inside)

    def _drawn(self) -> TrainingMethod:
        # Not the sum: the draws of one seed would be those of the next, a batch later.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self._calls) % 2**63)
        self._calls += 1
        return self.methods[int(torch.randint(len(self.methods), (), generator=generator))]

    @property
    def parts(self) -> dict[str, TrainingMethod]:
        """The methods by the name of their perturbation set, or their own where they have none; numbered if equal."""
        found: dict[str, TrainingMethod] = {}
        for method in self._single():
            name = getattr(getattr(method, "attack", method), "perturbation", method).name
            same = sum(known == name or known.startswith(f"{name}-") for known in found)
            found[f"{name}-{same + 1}" if same else name] = method
        return found

    def _single(self) -> list[TrainingMethod]:
        """The methods, those inside another `OneOf` one by one."""
        nested = [method._single() if isinstance(method, OneOf) else [method] for method in self.methods]
        return [method for methods in nested for method in methods]

    @property
    def margins(self) -> dict[str, dict[str, float]]:
        """Current margins by case id and set, of the methods that keep any."""
        found: dict[str, dict[str, float]] = {}
        for name, method in self.parts.items():
            for case, margin in getattr(method, "margins", {}).items():
                found.setdefault(case, {})[name] = margin
        return found

    @property
    def passes(self) -> int:
        return max(method.passes for method in self.methods)

    @property
    def searches(self) -> int:
        return max(self.methods, key=lambda method: method.passes).searches

    @property
    def replays(self) -> int:
        return self.methods[0].replays

    @property
    def remarks(self) -> dict[str, str]:
        return {f"{name}.{key}": text for name, one in self.parts.items() for key, text in one.remarks.items()}

    def set_voxel_volume(self, volume: float) -> None:
        for method in self.methods:
            method.set_voxel_volume(volume)

    def end_epoch(self) -> None:
        """End the epoch of every method."""
        for method in self.methods:
            method.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """State of every method, and the counter that determines the draws."""
        return {"methods": [method.state_dict() for method in self.methods], "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for method, kept in zip(self.methods, state["methods"], strict=True):
            method.load_state_dict(kept)
        self._calls = int(state["calls"])
