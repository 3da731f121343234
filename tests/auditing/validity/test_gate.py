"""Gates: what they name, what they find, what they say."""

from __future__ import annotations

import pytest

from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import CorruptionProbe
from imaseg.auditing.validity.gate import Gate, parse_gates
from imaseg.errors import InputError
from imaseg.results import Summary
from imaseg.results.attack import AttackEntry
from imaseg.results.corruption import CorruptionEntry
from imaseg.results.groups import Group, GroupFigure, Grouping
from imaseg.results.margin import MarginEntry
from imaseg.results.summary import DataFacts

PLAN = Plan.model_validate(
    {
        "name": "p",
        "probes": [
            {"attack": "gaussian-noise", "perturbation": "linf", "eps": [0.05]},
            {"attack": "fgsm", "perturbation": "linf", "eps": [0.05, 1e-5]},
            {"attack": "pgd", "perturbation": "linf", "eps": [0.05]},
            {"attack": "pgd", "eps": [0.1]},
        ],
        "margins": [{"eps": 1.0}, {"eps": 1.0, "criterion": {"name": "voxels-flipped", "fraction": 0.1}}],
        "showcase": {"eps": 0.05},
    }
)


def _block(dice, **more):
    return {"foreground_mean": {"dice": dice, "surface_dice": dice / 2}, **more}


def _entry(probe, attack, perturbation, eps, dice):
    return AttackEntry.model_construct(probe=probe, attack=attack, perturbation=perturbation, eps=eps, **_block(dice))


def _margin(probe, structure, median):
    return MarginEntry.model_construct(probe=probe, perturbation="l2", structure=structure, median=median)


SUMMARY = Summary.model_construct(
    data=DataFacts.model_construct(cases=4),
    foreground_mean={"dice": 0.9, "surface_dice": 0.95},
    probes=[
        _entry("gaussian-noise-linf", "gaussian-noise", "linf", 0.05, 0.2),  # noise never counts for a set
        _entry("fgsm-linf", "fgsm", "linf", 0.05, 0.7),
        _entry("fgsm-linf", "fgsm", "linf", 1e-5, 0.89),
        _entry("pgd-linf", "pgd", "linf", 0.05, 0.6),
        _entry("worst-case-linf", "worst-case", "linf", 0.05, 0.55),
        _entry("pgd-l2", "pgd", "l2", 0.1, 0.5),
    ],
    margins=[
        _margin("margin-l2-dice-below-0.5", None, 0.08),
        _margin("margin-l2-voxels-flipped-0.1", None, 0.05),
        _margin("margin-l2-dice-below-0.5-class-1", "head", 0.01),
    ],
    corruptions=[CorruptionEntry.model_construct(corruption="rician-noise", severity=3, **_block(0.71))],
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dice@clean=0.8", 0.9),
        ("surface_dice@clean=0.8", 0.95),
        ("dice@linf-0.05=0.6", 0.55),
        ("dice@linf-1e-05=0.6", 0.89),
        ("dice@linf-0.00001=0.6", 0.89),
        ("dice@pgd-linf-0.05=0.6", 0.6),
        ("dice@gaussian-noise-linf-0.05=0.1", 0.2),
        ("dice@pgd-l2-.1=.5", 0.5),
        ("surface_dice@fgsm-linf-0.05=0.1", 0.35),
        ("margin@l2=0.05", 0.05),
        ("margin@margin-l2-dice-below-0.5=0.05", 0.08),
    ],
)
def test_a_gate_finds_the_number_it_names(text, value):
    gate = Gate.parse(text, PLAN)
    assert gate.value(SUMMARY) == pytest.approx(value)
    passes, line = gate.judge(SUMMARY)
    assert passes == (value >= gate.least)
    assert line.startswith("gate passed: " if passes else "gate failed: ")


def test_the_line_says_what_was_wanted_and_what_came():
    passes, line = Gate.parse("dice@linf-0.05=0.6", PLAN).judge(SUMMARY)
    assert (passes, line) == (False, "gate failed: dice@linf-0.05 must be at least 0.6, got 0.55 (n = 4)")


def test_no_gate_passes_on_an_audit_that_calls_itself_invalid():
    gate, invalid = Gate.parse("dice@linf-0.05=0.5", PLAN), SUMMARY.model_copy(update={"valid": False})
    passes, line = gate.judge(invalid)
    assert not passes
    assert line.startswith("gate failed: the audit calls itself invalid (dice@linf-0.05 must be at least 0.5, got 0.55")
    assert gate.judge(invalid, allow_invalid=True) == gate.judge(SUMMARY)


def test_a_number_that_is_missing_does_not_pass():
    passes, line = Gate.parse("margin@l2=0", PLAN).judge(SUMMARY.model_copy(update={"margins": []}))
    assert not passes
    assert "got no value" in line


def test_corruptions_are_found_by_name_and_severity():
    more = CorruptionProbe(corruptions=["rician-noise"], severities=[1, 3])
    plan = PLAN.model_copy(update={"probes": [*PLAN.probes, more]})
    assert Gate.parse("dice@rician-noise-3=0.7", plan).judge(SUMMARY)[0]
    assert not Gate.parse("dice@rician-noise-3=0.72", plan).judge(SUMMARY)[0]
    with pytest.raises(InputError, match="rician-noise-1, rician-noise-3.*got 'rician-noise-2'"):
        Gate.parse("dice@rician-noise-2=0.7", plan)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dice@linf-0.06=0.6", r"clean, linf-1e-05, linf-0.05, l2-0.1, gaussian-noise-linf-0.05, .*got 'linf-0.06'"),
        ("dice@linf=0.6", "must name what plan p measures as dice"),
        ("dice@rician-noise-3=0.7", "must name what plan p measures"),
        ("margin@linf=0.1", r"measures as margin \(l2, margin-l2-dice-below-0.5, margin-l2-voxels-flipped-0.1\)"),
        ("hd95@clean=3", "must be one of dice, native_dice, surface_dice.*margin, got 'hd95'"),
        ("dice@clean", "must be METRIC@PROBE-EPS=VALUE, got 'dice@clean'"),
        ("dice@clean=0.-8", "must be METRIC@PROBE-EPS=VALUE"),
    ],
)
def test_what_the_plan_does_not_measure_is_refused(text, says):
    with pytest.raises(InputError, match=says):
        parse_gates(["dice@clean=0.1", text], PLAN)


def test_groups_are_not_measured_under_corruptions():
    plan = PLAN.model_copy(update={"probes": [*PLAN.probes, CorruptionProbe(corruptions=["gamma"], severities=[3])]})
    assert parse_gates(["dice@gamma-3=0.5"], plan)
    with pytest.raises(InputError, match="must name what plan p measures as dice"):
        parse_gates(["dice@gamma-3[sex=F]=0.5"], plan)


def test_dice_on_the_grid_of_the_files_has_no_value_for_prepared_cases():
    gate = Gate.parse("native_dice@clean=0.5", PLAN)
    passes, said = gate.judge(SUMMARY.model_copy(update={"valid": True}))
    assert not passes
    assert "got no value (the cases were prepared before: there is no other grid)" in said
    there = SUMMARY.model_copy(update={"foreground_mean": {"dice": 0.9, "native_dice": 0.8}, "valid": True})
    assert gate.judge(there) == (True, "gate passed: native_dice@clean must be at least 0.5, got 0.8 (n = 4)")
    assert Gate.parse("native_dice@linf-0.05=0.5", PLAN).judge(there)[0] is False


def test_a_gate_on_a_group_says_how_many_cases_that_has():
    def group(value, cases, dice):
        figure = GroupFigure(probe="clean", eps=0.0, dice=dice, ci95=None, native_dice=dice / 2)
        return Group(value=value, cases=cases, patients=len(cases), figures=[figure], margins=[])

    groups = [group("A", ["a", "b", "c"], 0.6), group("B", ["d"], 0.9)]
    grouping = Grouping(column="site", fewest=7, groups=groups, gaps=[])
    summary = SUMMARY.model_copy(update={"groups": [grouping], "valid": True})
    for text, end in (
        ("dice@clean[site=A]=0.5", "got 0.6 (n = 3)"),
        ("dice@clean[site=B]=0.5", "got 0.9 (n = 1)"),
        ("native_dice@clean[site=A]=0.2", "got 0.3 (n = 3)"),
        ("gap@clean[site]=-0.1", "got no value (no two groups have 7 patients) (n = 4)"),
        ("dice@clean=0.5", "got 0.9 (n = 4)"),
    ):
        assert Gate.parse(text, PLAN).judge(summary)[1].endswith(end)
    with pytest.raises(InputError, match=r"Of groups dice and native_dice are known\."):
        Gate.parse("surface_dice@clean[site=A]=0.5", PLAN)
