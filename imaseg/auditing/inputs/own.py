"""Holds imaseg's prediction of a case against the one that the model's own software makes from the same files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaseg.auditing.inputs.source import Loaded
from imaseg.auditing.metrics.scores import dice_of_maps
from imaseg.data import Case
from imaseg.data.inverse.invert import invert_logits, invert_painted
from imaseg.data.volume import Step
from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel
from imaseg.models.only import OnlyClasses
from imaseg.results.preparation import SAME, Agreement

_FEW = 50
"""Classes of fewer voxels in both predictions do not enter the mean: there rounding decides."""


def agreement(model: SegmentationModel, case: Case, loaded: Loaded, *, prepared: bool) -> Agreement:
    """Predict a case twice and compare, voxel by voxel on the grid of its files.

    Args:
        model: as it is audited.
        case: with its files.
        loaded: the same case as imaseg reads and prepares it.
        prepared: whether the files were prepared before, so that the model's own software cannot take them.
    """
    whole = model.whole if isinstance(model, OnlyClasses) else model
    if whole.own is None:
        reason = whole.no_own or "imaseg itself trained this model, so that there is no other software"
        return Agreement(applies=bool(whole.no_own), case=case.id, reason=f"{reason}.")
    if prepared:
        reason = "the cases were prepared by imaseg, and the model's own software takes raw ones. Name the raw folder."
        return Agreement(pipeline=whole.own.name, case=case.id, reason=reason)
    try:
        theirs = whole.own.predict(case.image)
    except Exception as error:  # foreign software raises anything, and the audit goes on without it
        told = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}".strip()
        told = " ".join(told.split())[:500]
        return Agreement(pipeline=whole.own.name, case=case.id, reason=f"{whole.own.name} could not run: {told}")
    device = next(whole.parameters()).device
    image = torch.from_numpy(loaded.volume.image)[None].to(device)
    with frozen(whole), torch.no_grad():
        logits = whole(image)[0]
    ours = native_decision(whole, image, logits, loaded.steps)
    return _compared(ours, theirs, whole, case, resampled=_resampled(loaded.steps))


def native_decision(
    model: SegmentationModel, image: Tensor, logits: Tensor, steps: Sequence[Step]
) -> NDArray[np.int64]:
    """Class of each voxel (X, Y, Z) on the grid of the files.

    Class logits of structures that are painted over each other have kinks where these meet: the network's own channels
    go back one by one.

    Args:
        model: as it is audited.
        image: (1, C, *spatial), as the model takes it.
        logits: (K, *spatial) that the model returned for it.
        steps: the records of its case.
    """
    whole, kept = (model.whole, model.kept) if isinstance(model, OnlyClasses) else (model, None)
    if whole.painted is None or model.back == "nearest" or not _resampled(steps):
        return invert_logits(logits.float().cpu().numpy(), steps, back=model.back)
    with frozen(whole), torch.no_grad():
        channels = whole.channels(image)[0].float().cpu().numpy()
    decided = invert_painted(channels, steps, whole.painted, back=model.back)
    if kept is None:
        return decided
    table = np.zeros(max(*whole.card.labels, 0) + 1, np.int64)
    table[list(kept)] = range(len(kept))
    return table[decided]


def dice_of_either(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> dict[int, float]:
    """Dice of each foreground class that occurs in either of two label maps; negative labels count as nothing."""
    classes = sorted({*np.unique(ours).tolist(), *np.unique(theirs).tolist()})
    return {int(k): score for k, score in dice_of_maps(ours, theirs, {k: [k] for k in classes if k > 0}).items()}


def _compared(
    ours: NDArray[np.int64],
    theirs: NDArray[np.int64],
    model: SegmentationModel,
    case: Case,
    *,
    resampled: bool = False,
) -> Agreement:
    name = model.own.name if model.own is not None else ""
    if ours.shape != theirs.shape:
        reason = f"{name} predicts {theirs.shape} voxels where the file holds {ours.shape}."
        return Agreement(pipeline=name, case=case.id, dice=0.0, voxels=0.0, reason=reason)
    scores = dice_of_either(ours, theirs)
    counted = [score for k, score in scores.items() if max((ours == k).sum(), (theirs == k).sum()) >= _FEW]
    found = Agreement(
        pipeline=name,
        case=case.id,
        by_class={str(k): score for k, score in scores.items()},
        voxels=float((ours == theirs).mean()),
    )
    if not counted:
        told = ", ".join(f"{k}: {score:.3f}" for k, score in scores.items())
        reason = (
            f"of no class either predicts {_FEW} voxels in case {case.id} (Dice by class {{{told}}}), "
            "so that rounding decides. Name a case with larger structures first."
        )
        return found.model_copy(update={"reason": reason})
    why = _why(scores, model, theirs, resampled=resampled)
    return found.model_copy(update={"dice": float(np.mean(counted)), "lowest": min(counted), "reason": why})


def _resampled(steps: Sequence[Step]) -> bool:
    return any(step["name"] == "resample" for step in steps)


def _why(scores: Mapping[int, float], model: SegmentationModel, theirs: NDArray[np.int64], *, resampled: bool) -> str:
    """What is known to differ, for the reader of a number below 1."""
    if all(score == 1 for score in scores.values()):
        return ""
    known = f"imaseg leaves out {', '.join(model.left_out)}; " if model.left_out else ""
    missing = [str(k) for k in scores if k not in theirs]
    more = f"its own software does not predict class {', '.join(missing)}; " if missing else ""
    if resampled:
        return f"{known}{more}both interpolate to the grid of the files, where rounding may decide."
    if min(scores.values()) >= SAME:
        return f"{known}{more}what is left is small enough for rounding."
    return f"{known}{more}nothing else is known to differ: compare preparation, padding and tiles with the training's."
