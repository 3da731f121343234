"""One perturbation for many images: projected gradient ascent on the mean objective over a set of cases.

    maximise over v in the unit ball   mean over cases i of objective(x_i + project_i(radius_i R_i v), y_i)

v is a pattern on one grid, R_i its linear resampling to the shape of image i (for L2 stretched to the RMS of v, since
values between neighbours are smaller), radius_i the budget of the perturbation set on that image. A step is taken after
each batch, along the mean of the latest gradients of all batches (stochastic average gradient), and shrinks as in
`PGD`. After each pass over all batches the pattern is scored on all of them, and the one with the lowest mean of the
hard Dice counts. `steps` passes take `steps` backward and 4 * `steps` + 2 forward
passes of each batch.

Moosavi-Dezfooli, Fawzi, Fawzi & Frossard, "Universal adversarial perturbations", CVPR 2017; Hendrik Metzen, Kumar, Brox
& Fischer, "Universal adversarial perturbations against semantic image segmentation", ICCV 2017, whose gradient is the
mean over the training images too (there with a constant step in sign direction and a pattern of the images' size).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from imaseg.attacks.base import checked
from imaseg.attacks.evaluate import Evaluator, Point
from imaseg.frozen import Model, as_plain_tensor, frozen
from imaseg.objectives import Dice, Objective
from imaseg.perturbations import L2, Linf, Perturbation
from imaseg.perturbations.base import expand

Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Perturbation]
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Universal:
    """One change for many images, as shares of each image's budget.

    Attributes:
        perturbation: the set, L2 or Linf, whose budget is spent on each image.
        pattern: (C, *grid) in the unit ball: RMS 1 at most for L2, largest value 1 at most for Linf.
        dice: mean foreground Dice over the samples it was fitted on; `dice_clean` without it.
        objective: mean over these samples; `objective_clean` without it.
        samples: how many there were.
        forward_calls, backward_calls: passes spent, each of a batch.
    """

    perturbation: Perturbation
    pattern: Tensor = field(repr=False)
    dice: float
    dice_clean: float
    objective: float
    objective_clean: float
    samples: int
    forward_calls: int
    backward_calls: int

    def params(self, image: Tensor, perturbation: Perturbation | None = None) -> Tensor:
        """Parameters on image (B, C, *spatial), of the set or of one of another budget, unit or place.

        Raises:
            ValueError: if the image has other channels or dimensions than the pattern.
        """
        allowed = perturbation or self.perturbation
        return allowed.project(image, _spread(self.pattern.to(image), image, allowed))

    def apply(self, image: Tensor, perturbation: Perturbation | None = None) -> Tensor:
        """The changed image (B, C, *spatial), as `params`."""
        return (perturbation or self.perturbation).apply(image, self.params(image, perturbation))


class UniversalPGD:
    """Fits one perturbation to a set of cases.

    Args:
        perturbation: L2 or Linf; each image has its whole budget.
        steps: passes over all batches.
        objective: what is maximised in the mean, `Dice()` if not given.
        grid: shape of the pattern; that of the first image if not given.
        seed: of the pattern that the search begins with.
        step_size: length of the first step, as a share of the budget.
        decay: power of the step's number by which the length shrinks.

    Raises:
        ValueError: if the set is another one, steps is below 1, step_size not positive or decay negative.

    >>> images = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    >>> net = lambda image: torch.cat([0 * image, image - 0.5], 1)
    >>> found = UniversalPGD(Linf(0.2), steps=3).fit(net, [(images, (images[:, 0] > 0.5).long())])
    >>> found.apply(images).shape, found.dice < found.dice_clean
    (torch.Size([4, 1, 6, 6]), True)
    """

    name = "universal-pgd"
    title = "universal PGD"
    reference = (
        "Moosavi-Dezfooli SM, Fawzi A, Fawzi O, Frossard P. Universal adversarial perturbations. CVPR 2017. "
        "arXiv:1610.08401."
    )
    cited = "Moosavi-Dezfooli et al. 2017"

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 20,
        objective: Objective | None = None,
        grid: Sequence[int] | None = None,
        seed: int = 0,
        step_size: float = 2.0,
        decay: float = 0.5,
    ) -> None:
        _require_additive(perturbation)
        if not isinstance(steps, int) or steps < 1:
            msg = f"steps must be a whole number >= 1 (passes over the cases), got {steps}."
            raise ValueError(msg)
        if not step_size > 0 or not decay >= 0:
            msg = f"step_size must be > 0 and decay >= 0, got {step_size} and {decay}."
            raise ValueError(msg)
        self.perturbation, self.steps, self.grid, self.seed = perturbation, steps, grid, seed
        self.objective = objective if objective is not None else Dice()
        self.step_size, self.decay = step_size, decay

    def fit(self, model: Model, batches: Iterable[Batch]) -> Universal:
        """Find the pattern that hurts most in the mean over all samples.

        Args:
            model: callable image -> logits; an nn.Module is searched in eval mode and left as it was.
            batches: (image (B, C, *spatial), label) or (image, label, perturbation); run through again and again, so a
                list or a loader, not a generator. A perturbation of its own tells budget, bounds and region of a batch.

        Raises:
            ValueError: if there is no batch, or images, labels and sets do not fit together.
        """
        with frozen(model):
            return _Fit(self, model, batches).run()


class _Fit:
    """State of one search."""

    def __init__(self, settings: UniversalPGD, model: Model, batches: Iterable[Batch]) -> None:
        self.settings, self.model, self.batches = settings, model, batches
        self.forward_calls = self.backward_calls = self._taken = 0
        self._latest: dict[int, Tensor] = {}
        # Shares of a budget: the ball of radius 1, whatever the unit of the set.
        self._ball: Perturbation = Linf(1.0) if isinstance(settings.perturbation, Linf) else L2(1.0, unit="rms")

    def run(self) -> Universal:
        """Ascend pass after pass, keep the best pattern."""
        pattern = self._start()
        none = torch.zeros_like(pattern)
        clean = self._mean(none)
        best, kept = clean, none
        for _ in range(self.settings.steps):
            for number, batch in enumerate(self.batches):
                pattern = self._ascended(pattern, batch, number)
            found = self._mean(pattern)
            if self._better(found, best):
                best, kept = found, pattern
        return Universal(
            self.settings.perturbation,
            kept[0],
            dice=best.dice,
            dice_clean=clean.dice,
            objective=best.objective,
            objective_clean=clean.objective,
            samples=clean.samples,
            forward_calls=self.forward_calls,
            backward_calls=self.backward_calls,
        )

    def _start(self) -> Tensor:
        """A random pattern (1, C, *grid) in the unit ball."""
        passes = iter(self.batches)
        first = next(passes, None)
        if first is None or passes is self.batches:
            got = "none" if first is None else "a generator, which ends after one pass"
            msg = f"batches must hold at least one (image, label) in each of several passes, got {got}. Pass a list."
            raise ValueError(msg)
        image = checked(first[0])
        shape = tuple(self.settings.grid or image.shape[2:])
        if len(shape) != image.ndim - 2 or len(shape) not in _MODES or min(shape) < 1:
            msg = f"grid must have one size >= 1 per axis of the images ({image.ndim - 2}, 1 to 3), got {shape}."
            raise ValueError(msg)
        empty = image.new_zeros(1, image.shape[1], *shape)
        return self._ball.init(empty, torch.Generator().manual_seed(self.settings.seed))

    def _ascended(self, pattern: Tensor, batch: Batch, number: int) -> Tensor:
        """One step, after a look at one batch."""
        allowed, evaluator = self._opened(batch)
        with torch.enable_grad():
            leaf = pattern.detach().requires_grad_()
            spread = _spread(leaf[0], evaluator.image, allowed)
        params = allowed.project(evaluator.image, spread.detach())
        point = evaluator.with_gradient(params, *self._at(evaluator), self._taken_share(), lambda _: True)
        self._count(evaluator)
        if point.gradient is None:
            return pattern
        # Past the projection as if it were the identity, as in any projected ascent; then through the resampling.
        weighted = allowed.masked(point.gradient).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        (gradient,) = torch.autograd.grad(spread, leaf, grad_outputs=weighted)
        self._latest[number] = gradient
        self._taken += 1
        mean = torch.stack([*self._latest.values()]).sum(0)
        length = pattern.new_full((1,), self.settings.step_size / self._taken**self.settings.decay)
        return self._ball.project(torch.zeros_like(pattern), self._ball.step(pattern, mean, length))

    def _taken_share(self) -> float:
        return 1 - 1 / (1 + self._taken)

    def _mean(self, pattern: Tensor) -> _Score:
        """Over all samples of all batches."""
        points = []
        for batch in self.batches:
            allowed, evaluator = self._opened(batch)
            params = allowed.project(evaluator.image, _spread(pattern[0], evaluator.image, allowed))
            points.append(evaluator.at(params, *self._at(evaluator)))
            self._count(evaluator)
        return _Score.of(points)

    def _opened(self, batch: Batch) -> tuple[Perturbation, Evaluator]:
        image, label = checked(batch[0]), as_plain_tensor(batch[1])
        allowed = batch[2] if len(batch) == 3 else self.settings.perturbation
        _require_additive(allowed)
        allowed.check(image)
        ignored, seed = self.settings.objective.ignore_index, self.settings.seed
        return allowed, Evaluator(self.model, image, label, allowed, ignore_index=ignored, seed=seed)

    def _at(self, evaluator: Evaluator) -> tuple[Tensor, Objective]:
        return torch.arange(len(evaluator.image), device=evaluator.image.device), self.settings.objective

    def _count(self, evaluator: Evaluator) -> None:
        self.forward_calls += evaluator.forward_calls
        self.backward_calls += evaluator.backward_calls

    def _better(self, found: _Score, best: _Score) -> bool:
        """As in every search: the lower mean Dice, among equals the higher objective, which alone rules if targeted."""
        if self.settings.objective.targeted or found.rank == best.rank:
            return found.objective > best.objective
        return found.rank < best.rank


@dataclass(frozen=True)
class _Score:
    """Means over samples."""

    rank: float
    dice: float
    objective: float
    samples: int

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Score:
        parts = [[point.judged.rank for point in points], [point.judged.foreground for point in points]]
        rank, dice, values = (
            float(torch.cat([part.double() for part in each]).mean())
            for each in (*parts, [point.values for point in points])
        )
        return cls(rank, dice, values, sum(len(point.values) for point in points))


def _spread(pattern: Tensor, image: Tensor, allowed: Perturbation) -> Tensor:
    """The pattern (C, *grid) resampled to image (B, C, *spatial) and scaled to its budget; not yet projected."""
    shape = image.shape[2:]
    if pattern.ndim != image.ndim - 1 or len(pattern) != image.shape[1]:
        msg = (
            f"image must have the pattern's {len(pattern)} channels and {pattern.ndim - 1} spatial axes, got "
            f"{tuple(image.shape)}. Fit and judge on images of one kind."
        )
        raise ValueError(msg)
    if pattern.shape[1:] != shape:
        fine = interpolate(pattern[None], shape, mode=_MODES[len(shape)], align_corners=True)[0]
        kept = _rms(fine).clamp(min=1e-30) / _rms(pattern).clamp(min=1e-30) if isinstance(allowed, L2) else 1.0
        pattern = fine / kept
    whole = allowed.size(allowed.masked(torch.ones_like(image)))
    unit = allowed.radius(image) / whole.clamp(min=torch.finfo(whole.dtype).tiny)
    return pattern.expand(image.shape) * expand(unit, image)


def _rms(values: Tensor) -> Tensor:
    return values.detach().square().mean().sqrt()


def _require_additive(perturbation: Perturbation) -> None:
    if not isinstance(perturbation, L2 | Linf):
        msg = (
            f"perturbation of a universal attack must be L2 or Linf, whose changes can be laid over any image, got "
            f"{perturbation.name}. Attack the cases one by one in other sets."
        )
        raise ValueError(msg)
