"""Convert, plan, train, predict, audit, report: `benchmarks/nnunet_hippocampus.py`, shrunk, on real cases."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "nnunet_hippocampus.py"
SMALL = (
    "--methods standard ima --train 6 --val 1 --epochs 2 --iterations 2 --patch 24 32 24 "
    "--features 4 6 8 --rate 0.1 --steps 1 --eps 0.1"
)


@pytest.mark.slow
@pytest.mark.data
def test_the_whole_path_through_nnunet_on_hippocampus_cases(real_data, tmp_path):
    command = [sys.executable, SCRIPT, real_data / "Task04_Hippocampus", "--out", tmp_path, *SMALL.split()]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = tmp_path / "results" / "Dataset004_Hippocampus"
    assert (results / "nnUNetTrainerStandard__tiny__3d_fullres" / "fold_0" / "validation" / "summary.json").is_file()
    fold = results / "nnUNetTrainerIMA__tiny__3d_fullres" / "fold_0"
    with (fold / "margins.csv").open() as file:
        margins = {row["case"]: float(row["margin"]) for row in csv.DictReader(file)}
    assert 1 < len(margins) <= 6
    assert all(0.01 <= margin <= 0.1 for margin in margins.values())
    split = json.loads((tmp_path / "preprocessed" / "Dataset004_Hippocampus" / "splits_final.json").read_text())[0]
    assert set(margins) <= set(split["train"])
    for method in ("standard", "ima"):
        summary = json.loads((tmp_path / "audits" / method / "summary.json").read_text())
        assert summary["data"]["selection"] == "held out"
        assert [row["case"] for row in summary["metric_per_case"]] == split["val"]
        (row,) = re.findall(rf"^\| {method} \| (\S+) \| (\S+) \|", done.stdout, re.MULTILINE)
        assert float(row[0]) == pytest.approx(float(row[1]), abs=2e-3), "nnU-Net's files and the audit's clean Dice"
    page = (tmp_path / "report.html").read_text()
    assert "nnUNetTrainerIMA__tiny__3d_fullres@0" in page
    assert "nnUNetTrainerStandard__tiny__3d_fullres@0" in page
