"""Failure criteria: functions `(logits, label, clean_logits) -> (B,) bool` that say which predictions are broken.

Any function of that form serves; those here decide on hard labels at full resolution.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, Self, final

import torch
from torch import Tensor

from imaseg.objectives import Dice, Objective, WeakestVoxels
from imaseg.registry import Registered
from imaseg.scores import Target, decide, dice_and_phantoms, dice_of, encode, mean_over_held


class Criterion(Registered, ABC):
    """Decides for each sample of a batch on its own whether its prediction is broken.

    Args:
        ignore_index: label value that does not count. Negative labels never do.

    Attributes:
        voxel_volume: of a voxel in mm3, for limits in mm3; 1 unless set by `in_voxels_of`.
    """

    voxel_volume: float = 1.0

    def __init__(self, *, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index

    @final
    def __call__(self, logits: Tensor, label: Tensor, clean_logits: Tensor) -> Tensor:
        """Whether each sample is broken.

        Args:
            logits: (B, K, *spatial) or (B, K), at the perturbed image.
            label: as in `imaseg.scores.encode`.
            clean_logits: like `logits`, at the unperturbed image.

        Returns:
            (B,) bool.
        """
        return self.of(logits, encode(logits, label, ignore_index=self.ignore_index), clean_logits)

    def of(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        """Whether each sample is broken (B,), for a label that is encoded already."""
        return self._broken(logits, target, clean_logits)

    def in_voxels_of(self, volume: float) -> Self:
        """The same criterion for voxels of another volume in mm3."""
        other = copy.copy(self)
        other.voxel_volume = volume
        return other

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
    """The mean hard Dice of the structures in the label is too low, or too much is found of those that it lacks.

    Dice of a class that the label lacks is 1, and 0 after one voxel of it. A mean over it too would call a sample
    broken by that one voxel, so the mean is taken over the classes that the label holds, and what is found of others
    is limited by its volume. Where the label holds none, only that limit counts.

    Args:
        threshold: the mean must not fall below it; in (0, 1].
        relative: compare with threshold times the sample's own clean Dice, and limit the volume that is found beyond
            that of the clean prediction.
        classes: channels of the logits that are judged; None for all of the foreground.
        absent: volume in mm3 up to which classes that the label lacks may be found, all of them together; 100 mm3 is a
            ball of 5.8 mm, 0 allows no voxel. "ignore" sets no limit. "count" takes the mean over all classes.
        ignore_index: label value that does not count.

    Raises:
        ValueError: if threshold is outside (0, 1] or absent is negative or another word.
    """

    def __init__(
        self,
        threshold: float,
        relative: bool = False,
        *,
        classes: Sequence[int] | None = None,
        absent: float | Literal["ignore", "count"] = 100.0,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.threshold = _fraction("threshold", threshold, below_one=False)
        self.relative = relative
        self.classes = None if classes is None else tuple(classes)
        if absent not in ("ignore", "count") and not (isinstance(absent, int | float) and absent >= 0):
            msg = f"absent must be a volume in mm3, 0 or more, 'ignore' or 'count', got {absent!r}."
            raise ValueError(msg)
        self.absent = absent

    def objective(self) -> Objective:
        """Soft Dice of the same classes."""
        counted: Literal["count", "ignore"] = "count" if self.absent == "count" else "ignore"
        return Dice(classes=self.classes, absent=counted, ignore_index=self.ignore_index)

    def _broken(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        if logits.ndim == 2:
            msg = "DiceBelow must judge logits (B, K, *spatial), got those of a classifier. Use Misclassified()."
            raise ValueError(msg)
        dice, invented = self._judge(logits, target)
        threshold, before = torch.full_like(dice, self.threshold), torch.zeros_like(dice)
        if self.relative:
            clean, before = self._judge(clean_logits, target)
            threshold = self.threshold * clean
        broken = dice < threshold
        if isinstance(self.absent, str):
            return broken
        return broken | ((invented - before) * self.voxel_volume > self.absent)

    def _judge(self, logits: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Mean Dice, and voxels found of classes that the label lacks, both (B,)."""
        channels = target.channels(self.classes)
        dice, phantoms = dice_and_phantoms(logits, target)
        invented = phantoms[:, channels].sum(1)
        if self.absent == "count":
            return dice[:, channels].mean(1), invented
        some = (target.volumes[:, channels] > 0).any(1)
        return mean_over_held(dice, target, self.classes).where(some, 1.0), invented

    def __repr__(self) -> str:
        text = f"Dice below {self.threshold:g}" + (" of the clean Dice" if self.relative else "") + _of(self.classes)
        if self.absent == "count":
            return f"{text}, structures that the label lacks counted"
        if isinstance(self.absent, str):
            return text
        more = " more" if self.relative else ""
        return f"{text}, or over {self.absent:g} mm3{more} of absent structures"


class MaxDiceBelow(Criterion):
    """The hard Dice of every structure in the label is below `threshold`: one good class is enough to hold.

    As the code that Ma & Liang published with IMA (CMPB 2023) judges.

    Args:
        threshold: in (0, 1].
        empty: whether labels that hold no structure count as broken from the start, as in that code, where a structure
            that the label lacks has a Dice of 0. Else such a case breaks once every class is found in it.
        ignore_index: label value that does not count.

    Raises:
        ValueError: if threshold is outside (0, 1].
    """

    def __init__(self, threshold: float, *, empty: bool = False, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.threshold = _fraction("threshold", threshold, below_one=False)
        self.empty = empty

    def _broken(self, logits: Tensor, target: Target, clean_logits: Tensor) -> Tensor:
        dice = dice_of(logits, target)[:, target.foreground]
        broken = (dice.where(target.held(), 0.0) < self.threshold).all(1)
        return broken | target.empty if self.empty else broken

    def __repr__(self) -> str:
        return f"Dice of every structure below {self.threshold:g}"


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
