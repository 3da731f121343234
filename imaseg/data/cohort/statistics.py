"""What the cases of a cohort have in common, and which of them stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imaseg.data.cohort.survey import Survey

_ENOUGH = 5
"""Fewer cases than this say nothing about what is usual."""


@dataclass(frozen=True)
class CohortStatistics:
    """Figures of a cohort that a recipe refers to; the `fingerprint` of `prepare.json`.

    Attributes:
        modality: name per channel.
        spacing: median voxel size in mm, axes as in RAS.
        shape: median number of voxels, axes as in RAS.
        intensity: per channel, `percentile_00_5`, `median`, `percentile_99_5`, `mean`, `std` of labelled voxels
            (of all voxels where nothing is labelled).
        class_volume_ml: median volume of each label where present.
    """

    modality: tuple[str, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    intensity: tuple[dict[str, float], ...]
    class_volume_ml: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As written to `prepare.json`."""
        return {
            "modality": list(self.modality),
            "spacing": list(self.spacing),
            "shape": list(self.shape),
            "intensity": list(self.intensity),
            "class_volume_ml": self.class_volume_ml,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CohortStatistics:
        """From the `fingerprint` of `prepare.json`."""
        return cls(
            modality=tuple(content["modality"]),
            spacing=tuple(content["spacing"]),
            shape=tuple(content["shape"]),
            intensity=tuple(content["intensity"]),
            class_volume_ml=dict(content["class_volume_ml"]),
        )

    @classmethod
    def of(cls, surveys: Sequence[Survey], modality: Sequence[str]) -> CohortStatistics:
        """Statistics over the surveyed cases, each with the same weight."""
        labels = sorted({label for s in surveys for label in s.class_volume_ml}, key=int)
        volumes = {k: [s.class_volume_ml[k] for s in surveys if k in s.class_volume_ml] for k in labels}
        channels = min(len(s.sample) for s in surveys)
        return cls(
            modality=tuple(modality),
            spacing=tuple(float(v) for v in np.median([s.spacing for s in surveys], axis=0).round(6)),
            shape=tuple(int(v) for v in np.median([s.shape for s in surveys], axis=0)),
            intensity=tuple(_intensity([s.sample[c] for s in surveys]) for c in range(channels)),
            class_volume_ml={k: round(float(np.median(v)), 6) for k, v in volumes.items()},
        )


def _intensity(samples: Sequence[Sequence[float]]) -> dict[str, float]:
    values = np.concatenate([np.asarray(sample, np.float64) for sample in samples])
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    return {
        "percentile_00_5": float(low),
        "median": float(middle),
        "percentile_99_5": float(high),
        "mean": float(values.mean()),
        "std": float(values.std()),
    }


def cohort_flags(
    surveys: Mapping[str, Survey],
    split: Mapping[str, Sequence[str]],
    patients: Mapping[str, str] | None = None,
    held_out: Mapping[str, Survey] | None = None,
) -> dict[str, list[str]]:
    """Per case, what stands out from the others: a reason to look, not to drop.

    Args:
        surveys: of all fit cases.
        split: ids per split.
        patients: who each case is, where known; held-out ones too.
        held_out: images that are not prepared, to be looked for among the cases.
    """
    flags: dict[str, list[str]] = {name: [] for name in surveys}
    if held_out:
        split = {**(split or {"training": list(surveys)}), "imagesTs": list(held_out)}
    copies = _same_image({**surveys, **(held_out or {})}, split)
    shared = _same_patient(patients or {}, split)
    for found in (copies, shared, _mirrored(surveys), _out_of_line(surveys)):
        found = {name: sentences for name, sentences in found.items() if name in flags}
        for name, sentences in found.items():
            flags[name] += sentences
    return flags


def unlike_most_in_scale(surveys: Mapping[str, Survey]) -> tuple[bool, dict[str, list[str]]]:
    """Whether most cases hold HU, and a flag for each that is unlike them in this."""
    seen = [survey.hounsfield for survey in surveys.values()]
    most = 2 * sum(seen) > len(seen)
    others = "hold HU, these grey values do not look it" if most else "do not hold HU, these grey values look like it"
    sentence = f"most of the cohort {others}: is it from another kind of scanner?"
    return most, {name: [sentence] for name, survey in surveys.items() if survey.hounsfield != most}


def _same_image(surveys: Mapping[str, Survey], split: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Both of a pair are flagged: nothing tells which name is the right one."""
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
    """Cases of one person in several splits: a model tested on faces it knows."""
    parts: dict[str, dict[str, list[str]]] = {}
    for part, names in split.items():
        for name in names:
            if patients.get(name):
                parts.setdefault(patients[name], {}).setdefault(part, []).append(name)
    flags: dict[str, list[str]] = {}
    for found in parts.values():
        if len(found) < 2:
            continue
        where = " and ".join(f"{part} ({names[0]})" for part, names in found.items())
        for names in found.values():
            for name in names:
                flags[name] = [f"the same patient is in {where}, so scores will flatter."]
    return flags


def _mirrored(surveys: Mapping[str, Survey]) -> dict[str, list[str]]:
    """Grey values vary more inside this label than inside the others, but not if the label is mirrored."""
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
    """Voxel size, extent or class volume far from the middle of the cohort."""
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
