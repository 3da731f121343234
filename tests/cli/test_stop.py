"""SIGTERM, as a job scheduler sends it, ends a command as Ctrl-C does: one sentence, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_WAITING = """
import sys, time
from contextlib import nullcontext
from imaseg.cli import main

@main.app.command()
def wait():
    with {context}:
        print("ready", flush=True)
        time.sleep(60)

sys.argv = ["imaseg", "wait"]
main.run()
"""


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("main.stoppable()", "imaseg: stopped. Finished work is kept; the same command with --resume goes on.\n"),
        ("nullcontext()", "imaseg: stopped.\n"),
    ],
)
def test_sigterm_is_one_sentence_and_exit_143(context, said):
    command = [sys.executable, "-c", _WAITING.format(context=context)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, said)
