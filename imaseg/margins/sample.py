"""Sample margin: the smallest budget at which an attack breaks the whole case.

1. Attack at the full budget. Cases that survive are censored there.
2. Bisect between the bad point of each broken case and the clean image, with forward passes only.
3. Attack at smaller budgets, each time starting from the last bad point scaled down, until the bracket is narrower than
   `rtol`. Budgets are tried from above, since an attack that breaks a case ends early and one that fails takes all of
   its steps: first just below the bad point, then after each break twice as far, at most to the middle of the
   bracket.
4. The result may be a local minimum, so it is challenged just below the margin: by another kind of search, and by
   searches from the clean image and from random points (more of them in sets of few parameters, where minima are
   narrow). A set with a single parameter is scanned in steps of a twentieth of the margin. If a challenge breaks the
   case, the search continues from there.

The margin is an upper bound on the true distance: the size of a perturbation known to break the case.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from imaseg.attacks import APGD, PGD, Attack, ShrinkingSetPGD
from imaseg.attacks.search import CriterionFn, Search
from imaseg.frozen import Model, as_plain_tensor, frozen
from imaseg.margins.bisection import bisect
from imaseg.margins.criteria import DiceBelow, leading_to
from imaseg.objectives import Dice, MaskedCE, TemperedDice
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand

_LINE_STEPS = 5
_ROUNDS = 8
CONFIRM_STEPS, CONFIRM_RESTARTS, LONGER = 40, 2, 4
"""Steps and restarts of the APGD that confirms a margin, and how much longer than the attack a challenger is."""
_STARTS = 2
_STARTS_OF_FEW = 10
"""Number of random starts of a challenge, for sets with as many parameters as voxels and for sets with few."""
_NARROWER = 0.99
_SCAN_STEPS = 20
_FINEST = 1e-4


@dataclass(frozen=True)
class SampleMarginResult:
    """Margins of a batch and the images that prove them.

    Attributes:
        margin: (B,) in the set's unit; 0 where the clean image already fails; eps where censored.
        censored: (B,) bool, True where no attack within eps broke the sample.
        adversarial: (B, C, *spatial) image of size `margin` that breaks the sample (the clean image where margin
            is 0 or censored).
        params: the parameters of `adversarial`.
        forward_calls: forward passes of the model; each covers the samples still searched.
        backward_calls: backward passes, likewise.
    """

    margin: Tensor
    censored: Tensor
    adversarial: Tensor = field(repr=False)
    params: Tensor = field(repr=False)
    forward_calls: int
    backward_calls: int


class SampleMargin:
    """Smallest budget within `perturbation` at which `criterion` is met.

    Args:
        perturbation: set to search; its eps is the largest budget looked at.
        criterion: `(logits, label, clean_logits) -> (B,) bool`; `DiceBelow(0.5)` if not given.
        attack: search used at each budget; if not given, `PGD` with 20 steps on the loss that leads to the criterion.
            Only its own perturbation is replaced.
        challenger: search of another kind that must fail just below each margin too; if neither this nor `attack` is
            given, `ShrinkingSetPGD`, four times as long.
        rtol: the bracket around each margin ends narrower than rtol times the margin.

    Raises:
        ValueError: if rtol is not in [0.0001, 1).
    """

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        criterion: CriterionFn | None = None,
        attack: Attack | None = None,
        challenger: Attack | None = None,
        rtol: float = 0.05,
    ) -> None:
        if not _FINEST <= rtol < 1:
            msg = f"rtol must be in [{_FINEST:g}, 1), got {rtol}. Use 0.05."
            raise ValueError(msg)
        self.perturbation = perturbation
        ignored = attack.objective.ignore_index if attack is not None else None
        self.criterion = criterion if criterion is not None else DiceBelow(0.5, ignore_index=ignored)
        self.attack = attack if attack is not None else PGD(perturbation, objective=leading_to(self.criterion))
        alone = attack is None and challenger is None
        self.challenger = default_challenger(self.attack) if alone else challenger
        self.rtol = rtol

    def __call__(self, model: Model, image: Tensor, label: Tensor) -> SampleMarginResult:
        """Measure the margin of each sample of a batch.

        Args:
            model: callable image -> logits.
            image: (B, C, *spatial) float.
            label: as in `imaseg.attacks.Attack`.

        Returns:
            Margins, their censoring and the breaking images.
        """
        image, label = as_plain_tensor(image), as_plain_tensor(label)
        with frozen(model):
            bracket = _Bracket(model, image, label, self)
            bracket.open()
            for _ in range(_ROUNDS):
                while bracket.narrow():
                    pass
                if not bracket.challenge():
                    break
            return bracket.result()

    def confirm(self, model: Model, image: Tensor, label: Tensor, result: SampleMarginResult) -> Tensor:
        """Check each margin by searches that had no part in it: none may break the sample two tolerances below it.

        At (1 - rtol)^2 times the margin, that is: a margin is known up to rtol, and chance starts move it by as much.
        APGD on the cross-entropy of voxels still right (larger sets first), and `ShrinkingSetPGD` from other random
        starts than the challenger's.

        Args:
            model: as in the call that gave `result`, like the next two.
            image: (B, C, *spatial).
            label: label of the image.
            result: what the call returned.

        Returns:
            (B,) bool; True where the clean image fails already, as no smaller margin exists.
        """
        below = self.perturbation.with_eps(result.margin * (1 - self.rtol) ** 2)
        stands = torch.ones_like(result.censored)
        for search in self._others(below):
            stands &= ~search(model, image, label, criterion=self.criterion).success
        return stands | (result.margin == 0)

    def _others(self, below: Perturbation) -> tuple[Attack, Attack]:
        """Searches of other kinds than the one inside, on other losses."""
        mine = self.attack
        how = {"steps": CONFIRM_STEPS, "restarts": CONFIRM_RESTARTS, "samples": mine.samples}
        right = MaskedCE(ignore_index=mine.objective.ignore_index)
        again = default_challenger(mine).on(below, seed=mine.seed + 2)
        return APGD(below, objective=right, seed=mine.seed + 1, larger_first=True, **how), again


def default_challenger(attack: Attack) -> ShrinkingSetPGD:
    """`ShrinkingSetPGD` with seed, samples and objective of another attack, four times as long; soft Dice sharpens."""
    objective = attack.objective
    if type(objective) is Dice:
        objective = TemperedDice(
            smooth=objective.smooth, classes=objective.classes, ignore_index=objective.ignore_index
        )
    return ShrinkingSetPGD(
        attack.perturbation, steps=LONGER * attack.steps, objective=objective, seed=attack.seed, samples=attack.samples
    )


class _Bracket:
    """Per sample, the largest budget that failed to break it and the smallest perturbation that did."""

    def __init__(self, model: Model, image: Tensor, label: Tensor, margin: SampleMargin) -> None:
        self.model, self.image, self.label, self.margin = model, image, label, margin
        self.search = Search(
            model,
            image,
            label,
            margin.perturbation,
            margin.attack.objective,
            criterion=margin.criterion,
            samples=margin.attack.samples,
        )
        self.ceiling = margin.perturbation.radius(image)
        self.low = torch.zeros_like(self.ceiling)
        self.high = self.ceiling.clone()
        self.bad = margin.perturbation.zeros(image)
        self.high[self.search.failed_clean] = 0.0
        self.stride = torch.full_like(self.ceiling, self._first_stride)
        self.censored, self.settled = torch.zeros(2, len(image), dtype=torch.bool, device=image.device)
        self.forward_calls = self.backward_calls = 0
        self._one_parameter = self.bad[0].numel() == 1

    @property
    def _first_stride(self) -> float:
        return _NARROWER * self.margin.rtol

    def open(self) -> None:
        """Attack at the full budget; samples that survive are censored."""
        index = torch.arange(len(self.image), device=self.image.device)[~self.search.failed_clean]
        if len(index):
            self.censored[index] = ~self._attack(index, self.ceiling[index], start=None)
        # A random start at the full budget may lead the search to voxels that cannot flip.
        index = self.censored.nonzero()[:, 0]
        if len(index):
            start = torch.zeros_like(self.bad[index])
            self.censored[index] = ~self._attack(index, self.ceiling[index], start=start)
        index = self.censored.nonzero()[:, 0]
        if len(index) and self._one_parameter:
            self.censored[index] = ~self._scan_parameter(index)

    def narrow(self) -> bool:
        """Attack below the bad point of samples whose bracket is still too wide; False when none is left."""
        wide = (self.high - self.low > self.margin.rtol * self.high) & ~self.censored & ~self.search.failed_clean
        index = wide.nonzero()[:, 0]
        if not len(index):
            return False
        middle = (self.low[index] + self.high[index]) / 2
        budget = torch.maximum(middle, self.high[index] * (1 - self.stride[index]))
        # The last bad point, scaled down, is a better start than a random one.
        start = self.bad[index] * expand(budget / self.high[index], self.bad)
        broken = self._attack(index, budget, start=start)
        self.low[index[~broken]] = budget[~broken]
        self.stride[index] = torch.where(broken, self.stride[index] * 2, self._first_stride)
        return True

    def challenge(self) -> bool:
        """Search afresh just below each margin not challenged yet; False when all of them stand."""
        index = (~self.settled & ~self.censored & ~self.search.failed_clean).nonzero()[:, 0]
        if not len(index):
            return False
        budget, start = self.high[index] * (1 - self.margin.rtol), torch.zeros_like(self.bad[index])
        starts = _STARTS if self.bad.shape == self.image.shape else _STARTS_OF_FEW
        broken = torch.zeros_like(self.settled[index])
        if self.margin.challenger is not None:
            broken = self._attack(index, budget, start=None, attack=self.margin.challenger)
        left = ~broken
        if bool(left.any()):
            broken[left] = self._attack(index[left], budget[left], start=start[left], restarts=1 + starts)
        if self._one_parameter:
            broken |= self._scan_parameter(index)
        self.settled[index[~broken]] = True
        # The attack failed at a budget that does break the case: its failures at smaller ones prove nothing either.
        self.low[index[broken]] = 0.0
        return bool(broken.any())

    def _attack(
        self, index: Tensor, budget: Tensor, *, start: Tensor | None, restarts: int = 1, attack: Attack | None = None
    ) -> Tensor:
        attack = attack if attack is not None else self.margin.attack
        attack = attack.on(self.margin.perturbation.take(index).with_eps(budget))
        attack.restarts = max(attack.restarts, restarts)
        result = attack(self.model, self.image[index], self.label[index], criterion=self.margin.criterion, start=start)
        self.forward_calls += result.forward_calls
        self.backward_calls += result.backward_calls
        hit = index[result.success]
        self._bad_at(hit, torch.zeros_like(self.bad[hit]), result.params[result.success])
        return result.success

    def _scan_parameter(self, index: Tensor) -> Tensor:
        """Find the smallest value of the only parameter that breaks each sample, from 0 to its margin, both signs."""
        broken = torch.zeros(len(index), dtype=torch.bool, device=index.device)
        reach = self.high[index] * (1 - self.margin.rtol) / _SCAN_STEPS
        for count, sign in product(range(1, _SCAN_STEPS + 1), (1, -1)):
            left = (~broken).nonzero()[:, 0]
            if not len(left):
                break
            step = expand(sign * reach[left], self.bad)
            hit = self.search.broken(step * count, index[left])
            broken[left[hit]] = True
            self._bad_at(index[left[hit]], step[hit] * (count - 1), step[hit] * count)
        return broken

    def _bad_at(self, hit: Tensor, good: Tensor, bad: Tensor) -> None:
        """Record points that break samples, after moving them back towards points that do not."""
        params = bisect(self.search, good, bad, hit, _LINE_STEPS)
        self.bad[hit] = params
        self.high[hit] = self.margin.perturbation.take(hit).size(params)
        # After bisection along its own segment a point may be smaller than a budget at which an attack failed.
        self.low = torch.minimum(self.low, self.high)

    def result(self) -> SampleMarginResult:
        return SampleMarginResult(
            margin=self.high,
            censored=self.censored,
            adversarial=self.margin.perturbation.apply(self.image, self.bad),
            params=self.bad,
            forward_calls=self.forward_calls + self.search.forward_calls,
            backward_calls=self.backward_calls,
        )
