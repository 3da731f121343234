"""Expressions of a recipe that never come to an end are stopped."""

from __future__ import annotations

import re
import signal
import threading
import time

import pytest

from imaseg.data import load_cases
from imaseg.data.layouts import time_limit
from imaseg.data.layouts.patterns import Layout
from imaseg.data.layouts.time_limit import matching_ends
from imaseg.errors import InputError

ENDLESS = "(?:a+)+b"


def test_a_pattern_that_never_ends_is_one_sentence(raw, monkeypatch):
    monkeypatch.setattr(time_limit, "_SECONDS", 0.3)
    for path in (raw / "imagesTr").iterdir():
        path.rename(path.with_name("a" * 60 + path.name))
    (raw / "dataset.json").unlink()
    begin = time.monotonic()
    with pytest.raises(
        InputError, match=r"pattern must match names in a few seconds, got 'imagesTr/\{id:\(\?:a\+\)\+b\}'"
    ):
        load_cases(raw, layout=Layout(("imagesTr/{id:(?:a+)+b}",)))
    assert time.monotonic() - begin < 5


def test_what_ends_in_time_leaves_no_timer_behind(monkeypatch):
    monkeypatch.setattr(time_limit, "_SECONDS", 0.2)
    before = signal.getsignal(signal.SIGALRM)
    with matching_ends("a"):
        assert re.search("a", "a")
    time.sleep(0.3)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_timer_of_somebody_else_and_other_threads_are_left_alone():
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        with matching_ends("a"):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    done = []
    thread = threading.Thread(target=lambda: [done.append(1) for _ in [0] if matching_ends("a").__enter__() is None])
    thread.start()
    thread.join()
    assert done == [1]
