"""Held-out slices under corruptions that occur in MR, corrupted as whole volumes before preparation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from hippocampus_2d import fitted
from planes import Planes, by_patient, dice, voxels_of
from torch import Tensor, nn

from imaseg import load_cases
from imaseg.corruptions import SEVERITIES, Corruption
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.reading import read_volume
from imaseg.data.volume import Volume
from imaseg.progress import bar

CORRUPTIONS = (
    "bias-field", "blur", "gamma", "gaussian-noise", "ghosting", "gibbs-ringing", "intensity-shift",
    "missing-slices", "motion", "resolution-loss", "rician-noise", "rotation", "slice-thickness", "spikes",
    "translation",
)  # fmt: skip
"""Those that the table was made with: all that occur in MR but for contrasts and places that came later."""


def corrupted_planes(data: Path, prepared: Path, file: Path, every: int) -> dict[str, list[Planes]]:
    """Of each of `CORRUPTIONS`, the held-out slices with foreground at severities 1 to 5; kept in a file.

    Args:
        data: raw cases in the layout of the Medical Segmentation Decathlon, with a `split.json`.
        prepared: the same, prepared.
        file: where they are kept.
        every: of how many slices one is taken.
    """
    if not file.is_file():
        torch.save(_make(data, prepared, every), file)
    found = torch.load(file, weights_only=True)
    return {
        name: [Planes(names, image.float(), label.long()) for names, image, label in kept]
        for name, kept in found.items()
    }


def _make(data: Path, prepared: Path, every: int) -> dict[str, list[tuple[list[str], Tensor, Tensor]]]:
    cohort, about = load_cases(data), json.loads((prepared / "prepare.json").read_text())
    statistics, recipe = CohortStatistics.from_json(about["fingerprint"]), load_recipe("msd")
    volumes = [read_volume(case) for case in cohort.select(cohort.split["val"])]
    kinds = [Corruption.build(name) for name in CORRUPTIONS]
    found: dict[str, list[tuple[list[str], Tensor, Tensor]]] = {}
    with bar("corrupt") as tell:
        for number, corruption in enumerate(kinds):
            ladders = [corruption.ladder(volume, modality=statistics.modality) for volume in volumes]
            cases = [[apply_recipe(one.volume, recipe, statistics)[0] for one in ladder] for ladder in ladders]
            found[corruption.name] = [
                _slices([case[level] for case in cases], every) for level in range(len(SEVERITIES))
            ]
            tell(number + 1, len(kinds), corruption.name)
    return found


def _slices(volumes: list[Volume], every: int) -> tuple[list[str], Tensor, Tensor]:
    """Names, images in half precision and labels of the slices with foreground."""
    names, images, labels = [], [], []
    for volume in volumes:
        for place in range(0, volume.image.shape[3], every):
            label = np.asarray(volume.label)[:, :, place]
            if label.any():
                names.append(f"{volume.id}/{place:03d}")
                images.append(fitted(torch.from_numpy(volume.image[0, :, :, place]).T))
                labels.append(fitted(torch.from_numpy(label).T))
    return names, torch.stack(images)[:, None].half(), torch.stack(labels).to(torch.uint8)


def corrupted_dice(model: nn.Module, corrupted: dict[str, list[Planes]]) -> Tensor:
    """Mean Dice over severities, (corruptions, patients)."""
    model.eval()
    return torch.stack(
        [torch.stack([_by_patient(model, planes) for planes in levels]).mean(0) for levels in corrupted.values()]
    )


def _by_patient(model: nn.Module, planes: Planes) -> Tensor:
    with torch.no_grad():
        found = voxels_of(model(planes.image), planes.label)[None]
    return dice(torch.tensor(by_patient(found, planes.names)["voxels"]))[0].nanmean(1)
