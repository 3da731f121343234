"""A real audit of a tiny model, made once, from which tests derive what they need."""

from __future__ import annotations

import json
import shutil

import pytest

from imaseg.auditing import Plan, audit
from imaseg.report import read_audits
from tests.report.chromium import BROWSERS, Chromium, find_browser

PLAN = {
    "name": "tiny",
    "probes": [
        {"attack": "gaussian-noise", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5]},
        {"attack": "fgsm", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5]},
        {
            "attack": "pgd", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5], "steps": 3, "write": "nifti",
        },
        {"attack": "pgd", "perturbation": "gamma", "eps": [0.3], "steps": 2},
        {"kind": "margin", "perturbation": "l2", "unit": "std", "eps": 1.0, "steps": 3, "rtol": 0.3,
         "criterion": {"name": "dice-below", "threshold": 0.5, "relative": True}, "per_class": True, "confirm": True},
        {"kind": "margin", "perturbation": "bias-field", "eps": 0.2, "steps": 2, "rtol": 0.3,
         "criterion": {"name": "dice-below", "threshold": 0.5, "relative": True}},
        {"kind": "certificate", "sigma": 0.1, "unit": "std", "samples": 90, "cases": 1, "write": "nifti",
         "attack": 0.3, "groups": 1},
        {"kind": "voxel-margin", "perturbation": "l2", "unit": "rms", "eps": 0.6, "cases": 2, "rungs": 4, "focus": 1,
         "methods": ["attack", "gradient"], "write": "nifti"},
        {"kind": "corruption", "corruptions": ["gamma", "blur"], "severities": [1, 5]},
    ],
    "validity": {"cases": 1, "large_eps": 20, "scaled_eps": 0.5},
    "showcase": {"attack": "pgd", "eps": 0.5},
    "seed": 7,
}  # fmt: skip


@pytest.fixture(scope="session")
def real_audit(tiny_run, prepared_phantom, tmp_path_factory):
    """An audit folder with every section; read only."""
    out = tmp_path_factory.mktemp("audits") / "tiny"
    audit(tiny_run, prepared_phantom, Plan.model_validate(PLAN), out, select="all")
    return out


@pytest.fixture(scope="session")
def tiny(real_audit):
    """The same, read."""
    return read_audits([real_audit])[0]


@pytest.fixture
def write_variant(real_audit, tmp_path):
    """Write another audit folder: the real one under another name, its `summary.json` and `run.json` changed."""

    def write(name, edit=None):
        folder = shutil.copytree(real_audit, tmp_path / "audits" / name)
        files = [folder / "summary.json", folder / "run.json"]
        summary, run = (json.loads(file.read_text()) for file in files)
        summary["model"]["name"] = name
        if edit is not None:
            edit(summary, run)
        for file, content in zip(files, (summary, run), strict=True):
            file.write_text(json.dumps(content))
        return folder

    return write


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A headless Chromium for all tests of pages; skips where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(BROWSERS)} is on the PATH")
    browser = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
