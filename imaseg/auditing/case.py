"""The audit of one case: every part of the plan, as plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaseg.attacks import AttackResult
from imaseg.auditing.calibration import calibration_error
from imaseg.auditing.case_certified import certificate
from imaseg.auditing.case_checks import CaseChecks
from imaseg.auditing.metrics import MEAN, Scores, score, volumes_ml
from imaseg.auditing.plan import Plan, Probe
from imaseg.auditing.plan_probes import Ruler
from imaseg.data.volume import Volume
from imaseg.errors import InputError
from imaseg.models.segmentation import SegmentationModel
from imaseg.scores import hard_dice

Slices = dict[str, NDArray[Any]]
Tell = Callable[[str], None]
CHECKS = "checks"
VOXELS = "voxel margins"
_MOST = float(np.finfo(np.float16).max)


def _ignore(part: str) -> None:
    """Nobody wants to know."""


@dataclass
class CaseRecord:
    """What one case gave; all of it goes into `cases/<id>.json`.

    Attributes:
        case: id.
        clean: scores of the clean prediction.
        probes: one entry per probe and eps, with scores, size and gradient statistics.
        margins: one entry per margin search; margin None where the label does not hold the structure.
        certified: one entry per certificate.
        voxel_margins: what is known of the margin map beside this file, if there is one.
        corruptions: one entry per corruption and severity, with scores, parameters and change of the image.
        corruptions_left_out: why a corruption of the plan does not occur in this case, by name.
        checks: results of the extra attacks for the validity panel.
        native_scale: native intensity units per unit of the model's input; None if unknown.
        image_std: standard deviation of the model's input, which budgets in "std" are multiples of.
        volumes: reference volume in ml by class.
        forward_calls, backward_calls: passes of the model spent on this case.
        seconds: wall time.
        peak_memory_mb: largest memory of the process so far; on a GPU, of this case there.
    """

    case: str
    clean: Scores = field(default_factory=dict)
    probes: list[dict[str, Any]] = field(default_factory=list)
    margins: list[dict[str, Any]] = field(default_factory=list)
    certified: list[dict[str, Any]] = field(default_factory=list)
    voxel_margins: dict[str, Any] = field(default_factory=dict)
    corruptions: list[dict[str, Any]] = field(default_factory=list)
    corruptions_left_out: dict[str, str] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    native_scale: float | None = None
    image_std: float = 1.0
    volumes: dict[str, float] = field(default_factory=dict)
    forward_calls: int = 0
    backward_calls: int = 0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    def count(self, result: Any, *, copies: int = 1) -> None:
        """Add the passes that a search took, on a model each of whose passes is as many `copies` of the real one."""
        self.forward_calls += result.forward_calls * copies
        self.backward_calls += getattr(result, "backward_calls", 0) * copies


class CaseAudit:
    """Runs a plan on one case.

    Args:
        model: in eval mode, on its device.
        volume: the case, prepared, with label, as `CaseSource.read` gives it.
        plan: what to do.
        native_scale: native intensity units per unit of the prepared image.
    """

    def __init__(self, model: SegmentationModel, volume: Volume, plan: Plan, *, native_scale: float | None) -> None:
        device = next(model.parameters()).device
        self.model, self.volume, self.plan = model, volume, plan
        self.image = torch.from_numpy(volume.image)[None].to(device)
        self.label = torch.from_numpy(volume.label)[None].to(device)
        self.classes = [k for k in model.card.labels if k > 0]
        self._spacing = volume.spacing[: self.label.ndim - 1]
        self.ruler = Ruler.of(self.image, self._spacing)
        self.record = CaseRecord(volume.id, native_scale=native_scale, image_std=self.ruler.std)
        self.voxels: Slices = {}

    def run(self, place: int, tell: Tell = _ignore) -> tuple[CaseRecord, Slices]:
        """Every part of the plan.

        Args:
            place: among the cases; the first ones get the extra attacks of the validity panel, and voxel maps.
            tell: told the name of every part that is done.

        Returns:
            The record, and the slices that the page shows; `voxels` then holds the margin map, if there is one.

        Raises:
            InputError: if the model's output on the clean case is not finite.
        """
        plan = self.plan
        self.look()
        checks = None
        if plan.validity is not None and place < plan.validity.cases:
            checks = CaseChecks(self.model, self.image, self.label, plan, self.ruler, self.record)
        slices: Slices = {}
        for probe in plan.probes:
            found = self._attack(probe)
            if probe is plan.probe(plan.showcase.attack):
                shown = found[probe.eps.index(plan.showcase.eps)]
                slices = self._slices(shown)
                if checks is not None:
                    checks.replay(shown, self.classes)
            tell(probe.name)
        self._margins(checks, tell)
        for certify in plan.certified:
            if certify.cases is None or place < certify.cases:
                result = certify.build(plan.seed, self.ruler)(self.model, self.image)
                self.record.count(result)
                self.record.certified.append({"probe": certify.name} | certificate(result, self.label, self.classes))
                if checks is not None:
                    checks.certified(result)
                tell(certify.name)
        if plan.voxel_margins is not None and place < plan.voxel_margins.cases:
            self._map()
            tell(VOXELS)
        if checks is not None:
            checks.run()
            tell(CHECKS)
        return self.record, slices

    def look(self) -> None:
        """Score the clean prediction."""
        logits = finite_logits(self.model, self.image, self.record.case)
        self.record.forward_calls += 1
        self._clean = logits.max(1).indices[0]
        self.record.clean = self._scores(self._clean, hard_dice(logits, self.label), self.label[0], logits[0])
        self.record.volumes = volumes_ml(self.label[0], spacing=self._spacing, classes=self.classes)

    def _attack(self, probe: Probe) -> list[AttackResult]:
        """All budgets of a probe, each search starting from what the one before found."""
        attack = probe.build(0.0, self.plan.seed, self.ruler)
        found = attack.ladder(self.model, self.image, self.label, probe.ladder(self.ruler))
        for eps, result in zip(probe.eps, found, strict=True):
            self.record.count(result)
            self.record.probes.append(
                {
                    "probe": probe.name,
                    "eps": eps,
                    "scores": self._scores(
                        result.prediction[0], result.dice, result.label[0], self._logits(result.image)
                    ),
                    "sizes": {unit: float(size) for unit, size in result.sizes.items()},
                    "objective": number(result.objective),
                    "zero_gradients": float(result.zero_gradients),
                    "nonfinite_gradients": float(result.nonfinite_gradients),
                }
            )
        return found

    def _margins(self, checks: CaseChecks | None, tell: Tell) -> None:
        for probe in self.plan.margins:
            factor = probe.factor(self.ruler)
            for k in (None, *(self.classes if probe.per_class else ())):
                entry: dict[str, Any] = {"probe": probe.name, "class": k, "margin": None, "censored": False}
                self.record.margins.append(entry)
                if k is not None and not bool((self.label == k).any()):
                    continue
                search = probe.build(self.plan.seed, self.ruler, None if k is None else [k])
                result = search(self.model, self.image, self.label)
                self.record.count(result)
                entry["margin"] = float(result.margin) / factor if factor else 0.0
                entry["censored"] = bool(result.censored)
                if checks is not None:
                    checks.confirm(search, result)
            tell(probe.name)

    def _map(self) -> None:
        """The margin of every voxel of this case."""
        plan = self.plan.voxel_margins
        if plan is None:
            return
        result = plan.build(self.plan.seed, self.ruler)(self.model, self.image, self.label)
        self.record.count(result)
        factor = plan.factor(self.ruler) or 1.0
        margin, standing = result.margin[0] / factor, result.censored[0]
        right = result.right[0]
        broken = margin[right & ~standing]
        self.record.voxel_margins = {
            "perturbation": plan.perturbation,
            "unit": plan.stated_unit,
            "eps": plan.eps,
            "right": int(right.sum()),
            "censored": int((standing & right).sum()),
            "median": float(broken.median()) if len(broken) else None,
        }

        def volume(values: Tensor, kind: type) -> NDArray[Any]:
            array = values.cpu().numpy()
            return (array if array.ndim == 3 else array[..., None]).astype(kind)

        self.voxels = {
            "image": volume(self.image[0, 0].clamp(-_MOST, _MOST), np.float16),
            "margin": volume(margin.clamp(max=_MOST), np.float16),
            "censored": volume(standing, np.bool_),
            "label": volume(self.label[0].clamp(min=0), np.uint8),
            "prediction": volume(self._clean, np.uint8),
            "spacing": np.array([*self.volume.spacing, 1.0][:3]),
        }

    def _logits(self, image: Tensor) -> Tensor:
        """Logits (K, *spatial) at a point that was found: one more pass, for the calibration there."""
        self.record.forward_calls += 1
        with torch.no_grad():
            logits: Tensor = self.model(image)
        return logits[0]

    def _scores(self, prediction: Tensor, dice: Tensor, label: Tensor, logits: Tensor) -> Scores:
        spacing = self._spacing
        scores = score(prediction.cpu(), label.cpu(), dice[0], spacing=spacing, classes=self.classes)
        scores[MEAN]["ece"] = calibration_error(logits, label, spacing=spacing, independent=self.model.independent)
        return scores

    def _slices(self, result: AttackResult) -> Slices:
        """The slice with the largest labelled area, rows and columns as a viewer shows them; an image as it is."""
        foreground = np.asarray(self.label[0].cpu() > 0)
        axis, place = 2, 0
        if foreground.ndim == 3:
            areas = [foreground.sum(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
            axis = int(np.argmax([area.max() for area in areas]))
            place = int(areas[axis].argmax())

        def cut(volume: Tensor, kind: type) -> NDArray[Any]:
            plane = volume.cpu().numpy()
            return np.rot90(plane.take(place, axis) if plane.ndim == 3 else plane).astype(kind)

        columns, rows = (size for a, size in enumerate(self.volume.spacing) if a != axis)
        return {
            "image": cut(self.image[0, 0], np.float32),
            "attacked_image": cut(result.image[0, 0], np.float32),
            "label": cut(self.label[0].clamp(min=0), np.uint8),
            "clean_prediction": cut(self._clean, np.uint8),
            "attacked_prediction": cut(result.prediction[0], np.uint8),
            "spacing": np.array([rows, columns]),
        }


def finite_logits(model: SegmentationModel, image: Tensor, case: str) -> Tensor:
    """Logits of an image (1, C, *spatial).

    Raises:
        InputError: if one of them is not finite.
    """
    with torch.no_grad():
        logits: Tensor = model(image)
    if not bool(torch.isfinite(logits).all()):
        msg = f"the model must give finite logits on case {case}, got undefined ones. Check its weights."
        raise InputError(msg)
    return logits


def number(value: Tensor) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if bool(torch.isfinite(value)) else None
