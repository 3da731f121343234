"""Results by group, against means, tests and adjustments counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from imaseg.auditing.metrics.groups import by_group
from imaseg.auditing.metrics.scores import dice_of_maps
from imaseg.auditing.plan import Plan
from imaseg.auditing.table import group_line
from imaseg.auditing.validity.gate import Gate
from imaseg.data.groups import NOT_STATED
from imaseg.errors import InputError
from imaseg.results.attack import AttackEntry
from imaseg.results.base import MEAN, CaseScores
from imaseg.statistics import mean_interval

CASES = [f"c{number:02d}" for number in range(20)]
ITSELF = {case: case for case in CASES}
RNG = np.random.default_rng(0)
CLEAN = dict(zip(CASES, RNG.uniform(0.7, 0.9, 20), strict=True))
ATTACKED = {case: (0.6 if number % 2 else 0.3) + 0.001 * number for number, case in enumerate(CASES)}
SITES = {case: "B" if number % 2 else "A" for number, case in enumerate(CASES)}


def scores(dice):
    return [CaseScores(case=case, metrics={MEAN: {"dice": value}}) for case, value in dice.items()]


def attack(dice, name="pgd-l2", eps=0.1):
    return AttackEntry.model_construct(
        probe=name, eps=eps, unit="rms", perturbation="l2", within=None, made_on="", fitted_on=[],
        metric_per_case=scores(dice), n=len(dice),
    )  # fmt: skip


def grouped(columns, units=ITSELF):
    return by_group(columns, scores(CLEAN), [attack(ATTACKED)], [], units)


def test_means_and_intervals_are_those_of_the_group_alone():
    (site,) = grouped({"site": SITES})
    for group in site.groups:
        values = [ATTACKED[case] for case in CASES if SITES[case] == group.value]
        figure = next(one for one in group.figures if one.probe == "pgd-l2")
        assert figure.dice == pytest.approx(np.mean(values))
        assert figure.ci95 == pytest.approx(mean_interval(values))
    assert [group.value for group in site.groups] == ["A", "B"]


def test_the_gap_names_the_worst_group_and_is_tested():
    (site,) = grouped({"site": SITES})
    gap = next(one for one in site.gaps if one.probe == "pgd-l2")
    a, b = ([ATTACKED[case] for case in CASES if SITES[case] == name] for name in "AB")
    assert gap.worst == "A"
    assert gap.gap == pytest.approx(np.mean(a) - np.mean(b))
    assert gap.p == pytest.approx(2 * scipy.stats.kruskal(a, b).pvalue)  # Holm: the smaller of two


def test_the_terminal_says_of_each_column_who_was_compared_and_what_came_of_it():
    uneven = {case: "C" if number < 3 else SITES[case] for number, case in enumerate(CASES)}
    (site,), (few,), (even,) = (
        grouped({"site": uneven}), grouped({"sex": dict.fromkeys(CASES[:3], "F")}),
        by_group({"half": SITES}, scores(CLEAN), [], [], ITSELF),
    )  # fmt: skip
    of = {name: np.mean([CLEAN[case] for case in CASES if uneven[case] == name]) for name in "ABC"}
    counts = {name: [*uneven.values()].count(name) for name in "ABC"}
    said = ", ".join(f"{name} {of[name]:.3f} (n = {counts[name]})" for name in "ABC")
    assert group_line(site).startswith(f"By site: clean Dice {said}. 2 of 3 groups compared: A is behind by 0.300 ")
    assert "under pgd-l2 at 0.1 (adjusted p = 0.0" in group_line(site)
    assert group_line(few).endswith("(n = 3). No two groups have 7 patients: none are compared.")
    assert "no difference that chance does not explain, which does not show that they are equal" in group_line(even)
    many = few.model_copy(update={"groups": few.groups * 8})
    assert group_line(many).count("F ") == 6
    assert " and 2 more. " in group_line(many)


def test_more_columns_make_p_larger():
    halves = {case: "first" if number < 10 else "last" for number, case in enumerate(CASES)}
    alone = grouped({"site": SITES})[0].gaps[1].p
    beside = grouped({"site": SITES, "half": halves})[0].gaps[1].p
    assert beside == pytest.approx(2 * alone)


def test_small_groups_are_shown_and_not_compared():
    few = {case: "C" if number < 6 else SITES[case] for number, case in enumerate(CASES)}
    (site,) = grouped({"site": few})
    small = next(group for group in site.groups if group.value == "C")
    assert small.figures[0].ci95 is None
    lowest = {case: 0.0 if few[case] == "C" else value for case, value in ATTACKED.items()}
    (site,) = by_group({"site": few}, scores(CLEAN), [attack(lowest)], [], ITSELF)
    assert all(gap.worst != "C" for gap in site.gaps)


def test_cases_without_a_value_are_no_group_to_compare():
    stated = {case: NOT_STATED if SITES[case] == "A" else "B" for case in CASES}
    (site,) = grouped({"site": stated})
    assert [group.value for group in site.groups] == ["B", NOT_STATED]
    assert site.gaps == []


def test_cases_of_one_patient_count_once():
    pairs = {case: f"p{number // 4}" for number, case in enumerate(CASES)}
    (site,) = grouped({"site": SITES}, pairs)
    assert [group.patients for group in site.groups] == [5, 5]
    assert site.gaps == []


def test_equal_groups_have_no_difference():
    same = dict.fromkeys(CASES, 0.5)
    (site,) = by_group({"site": SITES}, scores(same), [], [], ITSELF)
    assert [(gap.gap, gap.p) for gap in site.gaps] == [(0.0, 1.0)]


PLAN = Plan.model_validate({"name": "p", "probes": [{"attack": "pgd", "unit": "rms", "eps": [0.1]}]})


class Held:
    """What a gate reads of a summary."""

    valid, probes, margins, corruptions = True, [attack(ATTACKED)], [], []
    groups = grouped({"site": SITES})
    data = type("Data", (), {"cases": 20})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dice@clean[site=A]=0.5", np.mean([CLEAN[case] for case in CASES if SITES[case] == "A"])),
        ("dice@pgd-l2-0.1[site=B]=0.5", np.mean([ATTACKED[case] for case in CASES if SITES[case] == "B"])),
        ("dice@l2-0.1[site=A]=0.5", np.mean([ATTACKED[case] for case in CASES if SITES[case] == "A"])),
        ("gap@l2-0.1[site]=-0.1", -0.301),
    ],
)
def test_gates_ask_for_groups(text, value):
    gate = Gate.parse(text, PLAN)
    assert gate.value(Held()) == pytest.approx(value)
    assert gate.judge(Held())[0] == (value >= gate.least)
    assert gate.judge(Held())[1].count("[site") == 1


def test_a_group_that_is_not_there_passes_no_gate():
    assert not Gate.parse("dice@clean[site=Z]=0", PLAN).judge(Held())[0]


@pytest.mark.parametrize("text", ["gap@clean=0", "dice@clean[site]=0.5", "gap@clean[site=A]=0", "hd95@clean[site=A]=1"])
def test_half_named_groups_are_refused(text):
    with pytest.raises(InputError):
        Gate.parse(text, PLAN)


def _masks():
    """Predicted and true masks of twenty cases, those of site A further apart, and their Dice as audits count it."""
    rng = np.random.default_rng(1)
    true = rng.random((20, 9, 8, 7)) < 0.3
    flipped = np.array([0.3 if SITES[case] == "A" else 0.05 for case in CASES])[:, None, None, None]
    found = true ^ (rng.random(true.shape) < flipped * rng.random((20, 1, 1, 1)))
    dice = [
        dice_of_maps(one.astype(int), other.astype(int), {1: [1]})["1"] for one, other in zip(found, true, strict=True)
    ]
    return found, true, dict(zip(CASES, dice, strict=True))


def test_equals_fairmedfm_on_the_same_masks():
    fairmedfm = pytest.importorskip("fairmedfm", reason="fairmedfm, the other implementation, is not installed")
    found, true, dice = _masks()
    sites = [SITES[case] for case in CASES]
    masks = {"pred_masks": found, "true_masks": true}
    (site,) = by_group({"site": SITES}, scores(dice), [], [], ITSELF)
    theirs = fairmedfm.evaluate_segmentation({"site": sites}, **masks)
    (gap,) = site.gaps
    ours = {group.value: group.figures[0].dice for group in site.groups}
    assert ours == pytest.approx(theirs.by_group.loc["site", "mean_dice"].to_dict())
    assert -gap.gap == pytest.approx(fairmedfm.dice_gap(sensitive_features=sites, **masks))
    assert ours[gap.worst] == pytest.approx(fairmedfm.worst_group_dice(sensitive_features=sites, **masks))


def test_means_gap_and_worst_group_are_those_counted_from_the_masks():
    found, true, dice = _masks()
    (site,) = by_group({"site": SITES}, scores(dice), [], [], ITSELF)
    overlap, both = (found & true).sum((1, 2, 3)), found.sum((1, 2, 3)) + true.sum((1, 2, 3))
    inside = {name: np.array([SITES[case] == name for case in CASES]) for name in "AB"}
    means = {name: np.mean((2 * overlap / both)[cases]) for name, cases in inside.items()}
    assert {group.value: group.figures[0].dice for group in site.groups} == pytest.approx(means)
    (gap,) = site.gaps
    assert (gap.worst, gap.gap) == ("A", pytest.approx(means["A"] - means["B"]))
    assert gap.gap < -0.05


def test_dice_on_the_grid_of_the_files_is_averaged_where_every_case_has_it():
    there = [CaseScores(case=c, metrics={MEAN: {"dice": CLEAN[c], "native_dice": CLEAN[c] / 2}}) for c in CASES]
    for clean, known in ((there, True), ([*there[:-1], *scores(CLEAN)[-1:]], False)):
        (site,) = by_group({"site": SITES}, clean, [], [], ITSELF)
        for group in site.groups:
            whole = known or CASES[-1] not in group.cases
            wanted = np.mean([CLEAN[case] / 2 for case in group.cases]) if whole else None
            assert group.figures[0].native_dice == (pytest.approx(wanted) if whole else None)


def test_without_labels_the_terminal_tells_agreement_since_clean_dice_is_one():
    (site,) = by_group({"site": SITES}, scores(dict.fromkeys(CASES, 1.0)), [attack(ATTACKED)], [], ITSELF)
    of = {name: np.mean([ATTACKED[case] for case in CASES if SITES[case] == name]) for name in "AB"}
    said = ", ".join(f"{name} {of[name]:.3f} (n = 10)" for name in "AB")
    assert group_line(site, labelled=False).startswith(f"By site: agreement under pgd-l2 at 0.1 {said}. 2 of 2 groups")
