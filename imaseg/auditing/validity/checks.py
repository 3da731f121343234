"""Checks on the attacks themselves: nothing is called robust because an attack failed.

Each check is a line of `_CHECKS`: what must hold, and a function that finds the number behind it. `ok` is None where it
could not be run, which counts as neither passed nor failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from imaseg.auditing.plan import Plan, ValidityPlan
from imaseg.auditing.probes import AttackProbe, CertificateProbe, MarginProbe, Probe
from imaseg.auditing.validity.case import BLACK_BOX_STEPS, COPY_NOISE, LONGER, REPEATED, strongest
from imaseg.perturbations import Perturbation
from imaseg.results.attack import AttackRow
from imaseg.results.case import CaseRecord
from imaseg.results.certificate import CertificateRow
from imaseg.results.margin import MarginRow
from imaseg.results.preparation import SAME, Agreement
from imaseg.results.summary import Check, DataFacts

CAUSES = (
    "label_map, orientation (axes, flip), spacing and intensities (recipe) in the card, or another structure's label"
)
_UNFOUND = 0.1
_TOLERANCE = 0.005
_RIVAL_TOLERANCE = 0.02
_SCALE_TOLERANCE = 0.05
_DESTROYED = 0.1
_MASKED = 0.5
_EXACT = 1e-3
_FALLING = 0.1
_FEW = 5

Finding = tuple[bool, str, str] | str
"""Whether it holds, the number, and what that is of; or why it could not be found."""


class _Evidence:
    """What checks look at.

    Attributes:
        records: finished cases.
        plan: what was run.
        data: which of the cases the model was trained on, as far as it says.
        agreed: what the model's own software predicts.
        checked: outcome of the extra attacks, on the cases that had some.
        settings: of the extra attacks; None where there were none, and `why`.
        attacks: rows of all attacks and cases.
    """

    def __init__(self, records: Sequence[CaseRecord], plan: Plan, data: DataFacts, agreed: Agreement) -> None:
        self.records, self.plan, self.data, self.agreed = records, plan, data, agreed
        self.checked = [record.checks for record in records if record.checks is not None]
        self.settings = plan.validity if self.checked else None
        self.why = "the plan asks for no extra attacks" if plan.validity is None else "the cases chosen for it failed"
        self.attacks = [row for record in records for row in record.rows_of(AttackRow)]
        self._dices: dict[tuple[str, float], dict[str, float]] = {}
        for record in records:
            for row in record.rows_of(AttackRow):
                self._dices.setdefault((row.probe, row.eps), {})[record.case] = row.dice

    def pair(self, one: tuple[str, float], other: tuple[str, float]) -> tuple[float, float] | None:
        """Mean Dice under two probes, each at a budget, over the cases that both were run on; None without any."""
        first, second = self._dices.get(one, {}), self._dices.get(other, {})
        both = first.keys() & second.keys()
        return (_mean(first[case] for case in both), _mean(second[case] for case in both)) if both else None

    def scaled(self, factor: str) -> float:
        """Mean Dice under the checked attack, the logits multiplied by a factor."""
        return _mean(one.scaled_logits[factor] for one in self.checked)

    def attack_of(self, settings: ValidityPlan) -> str:
        """The checked attack and its budget, in words."""
        return f"{self.plan.attack(settings.attack).name} at eps {settings.scaled_eps:g}"


def validity(records: Sequence[CaseRecord], plan: Plan, data: DataFacts, agreed: Agreement) -> list[Check]:
    """All checks.

    Args:
        records: finished cases.
        plan: what was run.
        data: which of the cases the model was trained on, as far as it says.
        agreed: what its own software predicts.
    """
    evidence = _Evidence(records, plan, data, agreed)
    own = [(_OWN, _own)] if agreed.applies else []
    asked = [*own, *_CHECKS, *(check for kind, check in _OF_PROBES.items() if plan.of(kind))]
    return [_judged(title, find(evidence)) for title, find in asked]


def valid(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check.ok is not False for check in checks)


def _judged(title: str, finding: Finding) -> Check:
    ok, number, detail = (None, "not run", finding) if isinstance(finding, str) else finding
    return Check(check=title, ok=ok, number=number, detail=detail)


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


_OWN = "imaseg predicts what the model's own software predicts"


def _own(at: _Evidence) -> Finding:
    agreed = at.agreed
    if agreed.dice is None or agreed.voxels is None:
        return agreed.reason
    detail = f"case {agreed.case} against {agreed.pipeline}, on the grid of its files; {SAME:g} is asked for"
    numbers = f"Dice {agreed.dice:.4f}, {agreed.voxels:.2%} of voxels"
    return bool(agreed.agrees), numbers, f"{detail}. {agreed.reason}".strip()


def _seen(at: _Evidence) -> Finding:
    if not at.data.training_known:
        return "the checkpoint does not say on which cases it was trained"
    if at.data.held_out_missing:
        return False, "no held-out case found", at.data.selected_because.removeprefix("Warning: ")
    seen = len(at.data.seen_in_training)
    return not seen, f"{seen} of {at.data.cases}", "by case id, as the model's card lists them"


def missed(records: Sequence[CaseRecord], data: DataFacts) -> dict[str, float]:
    """Structures that are next to never found on unchanged images, with the highest Dice of their cases."""
    highest = {
        name: [record.clean[k]["dice"] or 0.0 for record in records if record.volumes[k] > 0]
        for k, name in data.labels.items()
    }
    return {name: max(values) for name, values in highest.items() if values and max(values) < _UNFOUND}


def _found(at: _Evidence) -> Finding:
    lost = missed(at.records, at.data)
    number = "all" if not lost else ", ".join(f"{name} at most {dice:.3f}" for name, dice in lost.items())
    return not lost, number, f"Dice by case; where it is below {_UNFOUND:g} on all, look at {CAUSES}"


def _gradients(at: _Evidence) -> Finding:
    searched = {probe.name: probe for probe in at.plan.attacks if probe.uses_gradients}
    rows = [row for row in at.attacks if row.probe in searched]
    if not rows:
        return "no attack of the plan uses gradients"
    # Other sets may well have parameters that change nothing.
    zero = max((row.zero_gradients for row in rows if _adds(searched[row.probe])), default=0.0)
    bad = max(row.nonfinite_gradients for row in rows)
    where = f"largest fraction over cases and probes; zero ones in L2 and Linf, where below {_MASKED:.0%} is expected"
    return zero < _MASKED and bad == 0, f"{zero:.1%} zero, {bad:.1%} not finite", where


def _adds(probe: AttackProbe) -> bool:
    """Whether the set adds values to voxels."""
    return Perturbation.named(probe.perturbation).is_intensity


def _budgets(at: _Evidence) -> Finding:
    """The size of the change itself, not what the search says of it."""
    sizes = {"rms": "rms", "norm": "l2", "max": "linf"}
    units = {probe.name: probe.build_set(0.0).unit for probe in at.plan.attacks if _adds(probe)}
    rows = [row for row in at.attacks if row.probe in units and row.eps]
    if not rows:
        return "the plan has no attack in L2 or Linf"
    most = max(row.sizes[sizes[units[row.probe]]] / row.eps_set if row.eps_set else 0.0 for row in rows)
    where = f"measured on the images of {len(rows)} attacks in L2 and Linf"
    return most <= 1 + _EXACT, f"at most {most:.4f} of it", where


def _ordered(
    at: _Evidence, *, weak: str, strong: str, tolerance: float = _TOLERANCE, note: str = "mean over cases"
) -> Finding:
    """Mean Dice under every weak probe must not lie below that under the strong one, at equal set and eps."""
    gaps = [
        (pair[0] - pair[1], eps, *pair, a.perturbation)
        for a in at.plan.attacks
        for b in at.plan.attacks
        if (a.is_noise if weak == "noise" else a.attack == weak) and b.attack == strong and a.same_set(b)
        for eps in a.eps
        if (pair := at.pair((a.name, eps), (b.name, eps))) is not None
    ]
    if not gaps:
        return "the plan holds no two such probes at the same set and budget"
    gap, eps, first, second, kind = min(gaps)
    where = f"{kind} at eps {eps:g}, where the gap is smallest of {len(gaps)} pairs; tolerance {tolerance:g}; {note}"
    return gap >= -tolerance, f"Dice {first:.3f} against {second:.3f}", where


def _monotone(at: _Evidence) -> Finding:
    rises = [
        (pair[1] - pair[0], probe.name, low, high)
        for probe in at.plan.attacks
        if not probe.is_noise
        for low, high in zip(probe.eps, probe.eps[1:], strict=False)
        if (pair := at.pair((probe.name, low), (probe.name, high))) is not None
    ]
    if not rises:
        return "no attack of the plan has a ladder of budgets"
    rise, name, low, high = max(rises)
    where = f"{name}, eps {low:g} to {high:g}; {len(rises)} neighbouring pairs compared"
    return rise <= _TOLERANCE, f"largest rise of Dice {rise:+.3f}", where


def _extra(find: Callable[[_Evidence, ValidityPlan], Finding]) -> Callable[[_Evidence], Finding]:
    """A check that takes attacks of its own, on the first cases."""
    return lambda at: at.why if at.settings is None else find(at, at.settings)


def _large(at: _Evidence, settings: ValidityPlan) -> Finding:
    dice = _mean(one.large_eps for one in at.checked)
    where = f"{at.plan.attack(settings.attack).name} at eps {settings.large_eps:g}, n = {len(at.checked)}"
    return dice <= _DESTROYED, f"Dice {dice:.3f}", f"{where}; at most {_DESTROYED} expected"


def _scales(at: _Evidence, settings: ValidityPlan) -> Finding:
    unscaled, small, big = (at.scaled(factor) for factor in ("1", "0.1", "10"))
    return (
        min(small, big) >= unscaled - _SCALE_TOLERANCE,
        f"Dice {unscaled:.3f}; scaled {small:.3f} and {big:.3f}",
        f"{at.attack_of(settings)}, mean of n = {len(at.checked)}; a fall of more than {_SCALE_TOLERANCE} would mean "
        "that saturated logits hid gradients",
    )


def _blind(at: _Evidence) -> Finding:
    """Attacks without gradients: those of the plan on all cases, and a short one on the checked cases."""
    pairs = []
    sighted = [probe for probe in at.plan.attacks if probe.uses_gradients]
    for blind in (probe for probe in at.plan.attacks if not probe.uses_gradients and not probe.is_noise):
        for eps in blind.eps:
            rivals = [at.pair((blind.name, eps), (p.name, eps)) for p in sighted if p.same_set(blind)]
            known = [pair for pair in rivals if pair is not None]
            if known:
                best, steps = max(known, key=lambda pair: pair[0] - pair[1]), blind.build(eps, at.plan.seed).steps
                pairs.append((*best, f"{blind.name} with {steps} windows at eps {eps:g}"))
    if at.settings is not None:
        where = f"Square with {BLACK_BOX_STEPS} windows and {at.attack_of(at.settings)}, n = {len(at.checked)}"
        pairs.append((_mean(one.black_box for one in at.checked), at.scaled("1"), where))
    if not pairs:
        return at.why
    blind_dice, white_dice, where = min(pairs, key=lambda pair: pair[0] - pair[1])
    where += f", where the gap is smallest of {len(pairs)}; if it were, gradients would be hidden"
    return blind_dice >= white_dice - _TOLERANCE, f"Dice {blind_dice:.3f} against {white_dice:.3f}", where


def _copy(at: _Evidence, settings: ValidityPlan) -> Finding:
    copied, direct = _mean(one.transfer for one in at.checked), at.scaled("1")
    return (
        copied >= direct - _SCALE_TOLERANCE,
        f"Dice {copied:.3f} against {direct:.3f}",
        f"{at.attack_of(settings)} through noise of {COPY_NOISE} standard deviations, mean of n = {len(at.checked)}; "
        f"a fall of more than {_SCALE_TOLERANCE} would mean that the model's own gradients mislead",
    )


def _converged(at: _Evidence, settings: ValidityPlan) -> Finding:
    pairs = [one.converged for one in at.checked if one.converged is not None]
    if not pairs:
        return at.why
    before, after = (_mean(pair[step] for pair in pairs) for step in (0, 1))
    return (
        before - after < settings.converged,
        f"Dice {before:.3f}, then {after:.3f}",
        f"{strongest(at.plan).name} at eps {settings.scaled_eps:g} with {LONGER} times the steps and {REPEATED} times "
        f"the restarts, mean of n = {len(pairs)}; a fall of less than {settings.converged:g} expected",
    )


def _replay(at: _Evidence) -> Finding:
    replays = [one.replay for one in at.checked if one.replay is not None]
    if not replays:
        return "the plan shows no attack as pictures" if at.checked else at.why
    where = f"largest of n = {len(replays)}, counted by other code; at most {_EXACT:g} expected"
    return max(replays) <= _EXACT, f"differs by {max(replays):.1e}", where


def _margins(at: _Evidence) -> Finding:
    asked = [row.confirmed for record in at.records for row in record.rows_of(MarginRow) if row.confirmed is not None]
    if not asked:
        return "no checked case has a margin above 0" if at.checked else at.why
    tried, stood = len(asked), sum(asked)
    allowed = max(_FALLING * tried, float(tried >= _FEW))
    where = f"PGD with three new restarts one tolerance below; one in ten may fall, and one of {_FEW} to 9"
    return tried - stood <= allowed, f"{stood} of {tried}", where


def _certified(at: _Evidence) -> Finding:
    rows = [row.flipped for record in at.records for row in record.rows_of(CertificateRow) if row.flipped is not None]
    flipped, voxels = (sum(pair[step] for pair in rows) for step in (0, 1))
    if not voxels:
        return "no voxel of the checked cases was certified" if at.checked else at.why
    where = "PGD on the smoothed model within the largest certified radius, judged by fresh draws"
    return flipped == 0, f"{flipped} of {voxels} voxels", where


_RIVALS = "mean over cases; tables show the worst case over attacks, whichever is the stronger"
_Line = tuple[str, Callable[[_Evidence], Finding]]
_CHECKS: list[_Line] = [
    ("No audited case was in the training set", _seen),
    ("Every labelled structure is found on unchanged images", _found),
    ("Gradients are neither masked nor undefined", _gradients),
    ("No change exceeds its budget", _budgets),
    ("Noise is weaker than FGSM", partial(_ordered, weak="noise", strong="fgsm")),
    ("FGSM is no stronger than PGD", partial(_ordered, weak="fgsm", strong="pgd")),
    (
        "PGD is no stronger than the project's own worst case",
        partial(_ordered, weak="pgd", strong="strong", tolerance=_RIVAL_TOLERANCE, note=_RIVALS),
    ),
    ("A larger budget never helps the model", _monotone),
    ("A very large budget destroys the segmentation", _extra(_large)),
    ("Scaling the logits by 0.1 or 10 does not make the attack stronger", _extra(_scales)),
    ("An attack that needs no gradients is no stronger", _blind),
    ("An attack made on a smoothed copy is no stronger", _extra(_copy)),
    ("Four times the calls change little", _extra(_converged)),
    ("A showcased attack, evaluated again from its image, gives the same Dice", _replay),
]
_OF_PROBES: dict[type[Probe], _Line] = {
    MarginProbe: ("Margins stand against new searches just below them", _margins),
    CertificateProbe: ("No attack within a certified radius flips what is certified", _certified),
}
"""Checks of plans that hold such probes."""
