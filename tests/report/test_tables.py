from __future__ import annotations

from imaseg.report.compare import strongest
from imaseg.report.read import read_audits
from imaseg.report.tables import budget_table, clean_table, probes_table, results_table


def results(audits):
    return results_table(audits, strongest(audits)[0])


def test_cells_are_the_summary_s_numbers(write_audit):
    (audit,) = read_audits([write_audit(cases=4, slices=False)])
    table = results([audit])
    assert table.head == ["Model", "n", "Clean", "eps 0.013", "eps 0.026", "eps 0.052", "eps 0.078", "eps 0.1"]
    probe = next(p for p in audit.summary.probes if p.probe == "pgd-l2" and p.eps == 0.052)
    cell = table.rows[0][5]
    assert cell.text == f"{probe.foreground_mean['dice']:.3f}"
    assert cell.note == f"[{probe.dice_ci95[0]:.3f}, {probe.dice_ci95[1]:.3f}]"
    assert table.rows[0][1].text == "4"
    for fact in ("PGD in the L2 ball", "seed 7", "20 steps", "RMS per voxel", "95 %"):
        assert fact in table.caption


def test_the_clean_change_is_paired_with_the_first_model(write_audit):
    def edit(summary, run):
        for case in summary["metric_per_case"]:
            case["metrics"]["foreground_mean"]["dice"] -= 0.02

    audits = read_audits([write_audit("a", cases=4, slices=False), write_audit("b", cases=4, slices=False, edit=edit)])
    table = results(audits)
    assert table.head[-1] == "Clean change vs a"
    assert table.rows[0][-1].text == "reference"
    assert table.rows[1][-1].text == "\N{MINUS SIGN}0.020"


def test_budgets_that_a_model_lacks_are_not_invented(write_audit):
    def edit(summary, run):
        summary["probes"] = [p for p in summary["probes"] if p["eps"] != 0.1]

    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, edit=edit)])
    assert results(audits).rows[1][7].text == "not audited"
    assert results(audits).rows[0][7].text != "not audited"


def test_a_smaller_n_is_stated_in_its_cell(write_audit):
    def edit(summary, run):
        summary["probes"][-1]["n"] = 2

    (audit,) = read_audits([write_audit(cases=3, slices=False, edit=edit)])
    assert results([audit]).rows[0][-1].note.endswith("n = 2")


def test_clean_metrics_per_class_with_undefined_counts(write_audit):
    def edit(summary, run):
        summary["mean"]["2"].update(hd95=None, hd95_undefined=3.0)

    table = clean_table(read_audits([write_audit(cases=3, slices=False, edit=edit)]))
    assert [row[1].text for row in table.rows] == ["Anterior", "Posterior", "mean over foreground"]
    assert table.rows[1][3].text == "undefined"
    assert table.rows[1][6].text == "HD95 3"
    assert table.rows[0][6].text == "none"


def test_every_probe_and_budget_has_a_row(write_audit):
    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False)])
    assert len(probes_table(audits).rows) == 50


def test_budgets_state_spent_and_native_units(write_audit):
    def edit(summary, run):
        summary["probes"][-1].update(eps_native=None, sizes={})

    table = budget_table(read_audits([write_audit(cases=3, slices=False, edit=edit)]))
    assert [cell.text for cell in table.rows[2]] == [
        "standard",
        "pgd-l2",
        "0.052 RMS per voxel",
        "0.052",
        "13",
        "0.312",
        "0.052",
        "12.5 (3.12 to 4160)",
    ]
    assert [cell.text for cell in table.rows[-1][3:]] == ["not recorded"] * 5
