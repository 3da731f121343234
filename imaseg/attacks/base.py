"""Base of all attacks: validate, hold the model still, search, project, score again. Subclasses write `_run` only."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Self, final

from torch import Tensor

from imaseg.attacks.result import AttackResult
from imaseg.attacks.search import Search, Until
from imaseg.frozen import Model, frozen, plain
from imaseg.objectives import Dice, Objective
from imaseg.perturbations import Perturbation
from imaseg.registry import Registered


class Attack(Registered, ABC):
    """A search for the change within `perturbation` that hurts the segmentation most.

    Args:
        perturbation: what may change, and its budget.
        steps: length of the search; what a step costs is stated by each attack.
        objective: what is maximised, `Dice()` if not given. Its `ignore_index` also rules the hard Dice.
        restarts: independent repetitions; the worst point over all of them counts.
        seed: of every random number used; the global generators are neither read nor moved.

    Raises:
        ValueError: if steps or restarts is below 1.
    """

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 20,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
    ) -> None:
        for argument, value in (("steps", steps), ("restarts", restarts)):
            if not isinstance(value, int) or value < 1:
                msg = f"{argument} must be a whole number >= 1, got {value}. Use eps=0 for the clean baseline."
                raise ValueError(msg)
        self.perturbation = perturbation
        self.steps = steps
        self.objective = objective if objective is not None else Dice()
        self.restarts = restarts
        self.seed = seed

    @final
    def __call__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        *,
        until: Until | None = None,
        start: Tensor | None = None,
    ) -> AttackResult:
        """Attack each sample of a batch on its own.

        Args:
            model: callable image -> logits; an nn.Module is searched in eval mode and left as it was.
            image: (B, C, *spatial) float, in the units the model takes.
            label: integer (B, *spatial) or (B, 1, *spatial); boolean (B, K, *spatial) for region-based models;
                (B,) for classifiers. Negative values and the objective's `ignore_index` are ignored.
            until: criterion `(logits, label, clean_logits) -> (B,) bool` that ends the search of a sample.
            start: parameters like `AttackResult.params` from which the first restart begins.

        Returns:
            The worst point found for each sample; never better for the model than the clean image.

        Raises:
            ValueError: if image is not floating, or image, label, logits, eps or bounds do not fit together.
        """
        if not image.is_floating_point():
            msg = f"image must be floating, got {image.dtype}. Convert it with image.float()."
            raise ValueError(msg)
        image, label = plain(image), plain(label)
        with frozen(model):
            search = Search(
                model,
                image,
                label,
                self.perturbation,
                self.objective,
                seed=self.seed,
                until=until,
                start=start,
            )
            self._run(search)
            return search.result()

    @abstractmethod
    def _run(self, search: Search) -> None:
        """Walk through the set; `search` remembers the worst point."""

    def on(self, perturbation: Perturbation, *, seed: int | None = None) -> Self:
        """The same attack on another set (or the same with another eps), optionally with another seed."""
        other = copy.copy(self)
        other.perturbation = perturbation
        other.seed = self.seed if seed is None else seed
        return other

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.perturbation!r}, steps={self.steps}, objective={self.objective!r}, "
            f"restarts={self.restarts}, seed={self.seed})"
        )
