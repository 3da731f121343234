"""Search state shared by all attacks: evaluates points, keeps the worst iterate of each sample.

An attack calls `gradient` and `ascend`. The worst iterate, the budget, the bookkeeping per sample and the counters of
passes are kept here, so that a new attack cannot get them wrong.

What decides about samples stays on the device of the image and is fetched once per point (`_settle`): every look at a
value makes the host wait for an accelerator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from imaseg.attacks.evaluate import Evaluator, Point
from imaseg.attacks.result import AttackResult, measure
from imaseg.frozen import Model
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.scores import Judged, Target, decide

CriterionFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(logits, label, clean_logits) -> (B,) bool`: whether the prediction of each sample counts as broken."""


FRESH_DRAWS = 16
"""Passes over which the result of a random model is a mean."""


class Search:
    """State of one attack on one batch.

    Worse means: a lower mean of the hard Dice over the foreground classes that the label holds, which is what is
    reported of an attack; where it holds none, more voxels found; among equals, a higher objective. For targeted
    objectives it means a higher objective. A sample is finished, and leaves the batch, once `criterion` holds for it
    or, without `criterion`, once its Dice is 0 (targeted objectives never finish). With `smallest`, samples stay, and
    among points at which `criterion` holds the smallest counts.

    Args:
        model: image (B, C, *spatial) -> logits, frozen by the caller (`imaseg.frozen`).
        image: (B, C, *spatial), float32 or float64.
        label: as in `imaseg.scores.encode`.
        perturbation: the set to search.
        objective: what is maximised; attacks of several objectives assign another one as they go.
        seed: seed of all random starts.
        criterion: `(logits, label, clean_logits) -> (B,) bool`; a sample is finished where it is True.
        start: parameters from which the first restart begins, instead of random ones.
        samples: passes per point over which a random model is averaged.
        smallest: look for the smallest point at which `criterion` holds.
        previous: the search of a smaller budget of the same set on the same batch; its worst points count here too.
    """

    best: Tensor
    values: Tensor
    _left: list[int]
    _confined: list[bool] | None = None
    _active: Tensor
    _active_places: list[int]
    _best_values: Tensor
    _best_judged: Judged
    _clean: Judged
    _known: tuple[Tensor, Point] | None = None

    def __init__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        perturbation: Perturbation,
        objective: Objective,
        *,
        seed: int = 0,
        criterion: CriterionFn | None = None,
        start: Tensor | None = None,
        samples: int = 1,
        smallest: bool = False,
        previous: Search | None = None,
    ) -> None:
        perturbation.check(image)
        self.image, self.perturbation, self.criterion = image, perturbation, criterion
        self.objective = self._first_objective = objective
        self.seed, self.start, self._smallest = seed, start, smallest
        self.generator = torch.Generator().manual_seed(seed)
        self._all_samples = torch.arange(len(image), device=image.device)
        self._free = _free(perturbation, image)
        self._zero, self._nonfinite, self._gradients = (torch.zeros(len(image), device=image.device) for _ in range(3))
        if previous is None:
            self._evaluator = Evaluator(
                model,
                image,
                label,
                perturbation,
                ignore_index=objective.ignore_index,
                samples=samples,
                seed=seed,
            )
            self._start_clean()
        else:
            self._evaluator = previous._evaluator.on(perturbation)
            self._start_from(previous)

    @property
    def forward_calls(self) -> int:
        """Number of forward passes so far; each covers the samples still searched."""
        return self._evaluator.forward_calls

    @property
    def backward_calls(self) -> int:
        """Number of backward passes so far; each covers the samples still searched."""
        return self._evaluator.backward_calls

    @property
    def target(self) -> Target:
        """The encoded label before any movement."""
        return self._evaluator.target

    @property
    def active(self) -> Tensor:
        """Indices of the samples still searched."""
        return self._active

    @property
    def done(self) -> bool:
        """Whether the search of every sample is finished."""
        return not self._active_places

    def confine(self, samples: Sequence[bool]) -> None:
        """Restrict the search to those of the samples that are not finished."""
        self._confined = list(samples)
        self._activate()

    def begin(self, restart: int, *, random: bool = True) -> Tensor:
        """Parameters that a restart begins from: the given start, a random point of the set, or no change."""
        if restart == 0 and self.start is not None:
            return self.perturbation.project(self.image, self.start)
        if random or restart > 0:
            return self.perturbation.init(self.image, self.generator)
        return self.perturbation.zeros(self.image)

    def ascend(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        """Take a steepest-ascent step of `length` (B,) and project the result back into the set."""
        return self.perturbation.project(self.image, self.perturbation.step(params, gradient, length))

    def score(self, params: Tensor, progress: float = 1.0) -> Tensor:
        """Evaluate a point (forward pass only) and remember it where it is the worst so far.

        Returns:
            (B,) objective there; for finished samples the last value they had.
        """
        index = self.active
        if len(index):
            self._record(index, params, self._evaluator.at(self._some(params, index), index, self.objective, progress))
        return self.values

    def gradient(self, params: Tensor, progress: float = 1.0, *, inside: bool = True) -> Tensor:
        """Evaluate a point, remember it, and return the gradient of the objective; zero for finished samples.

        Args:
            params: where.
            progress: how far the search has come, 0 to 1.
            inside: whether params lie in the set. Points of a larger set guide a search but never count.

        Returns:
            Tensor like `params`; infinite and undefined values are replaced by 0 and counted.
        """
        index = self.active
        if not len(index):
            return torch.zeros_like(params)

        def keep(point: Point) -> bool:
            self._record(index, params, point, inside=inside)
            return not self.done

        active = self._some(params, index)
        gradient = self._evaluator.with_gradient(active, index, self.objective, progress, keep).gradient
        if gradient is None:
            return torch.zeros_like(params)
        gradient = self._counted(gradient, index)
        return gradient if len(index) == len(params) else torch.zeros_like(params).index_put_((index,), gradient)

    def switch(self, objective: Objective) -> None:
        """Continue with another objective; among points of equal Dice the one found first is kept."""
        if objective is not self.objective:
            self.objective = objective
            self._best_values = self._evaluator.rated(self._best_logits, self.best, objective)

    def judge(self, criterion: CriterionFn) -> None:
        """Apply a criterion that did not end the search to the worst points: sets `success` and `failed_clean`."""
        self.criterion, no_change = criterion, self.perturbation.zeros(self.image)
        everything, rough = self._all_samples, self._evaluator.rough
        logits = self._evaluator.at(self.best, everything, self.objective).logits if rough else self._best_logits
        self.success = self._judge(logits, everything, self.best)
        self.failed_clean = self._judge(self._evaluator.clean_logits, self._all_samples, no_change)

    def result(self) -> AttackResult:
        """Return the worst point of each sample.

        Of a random model the search kept it for a draw that happened to be bad, so that both it and the clean image
        are scored again, as means over at least `FRESH_DRAWS` new draws. Where the search was led in half precision, it
        is scored again in full.
        """
        evaluator, index = self._evaluator, self._all_samples
        draws = max(evaluator.samples, FRESH_DRAWS) if evaluator.is_random else evaluator.samples
        params = self.perturbation.project(self.image, self.best)
        point = (
            self._best_point()
            if torch.equal(params, self.best) and draws == 1 and not evaluator.rough
            else evaluator.at(params, index, self._first_objective, draws=draws)
        )
        if self._known is not None:
            params, point = self._known = self._worse_of(self._known, (params, point))
        value, clean = self.objective_clean, self._clean
        if evaluator.is_random:
            fresh = evaluator.clean_again(self._first_objective, draws)
            value, clean = fresh.values, fresh.judged
        with torch.no_grad():
            image = self.perturbation.apply(self.image, params)
        gradients = self._gradients.clamp(min=1)
        return AttackResult(
            image=image,
            label=self.label_of(params),
            params=params,
            eps=self.perturbation.radius(self.image),
            size=self.perturbation.size(params),
            objective=point.values,
            objective_clean=value,
            dice=point.judged.dice,
            dice_clean=clean.dice,
            foreground_dice=point.judged.foreground,
            foreground_dice_clean=clean.foreground,
            false_positives=point.judged.phantoms,
            false_positives_clean=clean.phantoms,
            prediction=prediction_of(point.logits, self.target),
            success=self.success if self.criterion is None else self._judge(point.logits, index, params),
            sizes=measure(image - self.image, self.image, self.perturbation.share),
            seed=self.seed,
            draws=draws,
            forward_calls=evaluator.forward_calls,
            backward_calls=evaluator.backward_calls,
            zero_gradients=self._zero / gradients,
            nonfinite_gradients=self._nonfinite / gradients,
        )

    def _note(self, index: Tensor, params: Tensor, point: Point) -> None:
        """Enter a point of the samples `index` that was scored in full precision."""
        if self._known is None:
            return
        all_params, known = self._known
        if len(index) < len(self.image):

            def filled(into: Tensor, values: Tensor) -> Tensor:
                return into.index_put((index,), values.to(into.dtype))

            judged = known.judged.replaced(index, point.judged, torch.ones_like(self.success[index]))
            params = filled(all_params, params)
            point = Point(filled(known.logits, point.logits), filled(known.values, point.values), judged)
        self._known = self._worse_of(self._known, (params, point))

    def _worse_of(self, before: tuple[Tensor, Point], now: tuple[Tensor, Point]) -> tuple[Tensor, Point]:
        """Of two points that were both scored in full precision the one that counts, for each sample.

        What half precision takes for the worst may be better for the model than the clean image, or than what was
        found at a smaller budget.
        """
        (old_params, old), (params, new) = before, now
        old_rank, rank, higher = old.judged.rank, new.judged.rank, new.values >= old.values
        worse = higher if self._first_objective.targeted else (rank < old_rank) | ((rank == old_rank) & higher)
        worse |= self._judge(new.logits, self._all_samples, params)

        def chosen(one: Tensor, other: Tensor) -> Tensor:
            return one.where(expand(worse, one).bool(), other)

        judged = old.judged.replaced(self._all_samples, new.judged, worse)
        point = Point(chosen(new.logits, old.logits), chosen(new.values, old.values), judged)
        return chosen(params, old_params), point

    def _best_point(self) -> Point:
        """Scores of the worst points as stored when they were found; makes no pass."""
        values = self._evaluator.rated(self._best_logits, self.best, self._first_objective)
        return Point(self._best_logits, values, self._best_judged)

    def label_of(self, params: Tensor) -> Tensor:
        """The label at params (B, ...), moved if the set moves it."""
        return self._evaluator.label_of(self._all_samples, params)

    def broken(self, params: Tensor, index: Tensor) -> Tensor:
        """Whether `criterion` holds at params (len(index), ...) of the samples `index`; one forward pass."""
        return self._judge(self._evaluator.at(params, index, self.objective).logits, index, params)

    def _start_clean(self) -> None:
        """Enter the clean image as the first candidate."""
        clean = self._evaluator.clean(self.objective)
        self.objective_clean, self._clean = clean.values, clean.judged
        self.best = self.perturbation.zeros(self.image)
        self.last_good, self.last = self.best.clone(), self.best.clone()
        self.values = clean.values.clone()
        self.last_success = torch.zeros_like(self.values, dtype=torch.bool)
        self._best_logits, self._best_values = clean.logits.clone(), clean.values.clone()
        self._best_judged = clean.judged
        if self._evaluator.rough and not self._evaluator.is_random:
            self._known = self.best, clean
        self.success = self._judge(clean.logits, self._all_samples, self.best)
        self.failed_clean = self.success.clone()
        self.smallest_size = torch.full_like(clean.values, torch.inf).where(~self.success, 0.0)
        self._settle()

    def _start_from(self, previous: Search) -> None:
        """Enter the result of a search at a smaller budget as the first candidate."""
        for name, value in vars(previous).items():
            if isinstance(value, Tensor) and name not in ("image", "start", "_zero", "_nonfinite", "_gradients"):
                setattr(self, name, value.clone())
        self._clean, self._best_judged, self._known = previous._clean, previous._best_judged, previous._known
        self._settle()

    def _settle(self, *flags: Tensor) -> list[list[bool]]:
        """Find out which samples are not finished; gives further flags (B,) bool, fetched along with that."""
        if self._smallest:
            left = ~self.failed_clean
        elif self.criterion is not None:
            left = ~self.success
        elif self.objective.targeted:
            left = torch.ones_like(self.success)
        else:
            left = self._best_judged.rank > 0
        unfinished, *fetched = torch.stack([left, *flags]).tolist()
        self._left = [place for place, holds in enumerate(unfinished) if holds]
        self._activate()
        return fetched

    def _activate(self) -> None:
        confined = self._confined
        places = [place for place in self._left if confined is None or confined[place]]
        if not hasattr(self, "_active_places") or places != self._active_places:
            self._active, self._active_places = self._indices(places), places

    def _indices(self, places: list[int]) -> Tensor:
        """Places in the batch as a tensor; the one that is there already if it is all of them."""
        if len(places) == len(self._all_samples):
            return self._all_samples
        return torch.tensor(places, dtype=torch.long, device=self._all_samples.device)

    def _judge(self, logits: Tensor, index: Tensor, params: Tensor) -> Tensor:
        if self.criterion is None:
            return torch.zeros(len(index), dtype=torch.bool, device=logits.device)
        of, evaluator = getattr(self.criterion, "of", None), self._evaluator
        if of is not None and evaluator.encodes_for(self.criterion):
            target = evaluator.target_of(index, params.detach(), soft=False)
            return cast("Tensor", of(logits, target, evaluator.clean_of(index, params)))
        return self.criterion(logits, self._evaluator.label_of(index, params), self._evaluator.clean_of(index, params))

    def _some(self, values: Tensor, index: Tensor) -> Tensor:
        """`values[index]`, without a copy where that is all of them."""
        return values if len(index) == len(self.image) else values[index]

    def _put(self, name: str, index: Tensor, values: Tensor) -> None:
        """Set attribute[index] = values, never in place: attacks, results and models hold the same tensors."""
        if not len(index):
            return
        stored = getattr(self, name)
        values = values.detach().to(stored.dtype)
        setattr(self, name, values if len(index) == len(stored) else stored.index_put((index,), values))

    def _record(self, index: Tensor, params: Tensor, point: Point, *, inside: bool = True) -> None:
        self._put("values", index, point.values)
        if not inside:
            return
        current, places = self._some(params, index), self._active_places
        success = self._judge(point.logits, index, current)
        if point.rough:
            telling = success | (point.judged.rank <= 0) | ~point.values.isfinite()
            if bool(telling.any()):  # what ends a search, or is no number, is looked at in full precision
                point = self._evaluator.at(current, index, self.objective)
                success = self._judge(point.logits, index, current)
        if self._known is not None and not point.rough:
            self._note(index, current, point)
        better = self._better(index, current, point, success)
        self._put("_best_values", index, point.values.where(better, self._some(self._best_values, index)))
        self._best_judged = self._best_judged.replaced(index, point.judged, better)
        if self.criterion is not None:
            self._put("last_success", index, success)
            self._put("last", index, current)
            self._put("success", index, success | self._some(self.success, index) if self._smallest else success)
        worse, broke = self._settle(self._spread(better, index), self._spread(success, index))
        self._keep(current, point.logits, [number for number, place in enumerate(places) if worse[place]], places)
        if self.criterion is not None:
            good = [number for number, place in enumerate(places) if not broke[place]]
            self._keep_good(current.detach(), good, places)

    def _keep(self, params: Tensor, logits: Tensor, rows: list[int], places: list[int]) -> None:
        """Make these rows of what was evaluated at `places` the worst points."""
        if not rows:
            return
        chosen = self._indices([places[row] for row in rows])
        if len(rows) < len(places):
            which = torch.tensor(rows, device=params.device)
            params, logits = params[which], logits[which]
        self._put("best", chosen, params)
        # In place: a tensor kept amid those of a pass fragments the memory that is freed and slows the next pass.
        if len(rows) == len(self._best_logits):
            self._best_logits.copy_(logits)
        else:
            self._best_logits[chosen] = logits.to(self._best_logits.dtype)

    def _keep_good(self, params: Tensor, rows: list[int], places: list[int]) -> None:
        """Make these rows of what was evaluated at `places` the last points that did not break."""
        if rows:
            chosen = self._indices([places[row] for row in rows])
            if len(rows) < len(places):
                params = params[torch.tensor(rows, device=params.device)]
            self.last_good[chosen] = params.to(self.last_good.dtype)

    def _spread(self, flags: Tensor, index: Tensor) -> Tensor:
        """Flags of the samples `index` as flags (B,) of all, False elsewhere."""
        return flags if len(flags) == len(self.image) else torch.zeros_like(self.success).index_put((index,), flags)

    def _better(self, index: Tensor, params: Tensor, point: Point, success: Tensor) -> Tensor:
        """Which samples have not seen a point this bad."""
        best_values, best = self._some(self._best_values, index), self._some(self._best_judged.rank, index)
        higher = point.values > best_values
        worse = higher
        if not self.objective.targeted:
            rank = point.judged.rank
            worse = (rank < best) | ((rank == best) & higher)
        if not self._smallest:
            return worse | success
        size, before = self.perturbation.take(index).size(params), self._some(self.smallest_size, index)
        smaller = success & (size < before)
        self._put("smallest_size", index, size.where(smaller, before))
        return smaller | (worse & ~self._some(self.success, index) & ~success)

    def _counted(self, gradient: Tensor, index: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        # On a CPU a look at the sum is cheaper than a search for what is not finite, elsewhere it makes the host wait.
        if gradient.device.type != "cpu" or not math.isfinite(float(flat.sum())):
            finite = torch.isfinite(gradient)
            self._count("_nonfinite", index, (~finite).flatten(1).float().mean(1))
            self._count("_zero", index, -(~finite).flatten(1).float().mean(1))
            gradient = gradient.where(finite, 0.0)
            flat = gradient.flatten(1)
        # A mean of signs, since counting booleans takes several times as long on a CPU.
        present = flat.sign().abs_()
        if self._free is not None:
            mask, share = (self._some(values, index) for values in self._free)
            present = present.mul_(mask) / share
        self._count("_zero", index, (1 - present.mean(1)).clamp(min=0))
        self._count("_gradients", index, torch.ones_like(self._gradients[: len(index)]))
        return gradient

    def _count(self, name: str, index: Tensor, values: Tensor) -> None:
        stored = getattr(self, name)
        values = values.to(stored.dtype)
        setattr(self, name, stored + values if len(index) == len(stored) else stored.index_add(0, index, values))


def _free(perturbation: Perturbation, image: Tensor) -> tuple[Tensor, Tensor] | None:
    """Which values (B, values) of an image may change, and their share (B, 1); None where all may, or none."""
    if perturbation.region is None or not perturbation.on_voxels:
        return None
    mask = perturbation.region.to(image).expand_as(image).flatten(1)
    share = mask.mean(1, keepdim=True)
    return mask, share.where(share > 0, 1.0)


def prediction_of(logits: Tensor, target: Target) -> Tensor:
    """Decided label (B, *spatial), or (B, K, *spatial) bool for region-based models."""
    if target.regions:
        return decide(logits, regions=True).reshape(logits.shape)
    return logits.max(1).indices
