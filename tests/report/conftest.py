"""The real audit of a tiny model (tests/conftest.py), read, and folders derived from it."""

from __future__ import annotations

import json
import shutil

import pytest

from imaseg.report import read_audits
from tests.report.chromium import BROWSERS, Chromium, find_browser


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
