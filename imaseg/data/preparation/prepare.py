"""`imaseg prepare`: turns a raw data set into a folder ready for training, with a record of all that was done.

Two passes: the first reads and checks every case, the second writes those that are fit. Both keep a note per case in
`OUT/.prepare/`, with the size and time of the files it read, so that a rerun, also of a killed run, does only what is
missing or changed. `prepare.json` is written last: if it exists, the folder is complete.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case, CaseSet
from imaseg.data.cohort.flags import cohort_flags, unlike_most_in_scale
from imaseg.data.cohort.notes import Notes, OutLayout
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.cohort.survey import Survey, survey_case
from imaseg.data.files import (
    LONGEST_NAME,
    PICTURE_SUFFIXES,
    SUFFIXES,
    files_behind,
    sole_writer,
    sweep,
    walk,
    write_json,
)
from imaseg.data.layouts.held_out import held_out_images
from imaseg.data.layouts.load import load_cases
from imaseg.data.plain import read_json
from imaseg.data.preparation.division import divide
from imaseg.data.preparation.jobs import Workers, usual_workers
from imaseg.data.preparation.kept_tags import TABLE, require_dicom, write_tags
from imaseg.data.preparation.labels import allowed_values, by_recipe
from imaseg.data.preparation.outcome import PrepareSummary, finish
from imaseg.data.preparation.recipe import Recipe, parse_recipe
from imaseg.data.preparation.writing import lost_by, set_aside, write_case, write_lost
from imaseg.data.splitting import Parts, Splitting
from imaseg.errors import InputError
from imaseg.progress import counted
from imaseg.version import __version__

__all__ = ["PrepareSummary", "prepare", "usual_recipe"]

_LONGEST_ENDING = len(".survey.json")
"""Of the files that are written for a case."""
Progress = Callable[[int, int, str], None]


def prepare(
    source: Path,
    out: Path,
    recipe: Recipe,
    progress: Progress | None = None,
    *,
    layout: OutLayout = "msd",
    workers: int | None = 1,
    splitting: Splitting | None = None,
    patients: Mapping[str, str] | None = None,
    follow_links: bool = False,
    keep_tags: Sequence[str] = (),
) -> PrepareSummary:
    """Check every case of `source`, prepare the usable ones, and record why the others are not.

    Args:
        source: any layout that `load_cases` reads; nothing is written to it.
        out: a new or empty folder, or one that the same preparation began.
        recipe: what to do to each case.
        progress: called with steps done, steps in all, and what was done.
        layout: layout of `out`: `msd`, or `nnunet` for nnU-Net's raw folders.
        workers: processes, each with one case in memory; None chooses a number by the size of the files. A script
            that asks for several must be importable (`if __name__ == "__main__":`).
        splitting: how to split the usable cases by patient; None keeps the split of `source`, if it has one.
        patients: patient by case id, where the data and the recipe do not say or are wrong.
        follow_links: as in `load_cases`.
        keep_tags: keywords of DICOM attributes that `OUT/groups.csv` states of each prepared case, as `parse_tags`
            returns them.

    Returns:
        Which cases were prepared and which not; `OUT/prepare.json` holds the same.

    Raises:
        InputError: if `source` has no supported layout or no usable case, or `out` holds something else.
    """
    listed = load_cases(source, missing_ok=True, layout=recipe.layout, follow_links=follow_links)
    cohort = _with_patients(by_recipe(listed, recipe), patients)
    _reject_long_names(cohort)
    if keep_tags:
        require_dicom(cohort, source)
    notes = _open(source, out, recipe, layout, [splitting.text, splitting.seed, patients] if splitting else None)
    if workers is None:
        workers = usual_workers([path for case in cohort for named in case.files for path in files_behind(named)])
    tell = progress or _silent
    with sole_writer(out / ".prepare"), Workers(workers) as team:
        sweep(out)
        notes.forget_all_but(cohort.ids)
        surveys = _survey_all(cohort, recipe, allowed_values(listed, recipe), notes, team, tell)
        _same_kind(surveys, cohort)
        fit = {name: survey for name, survey in surveys.items() if not survey.reasons}
        if layout == "nnunet":
            _numbered_for_nnunet(cohort, fit, recipe)
        cohort, unlike, remarks = _scale_told(cohort, fit)
        folds: list[Parts] = []
        if splitting is not None:
            cohort, folds, told = divide(cohort, fit, splitting)
            remarks = [*remarks, told]
        tests = held_out_images(source, recipe.patient, follow_links=follow_links)
        held_out = [replace(case, channels=len(cohort.modality)) for case in tests]
        unseen = _survey_all(replace(cohort, cases=tuple(held_out)), recipe, None, notes, team, _silent)
        statistics = CohortStatistics.of(_reference(fit, cohort), cohort.modality) if fit else None
        done = _write_all(cohort, recipe, statistics, fit, notes, team, tell)
        patients = {case.id: case.patient for case in (*cohort, *held_out) if case.patient}
        compared = {name: survey for name, survey in unseen.items() if not survey.reasons}
        flags = cohort_flags(fit, cohort.split, patients, compared)
        remarks += _of_held_out(unseen, compared)
        records: list[dict[str, Any]] = []
        for case in cohort:
            survey = surveys[case.id]
            record = set_aside(survey.reasons) | {"id": case.id, "flags": survey.flags}
            if case.id in done:
                record |= done[case.id][0] | {
                    "flags": [*survey.flags, *flags[case.id], *unlike.get(case.id, ()), *done[case.id][0]["flags"]]
                }
            if record["status"] == "quarantined":
                notes.discard(case.id, survey.channels)
            known = {"patient": case.patient} if case.patient else {}
            records.append({"id": case.id} | known | record)
        written = [case.id for case in cohort if case.id in done and done[case.id][1]]
        if keep_tags:
            kept = {record["id"] for record in records if record["status"] == "ok"}
            write_tags(out / TABLE, [case for case in cohort if case.id in kept], keep_tags)
        return finish(cohort, source, notes, recipe, statistics, records, surveys, written, remarks, folds)


def usual_recipe(source: Path, layout: OutLayout = "msd") -> str:
    """Name of the default recipe for a data set, by the suffixes of its files.

    nnU-Net does its own resampling and normalisation, so its raw folder gets the cases as they are, along RAS.
    """
    if layout == "nnunet":
        return "convert"
    pictures = False
    for _, names in walk(source):
        for name in map(str.lower, names):
            if name.endswith(PICTURE_SUFFIXES):
                pictures = True
            elif name.endswith((*SUFFIXES, ".dcm", ".ima")):
                return "msd"
    return "2d" if pictures else "msd"


def _silent(*_: object) -> None:
    pass


def _reject_long_names(cohort: CaseSet) -> None:
    for name in cohort.ids:
        if len(os.fsencode(name)) > LONGEST_NAME - _LONGEST_ENDING:
            most = LONGEST_NAME - _LONGEST_ENDING
            msg = f"case ids must have {most} bytes at most, got {len(os.fsencode(name))} in {name}. Rename its files."
            raise InputError(msg)


def _with_patients(cohort: CaseSet, patients: Mapping[str, str] | None) -> CaseSet:
    if patients is None:
        return cohort
    missing = [case.id for case in cohort if case.id not in patients]
    if missing:
        few = f"{', '.join(missing[:3])} ({len(missing)} in all)"
        msg = f"patients must name the patient of each case, got none for {few}."
        raise InputError(msg)
    return replace(cohort, cases=tuple(replace(case, patient=patients[case.id]) for case in cohort))


def _open(source: Path, out: Path, recipe: Recipe, layout: OutLayout, split: list[Any] | None) -> Notes:
    inside, outside = source.resolve(), out.resolve()
    if outside == inside or inside in outside.parents or outside in inside.parents:
        msg = f"out must lie outside of the source, got {out}. Choose an empty folder elsewhere."
        raise InputError(msg)
    notes = Notes(out, layout)
    note = notes.job
    empty = not out.exists() or (out.is_dir() and all(p.name == ".prepare" for p in out.iterdir()))
    ours = note.is_file() and _same_job(read_json(note), inside, recipe, layout, split)
    if not ours and not empty:
        msg = (
            f"out must be empty, or begun from this source by this recipe and split, got {out}. Choose an empty folder."
        )
        raise InputError(msg)
    job = {"source": str(inside), "recipe": recipe.model_dump(mode="json"), "layout": layout}
    write_json(note, job | ({"split": split} if split else {}))
    return notes


def _same_job(job: Mapping[str, Any], source: Path, recipe: Recipe, layout: OutLayout, split: list[Any] | None) -> bool:
    if job.get("source") != str(source) or job.get("layout", "msd") != layout or job.get("split") != split:
        return False
    try:
        return parse_recipe(dict(job.get("recipe", {})), source="job.json") == recipe
    except InputError:
        return False


def _numbered_for_nnunet(cohort: CaseSet, fit: Mapping[str, Survey], recipe: Recipe) -> None:
    """Raise if label values have gaps: nnU-Net refuses them, too, but only hours later."""
    seen = {int(value) for survey in fit.values() for value in survey.class_volume_ml}
    values = sorted(cohort.declared_labels or {0, *seen})
    if values != list(range(len(values))):
        missing = next(i for i, value in enumerate(values) if i != value)
        own = recipe.label_map or {}
        changed = {old: values.index(new) for old, new in own.items() if new in values}
        changed |= {value: i for i, value in enumerate(values) if value not in (i, *own)}
        msg = (
            f"labels must be numbered 0, 1, 2, ... without gaps for nnU-Net, got {values[missing]} but no {missing}. "
            f"Renumber them in a --config file with label_map: {changed}"
        )
        raise InputError(msg)


def _survey_all(
    cohort: CaseSet,
    recipe: Recipe,
    allowed: Mapping[int, str] | None,
    notes: Notes,
    team: Workers,
    tell: Progress,
) -> dict[str, Survey]:
    jobs = [(case, recipe, allowed, notes, f"{cohort.root}/") for case in cohort]
    surveys = {}
    for count, (i, survey) in enumerate(team.each(_survey, jobs, _survey_lost), 1):
        surveys[cohort[i].id] = survey
        tell(count, 2 * len(cohort), f"checked {cohort[i].id}")
    return {case.id: surveys[case.id] for case in cohort}


def _survey(case: Case, recipe: Recipe, allowed: Mapping[int, str] | None, notes: Notes, root: str) -> Survey:
    meaning = [recipe.label_map, recipe.label_threshold]
    key = notes.key(case, [__version__, allowed, meaning])
    earlier = notes.read("survey", case.id, key)
    if earlier is not None:
        return Survey(**earlier)
    picture = notes.thumbnail(case.id)
    picture.unlink(missing_ok=True)
    survey = survey_case(case, allowed, mapping=recipe.label_map, threshold=recipe.label_threshold, thumbnail=picture)
    survey = replace(survey, reasons=[text.replace(root, "") for text in survey.reasons])
    notes.write("survey", case.id, key, survey.to_json())
    return survey


def _survey_lost(how: str, case: Case, *_: object) -> Survey:
    return Survey(reasons=[lost_by(how, case)])


def _write_all(
    cohort: CaseSet,
    recipe: Recipe,
    statistics: CohortStatistics | None,
    fit: Mapping[str, Survey],
    notes: Notes,
    team: Workers,
    tell: Progress,
) -> dict[str, tuple[dict[str, Any], bool]]:
    cases = [case for case in cohort if case.id in fit]
    before = 2 * len(cohort) - len(cases)
    jobs = [(case, recipe, statistics, notes) for case in cases]
    done = {}
    for count, (i, outcome) in enumerate(team.each(write_case, jobs, write_lost), 1):
        done[cases[i].id] = outcome
        tell(before + count, 2 * len(cohort), f"prepared {cases[i].id}")
    return done


def _scale_told(cohort: CaseSet, fit: Mapping[str, Survey]) -> tuple[CaseSet, dict[str, list[str]], list[str]]:
    """The cohort with modality CT if none is stated and most grey values look like HU; flags; a remark about it."""
    if not fit or any(name.lower() != "unknown" for name in cohort.modality):
        return cohort, {}, []
    hounsfield, unlike = unlike_most_in_scale(fit)
    if not hounsfield:
        return cohort, unlike, []
    remark = (
        "Nothing says what these images are, but their grey values look like HU: taken for CT. "
        "If they are not, name it in a --config file, such as modality: [MRI]."
    )
    return replace(cohort, modality=("CT",)), unlike, [remark]


def _of_held_out(all_of_them: Mapping[str, Survey], compared: Mapping[str, Survey]) -> list[str]:
    if not all_of_them:
        return []
    unread = len(all_of_them) - len(compared)
    but = f", {unread} of them could not be read" if unread else ""
    return [f"{len(all_of_them)} images of the data set's own test part are not prepared, only compared{but}."]


def _same_kind(surveys: dict[str, Survey], cohort: CaseSet) -> None:
    """Add reasons to the surveys of cases with another number of channels or modality than most."""
    fit = [case for case in cohort if not surveys[case.id].reasons]
    channels = _most([surveys[case.id].channels for case in fit])
    kind = _most([case.modality for case in fit])
    for case in fit:
        survey, reasons = surveys[case.id], []
        if survey.channels != channels:
            reasons.append(
                f"{case.id} must have {counted(channels, 'channel')} like most of the cohort, got {survey.channels}."
            )
        if case.modality != kind:
            reasons.append(f"{case.id} must be {kind} like most of the cohort, got {case.modality}.")
        if reasons:
            surveys[case.id] = replace(survey, reasons=reasons)


def _most(values: list[Any]) -> Any:
    return max(Counter(values).items(), key=lambda item: item[1], default=(None, 0))[0]


def _reference(fit: Mapping[str, Survey], cohort: CaseSet) -> list[Survey]:
    """Surveys that statistics are computed from: those of the train split if there is one, else all."""
    train = [fit[name] for name in cohort.split.get("train", []) if name in fit]
    return train or list(fit.values())
