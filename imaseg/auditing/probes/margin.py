"""Margin probe: the smallest budget that breaks a case, and each structure by itself.

What breaks the whole case is where the search of a structure starts, if it breaks the structure too; then no structure
has a larger margin than a whole whose change breaks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from imaseg.attacks import PGD
from imaseg.auditing.inputs.budget import UNIT_SCALE, Eps, Room
from imaseg.auditing.probes.base import Cost, Labels, Lines, Probe
from imaseg.auditing.probes.near_search import NearSearch
from imaseg.auditing.probes.scene import Scene
from imaseg.margins import Criterion, SampleMargin, SampleMarginResult, default_challenger
from imaseg.margins.sample import CONFIRM_RESTARTS, CONFIRM_STEPS, LONGER
from imaseg.perturbations import Perturbation
from imaseg.results.base import MEAN, SearchedNearAll
from imaseg.results.case import CaseRecord, CaseScale
from imaseg.results.margin import CaseMargin, MarginEntry, MarginRow
from imaseg.statistics import median_interval

WHOLE = "whole"
"""What the whole case, all foreground structures together, is called among the structures."""
_COLUMNS = ("margin", "censored", "confirmed", "clean_dice", "volume_ml", "forward_calls", "backward_calls")
_BESIDES = 12
"""Lengths of the search's attack spent outside of halving: first look, drawing back, challenges."""


class MarginProbe(NearSearch, Probe):
    """One margin per case.

    Attributes:
        eps: largest budget looked at.
        criterion: registered name and arguments; when a case counts as broken.
        per_class: also the margin of each structure by itself.
        steps: of the PGD inside.
        rtol: relative width of the bracket.
        samples: draws of a random model over which each gradient and score is a mean; None is 4 for a random model.
        confirm: challenge every margin by two searches of other kinds just below it; else only those of checked cases.
        write: "csv" writes `margins.csv`.
    """

    kind: Literal["margin"] = "margin"
    eps: Eps = Field(gt=0)
    criterion: dict[str, Any] = {"name": "dice-below", "threshold": 0.5}
    per_class: bool = False
    steps: int = Field(10, ge=1, le=10**6)
    rtol: Eps = 0.05
    samples: int | None = Field(None, ge=1, le=10**4)
    confirm: bool = False
    write: Literal["csv"] | None = None

    def names(self) -> list[str]:
        """By the set, then the criterion, then the unit."""
        base, told = f"margin-{self.in_set}", "-".join(_told(value) for value in self.criterion.values())
        return [base, f"{base}-{told}", f"{base}-{told}-{self.stated_unit}"]

    def judge(self, structure: int | None = None, voxel: float = 1.0) -> Criterion:
        """When the whole case, or one structure, counts as broken, in voxels of so many mm3.

        Raises:
            ValueError: if the criterion does not fit.
        """
        which = {} if structure is None else {"classes": (structure,)}
        return Criterion.build(self.criterion | which).in_voxels_of(voxel)

    def search(
        self, perturbation: Perturbation, seed: int, structure: int | None = None, voxel: float = 1.0
    ) -> SampleMargin:
        """The margin search on one set, of the whole case or of one structure, in voxels of so many mm3.

        Raises:
            ValueError: if criterion, steps or rtol do not fit.
        """
        criterion = self.judge(structure, voxel)
        attack = PGD(
            perturbation, steps=self.steps, objective=criterion.objective(), seed=seed, samples=self.samples or 1
        )
        return SampleMargin(
            perturbation, criterion=criterion, attack=attack, challenger=default_challenger(attack), rtol=self.rtol
        )

    def ceiling(self, scale: CaseScale = UNIT_SCALE, room: Room | None = None) -> Perturbation:
        """The set at the largest budget looked at.

        Raises:
            ValueError: if name, unit or budget do not fit together or to the case.
        """
        return self.build_set(self.eps, scale, room)

    @property
    def led(self) -> bool:
        """Always."""
        return True

    def check(self, seed: int) -> None:
        """Build the search."""
        self.check_near()
        self.search(self.ceiling(), seed)

    def cost(self, classes: int, seed: int) -> Cost:
        """Halvings of the bracket, each an attack, for the whole and each structure."""
        calls = self._draws(classes) * self.steps * (math.ceil(math.log2(1 / self.rtol)) + _BESIDES)
        return Cost(self.name, calls + self.looks_around, perturbation=self.perturbation, first=self.cases)

    def confirming(self, classes: int, seed: int, checked: int) -> Cost | None:
        """Two searches per margin, of every case where that is asked for."""
        calls = self._draws(classes) * (CONFIRM_STEPS * CONFIRM_RESTARTS + LONGER * self.steps)
        first = self.cases if self.confirm else checked
        return Cost(f"{self.name}: confirmed", calls, 0, 0, self.perturbation, first, self.name)

    def _draws(self, classes: int) -> int:
        return (self.samples or 1) * (1 + classes * self.per_class)

    def run(self, scene: Scene) -> list[MarginRow]:
        """The whole case first, then the structures that its label holds."""
        perturbation = self.ceiling(scene.scale, self.room(scene))
        factor = self.factor(scene.scale) or 1.0  # an image without contrast has no std and no range
        rows, whole = [], None
        for structure in (None, *(scene.classes if self.per_class else ())):
            row = MarginRow(probe=self.name, structure=structure, eps=self.eps)
            if structure is None or scene.volumes[str(structure)] > 0:
                channel = structure if structure is None or not scene.model.card.regions else structure - 1
                search = self.search(perturbation, scene.seed, channel, math.prod(scene.spacing))
                result = _searched(search, scene, whole)
                whole = result if structure is None else whole
                scene.count(result)
                row = row.model_copy(update=self._figures(scene, result, search, factor))
            rows.append(row)
        return rows

    def _figures(self, scene: Scene, result: SampleMarginResult, search: SampleMargin, factor: float) -> dict[str, Any]:
        margin = float(result.margin) / factor
        asked = bool(margin) and (self.confirm or scene.checked)
        return {
            "margin": margin,
            "censored": bool(result.censored),
            "confirmed": self._stands(scene, search, result) if asked else None,
            "searched_near": self.reach(scene),
            "forward_calls": result.forward_calls,
            "backward_calls": result.backward_calls,
        }

    @staticmethod
    def _stands(scene: Scene, search: SampleMargin, result: SampleMarginResult) -> bool:
        return bool(search.confirm(scene.searched(scene.model), scene.image, scene.search_label, result))

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> list[MarginEntry]:
        """One entry for the whole cases, one per structure."""
        structures = (None, *(k for k in labels if k > 0 and self.per_class))
        return [self._entry(records, structure, labels) for structure in structures]

    def _entry(self, records: Sequence[CaseRecord], structure: int | None, labels: Labels) -> MarginEntry:
        pairs = [(record, row) for record, row in self.rows(records, MarginRow) if row.structure == structure]
        known = [(record, row) for record, row in pairs if row.margin is not None]
        cases = [CaseMargin(**_stated(record, row)) for record, row in known]
        confirmed = [case.confirmed for case in cases if case.confirmed is not None]
        return MarginEntry(
            probe=self.name if structure is None else f"{self.name}-class-{structure}",
            structure=None if structure is None else labels[structure],
            unit=self.stated_unit,
            **self.confined([record for record, _ in known]),
            criterion=repr(self.judge(structure)),
            **self.model_dump(include={"perturbation", "eps", "rtol", "steps"}),
            n=len(cases),
            absent=len(pairs) - len(cases),
            **quartiles(cases),
            median_ci95=median_interval([case.margin for case in cases], [record.unit for record, _ in known]),
            median_share_of_range=self._share_of_range(known),
            censored=sum(case.censored for case in cases),
            clean_failures=sum(case.margin == 0 for case in cases),
            held=sum(confirmed),
            tested=len(confirmed),
            per_case=cases,
            searched_near=SearchedNearAll.over([row.searched_near for _, row in known]),
        )

    def _share_of_range(self, known: Sequence[tuple[CaseRecord, MarginRow]]) -> float | None:
        """Median margin as a share of each case's range of intensities."""
        if not self.is_intensity:
            return None
        shares = [
            row.margin * self.factor(record.scale) / record.scale.span
            for record, row in known
            if row.margin is not None and record.scale.span > 0
        ]
        return float(np.median(shares)) if shares else None

    def tables(self, records: Sequence[CaseRecord], labels: Labels) -> dict[str, Lines]:
        """`margins.csv`: one line per case, set and structure; cells without a value are empty."""
        if self.write is None:
            return {}
        names, same = structure_names(labels), {"perturbation": self.in_set, "unit": self.stated_unit}
        lines = []
        for record, row in self.rows(records, MarginRow):
            stated = _stated(record, row)
            line = {"case": record.case, "probe": self.name, **same, "structure": names[row.structure]}
            lines.append(line | {column: stated[column] for column in _COLUMNS})
        return {"margins.csv": lines}


def _searched(search: SampleMargin, scene: Scene, whole: SampleMarginResult | None) -> SampleMarginResult:
    """The margin; of a structure below that of the whole case, where what broke the whole breaks the structure too."""
    at = (scene.searched(scene.model), scene.image, scene.search_label)
    if whole is None or bool(whole.censored) or not float(whole.margin):
        return search(*at)
    there = search.perturbation.with_eps(whole.margin)
    look = PGD(there, steps=1, objective=search.attack.objective)
    if not bool(look(*at, criterion=search.criterion, start=whole.params).success):
        return search(*at)
    parts: dict[str, Any] = {"criterion": search.criterion, "attack": search.attack, "challenger": search.challenger}
    result = SampleMargin(there, rtol=search.rtol, **parts)(*at)
    if bool(result.censored):
        # From the ceiling, too, where the search below what is known to break finds nothing.
        result = search(*at)
        if bool(result.margin > whole.margin):
            result = replace(result, margin=whole.margin, censored=whole.censored)
    return result


def quartiles(cases: Sequence[CaseMargin]) -> dict[str, Any]:
    """Median and quartiles, and which of them are lower bounds: those that rest on a censored margin.

    A censored margin is known to lie above its ceiling, so a quantile at or above the lowest such ceiling lies at or
    above the number given.
    """
    margins = np.sort([case.margin for case in cases])
    ends = np.array([case.margin for case in cases if case.censored])
    figures: dict[str, Any] = {}
    for name, share in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        known = len(margins) > 0
        upper = margins[int(np.ceil(share * (len(margins) - 1)))] if known else 0.0
        figures[name] = float(np.quantile(margins, share)) if known else None
        figures[f"{name}_at_least"] = bool((ends <= upper).any())
    return figures


def structure_names(labels: Labels) -> dict[int | None, str]:
    """Name by foreground class, numbered where names repeat; `WHOLE` for None."""
    names = [name for k, name in labels.items() if k > 0]
    return {None: WHOLE} | {
        k: name if names.count(name) == 1 and name != WHOLE else f"{name} {k}" for k, name in labels.items() if k > 0
    }


def _stated(record: CaseRecord, row: MarginRow) -> dict[str, Any]:
    """A margin next to what else is known of the case or the structure."""
    place = MEAN if row.structure is None else str(row.structure)
    return {
        "case": record.case,
        "clean_dice": record.clean[place]["dice"],
        "volume_ml": sum(record.volumes.values()) if row.structure is None else record.volumes[place],
        **row.model_dump(exclude={"kind", "probe", "structure", "searched_near"}),
    }


def _told(value: Any) -> str:
    """A value of a criterion as part of a name."""
    if isinstance(value, bool):
        return "relative" if value else "absolute"
    if isinstance(value, list | tuple):
        return "class-" + "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)
