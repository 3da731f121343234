"""The audit of one case: every probe and margin of the plan, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaseg.attacks import AttackResult
from imaseg.auditing.metrics import Scores, score
from imaseg.auditing.plan import Plan, Probe
from imaseg.data.nifti import Volume
from imaseg.errors import InputError
from imaseg.frozen import Model
from imaseg.models.segmentation import SegmentationModel
from imaseg.scores import hard_dice

Slices = dict[str, NDArray[Any]]
BLACK_BOX_STEPS = 50
"""Windows that the attack without gradients tries in the validity checks."""


@dataclass
class CaseRecord:
    """What one case gave; all of it goes into `cases/<id>.json`.

    Attributes:
        case: id.
        clean: scores of the clean prediction.
        probes: one entry per probe and eps, with scores, size and gradient statistics.
        margins: one entry per margin search.
        corruptions: one entry per corruption and severity, with scores, parameters and change of the image.
        corruptions_left_out: why a corruption of the plan does not occur in this case, by name.
        checks: results of the extra attacks for the validity panel.
        native_scale: native intensity units per unit of the model's input; None if unknown.
        forward_calls, backward_calls: passes of the model spent on this case.
        seconds: wall time.
    """

    case: str
    clean: Scores = field(default_factory=dict)
    probes: list[dict[str, Any]] = field(default_factory=list)
    margins: list[dict[str, Any]] = field(default_factory=list)
    corruptions: list[dict[str, Any]] = field(default_factory=list)
    corruptions_left_out: dict[str, str] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    native_scale: float | None = None
    forward_calls: int = 0
    backward_calls: int = 0
    seconds: float = 0.0

    def count(self, result: Any) -> None:
        """Add the passes that a search took."""
        self.forward_calls += result.forward_calls
        self.backward_calls += result.backward_calls


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
        self.record = CaseRecord(volume.id, native_scale=native_scale)

    def run(self, *, checks: bool) -> tuple[CaseRecord, Slices]:
        """All probes and margins; with `checks` also the extra attacks of the validity panel.

        Raises:
            InputError: if the model's output on the clean case is not finite.
        """
        self.look()
        slices: Slices = {}
        for probe in self.plan.probes:
            found = self._attack(probe)
            showcase = self.plan.showcase
            if probe is self.plan.probe(showcase.attack):
                slices = self._slices(found[probe.eps.index(showcase.eps)])
        self._margins()
        if checks:
            self._checks()
        return self.record, slices

    def look(self) -> None:
        """Score the clean prediction."""
        logits = finite_logits(self.model, self.image, self.record.case)
        self.record.forward_calls += 1
        self._clean = logits.max(1).indices[0]
        self.record.clean = self._scores(self._clean, hard_dice(logits, self.label), self.label[0])

    def _attack(self, probe: Probe) -> list[AttackResult]:
        """All budgets of a probe, each search starting from what the one before found."""
        found = probe.build(0.0, self.plan.seed).ladder(self.model, self.image, self.label, probe.eps)
        for eps, result in zip(probe.eps, found, strict=True):
            self.record.count(result)
            self.record.probes.append(
                {
                    "probe": probe.name,
                    "eps": eps,
                    "scores": self._scores(result.prediction[0], result.dice, result.label[0]),
                    "sizes": {unit: float(size) for unit, size in result.sizes.items()},
                    "objective": number(result.objective),
                    "zero_gradients": float(result.zero_gradients),
                    "nonfinite_gradients": float(result.nonfinite_gradients),
                }
            )
        return found

    def _margins(self) -> None:
        for probe in self.plan.margins:
            result = probe.build(self.plan.seed)(self.model, self.image, self.label)
            self.record.count(result)
            entry = {"probe": probe.name, "margin": float(result.margin), "censored": bool(result.censored)}
            self.record.margins.append(entry)

    def _checks(self) -> None:
        """A budget that must destroy any model, the same attack on scaled logits, and one that needs no gradients."""
        plan = self.plan.validity
        if plan is None:
            return
        probe = self.plan.probe(plan.attack)
        self.record.checks["large_eps"] = self._dice_under(self.model, probe, plan.large_eps)
        for factor in (0.1, 1.0, 10.0):
            scaled = _scaled(self.model, factor)
            self.record.checks[f"logits_x{factor:g}"] = self._dice_under(scaled, probe, plan.scaled_eps)
        blind = probe.model_copy(update={"attack": "square", "steps": BLACK_BOX_STEPS, "restarts": 1})
        self.record.checks["black_box"] = self._dice_under(self.model, blind, plan.scaled_eps)

    def _dice_under(self, model: Model, probe: Probe, eps: float) -> float:
        result = probe.build(eps, self.plan.seed)(model, self.image, self.label)
        self.record.count(result)
        return float(result.foreground_dice)

    def _scores(self, prediction: Tensor, dice: Tensor, label: Tensor) -> Scores:
        return score(prediction.cpu(), label.cpu(), dice[0], spacing=self.volume.spacing, classes=self.classes)

    def _slices(self, result: AttackResult) -> Slices:
        """The slice with the largest labelled area, rows and columns as a viewer shows them."""
        foreground = np.asarray(self.label[0].cpu() > 0)
        areas = [foreground.sum(tuple(a for a in range(foreground.ndim) if a != axis)) for axis in range(3)]
        axis = int(np.argmax([area.max() for area in areas]))
        place = int(areas[axis].argmax())

        def cut(volume: Tensor, kind: type) -> NDArray[Any]:
            return np.rot90(volume.cpu().numpy().take(place, axis)).astype(kind)

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


def _scaled(model: Model, factor: float) -> Model:
    return lambda image: model(image) * factor
