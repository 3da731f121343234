"""Objectives for a specific error: a structure vanishes, grows or is swapped, or a given segmentation is predicted.

    mean over the voxels concerned of -log(1 + max(0, cap - gain))

`gain` is by how many logits a voxel is on the wanted side. 0 means that all voxels are, with `cap` to spare; less is
worse. The slope 1 / (1 + shortfall) spends the budget on voxels near the boundary, as a soft volume does, and does not
vanish on those far away, as a soft volume's does for a sure model.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decision_margin, decision_mean
from imaseg.scores import Target, encode


class _Targeted(Objective):
    targeted: bool = True

    def __init__(self, *, cap: float = 0.5, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        if not cap >= 0:
            msg = f"cap must be >= 0 (logits), got {cap}. Use 0.5."
            raise ValueError(msg)
        self.cap = cap

    def _reached(self, gain: Tensor) -> Tensor:
        return -(self.cap - gain).relu().log1p()

    def _agreement(self, logits: Tensor, wanted: Target) -> Tensor:
        return decision_mean(self._reached(-decision_margin(logits, wanted)), wanted, balanced=True)


class _OfStructure(_Targeted):
    def __init__(self, structure: int, *, cap: float = 0.5, ignore_index: int | None = None) -> None:
        super().__init__(cap=cap, ignore_index=ignore_index)
        self.structure = _whole("structure", structure)

    def _lead(self, logits: Tensor, target: Target) -> Tensor:
        """Logit of the structure above the best other one, (B, 1, N); above 0 for regions."""
        _check("structure", self.structure, logits, target)
        own = logits[:, self.structure, None]
        if target.regions:
            return own
        others = torch.cat([logits[:, : self.structure], logits[:, self.structure + 1 :]], 1)
        return own - others.amax(1, keepdim=True)


class Erase(_OfStructure):
    """Make a structure vanish from the prediction, wherever it is: gain = max_{j != s} z_j - z_s, all valid voxels.

    Args:
        structure: class s, >= 1, of softmax models; channel, >= 0, of region-based ones (gain = -z_s).
        cap: by how much a voxel should change sides, in logits, >= 0.
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if cap is negative or structure no index, or when called if the model has no such structure.

    >>> import torch
    >>> Erase(1, cap=1.0)(torch.tensor([[[0.0, 9.0], [2.0, 0.0]]]), torch.tensor([[1, 0]]))  # -log(1 + 3) / 2
    tensor([-0.6931])
    """

    title = "structure erased"

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return decision_mean(self._reached(-self._lead(logits, target)), target)


class Grow(_OfStructure):
    """Paint a structure wherever it is not: gain = z_s - max_{j != s} z_j, all valid voxels.

    Args:
        structure: class s, >= 1, of softmax models; channel, >= 0, of region-based ones (gain = z_s).
        cap: by how much a voxel should change sides, in logits, >= 0.
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if cap is negative or structure no index, or when called if the model has no such structure.

    >>> import torch
    >>> Grow(1, cap=1.0)(torch.tensor([[[2.0, 0.0], [0.0, 9.0]]]), torch.tensor([[0, 1]]))  # -log(1 + 3) / 2
    tensor([-0.6931])
    """

    title = "structure grown"

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return decision_mean(self._reached(self._lead(logits, target)), target)


class Swap(_Targeted):
    """Have voxels labelled `first` predicted as `second` and the reverse; the two count alike, others do not.

    gain = z_w - max_{j != w} z_j with w the other structure of the two. A sample whose label has neither gives 0.
    Regions: where the label holds one of the two channels only, both are to be exchanged.

    Args:
        first: class, >= 1, of softmax models; channel, >= 0, of region-based ones.
        second: another class or channel.
        cap: by how much a voxel should change sides, in logits, >= 0.
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if cap is negative, a structure no index, or both the same, or when called if the model lacks one.

    >>> import torch
    >>> logits = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 2.0, 0.0], [3.0, 0.0, 0.0]]])
    >>> Swap(1, 2, cap=1.0)(logits, torch.tensor([[1, 1, 0]]))  # the first voxel is swapped; -log(1 + 3) / 2
    tensor([-0.6931])
    """

    title = "structures swapped"

    def __init__(self, first: int, second: int, *, cap: float = 0.5, ignore_index: int | None = None) -> None:
        super().__init__(cap=cap, ignore_index=ignore_index)
        if first == second:
            msg = f"second must be another structure than first ({first}), got {second}."
            raise ValueError(msg)
        self.first, self.second = _whole("first", first), _whole("second", second)

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        _check("first", self.first, logits, target)
        _check("second", self.second, logits, target)
        pair, swapped = [self.first, self.second], [self.second, self.first]
        if target.regions:
            logits = logits[:, pair]
            order = swapped
        else:
            order = list(range(logits.shape[1]))
            order[self.first], order[self.second] = swapped
        concerned = target.onehot[:, self.first, None] ^ target.onehot[:, self.second, None]
        wanted = Target(
            target.onehot[:, order] & concerned,
            target.valid & concerned,
            target.regions,
            None if target.soft is None else target.soft[:, order],
        )
        return self._agreement(logits, wanted)


class Towards(_Targeted):
    """Have the prediction become a given one; each class of it counts alike, as in `LogitMargin`.

    gain = z_w - max_{j != w} z_j with w the wanted class; (2w - 1) z for regions. Voxels that the label ignores, or
    that are negative in `mask`, are free. The mask stays where it is when a deformation moves the label.

    Args:
        mask: integer (1, *spatial) or (1, 1, *spatial), or boolean (1, K, *spatial) for region-based models, the same
            for all samples; or one per sample, (B, ...). Attacks drop samples that are finished, so attack samples
            one by one with masks of their own.
        cap: by how much a voxel should change sides, in logits, >= 0.
        ignore_index: label value whose voxels carry no loss; masks ignore it too.

    Raises:
        ValueError: if cap is negative or mask floating, or when called if mask does not fit the logits.

    >>> import torch
    >>> logits = torch.tensor([[[0.0, 2.0], [5.0, 0.0]]])
    >>> Towards(torch.tensor([[1, 1]]), cap=1.0)(logits, torch.tensor([[0, 0]]))  # -log(1 + 3) / 2
    tensor([-0.6931])
    """

    title = "given segmentation"

    def __init__(self, mask: Tensor, *, cap: float = 0.5, ignore_index: int | None = None) -> None:
        super().__init__(cap=cap, ignore_index=ignore_index)
        if mask.is_floating_point():
            msg = f"mask must be integer, or boolean for region-based models, got {mask.dtype}. Use mask.long()."
            raise ValueError(msg)
        self.mask = mask

    def of(self, logits: Tensor, target: Target, progress: float = 1.0) -> Tensor:
        wanted = self._encode(logits, target)
        valid = wanted.valid & target.valid
        return super().of(logits, replace(wanted, onehot=wanted.onehot & valid, valid=valid), progress)

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return self._agreement(logits, target)

    def _encode(self, logits: Tensor, target: Target) -> Target:
        if len(self.mask) not in (1, len(logits)):
            msg = (
                f"mask must be one for all samples or one for each of the {len(logits)} (attacks drop finished "
                f"samples), got {len(self.mask)}. Attack samples one by one."
            )
            raise ValueError(msg)
        mask = self.mask.to(logits.device).expand(len(logits), *self.mask.shape[1:])
        try:
            wanted = encode(logits, mask, ignore_index=self.ignore_index)
        except ValueError as error:
            msg = f"mask must fit the logits {tuple(logits.shape)}, got {tuple(self.mask.shape)}: {error}"
            raise ValueError(msg) from error
        if wanted.regions != target.regions:
            kind = "boolean of the logits' shape, as the label" if target.regions else "integer, as the label"
            msg = f"mask must be {kind}, got {self.mask.dtype}."
            raise ValueError(msg)
        return wanted


def _whole(name: str, structure: int) -> int:
    if not isinstance(structure, int) or isinstance(structure, bool) or structure < 0:
        msg = f"{name} must be a whole number >= 0, the index of a channel, got {structure!r}."
        raise ValueError(msg)
    return structure


def _check(name: str, structure: int, logits: Tensor, target: Target) -> None:
    lowest, highest = target.foreground.start, logits.shape[1] - 1
    if not lowest <= structure <= highest:
        background = "" if target.regions else " Class 0 is the background."
        msg = f"{name} must be in {lowest}..{highest}, the model's foreground, got {structure}.{background}"
        raise ValueError(msg)
