"""Base of all attacks: validate, freeze the model, search, project, score. Subclasses write `_run` only."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor

from imaseg.attacks.about import About
from imaseg.attacks.presets import PRESETS
from imaseg.attacks.result import AttackResult
from imaseg.attacks.search import CriterionFn, Search
from imaseg.errors import did_you_mean
from imaseg.frozen import Model, as_plain_tensor, frozen
from imaseg.objectives import Dice, Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.plugins import NameTakenError
from imaseg.registry import Registered

_MOST_AXES = 5


class Attack(Registered, ABC):
    """A search for the perturbation within a set that hurts the segmentation most.

    Args:
        perturbation: what may change, and its budget.
        steps: length of the search; what a step costs is stated by each attack.
        objective: what is maximised, `Dice()` if not given. Its `ignore_index` also rules the hard Dice.
        restarts: independent repetitions; the worst point over all of them counts.
        seed: seed of every random number used; the global generators are neither read nor moved.
        samples: passes over which every gradient and score of a random model is averaged (dropout kept on, noise,
            random flips; expectation over transformation, Athalye et al., ICML 2018). 1 for deterministic models.

    Attributes:
        title, reference, cited, uses_gradients, is_noise: as in `About`.

    Raises:
        ValueError: if steps, restarts or samples is below 1.
    """

    plugin_group = "imaseg.attacks"
    required = ("title",)

    title: ClassVar[str]
    reference: ClassVar[str] = ""
    cited: ClassVar[str] = ""
    uses_gradients: ClassVar[bool] = True
    is_noise: ClassVar[bool] = False
    smallest = False

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 20,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
    ) -> None:
        for argument, value in (("steps", steps), ("restarts", restarts), ("samples", samples)):
            if not isinstance(value, int) or value < 1:
                msg = f"{argument} must be a whole number >= 1, got {value}. Use eps=0 for the clean baseline."
                raise ValueError(msg)
        self.perturbation = perturbation
        self.steps = steps
        self.objective = objective if objective is not None else Dice()
        self.restarts = restarts
        self.seed = seed
        self.samples = samples

    @classmethod
    def build(cls, spec: str | Mapping[str, Any], *args: Any, **extra: Any) -> Self:
        """Build an attack from plain data; names of presets and `objective` as plain data are accepted too.

        Raises:
            ValueError: as `Registered.build`, or if a preset is not meant for the perturbation set.
        """
        if not isinstance(spec, str | Mapping) or (isinstance(spec, Mapping) and "name" not in spec):
            return super().build(spec, *args, **extra)  # which says what is wrong
        given: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = str(given.get("name"))
        if name in PRESETS:
            preset = PRESETS[name]
            given = {**preset.settings, **given, "name": preset.attack}
            sets = [arg.name for arg in (*args, *extra.values()) if isinstance(arg, Perturbation)]
            if preset.perturbation not in (None, *sets):
                msg = f"perturbation of {name} must be {preset.perturbation}, got {', '.join(sets)}."
                raise ValueError(msg)
        given = {**given, **extra}
        if isinstance(given.get("objective"), str | Mapping):
            given["objective"] = Objective.build(given["objective"])
        return super().build(given, *args)

    @classmethod
    def _enter(cls) -> None:
        """Register a class as `Registered._enter` does, unless a preset already has its name."""
        if cls.name in PRESETS:
            msg = f"name {cls.name!r} must be free, got {cls.__module__}.{cls.__name__} beside a preset. Rename it."
            raise NameTakenError(msg)
        super()._enter()

    @classmethod
    def about(cls, name: str) -> About:
        """Return the description of an attack or a preset; what a preset does not state is that of its attack.

        Raises:
            ValueError: if there is no such attack; the message lists those that exist.
        """
        preset = PRESETS.get(name)
        search = cls.named(name if preset is None else preset.attack)
        reference, cited = (
            (search.reference, search.cited) if preset is None or preset.published is None else (preset.published)
        )
        title = search.title if preset is None else preset.title
        return About(title, reference, cited, search.uses_gradients, search.is_noise)

    @classmethod
    def named(cls, name: str) -> type[Self]:
        """Return the class of that name, as `Registered.named` does; the error message lists presets too."""
        if cls.find(name) is None:
            names = sorted({*cls.registry, *PRESETS})
            msg = f"attack must be one of {', '.join(names)}, got {name!r}.{did_you_mean(name, names)}"
            raise ValueError(msg)
        return super().named(name)

    @final
    def __call__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        *,
        criterion: CriterionFn | None = None,
        start: Tensor | None = None,
    ) -> AttackResult:
        """Attack each sample of a batch on its own.

        Args:
            model: callable image -> logits; an nn.Module is searched in eval mode and left as it was.
            image: (B, C, *spatial) float, in the units the model takes.
            label: integer (B, *spatial) or (B, 1, *spatial); boolean (B, K, *spatial) for region-based models;
                (B,) for classifiers. Negative values and the objective's `ignore_index` are ignored.
            criterion: `(logits, label, clean_logits) -> (B,) bool`; the search of a sample ends where it is True.
            start: parameters like `AttackResult.params` from which the first restart begins.

        Returns:
            The worst point found for each sample; never better for the model than the clean image.

        Raises:
            ValueError: if image is not floating, or image, label, logits, eps or bounds do not fit together.
        """
        image, label = checked(image), as_plain_tensor(label)
        with frozen(model):
            return self._searched(self._search(model, image, label, criterion=criterion, start=start))

    @final
    def ladder(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        eps: Sequence[float | Tensor],
        *,
        criterion: CriterionFn | None = None,
    ) -> list[AttackResult]:
        """Attack at several budgets; each search starts from the result of the one before.

        A point of a small ball lies in every larger one, so Dice never rises along the ladder.

        Args:
            model: as in calling the attack, like the next two and `criterion`.
            image: (B, C, *spatial).
            label: label of the image.
            eps: budgets in rising order, in the unit of the attack's perturbation set.
            criterion: ends the search of a sample.

        Returns:
            One result per budget, with the calls that this budget took.

        Raises:
            ValueError: as calling the attack does, or if eps is not in rising order.
        """
        image, label = checked(image), as_plain_tensor(label)
        results: list[AttackResult] = []
        search: Search | None = None
        with frozen(model):
            for budget in eps:
                attack = self.on(self.perturbation.with_eps(budget))
                start = None if search is None else _stretched(search, attack.perturbation)
                search = attack._search(model, image, label, criterion=criterion, start=start, previous=search)
                results.append(attack._searched(search))
        return results

    @abstractmethod
    def _run(self, search: Search) -> None:
        """Evaluate points of the set through `search`, which keeps the worst point of each sample."""

    def objective_for(self, criterion: CriterionFn | None) -> Objective:
        """The objective of a search that ends at `criterion`; None stands for a search without a criterion."""
        return self.objective

    def default_criterion(self) -> CriterionFn | None:
        """The criterion of a search if the caller gives none."""
        return None

    def with_steps(self, steps: int) -> Self:
        """Return the same attack with another number of steps.

        Raises:
            ValueError: if steps is below 1.
        """
        if steps < 1:
            msg = f"steps must be a whole number >= 1, got {steps}."
            raise ValueError(msg)
        other = copy.copy(self)
        other.steps = steps
        return other

    def _search(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        *,
        criterion: CriterionFn | None,
        start: Tensor | None = None,
        previous: Search | None = None,
    ) -> Search:
        return Search(
            model,
            image,
            label,
            self.perturbation,
            self.objective_for(criterion),
            seed=self.seed,
            samples=self.samples,
            smallest=self.smallest,
            criterion=criterion if criterion is not None else self.default_criterion(),
            start=start,
            previous=previous,
        )

    def _searched(self, search: Search) -> AttackResult:
        self._run(search)
        return replace(search.result(), attack=repr(self))

    def on(self, perturbation: Perturbation, *, seed: int | None = None) -> Self:
        """Return the same attack for another perturbation set or budget, optionally with another seed."""
        other = copy.copy(self)
        other.perturbation = perturbation
        other.seed = self.seed if seed is None else seed
        return other


def checked(image: Tensor) -> Tensor:
    """Return a batch of images as a plain tensor of at least float32 precision.

    Raises:
        ValueError: if it is empty, not floating or not finite, or has more axes than an image.
    """
    if not len(image):
        msg = f"image must hold at least one sample, got {tuple(image.shape)}."
        raise ValueError(msg)
    if image.ndim > _MOST_AXES:
        msg = f"image must be (B, C, *spatial) with up to 3 spatial axes, got {tuple(image.shape)}."
        raise ValueError(msg)
    if not image.is_floating_point():
        msg = f"image must be floating, got {image.dtype}. Convert it with image.float()."
        raise ValueError(msg)
    if not bool(torch.isfinite(image).all()):
        msg = f"image must be finite, got {int((~torch.isfinite(image)).sum())} voxels that are not. Mend the image."
        raise ValueError(msg)
    return as_plain_tensor(image)


def _stretched(search: Search, perturbation: Perturbation) -> Tensor:
    """The worst point of a smaller ball, scaled up to the size of the larger one."""
    before, now = search.perturbation.radius(search.image), perturbation.radius(search.image)
    if bool((now < before).any()):
        msg = f"eps of a ladder must be in rising order, got {before.tolist()} before {now.tolist()}."
        raise ValueError(msg)
    factor = torch.where(before > 0, now / before.clamp(min=torch.finfo(now.dtype).tiny), 0.0)
    return perturbation.project(search.image, search.best * expand(factor, search.best))
