"""A handful of the faults of `benchmarks/faults.py`, seeded: each ends in equal results or in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes")]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "faults.py"


def test_kills_full_disks_and_changes(tmp_path):
    chosen = ("kill -9", "disk full", "changed data")
    command = [sys.executable, SCRIPT, "--out", tmp_path, "--scale", "0.03", "--only", *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert {key.split("|")[0] for key in results} == set(chosen)
    assert set(results.values()) == {"equal", "refused in one line"}
    assert all(value == "equal" for key, value in results.items() if key.startswith("kill"))
