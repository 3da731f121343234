from __future__ import annotations

import re

import pytest

from imaseg.report.corruptions import corruption_table, degradation_table, heat_map
from imaseg.report.read import read_audits
from tests.report.audit_parts import CORRUPTIONS


def audits(write_audit, *names, edit=None):
    return read_audits([write_audit(name, cases=3, slices=False, parts=True, edit=edit) for name in names])


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_rows_are_the_summary_s_numbers_with_the_costliest_first(write_audit):
    (audit,) = audits(write_audit, "a")
    heat = heat_map([audit])
    assert [line.title for line in heat.rows] == ["Motion", "Rician noise", "Gamma"]
    assert heat.levels == [1, 2, 3, 4, 5]
    clean = audit.summary.foreground_mean["dice"]
    for line in heat.rows:
        loss = next(loss for title, loss in CORRUPTIONS.values() if title == line.title)
        for severity, cell in enumerate(line.cells[:5], start=1):
            assert cell.text == f"{clean * (1 - loss * severity / 5):.3f}"
    assert [line.cells[5].text for line in heat.rows] == ["0.360", "0.100", "0.020"]
    assert heat.rows[0].note == "image change 0.05 to 0.8 SD"


def test_half_of_the_clean_dice_is_marked_beside_its_colour(write_audit):
    heat = heat_map(audits(write_audit, "a"))
    assert [[cell.halved for cell in line.cells[:5]] for line in heat.rows] == [
        [False] * 4 + [True],
        [False] * 5,
        [False] * 5,
    ]


def test_darker_means_more_lost_and_numbers_stand_out(write_audit):
    def edit(summary, run):
        for place, one in enumerate(summary["corruptions"]):
            one["foreground_mean"]["dice"] = 0.86 * (1 - place / 14)

    heat = heat_map(audits(write_audit, "a", edit=edit))
    cells = sorted((cell for line in heat.rows for cell in line.cells[:5]), key=lambda cell: -float(cell.text))
    lights = [luminance(cell.paper) for cell in cells]
    assert lights == sorted(lights, reverse=True)
    assert lights[0] > 0.9
    assert lights[-1] < 0.05
    for cell, light in zip(cells, lights, strict=True):
        ink = {"#000000": 0.0, "#ffffff": 1.0}[cell.ink]
        assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) >= 4.5


def test_models_stand_below_each_other_and_missing_ones_are_said(write_audit):
    def edit(summary, run):
        summary["corruptions"] = [c for c in summary["corruptions"] if c["corruption"] != "gamma"]

    both = audits(write_audit, "a") + audits(write_audit, "b", edit=edit)
    heat = heat_map(both)
    assert [(line.model, line.span) for line in heat.rows] == [("a", 2), ("b", 0)] * 3
    assert [cell.text for cell in heat.rows[-1].cells[:5]] == ["not audited"] * 5
    assert not heat.rows[-1].cells[0].paper


def test_losses_count_from_the_cases_in_which_a_fault_occurs(write_audit):
    def edit(summary, run):
        one = summary["corruptions"][0]
        kept = one["metric_per_case"][0]
        clean = summary["metric_per_case"][0]["metrics"]["foreground_mean"]
        clean["dice"] = kept["metrics"]["foreground_mean"]["dice"] = one["foreground_mean"]["dice"] = 0.2
        one["metric_per_case"] = [kept]

    heat = heat_map(audits(write_audit, "a", edit=edit))
    cell = next(line for line in heat.rows if line.title == "Rician noise").cells[0]
    assert cell.text == "0.200"
    assert not cell.halved
    assert luminance(cell.paper) > 0.9


def test_the_table_states_parameters_change_and_interval(write_audit):
    (audit,) = audits(write_audit, "a")
    table = corruption_table([audit])
    assert len(table.rows) == 15
    first = [cell.text for cell in table.rows[0]]
    assert first[:6] == ["a", "Motion", "1", "strength 0.6, range 0.5 / 1", "0.05 (0.04 to 0.065)", "3"]
    assert table.rows[0][6].note.startswith("[")


def test_degradation_is_shown_as_defined(write_audit):
    table = degradation_table(audits(write_audit, "a"))
    assert "Share of the clean Dice that is lost, averaged over severities" in table.caption
    assert [cell.text for cell in table.rows[0]] == ["a", "0.160", "0.360", "none"]
    assert table.rows[0][1].note == "[0.120, 0.200]"


@pytest.mark.parametrize("make", [heat_map, corruption_table, degradation_table])
def test_without_corruptions_there_is_nothing(write_audit, make):
    assert make(read_audits([write_audit("a", cases=2, slices=False)])) is None
