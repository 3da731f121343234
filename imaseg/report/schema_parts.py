"""The parts of `summary.json` that not every audit holds: corruptions, certificates, voxel maps, sizes, cost."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from imaseg.report.schema_base import CaseMetrics, Interval, Metrics, Span, _Part


class Corruption(_Part):
    """One fault of the scanner or the acquisition at one severity."""

    corruption: str
    severity: int
    n: int
    foreground_mean: Metrics
    metric_per_case: list[CaseMetrics] = Field(default_factory=list)
    mean: dict[str, Metrics] = Field(default_factory=dict)
    dice_ci95: Interval = None
    title: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    change: Span | None = None
    calibrated: bool = True
    before_normalisation: bool = True


class Degradation(_Part):
    """How much the corruptions cost, in one number per corruption and one over all."""

    per_corruption: dict[str, float | None] = Field(default_factory=dict)
    mean: float | None = None
    ci95: Interval = None
    worst: float | None = None
    worst_corruption: str | None = None
    left_out: dict[str, str] = Field(default_factory=dict)
    definition: str = ""


class Certified(_Part):
    """What randomised smoothing at one noise level proves at rising radii."""

    probe: str
    sigma: float
    unit: str
    n: int
    radii: list[float]
    dice_at_radius: list[float | None]
    radii_rms: list[float] = Field(default_factory=list)
    certified_foreground: list[float | None] = Field(default_factory=list)
    relative: str = ""
    samples: int | None = None
    alpha: float | None = None
    abstained: float | None = None
    what: str = ""


class VoxelMargins(_Part):
    """Of which cases the margin of every voxel is stored, and how far it was searched."""

    perturbation: str
    unit: str
    eps: float
    cases: list[str] = Field(default_factory=list)


class SizeProbe(_Part):
    """Dice of one group of structures under one attack."""

    probe: str
    eps: float
    dice: float | None = None
    ci95: Interval = None


class SizeGroup(_Part):
    """Structures of one class within one range of volumes."""

    group: str
    class_: str = Field(alias="class")
    n: int
    volume_ml: tuple[float | None, float | None] = (None, None)
    clean: float | None = None
    clean_ci95: Interval = None
    probes: list[SizeProbe] = Field(default_factory=list)


class Cost(_Part):
    """What a case took."""

    seconds_per_case: float | None = None
    peak_memory_mb: float | None = None
