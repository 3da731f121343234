"""The validity panel on made-up records: each check can turn red."""

from __future__ import annotations

import pytest

from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import AttackProbe, CertificateProbe, MarginProbe
from imaseg.auditing.validity.checks import missed, valid, validity
from imaseg.results import CaseRecord
from imaseg.results.attack import AttackRow
from imaseg.results.case import Checks
from imaseg.results.certificate import CertificateRow
from imaseg.results.margin import MarginRow
from imaseg.results.preparation import Agreement
from imaseg.results.summary import DataFacts

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
    "large_eps": 0.01, "black_box": 0.6, "scaled_logits": {"1": 0.5, "0.1": 0.52, "10": 0.49}, "transfer": 0.55,
    "converged": [0.4, 0.38], "replay": 1e-7, "afresh": [0.5, 0.21], "silent": [2, 8],
    "gains": [[0.01, 0.012, 0.012], [0.04, 0.03, 0.035]],
}  # fmt: skip
LARGE = "A very large budget destroys the segmentation"
OWN = "imaseg predicts what the model's own software predicts"
AFRESH = "No search at a smaller budget is stronger than one at a larger"
STAND = "Margins stand against searches of another kind just below them"
TOLD = "Gradients tell what a step along them gains"
BLIND = "An attack that needs no gradients is no stronger"
MARGINS = PLAN.model_copy(update={"probes": [*PLAN.probes, MarginProbe(eps=1.0, name="margin-l2")]})
CERTIFIED = PLAN.model_copy(update={"probes": [*PLAN.probes, CertificateProbe(sigma=0.5, name="certified-l2")]})


def _row(probe, eps, dice, *, zero=0.01, undefined=0.0, size=1.0):
    return AttackRow.model_construct(
        kind="attack", probe=probe, eps=eps, eps_set=eps, scores={"foreground_mean": {"dice": dice}},
        zero_gradients=zero, nonfinite_gradients=undefined, sizes={"l2": eps * size, "rms": 0.0},
    )  # fmt: skip


def _record(rows, checks=None, case="a", clean=(0.9, 0.9), volumes=None):
    scores = {str(k): {"dice": dice} for k, dice in enumerate(clean, start=1)}
    volumes = dict.fromkeys(scores, 1.0) if volumes is None else dict(zip(scores, volumes, strict=True))
    checks = None if checks is None else Checks(**checks)
    return CaseRecord.model_construct(case=case, rows=rows, checks=checks, clean=scores, volumes=volumes)


def _ladders(dice, **more):
    return [
        _row(name, eps, value, **more)
        for name, values in dice.items()
        for eps, value in zip((0.1, 0.2), values, strict=False)
    ]


AGREED = Agreement(pipeline="its own", case="a", dice=0.995, voxels=0.999)


def _facts(seen=(), *, known=True):
    return DataFacts.model_construct(
        cases=1, seen_in_training=list(seen), training_known=known, labels={"1": "liver", "2": "tumour"}
    )


def _panel(
    dice=GOOD,
    checks=CHECKS,
    margins=(),
    flipped=None,
    seen=(),
    plan=PLAN,
    known=True,
    clean=(0.9, 0.8),
    agreed=AGREED,
    **more,
):
    tried, stood = margins or (0, 0)
    rows = _ladders(dice, **more)
    rows += [MarginRow(probe="margin-l2", structure=None, eps=1.0, confirmed=k < stood) for k in range(tried)]
    if flipped is not None:
        rows.append(CertificateRow.model_construct(probe="certified-l2", flipped=flipped))
    found = validity([_record(rows, checks, clean=clean)], plan, _facts(seen, known=known), agreed)
    return {check.check: check for check in found}


def test_a_sound_audit_is_green_throughout():
    panel = _panel()
    assert len(panel) == 17
    assert all(check.ok is True for check in panel.values())
    assert valid(list(panel.values()))
    assert panel[LARGE].number == "Dice 0.010"


@pytest.mark.parametrize(
    ("case", "red"),
    [
        ({"dice": GOOD | {"gaussian-noise-l2": [0.6, 0.84]}}, "Noise is weaker than FGSM"),
        ({"dice": GOOD | {"pgd-l2": [0.72, 0.2]}}, "FGSM is no stronger than PGD"),
        ({"dice": GOOD | {"strong-l2": [0.53, 0.1]}}, "PGD is no stronger than the project's own worst case"),
        ({"checks": CHECKS | {"afresh": [0.15, 0.18]}}, AFRESH),
        ({"checks": CHECKS | {"afresh": [0.5, 0.53]}}, AFRESH),
        ({"checks": CHECKS | {"black_box": 0.45}}, BLIND),
        ({"checks": CHECKS | {"large_eps": 0.4}}, LARGE),
        (
            {"checks": CHECKS | {"scaled_logits": {"1": 0.5, "0.1": 0.3, "10": 0.49}}},
            "Scaling the logits does not make the attack stronger",
        ),
        (
            {"checks": CHECKS | {"scaled_logits": {"1": 0.5, "0.1": 0.5, "10": 0.5, "usual": 0.4}}},
            "Scaling the logits does not make the attack stronger",
        ),
        ({"checks": CHECKS | {"transfer": 0.37}}, "Gradients averaged over noisy copies make no stronger attack"),
        ({"checks": CHECKS | {"gains": [[0.03, 0.002, 0.002], [0.14, 0.01, 0.01]]}}, TOLD),
        ({"checks": CHECKS | {"gains": [[0.01, 0.0, 0.0], [0.04, 0.015, 0.045]]}}, TOLD),
        ({"checks": CHECKS | {"silent": [3, 8]}}, "Decided voxels have logits with a gradient"),
        ({"checks": CHECKS | {"converged": [0.4, 0.3]}}, "Four times the calls change little"),
        (
            {"checks": CHECKS | {"replay": 0.01}},
            "A showcased attack, evaluated again from its image, gives the same Dice",
        ),
        (
            {"margins": [10, 8], "plan": MARGINS},
            STAND,
        ),
        (
            {"flipped": [1, 5000], "plan": CERTIFIED},
            "No attack within a certified radius flips what is certified",
        ),
        ({"size": 1.01}, "No change exceeds its budget"),
        ({"zero": 0.9}, "Gradients are neither masked nor undefined"),
        ({"undefined": 0.001}, "Gradients are neither masked nor undefined"),
        ({"agreed": AGREED.model_copy(update={"dice": 0.989})}, OWN),
        ({"seen": ["a"]}, "No audited case was in the training set"),
    ],
)
def test_each_fault_turns_its_check_red_and_no_other(case, red):
    panel = _panel(**case)
    assert [name for name, check in panel.items() if check.ok is False] == [red]
    assert not any(check.ok is None for check in panel.values())
    assert not valid(list(panel.values()))
    assert panel[red].said != red, "the title states what was found"
    assert all(check.said == name for name, check in panel.items() if check.ok)


def test_a_red_title_holds_the_number_and_a_detail_ends_with_what_to_do():
    check = _panel(seen=["a"])["No audited case was in the training set"]
    assert check.said == "1 of 1 audited cases were in the training set"
    assert check.detail.endswith(". Audit cases that the model has not seen (--cases).")
    fell = _panel(margins=[10, 8], plan=MARGINS)[STAND]
    assert fell.said == "2 of 10 margins fell to searches of another kind just below them"


def test_every_check_that_is_not_green_says_what_to_do_next():
    grey = _panel(checks=None, dice={}, plan=MARGINS, known=False, agreed=Agreement(reason="none."))
    undone = [check.detail for check in grey.values() if check.ok is None]
    assert len(undone) > 10
    assert all(". " in detail and detail.endswith(".") for detail in undone), undone


def test_searches_that_stay_within_the_tolerance_of_a_larger_budget_are_green():
    assert _panel(checks=CHECKS | {"afresh": [0.19, 0.2]})[AFRESH].ok is True


def test_a_single_budget_has_nothing_to_be_compared_with():
    check = _panel(checks=CHECKS | {"afresh": []})[AFRESH]
    assert (check.ok, check.number) == (None, "not run")


def test_other_software_is_asked_for_only_where_there_is_some():
    alone = _panel(agreed=Agreement(applies=False, reason="imaseg itself trained it"))
    assert OWN not in alone
    silent = _panel(agreed=Agreement(reason="this kind brings none."))[OWN]
    assert silent.ok is None
    assert silent.detail.startswith("this kind brings none. Compare")


def test_what_could_not_be_run_is_neither_green_nor_red():
    panel = _panel(checks=None, dice={"pgd-l2": GOOD["pgd-l2"]}, plan=MARGINS, known=False, agreed=Agreement())
    grey = {name for name, check in panel.items() if check.ok is None}
    assert grey == set(panel) - {
        "Every structure is found in at least one case",
        "Gradients are neither masked nor undefined",
        "No change exceeds its budget",
    }
    assert all(panel[name].number == "not run" for name in grey)
    assert panel[LARGE].detail.startswith("the cases chosen for it failed. ")
    assert valid(list(panel.values()))


def test_a_black_box_of_the_plan_is_held_against_the_best_attack_there():
    square = AttackProbe(attack="square", eps=[0.2], steps=300, name="square-l2")
    plan = PLAN.model_copy(update={"probes": [*PLAN.probes, square]})
    rows = [_row(name, 0.2, dice) for name, dice in (("pgd-l2", 0.3), ("strong-l2", 0.2), ("square-l2", 0.19))]
    (check,) = [one for one in validity([_record(rows)], plan, _facts(), AGREED) if one.check == BLIND]
    assert check.ok is False
    assert check.number == "Dice 0.190 against 0.200"
    assert "300 windows at eps 0.2" in check.detail


def test_flat_parameters_of_smooth_sets_are_no_masked_gradients():
    fields = [AttackProbe(attack="pgd", perturbation="deformation", eps=[0.1, 0.2], name="pgd-l2")]
    panel = _panel(zero=0.9, dice={"pgd-l2": [0.5, 0.2]}, plan=PLAN.model_copy(update={"probes": fields}))
    assert panel["Gradients are neither masked nor undefined"].ok is True


@pytest.mark.parametrize(
    ("stood", "ok"), [([1, 0], False), ([4, 3], False), ([5, 4], True), ([9, 7], False), ([20, 18], True)]
)
def test_few_margins_may_fall(stood, ok):
    panel = _panel(margins=stood, plan=MARGINS)
    assert panel[STAND].ok is ok


def test_probes_of_fewer_cases_are_compared_on_these():
    """On the hard second case FGSM alone would look stronger than PGD on the first."""
    both = {"fgsm-l2": [0.7], "pgd-l2": [0.5]}
    records = [_record(_ladders(both), case="easy"), _record(_ladders({"fgsm-l2": [0.1]}), case="hard")]
    panel = {check.check: check for check in validity(records, PLAN, _facts(), AGREED)}
    check = panel["FGSM is no stronger than PGD"]
    assert (check.ok, check.number) == (True, "Dice 0.700 against 0.500")


def test_margins_that_nobody_challenged_are_neither_green_nor_red():
    check = _panel(plan=MARGINS)[STAND]
    assert (check.ok, check.detail) == (None, "no checked case has a margin above 0. Raise `validity.cases`.")


def test_held_out_cases_that_are_missing_are_red_and_named():
    title = "No audited case was in the training set"
    facts = DataFacts.model_construct(
        cases=1,
        seen_in_training=[],
        training_known=True,
        labels={},
        held_out_missing=True,
        selected_because="Warning: none of them",
    )
    found = {check.check: check for check in validity([_record(_ladders(GOOD), CHECKS)], PLAN, facts, AGREED)}
    assert (found[title].ok, found[title].number) == (False, "no held-out case found")
    assert found[title].detail.startswith("none of them. ")
    assert found[title].said == "None of the cases that the model held out is among the data"


def test_one_structure_that_is_never_found_turns_the_panel_red():
    title = "Every structure is found in at least one case"
    check = _panel(clean=(0.9, 0.05))[title]
    assert (check.ok, check.number) == (False, "tumour at most 0.050")
    assert "label_map" in check.detail


def test_how_many_cases_a_structure_is_found_in_is_stated():
    records = [
        _record([], case=str(number), clean=(dice, 1.0), volumes=(3.0, 0.0))
        for number, dice in enumerate((0.9, 0.05, 0.1, 0.0))
    ]
    panel = {check.check: check for check in validity(records, PLAN, _facts(), AGREED)}
    check = panel["Every structure is found in at least one case"]
    assert (check.ok, check.number) == (True, "liver in 2 of 4")
    assert "look at" not in check.detail.lower()


def test_a_structure_is_judged_on_the_cases_that_hold_it():
    records = [
        _record([], case="a", clean=(0.9, 1.0), volumes=(3.0, 0.0)),
        _record([], case="b", clean=(0.02, 0.03), volumes=(3.0, 2.0)),
    ]
    assert missed(records, _facts()) == {"tumour": 0.03}
    more = _record([], case="c", clean=(0.02, 0.08), volumes=(3.0, 2.0))
    assert missed([*records, more], _facts()) == {"tumour": 0.08}
    assert missed(records[:1], _facts()) == {}


def _two(first, second, plan=PLAN):
    """Checks of two checked cases, of which each has a clean Dice and a Dice under the very large budget."""
    records = []
    for case, (clean, dice, volume) in zip("ab", (first, second), strict=True):
        record = _record(_ladders(GOOD), CHECKS | {"large_eps": dice}, case=case, volumes=(volume, volume))
        scores = record.clean | {"foreground_mean": {"dice": clean}}
        records.append(record.model_copy(update={"clean": scores}))
    return {check.check: check for check in validity(records, plan, _facts(), AGREED)}


def test_cases_that_fail_without_any_change_say_nothing_of_the_attack():
    assert _two((0.9, 0.0, 1.0), (0.8, 0.4, 1.0))[LARGE].number == "Dice 0.200"
    assert _two((0.05, 0.0, 1.0), (0.8, 0.4, 1.0))[LARGE].number == "Dice 0.400"
    panel = _two((0.05, 0.0, 1.0), (0.0, 0.0, 1.0))
    for name in (LARGE, TOLD, AFRESH, "Noise is weaker than FGSM"):
        assert panel[name].ok is None
        assert panel[name].detail.startswith("without any change Dice is below 0.1 or nothing is found in these cases")


def test_without_labels_empty_predictions_say_nothing_of_the_attack():
    plan = PLAN.against("prediction")
    assert _two((1.0, 0.0, 1.0), (1.0, 0.4, 0.0), plan)[LARGE].number == "Dice 0.000"
    assert _two((1.0, 0.0, 0.0), (1.0, 0.4, 0.0), plan)[LARGE].ok is None


@pytest.mark.parametrize(("gained", "ok"), [(0.92, True), (0.51, True), (0.3, False)])
def test_a_steep_gradient_is_no_mask_where_a_step_along_it_breaks_the_case(gained, ok):
    """Of a tiny structure a large step is predicted to gain 36, of a loss that ends at 1."""
    steps = [[9.0, gained, gained], [36.0, gained, gained]]
    assert _panel(checks=CHECKS | {"gains": steps})[TOLD].ok is ok
