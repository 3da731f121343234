"""Preparation of one case and writing of its files, skipped if an earlier run did it."""

from __future__ import annotations

from typing import Any

import numpy as np

from imaseg.data.cases import Case
from imaseg.data.cohort.notes import Notes
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.cohort.thumbnail import draw_thumbnail
from imaseg.data.formats.nifti import write_nifti
from imaseg.data.preparation.intensity import method_of
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.reading import read_volume
from imaseg.data.relabel import renumbered
from imaseg.data.volume import Step, Volume
from imaseg.errors import InputError
from imaseg.version import __version__


def write_case(case: Case, recipe: Recipe, statistics: CohortStatistics, notes: Notes) -> tuple[dict[str, Any], bool]:
    """Prepare and write one case, unless its files are up to date.

    Returns:
        The record of the case, and whether it was written.
    """
    key = notes.key(case, _used(recipe, statistics))
    earlier = notes.read("case", case.id, key)
    channels = len(statistics.intensity)
    if earlier is not None and all(path.is_file() for path in notes.outputs(case, channels)):
        return earlier, False
    notes.discard(case.id, channels)
    try:
        native = read_volume(case, threshold=recipe.label_threshold, compact=True)
        shape, affine, voxels = list(native.shape), native.affine.tolist(), _counts(native, recipe)
        # Handed over, not shared: the native voxels are freed once they are turned.
        kept = [native]
        del native
        volume, steps = apply_recipe(kept.pop(), recipe, statistics)
    except InputError as error:
        return set_aside([str(error)]), False
    if recipe.label_threshold is not None and volume.label is not None:
        steps = [{"name": "threshold", "from": recipe.label_threshold}, *steps]
    _write(volume, case, notes)
    record = {
        "status": "ok",
        "reasons": [],
        "flags": _label_flags(voxels, volume.label, steps),
        "native_shape": shape,
        "native_affine": affine,
        "steps": steps,
    }
    notes.write("case", case.id, key, record)
    return record, True


def write_lost(how: str, case: Case, *_: object) -> tuple[dict[str, Any], bool]:
    """What `write_case` returns of a case on which its process died; `how` it ended."""
    return set_aside([lost_by(how, case)]), False


def lost_by(how: str, case: Case) -> str:
    """Why a case on which processes died is set aside."""
    return (
        f"{case.id} must be prepared without a fault, got a process that was {how} at it, also when it was tried again "
        "alone. Run again with fewer workers or more memory, or take its files out of the data."
    )


def set_aside(reasons: list[str]) -> dict[str, Any]:
    """Record of a case that cannot be used."""
    return {"status": "quarantined", "reasons": reasons, "flags": [], "steps": []}


def _write(volume: Volume, case: Case, notes: Notes) -> None:
    files = notes.images(case.id, len(volume.image))
    images = [volume.image] if len(files) == 1 else [channel[None] for channel in volume.image]
    for file, image in zip(files, images, strict=True):
        write_nifti(file, image, volume.affine, dtype=np.float32)
    if volume.label is not None:
        smallest = np.uint8 if volume.label.max() <= 255 else np.uint16
        write_nifti(notes.label(case.id), volume.label, volume.affine, dtype=smallest)
    draw_thumbnail(volume, notes.thumbnail(case.id))


def _used(recipe: Recipe, statistics: CohortStatistics) -> dict[str, Any]:
    """All that the prepared case depends on besides its files; statistics not used by the recipe are left out."""
    channels = range(len(statistics.intensity))
    methods = {method_of(recipe.normalise, statistics.modality, c) for c in channels}
    return {
        "imaseg": __version__,
        "recipe": recipe.model_dump(mode="json"),
        "modality": statistics.modality,
        "spacing": statistics.spacing if recipe.spacing == "median" else None,
        "intensity": statistics.intensity if "ct" in methods else None,
    }


def _counts(native: Volume, recipe: Recipe) -> dict[int, int]:
    """Number of native voxels of each structure, by its value in the prepared label."""
    if native.label is None:
        return {}
    values, counts = np.unique(renumbered(native.label, recipe.label_map or {}), return_counts=True)
    return {int(value): int(n) for value, n in zip(values, counts, strict=True) if value > 0}


def _label_flags(before: dict[int, int], after: np.ndarray | None, steps: list[Step]) -> list[str]:
    """A sentence per structure whose volume the preparation changed by more than a fifth."""
    if after is None:
        return []
    growth = 1.0
    for step in steps:
        if step["name"] == "resample":
            growth = float(np.prod(step["spacing_to"]) / np.prod(step["spacing_from"]))
    flags = []
    for value, was in before.items():
        now = int(np.count_nonzero(after == value)) * growth
        if abs(now / was - 1) > 0.2:
            flags.append(f"label {value} went from {was} to {now:.0f} voxels (of native size) in preparation.")
    return flags
