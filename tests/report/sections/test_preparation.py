"""How cases reached the model, as the page states it."""

from __future__ import annotations

from imaseg.report import write_report
from imaseg.report.sections import clean, preparation
from imaseg.report.sections.context import summary
from imaseg.results.preparation import Agreement
from tests.report.parser import Page
from tests.report.vary import blocks_of, texts, vary


def test_every_step_label_and_grid_is_stated(real_audit, tmp_path):
    page = Page(write_report([real_audit], tmp_path / "page.html").read_text())
    assert "preparation" in [attributes["id"] for attributes in page.all("section")]
    for text in (
        "imaseg prepare", "resampled from", "less", "Matched by", "none: whole images",
        "imaseg itself trained this model", "that of the prepared files",
    ):  # fmt: skip
        assert text in page.text, text


def test_a_prediction_that_is_not_the_models_is_said_before_all_else(tiny):
    wrong = Agreement(pipeline="its own", case="a", dice=0.7, voxels=0.9, reason="another window.")
    assert not preparation.build([tiny]).notices
    section = preparation.build([vary(tiny, agreement=wrong)])
    said = "imaseg does not predict what the model's own software predicts: Dice 0.7000, 90.00% of the voxels alike"
    assert section.notices[0].startswith(said)
    (notice,) = blocks_of(summary.collect([tiny], [section]), "notice")
    assert any(said in item for item in notice.items)


def test_dice_on_the_grid_of_the_files_stands_beside_that_on_the_models(tiny):
    heads = [table.head for table in blocks_of(clean.build([tiny]), "table")]
    assert not any("Dice on the grid of the files" in head for head in heads)
    native = dict.fromkeys(tiny.summary.mean, 0.123) | {"foreground_mean": 0.234}
    section = clean.build([vary(tiny, native_dice=native)])
    (table,) = blocks_of(section, "table")
    column = table.head.index("Dice on the grid of the files")
    assert [row[column] for row in texts(table)] == ["0.123"] * (len(native) - 1) + ["0.234"]
    assert "counted on the grid of the files 0.234" in section.sentences[0].points[0]
