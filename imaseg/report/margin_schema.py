"""What `margins.json` and `cases/<id>.json` of a margin folder must hold for a page to be written from them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from imaseg.report.schema import Data, Model, Run
from imaseg.report.schema_base import Interval, _Part

WHOLE = "whole"


class Row(_Part):
    """One margin of one case."""

    perturbation: str
    unit: str
    structure: str
    eps: float
    margin: float | None = None
    censored: bool = False
    confirmed: bool | None = None


class Structure(_Part):
    """A labelled structure of one case, or all of them."""

    clean_dice: float
    volume_ml: float


class Compared(_Part):
    """A voxel map next to what attacks found: an estimate by its ratio, a certificate by what lies in between."""

    voxels: int = 0
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    spearman: float | None = None
    lower: float | None = None
    upper: float | None = None
    gap: float | None = None
    violations: int | None = None


class VoxelMap(_Part):
    """One voxel map of one case."""

    perturbation: str
    unit: str
    method: str
    eps: float
    file: str
    view: str
    rms: float | None = None
    against_attack: dict[str, Compared] = Field(default_factory=dict)


class VoxelRow(_Part):
    """A row of `voxel_margins.csv`: the voxels of a structure, or those in a band of distances to the boundary."""

    perturbation: str
    unit: str
    method: str
    structure: str
    from_mm: float | None
    to_mm: float | None
    labelled: int
    right: int
    censored: float | None = None
    certified: float | None = None
    q25: float | None = None
    median: float | None = None
    q75: float | None = None

    @property
    def whole(self) -> bool:
        """Whether the row is about all voxels of the structure."""
        return self.from_mm is None


class CaseMargins(_Part):
    """One case."""

    case: str
    structures: dict[str, Structure]
    rows: list[Row]
    span: float = 0.0
    maps: list[VoxelMap] = Field(default_factory=list)
    voxel: list[VoxelRow] = Field(default_factory=list)

    def maps_of(self, perturbation: str) -> list[VoxelMap]:
        """The voxel maps on a set."""
        return [one for one in self.maps if one.perturbation == perturbation]

    def row(self, perturbation: str, structure: str) -> Row | None:
        """The margin of a structure on a set; None if it was not measured."""
        wanted = (perturbation, structure)
        return next((row for row in self.rows if (row.perturbation, row.structure) == wanted), None)


class Entry(_Part):
    """One set and structure over all cases."""

    perturbation: str
    unit: str
    structure: str
    eps: float
    n: int
    absent: int = 0
    q25: float | None = None
    median: float | None = None
    q75: float | None = None
    q25_at_least: bool = False
    median_at_least: bool = False
    q75_at_least: bool = False
    median_ci95: Interval = None
    median_share_of_range: float | None = None
    censored: int = 0
    clean_failures: int = 0
    held: int = 0
    tested: int = 0


class MarginRun(Run):
    """`margins.json`."""

    model: Model
    data: Data
    criterion: str
    structures: list[str]
    summary: list[Entry]
    settings: dict[str, Any] = Field(default_factory=dict)
    settings_sha256: str | None = None

    @property
    def sets(self) -> list[Entry]:
        """The entry of the whole case of each set."""
        return [entry for entry in self.summary if entry.structure == WHOLE]

    def of(self, perturbation: str) -> list[Entry]:
        """The entries of a set, the whole case first."""
        return [entry for entry in self.summary if entry.perturbation == perturbation]
