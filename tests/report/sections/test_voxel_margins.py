from __future__ import annotations

import csv
import statistics

import pytest

from imaseg.report.sections.voxel_margins import build
from imaseg.report.voxel_maps import bands, first_cases
from tests.report.vary import blocks_of, vary


def test_pictures_of_the_cases_that_fail_first(tiny):
    viewers = blocks_of(build([tiny]), "viewer")
    assert sorted(viewer.title for viewer in viewers) == ["phantom_001: L2 ball", "phantom_002: L2 ball"]
    by_case = {viewer.title[:11]: viewer for viewer in viewers}
    captions = [panel.caption for panel in by_case["phantom_001"].slides[0].panels]
    assert captions[1:3] == ["Margin found by attacks", "Estimate from gradients"]
    assert captions[3].startswith("Certified by noise within")
    assert len(by_case["phantom_002"].slides[0].panels) == 3
    assert all(0 <= viewer.first < len(viewer.slides) for viewer in viewers)


def test_models_stand_side_by_side_on_the_same_slices_and_colours(tiny):
    entry = tiny.summary.voxel_margins[0]
    other = vary(tiny, "ima", voxel_margins=[entry.model_copy(update={"per_case": entry.per_case[:1]})])
    first, second = blocks_of(build([tiny, other]), "viewer")
    assert (first.title, second.title) == ("tiny, phantom_001: L2 ball", "ima, phantom_001: L2 ball")
    assert first.group == second.group != ""
    assert (first.scale, len(first.slides)) == (second.scale, len(second.slides))
    away = entry.model_copy(update={"per_case": entry.per_case[1:]})
    apart = blocks_of(build([tiny, vary(tiny, "b", voxel_margins=[away], certified=[])]), "viewer")
    assert [viewer.title for viewer in apart] == ["tiny, phantom_002: L2 ball", "b, phantom_002: L2 ball"]
    alone = entry.model_copy(update={"per_case": entry.per_case[:1]})
    disjoint = [
        vary(tiny, "a", voxel_margins=[alone], certified=[]),
        vary(tiny, "b", voxel_margins=[away], certified=[]),
    ]
    assert [viewer.group for viewer in blocks_of(build(disjoint), "viewer")] == ["", ""]


def test_cases_are_ordered_by_the_attack_else_by_their_margins(tiny):
    stored = {"phantom_001", "phantom_006", "elsewhere"}
    order = first_cases(tiny, stored, None)
    assert order[-1] == "elsewhere"
    whole = {case.case: case.margin for case in tiny.summary.margins[0].per_case}
    alone = vary(tiny, margins=tiny.summary.margins[:1])
    assert first_cases(alone, stored, None)[:2] == sorted(["phantom_001", "phantom_006"], key=whole.get)


def test_the_table_agrees_with_voxel_margins_csv(tiny):
    section = build([tiny])
    table = next(t for t in blocks_of(section, "table") if t.caption.startswith("Voxels by structure"))
    with (tiny.folder / "voxel_margins.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if not line["from_mm"] and not line["to_mm"]]
    for cells in table.rows:
        row = {head: cell.text for head, cell in zip(table.head, cells, strict=True)}
        method = {"found": "attack", "estimated": "gradient", "certified": "certified"}[row["Margins"].split()[0]]
        here = [line for line in lines if (line["method"], line["structure"]) == (method, row["Structure"])]
        labelled, right = (sum(int(line[key]) for line in here) for key in ("labelled", "right"))
        assert row["Voxels"] == f"{labelled:,}"
        assert row["Cases"] == str(len(here))
        assert float(row["Wrong unattacked"].removesuffix(" %")) == pytest.approx(
            100 * (1 - right / labelled), rel=0.01
        )
        median = statistics.median(float(line["median"]) for line in here if line["median"])
        assert float(row["Median"].removeprefix("above ")) == pytest.approx(median, rel=0.01)
    assert [cells[2].text for cells in table.rows[:3]] == ["Front", "Back", "background"]
    (sentence,) = section.sentences
    assert sentence.points[0].startswith(f"L2 ball: Front {table.rows[0][-1].text}, Back {table.rows[1][-1].text}")


def test_a_median_that_rests_on_unflipped_voxels_is_a_bound(tiny):
    band = bands([tiny], whole=True)[0]
    cases = [
        case.model_copy(update={"median": 0.5, "labelled": 10 * n, "censored": 0.5, "q25": 0.3 * n - 0.2})
        for n, case in enumerate(band.cases, 1)
    ]
    band = band._replace(cases=cases)
    assert band.median == "above 0.5"
    assert band.share(lambda case: case.q25) == "30 %"  # 1 of 10 and 8 of 20
    assert band.share(lambda case: None) == "undefined"


def test_distances_and_comparisons(tiny):
    section = build([tiny])
    (figure,) = blocks_of(section, "figure")
    assert [trace["name"] for trace in figure.plot["data"]] == ["Front", "Back", "background"]
    assert figure.plot["layout"]["xaxis"]["categoryarray"][0] == "0 to 1"
    tables = {table.caption[:8]: table for table in blocks_of(section, "table")}
    compared = tiny.summary.voxel_margins[0].per_case[0].maps[1].against_attack["structures"]
    row = [cell.text for cell in tables["Estimate"].rows[0]]
    assert row[:4] == ["L2 ball", "phantom_001", "structures", f"{compared.voxels:,}"]
    assert float(row[4]) == pytest.approx(compared.ratio, rel=0.01)
    gap = tiny.summary.certified[0].maps[0].maps[0].against_attack["structures"]
    assert [cell.text for cell in tables["The smoo"].rows[0]][::5] == ["phantom_001", str(gap.violations)]


def test_only_what_was_mapped_is_explained(tiny):
    section = build([vary(tiny, voxel_margins=[])])
    assert list(section.methods) == list(section.sentences) == []
    assert build([vary(tiny, voxel_margins=[], certified=[])]) is None
    text = " ".join(build([tiny]).methods)
    assert "L2 ball up to 0.6 RMS per voxel on 2 cases" in text
    assert "dual norm" in text
