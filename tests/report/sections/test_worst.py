from __future__ import annotations

from imaseg.report.sections.worst import build
from tests.report.vary import blocks_of, entries, texts, vary, with_dice


def test_the_first_to_fail_with_margin_and_picture(tiny):
    section = build([tiny])
    (table,) = blocks_of(section, "table")
    rows = {row[2].text: row for row in table.rows}
    assert [row[1] for row in texts(table)] == ["1", "2", "3", "4", "5", "6"]
    margins = {case.case: case.margin for case in tiny.summary.margins[0].per_case}
    (gallery,) = blocks_of(section, "gallery")
    shown = {sight.case: sight.key for sight in gallery.sights}
    assert len(shown) == 3
    for case, row in rows.items():
        assert row[6].text == f"{margins[case]:.3g}"
        assert row[7].link == shown.get(case, "")


def test_budgets_that_halve_below_between_and_above_the_audited_ones(tiny):
    clean = with_dice(tiny.summary, [0.8] * 6)
    rungs = [
        with_dice(entry, dice)
        for entry, dice in zip(
            entries(tiny, probe="pgd-l2"), ([0.1, 0.6, 0.7, 0.8, 0.8, 0.8], [0.1, 0.2, 0.5, 0.8, 0.8, 0.8]), strict=True
        )
    ]
    (table,) = blocks_of(build([vary(tiny, probes=rungs, metric_per_case=clean.metric_per_case)]), "table")
    assert [row[4] for row in texts(table)][:3] == ["below 0.1", "0.3", "above 0.5"]
    failing = with_dice(tiny.summary, [0.0] * 6)
    (table,) = blocks_of(build([vary(tiny, probes=rungs, metric_per_case=failing.metric_per_case)]), "table")
    assert table.rows == []
    assert "Left out: 6 of 6 cases fail without any change" in table.caption


def test_several_models_share_the_references_worst_case(tiny):
    shown = entries(tiny, probe="pgd-l2", eps=0.5)[0]
    worst = with_dice(shown, [0.5, 0.4, 0.3, 0.2, 0.1, 0.6])
    others = [entry for entry in tiny.summary.probes if entry is not shown]
    a, b = vary(tiny, "a", probes=[*others, worst]), vary(tiny, "b")
    common, first, _ = blocks_of(build([a, b]), "gallery")
    assert [sight.title for sight in common.sights] == ["a: phantom_005", "b: phantom_005"]
    assert [sight.case for sight in first.sights] == ["phantom_004", "phantom_003"]
    assert first.note.endswith("phantom_005 is shown above.")
    other_budget = vary(tiny, "b", showcase=tiny.summary.showcase.model_copy(update={"eps": 0.1}))
    assert [gallery.title for gallery in blocks_of(build([a, other_budget]), "gallery")] == ["a", "b"]


def test_of_cases_that_are_all_lost_the_picture_is_of_one_that_the_attack_lost(tiny):
    clean = with_dice(tiny.summary, [0.0, 0.2, 0.0, 0.9, 0.7, 0.0])
    shown = entries(tiny, probe="pgd-l2", eps=0.5)[0]
    probes = [with_dice(entry, [0.0] * 6) if entry is shown else entry for entry in tiny.summary.probes]
    audit = vary(tiny, probes=probes, metric_per_case=clean.metric_per_case)
    sights = blocks_of(build([audit]), "gallery")[0].sights
    assert [sight.case for sight in sights] == ["phantom_004", "phantom_005", "phantom_002"]


def test_a_picture_states_the_dice_of_its_case(tiny):
    sight = blocks_of(build([tiny]), "gallery")[0].sights[0]
    clean = next(case.dice for case in tiny.summary.metric_per_case if case.case == sight.case)
    attacked = next(c.dice for c in entries(tiny, probe="pgd-l2", eps=0.5)[0].metric_per_case if c.case == sight.case)
    assert f"Dice {clean:.3f}, unchanged; Dice {attacked:.3f}, attacked (eps 0.5 standard" in sight.facts
    assert all(panel.image.startswith("data:image/webp;base64,") for panel in sight.panels)


def test_without_pictures_and_attacks_there_is_no_such_section(tiny):
    assert blocks_of(build([vary(tiny, showcase=None)]), "gallery") == []
    assert build([vary(tiny, showcase=None, probes=[])]) is None
