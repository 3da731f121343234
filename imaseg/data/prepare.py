"""`imaseg prepare`: a raw folder in, an MSD folder ready for training out, and a record of all that was done.

Two passes: the first reads and checks every case, the second writes those that are fit. Both keep a note per
case in `OUT/.prepare/`, with the size and time of the files it read, so that a run that was killed or comes again
does only what is missing or changed. `prepare.json` is written last: where it is, the folder is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imaseg.data.cases import Case, CaseSet, load_cases
from imaseg.data.cohort import CohortStatistics, cohort_flags
from imaseg.data.files import read_json, write_json
from imaseg.data.notes import Notes
from imaseg.data.outcome import PrepareSummary, finish
from imaseg.data.recipe import Recipe
from imaseg.data.survey import Survey, survey_case
from imaseg.data.writing import installed_version, set_aside, write_case
from imaseg.errors import InputError

__all__ = ["PrepareSummary", "prepare"]

Progress = Callable[[int, int, str], None]


def prepare(source: Path, out: Path, recipe: Recipe, progress: Progress | None = None) -> PrepareSummary:
    """Check every case of `source`, prepare those that are fit, set the others aside with the reason.

    Args:
        source: any layout that `load_cases` reads; nothing is written to it.
        out: a new or empty folder, or one that the same preparation began.
        recipe: what to do to each case.
        progress: called with steps done, steps in all, and what was done.

    Returns:
        What was kept and what was not; the same stands in `OUT/prepare.json`.

    Raises:
        InputError: if `source` has no readable layout or no fit case, or `out` holds something else.
    """
    cohort = load_cases(source, missing_ok=True)
    notes = _open(source, out, recipe)
    tell = progress or _silent
    surveys = {}
    for i, case in enumerate(cohort):
        surveys[case.id] = _survey(case, cohort, notes)
        tell(i + 1, 2 * len(cohort), f"checked {case.id}")
    _same_channels(surveys)
    fit = {name: survey for name, survey in surveys.items() if not survey.reasons}
    statistics = CohortStatistics.of(_reference(fit, cohort), cohort.modality) if fit else None
    flags = cohort_flags(fit, cohort.split)
    records: list[dict[str, Any]] = []
    written: list[str] = []
    for i, case in enumerate(cohort):
        survey = surveys[case.id]
        record = set_aside(survey.reasons) | {"id": case.id, "flags": survey.flags}
        if statistics is not None and not survey.reasons:
            done, fresh = write_case(case, recipe, statistics, notes)
            record |= done | {"flags": survey.flags + flags[case.id] + done["flags"]}
            written += [case.id] if fresh else []
        if record["status"] == "quarantined":
            notes.discard(case.id)
        records.append({"id": case.id} | record)
        tell(len(cohort) + i + 1, 2 * len(cohort), f"prepared {case.id}")
    return finish(cohort, source, out, recipe, statistics, records, surveys, written)


def _silent(*_: object) -> None:
    pass


def _open(source: Path, out: Path, recipe: Recipe) -> Notes:
    inside, outside = source.resolve(), out.resolve()
    if outside == inside or inside in outside.parents or outside in inside.parents:
        msg = f"out must lie outside of the source, got {out}. Choose an empty folder elsewhere."
        raise InputError(msg)
    job = {"source": str(inside), "recipe": recipe.model_dump(mode="json")}
    note = out / ".prepare" / "job.json"
    empty = not out.exists() or (out.is_dir() and all(p.name == ".prepare" for p in out.iterdir()))
    ours = note.is_file() and read_json(note) == job
    if not ours and (not empty or note.exists()):
        msg = f"out must be empty, or begun from this source by this recipe, got {out}. Choose an empty folder."
        raise InputError(msg)
    write_json(note, job)
    return Notes(out)


def _survey(case: Case, cohort: CaseSet, notes: Notes) -> Survey:
    key = notes.key(case, [installed_version(), cohort.declared_labels])
    known = notes.read("survey", case.id, key)
    if known is not None:
        return Survey(**known)
    survey = survey_case(case, cohort.declared_labels)
    root = f"{cohort.root}/"
    survey = Survey(**survey.to_json() | {"reasons": [text.replace(root, "") for text in survey.reasons]})
    notes.write("survey", case.id, key, survey.to_json())
    return survey


def _same_channels(surveys: dict[str, Survey]) -> None:
    """A network takes one number of channels: cases with another than most are set aside."""
    counts = [survey.channels for survey in surveys.values() if not survey.reasons]
    usual = max(set(counts), key=counts.count, default=0)
    for name, survey in surveys.items():
        if not survey.reasons and survey.channels != usual:
            reason = f"{name} must have {usual} channels like most of the cohort, got {survey.channels}."
            surveys[name] = Survey(**survey.to_json() | {"reasons": [reason]})


def _reference(fit: Mapping[str, Survey], cohort: CaseSet) -> list[Survey]:
    """Cases whose figures the recipe may use: those of the train split, so that the others stay unseen."""
    train = [fit[name] for name in cohort.split.get("train", []) if name in fit]
    return train or list(fit.values())
