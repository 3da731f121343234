"""One fit case through the recipe and on to disk, unless an earlier run did that."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from imaseg.data.cases import Case
from imaseg.data.cohort import CohortStatistics
from imaseg.data.intensity import method_for
from imaseg.data.nifti import read_volume, write_nifti
from imaseg.data.notes import Notes
from imaseg.data.recipe import Recipe
from imaseg.data.steps import Step, apply_recipe
from imaseg.errors import InputError


def write_case(case: Case, recipe: Recipe, statistics: CohortStatistics, notes: Notes) -> tuple[dict[str, Any], bool]:
    """Prepare and write one case unless that was done before.

    Returns:
        The record of the case, and whether it had to be written.
    """
    key = notes.key(case, _used(recipe, statistics))
    known = notes.read("case", case.id, key)
    if known is not None and all(path.is_file() for path in notes.outputs(case)):
        return known, False
    notes.discard(case.id)
    try:
        native = read_volume(case)
        volume, steps = apply_recipe(native, recipe, statistics)
    except InputError as error:
        return set_aside([str(error)]), False
    image, *label = notes.outputs(case)
    write_nifti(image, volume.image, volume.affine, dtype=np.float32)
    if volume.label is not None and label:
        write_nifti(label[0], volume.label, volume.affine, dtype=np.uint8)
    record = {
        "status": "ok",
        "reasons": [],
        "flags": _label_flags(native.label, volume.label, steps),
        "native_shape": list(native.shape),
        "native_affine": native.affine.tolist(),
        "steps": steps,
    }
    notes.write("case", case.id, key, record)
    return record, True


def set_aside(reasons: list[str]) -> dict[str, Any]:
    """Record of a case that cannot be used."""
    return {"status": "quarantined", "reasons": reasons, "flags": [], "steps": []}


def _used(recipe: Recipe, statistics: CohortStatistics) -> dict[str, Any]:
    """What the outcome of a case depends on besides its files; other figures of the cohort may move freely."""
    methods = {method_for(statistics.modality, c) for c in range(len(statistics.intensity))}
    fixed = recipe.normalise == "ct" or (recipe.normalise == "auto" and "ct" in methods)
    return {
        "imaseg": installed_version(),
        "recipe": recipe.model_dump(mode="json"),
        "modality": statistics.modality,
        "spacing": statistics.spacing if recipe.spacing == "median" else None,
        "intensity": statistics.intensity if fixed else None,
    }


def _label_flags(before: np.ndarray | None, after: np.ndarray | None, steps: list[Step]) -> list[str]:
    """Structures that the steps shrank, grew or lost by more than a fifth, volume for volume."""
    if before is None or after is None:
        return []
    growth = 1.0
    for step in steps:
        if step["name"] == "resample":
            growth = float(np.prod(step["spacing_to"]) / np.prod(step["spacing_from"]))
    flags = []
    for value in np.unique(before[before > 0]):
        was, now = int((before == value).sum()), int((after == value).sum()) * growth
        if abs(now / was - 1) > 0.2:
            flags.append(f"label {value} went from {was} to {now:.0f} voxels (of native size) in preparation.")
    return flags


def installed_version() -> str:
    """Version of this package, for the record."""
    try:
        return version("imaseg")
    except PackageNotFoundError:
        return "unknown"
