"""All model passes of an attack: takes parameters, returns logits, scores and gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from imaseg.frozen import Model, full_resolution, random_state, seed_all, unwrap_ddp
from imaseg.narrowing import narrowed
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.precision import leads_in_half_precision
from imaseg.scores import Judged, Target, encode, judged


@dataclass(frozen=True)
class Point:
    """The model's output at one point of the set, for the samples `index` of the batch.

    Attributes:
        logits: (len(index), K, *spatial), mean over the draws of a random model.
        values: (len(index),) objective, mean over draws.
        judged: of the hard decision, mean over draws.
        gradient: like the parameters, of the objective; None unless asked for.
        rough: whether the logits are less precise than the model's own.
    """

    logits: Tensor
    values: Tensor
    judged: Judged
    gradient: Tensor | None = None
    rough: bool = False


class Evaluator:
    """Calls the model on perturbed images and scores its predictions.

    Args:
        model: image (B, C, *spatial) -> logits, frozen by the caller (`imaseg.frozen`).
        image: (B, C, *spatial), float32 or float64.
        label: as in `imaseg.scores.encode`.
        perturbation: what parameters mean.
        ignore_index: label value that does not count.
        samples: passes per point over which a random model is averaged.
        seed: seed of the model's own random numbers; every point gets fresh ones.

    Attributes:
        is_random: whether the model drew from torch's generators when it saw the image.
        rough: whether logits of points with a gradient are less precise than those of points without.
    """

    def __init__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        perturbation: Perturbation,
        *,
        ignore_index: int | None,
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        self.model, self.image, self.label, self.perturbation = unwrap_ddp(model), image, label, perturbation
        self.samples, self.ignore_index, self._seed = samples, ignore_index, seed
        self.rough = leads_in_half_precision(self.model)
        self.forward_calls = self.backward_calls = self._points = 0
        self._drawn = False
        self._run = narrowed(self.model, image, perturbation.region)
        with torch.no_grad():
            self._clean_draws = [self._forward(image, draw) for draw in range(samples)]
            self.clean_logits = torch.stack(self._clean_draws).mean(0)
        self.is_random = self._drawn
        self._clean_fresh: dict[tuple[Objective, int], Point] = {}
        self._taken: dict[str, tuple[Tensor, Tensor]] = {}
        self._part: tuple[Tensor, Target] | None = None
        self.target = encode(self.clean_logits, label, ignore_index=ignore_index)

    def clean(self, objective: Objective) -> Point:
        """The unperturbed image; its forward passes have been made already."""
        draws, self._clean_draws = self._clean_draws, []
        return _mean(
            [Point(logits, objective.of(logits, self.target), judged(logits, self.target)) for logits in draws]
        )

    def clean_again(self, objective: Objective, draws: int) -> Point:
        """The unperturbed image under fresh draws of a random model; found once for all budgets of a ladder."""
        key = (objective, draws)
        if key not in self._clean_fresh:
            everything = torch.arange(len(self.image), device=self.image.device)
            self._clean_fresh[key] = self.at(self.perturbation.zeros(self.image), everything, objective, draws=draws)
        return self._clean_fresh[key]

    def rated(self, logits: Tensor, params: Tensor, objective: Objective) -> Tensor:
        """Objective (B,) for logits already computed at params (B, ...); makes no pass."""
        with torch.no_grad():
            all_samples = torch.arange(len(self.image), device=self.image.device)
            return objective.of(logits, self.target_of(all_samples, params))

    def at(
        self, params: Tensor, index: Tensor, objective: Objective, progress: float = 1.0, *, draws: int | None = None
    ) -> Point:
        """Evaluate params (len(index), ...) with `draws` forward passes, `samples` of them if not given."""
        self._points += 1
        with torch.no_grad():
            image, target = self._apply(params, index), self.target_of(index, params)
            drawn = [self._score(image, target, objective, progress, draw) for draw in range(draws or self.samples)]
        return _mean(drawn)

    def with_gradient(
        self,
        params: Tensor,
        index: Tensor,
        objective: Objective,
        progress: float,
        keep: Callable[[Point], bool],
    ) -> Point:
        """Evaluate params (len(index), ...) with gradient: `samples` forward and backward passes.

        `keep` is shown the scores once; if it says False before the backward pass, that pass is saved.
        """
        self._points += 1
        drawn = []
        for draw in range(self.samples):
            leaf = params.detach().requires_grad_()
            with torch.enable_grad():
                target = self.target_of(index, leaf)
                point = self._score(self._apply(leaf, index), target, objective, progress, draw)
                logits, values = point.logits.detach(), point.values.detach()
                detached = replace(point, logits=logits, values=values, rough=self.rough)
                if self.samples == 1 and not keep(detached):
                    return detached
                if not point.logits.requires_grad:
                    msg = (
                        "model must let the gradient of its logits reach the image, got logits without one. Look for "
                        "no_grad, detach or argmax inside, or use an attack without gradients, such as Square."
                    )
                    raise ValueError(msg)
                gradient = _gradient(point, leaf, target, objective, progress)
            self.backward_calls += 1
            drawn.append(replace(detached, gradient=gradient))
        point = _mean(drawn)
        if self.samples > 1:
            keep(point)
        return point

    def on(self, perturbation: Perturbation) -> Self:
        """Return the same evaluator for another budget, with counters at 0."""
        other = copy.copy(self)
        other.perturbation, other.forward_calls, other.backward_calls = perturbation, 0, 0
        return other

    def target_of(self, index: Tensor, params: Tensor, *, soft: bool = True) -> Target:
        """The encoded label at these parameters, moved if the set moves it; as losses need it too if `soft`."""
        target = self._targets(index)
        if not self.perturbation.moves_label:
            return target
        shape = (len(index), -1, *self.image.shape[2:])
        perturbation, kind = self.perturbation.take(index), self.image.dtype

        def nearest(mask: Tensor) -> Tensor:
            return perturbation.move(mask.to(kind).reshape(shape), params.detach(), nearest=True).flatten(2) > 0.5

        onehot, valid = nearest(target.onehot), target.valid
        if not self.target.complete:
            valid = nearest(valid)
            onehot = onehot & valid
        moved = target.onehot.to(kind).reshape(shape)
        smooth = perturbation.move(moved, params, nearest=False).flatten(2) if soft else None
        return Target(onehot, valid, target.regions, smooth).known(complete=self.target.complete)

    def _targets(self, index: Tensor) -> Target:
        """Of these samples, unmoved; the very one as long as they stay the same."""
        if len(index) == len(self.image):
            return self.target
        if self._part is None or self._part[0] is not index:
            part = Target(self.target.onehot[index], self.target.valid[index], self.target.regions)
            self._part = (index, part.known(complete=self.target.complete))
        return self._part[1]

    def encodes_for(self, criterion: object) -> bool:
        """Whether the encoded label is what a criterion would make of the label."""
        return hasattr(criterion, "ignore_index") and bool(criterion.ignore_index == self.ignore_index)

    def label_of(self, index: Tensor, params: Tensor) -> Tensor:
        """The label in its original form at these parameters, moved if the set moves it."""
        return self._carried(self._of("label", index), index, params)

    def clean_of(self, index: Tensor, params: Tensor) -> Tensor:
        """The clean logits that correspond to `label_of`."""
        return self._carried(self._of("clean_logits", index), index, params)

    def _of(self, name: str, index: Tensor) -> Tensor:
        """These samples of an attribute, taken out once as long as they stay the same."""
        values: Tensor = getattr(self, name)
        if len(index) == len(values):
            return values
        if (kept := self._taken.get(name)) is None or kept[0] is not index:
            self._taken[name] = kept = (index, values[index])
        return kept[1]

    def _carried(self, volume: Tensor, index: Tensor, params: Tensor) -> Tensor:
        return carried(volume, self.perturbation.take(index), params, self.image)

    def _apply(self, params: Tensor, index: Tensor) -> Tensor:
        if len(index) == len(self.image):
            return self.perturbation.apply(self.image, params)
        return self.perturbation.take(index).apply(self.image[index], params)

    def _score(self, image: Tensor, target: Target, objective: Objective, progress: float, draw: int) -> Point:
        logits = self._forward(image, draw)
        return Point(logits, objective.of(logits, target, progress), judged(logits, target))

    def _forward(self, image: Tensor, draw: int) -> Tensor:
        self.forward_calls += 1
        # A random model must be replayable, and the same for every order of evaluations before this one.
        seed_all(((self._seed * 1_000_003 + self._points) * 1_000_003 + draw) % 2**63)
        if self._points:
            return full_resolution(self._run(image))
        before = random_state(image.device)
        logits = full_resolution(self._run(image))
        self._drawn |= not all(map(torch.equal, before, random_state(image.device)))
        if self._drawn:  # tiles out of reach must change with every draw too
            self._run = self.model
        return logits


def carried(volume: Tensor, perturbation: Perturbation, params: Tensor, image: Tensor) -> Tensor:
    """A label, mask or logits (B, ...) moved to the nearest voxels as image (B, C, *spatial) is at params (B, ...)."""
    if not perturbation.moves_label:
        return volume
    values = volume.to(image.dtype).reshape(len(params), -1, *image.shape[2:])
    return perturbation.move(values, params, nearest=True).reshape(volume.shape).to(volume.dtype)


def _gradient(point: Point, leaf: Tensor, target: Target, objective: Objective, progress: float) -> Tensor:
    logits = point.logits
    if not (torch.is_autocast_enabled(leaf.device.type) or logits.dtype.itemsize < 4):
        (gradient,) = torch.autograd.grad(point.values.sum(), leaf)
        return gradient
    return _scaled_gradient(logits, leaf, target, objective, progress)


def _scaled_gradient(logits: Tensor, leaf: Tensor, target: Target, objective: Objective, progress: float) -> Tensor:
    """Gradient through layers in half precision, where means over millions of voxels underflow.

    Each sample's gradient at the logits is found in float32 and scaled to a largest value of 1 before it goes
    back through the model.
    """
    wide = logits.detach().float().requires_grad_()
    moved = target.soft is not None
    with torch.autocast(leaf.device.type, enabled=False):
        value = objective.of(wide, target, progress).sum()
        at_logits, direct = torch.autograd.grad(value, [wide, leaf], retain_graph=moved, allow_unused=True)
    largest = at_logits.flatten(1).abs().amax(1)
    largest = expand(largest.where(largest > 0, 1.0), at_logits)
    (gradient,) = torch.autograd.grad(logits, leaf, grad_outputs=(at_logits / largest).to(logits.dtype))
    gradient = gradient * expand(largest, gradient)
    return gradient if direct is None else gradient + direct


def _mean(drawn: list[Point]) -> Point:
    """Mean over the draws of a random model."""
    if len(drawn) == 1:
        return drawn[0]

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean(0)

    scores = {field.name: mean([getattr(point.judged, field.name) for point in drawn]) for field in fields(Judged)}
    gradients = [point.gradient for point in drawn if point.gradient is not None]
    return Point(
        mean([point.logits for point in drawn]),
        mean([point.values for point in drawn]),
        Judged(**scores),
        mean(gradients) if gradients else None,
        rough=any(point.rough for point in drawn),
    )
