"""The evidence sheet: every number is the audit's, blanks where it says nothing, no block of an invalid audit."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from imaseg import InputError
from imaseg.report import read_audits
from imaseg.report.compare import ladder, strongest
from imaseg.report.evidence import BLANK, evidence, write_evidence


def valid(summary, run):
    """All checks pass."""
    summary["valid"] = True
    for check in summary["validity"]:
        check["ok"] = True


@pytest.fixture
def sound(write_variant):
    return read_audits([write_variant("sound", valid)])[0]


def answers(text, where):
    return [line.split(" | ")[-1].strip(" |") for line in text.splitlines() if line.startswith(f"| {where} |")]


def blocks(text):
    card, bundle = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("yaml", "json"))
    return yaml.safe_load(card), json.loads(bundle)


def test_accuracy_is_the_clean_dice_with_its_interval(sound):
    (accuracy,) = answers(evidence([sound]), "Art. 15(1)")
    assert accuracy.startswith(f"Dice {sound.summary.dice:.3f}")


def test_both_blocks_hold_the_clean_and_the_attacked_dice(sound):
    card, bundle = blocks(evidence([sound]))
    (result,) = card["model-index"][0]["results"]
    values = {one["type"]: one["value"] for one in result["metrics"]}
    assert values == bundle["eval_metrics"]
    assert values["mean_dice"] == round(sound.summary.dice, 4)
    points = [point for series in strongest([sound]) for point in ladder(sound, series)]
    assert len(points) > 0
    assert {round(point.dice, 4) for point in points} <= {*values.values()}
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in values)


def test_what_no_audit_says_is_left_blank(sound):
    text = evidence([sound])
    assert answers(text, "Robustness 2") == [BLANK]
    assert answers(text, "Art. 15(5)")[1] == BLANK
    assert answers(text, "Acceptance") == [BLANK]


def test_without_corruptions_resilience_to_faults_is_blank(write_variant):
    def bare(summary, run):
        valid(summary, run)
        summary["corruptions"], summary["degradation"] = [], None

    assert answers(evidence(read_audits([write_variant("bare", bare)])), "Art. 15(4)")[0] == BLANK


def test_an_invalid_audit_says_so_and_gives_no_block(write_variant):
    def broken(summary, run):
        summary["valid"] = False

    text = evidence(read_audits([write_variant("broken", broken)]))
    assert "calls itself invalid" in text
    assert "```" not in text
    assert text.count("left out, since the audit calls itself invalid") == 2
    rows = [line.split("|")[3].strip() for line in text.splitlines() if line.startswith("| ") and line.count("|") == 4]
    said = [row for row in rows if row not in (BLANK, "what the audits say", "---")]
    assert said
    assert all(part.startswith("(invalid audit) ") for row in said for part in row.split("<br>"))


def test_training_cases_are_told(write_variant):
    def seen(summary, run):
        valid(summary, run)
        summary["data"]["seen_in_training"] = [summary["metric_per_case"][0]["case"]]

    (said,) = answers(evidence(read_audits([write_variant("seen", seen)])), "Test data")
    assert said == "1 of these cases were in the training set"


def test_several_audits_are_told_apart(sound, write_variant):
    other = read_audits([write_variant("other", valid)])[0]
    text = evidence([sound, other])
    (accuracy,) = answers(text, "Art. 15(1)")
    assert "sound: Dice" in accuracy
    assert "other: Dice" in accuracy


def test_it_claims_nothing_and_names_no_date_of_law(sound):
    text = evidence([sound])
    assert "claims no conformity" in text
    assert not re.search(r"\b20\d\d\b", text.replace(sound.run.imaseg, "").split("## EU AI Act")[1])


def test_it_is_written_whole_and_not_over_a_folder(real_audit, tmp_path):
    written = write_evidence([real_audit], tmp_path / "sheet" / "evidence.md")
    assert written.read_text().startswith("# Evidence: ")
    with pytest.raises(InputError, match="must be a file, got a folder"):
        write_evidence([real_audit], tmp_path)


def test_penalties_and_checks_that_were_not_run_are_counted(write_variant):
    def partly(summary, run):
        valid(summary, run)
        summary["validity"][0]["ok"] = None
        summary["foreground_mean"] |= {"hd95_penalised": 3.0, "precision_undefined": 2.0}

    audit = read_audits([write_variant("partly", partly)])[0]
    text, n = evidence([audit]), len(audit.summary.validity)
    assert f"{n - 1} of {n} passed, 1 not run" in text
    (accuracy,) = answers(text, "Art. 15(1)")
    found = {line.split()[0]: line for line in accuracy.split("<br>")}
    assert "(3 penalised" in found["HD95"]
    assert "(2 undefined)" in found["Precision"]
    assert "(" not in found["Dice"]
