"""How cases reached the model, as the page states it."""

from __future__ import annotations

from dataclasses import replace

from imaseg.report import write_report
from imaseg.report.sections import budgets, clean, preparation
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
    mean = {k: values | {"native_dice": 0.123} for k, values in tiny.summary.mean.items()}
    over = tiny.summary.foreground_mean | {"native_dice": 0.234}
    told = vary(tiny, native_dice={"foreground_mean": 0.234}, mean=mean, foreground_mean=over)
    section = clean.build([told])
    (table,) = blocks_of(section, "table")
    column = table.head.index("Dice on the grid of the files")
    assert [row[column] for row in texts(table)] == ["0.123"] * len(mean) + ["0.234"]
    assert "counted on the grid of the files 0.234" in section.sentences[0].points[0]


def test_budgets_of_ct_are_in_hounsfield_units(tiny):
    entry = tiny.summary.probes[-1].model_copy(update={"unit": "native", "eps": 20.0, "eps_native": None})
    told = tiny.summary.preparation
    for unit, wanted in (("HU", "20 HU"), ("not stated", "20 native units")):
        summary = tiny.summary.model_copy(
            update={"probes": [entry], "preparation": told.model_copy(update={"unit": unit})}
        )
        (table,) = blocks_of(budgets.build([replace(tiny, summary=summary.in_hu())]), "table")
        assert [(row[2], row[-1]) for row in texts(table)] == [(wanted, wanted)]
        assert summary.probes[0].unit == "native"


def test_native_budgets_say_hu_where_the_files_hold_them(tiny):
    told = tiny.summary.preparation.model_copy(update={"unit": "HU"})
    entry = next(entry for entry in tiny.summary.probes if entry.eps_native is not None and entry.eps)
    alone = tiny.summary.model_copy(update={"probes": [entry], "preparation": told})
    (table,) = blocks_of(budgets.build([replace(tiny, summary=alone)]), "table")
    assert all(row[-1].endswith(" HU") for row in texts(table))
