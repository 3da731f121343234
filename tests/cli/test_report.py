"""`imaseg report`: audits whose plan imported a local file, with trust only; the line on two cohorts of one model."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from imaseg.auditing.probes import Probe
from imaseg.results.base import Entry, Row

DOCS = Path(__file__).resolve().parents[2] / "docs" / "own_parts.md"
VOLUME = re.search(r'```python title="volume.py"\n(.*?)```', DOCS.read_text(), re.DOTALL)[1]


def _forget():
    """As in a process that never saw the file."""
    for family in (Probe, Row, Entry):
        family.registry.pop("volume", None)
    for name in [name for name in sys.modules if name.startswith("imaseg_local_")]:
        del sys.modules[name]


@pytest.fixture
def volumes(tiny_run, prepared_phantom, tmp_path, imaseg):
    """An audit with the documented probe, in a process that has forgotten it."""
    (tmp_path / "volume.py").write_text(VOLUME)
    (tmp_path / "plan.yaml").write_text("name: own\nimports: [volume.py]\nprobes: [{kind: volume}]\n")
    given = ("audit", tiny_run, prepared_phantom, "--plan", tmp_path / "plan.yaml", "--out", tmp_path / "a")
    code, _, stderr = imaseg(*given, "--trust")
    assert code == 0, stderr
    _forget()
    yield tmp_path
    _forget()


def test_a_local_probe_is_known_to_the_page_by_its_file(volumes, imaseg):
    folder, page, file = volumes / "a", volumes / "page.html", volumes / "volume.py"
    code, _, stderr = imaseg("report", folder, "--out", page)
    assert code == 2
    assert (
        "got 'volume'. Install the plug-in that adds it, or name its file: `imaseg report ... --imports FILE" in stderr
    )
    code, _, stderr = imaseg("report", folder, "--out", page, "--imports", file)
    assert (code, "volume" in Entry.registry, page.exists()) == (2, False, False), "nothing runs without trust"
    assert f"imports must be trusted, got {file}. They are Python code" in stderr
    assert imaseg("report", folder, "--out", page, "--imports", file, "--trust")[0] == 0
    assert "tiny: what the probes of kind volume found has no section here; see summary.json." in page.read_text()


def test_one_model_on_two_data_sets_is_told_in_severities(real_audit, tmp_path, imaseg):
    there = shutil.copytree(real_audit, tmp_path / "there")
    summary, run = (json.loads((there / name).read_text()) for name in ("summary.json", "run.json"))
    run["data_sha256"] = "0" * 64
    for case in summary["metric_per_case"]:
        case["metrics"]["foreground_mean"]["dice"] += 0.1
    for name, content in (("summary.json", summary), ("run.json", run)):
        (there / name).write_text(json.dumps(content))
    code, stdout, stderr = imaseg("report", real_audit, there, "--out", tmp_path / "page.html")
    assert code == 0, stderr
    *_, line = stdout.splitlines()
    assert line.startswith(f"From {real_audit.name} to there mean Dice changes by +0.100")
    assert line.endswith("there is no harder for the model.")
