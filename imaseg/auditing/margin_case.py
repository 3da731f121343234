"""The margins of one case: of the whole and of each structure, on every set."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from imaseg.attacks import PGD
from imaseg.auditing.case import finite_logits
from imaseg.auditing.margin_maps import CaseMaps, attackable
from imaseg.auditing.margin_record import WHOLE, MarginRecord, Row, Structure
from imaseg.auditing.margin_settings import Ceiling, MarginSettings
from imaseg.auditing.margin_view import write_view
from imaseg.auditing.margin_voxel import MapWriter, array
from imaseg.auditing.source import CaseSource, Loaded
from imaseg.auditing.subject import tensors
from imaseg.data import Case
from imaseg.data.files import write_json
from imaseg.margins import SampleMargin, SampleMarginResult
from imaseg.models.segmentation import SegmentationModel
from imaseg.perturbations import Perturbation
from imaseg.scores import hard_dice


class _Scene(NamedTuple):
    """A case on the model's device, what the model says of it, and what has been found."""

    loaded: Loaded
    image: Tensor
    label: Tensor
    prediction: Tensor
    record: MarginRecord


class CaseMargins:
    """Measures cases, one at a time, and writes what came of each.

    Args:
        model: in eval mode, on its device.
        source: reads cases for that model.
        settings: what to measure.
        out: folder of `cases/` and of the maps.
    """

    def __init__(self, model: SegmentationModel, source: CaseSource, settings: MarginSettings, out: Path) -> None:
        self.model, self.source, self.settings, self.out = model, source, settings, out
        self.classes = structure_names(model.card.labels)

    def run(self, case: Case) -> MarginRecord:
        """Search, and write the record last.

        Raises:
            InputError: if the case does not fit the model or the settings.
        """
        begin = time.perf_counter()
        scene = self._look(case)
        try:
            self._search(scene)
        except Exception:
            for name in scene.record.files:  # maps of a case that came to no end are no result
                (self.out / name).unlink(missing_ok=True)
            raise
        scene.record.seconds = round(time.perf_counter() - begin, 2)
        write_json(self.out / "cases" / f"{case.id}.json", asdict(scene.record))
        return scene.record

    def _look(self, case: Case) -> _Scene:
        """Read the case, score the clean prediction."""
        loaded = self.source.load(case)
        image, label = tensors(self.model, loaded)
        logits = finite_logits(self.model, image, case.id)
        dice = hard_dice(logits, label)[0]
        voxel = math.prod(loaded.volume.spacing) / 1000
        found = {name: Structure(float(dice[k]), int((label == k).sum()) * voxel) for name, k in self.classes.items()}
        mean = sum(one.clean_dice for one in found.values()) / len(found)
        whole = Structure(mean, sum(one.volume_ml for one in found.values()))
        record = MarginRecord(
            case.id,
            {WHOLE: whole} | found,
            native_scale=loaded.native_scale,
            span=float(image.max() - image.min()),
            forward_calls=1,
        )
        return _Scene(loaded, image, label, logits.argmax(1), record)

    def _search(self, scene: _Scene) -> None:
        """Rows and maps of every set, certificates, and the slices that the page shows."""
        writer = MapWriter(self.out, scene.loaded, scene.record, self.classes)
        maps = CaseMaps(self.model, scene.image, scene.label, self.settings, writer)
        built = [ceiling.build(scene.loaded) for ceiling in self.settings.sets]
        for ceiling, perturbation in zip(self.settings.sets, built, strict=True):
            self._measure(ceiling, perturbation, scene)
            maps.margins(ceiling, perturbation)
        maps.certificates(next(filter(attackable, built), None) if "attack" in self.settings.voxel else None)
        if writer.views:
            view = f"cases/{scene.record.case}.npz"
            write_view(self.out / view, scene.loaded, array(scene.prediction), writer.views)
            scene.record.files[view] = hashlib.sha256((self.out / view).read_bytes()).hexdigest()

    def _measure(self, ceiling: Ceiling, perturbation: Perturbation, scene: _Scene) -> None:
        """Rows of one set."""
        unit, factor = ceiling.unit_on(perturbation)
        margins = StructureMargins(self.model, scene.image, scene.label, perturbation, self.settings)
        for name, k in {WHOLE: None, **self.classes}.items():
            row = Row(ceiling.budget.perturbation, unit, name, float(torch.as_tensor(perturbation.eps)) * factor)
            scene.record.rows.append(row)
            if scene.record.structures[name].volume_ml == 0:
                continue
            result, confirmed = margins.whole() if k is None else margins.of(k)
            scene.record.count(result)
            row.margin, row.censored = float(result.margin) * factor, bool(result.censored)
            row.confirmed = confirmed if row.margin else None
            row.forward_calls, row.backward_calls = result.forward_calls, result.backward_calls


class StructureMargins:
    """Margins of a case and of its structures on one set; what breaks the whole is where a structure's search starts.

    Args:
        model: held still by the caller.
        image: (1, C, X, Y, Z).
        label: (1, X, Y, Z).
        perturbation: the set, its eps the ceiling.
        settings: criterion and search.
    """

    def __init__(
        self,
        model: SegmentationModel,
        image: Tensor,
        label: Tensor,
        perturbation: Perturbation,
        settings: MarginSettings,
    ) -> None:
        self.model, self.image, self.label = model, image, label
        self.perturbation, self.settings = perturbation, settings
        self._whole: SampleMarginResult | None = None

    def whole(self) -> tuple[SampleMarginResult, bool]:
        """Margin of the whole case, and whether it was confirmed."""
        search = self.settings.margin(self.perturbation)
        self._whole = search(self.model, self.image, self.label)
        return self._whole, self._confirmed(search, self._whole)

    def of(self, k: int) -> tuple[SampleMarginResult, bool]:
        """Margin of class k by itself, never above that of a whole whose change breaks it too."""
        search = self.settings.margin(self.perturbation, [k])
        known = self._whole if self._whole is not None and self._breaks(self._whole, search) else None
        if known is not None:
            lower = self.settings.margin(self.perturbation.with_eps(known.margin), [k])
            result = lower(self.model, self.image, self.label)
            if not bool(result.censored):
                return result, self._confirmed(search, result)
        # From the ceiling, too, where the search below what is known to break finds nothing.
        result = search(self.model, self.image, self.label)
        if known is not None and bool(result.margin > known.margin):
            result = replace(result, margin=known.margin, censored=known.censored)
        return result, self._confirmed(search, result)

    def _breaks(self, known: SampleMarginResult, search: SampleMargin) -> bool:
        """Whether what broke the whole meets another criterion."""
        if bool(known.censored) or not float(known.margin):
            return False
        there = PGD(self.perturbation.with_eps(known.margin), steps=1, objective=search.attack.objective)
        return bool(there(self.model, self.image, self.label, criterion=search.criterion, start=known.params).success)

    def _confirmed(self, search: SampleMargin, result: SampleMarginResult) -> bool:
        return bool(search.confirm(self.model, self.image, self.label, result))


def structure_names(labels: Mapping[int, str]) -> dict[str, int]:
    """Foreground classes by name, numbered where names repeat."""
    names = [name for k, name in labels.items() if k > 0]
    return {
        name if names.count(name) == 1 and name != WHOLE else f"{name} {k}": k for k, name in labels.items() if k > 0
    }
