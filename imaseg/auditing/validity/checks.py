"""Checks on the attacks themselves: nothing is called robust because an attack failed.

Each check has the number behind it. `ok` is None where it could not be run, which counts as neither passed nor failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from imaseg.auditing.plan import Plan, ValidityPlan
from imaseg.auditing.probes import AttackProbe, CertificateProbe, MarginProbe
from imaseg.auditing.validity.case import BLACK_BOX_STEPS, COPY_NOISE, LONGER, REPEATED, strongest
from imaseg.perturbations import Perturbation
from imaseg.results.attack import AttackRow
from imaseg.results.case import CaseRecord, Checks
from imaseg.results.certificate import CertificateRow
from imaseg.results.margin import MarginRow
from imaseg.results.summary import Check, DataFacts

CAUSES = "`label_map`, orientation (`axes`, `flip`), spacing and intensities (`recipe`), or another structure's label"
_UNFOUND = 0.1
_TOLERANCE = 0.005
_RIVAL_TOLERANCE = 0.02
_SCALE_TOLERANCE = 0.05
_DESTROYED = 0.1
_MASKED = 0.5
_EXACT = 1e-3
_FALLING = 0.1
_FEW = 5

Dices = dict[tuple[str, float], dict[str, float]]
"""Dice by case, by probe and budget."""


def validity(records: Sequence[CaseRecord], plan: Plan, data: DataFacts) -> list[Check]:
    """All checks.

    Args:
        records: finished cases.
        plan: what was run.
        data: which of the cases the model was trained on, as far as it says.
    """
    dices = _dices(records)
    rivals = "mean over cases; tables show the worst case over attacks, whichever is the stronger"
    return [
        _seen(data),
        _found(records, data),
        _gradients(records, plan),
        _budgets(records, plan),
        _ordered(dices, plan, "noise", "fgsm", "Noise is weaker than FGSM"),
        _ordered(dices, plan, "fgsm", "pgd", "FGSM is no stronger than PGD"),
        _ordered(
            dices, plan, "pgd", "strong", "PGD is no stronger than the project's own worst case",
            tolerance=_RIVAL_TOLERANCE, note=rivals,
        ),
        _monotone(dices, plan),
        *_extra(records, dices, plan),
    ]  # fmt: skip


def valid(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check.ok is not False for check in checks)


def _check(title: str, ok: bool | None, number: str, detail: str) -> Check:
    return Check(check=title, ok=ok, number=number, detail=detail)


def _not_run(title: str, why: str) -> Check:
    return _check(title, None, "not run", why)


def _dices(records: Sequence[CaseRecord]) -> Dices:
    values: Dices = {}
    for record in records:
        for row in record.rows_of(AttackRow):
            values.setdefault((row.probe, row.eps), {})[record.case] = row.dice
    return values


def _pair(dices: Dices, one: tuple[str, float], other: tuple[str, float]) -> tuple[float, float] | None:
    """Mean Dice of two probes over the cases that both were run on; None if there are none."""
    first, second = dices.get(one, {}), dices.get(other, {})
    both = first.keys() & second.keys()
    return (_mean(first[case] for case in both), _mean(second[case] for case in both)) if both else None


def _attacks(records: Sequence[CaseRecord]) -> Iterator[AttackRow]:
    return (row for record in records for row in record.rows_of(AttackRow))


def _seen(data: DataFacts) -> Check:
    title = "No audited case was in the training set"
    if not data.training_known:
        return _not_run(title, "the checkpoint does not say on which cases it was trained")
    seen = len(data.seen_in_training)
    return _check(title, not seen, f"{seen} of {data.cases}", "by case id, as the model's card lists them")


def missed(records: Sequence[CaseRecord], data: DataFacts) -> dict[str, float]:
    """Structures that are next to never found on unchanged images, with the highest Dice of their cases."""
    highest = {
        name: [record.clean[k]["dice"] or 0.0 for record in records if record.volumes[k] > 0]
        for k, name in data.labels.items()
    }
    return {name: max(values) for name, values in highest.items() if values and max(values) < _UNFOUND}


def _found(records: Sequence[CaseRecord], data: DataFacts) -> Check:
    lost = missed(records, data)
    number = "all" if not lost else ", ".join(f"{name} at most {dice:.3f}" for name, dice in lost.items())
    detail = f"Dice of each by case; below {_UNFOUND:g} on all cases look at {CAUSES}"
    return _check("Every labelled structure is found on unchanged images", not lost, number, detail)


def _gradients(records: Sequence[CaseRecord], plan: Plan) -> Check:
    title = "Gradients are neither masked nor undefined"
    searched = {probe.name: probe for probe in plan.attacks if probe.uses_gradients}
    rows = [row for row in _attacks(records) if row.probe in searched]
    if not rows:
        return _not_run(title, "no attack of the plan uses gradients")
    # Other sets may well have parameters that change nothing.
    zero = max((row.zero_gradients for row in rows if _adds(searched[row.probe])), default=0.0)
    bad = max(row.nonfinite_gradients for row in rows)
    return _check(
        title,
        zero < _MASKED and bad == 0,
        f"{zero:.1%} zero, {bad:.1%} not finite",
        f"largest fraction over cases and probes; zero ones in L2 and Linf, where below {_MASKED:.0%} is expected",
    )


def _adds(probe: AttackProbe) -> bool:
    """Whether the set adds values to voxels."""
    return Perturbation.named(probe.perturbation).is_intensity


def _budgets(records: Sequence[CaseRecord], plan: Plan) -> Check:
    """The size of the change itself, not what the search says of it."""
    title, sizes = "No change exceeds its budget", {"rms": "rms", "norm": "l2", "max": "linf"}
    units = {probe.name: probe.build_set(0.0).unit for probe in plan.attacks if _adds(probe)}
    shares = [
        row.sizes[sizes[units[row.probe]]] / row.eps_set if row.eps_set else 0.0
        for row in _attacks(records)
        if row.probe in units and row.eps
    ]
    if not shares:
        return _not_run(title, "the plan has no attack in L2 or Linf")
    return _check(
        title,
        max(shares) <= 1 + _EXACT,
        f"at most {max(shares):.4f} of it",
        f"measured on the images of {len(shares)} attacks in L2 and Linf",
    )


def _ordered(
    dices: Dices, plan: Plan, weak: str, strong: str, title: str, *, tolerance: float = _TOLERANCE,
    note: str = "mean over cases",
) -> Check:  # fmt: skip
    """Mean Dice under every weak probe must not lie below that under the strong one, at equal set and eps."""
    gaps = [
        (pair[0] - pair[1], eps, *pair, a.perturbation)
        for a in plan.attacks
        for b in plan.attacks
        if (a.is_noise if weak == "noise" else a.attack == weak) and b.attack == strong and a.same_set(b)
        for eps in a.eps
        if (pair := _pair(dices, (a.name, eps), (b.name, eps))) is not None
    ]
    if not gaps:
        return _not_run(title, "the plan holds no two such probes at the same set and budget")
    gap, eps, first, second, kind = min(gaps)
    return _check(
        title,
        gap >= -tolerance,
        f"Dice {first:.3f} against {second:.3f}",
        f"{kind} at eps {eps:g}, where the gap is smallest of {len(gaps)} pairs; tolerance {tolerance:g}; {note}",
    )


def _monotone(dices: Dices, plan: Plan) -> Check:
    title = "A larger budget never helps the model"
    rises = [
        (pair[1] - pair[0], probe.name, low, high)
        for probe in plan.attacks
        if not probe.is_noise
        for low, high in zip(probe.eps, probe.eps[1:], strict=False)
        if (pair := _pair(dices, (probe.name, low), (probe.name, high))) is not None
    ]
    if not rises:
        return _not_run(title, "no attack of the plan has a ladder of budgets")
    rise, name, low, high = max(rises)
    return _check(
        title,
        rise <= _TOLERANCE,
        f"largest rise of Dice {rise:+.3f}",
        f"{name}, eps {low:g} to {high:g}; {len(rises)} neighbouring pairs compared",
    )


def _extra(records: Sequence[CaseRecord], dices: Dices, plan: Plan) -> Iterator[Check]:
    """Checks that take attacks of their own, on the first cases."""
    checked = [record.checks for record in records if record.checks is not None]
    why = "the plan asks for no extra attacks" if plan.validity is None else "the cases chosen for it failed"
    settings = plan.validity if checked else None
    yield _large(checked, plan, settings, why)
    yield _scales(checked, plan, settings, why)
    yield _blind(checked, dices, plan, settings, why)
    yield _copy(checked, plan, settings, why)
    yield _converged(checked, plan, settings, why)
    yield _replay(checked, why)
    if plan.of(MarginProbe):
        yield _margins(records, why, checked=bool(checked))
    if plan.of(CertificateProbe):
        yield _certified(records, why, checked=bool(checked))


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def _large(checked: Sequence[Checks], plan: Plan, settings: ValidityPlan | None, why: str) -> Check:
    title = "A very large budget destroys the segmentation"
    if settings is None:
        return _not_run(title, why)
    dice, name = _mean(one.large_eps for one in checked), plan.attack(settings.attack).name
    where = f"{name} at eps {settings.large_eps:g}, n = {len(checked)}"
    return _check(title, dice <= _DESTROYED, f"Dice {dice:.3f}", f"{where}; at most {_DESTROYED} expected")


def _scales(checked: Sequence[Checks], plan: Plan, settings: ValidityPlan | None, why: str) -> Check:
    title = "Scaling the logits by 0.1 or 10 does not make the attack stronger"
    if settings is None:
        return _not_run(title, why)
    unscaled, small, big = (_mean(one.scaled_logits[factor] for one in checked) for factor in ("1", "0.1", "10"))
    return _check(
        title,
        min(small, big) >= unscaled - _SCALE_TOLERANCE,
        f"Dice {unscaled:.3f}; scaled {small:.3f} and {big:.3f}",
        f"{plan.attack(settings.attack).name} at eps {settings.scaled_eps:g}, mean of n = {len(checked)}; a fall of "
        f"more than {_SCALE_TOLERANCE} would mean that saturated logits hid gradients",
    )


def _blind(checked: Sequence[Checks], dices: Dices, plan: Plan, settings: ValidityPlan | None, why: str) -> Check:
    """Attacks without gradients: those of the plan on all cases, and a short one on the checked cases."""
    title, pairs = "An attack that needs no gradients is no stronger", []
    sighted = [probe for probe in plan.attacks if probe.uses_gradients]
    for blind in (probe for probe in plan.attacks if not probe.uses_gradients and not probe.is_noise):
        for eps in blind.eps:
            rivals = [_pair(dices, (blind.name, eps), (p.name, eps)) for p in sighted if p.same_set(blind)]
            known = [pair for pair in rivals if pair is not None]
            if known:
                best, steps = max(known, key=lambda pair: pair[0] - pair[1]), blind.build(eps, plan.seed).steps
                pairs.append((*best, f"{blind.name} with {steps} windows at eps {eps:g}"))
    if settings is not None:
        name, eps = plan.attack(settings.attack).name, settings.scaled_eps
        where = f"Square with {BLACK_BOX_STEPS} windows and {name} at eps {eps:g}, n = {len(checked)}"
        pairs.append((_mean(one.black_box for one in checked), _unscaled(checked), where))
    if not pairs:
        return _not_run(title, why)
    blind_dice, white_dice, where = min(pairs, key=lambda pair: pair[0] - pair[1])
    return _check(
        title,
        blind_dice >= white_dice - _TOLERANCE,
        f"Dice {blind_dice:.3f} against {white_dice:.3f}",
        f"{where}, where the gap is smallest of {len(pairs)}; if it were, gradients would be hidden",
    )


def _unscaled(checked: Sequence[Checks]) -> float:
    return _mean(one.scaled_logits["1"] for one in checked)


def _copy(checked: Sequence[Checks], plan: Plan, settings: ValidityPlan | None, why: str) -> Check:
    title = "An attack made on a smoothed copy is no stronger"
    if settings is None:
        return _not_run(title, why)
    copied, direct = _mean(one.transfer for one in checked), _unscaled(checked)
    name = plan.attack(settings.attack).name
    return _check(
        title,
        copied >= direct - _SCALE_TOLERANCE,
        f"Dice {copied:.3f} against {direct:.3f}",
        f"{name} at eps {settings.scaled_eps:g} through noise of {COPY_NOISE} standard deviations, mean of "
        f"n = {len(checked)}; a fall of more than {_SCALE_TOLERANCE} would mean that the model's own gradients mislead",
    )


def _converged(checked: Sequence[Checks], plan: Plan, settings: ValidityPlan | None, why: str) -> Check:
    title = "Four times the calls change little"
    pairs = [one.converged for one in checked if one.converged is not None]
    if settings is None or not pairs:
        return _not_run(title, why)
    before, after = (_mean(pair[step] for pair in pairs) for step in (0, 1))
    return _check(
        title,
        before - after < settings.converged,
        f"Dice {before:.3f}, then {after:.3f}",
        f"{strongest(plan).name} at eps {settings.scaled_eps:g} with {LONGER} times the steps and {REPEATED} times the "
        f"restarts, mean of n = {len(pairs)}; a fall of less than {settings.converged:g} expected",
    )


def _replay(checked: Sequence[Checks], why: str) -> Check:
    title = "A showcased attack, evaluated again from its image, gives the same Dice"
    replays = [one.replay for one in checked if one.replay is not None]
    if not replays:
        return _not_run(title, "the plan shows no attack as pictures" if checked else why)
    worst = max(replays)
    detail = f"largest of n = {len(replays)}, counted by other code; at most {_EXACT:g} expected"
    return _check(title, worst <= _EXACT, f"differs by {worst:.1e}", detail)


def _margins(records: Sequence[CaseRecord], why: str, *, checked: bool) -> Check:
    title = "Margins stand against new searches just below them"
    asked = [row.confirmed for record in records for row in record.rows_of(MarginRow) if row.confirmed is not None]
    if not asked:
        return _not_run(title, "no checked case has a margin above 0" if checked else why)
    tried, stood = len(asked), sum(asked)
    allowed = max(_FALLING * tried, float(tried >= _FEW))
    detail = f"PGD with three new restarts one tolerance below; one in ten may fall, and one of {_FEW} to 9"
    return _check(title, tried - stood <= allowed, f"{stood} of {tried}", detail)


def _certified(records: Sequence[CaseRecord], why: str, *, checked: bool) -> Check:
    title = "No attack within a certified radius flips what is certified"
    rows = [row.flipped for record in records for row in record.rows_of(CertificateRow) if row.flipped is not None]
    flipped, voxels = (sum(pair[step] for pair in rows) for step in (0, 1))
    if not voxels:
        return _not_run(title, "no voxel of the checked cases was certified" if checked else why)
    detail = "PGD on the smoothed model within the largest certified radius, judged by fresh draws"
    return _check(title, flipped == 0, f"{flipped} of {voxels} voxels", detail)
