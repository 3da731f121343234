"""What `summary.json` and `run.json` of an audit folder must hold for a page to be written from them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from imaseg.report.schema_base import CaseMetrics, Interval, Metrics, Span, _Part
from imaseg.report.schema_parts import Certified, Corruption, Cost, Degradation, SizeGroup, VoxelMargins


class Model(_Part):
    """Which checkpoint was audited."""

    name: str
    spec: str = ""
    network: str = ""
    parameters: int | None = None
    sha256: str = ""
    trained_by: str | None = None


class Data(_Part):
    """Which cases it was audited on."""

    name: str
    cases: int
    labels: dict[str, str]
    selection: str | None = None
    seen_in_training: list[str] = Field(default_factory=list)


class Probe(_Part):
    """One attack or noise at one budget."""

    probe: str
    attack: str
    perturbation: str
    unit: str
    eps: float
    n: int
    foreground_mean: Metrics
    metric_per_case: list[CaseMetrics]
    mean: dict[str, Metrics] = Field(default_factory=dict)
    dice_ci95: Interval = None
    objective: str | None = None
    members: list[str] = Field(default_factory=list)
    steps: int | None = None
    restarts: int | None = None
    seed: int | None = None
    eps_native: Span | None = None
    sizes: dict[str, float | None] = Field(default_factory=dict)


class CaseMargin(_Part):
    """Smallest budget that met the criterion on one case, or the search limit when none did."""

    case: str
    margin: float | None
    censored: bool
    clean_dice: float | None = None


class Margins(_Part):
    """Sample margins of one perturbation set and criterion, of whole cases or of one `structure`."""

    probe: str
    perturbation: str
    unit: str
    criterion: str
    structure: str | None = None
    eps: float
    n: int
    per_case: list[CaseMargin]
    median: float | None = None
    median_ci95: Interval = None
    censored: int = 0
    rtol: float | None = None


class Check(_Part):
    """One validity check with the number behind it; `ok` is None for one that could not be run."""

    check: str
    ok: bool | None
    number: str = ""
    detail: str = ""


class Showcase(_Part):
    """Which probe and budget the stored slices show."""

    probe: str
    eps: float
    unit: str = ""


class Summary(_Part):
    """`summary.json`."""

    model: Model
    data: Data
    foreground_mean: Metrics
    mean: dict[str, Metrics]
    metric_per_case: list[CaseMetrics]
    probes: list[Probe]
    clean_dice_ci95: Interval = None
    margins: list[Margins] = Field(default_factory=list)
    validity: list[Check] = Field(default_factory=list)
    showcase: Showcase | None = None
    corruptions: list[Corruption] = Field(default_factory=list)
    degradation: Degradation | None = None
    certified: list[Certified] = Field(default_factory=list)
    voxel_margins: VoxelMargins | None = None
    by_size: list[SizeGroup] = Field(default_factory=list)
    cost: Cost | None = None


class FailedCase(_Part):
    """A case that the audit could not finish."""

    case: str
    reason: str


class Run(_Part):
    """`run.json`; whatever a version of imaseg did not record stays None and is shown as such."""

    imaseg: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)
    data_sha256: str | None = None
    plan: dict[str, Any] | None = None
    plan_sha256: str | None = None
    seed: int | None = None
    hardware: dict[str, Any] = Field(default_factory=dict)
    seconds: float | None = None
    forward_calls: int | None = None
    backward_calls: int | None = None
    failed: list[FailedCase] = Field(default_factory=list)
    command: str | None = None
