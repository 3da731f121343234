from __future__ import annotations

import pytest

from imaseg.report.sections.corruptions import build
from tests.report.vary import blocks_of, on_files, texts, vary, with_dice

HALVED = "\N{BLACK DOWN-POINTING TRIANGLE}"


def heat_map(*audits):
    (heat,) = [table for table in blocks_of(build(audits), "table") if table.style == "heat"]
    return heat


def corrupted(tiny, **dice):
    """The audit with this Dice of all cases, by corruption and severity; the clean Dice is 0.8."""
    entries = [
        with_dice(e, [dice[e.corruption][e.severity]] * 6)
        for e in tiny.summary.corruptions
        if e.severity in dice[e.corruption]
    ]
    clean = with_dice(tiny.summary, [0.8] * 6)
    return vary(tiny, "a", corruptions=entries, metric_per_case=clean.metric_per_case)


def test_the_costliest_stands_first_and_halved_dice_is_marked(tiny):
    audit = corrupted(tiny, gamma={1: 0.8, 5: 0.6}, blur={1: 0.7, 5: 0.4})
    heat = heat_map(audit)
    assert heat.head == ["Corruption", "Severity 1", "Severity 5", "Degradation", "of the clean Dice"]
    assert [row[0].text for row in heat.rows] == ["Blur", "Gamma"]
    assert [[cell.text for cell in row[1:3]] for row in heat.rows] == [["0.700", f"0.400 {HALVED}"], ["0.800", "0.600"]]
    assert heat.rows[1][1].colours.startswith("background:rgb(247,251,255)")
    score = tiny.summary.degradation.per_corruption["blur"]
    assert heat.rows[0][3].text == f"{score:.3f}".replace("-", "\N{MINUS SIGN}")
    (sentence,) = build([audit]).sentences
    assert sentence.points == (
        "Blur, among 2 corruptions (0.550 left of 0.800, averaged over its severities, 0.400 at severity 5)",
    )


def test_that_no_corruption_costs_dice_is_said(tiny):
    (sentence,) = build([corrupted(tiny, gamma={1: 0.8, 5: 0.82}, blur={1: 0.85, 5: 0.9})]).sentences
    assert sentence.points == (
        "none of 2 corruptions costs any (Gamma: 0.810 left of 0.800, averaged over its severities)",
    )


def test_models_share_the_name_of_a_corruption_and_gaps_are_said(tiny):
    full, gap = corrupted(tiny, gamma={1: 0.8, 5: 0.6}, blur={1: 0.7, 5: 0.4}), corrupted(tiny, gamma={1: 0.2}, blur={})
    heat = heat_map(full, vary(gap, "b", degradation=None))
    rows = {(row[0], row[1]): row[2:] for row in texts(heat)}
    assert list(rows) == [("Gamma", "a"), ("Gamma", "b"), ("Blur", "a"), ("Blur", "b")]
    assert rows["Gamma", "b"] == [f"0.200 {HALVED}", "not audited", "undefined", "undefined"]


@pytest.mark.parametrize("lost", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_numbers_stand_out_on_every_colour(tiny, lost):
    audit = corrupted(tiny, gamma={1: 0.8 * (1 - lost)}, blur={})
    paper, ink = heat_map(audit).rows[0][1].colours.removeprefix("background:rgb(").split(");color:")

    def light(channels):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(a * b for a, b in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    paper = light([int(value) for value in paper.split(",")])
    ink = light([int(ink[k : k + 2], 16) for k in (1, 3, 5)])
    assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) >= 4.5


def test_every_severity_with_its_parameters_and_the_scores(tiny):
    section = build([tiny])
    _, scores, severities = blocks_of(section, "table")
    assert scores.rows[0][1].text == f"{tiny.summary.degradation.mean:.3f}".replace("-", "\N{MINUS SIGN}")
    rows = {(row[1].text, row[2].text): row for row in severities.rows}
    for entry in tiny.summary.corruptions:
        row = rows[entry.title, str(entry.severity)]
        assert row[3].text.split()[0] == {"gamma": "gamma", "blur": "SD"}[entry.corruption]
        assert row[6].text == f"{entry.dice:.3f}"
    assert "TorchIO" in section.methods[0]
    only_gamma = [e for e in tiny.summary.corruptions if e.corruption == "gamma"]
    other = build([vary(tiny, corruptions=only_gamma)])
    assert "TorchIO" not in other.methods[0]
    assert ("torchio" in section.works, "torchio" in other.works) == (True, False)
    assert build([vary(tiny, corruptions=[])]) is None


def test_a_corruption_at_its_limit_is_marked(tiny):
    entries = [e.model_copy(update={"reached": e.n - 2 if e.severity == 5 else e.n}) for e in tiny.summary.corruptions]
    audit = vary(tiny, corruptions=entries)
    heat = heat_map(audit)
    assert {row[2].note for row in heat.rows} == {"limit reached in 2 of 6"}
    assert {row[1].note for row in heat.rows} == {""}
    assert "Limit reached: " in heat.caption
    severities = blocks_of(build([audit]), "table")[-1]
    assert {row[4].note for row in severities.rows if row[2].text == "5"} == {"limit reached in 2 of 6"}


def test_a_loss_is_stated_as_a_share_of_the_clean_dice(tiny):
    heat = heat_map(tiny)
    place = heat.head.index("of the clean Dice")
    relative = tiny.summary.degradation.relative.per_corruption
    titles = {e.title: e.corruption for e in tiny.summary.corruptions}
    for row in heat.rows:
        said = float(row[place].text.removesuffix(" %").replace("\N{MINUS SIGN}", "-"))
        assert said == pytest.approx(100 * relative[titles[row[0].text]], rel=0.06)


def test_every_severity_holds_dice_on_the_grid_of_the_files(tiny):
    def heads(audit):
        return [table.head for table in blocks_of(build([audit]), "table")]

    assert not any("Dice on the grid of the files" in head for head in heads(tiny))
    table = blocks_of(build([on_files(tiny, 0.123)]), "table")[-1]
    assert [row[-1] for row in texts(table)] == ["0.123"] * len(tiny.summary.corruptions)
    assert table.head[-1] == "Dice on the grid of the files"
