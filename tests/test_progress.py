"""Progress on a terminal, in a log file, and not at all."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from imaseg import progress
from imaseg.progress import bar, step_line


def _clock(monkeypatch, times):
    monkeypatch.setattr(progress.time, "monotonic", iter(times).__next__)


def test_a_log_file_gets_a_line_per_minute_with_the_time_left(capsys, monkeypatch):
    _clock(monkeypatch, [0.0, 1.0, 30.0, 61.0, 62.0, 130.0])
    with bar("audit net", unit="calls") as tell:
        # 4 of 104 were done before: 10 in the first minute are 10 of the 100 that are left.
        for done, note in ((4, "a"), (9, "b"), (14, "c"), (15, "d"), (54, "e")):
            tell(done, 104, note)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "audit net: 14 of 104 calls, 61 s so far, about 9.2 min left. c",
        "audit net: 54 of 104 calls, 2.2 min so far, about 2.2 min left. e",
    ]


def test_steps_are_told_in_a_log_file(capsys):
    step_line("Case a done.")
    assert capsys.readouterr().err == "Case a done.\n"


def test_nothing_is_said_when_only_results_are_wanted(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", True)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    with bar("audit net") as tell:
        tell(1, 2, "x")
    step_line("Case a done.")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_narrow_terminal_cuts_the_note_and_never_the_time_left(monkeypatch, width):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with bar("thorough a-model-with-a-very-long-name", unit="calls") as tell:
        tell(10, 2000, "3 of 17 cases; hippocampus_with_a_long_id, strong-l2 done")
        tell(20, 2000, "3 of 17 cases; hippocampus_with_a_long_id, strong-l2 done")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    last = [line for line in re.split(r"[\r\n]+", shown) if line.strip()][-1]
    assert re.search(r"20/2000 +calls +0:00:0\d +left +(-:--:--|\d:\d\d:\d\d)", last), last
    assert len(last) <= width
