from __future__ import annotations

from imaseg.report.sections.results import build
from imaseg.report.wording import short
from imaseg.results.base import Spread
from tests.report.vary import blocks_of, entries, texts, vary, with_dice, with_intervals


def said(audits):
    return [" ".join([sentence.text, *sentence.points]) for sentence in build(audits).sentences]


def falling(tiny, dice, clean=0.8):
    """An audit with one attack at budgets 1, 2, ... that leaves all cases this Dice."""
    template = entries(tiny, probe="pgd-l2")[0]
    rungs = [
        with_dice(template, [value] * 6).model_copy(
            update={"eps": float(eps), "eps_native": Spread(median=10.0 * eps, min=1.0 * eps, max=99.0 * eps)}
        )
        for eps, value in enumerate(dice, start=1)
    ]
    cleaned = with_dice(tiny.summary, [clean] * 6)
    update = {key: getattr(cleaned, key) for key in ("metric_per_case", "foreground_mean")}
    return vary(tiny, "a", probes=rungs, corruptions=[], **update)


def test_one_row_per_model_with_intervals_and_the_change_of_clean_dice(tiny):
    plain, tiny = tiny, with_intervals(tiny)
    lower = with_dice(tiny.summary, [case.dice - 0.1 for case in tiny.summary.metric_per_case])
    other = vary(tiny, "ima", metric_per_case=lower.metric_per_case, probes=tiny.summary.probes[:-1])
    first, *_ = blocks_of(build([tiny, other]), "table")
    assert first.head == ["Model", "n", "Clean", "eps 0.1 SD", "eps 0.5 SD", "Clean change vs tiny"]
    cells = dict(zip(first.head, first.rows[0], strict=True))
    entry = entries(tiny, probe="worst-case-l2", eps=0.1)[0]
    assert cells["eps 0.1 SD"].text == f"{entry.dice:.3f}"
    assert cells["eps 0.1 SD"].note == "[{:.3f}, {:.3f}]".format(*entry.dice_ci95)
    assert cells["Clean change vs tiny"].text == "reference"
    changed = dict(zip(first.head, first.rows[1], strict=True))
    assert changed["Clean change vs tiny"].text == "\N{MINUS SIGN}0.100"
    assert changed["eps 0.5 SD"].text == "not audited"
    few, *_ = blocks_of(build([plain]), "table")
    assert few.rows[0][2].note == "no interval below n = 7"
    assert "without intervals, which need 7, over 6 cases" in few.caption


def test_paired_differences_of_the_worst_attacks_stand_in_the_open_and_all_others_are_folded(tiny):
    tables = blocks_of(build([tiny, vary(tiny, "ima")]), "table")
    shown, *_, every = [table for table in tables if table.caption.startswith("Paired")]
    assert {row[1] for row in texts(shown)} == {"clean", "worst-case-l2", "pgd-gamma", "gamma", "blur"}
    assert {row[2] for row in texts(shown) if row[1] == "blur"} == {"severity 5"}
    assert len(every.rows) > len(shown.rows)
    assert {row[3] for row in texts(every)} >= {"Dice", "HD95 (mm)", "Calibration error"}


def test_every_probe_is_listed_with_its_settings_and_metrics(tiny):
    table = next(t for t in blocks_of(build([tiny]), "table") if t.caption.startswith("Every probe"))
    rows = {(row[1].split()[0], row[3].split()[0]): row for row in texts(table)}
    for entry in tiny.summary.probes:
        row = rows[entry.probe, short(entry.eps)]
        assert row[5] == f"{entry.dice:.3f}"
        assert f"{entry.foreground_mean['surface_dice']:.3f}" in row


def test_where_dice_halves(tiny):
    between = falling(tiny, [0.6, 0.2])  # 0.4 lies halfway between budgets 1 and 2
    half, left, _ = (said([between])[0] + ";").split(";")
    unit = "standard deviations of the image"
    assert half.endswith(
        f"half of the clean Dice is lost at 1.5 {unit} (15 grey levels at the median case, 1.5 to 148 over the cases)"
    )
    assert left.startswith(" 0.200 (")
    assert f"is lost below 1 {unit} (" in said([falling(tiny, [0.1])])[0]
    assert (
        "Dice stays above half of its clean value up to the largest budget tried, 2 "
        in said([falling(tiny, [0.7, 0.6])])[0]
    )
    assert "the L2 ball, the only set of perturbations attacked (0.200 left at 2 " in said([between])[1]
    assert "among 2 sets of perturbations" in said([tiny])[1]


def test_differences_between_models_are_paired_and_noted(tiny):
    a, b = falling(tiny, [0.6, 0.2]), vary(falling(tiny, [0.6, 0.3]), "b")
    assert "0.300 (95 % CI" not in said([a, b])[0]
    assert (
        "is left at 2 SD, +0.100 against a case by case (no interval: fewer than 7 cases or patients, n = 6)"
        in said([a, b])[0]
    )
    assert build([a, b]).notices == []
    fewer = [entry.model_copy(update={"steps": 5}) for entry in b.summary.probes[:1]]
    notices = build([a, vary(b, "b", probes=fewer)]).notices
    assert notices[0].startswith("pgd-l2 was run with different settings (a: objective dice, 3 steps")
    assert notices[1].startswith("The models were audited at different budgets of pgd-l2")
    lacking = vary(b, "b", probes=[])
    assert build([a, lacking]).notices == ["b was not audited with pgd-l2."]
    assert "b: not audited with this attack" in said([a, lacking])[0]


def test_methods_cite_what_was_run_and_leave_out_what_is_no_attack(tiny):
    section = build([tiny])
    text = " ".join(section.methods)
    assert "FGSM (Goodfellow et al. 2015) [objective dice, 1 step, 1 restart, seed 7]" in text
    assert "Gaussian noise [1 draw, seed 7]" in text
    assert "the worst case is the lowest Dice of each case over them" in text
    assert "worst case over all attacks [" not in text
    works = " ".join(section.works)
    assert "1412.6572" in works
    assert "1706.06083" in works
    preset = [
        e.model_copy(update={"attack": "apgd-segpgd", "objective": "segpgd"}) for e in entries(tiny, probe="pgd-gamma")
    ]
    other = build([vary(tiny, probes=preset)])
    assert "Madry" not in " ".join([*other.works, *other.methods])
    assert "Gu et al. 2022" in other.methods[0]


def test_without_probes_there_is_no_such_section(tiny):
    bare = vary(tiny, "bare", probes=[], corruptions=[])
    assert build([bare]) is None
    assert build([vary(tiny, "noise", probes=entries(tiny, attack="gaussian-noise"))]).sentences == []
    assert build([bare, vary(bare, "b")]).blocks[0].text == "Paired differences between models"
