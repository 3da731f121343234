"""Increasing-Margin Adversarial training: each case is perturbed as far as its own decision boundary.

    for each case i with margin E_i: ascend inside the ball of radius E_i; if an iterate breaks the criterion, bisect
    between the last good and the first bad one on to the boundary;
    loss = (1 - beta) L(clean) + beta L(perturbed);
    at epoch end E_i grows by one increment if case i was never broken, else moves to the boundary distance.

Ma & Liang, "Increasing-Margin Adversarial (IMA) training to improve adversarial robustness of neural networks",
CMPB 2023, arXiv 2005.09147. `docs/departures.md` lists every difference from the authors' code, of which these matter
most: the criterion is the mean over the classes that the label holds, not the best class; a case is "never broken" only
if no visit of the epoch broke it; and no margin falls below one increment.

Margins are training radii: the boundary is looked for on the segment between two points of one ascent, so that its
distance is an upper bound of the distance to the nearest boundary. `SampleMargin` searches for that one.

One ascent serves the margin and the perturbed sample; broken samples leave the batch, and only they are bisected.
`warm`, `fewest_steps` and `every` save more and are off unless asked for; `benchmarks/ima_cost.py` measures them.

`weighting` is off too: it gives cases with small margins more weight (`weighting`: Zhang et al., "Geometry-aware
instance-reweighted adversarial training", ICLR 2021, who count the steps to the boundary). Without it all perturbed
samples lie on the boundary and push it equally from both sides wherever it is, so that it need not settle half-way
between the classes; `benchmarks/two_moons.py` shows both.

So are `train_on="worst"` and `radius_jitter`: training on the worst points found rather than on the boundary, and at
radii drawn around the margin (`radius_jitter`: Kurakin et al., "Adversarial machine learning at scale", ICLR 2017).
`benchmarks/ima_ablation.py` shows what each of them does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from imaseg.attacks import PGD
from imaseg.attacks.evaluate import carried
from imaseg.attacks.search import CriterionFn, Search
from imaseg.frozen import Model, as_plain_tensor, frozen, unwrap_ddp
from imaseg.margins.bisection import bisect
from imaseg.margins.criteria import Criterion, DiceBelow, leading_to
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.training.ascent import ascend
from imaseg.training.base import Loss, LossOf, TrainingMethod, check_count, check_share, drawn_shares
from imaseg.training.ids import case_ids
from imaseg.training.margin_table import MarginTable
from imaseg.training.one_of import OneOf
from imaseg.training.starts import Starts

_MANY = 0.5
"""Share of margins at floor or ceiling from which on something is said."""


class IMA(TrainingMethod):
    """Trains each case at its own margin; see `TrainingMethod`. `ids` are required, unless the image's meta has them.

    Args:
        loss: the model's own training loss, `loss(logits, label)` -> (B,) or scalar.
        perturbation: what may change; its eps (one float) is the ceiling of the margins. In 3D use
            `L2(eps, unit="rms")`, so that a margin does not depend on the patch size. Of a list of sets each case gets
            a margin of its own in every set, and each batch draws a set: see `OneOf`, which is what you get then.
        increment: growth of an unbroken case per epoch, in the set's unit; eps / 10 if not given.
        criterion: `(logits, label, clean_logits) -> (B,) bool`; `DiceBelow(0.6)` if not given.
        beta: weight of the perturbed loss, 0 to 1.
        steps: ascent steps at most; a broken case stops early.
        bisections: forward passes spent on placing a broken case on the boundary.
        smoothing: weight of the newest boundary distance in the margin.
        weighting: a case's perturbed loss counts with its margin to the power of -weighting, 1 on average over all
            cases; 0 to 10, 0 as published. The loss is then taken of each sample by itself.
        train_on: "boundary" for the decision boundary of samples that break within their margin, as published; "worst"
            for the point of lowest Dice found. The ascent then goes on past the boundary; whether a case broke is
            judged at that point, and its distance is searched on the segment to the clean image.
        radius_jitter: each visit draws its radius uniformly from margin * (1 - radius_jitter) to
            margin * (1 + radius_jitter), never beyond the ceiling; 0 to 1, 0 as published. A visit that drew less than
            the margin lets nothing grow: with one visit per epoch margins grow half as fast.
        objective: what the ascent maximises; the loss that leads to the criterion if not given.
        warm: start each ascent where the case's last one ended, so that fewer steps suffice. The start is mirrored as
            the image is; cases whose image is another one at this visit (another crop) start anew.
        fewest_steps: ascent steps of a visit whose radius is one increment, growing linearly up to `steps` at the
            ceiling; None for `steps` throughout.
        every: search every so many batches. Those in between cost no search: with `warm` they train on what the last
            searches of their cases ended with, else on the clean loss alone.
        seed: seed of the random starts.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __new__(cls, loss: Loss | None = None, perturbation: Any = None, **settings: Any) -> Any:
        """Make one method per set where several are given."""
        if loss is None or not isinstance(perturbation, list | tuple):  # copies are made without arguments
            return super().__new__(cls)
        if settings.get("increment") is not None:
            msg = "increment must be left out with several sets, whose units differ: it is eps / 10 of each."
            raise ValueError(msg)
        return OneOf([cls(loss, one, **settings) for one in perturbation], seed=settings.get("seed", 0))

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        increment: float | None = None,
        criterion: CriterionFn | None = None,
        beta: float = 0.5,
        steps: int = 8,
        bisections: int = 4,
        smoothing: float = 0.5,
        weighting: float = 0.0,
        train_on: Literal["boundary", "worst"] = "boundary",
        radius_jitter: float = 0.0,
        objective: Objective | None = None,
        warm: bool = False,
        fewest_steps: int | None = None,
        every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(loss, warm=warm)
        if not isinstance(perturbation, Perturbation):
            msg = f"perturbation must be a set, such as L2(0.1, unit='rms'), or a list of sets, got {perturbation!r}."
            raise ValueError(msg)
        if isinstance(perturbation.eps, Tensor) and perturbation.eps.numel() != 1:
            msg = f"eps of IMA's perturbation must be one number (the ceiling of all margins), got {perturbation.eps}."
            raise ValueError(msg)
        ceiling = float(perturbation.eps)
        if not ceiling > 0:
            msg = f"eps of IMA's perturbation must be > 0 (the ceiling of all margins), got {ceiling:g}."
            raise ValueError(msg)
        if not 0 <= weighting <= 10:
            msg = f"weighting must be in [0, 10], got {weighting}. Use 0 for equal weights."
            raise ValueError(msg)
        if train_on not in ("boundary", "worst"):
            msg = f"train_on must be 'boundary' or 'worst', got {train_on!r}."
            raise ValueError(msg)
        self.weighting, self.train_on = weighting, train_on
        self.radius_jitter = check_share("radius_jitter", radius_jitter)
        self.beta = check_share("beta", beta)
        self.criterion = criterion if criterion is not None else _default_criterion(objective)
        self.bisections = check_count("bisections", bisections, "Use 4.", at_least=0)
        self.every = check_count("every", every, "Use 1 to perturb every batch.")
        leading = objective if objective is not None else leading_to(self.criterion)
        self.attack = PGD(perturbation, steps=steps, objective=leading)
        self.fewest_steps = steps if fewest_steps is None else check_count("fewest_steps", fewest_steps, "Use 2.")
        if self.fewest_steps > steps:
            msg = f"fewest_steps must be at most steps = {steps}, got {fewest_steps}. Use 2."
            raise ValueError(msg)
        self.table = MarginTable(increment if increment is not None else ceiling / 10, ceiling, smoothing=smoothing)
        self.last_epoch: dict[str, float] = {}
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
        """Perturb the batch; records in `margins` how far each case could be pushed.

        Raises:
            ValueError: if ids are missing or not one per sample.
        """
        names = case_ids(image, ids)
        self._calls += 1
        weights = self.table.weights(names, self.weighting) if self.weighting else None
        if (self._calls - 1) % self.every == 0:
            perturbed, moved = self._perturb(model, image, label, names, inside)
        elif self.starts is not None:
            perturbed, moved = self._perturb_again(self.starts, image, label, names, inside)
        else:
            return lambda network: self._mean_loss(network, image, label)

        def loss_of(network: Model) -> Tensor:
            loss = (1 - self.beta) * self._mean_loss(network, image, label)
            return loss + self.beta * self._perturbed_loss(network, perturbed, moved, weights)

        return loss_of

    def set_voxel_volume(self, volume: float) -> None:
        if isinstance(self.criterion, Criterion):
            self.criterion = self.criterion.in_voxels_of(volume)

    @property
    def searches(self) -> int:
        return self.attack.steps

    @property
    def passes(self) -> int:
        return self.attack.steps + 2

    @property
    def margins(self) -> dict[str, float]:
        """Current margin by case id, in the set's unit."""
        return dict(self.table.margins)

    def end_epoch(self) -> None:
        """Grow the margins of unbroken cases and move those of broken ones; `last_epoch` holds a summary."""
        super().end_epoch()
        self.last_epoch = self.table.end_epoch()

    @property
    def remarks(self) -> dict[str, str]:
        """Cases that fail unperturbed, and margins at their floor or ceiling, if there are many."""
        found, last, set_name = {}, self.last_epoch, self.attack.perturbation.name
        if last.get("failed_clean", 0) > 0:
            found["criterion"] = (
                f"{last['failed_clean']:.0%} of the cases are broken without any perturbation ({self.criterion!r}) and "
                "train on clean images only. Lower the criterion's threshold, or make it relative to the clean Dice."
            )
        if last.get("at_floor", 0) > _MANY:
            found["increment"] = (
                f"{last['at_floor']:.0%} of the margins of {set_name} are at their floor, {self.table.floor:g}: the "
                "boundary is nearer. Lower `increment`."
            )
        if last.get("at_ceiling", 0) > _MANY:
            found["eps"] = (
                f"{last['at_ceiling']:.0%} of the margins of {set_name} are at the ceiling, {self.table.ceiling:g}: "
                "these cases train at a fixed budget. Raise `eps` of the perturbation."
            )
        return found

    def state_dict(self) -> dict[str, Any]:
        """Margins, the counter that determines the random starts, and with `warm` the starts themselves."""
        return {**super().state_dict(), "table": self.table.state_dict(), "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.table.load_state_dict(state["table"])
        self._calls = int(state["calls"])

    def _perturb(
        self, model: Model, image: Tensor, label: Tensor, ids: list[str], inside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Perturb each sample up to its margin, or to its boundary if that is nearer; returns images and labels."""
        image, label = as_plain_tensor(image), as_plain_tensor(label)
        margins, seed = self.table.look_up(ids).to(image.device), self.seed + self._calls
        radii = self._radii(margins, seed)
        perturbation = self.attack.perturbation.with_eps(radii).within(inside)
        start = self._start(ids, image, perturbation, seed)
        with frozen(model):
            search = Search(
                model,
                image,
                label,
                perturbation,
                self.attack.objective,
                seed=seed,
                criterion=None if self.train_on == "worst" else self.criterion,
                start=start,
            )
            ascend(search, self.attack, self._steps(radii))
            params, boundary = self._placed(search)
        if self.starts is not None:
            self.starts.keep(ids, image, params)
        short = radii < margins
        if perturbation.share is not None:  # a crop in which nothing may change is no evidence
            short |= (perturbation.share == 0).to(short.device).expand(len(short))
        self.table.record(ids, perturbation.size(boundary).tolist(), search.success.tolist(), short.tolist())
        with torch.no_grad():
            return perturbation.apply(image, params), search.label_of(params)

    def _perturb_again(
        self, starts: Starts, image: Tensor, label: Tensor, ids: list[str], inside: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Perturb each sample as its last search did; returns images and labels."""
        image, label = as_plain_tensor(image), as_plain_tensor(label)
        perturbation = self.attack.perturbation.within(inside)
        params = starts.recall(ids, image, perturbation)
        with torch.no_grad():
            return perturbation.apply(image, params), carried(label, perturbation, params, image)

    def _start(self, ids: list[str], image: Tensor, perturbation: Perturbation, seed: int) -> Tensor | None:
        """Where the ascent begins; None for a random point of the set."""
        return None if self.starts is None else self.starts.begin(ids, image, perturbation, seed)

    def _radii(self, margins: Tensor, seed: int) -> Tensor:
        """Radius (B,) of this visit for each sample."""
        if not self.radius_jitter:
            return margins
        shares = drawn_shares(len(margins), seed).to(margins)
        return (margins * (1 + self.radius_jitter * (2 * shares - 1))).clamp(max=self.table.ceiling)

    def _placed(self, search: Search) -> tuple[Tensor, Tensor]:
        """The point that each sample trains on, and its boundary point if it was broken."""
        if self.train_on == "worst":
            return search.best, self._boundary_before(search)
        index = search.success.nonzero()[:, 0]
        params = search.last.clone()
        # A case whose clean image fails already has good == bad == "no change": it trains on itself.
        params[index] = bisect(search, search.last_good[index], search.best[index], index, self.bisections)
        return params, params

    def _boundary_before(self, search: Search) -> Tensor:
        """The boundary on the segment to the worst point; "no change" where the clean image already fails."""
        search.judge(self.criterion)
        index = search.success.nonzero()[:, 0]
        boundary, good = search.best.clone(), search.perturbation.zeros(search.image)[index]
        bad = good.where(expand(search.failed_clean[index], good).bool(), boundary[index])
        boundary[index] = bisect(search, good, bad, index, self.bisections)
        return boundary

    def _perturbed_loss(self, model: Model, image: Tensor, label: Tensor, weights: Tensor | None) -> Tensor:
        """Mean loss of the perturbed samples, weighted by margin if `weighting` is set."""
        if weights is None:
            return self._mean_loss(unwrap_ddp(model), image, label)
        output = unwrap_ddp(model)(image)
        # One sample at a time, since losses that average over the batch cannot be weighted any more.
        losses = [self.loss(_sample(output, i), label[i : i + 1]).mean() for i in range(len(image))]
        return (torch.stack(losses) * weights.to(image.device)).mean()

    def _steps(self, radii: Tensor) -> Tensor:
        """Number of ascent steps (B,) for these radii."""
        low, high = self.table.increment, self.table.ceiling
        share = ((radii - low) / (high - low)).clamp(0, 1) if high > low else torch.ones_like(radii)
        grown = self.fewest_steps + (self.attack.steps - self.fewest_steps) * share
        # Without this slack a rounding of the float32 radius could cost a step that has just been reached.
        return (grown + 1e-4).floor().long()


def _default_criterion(objective: Objective | None) -> DiceBelow:
    return DiceBelow(0.6, ignore_index=objective.ignore_index if objective is not None else None)


def _sample(output: Any, index: int) -> Any:
    """The output for one sample, as a batch of one; for each head if there are several."""
    if isinstance(output, Tensor):
        return output[index : index + 1]
    return type(output)(_sample(head, index) for head in output)
