"""Labels in one form, and the hard Dice that decides success.

Softmax models: logits `(B, K, *spatial)`, integer label `(B, *spatial)` or `(B, 1, *spatial)`, channel 0 is
background. Region-based (sigmoid) models: boolean label of the logits' shape, every channel is foreground; one more
channel, where there is one, marks voxels to ignore. One logit channel is a sigmoid model, whatever the label's type.
Classifiers are softmax models with one voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

_EXACT = 2**24  # float32 counts exactly up to here


@dataclass(frozen=True)
class Target:
    """A label next to the logits it belongs to.

    Attributes:
        onehot: (B, K, N) bool, True where voxel n belongs to channel k; False on ignored voxels.
        valid: (B, 1, N) bool, False where the label says "ignore".
        regions: whether channels are independent (sigmoid) or exclude each other (softmax).
        soft: (B, K, N) floating one-hot of a label that moved with a deformation, differentiable in the motion;
            None where the label stands still.
    """

    onehot: Tensor
    valid: Tensor
    regions: bool
    soft: Tensor | None = None

    @cached_property
    def complete(self) -> bool:
        """Whether no voxel is ignored."""
        return bool(self.valid.all())

    def known(self, *, complete: bool) -> Target:
        """This target, of which it is known whether no voxel is ignored; False never does harm."""
        self.__dict__["complete"] = complete
        return self

    @cached_property
    def volumes(self) -> Tensor:
        """Labelled voxels (B, K) of each channel."""
        return self.onehot.sum(2)

    @cached_property
    def voxels(self) -> Tensor:
        """Number of voxels (B,) that count."""
        return self.valid.sum((1, 2))

    @cached_property
    def absent(self) -> Tensor:
        """Which channels (B, K) the label does not hold."""
        return self.volumes == 0

    @cached_property
    def empty(self) -> Tensor:
        """Which samples (B,) hold no foreground."""
        return self.absent[:, self.foreground].all(1)

    @cached_property
    def _held(self) -> Tensor:
        return ~self.absent[:, self.foreground] | self.empty.unsqueeze(1)

    def held(self, classes: Sequence[int] | None = None) -> Tensor:
        """Which of `classes`, or of all foreground channels for None, count (B, K'): those that the label holds.

        A sample whose label holds none of them counts them all: whatever is found there is wrong.
        """
        if classes is None:
            return self._held
        present = ~self.absent[:, self.channels(classes)]
        return present | ~present.any(1, keepdim=True)

    @cached_property
    def _numbers(self) -> Tensor:
        return self.onehot.float()

    def counted(self, values: Tensor) -> Tensor:
        """`values` (B, K, N), 0 on ignored voxels."""
        return values if self.complete else values * self.valid

    def truth(self, dtype: torch.dtype) -> Tensor:
        """The label as numbers (B, K, N), as losses need it."""
        return (self._numbers if self.soft is None else self.soft).to(dtype)

    @property
    def foreground(self) -> slice:
        """Channels that count as foreground."""
        return slice(0 if self.regions else 1, None)

    def channels(self, classes: Sequence[int] | None) -> slice | list[int]:
        """The channels `classes`, or all of the foreground for None.

        Raises:
            ValueError: if there is no such channel.
        """
        if classes is None:
            return self.foreground
        number = self.onehot.shape[1]
        if not classes or not all(0 <= channel < number for channel in classes):
            msg = f"classes must name some of the {number} channels, got {list(classes)}. Use None for all foreground."
            raise ValueError(msg)
        return list(classes)

    def among(self, classes: Sequence[int] | None) -> Tensor:
        """Valid voxels (B, N) labelled with one of `classes`, or all valid ones for None."""
        return self.valid[:, 0] if classes is None else self.onehot[:, self.channels(classes)].any(1)


def encode(logits: Tensor, label: Tensor, *, ignore_index: int | None = None) -> Target:
    """Bring a label into one-hot form.

    Args:
        logits: (B, K, *spatial) or (B, K).
        label: integer (B, *spatial) or (B, 1, *spatial), or boolean (B, K, *spatial) for region-based models, with
            channel K + 1 for voxels to ignore. Negative values are always ignored. Regions may be 0 and 1 of another
            dtype, unless each voxel is in exactly one channel: then nothing tells them from one-hot classes.
        ignore_index: a further value that is ignored.

    Returns:
        The target, voxels flattened to N (1 for classifiers).

    Raises:
        ValueError: if shapes do not fit, a label names a class that the logits lack, or it is one-hot and not boolean.
    """
    batch, channels = logits.shape[:2]
    if label.dtype == torch.bool and label.shape == logits.shape:
        onehot = label.reshape(batch, channels, -1)
        return Target(onehot, torch.ones_like(onehot[:, :1]), regions=True)
    if channels > 1 and label.shape == logits.shape:
        onehot = _memberships(label)
        return Target(onehot, torch.ones_like(onehot[:, :1]), regions=True)
    if label.dtype == torch.bool and label.shape == (batch, channels + 1, *logits.shape[2:]):
        marked = label.reshape(batch, channels + 1, -1)
        ignored = marked[:, channels:]
        return Target(marked[:, :channels] & ~ignored, ~ignored, regions=True)
    flat = _class_indices(logits, label).reshape(batch, 1, -1)
    valid = flat >= 0
    if ignore_index is not None:
        valid = valid & (flat != ignore_index)
    highest, complete = -1, 1
    if flat.numel():  # both in one look, which makes the host wait for an accelerator
        highest, complete = torch.stack([flat.where(valid, -1).amax(), valid.all().long()]).tolist()
    if highest >= max(channels, 2):
        limit = max(channels, 2)
        msg = f"label must be below the number of classes ({limit}), got {highest}. Use ignore_index to leave it out."
        raise ValueError(msg)
    classes = torch.arange(channels, device=flat.device).view(1, -1, 1) + (channels == 1)
    return Target((flat == classes) & valid, valid, regions=channels == 1).known(complete=bool(complete))


def _memberships(label: Tensor) -> Tensor:
    """Membership (B, K, N) of a label in the logits' shape that is 0 or 1.

    Raises:
        ValueError: if it holds other values, or each voxel is in exactly one channel: it may then be meant as one-hot
            classes of a softmax model, or as the regions of a sigmoid model.
    """
    within = label.reshape(*label.shape[:2], -1) != 0
    if not bool((label == label.bool()).all()):
        msg = f"label in the logits' shape {tuple(label.shape)} must be 0 or 1 everywhere, got {_others(label)}."
        raise ValueError(msg)
    if bool((within.sum(1) == 1).all()):
        msg = (
            f"label in the logits' shape {tuple(label.shape)} must tell classes from regions, got one channel per "
            f"voxel in {label.dtype}. Give label.argmax(1) for a softmax model, label.bool() for independent "
            "(sigmoid) channels."
        )
        raise ValueError(msg)
    return within


def _others(label: Tensor) -> str:
    values = sorted({*label[label != label.bool()].tolist()})[:3]
    return ", ".join(f"{value:g}" for value in values)


def _class_indices(logits: Tensor, label: Tensor) -> Tensor:
    shape = logits.shape[:1] + logits.shape[2:]
    if label.shape == (shape[0], 1, *shape[1:]):
        label = label[:, 0]
    if label.shape != shape:
        msg = (
            f"label must be (B, *spatial) or (B, 1, *spatial) = {tuple(shape)}, or boolean of the logits' shape "
            f"{tuple(logits.shape)} for region-based models, got {label.dtype} {tuple(label.shape)}."
        )
        raise ValueError(msg)
    indices = label.long()
    if label.is_floating_point() and not torch.equal(indices.to(label.dtype), label):
        parts = ", ".join(f"{value:g}" for value in label[indices.to(label.dtype) != label][:3].tolist())
        msg = f"label must hold whole numbers, got {parts}. Resample labels to the nearest voxel, or round them."
        raise ValueError(msg)
    return indices


def decide(logits: Tensor, *, regions: bool) -> Tensor:
    """Hard decision (B, K, N) bool: argmax for softmax models, logit > 0 for regions."""
    flat = logits.detach().flatten(2) if logits.ndim > 2 else logits.detach().unsqueeze(2)
    if regions:
        return flat > 0
    # Equals argmax, first of equals too, and is some 30 times faster on a CPU.
    channels = torch.arange(flat.shape[1], device=flat.device).view(1, -1, 1)
    return flat.max(1, keepdim=True).indices == channels


def hard_dice(logits: Tensor, label: Tensor, *, ignore_index: int | None = None) -> Tensor:
    """Dice of the hard decision, per sample and channel.

    Returns:
        (B, K) float32; 1 where a channel is empty in both label and decision. Column 0 is the background of
        softmax models.

    >>> logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]]])
    >>> hard_dice(logits, torch.tensor([[0, 1, 0]]))
    tensor([[0.6667, 0.6667, 1.0000]])
    """
    return dice_of(logits, encode(logits, label, ignore_index=ignore_index))


def dice_of(logits: Tensor, target: Target) -> Tensor:
    """As `hard_dice`, for a label that is encoded already."""
    return dice_and_phantoms(logits, target)[0]


def dice_and_phantoms(logits: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Hard Dice, and the voxels decided for channels that the label does not hold, both (B, K) float32."""
    overlap, volume = _counts(logits, target)
    total = volume + target.volumes
    dice = (2 * overlap / total.clamp(min=1)).where(total > 0, 1.0).float()
    return dice, volume.float().where(target.absent, 0.0)


@dataclass(frozen=True)
class Judged:
    """What the hard decision of each sample is worth.

    Attributes:
        dice: (B, K) hard Dice per channel.
        foreground: (B,) mean of `dice` over the foreground that the label holds (`mean_over_held`).
        phantoms: (B,) voxels decided for foreground classes that the label does not hold.
        rank: (B,) what attacks bring down: `foreground`, or where the label holds no foreground the share of voxels
            that are decided for none.
    """

    dice: Tensor
    foreground: Tensor
    phantoms: Tensor
    rank: Tensor

    def replaced(self, index: Tensor, other: Judged, chosen: Tensor) -> Judged:
        """These samples with those at `index` (n,) replaced by `other`'s (n,) where `chosen` (n,) is True."""

        def mixed(mine: Tensor, theirs: Tensor) -> Tensor:
            whole = len(index) == len(mine)
            before = mine if whole else mine[index]
            after = theirs.to(mine.dtype).where(chosen.view(-1, *[1] * (mine.ndim - 1)), before)
            return after if whole else mine.index_put((index,), after)

        return Judged(*(mixed(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)))


def judged(logits: Tensor, target: Target) -> Judged:
    """Judge the hard decision of logits (B, K, *spatial)."""
    dice, phantoms = dice_and_phantoms(logits, target)
    foreground, invented = mean_over_held(dice, target), phantoms[:, target.foreground].sum(1)
    voxels = target.voxels * (dice.shape[1] if target.regions else 1)
    left = 1 - invented / voxels.clamp(min=1)
    return Judged(dice, foreground, invented, left.where(target.empty, foreground))


def _counts(logits: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Voxels (B, K) decided rightly, and decided at all, for each channel."""
    if logits.device.type == "cpu" and target.complete and not target.regions and target.onehot.shape[2] < _EXACT:
        # An attack counts at every step; numbers are several times faster than booleans on a CPU.
        flat = logits.detach().flatten(2) if logits.ndim > 2 else logits.detach().unsqueeze(2)
        highest = torch.empty_like(flat, dtype=torch.float32)
        torch.ge(flat, flat.amax(1, keepdim=True), out=highest)
        volume = highest.sum(2)
        if bool((volume.sum(1) == flat.shape[2]).all()):  # no ties between channels, nothing undefined
            return highest.mul_(target._numbers).sum(2), volume
    decision = target.counted(decide(logits, regions=target.regions))
    return (decision & target.onehot).sum(2), decision.sum(2)


def foreground_dice(logits: Tensor, label: Tensor, *, ignore_index: int | None = None) -> Tensor:
    """Mean of the hard Dice over the foreground classes that the label holds, (B,).

    Where it holds none, the mean over all: the share of classes of which nothing was found.

    >>> logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]]])
    >>> foreground_dice(logits, torch.tensor([[0, 1, 0]])), foreground_dice(logits, torch.tensor([[0, 0, 0]]))
    (tensor([0.6667]), tensor([0.5000]))
    """
    target = encode(logits, label, ignore_index=ignore_index)
    return mean_over_held(dice_of(logits, target), target)


def mean_over_held(dice: Tensor, target: Target, classes: Sequence[int] | None = None) -> Tensor:
    """Mean (B,) of Dice (B, K) over the channels that `Target.held` counts.

    Dice of a class that the label lacks is 1, and 0 after one voxel: a mean over it too would be decided by that voxel.
    """
    held = target.held(classes)
    return (dice[:, target.channels(classes)] * held).sum(1) / held.sum(1)
