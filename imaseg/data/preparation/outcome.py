"""The files that describe a prepared folder: dataset.json, split.json and prepare.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imaseg.data.cases import CaseSet
from imaseg.data.cohort.notes import Notes
from imaseg.data.cohort.sheet import write_sheet
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.cohort.survey import Survey
from imaseg.data.files import must_remain, write_json
from imaseg.data.layouts.accounting import FileAccount, account_for_files
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.splitting import Parts
from imaseg.errors import InputError
from imaseg.version import __version__


@dataclass(frozen=True)
class PrepareSummary:
    """Result of a preparation.

    Attributes:
        out: the prepared folder.
        kept: ids of the cases written.
        quarantined: reasons by id of the cases set aside.
        flagged: flags by id of kept cases that deserve a look.
        written: ids of the cases that this run wrote; the others were up to date.
        remarks: notices for the user about the whole cohort.
        files: what became of every file of the source.
    """

    out: Path
    kept: list[str]
    quarantined: dict[str, list[str]]
    flagged: dict[str, list[str]]
    written: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    files: FileAccount = field(default_factory=lambda: FileAccount({}, {}, {}))


def finish(
    cohort: CaseSet,
    source: Path,
    notes: Notes,
    recipe: Recipe,
    statistics: CohortStatistics | None,
    records: list[dict[str, Any]],
    surveys: Mapping[str, Survey],
    written: list[str],
    remarks: list[str],
    folds: Sequence[Parts] = (),
) -> PrepareSummary:
    """Write `dataset.json`, `split.json`, `prepare.html` and, last, `prepare.json`.

    Raises:
        InputError: if no case can be used; `prepare.json` then lists why.
    """
    out = notes.out
    must_remain(notes.job)
    kept = [record["id"] for record in records if record["status"] == "ok"]
    files = account_for_files(cohort, kept)
    removed = {part: [i for i in ids if i not in kept] for part, ids in cohort.split.items()}
    if kept:
        if cohort.split:
            split = {part: [i for i in ids if i in kept] for part, ids in cohort.split.items()}
            write_json(out / "split.json", split)
            whole = [split] if notes.layout == "nnunet" and {"train", "val"} <= split.keys() else []
            if whole := [*folds] if len(folds) > 1 else whole:
                parts = ("train", "val")
                kept_folds = [{part: [i for i in fold[part] if i in kept] for part in parts} for fold in whole]
                write_json(out / "splits_final.json", kept_folds)
        describe = _nnunet_description if notes.layout == "nnunet" else _description
        write_json(out / "dataset.json", describe(cohort, kept, surveys))
    content = {
        "imaseg": __version__,
        "source": str(source),
        "recipe": recipe.model_dump(mode="json"),
        "fingerprint": statistics.to_json() if statistics else None,
        "remarks": remarks,
        "removed_from_split": {part: ids for part, ids in removed.items() if ids},
        "cases": records,
        "files": files.to_json(),
    }
    write_sheet(out / "prepare.html", content, _labels(cohort, kept, surveys), notes)
    write_json(out / "prepare.json", content)
    quarantined = {record["id"]: record["reasons"] for record in records if record["status"] != "ok"}
    if not kept:
        name, reasons = next(iter(quarantined.items()))
        msg = f"{source} must hold a case fit for use, got {len(quarantined)} unfit ones ({name}: {reasons[0]})"
        raise InputError(msg)
    flagged = {record["id"]: record["flags"] for record in records if record["status"] == "ok" and record["flags"]}
    return PrepareSummary(out, kept, quarantined, flagged, written, remarks, files)


def _labels(cohort: CaseSet, kept: list[str], surveys: Mapping[str, Survey]) -> dict[int, str]:
    values = {int(value) for name in kept for value in surveys[name].class_volume_ml}
    return cohort.declared_labels or {0: "background"} | {v: str(v) for v in sorted(values)}


def _modality(cohort: CaseSet, kept: list[str], surveys: Mapping[str, Survey]) -> tuple[str, ...]:
    return cohort.modality or tuple("unknown" for _ in range(surveys[kept[0]].channels))


def _description(cohort: CaseSet, kept: list[str], surveys: Mapping[str, Survey]) -> dict[str, Any]:
    """`dataset.json` of the Medical Segmentation Decathlon."""
    modality = _modality(cohort, kept, surveys)
    labelled = {case.id for case in cohort if case.label is not None}
    return {
        "name": cohort.name,
        "tensorImageSize": "3D" if len(modality) == 1 else "4D",
        "modality": {str(i): name for i, name in enumerate(modality)},
        "labels": {str(value): name for value, name in _labels(cohort, kept, surveys).items()},
        "numTraining": len(kept),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz"}
            | ({"label": f"./labelsTr/{name}.nii.gz"} if name in labelled else {})
            for name in kept
        ],
        "test": [],
    }


def _nnunet_description(cohort: CaseSet, kept: list[str], surveys: Mapping[str, Survey]) -> dict[str, Any]:
    """`dataset.json` of nnU-Net version 2."""
    modality = _modality(cohort, kept, surveys)
    return {
        "name": cohort.name,
        "channel_names": {str(i): name for i, name in enumerate(modality)},
        "labels": {name: value for value, name in _labels(cohort, kept, surveys).items()},
        "numTraining": len(kept),
        "file_ending": ".nii.gz",
    }
