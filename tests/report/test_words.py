from __future__ import annotations

import re

from imaseg.report.compare import all_series, ladder
from imaseg.report.methods import paragraph, works
from imaseg.report.notices import limits, notices
from imaseg.report.read import read_audits
from imaseg.report.words import settings, summary, validity


def said(audits):
    return [" ".join([sentence.text, *sentence.points]) for sentence in summary(audits)]


def test_one_model_in_six_sentences(write_audit):
    (audit,) = read_audits([write_audit("ima", cases=5, slices=False)])
    subject, clean, attacked, margins, price, checks = said([audit])
    assert "The model ima was audited on 5 cases of Hippocampus (selection: val)" in subject
    assert f"ima: {audit.summary.foreground_mean['dice']:.3f} (95 % CI" in clean
    probe = next(p for p in audit.summary.probes if p.probe == "pgd-l2" and p.eps == 0.052)
    assert f"{probe.foreground_mean['dice']:.3f} at 0.052" in attacked
    assert "Dice below 0.5" in margins
    assert "cannot say what robust training gained or cost" in price
    assert checks == "All 2 validity checks passed."


def test_price_and_gain_are_paired_differences(write_audit):
    def edit(summary_json, run):
        for case in summary_json["metric_per_case"]:
            case["metrics"]["foreground_mean"]["dice"] -= 0.02
        for probe in summary_json["probes"]:
            if probe["probe"] == "pgd-l2" and probe["eps"] == 0.052:
                for case in probe["metric_per_case"]:
                    case["metrics"]["foreground_mean"]["dice"] += 0.5

    audits = read_audits([write_audit("a", cases=4, slices=False), write_audit("b", cases=4, slices=False, edit=edit)])
    price = said(audits)[4]
    assert "Compared with a, case by case: b changes clean Dice by \N{MINUS SIGN}0.020" in price
    assert "Dice under pgd-l2 at 0.052 RMS per voxel by +0.500" in price


def test_models_on_disjoint_cases_are_not_compared(write_audit):
    def edit(summary_json, run):
        for case in summary_json["metric_per_case"]:
            case["case"] = "other_" + case["case"]

    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, edit=edit)])
    assert "b shares no case with it" in said(audits)[4]
    assert any("audited on different cases" in notice for notice in notices(audits))


def test_failed_and_missing_checks_are_said(write_audit):
    def fail(summary_json, run):
        summary_json["validity"][0]["ok"] = False

    def none(summary_json, run):
        summary_json["validity"] = []

    bad = read_audits([write_audit("bad", cases=2, slices=False, edit=fail)])
    mute = read_audits([write_audit("mute", cases=2, slices=False, edit=none)])
    assert validity(bad) == "1 of 2 validity checks failed: Noise is weaker than FGSM (bad)."
    assert "No validity checks were recorded" in validity(mute)
    assert validity(bad + mute).endswith("None were recorded for mute.")


def test_a_model_without_attack_or_margins_is_named(write_audit):
    def edit(summary_json, run):
        summary_json["probes"] = [p for p in summary_json["probes"] if p["probe"] != "pgd-l2"]
        summary_json["margins"] = []

    audits = read_audits([write_audit(name, cases=17, slices=False, edit=e) for name, e in (("a", None), ("b", edit))])
    text = said(audits)
    assert any("b: not audited with this attack" in sentence for sentence in text)
    assert any("b: not measured" in sentence for sentence in text)
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


def test_every_work_listed_is_cited_in_the_text(write_audit):
    audits = read_audits([write_audit("standard", cases=3, slices=False)])
    text = paragraph(audits)
    for work in works(audits):
        author, year = work.split()[0], re.findall(r"20\d\d", work)[0]
        assert re.search(rf"{author} (et al\.|and \w+) {year}", text), work


def test_works_that_were_not_used_are_not_cited(write_audit):
    def edit(summary_json, run):
        summary_json["probes"] = [p for p in summary_json["probes"] if "noise" in p["attack"]]
        summary_json["margins"] = []

    cited = " ".join(works(read_audits([write_audit("standard", cases=3, slices=False, edit=edit)])))
    assert "Madry" not in cited
    assert "Liang" not in cited
