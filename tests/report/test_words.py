from __future__ import annotations

import re

import pytest

from imaseg.report.compare import all_series, ladder
from imaseg.report.methods import paragraph, works
from imaseg.report.notices import limits, notices
from imaseg.report.numerals import short
from imaseg.report.read import read_audits
from imaseg.report.words import settings, summary, validity


def said(audits):
    return [" ".join([sentence.text, *sentence.points]) for sentence in summary(audits)]


def halve_by_hand(audit):
    """Where the mean Dice under PGD reaches half of the clean one, on the segment found by hand."""
    clean = audit.summary.foreground_mean["dice"]
    rungs = [(0.0, clean)] + [(p.eps, p.foreground_mean["dice"]) for p in audit.summary.probes if p.probe == "pgd-l2"]
    place = next(k for k, (_, dice) in enumerate(rungs) if dice <= clean / 2)
    (x0, y0), (x1, y1) = rungs[place - 1], rungs[place]
    return x0 + (y0 - clean / 2) / (y0 - y1) * (x1 - x0)


def test_one_model_in_five_sentences(write_audit):
    (audit,) = read_audits([write_audit("ima", cases=5, slices=False)])
    subject, clean, broken, weakest, checks = said([audit])
    assert "The model ima was audited on 5 cases of Hippocampus (selection: val)" in subject
    assert f"unchanged images: {audit.summary.foreground_mean['dice']:.3f} (95 % CI" in clean
    half = halve_by_hand(audit)
    # 60 to 80000 native units per unit of the model's input, 240 at the median case
    assert f"half of the clean Dice is lost at: {short(half)} RMS per voxel ({short(240 * half)} in the" in broken
    assert f"{short(60 * half)} to {short(80000 * half)} over the cases" in broken
    probe = next(p for p in audit.summary.probes if p.probe == "pgd-l2" and p.eps == 0.052)
    assert f"{probe.foreground_mean['dice']:.3f} (95 % CI" in broken
    assert "is left at 0.052" in broken
    assert "(no corruption was audited): the L2 ball, the only set of perturbations attacked" in weakest
    assert checks == "All 2 validity checks passed."


def test_the_weakest_set_and_corruption_are_named(write_audit):
    def edit(summary_json, run):
        gamma = [dict(p, probe="pgd-gamma", perturbation="gamma", unit="relative") for p in summary_json["probes"][20:]]
        for probe in gamma:
            probe["foreground_mean"] = {"dice": 0.7}
        summary_json["probes"] += gamma

    (audit,) = read_audits([write_audit("a", cases=3, slices=False, parts=True, edit=edit)])
    weakest = said([audit])[3]
    last = next(p for p in audit.summary.probes if p.probe == "pgd-l2" and p.eps == 0.1)
    assert f"the L2 ball, among 2 sets of perturbations ({last.foreground_mean['dice']:.3f} left at 0.1 RMS" in weakest
    clean = audit.summary.foreground_mean["dice"]
    assert f"Motion, among 3 corruptions ({clean * (1 - 0.6 * 0.6):.3f} left" in weakest
    assert f"{clean * 0.4:.3f} at severity 5" in weakest


def test_a_model_that_never_halves_is_said_to_hold(write_audit):
    (audit,) = read_audits([write_audit("a", cases=3, slices=False, slope=1.0)])
    assert "half of the clean Dice is lost at: no budget up to 0.1 RMS per voxel" in said([audit])[2]


def test_no_budget_is_stated_that_lies_below_the_smallest_audited(write_audit):
    def edit(summary_json, run):
        for probe in summary_json["probes"]:
            if probe["probe"] == "pgd-l2":
                probe["foreground_mean"]["dice"] = 0.0

    (audit,) = read_audits([write_audit("a", cases=3, slices=False, edit=edit)])
    broken = said([audit])[2]
    assert "half of the clean Dice is lost at: less than 0.013 RMS per voxel (" in broken
    assert "the smallest budget" in broken


def test_price_and_gain_are_paired_differences(write_audit):
    def edit(summary_json, run):
        for case in summary_json["metric_per_case"]:
            case["metrics"]["foreground_mean"]["dice"] -= 0.02
        for probe in summary_json["probes"]:
            if probe["probe"] == "pgd-l2" and probe["eps"] == 0.052:
                for case in probe["metric_per_case"]:
                    case["metrics"]["foreground_mean"]["dice"] += 0.5

    audits = read_audits([write_audit("a", cases=4, slices=False), write_audit("b", cases=4, slices=False, edit=edit)])
    text = said(audits)
    assert "\N{MINUS SIGN}0.020 against a case by case (95 % CI" in text[1]
    assert "is left at 0.052, +0.500 against a case by case (95 % CI" in text[2]


def test_models_on_disjoint_cases_are_not_compared(write_audit):
    def edit(summary_json, run):
        for case in summary_json["metric_per_case"]:
            case["case"] = "other_" + case["case"]

    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, edit=edit)])
    assert "no case shared with a" in said(audits)[1]
    assert any("audited on different cases" in notice for notice in notices(audits))


def test_failed_and_missing_checks_are_said(write_audit):
    def fail(summary_json, run):
        summary_json["validity"][0]["ok"] = False

    def none(summary_json, run):
        summary_json["validity"] = []

    def unknown(summary_json, run):
        summary_json["validity"][0]["ok"] = None

    bad = read_audits([write_audit("bad", cases=2, slices=False, edit=fail)])
    mute = read_audits([write_audit("mute", cases=2, slices=False, edit=none)])
    grey = read_audits([write_audit("grey", cases=2, slices=False, edit=unknown)])
    assert validity(bad) == "1 of 2 validity checks failed: Noise is weaker than FGSM."
    assert "No validity checks were recorded" in validity(mute)
    assert validity(bad + mute).endswith("failed: Noise is weaker than FGSM (bad). None were recorded for mute.")
    assert validity(grey) == (
        "1 of 2 validity checks passed and none failed. 1 could not be run: Noise is weaker than FGSM."
    )


def test_a_model_without_attack_or_margins_is_named(write_audit):
    def edit(summary_json, run):
        summary_json["probes"] = [p for p in summary_json["probes"] if p["probe"] != "pgd-l2"]
        summary_json["margins"] = []

    audits = read_audits([write_audit(name, cases=17, slices=False, edit=e) for name, e in (("a", None), ("b", edit))])
    assert any("b: not audited with this attack" in sentence for sentence in said(audits))
    assert "b was not audited with pgd-l2." in notices(audits)


def test_notices_tell_what_spoils_a_comparison(write_audit):
    def edit(summary_json, run):
        summary_json["data"]["seen_in_training"] = ["case_001"]
        summary_json["probes"][-1]["steps"] = 5
        run.update(data_sha256="f" * 64, failed=[{"case": "case_009", "reason": "truncated"}])

    def steps(summary_json, run):
        for probe in summary_json["probes"]:
            if probe["probe"] == "pgd-l2":
                probe["steps"] = 5
        edit(summary_json, run)

    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, edit=steps)])
    text = " ".join(notices(audits))
    assert "b: 1 case could not be audited (case_009: truncated)." in text
    assert "b: 1 audited case also seen in training (case_001)" in text
    assert "data hashes differ" in text
    assert "pgd-l2 was run with different settings (a: objective dice, 20 steps" in text


def test_equal_audits_give_no_notice(write_audit):
    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, seed=2)])
    assert notices(audits) == []


def test_limits_follow_the_numbers(write_audit):
    def edit(summary_json, run):
        summary_json["margins"][0]["censored"] = 1
        summary_json["mean"]["1"]["hd95_undefined"] = 2.0

    plain = " ".join(limits(read_audits([write_audit("a", cases=3, slices=False, slope=90.0)])))
    special = " ".join(limits(read_audits([write_audit("b", cases=3, slices=False, edit=edit)])))
    assert "upper bound of the worst case" in plain
    assert "not proven robust" in special
    assert "leave those cases out" in special
    assert "on 3 cases" in plain


def test_methods_cite_what_was_used(write_audit):
    audits = read_audits([write_audit("ima", cases=3, slices=False)])
    text = paragraph(audits)
    for fact in ("imaseg 0.1.0", "Madry et al. 2018", "Goodfellow et al. 2015", "Ma and Liang 2023", "seed 7"):
        assert fact in text
    cited = " ".join(works(audits))
    for identifier in ("1412.6572", "1706.06083", "10.1016/j.cmpb.2023.107687", "2211.02701", "1607.02533"):
        assert identifier in cited


def test_noise_has_draws_not_steps(write_audit):
    def edit(summary_json, run):
        summary_json["probes"][0].update(objective="dice", steps=1, restarts=2)

    (audit,) = read_audits([write_audit("standard", cases=3, slices=False, edit=edit)])
    assert settings(ladder(audit, all_series([audit])[0])[0]) == "2 draws, seed 7"


def test_works_that_were_not_used_are_not_cited(write_audit):
    def edit(summary_json, run):
        summary_json["probes"] = [p for p in summary_json["probes"] if "noise" in p["attack"]]
        summary_json["margins"] = []

    cited = " ".join(works(read_audits([write_audit("standard", cases=3, slices=False, edit=edit)])))
    assert "Madry" not in cited
    assert "Liang" not in cited


def test_methods_and_limits_follow_the_parts_that_were_run(write_audit):
    (audit,) = read_audits([write_audit("a", cases=3, slices=False, parts=True, edit=only_motion)])
    text, cited = paragraph([audit]), " ".join(works([audit]))
    for fact in (
        "(Motion)",
        "TorchIO (P\u00e9rez-Garc\u00eda et al. 2021)",
        "5 levels of severity",
        "Boone et al. 2023",
    ):
        assert fact in text
    for fact in ("Fischer et al. 2021; standard deviation 0.1, 100 draws", "Guo et al. 2017", "tolerance of 2 mm"):
        assert fact in text
    for identifier in ("10.1016/j.cmpb.2021.106236", "10.1016/j.neuroimage.2023.120289", "1706.04599"):
        assert identifier in cited
    said_limits = " ".join(limits([audit]))
    assert "simulations of faults, one at a time" in said_limits
    assert "model smoothed by noise" in said_limits
    assert "not covered here" not in said_limits


def only_motion(summary_json, run):
    summary_json["corruptions"] = [one for one in summary_json["corruptions"] if one["corruption"] == "motion"]


def test_torchio_is_cited_only_where_it_was_used(write_audit):
    def edit(summary_json, run):
        summary_json["corruptions"] = [one for one in summary_json["corruptions"] if one["corruption"] == "gamma"]

    audits = read_audits([write_audit("a", cases=3, slices=False, parts=True, edit=edit)])
    assert "TorchIO" not in paragraph(audits) + " ".join(works(audits))


@pytest.mark.parametrize("parts", [False, True])
def test_every_work_listed_is_cited_in_the_text(write_audit, parts):
    audits = read_audits([write_audit("standard", cases=3, slices=False, parts=parts)])
    text = paragraph(audits)
    for work in works(audits):
        author, year = work.split()[0], re.findall(r"20\d\d", work)[0]
        assert re.search(rf"{author} (et al\.|and \w+) {year}", text), work


def test_published_attacks_are_cited_by_their_presets_and_the_worst_case_is_explained(write_audit):
    def edit(summary_json, run):
        for probe in summary_json["probes"]:
            if probe["probe"] == "fgsm-l2":
                probe.update(probe="sea-l2", attack="sea")
            if probe["probe"] == "ifgsm-l2":
                probe.update(probe="apgd-ce-l2", attack="apgd-ce", objective="segpgd")
        best = [p | {"probe": "worst-case-l2", "attack": "worst-case"} for p in summary_json["probes"][20:]]
        summary_json["probes"] += [p | {"members": ["pgd-l2", "sea-l2"]} for p in best]

    audits = read_audits([write_audit("a", cases=3, slices=False, edit=edit)])
    text, cited = paragraph(audits), " ".join(works(audits))
    assert "sea (Croce et al. 2024) [" in text
    assert "apgd-ce (Croce and Hein 2020 and Gu et al. 2022) [" in text
    assert "the worst case is the lowest Dice of each case over them" in text
    assert "worst case over all attacks [" not in text
    for identifier in ("2306.12941", "2003.01690", "2207.12391"):
        assert identifier in cited
