"""The files that describe a prepared folder: dataset.json, split.json and prepare.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imaseg.data.cases import CaseSet
from imaseg.data.cohort import CohortStatistics
from imaseg.data.files import write_json
from imaseg.data.recipe import Recipe
from imaseg.data.survey import Survey
from imaseg.data.writing import installed_version
from imaseg.errors import InputError


@dataclass(frozen=True)
class PrepareSummary:
    """What a preparation came to.

    Attributes:
        out: the prepared folder.
        kept: ids of the cases written.
        quarantined: reasons by id of the cases set aside.
        flagged: flags by id of kept cases that deserve a look.
        written: ids of the cases that this run had to write; the others were there already.
    """

    out: Path
    kept: list[str]
    quarantined: dict[str, list[str]]
    flagged: dict[str, list[str]]
    written: list[str] = field(default_factory=list)


def finish(
    cohort: CaseSet,
    source: Path,
    out: Path,
    recipe: Recipe,
    statistics: CohortStatistics | None,
    records: list[dict[str, Any]],
    surveys: Mapping[str, Survey],
    written: list[str],
) -> PrepareSummary:
    """Write `dataset.json`, `split.json` and, last, `prepare.json`.

    Raises:
        InputError: if no case was fit; `prepare.json` then says why.
    """
    kept = [record["id"] for record in records if record["status"] == "ok"]
    removed = {part: [i for i in ids if i not in kept] for part, ids in cohort.split.items()}
    if kept:
        if cohort.split:
            write_json(out / "split.json", {p: [i for i in ids if i in kept] for p, ids in cohort.split.items()})
        write_json(out / "dataset.json", _description(cohort, kept, surveys))
    content = {
        "imaseg": installed_version(),
        "source": str(source),
        "recipe": recipe.model_dump(mode="json"),
        "fingerprint": statistics.to_json() if statistics else None,
        "removed_from_split": {part: ids for part, ids in removed.items() if ids},
        "cases": records,
    }
    write_json(out / "prepare.json", content)
    quarantined = {record["id"]: record["reasons"] for record in records if record["status"] != "ok"}
    if not kept:
        name, reasons = next(iter(quarantined.items()))
        msg = f"{source} must hold a case fit for use, got {len(quarantined)} unfit ones ({name}: {reasons[0]})"
        raise InputError(msg)
    flagged = {record["id"]: record["flags"] for record in records if record["status"] == "ok" and record["flags"]}
    return PrepareSummary(out, kept, quarantined, flagged, written)


def _description(cohort: CaseSet, kept: list[str], surveys: Mapping[str, Survey]) -> dict[str, Any]:
    """`dataset.json` of the Medical Segmentation Decathlon."""
    found = {int(value) for name in kept for value in surveys[name].class_volume_ml}
    labels = cohort.declared_labels or {0: "background"} | {v: str(v) for v in sorted(found)}
    modality = cohort.modality or tuple("unknown" for _ in range(surveys[kept[0]].channels))
    labelled = {case.id for case in cohort if case.label is not None}
    return {
        "name": cohort.name,
        "tensorImageSize": "3D" if len(modality) == 1 else "4D",
        "modality": {str(i): name for i, name in enumerate(modality)},
        "labels": {str(value): name for value, name in labels.items()},
        "numTraining": len(kept),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz"}
            | ({"label": f"./labelsTr/{name}.nii.gz"} if name in labelled else {})
            for name in kept
        ],
        "test": [],
    }
