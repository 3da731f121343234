"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real data sets; skips where it is absent."""
    named = os.environ.get("IMASEG_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "Task04_Hippocampus").is_dir():
        pytest.skip("real data sets are not here (set IMASEG_TEST_DATA to their folder)")
    return folder


@pytest.fixture(autouse=True)
def _threads() -> None:
    # Under xdist each worker would otherwise use every core.
    torch.set_num_threads(1)
