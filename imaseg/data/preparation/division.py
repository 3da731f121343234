"""The split that `imaseg prepare --split` makes of the cases that are fit for use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from imaseg.data.cases import CaseSet
from imaseg.data.splitting import Parts, Splitting
from imaseg.errors import InputError
from imaseg.progress import counted


def divide(cohort: CaseSet, fit: Collection[str], splitting: Splitting) -> tuple[CaseSet, list[Parts], str]:
    """Split the usable cases of a cohort by patient.

    Returns:
        The cohort with its split, the splits of all folds, and a sentence on what was done and how patients are known.

    Raises:
        InputError: if the cohort has a split, or the patient of some cases only is known.
    """
    if cohort.split:
        msg = (
            f"{cohort.root} must have no split of its own to be split, got split.json. Remove it, or leave out --split."
        )
        raise InputError(msg)
    cases = [case for case in cohort if case.id in fit]
    unknown = [case.id for case in cases if not case.patient]
    if 0 < len(unknown) < len(cases):
        msg = (
            f"the patient of each case must be known for a split, got none for {', '.join(unknown[:3])} "
            f"({len(unknown)} of {len(cases)} cases). The expression or file of --patients must name all of them."
        )
        raise InputError(msg)
    patients = {case.id: case.patient or case.id for case in cases}
    folds = splitting.folds(patients)
    split = folds[splitting.chosen]
    people = {part: len({patients[name] for name in names}) for part, names in split.items()}
    how = (
        "nothing says which cases are of one patient, so each counts as a patient of its own: name them by --patients "
        "if that is wrong"
        if unknown
        else "cases of one patient stay together"
    )
    told = (
        f"Split {splitting.text} (seed {splitting.seed}): {counted(len(split['train']), 'case')} of "
        f"{counted(people['train'], 'patient')} to train on, {len(split['val'])} of {people['val']} held out; {how}."
    )
    if len(folds) > 1:
        told += f" split.json is fold {splitting.chosen}; splits_final.json holds all {len(folds)}."
    return replace(cohort, split=split), folds, told
