"""Commands in this process: a new one would spend seconds on imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imaseg.cli.main import run


@pytest.fixture
def here(monkeypatch, capsys):
    """Run `imaseg ARGUMENTS` in this process, as `subprocess.run` would report it."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["imaseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run()
        return subprocess.CompletedProcess(sys.argv, stop.value.code or 0, *capsys.readouterr())

    return command
