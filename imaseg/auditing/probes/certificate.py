"""Certificate probe: L2 radii within which no change matters to the smoothed model, and the Dice they guarantee."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from imaseg.attacks import PGD
from imaseg.auditing.inputs.budget import UNIT_SCALE, Eps
from imaseg.auditing.metrics.dice_floor import dice_floor
from imaseg.auditing.probes.base import Cost, Labels, Lines, Probe
from imaseg.auditing.probes.maps import MapWriter, band_lines, calls_of
from imaseg.auditing.probes.scene import Scene
from imaseg.margins import CertifiedMargin, CertifiedMarginResult, Smoothed, certified_gap
from imaseg.margins.binomial import log_tails
from imaseg.margins.voxel import VoxelMargin, VoxelMarginResult
from imaseg.objectives import CrossEntropy
from imaseg.perturbations import L2
from imaseg.results.case import CaseRecord, CaseScale
from imaseg.results.certificate import CaseCertificate, Certificate, CertificateEntry, CertificateRow
from imaseg.results.maps import CaseMaps, Compared, VoxelMap

_LARGEST = 1e8
"""Voxels of a case that certificates have to reckon with."""
DRAWS = 8
"""Noisy copies that stand for the smoothed model when its certificate is attacked."""
VOTES = 100
"""Fresh draws that decide what the attacked image is."""
STEPS = 10
_SURE = 0.001
MAP_DRAWS = 16
"""Noisy copies that stand for the smoothed model when margins of its voxels are searched."""
_RUNGS = 12


class CertificateProbe(Probe):
    """Certified L2 radii of the smoothed model (Fischer, Baader & Vechev, ICML 2021).

    Attributes:
        sigma: noise, in `unit`.
        unit: "std", standard deviations of each case's own image, or None, the units of the model's input.
        samples, alpha, tau: as in `imaseg.CertifiedMargin`.
        write: "nifti" writes a map of radii on the grid of the image.
        attack: largest RMS change per voxel at which the smoothed model is attacked voxel by voxel, so that radii have
            an upper counterpart; None for no attack.
        groups: of voxels that this attack aims at one by one.
    """

    kind: Literal["certificate"] = "certificate"
    sigma: Eps = Field(gt=0)
    unit: Literal["std"] | None = None
    samples: int = Field(100, ge=1, le=10**6)
    alpha: Eps = 0.001
    tau: list[Eps] = [0.6, 0.75]
    write: Literal["nifti"] | None = None
    attack: Eps | None = Field(None, gt=0)
    groups: int = Field(16, ge=0, le=10**6)

    def names(self) -> list[str]:
        """After the norm."""
        return ["certified-l2", f"certified-l2-{self.sigma:g}", f"certified-l2-{self.sigma:g}-{self.unit or 'input'}"]

    def build(self, seed: int, scale: CaseScale = UNIT_SCALE) -> CertifiedMargin:
        """The certificate.

        Raises:
            ValueError: if a number is out of its range, or samples are too few for a large volume.
        """
        needed = math.ceil(math.log(self.alpha / _LARGEST) / math.log(max(self.tau)))
        if self.samples < needed:  # before an audit starts, since each case would only fail after its attacks
            msg = (
                f"samples of a certificate must be >= {needed}, got {self.samples}: fewer votes, even if all agree, "
                f"cannot show that a class gets more than {max(self.tau):g} of them at error rate {self.alpha:g} in "
                f"each of up to {_LARGEST:g} voxels. Use {needed} or more."
            )
            raise ValueError(msg)
        sigma = self.sigma * (scale.std if self.unit == "std" else 1.0)
        return CertifiedMargin(sigma, self.samples, self.alpha, tau=tuple(self.tau), seed=seed)

    def folders(self) -> list[str]:
        """Of the map."""
        return ["certified"] if self.write else []

    def check(self, seed: int) -> None:
        """Build the certificate."""
        self.build(seed)

    def cost(self, classes: int, seed: int) -> Cost:
        """Noisy copies that choose and that vote, and the attack on the smoothed model."""
        settings = self.build(seed)
        gradients = 0
        if self.attack is not None:
            gradients = MAP_DRAWS * calls_of(self._voxel_margin(seed))
        return Cost(self.name, gradients, settings.samples + settings.selection, first=self.cases)

    def confirming(self, classes: int, seed: int, checked: int) -> Cost | None:
        """The attack on the smoothed model, whose objective needs a gradient of every copy, and fresh votes."""
        return Cost(f"{self.name}: attacked", STEPS * DRAWS * 2, VOTES, first=checked, probe=self.name)

    def run(self, scene: Scene) -> list[CertificateRow]:
        """Certify; on checked cases attack within the largest radius; write the map that is asked for."""
        result = self.build(scene.seed, scene.scale)(scene.model, scene.image)
        scene.count(result)
        flipped = flipped_within(result, scene) if scene.checked else None
        figures = certificate(result, scene.label, [*scene.groups.values()])
        row = CertificateRow(probe=self.name, flipped=flipped, forward_calls=result.forward_calls, **dict(figures))
        return [row.model_copy(update={"map": self._map(scene, result)}) if self.write else row]

    def _map(self, scene: Scene, result: CertifiedMarginResult) -> VoxelMap:
        """Radii where the smoothed model is right about the voxel, next to an attack on it."""
        right = result.prediction == scene.label
        radius = result.radius.where(right, 0.0)
        as_margin = VoxelMarginResult(radius, radius > 0, right, "attack", result.forward_calls, 0)
        largest = {"eps": float(radius.max()), "rms": float(result.radius_rms.max())}
        writer = MapWriter(scene, self.name, nifti=True, perturbation="l2", unit="norm", **largest)
        one = writer.add("certified", as_margin, method="certified")
        writer.close()
        return one if self.attack is None else one.model_copy(update={"against_attack": self._gap(scene, result)})

    def _voxel_margin(self, seed: int) -> VoxelMargin:
        return VoxelMargin(L2(self.attack or 0.0, unit="rms"), rungs=_RUNGS, focus=self.groups, seed=seed)

    def _gap(self, scene: Scene, result: CertifiedMarginResult) -> dict[str, Compared]:
        """Certified radius and attack's margin of the smoothed model in RMS per voxel, where structures have both."""
        smoothed = Smoothed(scene.model, result.settings.sigma, MAP_DRAWS, seed=scene.seed)
        upper = self._voxel_margin(scene.seed)(smoothed, scene.image, result.prediction)
        scene.count(upper, copies=MAP_DRAWS)
        gap = certified_gap(result, upper.margin, upper.censored | ~upper.right, unit="rms")
        both = (result.prediction > 0) & (gap.lower > 0) & torch.isfinite(gap.upper)
        middle = {"lower": gap.lower, "upper": gap.upper, "gap": gap.gap}
        medians = {key: float(value[both].median()) if bool(both.any()) else None for key, value in middle.items()}
        violations = int((gap.violations & both).sum())
        return {"structures": Compared(voxels=int(both.sum()), violations=violations, **medians)}

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> list[CertificateEntry]:
        """Means over the cases that were certified; nothing if none was."""
        pairs = self.rows(records, CertificateRow)
        if not pairs:
            return []
        rows = [row for _, row in pairs]
        lists = ("radii_rms", "dice_at_radius", "certified_foreground")
        columns = {key: zip(*(getattr(row, key) for row in rows), strict=True) for key in lists}
        means: dict[str, Any] = {key: [statistics.fmean(values) for values in of] for key, of in columns.items()}
        return [
            CertificateEntry(
                probe=self.name,
                **self.model_dump(include={"sigma", "samples", "alpha"}),
                unit="norm",
                relative="standard deviations of the image" if self.unit == "std" else "units of the model's input",
                n=len(rows),
                abstained=statistics.fmean(row.abstained for row in rows),
                dice=statistics.fmean(row.dice for row in rows),
                radii=[radius / rows[0].sigma * self.sigma for radius in rows[0].radii],
                **means,
                what=_WHAT,
                per_case=[
                    CaseCertificate(case=record.case, **row.model_dump(include=_FIGURES)) for record, row in pairs
                ],
                maps=self._maps(records),
            )
        ]

    def _maps(self, records: Sequence[CaseRecord]) -> list[CaseMaps]:
        pairs = self.rows(records, CertificateRow)
        return [CaseMaps(case=record.case, maps=[row.map]) for record, row in pairs if row.map is not None]

    def tables(self, records: Sequence[CaseRecord], labels: Labels) -> dict[str, Lines]:
        """Lines of `voxel_margins.csv`, where maps were written."""
        return band_lines(self._maps(records))


_WHAT = (
    "dice_at_radius: no change within the radius brings the smoothed model's mean foreground Dice below this (mean "
    "over cases); certified_foreground: share of labelled voxels that are right and stay so"
)

_FIGURES = set(Certificate.model_fields)


def certificate(result: CertifiedMarginResult, label: Tensor, structures: Sequence[Sequence[int]]) -> Certificate:
    """Figures of one case.

    Args:
        result: of the case alone.
        label: (1, *spatial); negative values are ignored.
        structures: classes inside each structure.
    """
    sigma = result.settings.sigma
    radii = [float(sigma * torch.special.ndtri(torch.tensor(tau))) for tau in result.settings.taus]
    reach, prediction, truth = result.radius[0], result.prediction[0], label[0]
    everything = torch.ones_like(truth, dtype=torch.bool)
    sure = [reach >= radius * (1 - 1e-5) for radius in radii]
    foreground = torch.isin(truth, truth.new_tensor(sorted({k for inside in structures for k in inside})))
    kept = [(where & (prediction == truth) & foreground).sum() / foreground.sum().clamp(min=1) for where in sure]
    return Certificate(
        sigma=float(sigma),
        radii=radii,
        radii_rms=[radius / math.sqrt(result.values) for radius in radii],
        abstained=float(result.abstained.float().mean()),
        dice=dice_floor(prediction, truth, everything, structures),
        dice_at_radius=[dice_floor(prediction, truth, where, structures) for where in sure],
        certified_foreground=[float(share) for share in kept],
    )


def flipped_within(result: CertifiedMarginResult, scene: Scene) -> list[int]:
    """Attack the smoothed model within the largest radius that any voxel is certified for, and ask fresh draws.

    Returns:
        How many of the certified voxels clearly lost their majority, and how many were certified.
    """
    radius = float(result.radius.max())
    if radius == 0:
        return [0, 0]
    sure, sigma = result.radius >= radius, result.settings.sigma
    attack = PGD(L2(radius), steps=STEPS, objective=CrossEntropy(), seed=scene.seed)
    target = result.prediction.where(sure, -1)
    attacked = attack(Smoothed(scene.model, sigma, DRAWS, seed=scene.seed), scene.image, target)
    scene.count(replace(attacked, backward_calls=attacked.backward_calls * 2), copies=DRAWS)
    scene.forward_calls += VOTES
    votes = Smoothed(scene.model, sigma, VOTES, seed=scene.seed + 1).votes(attacked.image)
    held = votes.gather(1, result.prediction[:, None])[:, 0][sure].long()
    # P[X <= v] of a fair coin is P[X >= n - v]; corrected over the voxels.
    tails = log_tails(VOTES, 0.5)[VOTES - held.cpu()]
    return [int((tails < math.log(_SURE / len(held))).sum()), len(held)]
