"""The validity panel on made-up records: each check can turn red."""

from __future__ import annotations

import pytest
from imaseg.auditing.case import CaseRecord
from imaseg.auditing.plan_probes import CertifiedProbe, MarginProbe, Probe

from imaseg.auditing.plan import Plan
from imaseg.auditing.validity import valid, validity

PLAN = Plan.model_validate(
    {
        "name": "p",
        "probes": [
            {"attack": "gaussian-noise", "eps": [0.1, 0.2]},
            {"attack": "fgsm", "eps": [0.1, 0.2]},
            {"attack": "pgd", "eps": [0.1, 0.2]},
            {"attack": "strong", "eps": [0.1, 0.2]},
        ],
        "validity": {"large_eps": 2.0, "scaled_eps": 0.1},
        "showcase": {"eps": 0.1},
    }
)
GOOD = {"gaussian-noise-l2": [0.85, 0.84], "fgsm-l2": [0.7, 0.6], "pgd-l2": [0.5, 0.2], "strong-l2": [0.4, 0.1]}
CHECKS = {
    "large_eps": 0.01, "black_box": 0.6, "logits_x1": 0.5, "logits_x0.1": 0.52, "logits_x10": 0.49,
    "transfer": 0.55, "converged": [0.4, 0.38], "replay": 1e-7, "margins": [10, 10], "certified": [0, 5000],
}  # fmt: skip
LARGE = "A very large budget destroys the segmentation"
BLIND = "An attack that needs no gradients is no stronger"
MARGINS = PLAN.model_copy(update={"margins": [MarginProbe(eps=1.0, name="margin-l2")]})
CERTIFIED = PLAN.model_copy(update={"certified": [CertifiedProbe(sigma=0.5)]})


def _panel(dice=GOOD, checks=CHECKS, zero=0.01, undefined=0.0, seen=(), size=1.0, plan=PLAN, known=True):
    probes = [
        {
            "probe": name, "eps": eps, "scores": {"foreground_mean": {"dice": value}},
            "zero_gradients": zero, "nonfinite_gradients": undefined, "sizes": {"l2": eps * size, "rms": 0.0},
        }
        for name, values in dice.items()
        for eps, value in zip((0.1, 0.2), values, strict=True)
    ]  # fmt: skip
    found = validity([CaseRecord("a", probes=probes, checks=checks)], plan, seen, known=known)
    return {check["check"]: check for check in found}


def test_a_sound_audit_is_green_throughout():
    panel = _panel()
    assert len(panel) == 13
    assert all(check["ok"] is True for check in panel.values())
    assert valid(list(panel.values()))
    assert panel[LARGE]["number"] == "Dice 0.010"


@pytest.mark.parametrize(
    ("case", "red"),
    [
        ({"dice": GOOD | {"gaussian-noise-l2": [0.6, 0.84]}}, "Noise is weaker than FGSM"),
        ({"dice": GOOD | {"pgd-l2": [0.72, 0.2]}}, "FGSM is no stronger than PGD"),
        ({"dice": GOOD | {"strong-l2": [0.53, 0.1]}}, "PGD is no stronger than the project's own worst case"),
        ({"dice": GOOD | {"fgsm-l2": [0.7, 0.75]}}, "A larger budget never helps the model"),
        ({"checks": CHECKS | {"black_box": 0.45}}, BLIND),
        ({"checks": CHECKS | {"large_eps": 0.4}}, LARGE),
        (
            {"checks": CHECKS | {"logits_x0.1": 0.3}},
            "Scaling the logits by 0.1 or 10 does not make the attack stronger",
        ),
        ({"checks": CHECKS | {"transfer": 0.4}}, "An attack made on a smoothed copy is no stronger"),
        ({"checks": CHECKS | {"converged": [0.4, 0.3]}}, "Four times the calls change little"),
        (
            {"checks": CHECKS | {"replay": 0.01}},
            "A showcased attack, evaluated again from its image, gives the same Dice",
        ),
        (
            {"checks": CHECKS | {"margins": [10, 8]}, "plan": MARGINS},
            "Margins stand against new searches just below them",
        ),
        (
            {"checks": CHECKS | {"certified": [1, 5000]}, "plan": CERTIFIED},
            "No attack within a certified radius flips what is certified",
        ),
        ({"size": 1.01}, "No change exceeds its budget"),
        ({"zero": 0.9}, "Gradients are neither masked nor undefined"),
        ({"undefined": 0.001}, "Gradients are neither masked nor undefined"),
        ({"seen": ["a"]}, "No audited case was in the training set"),
    ],
)
def test_each_fault_turns_its_check_red_and_no_other(case, red):
    panel = _panel(**case)
    assert [name for name, check in panel.items() if check["ok"] is False] == [red]
    assert not any(check["ok"] is None for check in panel.values())
    assert not valid(list(panel.values()))


def test_what_could_not_be_run_is_neither_green_nor_red():
    panel = _panel(checks={}, dice={"pgd-l2": GOOD["pgd-l2"]}, plan=MARGINS, known=False)
    grey = {name for name, check in panel.items() if check["ok"] is None}
    assert grey == set(panel) - {
        "Gradients are neither masked nor undefined",
        "No change exceeds its budget",
        "A larger budget never helps the model",
    }
    assert all(panel[name]["number"] == "not run" for name in grey)
    assert panel[LARGE]["detail"] == "the cases chosen for it failed"
    assert valid(list(panel.values()))


def test_a_black_box_of_the_plan_is_held_against_the_best_attack_there():
    square = Probe(attack="square", eps=[0.2], steps=300)
    plan = PLAN.model_copy(update={"probes": [*PLAN.probes, square]})
    probes = [
        {
            "probe": name, "eps": 0.2, "scores": {"foreground_mean": {"dice": dice}},
            "zero_gradients": 0.0, "nonfinite_gradients": 0.0, "sizes": {"l2": 0.2},
        }
        for name, dice in (("pgd-l2", 0.3), ("strong-l2", 0.2), ("square-l2", 0.19))
    ]  # fmt: skip
    (check,) = [c for c in validity([CaseRecord("a", probes=probes)], plan, ()) if c["check"] == BLIND]
    assert check["ok"] is False
    assert check["number"] == "Dice 0.190 against 0.200"
    assert "300 windows at eps 0.2" in check["detail"]


def test_flat_parameters_of_smooth_sets_are_no_masked_gradients():
    fields = [Probe(attack="pgd", perturbation="deformation", eps=[0.1, 0.2], name="pgd-l2")]
    panel = _panel(zero=0.9, dice={"pgd-l2": [0.5, 0.2]}, plan=PLAN.model_copy(update={"probes": fields}))
    assert panel["Gradients are neither masked nor undefined"]["ok"] is True


@pytest.mark.parametrize(
    ("stood", "ok"), [([1, 0], False), ([4, 3], False), ([5, 4], True), ([9, 7], False), ([20, 18], True)]
)
def test_few_margins_may_fall(stood, ok):
    panel = _panel(checks=CHECKS | {"margins": stood}, plan=MARGINS)
    assert panel["Margins stand against new searches just below them"]["ok"] is ok
