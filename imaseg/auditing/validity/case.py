"""Extra attacks on a few cases that show whether the attacks of the plan can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from imaseg.attacks import AttackResult
from imaseg.auditing.case_certified import flipped_within
from imaseg.auditing.plan import Plan, Probe
from imaseg.auditing.plan_probes import Ruler
from imaseg.frozen import Model
from imaseg.margins import CertifiedMarginResult, SampleMargin, SampleMarginResult, Smoothed
from imaseg.scores import hard_dice

if TYPE_CHECKING:
    from imaseg.auditing.case import CaseRecord

BLACK_BOX_STEPS = 50
"""Windows that the attack without gradients tries."""
COPY_DRAWS = 4
COPY_NOISE = 0.05
"""Noise of the smoothed copy, in standard deviations of the image."""
LONGER, REPEATED = 2, 2
"""How many times the steps and the restarts of the strongest attack are multiplied."""


class CaseChecks:
    """Runs the checks on one case and notes the outcome in its record; `imaseg.auditing.validity` judges.

    Args:
        model: held still by the caller.
        image: (1, C, *spatial).
        label: (1, *spatial).
        plan: with `validity`.
        ruler: of this case.
        record: of this case; takes the results under `checks`.
    """

    def __init__(
        self, model: Model, image: Tensor, label: Tensor, plan: Plan, ruler: Ruler, record: CaseRecord
    ) -> None:
        self.model, self.image, self.label = model, image, label
        self.plan, self.ruler, self.record = plan, ruler, record

    def replay(self, shown: AttackResult, classes: Sequence[int]) -> None:
        """Give the showcased image to the model anew and count the Dice by other code than the attack's."""
        with torch.no_grad():
            decided = self.model(shown.image.clone()).argmax(1)[0].cpu().numpy()
        self.record.forward_calls += 1
        truth = shown.label[0].cpu().numpy()
        told = shown.dice[0, list(classes)].mean()
        self.record.checks["replay"] = abs(_dice(decided, truth, classes) - float(told))

    def confirm(self, search: SampleMargin, result: SampleMarginResult) -> None:
        """Whether three new searches just below a margin fail."""
        if not float(result.margin):
            return
        stands = bool(search.confirm(self.model, self.image, self.label, result))
        tried, stood = self.record.checks.get("margins", (0, 0))
        self.record.checks["margins"] = [tried + 1, stood + stands]

    def certified(self, result: CertifiedMarginResult) -> None:
        """Whether an attack within the certified radius flips what is certified."""
        flipped, voxels, calls = flipped_within(result, self.model, self.image, seed=self.plan.seed)
        self.record.forward_calls += calls["forward_calls"]
        self.record.backward_calls += calls["backward_calls"]
        before = self.record.checks.get("certified", (0, 0))
        self.record.checks["certified"] = [before[0] + flipped, before[1] + voxels]

    def run(self) -> None:
        """A budget that must destroy any model, scaled logits, no gradients, a smoothed copy, four times the calls."""
        plan = self.plan.validity
        if plan is None:
            return
        probe, checks = self.plan.probe(plan.attack), self.record.checks
        checks["large_eps"] = self._dice_under(self.model, probe, plan.large_eps)
        for factor in (0.1, 1.0, 10.0):
            checks[f"logits_x{factor:g}"] = self._dice_under(_scaled(self.model, factor), probe, plan.scaled_eps)
        blind = probe.model_copy(
            update={"attack": "square", "steps": BLACK_BOX_STEPS, "restarts": 1, "objective": None}
        )
        checks["black_box"] = self._dice_under(self.model, blind, plan.scaled_eps)
        checks["transfer"] = self._transferred(probe, plan.scaled_eps)
        checks |= self._longer(plan.scaled_eps)

    def _dice_under(self, model: Model, probe: Probe, eps: float) -> float:
        result = probe.build(eps, self.plan.seed, self.ruler)(model, self.image, self.label)
        self.record.count(result)
        return float(result.foreground_dice)

    def _transferred(self, probe: Probe, eps: float) -> float:
        """Dice of the model on an image made to break a smoothed copy, whose gradients no rough spot can hide."""
        copy = Smoothed(self.model, COPY_NOISE * self.ruler.std or COPY_NOISE, COPY_DRAWS, seed=self.plan.seed)
        result = probe.build(eps, self.plan.seed, self.ruler)(copy, self.image, self.label)
        self.record.count(result, copies=COPY_DRAWS)
        self.record.forward_calls += 1
        with torch.no_grad():
            dice = hard_dice(self.model(result.image), result.label)[0]
        return float(dice[1:].mean())

    def _longer(self, eps: float) -> dict[str, Any]:
        """The lowest Dice known at a budget, and the lowest after the strongest attack spent four times its calls."""
        probe = strongest(self.plan)
        known = [
            entry["scores"]["foreground_mean"]["dice"]
            for other in self.plan.probes
            if not other.noise and other.same_set(probe)
            for entry in self.record.probes
            if entry["probe"] == other.name and entry["eps"] == eps
        ]
        before = min(known) if known else self._dice_under(self.model, probe, eps)
        attack = probe.build(eps, self.plan.seed + 1, self.ruler)
        single = attack.steps == 1  # an attack of one step has no longer form
        steps, restarts = (1, LONGER * REPEATED) if single else (LONGER * attack.steps, REPEATED)
        more = probe.model_copy(update={"steps": steps, "restarts": restarts * attack.restarts})
        result = more.build(eps, self.plan.seed + 1, self.ruler)(self.model, self.image, self.label)
        self.record.count(result)
        return {"converged": [before, min(before, float(result.foreground_dice))]}


def strongest(plan: Plan) -> Probe:
    """The probe whose convergence is checked: the project's own worst case on the checked set, else the checked one."""
    checked = plan.probe(plan.validity.attack if plan.validity else plan.showcase.attack)
    rivals = (probe for probe in plan.probes if probe.attack == "strong" and probe.same_set(checked))
    return next(rivals, checked)


def _dice(prediction: np.ndarray, label: np.ndarray, classes: Sequence[int]) -> float:
    """Mean Dice over classes; 1 where a class is on neither side."""
    known, values = label >= 0, []
    for k in classes:
        ours, theirs = (prediction == k) & known, label == k
        both = int(ours.sum()) + int(theirs.sum())
        values.append(2 * int((ours & theirs).sum()) / both if both else 1.0)
    return float(np.mean(values))


def _scaled(model: Model, factor: float) -> Callable[[Tensor], Tensor]:
    return lambda image: model(image) * factor
