"""Checks on the attacks themselves: nothing is called robust because an attack failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imaseg.auditing.case import BLACK_BOX_STEPS, CaseRecord
from imaseg.auditing.plan import Plan, Probe

_TOLERANCE = 0.005
_SCALE_TOLERANCE = 0.05
_DESTROYED = 0.1
_MASKED = 0.5

Check = dict[str, Any]


def validity(records: Sequence[CaseRecord], plan: Plan, seen: Sequence[str]) -> list[Check]:
    """All checks that the plan's probes allow.

    Args:
        records: finished cases.
        plan: what was run.
        seen: audited cases that the model was trained on.

    Returns:
        One entry per check: `check`, `ok`, `number`, `detail`.
    """
    means = _means(records)
    checks = [_seen(seen, len(records)), _gradients(records)]
    checks += _ordered(means, plan, "noise", "fgsm", "Noise is weaker than FGSM")
    checks += _ordered(means, plan, "fgsm", "pgd", "FGSM is no stronger than PGD")
    checks += _ordered(means, plan, "pgd", "strong", "PGD is no stronger than the project's own worst case")
    checks += _monotone(means, plan)
    return checks + _extra(records, plan)


def _means(records: Sequence[CaseRecord]) -> dict[tuple[str, float], float]:
    values: dict[tuple[str, float], list[float]] = {}
    for record in records:
        for entry in record.probes:
            dice = entry["scores"]["foreground_mean"]["dice"]
            values.setdefault((entry["probe"], entry["eps"]), []).append(dice)
    return {key: sum(dice) / len(dice) for key, dice in values.items()}


def _seen(seen: Sequence[str], cases: int) -> Check:
    return {
        "check": "No audited case was in the training set",
        "ok": not seen,
        "number": f"{len(seen)} of {cases}",
        "detail": "by case id, as the model's card lists them",
    }


def _gradients(records: Sequence[CaseRecord]) -> Check:
    zero = [entry["zero_gradients"] for record in records for entry in record.probes]
    bad = [entry["nonfinite_gradients"] for record in records for entry in record.probes]
    return {
        "check": "Gradients are neither masked nor undefined",
        "ok": max(zero, default=0) < _MASKED and max(bad, default=0) == 0,
        "number": f"{max(zero, default=0):.1%} zero, {max(bad, default=0):.1%} not finite",
        "detail": f"largest fraction over cases and probes; below {_MASKED:.0%} and exactly 0 expected",
    }


def _ordered(means: dict[tuple[str, float], float], plan: Plan, weak: str, strong: str, title: str) -> list[Check]:
    """Mean Dice under every weak probe must not lie below that under the strong one, at equal set and eps."""
    gaps = [
        (means[a.name, eps] - means[b.name, eps], eps, means[a.name, eps], means[b.name, eps])
        for a in plan.probes
        for b in plan.probes
        if a.attack.endswith(weak) and b.attack == strong and _same_set(a, b)
        for eps in a.eps
        if (b.name, eps) in means and (a.name, eps) in means and a.attack != "ifgsm"
    ]
    if not gaps:
        return []
    gap, eps, first, second = min(gaps)
    return [
        {
            "check": title,
            "ok": gap >= -_TOLERANCE,
            "number": f"Dice {first:.3f} against {second:.3f}",
            "detail": f"mean over cases at eps {eps:g}, where the gap is smallest; {len(gaps)} pairs compared",
        }
    ]


def _same_set(a: Probe, b: Probe) -> bool:
    return (a.perturbation, a.build_set(0.0).unit) == (b.perturbation, b.build_set(0.0).unit)


def _monotone(means: dict[tuple[str, float], float], plan: Plan) -> list[Check]:
    rises = [
        (means[probe.name, high] - means[probe.name, low], probe.name, low, high)
        for probe in plan.probes
        if probe.attack not in ("uniform-noise", "gaussian-noise")
        for low, high in zip(probe.eps, probe.eps[1:], strict=False)
    ]
    if not rises:
        return []
    rise, name, low, high = max(rises)
    return [
        {
            "check": "A larger budget never helps the model",
            "ok": rise <= _TOLERANCE,
            "number": f"largest rise of Dice {rise:+.3f}",
            "detail": f"{name}, eps {low:g} to {high:g}; {len(rises)} neighbouring pairs compared",
        }
    ]


def _extra(records: Sequence[CaseRecord], plan: Plan) -> list[Check]:
    checked = [record for record in records if record.checks]
    if plan.validity is None:
        return []
    if not checked:
        detail = "the cases chosen for them could not be audited"
        return [
            {"check": "Extra attacks on the attacks themselves", "ok": False, "number": "not run", "detail": detail}
        ]
    name, count = plan.probe(plan.validity.attack).name, len(checked)
    large, blind = (sum(record.checks[key] for record in checked) / count for key in ("large_eps", "black_box"))
    unscaled, small, big = (
        sum(record.checks[f"logits_x{factor}"] for record in checked) / count for factor in ("1", "0.1", "10")
    )
    return [
        {
            "check": "A very large budget destroys the segmentation",
            "ok": large <= _DESTROYED,
            "number": f"Dice {large:.3f}",
            "detail": f"{name} at eps {plan.validity.large_eps:g}, n = {count}; at most {_DESTROYED} expected",
        },
        {
            "check": "Scaling the logits by 0.1 or 10 does not make the attack stronger",
            "ok": min(small, big) >= unscaled - _SCALE_TOLERANCE,
            "number": f"Dice {unscaled:.3f}; scaled {small:.3f} and {big:.3f}",
            "detail": f"{name} at eps {plan.validity.scaled_eps:g}, mean of n = {count}; a fall of more than "
            f"{_SCALE_TOLERANCE} would mean that saturated logits hid gradients",
        },
        {
            "check": "An attack that needs no gradients is no stronger",
            "ok": blind >= unscaled - _TOLERANCE,
            "number": f"Dice {blind:.3f} against {unscaled:.3f}",
            "detail": f"Square with {BLACK_BOX_STEPS} windows and {name} at eps {plan.validity.scaled_eps:g}, "
            f"n = {count}; if it were, gradients would be hidden",
        },
    ]
