"""Groups: how many were compared, and that a tie has no lowest one."""

from __future__ import annotations

from imaseg.report.evidence import evidence
from imaseg.report.sections.groups import build
from imaseg.results.groups import CLEAN, Group, GroupFigure, GroupGap, Grouping
from tests.report.vary import blocks_of, on_files, texts, vary


def grouped(tiny):
    """Two groups that are large enough and one that is not; clean Dice differs, attacked Dice is 0 of all."""
    figures = [GroupFigure(probe=CLEAN, eps=0.0, dice=0.3, ci95=None)]
    groups = [
        Group(value=value, cases=["phantom_001"], patients=patients, figures=figures, margins=[])
        for value, patients in (("A", 8), ("B", 7), ("C", 6))
    ]
    gaps = [
        GroupGap(probe=CLEAN, eps=0.0, gap=-0.1, worst="B", p=0.4),
        GroupGap(probe="pgd-l2", eps=0.5, gap=0.0, worst="A", p=1.0),
    ]
    return vary(tiny, groups=[Grouping(column="site", fewest=7, groups=groups, gaps=gaps)])


def test_groups_that_are_too_small_are_named_and_no_difference_is_no_equality(tiny):
    (sentence,) = build([grouped(tiny)]).sentences
    assert sentence.points == (
        "site: 2 of 3 groups compared (too few: C, 6 patients): no difference that chance does not explain, which is "
        "not equality",
    )


def test_where_all_groups_tie_none_is_the_lowest(tiny):
    gaps = next(table for table in blocks_of(build([grouped(tiny)]), "table") if "Lowest less" in table.caption)
    assert [row[-2] for row in texts(gaps)] == ["B", "none: all alike"]


def test_the_evidence_sheet_names_column_and_metric(tiny):
    line = next(line for line in evidence([grouped(tiny)]).splitlines() if "performance by age" in line)
    assert "mean Dice on unchanged images by site: A 0.300 (n = 1)" in line
    assert "too small to be compared: C" in line


def test_dice_on_the_grid_of_the_files_stands_below_that_on_the_models(tiny):
    plain = build([grouped(tiny)])
    assert "on files" not in plain.lead
    assert not any(cell.note for row in blocks_of(plain, "table")[0].rows for cell in row)
    audit = grouped(on_files(tiny, 0.2))
    (grouping,) = audit.summary.groups
    figures = [GroupFigure(probe=CLEAN, eps=0.0, dice=0.3, ci95=None, native_dice=0.25)]
    groups = [group.model_copy(update={"figures": figures}) for group in grouping.groups]
    section = build([vary(audit, groups=[grouping.model_copy(update={"groups": groups})])])
    assert "\u201con files\u201d: Dice of the prediction taken back" in section.lead
    assert [row[3].note for row in blocks_of(section, "table")[0].rows] == ["on files 0.250"] * 3
