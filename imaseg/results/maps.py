"""Maps over the voxels of a case (margins by attacks, their estimate, certified radii), and what they say in short."""

from __future__ import annotations

from imaseg.results.base import Below, CaseId, Record, in_set


class BandSummary(Record):
    """The voxels of a structure, or those of them in a band of distances to the boundary.

    Attributes:
        structure: name; "background" for voxels without a label.
        from_mm, to_mm: the band; both None for the whole structure.
        labelled: voxels.
        right: of them, decided rightly on the unchanged image.
        censored: share of the right ones that nothing flipped; None for certificates.
        certified: share of the labelled ones that are right and certified; None for margins.
        q05, q25, median, q75, q95: quantiles over the right voxels.
    """

    structure: str
    from_mm: float | None
    to_mm: float | None
    labelled: int
    right: int
    censored: float | None
    certified: float | None
    q05: float | None
    q25: float | None
    median: float | None
    q75: float | None
    q95: float | None


class Compared(Record):
    """A map next to what attacks found, over the voxels that have both.

    An estimate is compared by its ratio to the margin that attacks found (median, 5 % and 95 % quantile, rank
    correlation), a certified radius by what lies between it and an attack on the smoothed model.
    """

    voxels: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    spearman: float | None = None
    lower: float | None = None
    upper: float | None = None
    gap: float | None = None
    violations: int | None = None


class VoxelMap(Record):
    """A map of one case.

    Attributes:
        perturbation, unit: the set, and the unit of the values.
        within: mm from a structure within which alone may change; None for the whole image.
        method: "attack", "gradient" (an estimate) or "certified".
        eps: largest value looked at; of certificates the largest radius.
        rms: of certificates the largest radius as RMS per voxel.
        view: file below the audit folder with image, label, prediction and this map under the name `array`.
        array: name of the map in that file; infinite where nothing flipped the voxel, 0 where it is wrong unattacked
            (certificates: 0 where nothing is certified).
        file: NIfTI file of the map on the grid of the image; None if none was asked for.
        right, censored: voxels decided rightly on the unchanged image, and those of them that nothing flipped.
        median: over the right voxels that were flipped.
        mean_inside: over the right voxels of the structures, `eps` for those that nothing flipped; None without any.
        bands: in short, by structure and distance to the boundary.
        against_attack: by where ("structures", "background").
    """

    perturbation: str
    unit: str
    within: float | None = None
    method: str
    eps: float
    rms: float | None = None
    view: Below
    array: str
    file: str | None
    right: int
    censored: int
    median: float | None
    mean_inside: float | None = None
    bands: list[BandSummary]
    against_attack: dict[str, Compared] = {}

    @property
    def in_set(self) -> str:
        """Set, and where it may change, as names of probes hold it."""
        return in_set(self.perturbation, self.within)


class CaseMaps(Record):
    """The maps of one case."""

    case: CaseId
    maps: list[VoxelMap]
