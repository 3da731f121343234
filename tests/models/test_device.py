"""Timing: neither first calls nor interruptions count, and what is slow is done once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imaseg.models import device
from imaseg.models.device import seconds_of


@pytest.mark.parametrize(
    ("pauses", "found", "calls"),
    [
        ([0.9, 0.1], 0.1, 2),
        ([0.5, 0.01, 0.02, 0.03, 0.02, 9.0], 0.02, 5),
        ([0.01, 0.01, 0.4, 0.01, 0.3, 9.0], 0.01, 5),
        ([60.0, 0.1], 60.0, 1),
    ],
)
def test_the_middle_of_a_few_times_counts(pauses, found, calls, monkeypatch):
    clock, left = SimpleNamespace(now=0.0), list(pauses)
    monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def call():
        clock.now += left.pop(0)

    assert seconds_of(call) == pytest.approx(found)
    assert len(pauses) - len(left) == calls
