"""Figures of a whole cohort: median voxel size, shape and volumes, grey values of labelled voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imaseg.data.cohort.survey import Survey


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
        """Content for `prepare.json`."""
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
        """Statistics of the surveyed cases; every case has the same weight."""
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
