"""Checks on the attacks themselves: nothing is called robust because an attack failed.

Each check is an entry of `_CHECKS`: what must hold, what is said and what is to be done where it does not, and a
function that finds the number behind it. `ok` is None where it could not be run, which counts as neither passed nor
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from imaseg.auditing.plan import Plan, ValidityPlan
from imaseg.auditing.probes import AttackProbe, CertificateProbe, MarginProbe, Probe
from imaseg.auditing.validity.case import BLACK_BOX_STEPS, LONGER, REPEATED, nearby, strongest
from imaseg.auditing.validity.gradients import DRAWS, STEPS
from imaseg.margins.sample import CONFIRM_RESTARTS, CONFIRM_STEPS
from imaseg.perturbations import Perturbation
from imaseg.results.attack import AttackRow
from imaseg.results.base import MEAN
from imaseg.results.case import CaseRecord
from imaseg.results.certificate import CertificateRow
from imaseg.results.margin import MarginRow
from imaseg.results.preparation import SAME, Agreement
from imaseg.results.summary import Check, DataFacts

CAUSES = (
    "label_map, orientation (axes, flip), spacing and intensities (recipe) in the card, or another structure's label"
)
_UNFOUND = 0.1
_NAMED = 3
_TOLERANCE = 0.005
_RIVAL_TOLERANCE = 0.02
_SCALE_TOLERANCE = 0.05
_DESTROYED = 0.1
_MASKED = 0.5
_EXACT = 1e-3
_FALLING = 0.1
_FEW = 5
_KEPT = 0.25
"""Share of the gain that a gradient predicts, below which it tells nothing: networks keep most, ripples 1 to 7 %."""
_PLENTY = 0.5
"""Gain in one step that speaks for itself: a loss of Dice ends at 1, however much a steep gradient predicts."""
_FELT = 1e-5
"""Gain of the objective that rounding does not drown."""
_SILENT = 0.25
"""Share of voxels without a gradient above which an attack cannot see what it does: 0 in ordinary networks."""
_FREE = 2.0
_NEARLY = 0.01
"""Dice that a search may leave to one on the whole image, or in full precision."""
_NOTABLE = 0.01
"""Gain of the objective that is more than chance."""
_NOT_ASKED = "the plan asks for no extra attacks. Add `validity:` to it."
_NO_TIME = "--budget left no time for extra attacks. Give it more."
_NOTHING_THERE = (
    f"without any change Dice is below {_UNFOUND:g} or nothing is found in these cases, so that an attack has nothing "
    "to show there. Look at the card, or choose cases that the model segments (--cases)."
)
_ALL_FAILED = "the cases chosen for it failed. Mend them and run again with --resume."

Finding = tuple[bool, str, str] | tuple[bool, str, str, str] | str
"""Whether it holds, the number, what that is of, and what is said instead of `_Question.red`; or why there is none."""


@dataclass(frozen=True)
class _Question:
    """A check.

    Attributes:
        title: what must hold.
        find: what decides it.
        red: what is said where it does not hold; may state the {number}.
        mend: what to do then.
    """

    title: str
    find: Callable[[_Evidence], Finding]
    red: str
    mend: str


class _Evidence:
    """What checks look at.

    Attributes:
        records: finished cases.
        plan: what was run.
        data: which of the cases the model was trained on, as far as it says.
        agreed: what the model's own software predicts.
        random: whether it gives another output each time.
        checked: outcome of the extra attacks, on the cases that had some and are found without any change.
        lost: whether no case at all is found so.
        settings: of the extra attacks; None where there were none, and `why`.
        attacks: rows of all attacks and cases.
    """

    def __init__(
        self, records: Sequence[CaseRecord], plan: Plan, data: DataFacts, agreed: Agreement, *, random: bool
    ) -> None:
        self.records, self.plan, self.data, self.agreed = records, plan, data, agreed
        self.random = random
        asked = [record for record in records if record.checks is not None]
        whole = [record for record in asked if not _nothing_to_lose(record, plan)]
        self.checked = [record.checks for record in whole if record.checks is not None]
        self.settings = plan.validity if self.checked else None
        self.why = _NOTHING_THERE if asked else _ALL_FAILED
        self.lost = all(_nothing_to_lose(record, plan) for record in records)
        if plan.validity is None:
            cut = plan.shortened is not None and plan.shortened.checked is not None
            self.why = _NO_TIME if cut else _NOT_ASKED
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

    def dice(self, probe: str, eps: float, case: str) -> float | None:
        """Dice of a case under a probe at a budget; None where it was not run."""
        return self._dices.get((probe, eps), {}).get(case)

    def scaled(self, factor: str) -> float:
        """Mean Dice under the checked attack, the logits multiplied by a factor."""
        return _mean(one.scaled_logits[factor] for one in self.checked)

    def attack_of(self, settings: ValidityPlan) -> str:
        """The checked attack and its budget, in words."""
        return f"{self.plan.attack(settings.attack).name} at eps {settings.scaled_eps:g}"


def validity(
    records: Sequence[CaseRecord], plan: Plan, data: DataFacts, agreed: Agreement, *, random: bool = False
) -> list[Check]:
    """All checks.

    Args:
        records: finished cases.
        plan: what was run.
        data: which of the cases the model was trained on, as far as it says.
        agreed: what its own software predicts.
        random: whether it gives another output each time.
    """
    evidence = _Evidence(records, plan, data, agreed, random=random)
    own = [_OWN] if agreed.applies else []
    near = [_NEAR] if nearby(plan) is not None else []
    half = [_FULL] if any(record.checks and record.checks.in_full for record in records) else []
    asked = [*own, *_CHECKS, *near, *half, *(check for kind, check in _OF_PROBES.items() if plan.of(kind))]
    return [_judged(one, one.find(evidence)) for one in asked]


def valid(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check.ok is not False for check in checks)


def _judged(asked: _Question, finding: Finding) -> Check:
    if isinstance(finding, str):
        return Check(check=asked.title, ok=None, number="not run", detail=finding)
    ok, number, detail, *said = finding
    if ok:
        return Check(check=asked.title, ok=True, number=number, detail=detail)
    found = said[0] if said else asked.red.format(number=number)
    return Check(check=asked.title, ok=False, number=number, detail=f"{detail}. {asked.mend}", finding=found)


def _nothing_to_lose(record: CaseRecord, plan: Plan) -> bool:
    """Whether a case is as good as not found without any change, or the reference, the prediction, is empty."""
    if plan.reference == "prediction":
        return not any(record.volumes.values())
    dice = record.clean.get(MEAN, {}).get("dice")
    return dice is not None and dice < _UNFOUND


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def _own(at: _Evidence) -> Finding:
    agreed = at.agreed
    if agreed.dice is None or agreed.voxels is None:
        return f"{agreed.reason.rstrip('.')}. {_COMPARE}"
    detail = f"case {agreed.case} against {agreed.pipeline}, on the grid of its files; {SAME:g} is asked for"
    numbers = f"Dice {agreed.dice:.4f}, {agreed.voxels:.2%} of voxels"
    return bool(agreed.agrees), numbers, f"{detail}. {agreed.reason}".strip(" .")


def _seen(at: _Evidence) -> Finding:
    if not at.data.training_known:
        return "the checkpoint does not say on which cases it was trained. Name them in its card, at `train_ids`."
    if at.data.held_out_missing:
        because = at.data.selected_because.removeprefix("Warning: ").rstrip(".")
        return False, "no held-out case found", because, "None of the cases that the model held out is among the data"
    seen = len(at.data.seen_in_training)
    return not seen, f"{seen} of {at.data.cases}", "by case id, as the model's card lists them"


def missed(records: Sequence[CaseRecord], data: DataFacts) -> dict[str, float]:
    """Structures that are next to never found on unchanged images, with the highest Dice of their cases."""
    dices = _dices(records, data)
    return {name: max(values) for name, values in dices.items() if values and max(values) < _UNFOUND}


def _dices(records: Sequence[CaseRecord], data: DataFacts) -> dict[str, list[float]]:
    """Dice of each structure on unchanged images, of the cases whose label holds it."""
    return {
        name: [record.clean[k]["dice"] or 0.0 for record in records if record.volumes[k] > 0]
        for k, name in data.labels.items()
    }


def _found(at: _Evidence) -> Finding:
    lost = missed(at.records, at.data)
    counts = {name: [one >= _UNFOUND for one in dices] for name, dices in _dices(at.records, at.data).items() if dices}
    found = {name: f"{name} in {sum(each)} of {len(each)}" for name, each in counts.items()}
    rarest = sorted(found, key=lambda name: sum(counts[name]) / len(counts[name]))
    number = ", ".join(
        [f"{name} at most {dice:.3f}" for name, dice in lost.items()] or [found[name] for name in rarest[:_NAMED]]
    )
    more = f", and {len(rarest) - _NAMED} structures in a larger share" if not lost and len(rarest) > _NAMED else ""
    where = f"cases with a Dice of {_UNFOUND:g} or more, of those whose label holds the structure"
    return not lost, (number or "none labelled") + more, "highest Dice over the cases" if lost else where


def _gradients(at: _Evidence) -> Finding:
    searched = {probe.name: probe for probe in at.plan.attacks if probe.uses_gradients}
    rows = [row for row in at.attacks if row.probe in searched]
    if not rows:
        return "no attack of the plan uses gradients. Add one, such as pgd."
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
        return "the plan has no attack in L2 or Linf. Add one, such as pgd."
    most = max(row.sizes[sizes[units[row.probe]]] / row.eps_set if row.eps_set else 0.0 for row in rows)
    where = f"measured on the images of {len(rows)} attacks in L2 and Linf"
    return most <= 1 + _EXACT, f"at most {most:.4f} of it", where


def _ordered(
    at: _Evidence, *, weak: str, strong: str, tolerance: float = _TOLERANCE, note: str = "mean over cases"
) -> Finding:
    """Mean Dice under every weak probe must not lie below that under the strong one, at equal set and eps."""
    if at.lost:
        return _NOTHING_THERE
    gaps = [
        (pair[0] - pair[1], eps, *pair, a.in_set)
        for a in at.plan.attacks
        for b in at.plan.attacks
        if (a.is_noise if weak == "noise" else a.attack == weak) and b.attack == strong and a.same_set(b)
        for eps in a.eps
        if (pair := at.pair((a.name, eps), (b.name, eps))) is not None
    ]
    if not gaps:
        return "the plan holds no two such probes at the same set and budget. Add the missing one."
    gap, eps, first, second, kind = min(gaps)
    where = f"{kind} at eps {eps:g}, where the gap is smallest of {len(gaps)} pairs; tolerance {tolerance:g}; {note}"
    return gap >= -tolerance, f"Dice {first:.3f} against {second:.3f}", where


def _extra(find: Callable[[_Evidence, ValidityPlan], Finding]) -> Callable[[_Evidence], Finding]:
    """A check that takes attacks of its own, on the first cases."""
    return lambda at: at.why if at.settings is None else find(at, at.settings)


def _large(at: _Evidence, settings: ValidityPlan) -> Finding:
    dice = _mean(one.large_eps for one in at.checked)
    where = f"{at.plan.attack(settings.attack).name} at eps {settings.large_eps:g}, n = {len(at.checked)}"
    return dice <= _DESTROYED, f"Dice {dice:.3f}", f"{where}; at most {_DESTROYED} expected"


def _budgets_afresh(at: _Evidence, settings: ValidityPlan) -> Finding:
    """The ladder hands its worst point on and cannot rise, so searches that share nothing are held against it."""
    probe = at.plan.attack(settings.attack)
    tried = [(record, record.checks.afresh) for record in at.records if record.checks and record.checks.afresh]
    if not tried:
        return "the checked attack has one budget only. Give its `eps` a second one."
    alone = [_mean(dices[rung] for _, dices in tried) for rung in range(len(probe.eps))]
    ladder = [_mean(at.dice(probe.name, eps, record.case) for record, _ in tried) for eps in probe.eps]
    gaps = [(max(ladder[k + 1], alone[k + 1]) - alone[k], k) for k in range(len(alone) - 1)]
    gap, k = max(gaps)
    where = (
        f"{probe.name} by itself at eps {probe.eps[k]:g}, against the weaker of ladder and search by itself at eps "
        f"{probe.eps[k + 1]:g}, where the gap is smallest of {len(gaps)}; mean of n = {len(tried)}, tolerance "
        f"{_RIVAL_TOLERANCE:g}"
    )
    return gap <= _RIVAL_TOLERANCE, f"Dice {alone[k]:.3f} against {alone[k] + gap:.3f}", where


def _scales(at: _Evidence, settings: ValidityPlan) -> Finding:
    unscaled, small, big = (at.scaled(factor) for factor in ("1", "0.1", "10"))
    usual = _mean(one.scaled_logits.get("usual", one.scaled_logits["1"]) for one in at.checked)
    return (
        min(small, big, usual) >= unscaled - _SCALE_TOLERANCE,
        f"Dice {unscaled:.3f}; scaled {small:.3f} and {big:.3f}, to a usual size {usual:.3f}",
        f"{at.attack_of(settings)}, mean of n = {len(at.checked)}; a fall of more than {_SCALE_TOLERANCE} would mean "
        "that saturated or small logits hid gradients",
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
    """Against the lowest Dice that any attack of the plan reaches there, since that is what the audit reports."""
    pairs = [
        (one.transfer, one.converged[0]) for one in at.checked if one.transfer is not None and one.converged is not None
    ]
    if not pairs:
        return at.why
    averaged, known = (_mean(pair[step] for pair in pairs) for step in (0, 1))
    return (
        averaged >= known - _RIVAL_TOLERANCE,
        f"Dice {averaged:.3f} against {known:.3f}",
        f"{at.attack_of(settings)}, each gradient the mean over {DRAWS} copies under noise of the budget's size, and "
        f"the plan's lowest, mean of n = {len(pairs)}; a fall of more than {_RIVAL_TOLERANCE:g} would mean that the "
        "model's own gradients mislead",
    )


def _told(at: _Evidence, settings: ValidityPlan) -> Finding:
    """Steps of several lengths from the unchanged images; curvature spoils a long one, a mask spoils all."""
    steps = [one.gains for one in at.checked if one.gains]
    if not steps:
        return at.why
    sums = [[_mean(gains[k][which] for gains in steps) for which in range(3)] for k in range(len(STEPS))]
    told = max((real / predicted if predicted > 0 else 0.0) for predicted, real, _ in sums)
    free = max(mean - max(_FREE * real, 0.0) for _, real, mean in sums)
    predicted, real, mean = sums[-1]
    if predicted < _FELT and free <= _NOTABLE:
        return "the gradient at the unchanged images is next to 0. See the share of zero gradients above."
    most = max(real for _, real, _ in sums)
    lengths = " and ".join(f"{share:g}" for share in STEPS)
    where = (
        f"steps of {lengths} of {at.attack_of(settings)} from the unchanged image, mean of n = {len(steps)}; at the "
        f"longer {predicted:.2g} predicted, {real:.2g} gained, {mean:.2g} along the mean gradient over {DRAWS} noisy "
        f"copies; at least {_KEPT:.0%} of what is predicted, or {_PLENTY:g}, expected at one of them, and the mean "
        f"gradient to gain no more than {_FREE:g} times as much"
    )
    good = (told >= _KEPT or most >= _PLENTY) and free <= _NOTABLE
    return good, f"{told:.0%} of the predicted gain", where


def _heard(at: _Evidence, settings: ValidityPlan) -> Finding:  # noqa: ARG001
    looked = [one.silent for one in at.checked if one.silent]
    dead, voxels = (sum(pair[step] for pair in looked) for step in (0, 1))
    if not voxels:
        return "no foreground of the checked cases is decided rightly." if looked else at.why
    where = (
        f"rightly decided foreground of n = {len(looked)} unchanged cases; the lead of the decided class may have a "
        f"gradient of exactly 0 at no more than {_SILENT:.0%} of them"
    )
    return dead <= _SILENT * voxels, f"{dead} of {voxels} voxels", where


def _whole(at: _Evidence, _: ValidityPlan) -> Finding:
    """Searches near the structures, whose gain is known to first order only, against searches on the whole image."""
    probe, pairs = nearby(at.plan), [one.whole for one in at.checked if one.whole is not None]
    if probe is None or not pairs:
        return at.why
    near, whole = (_mean(pair[step] for pair in pairs) for step in (0, 1))
    where = f"{probe.name} at eps {probe.eps[-1]:g}, near the structures and on the whole image, n = {len(pairs)}; "
    return near - whole < _NEARLY, f"Dice {near:.3f}, then {whole:.3f}", f"{where}a fall below {_NEARLY:g} expected"


def _full(at: _Evidence, settings: ValidityPlan) -> Finding:
    """Searches led by gradients in half precision, against the same in full."""
    pairs = [one.in_full for one in at.checked if one.in_full is not None]
    if not pairs:
        return at.why
    half, full = (_mean(pair[step] for pair in pairs) for step in (0, 1))
    where = f"{at.attack_of(settings)}, with gradients in half and in full precision, n = {len(pairs)}; a fall below "
    return half - full < _NEARLY, f"Dice {half:.3f}, then {full:.3f}", f"{where}{_NEARLY:g} expected"


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
    if not replays and at.random:
        return "a random model gives another Dice each time; figures are means over draws. Judge it by their number."
    if not replays:
        return "the plan shows no attack as pictures. Add `showcase:` to it." if at.checked else at.why
    where = f"largest of n = {len(replays)}, counted by other code; at most {_EXACT:g} expected"
    return max(replays) <= _EXACT, f"differs by {max(replays):.1e}", where


def _margins(at: _Evidence) -> Finding:
    asked = [row.confirmed for record in at.records for row in record.rows_of(MarginRow) if row.confirmed is not None]
    if not asked:
        return "no checked case has a margin above 0. Raise `validity.cases`." if at.checked else at.why
    tried, stood = len(asked), sum(asked)
    allowed = max(_FALLING * tried, float(tried >= _FEW))
    where = (
        f"APGD on masked cross-entropy, {CONFIRM_STEPS} steps with {CONFIRM_RESTARTS} restarts, and a strong search of "
        f"another seed, two tolerances below; one in ten may fall, and one of {_FEW} to 9"
    )
    fell = f"{tried - stood} of {tried} margins fell to searches of another kind just below them"
    return tried - stood <= allowed, f"{stood} of {tried}", where, fell


def _certified(at: _Evidence) -> Finding:
    rows = [row.flipped for record in at.records for row in record.rows_of(CertificateRow) if row.flipped is not None]
    flipped, voxels = (sum(pair[step] for pair in rows) for step in (0, 1))
    if not voxels:
        return "no voxel of the checked cases was certified. Lower `sigma`." if at.checked else at.why
    where = "PGD on the smoothed model within the largest certified radius, judged by fresh draws"
    return flipped == 0, f"{flipped} of {voxels} voxels", where


_COMPARE = "Compare one case by hand with the software that made the model."
_RIVALS = "mean over cases; tables show the worst case over attacks, whichever is the stronger"
_STEPS = "Give the attack more steps and restarts, and look at whether gradients are masked."
_MASK = "Look for rounding, noise or saturation between image and logits, and attack the model without it."
_OWN = _Question(
    "imaseg predicts what the model's own software predicts",
    _own,
    "imaseg does not predict what the model's own software predicts",
    "Compare the preparation on this page with that of the software.",
)
_CHECKS: list[_Question] = [
    _Question(
        "No audited case was in the training set",
        _seen,
        "{number} audited cases were in the training set",
        "Audit cases that the model has not seen (--cases).",
    ),
    _Question(
        "Every structure is found in at least one case",
        _found,
        "Some labelled structures are next to never found on unchanged images",
        f"Look at {CAUSES}, or take cases (slices) that the model was made for and that show the structure well.",
    ),
    _Question("Gradients are neither masked nor undefined", _gradients, "Gradients are masked or undefined", _MASK),
    _Question(
        "No change exceeds its budget",
        _budgets,
        "Changes exceed their budget",
        "Report it, or mend `project` if the set is your own.",
    ),
    _Question(
        "Noise is weaker than FGSM",
        partial(_ordered, weak="noise", strong="fgsm"),
        "Noise is stronger than FGSM",
        _MASK,
    ),
    _Question(
        "FGSM is no stronger than PGD",
        partial(_ordered, weak="fgsm", strong="pgd"),
        "FGSM is stronger than PGD",
        _STEPS,
    ),
    _Question(
        "PGD is no stronger than the project's own worst case",
        partial(_ordered, weak="pgd", strong="strong", tolerance=_RIVAL_TOLERANCE, note=_RIVALS),
        "PGD is stronger than the project's own worst case",
        "Give `strong` more steps and restarts.",
    ),
    _Question(
        "No search at a smaller budget is stronger than one at a larger",
        _extra(_budgets_afresh),
        "A search at a smaller budget is stronger than one at a larger",
        _STEPS,
    ),
    _Question(
        "A very large budget destroys the segmentation",
        _extra(_large),
        "A very large budget does not destroy the segmentation",
        _MASK,
    ),
    _Question(
        "Scaling the logits does not make the attack stronger",
        _extra(_scales),
        "Scaling the logits makes the attack stronger",
        "Rely on `strong`, which brings logits to scale, or divide the logits.",
    ),
    _Question(
        "An attack that needs no gradients is no stronger",
        _blind,
        "An attack that needs no gradients is stronger",
        _MASK,
    ),
    _Question(
        "Gradients tell what a step along them gains",
        _extra(_told),
        "A step along the gradient gains {number}",
        _MASK,
    ),
    _Question(
        "Decided voxels have logits with a gradient",
        _extra(_heard),
        "{number} have logits without a gradient: an attack cannot see them",
        _MASK,
    ),
    _Question(
        "Gradients averaged over noisy copies make no stronger attack",
        _extra(_copy),
        "Gradients averaged over noisy copies make a stronger attack",
        _MASK,
    ),
    _Question(
        "Four times the calls change little",
        _extra(_converged),
        "Four times the calls make the attack stronger",
        "Give the plan's attacks more steps and restarts.",
    ),
    _Question(
        "A showcased attack, evaluated again from its image, gives the same Dice",
        _replay,
        "A showcased attack, evaluated again from its image, gives another Dice",
        "See whether the model gives the same output twice (imaseg doctor).",
    ),
]
_NEAR = _Question(
    "Attacks near the structures find what attacks on the whole image find",
    _extra(_whole),
    "Attacks on the whole image find more than those near the structures",
    "Raise `search_near` in the plan, or leave it out: the searches then cost every tile.",
)
_FULL = _Question(
    "Attacks with gradients in half precision find what those in full precision find",
    _extra(_full),
    "Attacks in full precision find more than those with gradients in half precision",
    "Audit anew with --precision float32.",
)
_OF_PROBES: dict[type[Probe], _Question] = {
    MarginProbe: _Question(
        "Margins stand against searches of another kind just below them",
        _margins,
        "{number} margins stood against searches of another kind just below them",
        "Give the margins more steps and a smaller `rtol`, and read them as upper bounds.",
    ),
    CertificateProbe: _Question(
        "No attack within a certified radius flips what is certified",
        _certified,
        "Attacks within a certified radius flipped {number}",
        "Give the certificate more samples and report it.",
    ),
}
"""Checks of plans that hold such probes."""
