"""Voxel margin probe: for each voxel the smallest evaluated change that makes it wrong, as a map of a few cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from imaseg.auditing.inputs.budget import UNIT_SCALE, Budgeted, Eps, Room
from imaseg.auditing.probes.base import Cost, Labels, Lines, Probe
from imaseg.auditing.probes.maps import MapWriter, band_lines, calls_of
from imaseg.auditing.probes.scene import Scene, number
from imaseg.margins.voxel import VoxelMargin, VoxelMarginResult
from imaseg.margins.voxel_error import margin_error
from imaseg.margins.voxel_gradient import supports
from imaseg.results.case import CaseRecord, CaseScale
from imaseg.results.maps import CaseMaps, Compared
from imaseg.results.voxel_margin import VoxelMarginEntry, VoxelMarginRow

Method = Literal["attack", "gradient"]
_DERIVATIVE = 2
"""Passes that a forward-mode derivative is worth."""


class VoxelMarginProbe(Budgeted, Probe):
    """Margin maps of a few cases.

    Attributes:
        eps: largest change looked at.
        cases: how many, the first ones.
        methods: "attack" (upper bounds) and "gradient" (a first-order estimate, for sets that have a dual norm).
        rungs, focus: effort of the attacks, as in `imaseg.VoxelMargin`.
        write: "nifti" writes each map on the grid of the image, and `voxel_margins.csv`.
    """

    kind: Literal["voxel-margin"] = "voxel-margin"
    cases: Annotated[int, Field(ge=1)] | None = 2
    eps: Eps = Field(gt=0)
    methods: list[Method] = Field(["attack"], min_length=1)
    rungs: int = Field(24, ge=1, le=10**6)
    focus: int = Field(64, ge=0, le=10**6)
    write: Literal["nifti"] | None = None

    def names(self) -> list[str]:
        """After the set, then the unit."""
        base = f"voxel-margin-{self.in_set}"
        return [base, f"{base}-{self.stated_unit}", f"{base}-{self.stated_unit}-{self.eps:g}"]

    def build(
        self, seed: int, scale: CaseScale = UNIT_SCALE, room: Room | None = None, method: Method = "attack"
    ) -> VoxelMargin:
        """The search.

        Raises:
            ValueError: if something does not fit.
        """
        perturbation = self.build_set(self.eps, scale, room)
        return VoxelMargin(perturbation, method=method, rungs=self.rungs, focus=self.focus, seed=seed)

    def folders(self) -> list[str]:
        """Of the map of each method."""
        return [self._folder(method) for method in self.methods] if self.write else []

    def _folder(self, method: str) -> str:
        return f"voxel_margins/{self.in_set}" + ("" if method == "attack" else f"-{method}")

    def check(self, seed: int) -> None:
        """Build every method."""
        for method in self.methods:
            self.build(seed, method=method)

    def cost(self, classes: int, seed: int) -> Cost:
        """Attacks on all voxels at every rung, attacks on groups, directional derivatives."""
        search = self.build(seed)
        estimate = search.draws * _DERIVATIVE * ("gradient" in self.methods)
        gradients = calls_of(search) * ("attack" in self.methods) + estimate
        return Cost(self.name, gradients, perturbation=self.perturbation, first=self.cases)

    def run(self, scene: Scene) -> list[VoxelMarginRow]:
        """A map per method that knows the set, and how the estimate agrees with the attacks."""
        factor = self.factor(scene.scale) or 1.0
        stated = {"unit": self.stated_unit, **self.model_dump(include={"perturbation", "within", "eps"})}
        writer = MapWriter(scene, self.name, nifti=self.write == "nifti", **stated)
        results: dict[str, VoxelMarginResult] = {}
        maps = []
        for method in self.methods:
            search = self.build(scene.seed, scene.scale, scene.room(self.within), method)
            if method == "gradient" and not supports(search.perturbation):
                continue  # the estimate needs the dual of the set's size
            result = search(scene.model, scene.image, scene.label)
            scene.count(result)
            results[method] = result = replace(result, margin=result.margin / factor)
            maps.append(writer.add(self._folder(method), result, method=method))
        if len(results) == 2:
            maps[-1] = maps[-1].model_copy(update={"against_attack": _agreement(scene.label, **results)})
        writer.close()
        calls = ("forward_calls", "backward_calls")
        spent = {key: sum(getattr(result, key) for result in results.values()) for key in calls}
        return [VoxelMarginRow(probe=self.name, maps=maps, **spent)]

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> list[VoxelMarginEntry]:
        """Which cases have maps, and how they were made."""
        settings: dict[str, Any] = self.model_dump(include={"perturbation", "within", "eps", "rungs", "focus"})
        per_case = self._maps(records)
        return [VoxelMarginEntry(probe=self.name, unit=self.stated_unit, per_case=per_case, **settings)]

    def tables(self, records: Sequence[CaseRecord], labels: Labels) -> dict[str, Lines]:
        """Lines of `voxel_margins.csv`, where maps were written."""
        return band_lines(self._maps(records))

    def _maps(self, records: Sequence[CaseRecord]) -> list[CaseMaps]:
        pairs = self.rows(records, VoxelMarginRow)
        return [CaseMaps(case=record.case, maps=row.maps) for record, row in pairs if row.maps]


def _agreement(label: Tensor, attack: VoxelMarginResult, gradient: VoxelMarginResult) -> dict[str, Compared]:
    """Error of the estimate, in the structures and in the background."""
    compared = {}
    for name, where in (("structures", label > 0), ("background", label == 0)):
        error = margin_error(gradient, replace(attack, right=attack.right & where))
        figures: dict[str, Any] = {key: number(getattr(error, key)) for key in ("ratio", "low", "high", "spearman")}
        compared[name] = Compared(voxels=int(error.voxels), **figures)
    return compared
