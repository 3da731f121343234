"""What an audit compares predictions with: labels, or the model's own prediction of the unchanged image.

Against its own prediction a model is perfect where nothing is changed, so that such an audit needs no labels and says
how stable predictions are, not how right. Labels that the data do have are kept aside: `Loaded.truth`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import numpy as np
import torch

from imaseg.attacks.search import FRESH_DRAWS
from imaseg.auditing.inputs.own import native_decision
from imaseg.auditing.inputs.source import Loaded
from imaseg.data import CaseSet
from imaseg.errors import InputError
from imaseg.frozen import frozen, seed_all
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.progress import counted

Reference = Literal["label", "prediction"]


def parse_reference(text: str) -> Reference:
    """What `--reference` names.

    Raises:
        InputError: if it names neither.
    """
    if text not in ("label", "prediction"):
        msg = f"reference must be label or prediction, got {text!r}."
        raise InputError(msg)
    return cast("Reference", text)


def against_prediction(model: SegmentationModel, loaded: Loaded, *, random: bool = False, seed: int = 0) -> Loaded:
    """The case with the model's decision on its unchanged image in the place of the label.

    Args:
        model: on its device.
        loaded: with or without a label.
        random: whether the model gives another output each time; the decision is then that of a mean over draws.
        seed: of these draws.
    """
    image = torch.from_numpy(loaded.volume.image)[None].to(next(model.parameters()).device)
    draws = []
    with frozen(model), torch.no_grad():
        for draw in range(FRESH_DRAWS if random else 1):
            if random:
                seed_all(seed + draw)
            draws.append(model(image))
        logits = torch.stack(draws).mean(0)[0]
        native = native_decision(model, image, logits, loaded.steps) if loaded.steps else None
    decided = logits.argmax(0).cpu().numpy().astype(np.int64)
    return replace(
        loaded,
        volume=replace(loaded.volume, label=decided),
        native=replace(loaded.native, label=decided if native is None else native),
        classes={},
        own=True,
        truth=loaded.volume.label,
        native_truth=None if loaded.native.label is None else loaded.native_label,
    )


def without_lost_labels(cases: CaseSet) -> tuple[CaseSet, list[str]]:
    """Leave out the names of label files that are not there; the second value is a note that says so, if any."""
    lost = [case.id for case in cases if case.label is not None and not case.label.exists()]
    if not lost:
        return cases, []
    kept = tuple(replace(case, label=None, more_labels=()) if case.id in {*lost} else case for case in cases)
    note = (
        f"{counted(len(lost), 'case')} of {len(cases)}, first {lost[0]}, without the label file that the data set "
        "names: compared with the model's own prediction alone."
    )
    return replace(cases, cases=kept), [note]


def with_names(cases: CaseSet, card: ModelCard) -> CaseSet:
    """Cases of which none has a label and no file names structures, with the names that the model's card has."""
    if any(case.label is not None for case in cases) or any(value > 0 for value in cases.labels):
        return cases
    classes = {0: 0, **card.label_map} if card.label_map else {k: k for k in card.labels}
    names = {value: card.labels.get(k, "background") for value, k in classes.items()}
    return replace(cases, declared_labels=names)
