"""Sections of one table or list each."""

from __future__ import annotations

import pytest

from imaseg.report.sections import budgets, build_sections, certified, clean, files, sizes
from imaseg.report.sections.context import limits, methods, provenance, summary, validity
from imaseg.report.wording import short
from imaseg.results.attack import AttackRow
from imaseg.results.base import MEAN
from tests.report.vary import blocks_of, entries, on_files, texts, vary, with_dice


def collected(module, *audits):
    return module.collect(audits, build_sections(audits))


def test_certified_radii_rise_and_say_what_they_guarantee(tiny):
    (table,) = blocks_of(certified.build([tiny, vary(tiny, "ima")]), "table")
    entry = tiny.summary.certified[0]
    assert [row[0] for row in texts(table)] == ["tiny", "ima"] * len(entry.radii)
    assert [row[3] for row in texts(table)[::2]] == [f"{dice:.3f}" for dice in entry.dice_at_radius]
    assert "90 noisy copies, family-wise error rate 0.001 per case" in table.caption
    assert certified.build([vary(tiny, certified=[])]) is None


def test_files_by_stage_case_and_image(tiny):
    means, cases, images = blocks_of(files.build([tiny]), "table")
    entry = entries(tiny, probe="pgd-l2", eps=0.5)[0]
    stages = ("clean", "attacked", "reread", "clean_native", "reread_native")
    row = next(row for row in texts(means) if row[2] == "mean over foreground")
    assert row[4:] == [f"{entry.written['dice'][MEAN][stage]:.3f}" for stage in stages]
    assert len(cases.rows) == len(images.rows) == 6
    written = tiny.cases[0].rows_of(AttackRow, "pgd-l2")[-1].written
    first = texts(cases)[0]
    assert first[1:7] == ["phantom_001", *(f"{written.dice[MEAN][stage]:.3f}" for stage in stages)]
    assert first[-1] == (written.note or "held")
    assert texts(images)[0][3] == f"{written.images[0].changed:,} of {written.images[0].wanted:,}"
    assert files.build([vary(tiny, probes=entries(tiny, attack="fgsm"))]) is None


def test_clean_metrics_of_every_structure(tiny):
    section = clean.build([tiny, vary(tiny, "ima")])
    (table,) = blocks_of(section, "table")
    assert [row[1] for row in texts(table)] == ["Front", "Back", "mean over foreground"] * 2
    assert texts(table)[0][2] == f"{tiny.summary.mean['1']['dice']:.3f}"
    said = section.sentences[0].points
    assert said[0].startswith(f"tiny: {tiny.summary.dice:.3f} (no interval: fewer than 7 cases or patients, n = 6)")
    assert "+0.000 against tiny case by case" in said[1]


def test_undefined_values_are_counted_and_named_as_a_limit(tiny):
    lost = vary(tiny, foreground_mean=tiny.summary.foreground_mean | {"hd95": None, "hd95_undefined": 2.0})
    section = clean.build([lost])
    row = texts(section.blocks[0])[-1]
    assert (row[3], row[-1]) == ("undefined", "HD95 2")
    assert "leave those cases out" in section.limits[0]
    erased = vary(tiny, foreground_mean=tiny.summary.foreground_mean | {"hd95": 9.0, "hd95_penalised": 2.0})
    row = texts(clean.build([erased]).blocks[0])[-1]
    assert (row[3], row[-1]) == ("9.00", "HD95 2 penalised")
    kept = {key: value for key, value in tiny.summary.foreground_mean.items() if not key.endswith("_undefined")}
    blocks = {k: {m: v for m, v in b.items() if not m.endswith("_undefined")} for k, b in tiny.summary.mean.items()}
    assert clean.build([vary(tiny, foreground_mean=kept, mean=blocks, probes=[])]).limits == []


def test_sizes_by_structure_and_group(tiny):
    (table,) = blocks_of(sizes.build([tiny]), "table")
    group = tiny.summary.by_size[0]
    row = table.rows[0]
    assert [cell.text for cell in row[:4]] == ["tiny", tiny.structure(group.structure), group.group, str(group.n)]
    assert row[2].note.endswith(" ml")
    shown = {(probe.probe, probe.eps): f"{probe.dice:.3f}" for probe in group.probes}
    assert table.head[5:] == [
        f"{probe} at {eps:g}{' SD' if probe == 'worst-case-l2' else ' relative'}"
        for probe, eps in sorted(shown)
        if probe in ("worst-case-l2", "pgd-gamma")
    ]
    assert row[-1].text == shown["worst-case-l2", 0.5]
    assert sizes.build([vary(tiny, by_size=[])]) is None


def test_checks_have_marks_numbers_and_models(tiny):
    checks = tiny.summary.validity[:3]
    states = [
        c.model_copy(update={"ok": ok, "number": n})
        for c, ok, n in zip(checks, (True, False, None), ("1", "2", "not run"), strict=True)
    ]
    section = validity.build([vary(tiny, validity=states), vary(tiny, "b", validity=states[:1])])
    (panel,) = section.blocks
    assert [name for name, _ in panel.checks] == [check.check for check in checks]
    assert [verdicts[0].state for _, verdicts in panel.checks] == ["pass", "fail", "grey"]
    assert [verdicts[0].number for _, verdicts in panel.checks] == ["1", "2", ""]
    assert panel.checks[1][1][1].number == "not part of this audit"
    assert len(section.limits) == 1
    assert validity.build([vary(tiny, validity=[])]) is None


def test_budgets_in_all_units(tiny):
    (table,) = blocks_of(budgets.build([tiny]), "table")
    rows = {(row[1], row[2].split()[0]): row for row in texts(table)}
    assert set(rows) == {("worst-case-l2", "0.1"), ("worst-case-l2", "0.5"), ("pgd-gamma", "0.3")}
    entry = entries(tiny, probe="worst-case-l2", eps=0.5)[0]
    assert rows["worst-case-l2", "0.5"][3] == f"{entry.moved} of 6"
    assert float(rows["worst-case-l2", "0.5"][4]) == pytest.approx(entry.sizes["rms"], rel=0.01)
    assert float(rows["worst-case-l2", "0.5"][-1].split()[0]) == pytest.approx(entry.eps_native.median, rel=0.01)
    assert rows["pgd-gamma", "0.3"][-1] == "no intensity"
    assert budgets.build([vary(tiny, probes=[])]) is None
    old = entry.model_copy(update={"moved": None, "sizes": dict.fromkeys(entry.sizes, 0.0)})
    (table,) = blocks_of(budgets.build([vary(tiny, probes=[old])]), "table")
    assert table.rows[0][3].note == "medians of 0: most cases were not changed"


def test_every_work_listed_is_cited_in_the_methods(tiny):
    section = collected(methods, tiny)
    text, works = section.blocks[0].text, section.blocks[2].items
    assert len(works) > 8
    for work in works:
        author, year = (
            work.split()[0],
            next(word.strip(".;:") for word in work.split() if word[:2] in ("19", "20") and word[:4].isdigit()),
        )
        assert f"{author} et al. {year[:4]}" in text or f"{author} and " in text, work
    trained = tiny.summary.model.model_copy(update={"trained_by": "ima"})
    assert (
        "(Ma and Liang 2023): ima." in collected(methods, vary(tiny, "ima", model=trained, margins=[])).blocks[0].text
    )


def test_limits_follow_what_was_run(tiny):
    (bullets,) = collected(limits, tiny).blocks
    text = " ".join(bullets.items)
    for words in (
        "upper bound of the worst case",
        "simulations of faults",
        "smoothed by noise",
        "from one seed (7)",
        "on 6 cases",
    ):
        assert words in text
    assert "not covered here" not in text
    bare = " ".join(collected(limits, vary(tiny, corruptions=[], probes=[], margins=[])).blocks[0].items)
    assert "not covered here" in bare
    assert "upper bound of the worst case" not in bare


def test_the_summary_says_first_what_was_audited(tiny):
    sentences = blocks_of(collected(summary, tiny), "sentences")[0].sentences
    assert (
        sentences[0].text
        == "The model tiny was audited on 6 cases of Phantom (selection: all); structures: Front and Back."
    )
    unnamed = tiny.summary.data.model_copy(update={"labels": {"1": "1", "2": "Back"}})
    assert vary(tiny, data=unnamed).structure("1") == "class 1"
    (said, *_) = blocks_of(collected(summary, vary(tiny, data=unnamed)), "sentences")[0].sentences
    assert said.text.endswith("structures: class 1 and Back.")
    assert sentences[1].text == "Mean foreground Dice on unchanged images:"
    assert "validity checks" in sentences[-1].text


def test_few_cases_and_held_out_ones_that_are_missing_are_said(tiny):
    data = {"cases": 4, "held_out_missing": True, "selected_because": "Warning: none of the 2 is among these data."}
    audit = vary(tiny, "a", data=tiny.summary.data.model_copy(update=data | {"seen_in_training": []}))
    text = " ".join(blocks_of(collected(summary, audit), "notice")[0].items)
    assert "a: none of the 2 is among these data." in text
    assert "a: only 4 cases audited; fewer than 5 say little about other patients." in text


def test_notices_tell_what_spoils_a_comparison(tiny):
    seen = tiny.summary.data.model_copy(update={"seen_in_training": ["phantom_001"]})
    unknown = tiny.summary.data.model_copy(update={"seen_in_training": [], "training_known": False, "cases": 5})
    failed = [{"case": "case_009", "reason": "truncated"}]
    run = type(tiny.run).model_validate(tiny.run.model_dump() | {"failed": failed})
    shorter = with_dice(tiny.summary, [0.5] * 6).metric_per_case[1:]
    a = vary(tiny, "a", data=seen, run={"failed": run.failed})
    other = tiny.summary.model.model_copy(update={"sha256": "0" * 64})
    changed = {"data_sha256": "f" * 64, "imaseg": "9"}
    b = vary(tiny, "b", data=unknown, metric_per_case=shorter, model=other, run=changed)
    found = collected(summary, a, b)
    text = " ".join(blocks_of(found, "notice")[0].items)
    for words in (
        "a: 1 case could not be audited (case_009: truncated).",
        "a: 1 of 6 audited cases were in the training set (phantom_001)",
        "b: the checkpoint does not say on which cases it was trained",
        "data hashes differ",
        "audited on different cases",
        "different versions of imaseg",
    ):
        assert words in text
    assert (
        "on different cases: a on 6 cases of Phantom; b on 5 cases of Phantom"
        in blocks_of(found, "sentences")[0].sentences[0].text
    )


def test_equal_sound_audits_give_no_notice(tiny):
    data = tiny.summary.data.model_copy(update={"seen_in_training": [], "training_known": True})
    a, b = (vary(tiny, name, data=data, margins=[]) for name in "ab")
    assert not blocks_of(collected(summary, a, b), "notice")


def test_provenance_has_a_column_per_model_and_the_plans(tiny):
    table, plan, _ = provenance.build([tiny, vary(tiny, "b", run={"case_seconds": None, "processes": 0})]).blocks
    rows = {row[0]: row[1:] for row in texts(table)}
    assert rows["Model SHA-256"] == [tiny.summary.model.sha256] * 2
    assert rows["Time over all cases, of all processes (s)"] == [short(tiny.run.case_seconds), "not recorded"]
    assert rows["Processes that did cases"] == ["1", "not recorded"]
    assert '"name": "tiny"' in plan.blocks[0].text


def test_sizes_hold_dice_on_the_grid_of_the_files(tiny):
    audit = on_files(tiny, 0.2)
    groups = [
        group.model_copy(
            update={
                "clean_native": 0.25,
                "probes": [probe.model_copy(update={"native_dice": 0.125}) for probe in group.probes],
            }
        )
        for group in audit.summary.by_size
    ]
    section = sizes.build([vary(audit, by_size=groups)])
    (table,) = blocks_of(section, "table")
    assert [cell.note for cell in table.rows[0][4:]] == ["on files 0.250", *["on files 0.125"] * (len(table.head) - 5)]
    assert section.lead.endswith("the voxels that the files have.")
