"""Certified radii of the smoothed model, on one case and over all."""

from __future__ import annotations

from typing import ClassVar, Literal

from imaseg.results.base import MEAN, CaseId, Entry, Record, Row
from imaseg.results.maps import CaseMaps, VoxelMap


class Certificate(Record):
    """What randomised smoothing proves on one case.

    Attributes:
        sigma: noise, in units of the model's input.
        radii: L2 norms over the image, in its units; one value per radius in all lists.
        radii_rms: the same as RMS per voxel.
        abstained: share of voxels without a certificate.
        dice: of the smoothed model.
        dice_at_radius: no change within the radius brings the mean foreground Dice of the smoothed model below this.
        certified_foreground: share of labelled voxels that are right and stay so.
    """

    sigma: float
    radii: list[float]
    radii_rms: list[float]
    abstained: float
    dice: float
    dice_at_radius: list[float]
    certified_foreground: list[float]


class CertificateRow(Certificate, Row):
    """Certificates of one case.

    Attributes:
        flipped: of the voxels certified at the largest radius, how many an attack on the smoothed model flipped, and
            how many there were; None where that was not tried.
        map: of certified radii, where files are written.
        forward_calls, backward_calls: of sampling; of the attacks on the smoothed model too.
    """

    kind: Literal["certificate"] = "certificate"
    flipped: list[int] | None = None
    map: VoxelMap | None = None
    forward_calls: int
    backward_calls: int = 0

    def table(self) -> list[tuple[float | str, str, str, float | None]]:
        """The guaranteed Dice at each radius."""
        pairs = zip(self.radii, self.dice_at_radius, strict=True)
        return [(radius, MEAN, "dice_certified", dice) for radius, dice in pairs]


class CaseCertificate(Certificate):
    """Certificates of a case, by its id."""

    case: CaseId


class CertificateEntry(Certificate, Entry):
    """Certificates over the cases that have some.

    Attributes:
        sigma: noise, as the plan gives it; `relative` says in what.
        samples, alpha: noisy copies, and the chance of a wrong certificate.
        unit: of the radii.
        n: cases.
        abstained, dice, radii_rms, dice_at_radius, certified_foreground: means over cases, as in `Certificate`.
        radii: in multiples that `relative` names.
        what: what the figures mean.
        per_case: the cases.
        maps: of certified radii, where files are written.
    """

    place: ClassVar[str] = "certified"
    kind: Literal["certificate"] = "certificate"
    samples: int
    alpha: float
    unit: str
    relative: str
    n: int
    what: str
    per_case: list[CaseCertificate]
    maps: list[CaseMaps] = []
