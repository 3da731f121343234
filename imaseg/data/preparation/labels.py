"""Channels, patients and label names of a cohort where the recipe states them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from imaseg.data.cases import CaseSet
from imaseg.data.layouts.time_limit import matching_ends
from imaseg.data.preparation.recipe import Recipe


def by_recipe(cohort: CaseSet, recipe: Recipe) -> CaseSet:
    """The cohort with channels, patients and label names replaced by those that the recipe states."""
    cases = cohort.cases
    if recipe.labels is not None and any(case.segments for case in cases):
        wanted = {name: value for value, name in recipe.labels.items() if value > 0}
        cases = tuple(replace(case, segments=wanted if case.segments else {}) for case in cases)
    if recipe.patient is not None:
        with matching_ends(recipe.patient):
            matches = [(case, re.search(recipe.patient, case.id)) for case in cases]
        cases = tuple(replace(case, patient=match[0]) if match else case for case, match in matches)
    modality = recipe.modality or cohort.modality
    return replace(
        cohort,
        cases=tuple(replace(case, channels=len(modality)) for case in cases),
        modality=modality,
        declared_labels=label_names(cohort.declared_labels, recipe),
    )


def label_names(declared: Mapping[int, str] | None, recipe: Recipe) -> dict[int, str] | None:
    """Names of the labels of prepared cases by value; None if neither data set nor recipe declares them."""
    if recipe.labels is not None:
        return dict(sorted(({0: "background"} | recipe.labels).items()))
    if recipe.label_threshold is not None:
        return {0: "background", 1: "1"}
    if declared is None:
        return None
    mapping = recipe.label_map or {}
    names: dict[int, str] = {}
    for value, name in declared.items():
        names.setdefault(mapping.get(value, value), name)
    return dict(sorted(({0: "background"} | names).items()))


def allowed_values(cohort: CaseSet, recipe: Recipe) -> dict[int, str] | None:
    """Values that label files may hold before `label_map` is applied, with their names; None allows any."""
    if recipe.label_threshold is not None:
        return None
    mapping = recipe.label_map or {}
    named = recipe.labels is not None and any(case.segments for case in cohort)
    declared = recipe.labels if named or cohort.declared_labels is None else cohort.declared_labels
    return None if declared is None else {0: "background"} | declared | {old: str(old) for old in mapping}
