"""Corruption probe: faults of scanners and acquisitions; corrupt what lies on disk, prepare it, predict, score."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from imaseg.auditing.inputs.source import Loaded
from imaseg.auditing.metrics.scores import block
from imaseg.auditing.probes.base import Cost, Labels, Probe, Sorted
from imaseg.auditing.probes.scene import Scene
from imaseg.corruptions import SEVERITIES, Corrupted, Corruption
from imaseg.data.volume import Volume
from imaseg.errors import InputError
from imaseg.results.base import Row, Spread
from imaseg.results.case import CaseRecord, units_of
from imaseg.results.corruption import CorruptionEntry, CorruptionRow, LeftOutRow

_TIMED, _QUICK = 2, 2.0
"""Corruptions that are tried at least to see how long one takes, and seconds up to which more are."""


class CorruptionProbe(Probe):
    """Corruptions at calibrated severities.

    Attributes:
        corruptions: registered names, or "all": each case then gets those that occur in such images.
        severities: among 1 to 5.
        seed: of what is drawn; None for that of the plan.
        draws: how often each corruption is drawn. Of the draws after the first, which all other figures are of, only
            the predicted volumes are kept, whose coefficient of variation the audit states.
    """

    kind: Literal["corruption"] = "corruption"
    corruptions: Annotated[list[str], Field(min_length=1)] | Literal["all"] = "all"
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Sorted] = Field(list(SEVERITIES), min_length=1)
    seed: int | None = Field(None, ge=0)
    draws: int = Field(1, ge=1, le=1000)

    def names(self) -> list[str]:
        """There is mostly one such probe."""
        return ["corruptions", f"corruptions-{'-'.join(self.corruptions)}" if self.corruptions != "all" else "all"]

    def build(self, seed: int) -> list[Corruption]:
        """The corruptions, each once.

        Args:
            seed: of the plan.

        Raises:
            ValueError: if a name is unknown.
        """
        names = list(Corruption.registry) if self.corruptions == "all" else self.corruptions
        return [Corruption.build(name, seed=seed if self.seed is None else self.seed) for name in dict.fromkeys(names)]

    def check(self, seed: int) -> None:
        """Build them."""
        self.build(seed)

    def cost(self, classes: int, seed: int) -> Cost:
        """One prediction per corruption, severity and draw, at most."""
        images = len(self.build(seed)) * len(self.severities) * self.draws
        return Cost(self.name, 0, images, images, first=self.cases)

    def changing(self, scene: Scene) -> float:
        """Of corrupting an image and preparing it, mean over those that the probe counts, seconds.

        Two corruptions that occur in the image are tried at least, more while that is quick. One calibration serves
        all severities, and what does not occur takes no time.
        """
        begun, spent, begin = list(self._beginnings(scene)), [], time.perf_counter()
        occurring = [(corruption, start) for corruption, start, reason in begun if not reason]
        for corruption, start in occurring:
            spent.append(self._spent(scene, corruption, start))
            if spent[-1] < _QUICK:  # the first time libraries are loaded
                spent[-1] = min(spent[-1], self._spent(scene, corruption, start))
            if len(spent) >= _TIMED and time.perf_counter() - begin > _QUICK:
                break
        return sum(spent) / max(1, len(spent)) * len(occurring) / len(begun)

    def _spent(self, scene: Scene, corruption: Corruption, start: Volume) -> float:
        """Seconds for an image at one of the severities."""
        begin = time.perf_counter()
        corrupted = corruption(start, severity=self.severities[0], modality=_modality(scene))
        made = time.perf_counter()
        if not corruption.after_normalisation:
            scene.source.fit(corrupted.volume)
        return (made - begin) / len(self.severities) + time.perf_counter() - made

    def run(self, scene: Scene) -> list[Row]:
        """Every corruption that occurs in such images, at every severity; the others with the reason."""
        rows: list[Row] = []
        for corruption, start, reason in self._beginnings(scene):
            if reason:
                rows.append(LeftOutRow(probe=self.name, corruption=corruption.name, reason=reason))
                continue
            drawn = [corruption, *(type(corruption)(seed=corruption.seed + more) for more in range(1, self.draws))]
            ladders = [one.ladder(start, severities=self.severities, modality=_modality(scene)) for one in drawn]
            rows += [self._row(scene, corruption, start, *each) for each in zip(*ladders, strict=True)]
        return rows

    def _beginnings(self, scene: Scene) -> Iterator[tuple[Corruption, Volume, str]]:
        """Every corruption, the volume that it is applied to, and why it does not occur there, if so."""
        native = scene.source.open(scene.case)
        if scene.loaded.own:  # what moves with the image is then the model's own prediction
            native = replace(native, label=scene.source.in_values(scene.loaded.native_label))
        for corruption in self.build(scene.seed):
            start = scene.loaded.volume if corruption.after_normalisation else native
            yield corruption, start, corruption.why_not(start, _modality(scene))

    def _row(
        self, scene: Scene, corruption: Corruption, start: Volume, corrupted: Corrupted, *others: Corrupted
    ) -> CorruptionRow:
        seen = _seen(scene, corruption, start, corrupted)
        drawn = [_seen(scene, corruption, start, other).predicted_volumes for other in others]
        volumes = [seen.predicted_volumes, *drawn]
        stated = {key: getattr(corrupted, key) for key in ("severity", "parameters", "change", "reached")}
        return CorruptionRow(
            probe=self.name,
            corruption=corruption.name,
            **stated,
            before_normalisation=scene.source.prepares and not corruption.after_normalisation,
            scores=seen.clean_scores,
            volumes=volumes if others else [],
        )

    def summarise(self, records: Sequence[CaseRecord], labels: Labels, seed: int) -> list[CorruptionEntry]:
        """One entry per corruption and severity that occurs in any case."""
        found: dict[tuple[str, int], dict[str, CorruptionRow]] = {}
        for record, row in self.rows(records, CorruptionRow):
            found.setdefault((row.corruption, row.severity), {})[record.case] = row
        units = units_of(records)
        return [
            self._entry(corruption, severity, found[corruption.name, severity], labels, units)
            for corruption in self.build(seed)
            for severity in self.severities
            if (corruption.name, severity) in found
        ]

    def _entry(
        self,
        corruption: Corruption,
        severity: int,
        rows: dict[str, CorruptionRow],
        labels: Labels,
        units: dict[str, str],
    ) -> CorruptionEntry:
        found = list(rows.values())
        values = {name: [row.parameters[name] for row in found] for name in found[0].parameters}
        changes = [row.change for row in found]
        return CorruptionEntry(
            probe=self.name,
            corruption=corruption.name,
            severity=severity,
            title=corruption.title,
            calibrated=not corruption.physical,
            parameters={name: statistics.median(numbers) for name, numbers in values.items()},
            parameter_range={name: [min(numbers), max(numbers)] for name, numbers in values.items()},
            change=Spread(median=statistics.median(changes), min=min(changes), max=max(changes)),
            reached=sum(row.reached for row in found),
            before_normalisation=all(row.before_normalisation for row in found),
            seed=corruption.seed,
            n=len(found),
            **block({case: row.scores for case, row in rows.items()}, labels, units),
        )


def _seen(scene: Scene, corruption: Corruption, start: Volume, corrupted: Corrupted) -> Scene:
    """The case as it is corrupted, prepared and predicted."""
    try:
        return scene.seen(_loaded(scene, corruption, start, corrupted.volume))
    except InputError as error:
        msg = f"{corruption.name} at severity {corrupted.severity}: {error}"
        raise InputError(msg) from error


def _loaded(scene: Scene, corruption: Corruption, start: Volume, volume: Volume) -> Loaded:
    """The corrupted volume as the model takes it, with the label that belongs to it on both grids."""
    before, label = scene.loaded, cast("NDArray[np.int64]", volume.label)
    moved = not np.array_equal(label, cast("NDArray[np.int64]", start.label))
    if corruption.after_normalisation:
        if not moved:
            return replace(before, volume=volume)
        there = scene.moved_on_files(torch.from_numpy(label))
        return replace(before, volume=volume, native=replace(before.native, label=there), classes={})
    prepared, steps = scene.source.fit(volume)
    same = prepared.shape == before.volume.shape and np.allclose(prepared.affine, before.volume.affine)
    if before.own and same and not moved:  # the prediction itself, rather than what two resamplings make of it
        prepared = replace(prepared, label=before.label)
    return replace(before, volume=prepared, native=volume, steps=steps, classes=scene.source.classes)


def _modality(scene: Scene) -> tuple[str, ...]:
    return (scene.case.modality,) if scene.case.modality else tuple(scene.source.modality)
