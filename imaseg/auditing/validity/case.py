"""Extra attacks on a few cases that show whether the attacks of the plan can be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import AttackProbe, CertificateProbe, Cost, MarginProbe
from imaseg.auditing.probes import certificate as smoothing
from imaseg.auditing.probes.scene import Scene
from imaseg.frozen import Model
from imaseg.margins import Smoothed
from imaseg.results.attack import AttackRow
from imaseg.scores import foreground_dice

CHECKS = "checks"
BLACK_BOX_STEPS = 50
"""Windows that the attack without gradients tries."""
COPY_DRAWS = 4
COPY_NOISE = 0.05
"""Noise of the smoothed copy, in standard deviations of the image."""
LONGER, REPEATED = 2, 2
"""How many times the steps and the restarts of the strongest attack are multiplied."""
_CONFIRM = 60
"""Calls that ask whether a margin stands."""


class CaseChecks:
    """Runs the checks on one case and notes the outcome in its scene; `imaseg.auditing.validity.checks` judges.

    Args:
        scene: after the probes of the plan have run.
        plan: with `validity`.
    """

    def __init__(self, scene: Scene, plan: Plan) -> None:
        self.scene, self.plan = scene, plan

    def run(self) -> None:
        """A budget that must destroy any model, scaled logits, no gradients, a smoothed copy, four times the calls."""
        validity, checks, model = self.plan.validity, self.scene.checks, self.scene.model
        if validity is None:
            return
        probe, eps = self.plan.attack(validity.attack), validity.scaled_eps
        checks["large_eps"] = self._dice_under(model, probe, validity.large_eps)
        checks["scaled_logits"] = {
            f"{factor:g}": self._dice_under(_scaled(model, factor), probe, eps) for factor in (0.1, 1.0, 10.0)
        }
        square = {"attack": "square", "steps": BLACK_BOX_STEPS, "restarts": 1, "objective": None}
        checks["black_box"] = self._dice_under(model, probe.model_copy(update=square), eps)
        checks["transfer"] = self._transferred(probe, eps)
        checks["converged"] = self._longer(eps)

    def _attacked(self, model: Model, probe: AttackProbe, eps: float, *, later: int = 0, copies: int = 1) -> Any:
        scene = self.scene
        attack = probe.build(eps, scene.seed + later, scene.scale, scene.room)
        result = attack(scene.searched(model), scene.image, scene.search_label)
        scene.count(result, copies=copies)
        return result

    def _dice_under(self, model: Model, probe: AttackProbe, eps: float) -> float:
        return float(self._attacked(model, probe, eps).foreground_dice)

    def _transferred(self, probe: AttackProbe, eps: float) -> float:
        """Dice of the model on an image made to break a smoothed copy, whose gradients no rough spot can hide."""
        scene = self.scene
        copy = Smoothed(scene.model, COPY_NOISE * scene.scale.std or COPY_NOISE, COPY_DRAWS, seed=scene.seed)
        result = self._attacked(copy, probe, eps, copies=COPY_DRAWS)
        again = scene.searched(lambda image: scene.logits(image)[None])
        return float(foreground_dice(again(result.image), result.label))

    def _longer(self, eps: float) -> list[float]:
        """The lowest Dice known at a budget, and the lowest after the strongest attack spent four times its calls."""
        scene, probe = self.scene, strongest(self.plan)
        rivals = {other.name for other in self.plan.attacks if not other.is_noise and other.same_set(probe)}
        rows = [row for row in scene.rows if isinstance(row, AttackRow)]
        known = [row.dice for row in rows if row.probe in rivals and row.eps == eps]
        before = min(known) if known else self._dice_under(scene.model, probe, eps)
        attack = probe.build(eps, scene.seed + 1, scene.scale, scene.room)
        longer: dict[str, Any] = {"steps": LONGER * attack.steps, "restarts": REPEATED * attack.restarts}
        if attack.steps == 1:  # FGSM has no longer form
            longer = {"attack": "pgd", "steps": LONGER * REPEATED, "restarts": attack.restarts}
        more = probe.model_copy(update=longer)
        after = float(self._attacked(scene.model, more, eps, later=1).foreground_dice)
        return [before, min(before, after)]


def checks_cost(plan: Plan) -> list[Cost]:
    """Calls of all checks on one of the checked cases."""
    if plan.validity is None:
        return []
    probe, longest = plan.attack(plan.validity.attack), strongest(plan)
    checked, strong = (one.build(one.eps[-1], plan.seed) for one in (probe, longest))
    gradients = checked.steps * checked.restarts * (4 + COPY_DRAWS * 2)
    gradients += strong.steps * strong.restarts * LONGER * REPEATED
    gradients += _CONFIRM * len(plan.of(MarginProbe))
    certified = len(plan.of(CertificateProbe))
    gradients += certified * smoothing.STEPS * smoothing.DRAWS * 2
    forwards = BLACK_BOX_STEPS + certified * smoothing.VOTES
    return [Cost(CHECKS, gradients, forwards, perturbation=probe.perturbation, first=plan.validity.cases)]


def strongest(plan: Plan) -> AttackProbe:
    """The probe whose convergence is checked: the project's own worst case on the checked set, else the checked one."""
    checked = plan.attack(plan.validity.attack if plan.validity else plan.attacks[0].attack)
    rivals = (probe for probe in plan.attacks if probe.attack == "strong" and probe.same_set(checked))
    return next(rivals, checked)


def _scaled(model: Model, factor: float) -> Callable[[Tensor], Tensor]:
    return lambda image: model(image) * factor
