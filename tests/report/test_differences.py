from __future__ import annotations

import csv
import json

import pytest

from imaseg import InputError
from imaseg.report.differences import difference_table, write_comparison
from imaseg.statistics import paired


def test_each_model_is_compared_with_the_first(write_variant, tmp_path):
    def twice(summary, run):
        summary["metric_per_case"] += [case | {"case": f"{case['case']} again"} for case in summary["metric_per_case"]]

    def edit(summary, run):
        for case in summary["metric_per_case"]:
            case["metrics"]["foreground_mean"]["dice"] -= 0.02
        twice(summary, run)

    folders = [write_variant("a", twice), write_variant("b", edit), write_variant("c")]
    rows = list(csv.DictReader(write_comparison(folders, tmp_path / "out" / "comparison.csv").open()))
    assert {(row["a"], row["b"]) for row in rows} == {("a", "b"), ("a", "c")}
    clean = {row["b"]: row for row in rows if row["probe"] == "clean" and row["metric"] == "dice"}
    assert [float(clean["b"][key]) for key in ("difference", "ci95_low")] == pytest.approx([-0.02, -0.02])
    assert float(clean["c"]["difference"]) == 0
    expected = paired(*(json.loads((folder / "summary.json").read_text()) for folder in folders[:2]))
    ours = [row for row in rows if row["b"] == "b"]
    assert [(r["probe"], float(r["eps"]), r["metric"], int(r["n"])) for r in ours] == [
        (r["probe"], r["eps"], r["metric"], r["n"]) for r in expected
    ]


def test_too_few_cases_leave_interval_and_p_empty(write_variant, tmp_path):
    def edit(summary, run):
        summary["metric_per_case"] = summary["metric_per_case"][:2]

    folders = [write_variant(name, edit) for name in "ab"]
    row, *_ = csv.DictReader(write_comparison(folders, tmp_path / "comparison.csv").open())
    assert (row["n"], row["ci95_low"], row["ci95_high"], row["p"]) == ("2", "", "", "")


def test_a_folder_that_is_no_audit_is_refused(real_audit, tmp_path):
    with pytest.raises(InputError, match="must be an audit folder"):
        write_comparison([real_audit, tmp_path / "none"], tmp_path / "comparison.csv")


def test_the_number_of_rows_that_p_is_adjusted_over_is_stated():
    row = {"a": "a", "b": "b", "probe": "clean", "eps": 0.0, "unit": "", "difference": -0.02, "ci95": [-0.03, -0.01]}
    row |= {"n": 9, "patients": None, "metric": "dice", "p": 0.068}
    table = difference_table([row], [row] * 21)
    assert "over all 21 rows of a metric, folded ones included" in table.caption
    assert table.head[-1] == "p, adjusted"
