"""The validity panel on made-up records: each check can turn red."""

from __future__ import annotations

import pytest

from imaseg.auditing.case import CaseRecord
from imaseg.auditing.plan import Plan
from imaseg.auditing.validity import validity

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
CHECKS = {"large_eps": 0.01, "black_box": 0.6, "logits_x1": 0.5, "logits_x0.1": 0.52, "logits_x10": 0.49}


def _panel(dice=GOOD, checks=CHECKS, zero=0.01, undefined=0.0, seen=()):
    probes = [
        {
            "probe": name, "eps": eps, "scores": {"foreground_mean": {"dice": value}},
            "zero_gradients": zero, "nonfinite_gradients": undefined,
        }
        for name, values in dice.items()
        for eps, value in zip((0.1, 0.2), values, strict=True)
    ]  # fmt: skip
    found = validity([CaseRecord("a", probes=probes, checks=checks)], PLAN, seen)
    return {check["check"]: check for check in found}


def test_a_sound_audit_is_green_throughout():
    panel = _panel()
    assert len(panel) == 9
    assert all(check["ok"] for check in panel.values())
    assert panel["A very large budget destroys the segmentation"]["number"] == "Dice 0.010"


@pytest.mark.parametrize(
    ("case", "red"),
    [
        ({"dice": GOOD | {"gaussian-noise-l2": [0.6, 0.84]}}, "Noise is weaker than FGSM"),
        ({"dice": GOOD | {"pgd-l2": [0.72, 0.2]}}, "FGSM is no stronger than PGD"),
        ({"dice": GOOD | {"strong-l2": [0.52, 0.1]}}, "PGD is no stronger than the project's own worst case"),
        ({"dice": GOOD | {"fgsm-l2": [0.7, 0.75]}}, "A larger budget never helps the model"),
        ({"checks": CHECKS | {"black_box": 0.45}}, "An attack that needs no gradients is no stronger"),
        ({"checks": CHECKS | {"large_eps": 0.4}}, "A very large budget destroys the segmentation"),
        (
            {"checks": CHECKS | {"logits_x0.1": 0.3}},
            "Scaling the logits by 0.1 or 10 does not make the attack stronger",
        ),
        ({"zero": 0.9}, "Gradients are neither masked nor undefined"),
        ({"undefined": 0.001}, "Gradients are neither masked nor undefined"),
        ({"seen": ["a"]}, "No audited case was in the training set"),
    ],
)
def test_each_fault_turns_its_check_red_and_no_other(case, red):
    panel = _panel(**case)
    assert [name for name, check in panel.items() if not check["ok"]] == [red]


def test_extra_attacks_that_were_planned_and_not_run_are_red():
    panel = _panel(checks={})
    assert panel["Extra attacks on the attacks themselves"]["ok"] is False
    assert panel["Extra attacks on the attacks themselves"]["number"] == "not run"
