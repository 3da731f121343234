"""Extra attacks on a few cases that show whether the attacks of the plan can be believed."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from imaseg.attacks import Attack
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import AttackProbe, Cost
from imaseg.auditing.probes.scene import Scene, Then
from imaseg.auditing.validity.gradients import DRAWS, VOXELS, gains, noise_level, noisy, silent
from imaseg.frozen import Model
from imaseg.models.precision import FULL
from imaseg.results.attack import AttackRow
from imaseg.scores import foreground_dice

CHECKS = "checks"
BLACK_BOX_STEPS = 50
"""Windows that the attack without gradients tries."""
_USUAL_LEAD = 4.0
_AFRESH = 100
"""Added to the seed of searches that share nothing with those of the plan."""
LONGER, REPEATED = 2, 2
"""How many times the steps and the restarts of the strongest attack are multiplied."""


class CaseChecks:
    """Runs the checks on one case and notes the outcome in its scene; `imaseg.auditing.validity.checks` judges.

    Args:
        scene: after the probes of the plan have run.
        plan: with `validity`.
    """

    def __init__(self, scene: Scene, plan: Plan) -> None:
        self.scene, self.plan = scene, plan

    def run(self) -> None:
        """A budget that must destroy any model, scaled logits, no gradients, mean gradients, four times the calls."""
        validity, checks, model = self.plan.validity, self.scene.checks, self.scene.model
        if validity is None:
            return
        probe, eps = self.plan.attack(validity.attack), validity.scaled_eps
        checks["large_eps"] = self._dice_under(model, probe, validity.large_eps)
        checks["scaled_logits"] = {
            f"{factor:g}": self._dice_under(_scaled(model, factor), probe, eps) for factor in (0.1, 1.0, 10.0)
        }
        checks["scaled_logits"]["usual"] = self._dice_under(_scaled(model, self._to_usual_size()), probe, eps)
        square = {"attack": "square", "steps": BLACK_BOX_STEPS, "restarts": 1, "objective": None}
        checks["black_box"] = self._dice_under(model, probe.model_copy(update=square), eps)
        checks["converged"] = self._longer(eps)
        checks["transfer"] = self._transferred(probe, eps)
        checks["gains"] = self._gains(probe, eps)
        if (near := nearby(self.plan)) is not None:
            checks["whole"] = self._on_the_whole_image(near)
        if self.scene.precision != FULL:
            checks["in_full"] = [checks["scaled_logits"]["1"], self._dice_in_full(probe, eps)]
        checks["silent"] = silent(self.scene.seen_in_full(model), self.scene.image, self.scene.search_label)
        checks["afresh"] = [self._afresh(probe, rung) for rung in range(len(probe.eps))] if len(probe.eps) > 1 else []

    def _attacked(self, model: Model, probe: AttackProbe, eps: float, *, later: int = 0) -> Any:
        return self._found(self.scene.searched(model), probe, eps, later=later)

    def _found(self, searched: Model, probe: AttackProbe, eps: float, *, later: int = 0) -> Any:
        scene = self.scene
        attack = probe.build(eps, scene.seed + later, scene.scale, probe.room(scene))
        result = attack(searched, scene.image, scene.search_label)
        scene.count(result)
        return result

    def _dice_in_full(self, probe: AttackProbe, eps: float) -> float:
        """Dice under the attack, all of it in full precision."""
        return float(self._found(self.scene.seen_in_full(self.scene.model), probe, eps).foreground_dice)

    def _dice_under(self, model: Model, probe: AttackProbe, eps: float) -> float:
        return float(self._attacked(model, probe, eps).foreground_dice)

    def _to_usual_size(self) -> float:
        """What brings the mean lead of the decided class over the next one to that of an ordinary network."""
        logits = self.scene.clean_logits
        if self.scene.model.independent or logits.shape[1] == 1:
            lead = float(logits.abs().mean())
        else:
            first, second = logits.topk(2, dim=1).values.unbind(1)
            lead = float((first - second).mean())
        return _USUAL_LEAD / lead if lead > 0 else 1.0

    def _afresh(self, probe: AttackProbe, rung: int) -> float:
        """Dice at one budget of the ladder, searched from a start of its own."""
        found = self._attacked(self.scene.model, probe, probe.eps[rung], later=_AFRESH + rung)
        return float(found.foreground_dice)

    def _transferred(self, probe: AttackProbe, eps: float) -> float:
        """Dice of the model on an image made with mean gradients over noisy copies, which no rough spot can hide."""
        scene = self.scene
        attack = probe.build(eps, scene.seed, scene.scale, probe.room(scene))
        attack.samples = max(DRAWS, attack.samples)
        copy = scene.searched(noisy(scene.model, self._noise(attack)))
        result = attack(copy, scene.image, scene.search_label)
        scene.count(result)
        again = [scene.rated(logits) for logits in scene.passes(result.image)]
        return fmean(float(foreground_dice(logits, result.label)) for logits in again)

    def _gains(self, probe: AttackProbe, eps: float) -> list[list[float]]:
        """What steps along gradients bring, held against what these predict."""
        scene = self.scene
        attack = probe.build(eps, scene.seed, scene.scale, probe.room(scene))
        model = scene.seen_in_full(scene.model)
        return gains(model, scene.image, scene.search_label, attack, sigma=self._noise(attack))

    def _noise(self, attack: Attack) -> float:
        return noise_level(attack.perturbation, self.scene.image, self.scene.seed)

    def _on_the_whole_image(self, probe: AttackProbe) -> list[float]:
        """Dice at the largest budget of a search that stays near the structures, and of the same search anywhere."""
        everywhere, model = probe.model_copy(update={"search_near": None}), self.scene.model
        return [self._dice_under(model, one, probe.eps[-1]) for one in (probe, everywhere)]

    def _longer(self, eps: float) -> list[float]:
        """The lowest Dice known at a budget, and the lowest after the strongest attack spent four times its calls."""
        scene, probe = self.scene, strongest(self.plan)
        rivals = {other.name for other in self.plan.attacks if not other.is_noise and other.same_set(probe)}
        rows = [row for row in scene.rows if isinstance(row, AttackRow)]
        known = [row.dice for row in rows if row.probe in rivals and row.eps == eps]
        before = min(known) if known else self._dice_under(scene.model, probe, eps)
        attack = probe.build(eps, scene.seed + 1, scene.scale, probe.room(scene))
        longer: dict[str, Any] = {"steps": LONGER * attack.steps, "restarts": REPEATED * attack.restarts}
        if attack.steps == 1:  # FGSM has no longer form
            longer = {"attack": "pgd", "steps": LONGER * REPEATED, "restarts": attack.restarts}
        more = probe.model_copy(update=longer)
        after = float(self._attacked(scene.model, more, eps, later=1).foreground_dice)
        return [before, min(before, after)]


def checks_cost(plan: Plan, *, half: bool = False) -> list[Cost]:
    """Calls of all checks on one of the checked cases; of searches led in half precision, if `half`."""
    if plan.validity is None:
        return []
    probe, longest = plan.attack(plan.validity.attack), strongest(plan)
    checked, strong = (one.build(one.eps[-1], plan.seed) for one in (probe, longest))
    afresh = len(probe.eps) if len(probe.eps) > 1 else 0
    gradients = checked.steps * checked.restarts * ((5 + afresh) * checked.samples + max(DRAWS, checked.samples))
    gradients += 1 + DRAWS + VOXELS
    gradients += strong.steps * strong.restarts * strong.samples * LONGER * REPEATED
    if half:
        gradients += checked.steps * checked.restarts * checked.samples
    if (near := nearby(plan)) is not None:
        one = near.build(near.eps[-1], plan.seed)
        gradients += 2 * one.steps * one.restarts * one.samples
    return [Cost(CHECKS, gradients, BLACK_BOX_STEPS, perturbation=probe.perturbation, first=plan.validity.cases)]


def nearby(plan: Plan) -> AttackProbe | None:
    """The attack whose search near the structures is held against one on the whole image: `strong`, or the first."""
    probes = [probe for probe in plan.attacks if probe.search_near is not None and not probe.transferred]
    return next((probe for probe in probes if probe.attack == "strong"), probes[0] if probes else None)


def strongest(plan: Plan) -> AttackProbe:
    """The probe whose convergence is checked: the project's own worst case on the checked set, else the checked one."""
    checked = plan.attack(plan.validity.attack if plan.validity else plan.attacks[0].attack)
    rivals = (probe for probe in plan.attacks if probe.attack == "strong" and probe.same_set(checked))
    return next(rivals, checked)


def _scaled(model: Model, factor: float) -> Then:
    return Then(model, lambda logits: logits * factor)
