"""Failure criteria: functions `(logits, label, clean_logits) -> (B,) bool` that say which predictions are broken.

Any function of that form serves; those here decide on hard labels at full resolution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from imaseg.objectives import Dice, Objective, WeakestVoxels
from imaseg.registry import Registered
from imaseg.scores import Target, decide, dice_of, encode


class Criterion(Registered, ABC):
    """Decides for each sample of a batch on its own whether its prediction is broken.

    Args:
        ignore_index: label value that does not count. Negative labels never do.
    """

    def __init__(self, *, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index

    def __call__(self, logits: Tensor, label: Tensor, clean_logits: Tensor) -> Tensor:
        """Whether each sample is broken.

        Args:
            logits: (B, K, *spatial) or (B, K), at the perturbed image.
            label: as in `imaseg.scores.encode`.
            clean_logits: like `logits`, at the unperturbed image.

        Returns:
            (B,) bool.
        """
        target = encode(logits, label, ignore_index=self.ignore_index)
        return self._broken(logits, target, clean_logits)

    def objective(self) -> Objective:
        """The loss whose maximisation leads to the criterion."""
        return Dice(ignore_index=self.ignore_index)

    @abstractmethod
    def _broken(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        """Whether each sample is broken, (B,) bool."""


def _fraction(name: str, value: float, *, below_one: bool) -> float:
    if not (0 <= value < 1 if below_one else 0 < value <= 1):
        allowed = "in [0, 1)" if below_one else "in (0, 1]"
        msg = f"{name} must be {allowed}, got {value}."
        raise ValueError(msg)
    return value


class DiceBelow(Criterion):
    """The mean foreground hard Dice is below `threshold`, or below that share of the clean Dice.

    Args:
        threshold: in (0, 1].
        relative: compare with threshold times the sample's own clean Dice.
        classes: channels of the logits over which the mean is taken; None for all of the foreground.
        ignore_index: label value that does not count.

    Raises:
        ValueError: if threshold is outside (0, 1].
    """

    def __init__(
        self,
        threshold: float,
        relative: bool = False,
        *,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.threshold = _fraction("threshold", threshold, below_one=False)
        self.relative = relative
        self.classes = None if classes is None else tuple(classes)

    def objective(self) -> Objective:
        """Soft Dice of the same classes."""
        return Dice(classes=self.classes, ignore_index=self.ignore_index)

    def _broken(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        channels = target.channels(self.classes)
        dice = dice_of(logits, target)[:, channels].mean(1)
        if not self.relative:
            return dice < self.threshold
        return dice < self.threshold * dice_of(clean_logits, target)[:, channels].mean(1)

    def __repr__(self) -> str:
        text = f"Dice below {self.threshold:g}" + (" of the clean Dice" if self.relative else "")
        return text + _of(self.classes)


class VoxelsFlipped(Criterion):
    """More than `fraction` of the initially correct voxels are wrong; 0.0 means any voxel.

    Args:
        fraction: in [0, 1).
        classes: only voxels labelled with one of these channels of the logits count; None for all.
        ignore_index: label value that does not count.

    Raises:
        ValueError: if fraction is outside [0, 1).
    """

    def __init__(
        self, fraction: float, *, classes: Sequence[int] | None = None, ignore_index: int | None = None
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.fraction = _fraction("fraction", fraction, below_one=True)
        self.classes = None if classes is None else tuple(classes)

    def objective(self) -> Objective:
        """The loss on the voxels nearest to flipping."""
        return WeakestVoxels(self.fraction, classes=self.classes, ignore_index=self.ignore_index)

    def _broken(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        right = _right(clean_logits, target) & target.among(self.classes)
        flipped = right & ~_right(logits, target)
        return flipped.sum(1) > self.fraction * right.sum(1)

    def __repr__(self) -> str:
        share = f"more than {self.fraction:.0%} of the right voxels flipped"
        return ("any voxel flipped" if self.fraction == 0 else share) + _of(self.classes)


class Misclassified(Criterion):
    """A classifier's decision is wrong; for a segmenter, that of any voxel (initially wrong ones too)."""

    def objective(self) -> Objective:
        """The loss on the voxel nearest to flipping."""
        return WeakestVoxels(ignore_index=self.ignore_index)

    def _broken(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        return (~_right(logits, target) & target.valid[:, 0]).any(1)

    def __repr__(self) -> str:
        return "misclassified"


def leading_to(criterion: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Objective:
    """The loss to maximise to meet a criterion; soft Dice for functions that are no `Criterion`."""
    return criterion.objective() if isinstance(criterion, Criterion) else Dice()


def _of(classes: tuple[int, ...] | None) -> str:
    return "" if classes is None else f" (class {', '.join(map(str, classes))})"


def _right(logits: Tensor, target: Target) -> Tensor:
    """Valid voxels (B, N) whose decision equals the label in every channel."""
    same = decide(logits, regions=target.regions) == target.onehot
    return same.all(1) & target.valid[:, 0]
