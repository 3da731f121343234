"""Flags cases that stand out from the others of their cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imaseg.data.cohort.survey import Survey

_ENOUGH = 5
"""With fewer cases nothing is flagged as unusual."""


def cohort_flags(
    surveys: Mapping[str, Survey],
    split: Mapping[str, Sequence[str]],
    patients: Mapping[str, str] | None = None,
    held_out: Mapping[str, Survey] | None = None,
) -> dict[str, list[str]]:
    """Sentences per case on what a user should look at: copies, shared patients, mirrored labels, unusual sizes.

    Args:
        surveys: surveys of all usable cases, by id.
        split: ids per split.
        patients: patient by case id, where known; of held-out images too.
        held_out: surveys of images that are not prepared, only compared with the cases.
    """
    flags: dict[str, list[str]] = {name: [] for name in surveys}
    if held_out:
        split = {**(split or {"training": list(surveys)}), "imagesTs": list(held_out)}
    copies = _same_image({**surveys, **(held_out or {})}, split)
    shared = _same_patient(patients or {}, split)
    for kind in (copies, shared, _mirrored(surveys), _out_of_line(surveys)):
        for name in kind.keys() & flags.keys():
            flags[name] += kind[name]
    return flags


def unlike_most_in_scale(surveys: Mapping[str, Survey]) -> tuple[bool, dict[str, list[str]]]:
    """Whether most images hold Hounsfield units (HU), and a flag for each case that differs from most."""
    are_hu = [survey.hounsfield for survey in surveys.values()]
    most = 2 * sum(are_hu) > len(are_hu)
    others = "hold HU, these grey values do not look it" if most else "do not hold HU, these grey values look like it"
    sentence = f"most of the cohort {others}: is it from another kind of scanner?"
    return most, {name: [sentence] for name, survey in surveys.items() if survey.hounsfield != most}


def _same_image(surveys: Mapping[str, Survey], split: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Flag all cases whose image has the same voxels as that of another case."""
    groups: dict[str, list[str]] = {}
    for name, survey in surveys.items():
        groups.setdefault(survey.image_sha256, []).append(name)
    member = {name: part for part, names in split.items() for name in names}
    flags: dict[str, list[str]] = {}
    for names in groups.values():
        for name in names:
            for other in names:
                if other == name:
                    continue
                labels = [surveys[case].label_sha256 for case in (name, other)]
                sentence = f"same image as {other}"
                if all(labels):
                    sentence += f", with {'the same' if labels[0] == labels[1] else 'another'} label"
                parts = [member.get(case, "no split") for case in (name, other)]
                if parts[0] != parts[1]:
                    sentence += f"; {parts[0]} and {parts[1]} share it, so scores will flatter"
                flags.setdefault(name, []).append(f"{sentence}.")
    return flags


def _same_patient(patients: Mapping[str, str], split: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Flag cases of patients who are in several splits: the model would be tested on patients it was trained on."""
    parts: dict[str, dict[str, list[str]]] = {}
    for part, names in split.items():
        for name in names:
            if patients.get(name):
                parts.setdefault(patients[name], {}).setdefault(part, []).append(name)
    flags: dict[str, list[str]] = {}
    for cases in parts.values():
        if len(cases) < 2:
            continue
        where = " and ".join(f"{part} ({names[0]})" for part, names in cases.items())
        for names in cases.values():
            for name in names:
                flags[name] = [f"the same patient is in {where}, so scores will flatter."]
    return flags


def _mirrored(surveys: Mapping[str, Survey]) -> dict[str, list[str]]:
    """Flag labels inside which grey values vary more than in other cases, but not once the label is mirrored."""
    if len(surveys) < _ENOUGH:
        return {}
    usual = float(np.median([s.spread[0] for s in surveys.values() if s.spread] or [np.nan]))
    flags = {}
    for name, survey in surveys.items():
        if not survey.spread or not usual > 0:
            continue
        own, *mirrored = survey.spread
        axis = int(np.argmin(mirrored))
        if own > 1.4 * usual and mirrored[axis] < min(own / 1.4, 1.25 * usual):
            direction = ("left-right", "front-back", "head-foot")[axis]
            flags[name] = [
                f"the label fits its image better mirrored {direction}: grey values inside it spread over "
                f"{own:.2f} of the range, mirrored {mirrored[axis]:.2f}, in the cohort {usual:.2f}."
            ]
    return flags


def _out_of_line(surveys: Mapping[str, Survey]) -> dict[str, list[str]]:
    """Flag voxel sizes, extents and class volumes far from the median of the cohort."""
    if len(surveys) < _ENOUGH:
        return {}
    flags: dict[str, list[str]] = {name: [] for name in surveys}
    figures: dict[str, dict[str, float]] = {}
    for i, axis in enumerate("xyz"):
        figures[f"voxel size along {axis} (mm)"] = {n: s.spacing[i] for n, s in surveys.items()}
        figures[f"extent along {axis} (mm)"] = {n: s.spacing[i] * s.shape[i] for n, s in surveys.items()}
    for label in {k for s in surveys.values() for k in s.class_volume_ml}:
        present = {n: s.class_volume_ml[label] for n, s in surveys.items() if label in s.class_volume_ml}
        figures[f"volume of label {label} (ml)"] = present
    for what, values in sorted(figures.items()):
        if len(values) < _ENOUGH:
            continue
        logs = np.log(list(values.values()))
        middle = float(np.median(logs))
        # 1.4826 MAD is the standard deviation of a normal sample; the floor keeps identical cohorts quiet.
        scatter = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.1)
        for name, value in values.items():
            if abs(np.log(value) - middle) > 5 * scatter:
                flags[name].append(f"{what} is out of line: {value:.3g}, cohort median {np.exp(middle):.3g}.")
    return flags
