"""Checks on the attacks themselves: nothing is called robust because an attack failed.

Each check has the number behind it. `ok` is None where it could not be run, which counts as neither passed nor failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from imaseg.auditing.case import CaseRecord
from imaseg.auditing.case_checks import BLACK_BOX_STEPS, COPY_NOISE, LONGER, REPEATED, strongest
from imaseg.auditing.plan import Plan, Probe

_TOLERANCE = 0.005
_RIVAL_TOLERANCE = 0.02
_SCALE_TOLERANCE = 0.05
_DESTROYED = 0.1
_MASKED = 0.5
_EXACT = 1e-3
_FALLING = 0.1
_FEW = 5

Check = dict[str, Any]
Means = dict[tuple[str, float], float]


def validity(records: Sequence[CaseRecord], plan: Plan, seen: Sequence[str], *, known: bool = True) -> list[Check]:
    """All checks.

    Args:
        records: finished cases.
        plan: what was run.
        seen: audited cases that the model was trained on.
        known: whether the model says on which cases it was trained.

    Returns:
        One entry per check: `check`, `ok`, `number`, `detail`.
    """
    means = _means(records)
    rivals = "mean over cases; tables show the worst case over attacks, whichever is the stronger"
    return [
        _seen(seen, len(records), known=known),
        _gradients(records, plan),
        _budgets(records, plan),
        _ordered(means, plan, "noise", "fgsm", "Noise is weaker than FGSM"),
        _ordered(means, plan, "fgsm", "pgd", "FGSM is no stronger than PGD"),
        _ordered(
            means, plan, "pgd", "strong", "PGD is no stronger than the project's own worst case",
            tolerance=_RIVAL_TOLERANCE, note=rivals,
        ),
        _monotone(means, plan),
        *_extra(records, means, plan),
    ]  # fmt: skip


def valid(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check["ok"] is not False for check in checks)


def _check(title: str, ok: bool | None, number: str, detail: str) -> Check:
    return {"check": title, "ok": ok, "number": number, "detail": detail}


def _not_run(title: str, why: str) -> Check:
    return _check(title, None, "not run", why)


def _means(records: Sequence[CaseRecord]) -> Means:
    values: dict[tuple[str, float], list[float]] = {}
    for record in records:
        for entry in record.probes:
            dice = entry["scores"]["foreground_mean"]["dice"]
            values.setdefault((entry["probe"], entry["eps"]), []).append(dice)
    return {key: sum(dice) / len(dice) for key, dice in values.items()}


def _seen(seen: Sequence[str], cases: int, *, known: bool) -> Check:
    title = "No audited case was in the training set"
    if not known:
        return _not_run(title, "the checkpoint does not say on which cases it was trained")
    return _check(title, not seen, f"{len(seen)} of {cases}", "by case id, as the model's card lists them")


def _gradients(records: Sequence[CaseRecord], plan: Plan) -> Check:
    title = "Gradients are neither masked nor undefined"
    searched = {p.name: p for p in plan.probes if p.uses_gradients}
    entries = [entry for record in records for entry in record.probes if entry["probe"] in searched]
    if not entries:
        return _not_run(title, "no attack of the plan uses gradients")
    # Other sets may well have parameters that change nothing.
    zero = max((e["zero_gradients"] for e in entries if searched[e["probe"]].kind.is_intensity), default=0.0)
    bad = max(entry["nonfinite_gradients"] for entry in entries)
    return _check(
        title,
        zero < _MASKED and bad == 0,
        f"{zero:.1%} zero, {bad:.1%} not finite",
        f"largest fraction over cases and probes; zero ones in L2 and Linf, where below {_MASKED:.0%} is expected",
    )


def _budgets(records: Sequence[CaseRecord], plan: Plan) -> Check:
    """The size of the change itself, not what the search says of it."""
    title, kinds = "No change exceeds its budget", {"rms": "rms", "norm": "l2", "max": "linf"}
    added = [probe for probe in plan.probes if probe.kind.is_intensity]
    probes = {probe.name: (probe, kinds[unit]) for probe in added if (unit := probe.build_set(0.0).unit) in kinds}
    shares = []
    for record in records:
        for entry in record.probes:
            if entry["probe"] not in probes or not entry["eps"]:
                continue
            probe, kind = probes[entry["probe"]]
            scale = record.image_std if probe.stated_unit == "std" else 1.0
            shares.append(entry["sizes"][kind] / (entry["eps"] * scale) if scale else 0.0)
    if not shares:
        return _not_run(title, "the plan has no attack in L2 or Linf")
    return _check(
        title,
        max(shares) <= 1 + _EXACT,
        f"at most {max(shares):.4f} of it",
        f"measured on the images of {len(shares)} attacks in L2 and Linf",
    )


def _ordered(
    means: Means, plan: Plan, weak: str, strong: str, title: str, *, tolerance: float = _TOLERANCE,
    note: str = "mean over cases",
) -> Check:  # fmt: skip
    """Mean Dice under every weak probe must not lie below that under the strong one, at equal set and eps."""
    gaps = [
        (means[a.name, eps] - means[b.name, eps], eps, means[a.name, eps], means[b.name, eps], a.perturbation)
        for a in plan.probes
        for b in plan.probes
        if (a.noise if weak == "noise" else a.attack.endswith(weak)) and b.attack == strong and a.same_set(b)
        for eps in a.eps
        if (b.name, eps) in means and (a.name, eps) in means and a.attack != "ifgsm"
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


def _monotone(means: Means, plan: Plan) -> Check:
    title = "A larger budget never helps the model"
    rises = [
        (means[probe.name, high] - means[probe.name, low], probe.name, low, high)
        for probe in plan.probes
        if not probe.noise
        for low, high in zip(probe.eps, probe.eps[1:], strict=False)
        if (probe.name, low) in means and (probe.name, high) in means
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


def _extra(records: Sequence[CaseRecord], means: Means, plan: Plan) -> Iterator[Check]:
    """Checks that take attacks of their own, on the first cases."""
    checked = [record.checks for record in records if record.checks]
    why = "the plan asks for no extra attacks" if plan.validity is None else "the cases chosen for it failed"
    found: dict[str, list[Any]] = {}
    for checks in checked:
        for key, value in checks.items():
            found.setdefault(key, []).append(value)
    yield _large(found, plan, why)
    yield _scales(found, plan, why)
    yield _blind(found, means, plan, why)
    yield _copy(found, plan, why)
    yield _converged(found, plan, why)
    yield _replay(found, why)
    if plan.margins:
        yield _margins(found, why)
    if plan.certified:
        yield _certified(found, why)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _large(found: dict[str, list[Any]], plan: Plan, why: str) -> Check:
    title = "A very large budget destroys the segmentation"
    if plan.validity is None or "large_eps" not in found:
        return _not_run(title, why)
    dice, name = _mean(found["large_eps"]), plan.probe(plan.validity.attack).name
    where = f"{name} at eps {plan.validity.large_eps:g}, n = {len(found['large_eps'])}"
    return _check(title, dice <= _DESTROYED, f"Dice {dice:.3f}", f"{where}; at most {_DESTROYED} expected")


def _scales(found: dict[str, list[Any]], plan: Plan, why: str) -> Check:
    title = "Scaling the logits by 0.1 or 10 does not make the attack stronger"
    if plan.validity is None or "logits_x1" not in found:
        return _not_run(title, why)
    unscaled, small, big = (_mean(found[f"logits_x{factor}"]) for factor in ("1", "0.1", "10"))
    name, count = plan.probe(plan.validity.attack).name, len(found["logits_x1"])
    return _check(
        title,
        min(small, big) >= unscaled - _SCALE_TOLERANCE,
        f"Dice {unscaled:.3f}; scaled {small:.3f} and {big:.3f}",
        f"{name} at eps {plan.validity.scaled_eps:g}, mean of n = {count}; a fall of more than {_SCALE_TOLERANCE} "
        "would mean that saturated logits hid gradients",
    )


def _blind(found: dict[str, list[Any]], means: Means, plan: Plan, why: str) -> Check:
    """Attacks without gradients: those of the plan on all cases, and a short one on the checked cases."""
    title, pairs = "An attack that needs no gradients is no stronger", []
    for blind in (probe for probe in plan.probes if not probe.noise and not probe.uses_gradients):
        for eps in blind.eps:
            white = [_at(means, p, eps) for p in plan.probes if p.uses_gradients and p.same_set(blind)]
            known = [dice for dice in white if dice is not None]
            if known and (blind.name, eps) in means:
                steps = blind.build(eps, plan.seed).steps
                pairs.append((means[blind.name, eps], min(known), f"{blind.name} with {steps} windows at eps {eps:g}"))
    if plan.validity is not None and "black_box" in found:
        name, eps = plan.probe(plan.validity.attack).name, plan.validity.scaled_eps
        where = f"Square with {BLACK_BOX_STEPS} windows and {name} at eps {eps:g}, n = {len(found['black_box'])}"
        pairs.append((_mean(found["black_box"]), _mean(found["logits_x1"]), where))
    if not pairs:
        return _not_run(title, why)
    blind_dice, white_dice, where = min(pairs, key=lambda pair: pair[0] - pair[1])
    return _check(
        title,
        blind_dice >= white_dice - _TOLERANCE,
        f"Dice {blind_dice:.3f} against {white_dice:.3f}",
        f"{where}, where the gap is smallest of {len(pairs)}; if it were, gradients would be hidden",
    )


def _at(means: Means, probe: Probe, eps: float) -> float | None:
    return means.get((probe.name, eps))


def _copy(found: dict[str, list[Any]], plan: Plan, why: str) -> Check:
    title = "An attack made on a smoothed copy is no stronger"
    if plan.validity is None or "transfer" not in found:
        return _not_run(title, why)
    copied, direct = _mean(found["transfer"]), _mean(found["logits_x1"])
    name, count = plan.probe(plan.validity.attack).name, len(found["transfer"])
    return _check(
        title,
        copied >= direct - _SCALE_TOLERANCE,
        f"Dice {copied:.3f} against {direct:.3f}",
        f"{name} at eps {plan.validity.scaled_eps:g} through noise of {COPY_NOISE} standard deviations, mean of "
        f"n = {count}; a fall of more than {_SCALE_TOLERANCE} would mean that the model's own gradients mislead",
    )


def _converged(found: dict[str, list[Any]], plan: Plan, why: str) -> Check:
    title = "Four times the calls change little"
    if plan.validity is None or "converged" not in found:
        return _not_run(title, why)
    before, after = (_mean([pair[place] for pair in found["converged"]]) for place in (0, 1))
    allowed, name, count = plan.validity.converged, strongest(plan).name, len(found["converged"])
    return _check(
        title,
        before - after < allowed,
        f"Dice {before:.3f}, then {after:.3f}",
        f"{name} at eps {plan.validity.scaled_eps:g} with {LONGER} times the steps and {REPEATED} times the restarts, "
        f"mean of n = {count}; a fall of less than {allowed:g} expected",
    )


def _replay(found: dict[str, list[Any]], why: str) -> Check:
    title = "A showcased attack, evaluated again from its image, gives the same Dice"
    if "replay" not in found:
        return _not_run(title, why)
    worst = max(found["replay"])
    detail = f"largest of n = {len(found['replay'])}, counted by other code; at most {_EXACT:g} expected"
    return _check(title, worst <= _EXACT, f"differs by {worst:.1e}", detail)


def _margins(found: dict[str, list[Any]], why: str) -> Check:
    title = "Margins stand against new searches just below them"
    if "margins" not in found:
        return _not_run(title, "no checked case has a margin above 0" if found else why)
    tried, stood = (sum(pair[place] for pair in found["margins"]) for place in (0, 1))
    allowed = max(_FALLING * tried, float(tried >= _FEW))
    detail = f"PGD with three new restarts one tolerance below; one in ten may fall, and one of {_FEW} to 9"
    return _check(title, tried - stood <= allowed, f"{stood} of {tried}", detail)


def _certified(found: dict[str, list[Any]], why: str) -> Check:
    title = "No attack within a certified radius flips what is certified"
    flipped, voxels = (sum(pair[place] for pair in found.get("certified", [])) for place in (0, 1))
    if not voxels:
        return _not_run(title, "no voxel of the checked cases was certified" if "certified" in found else why)
    detail = "PGD on the smoothed model within the largest certified radius, judged by fresh draws"
    return _check(title, flipped == 0, f"{flipped} of {voxels} voxels", detail)
