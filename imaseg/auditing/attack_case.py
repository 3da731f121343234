"""One case attacked: the adversarial file is written, read back, prepared as the model does it, and scored again."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaseg.attacks import AttackResult
from imaseg.auditing.attack_record import MEAN, AttackRecord, dice_of_maps
from imaseg.auditing.attack_settings import AttackSettings
from imaseg.auditing.case import finite_logits
from imaseg.auditing.source import CaseSource, Loaded
from imaseg.auditing.subject import tensors
from imaseg.data import Case
from imaseg.data.files import write_json
from imaseg.data.inverse.invert import invert_label
from imaseg.data.inverse.native import native_change, native_label, resampled
from imaseg.data.inverse.rewrite import write_changed, write_labels_on
from imaseg.models.segmentation import SegmentationModel


class CaseAttack:
    """Attacks cases, one at a time, and writes what came of each.

    Args:
        model: in eval mode, on its device.
        source: reads cases for that model.
        settings: the attack.
        out: folder of `images/`, `predictions/`, `clean_predictions/`, `cases/` and, for deformations, `labels/`.
    """

    def __init__(self, model: SegmentationModel, source: CaseSource, settings: AttackSettings, out: Path) -> None:
        self.model, self.source, self.settings, self.out = model, source, settings, out
        self.classes = [k for k in model.card.labels if k > 0]

    def run(self, case: Case) -> AttackRecord:
        """Attack, write, read back, score; the record is written last.

        Raises:
            InputError: if the case does not fit the model or the settings, before the attack or in its file.
        """
        begin = time.perf_counter()
        loaded = self.source.load(case)
        attack = self.settings.build(loaded)
        clean = self._decide(loaded)
        result = attack(self.model, *tensors(self.model, loaded))
        record = AttackRecord.of(attack, result, loaded)
        try:
            reread = self.source.load(self._write(case, loaded, result, record, moved=attack.perturbation.moves_label))
            record.compare(result, loaded, reread)
            self._score(case, record, result, (loaded, clean), (reread, self._decide(reread)))
        except Exception:
            for name in record.files:  # files nobody scored are no result
                (self.out / name).unlink(missing_ok=True)
            raise
        record.judge(resampled=resampled(loaded.steps))
        record.seconds = round(time.perf_counter() - begin, 2)
        write_json(self.out / "cases" / f"{case.id}.json", asdict(record))
        return record

    def _decide(self, loaded: Loaded) -> NDArray[np.int64]:
        """The predicted label in the model's space."""
        logits = finite_logits(self.model, tensors(self.model, loaded)[0], loaded.volume.id)
        decided: NDArray[np.int64] = logits.max(1).indices[0].cpu().numpy()
        return decided

    def _write(self, case: Case, loaded: Loaded, result: AttackResult, record: AttackRecord, *, moved: bool) -> Case:
        """Write the adversarial files; the case that they make up."""
        native, steps = loaded.native, loaded.steps
        delta = result.image[0].cpu().numpy() - loaded.volume.image
        change, first, images = native_change(delta, native, steps, moved=moved), 0, []
        for i, path in enumerate(case.image):
            name = f"images/{case.id}.nii.gz" if len(case.image) == 1 else f"images/{case.id}_{i:04d}.nii.gz"
            written = write_changed(path, change[first:], self.out / name)
            first += written.channels
            images.append(self.out / name)
            record.files[name] = written.sha256
            record.written.append({key: value for key, value in asdict(written).items() if key != "sha256"})
        if not moved:
            return Case(case.id, tuple(images), case.label)
        label = native_label(result.label[0].cpu().numpy(), loaded.label, native, steps)
        return Case(case.id, tuple(images), self._labels("labels", case, label, record))

    def _labels(self, folder: str, case: Case, label: NDArray[np.int64], record: AttackRecord) -> Path:
        name = f"{folder}/{case.id}.nii.gz"
        record.files[name] = write_labels_on(self.out / name, label, case.image[0])
        return self.out / name

    def _score(
        self,
        case: Case,
        record: AttackRecord,
        result: AttackResult,
        clean: tuple[Loaded, NDArray[np.int64]],
        reread: tuple[Loaded, NDArray[np.int64]],
    ) -> None:
        """Write both predictions on the native grid; Dice of everything."""
        scores = {"clean": result.dice_clean[0], "attacked": result.dice[0]}
        table = {key: {str(k): float(dice[k]) for k in self.classes} for key, dice in scores.items()}
        for values in table.values():
            values[MEAN] = sum(values.values()) / len(values)
        table["reread"] = dice_of_maps(reread[1], reread[0].label, self.classes)
        for key, folder, (loaded, decided) in (
            ("clean_native", "clean_predictions", clean),
            ("reread_native", "predictions", reread),
        ):
            label = invert_label(decided, loaded.steps)
            self._labels(folder, case, label, record)
            table[key] = dice_of_maps(label, loaded.native_label, self.classes)
        record.dice = {kind: {key: values[kind] for key, values in table.items()} for kind in table["clean"]}
