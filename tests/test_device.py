"""`tests/device_checks.py` in a process of its own: a device must be known before the first gradient is computed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pretend_device import AVAILABLE

CHECKS = Path(__file__).parent / "device_checks.py"


@pytest.mark.skipif(not AVAILABLE, reason="torch 2.14 or newer has the hook for a pretend device")
def test_everything_runs_on_an_accelerator_as_on_the_cpu():
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(CHECKS)]
    done = subprocess.run(command, cwd=CHECKS.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
