"""Runs that are killed."""

from __future__ import annotations

import pytest

from imaseg.runs import train
from imaseg.runs.record import EpochRecord


@pytest.fixture
def killed(monkeypatch):
    """Trains until `when(engine state)` holds after a step, where the run dies; gives its folder."""

    class Killed(Exception):
        pass

    finish = EpochRecord._iteration

    def run(config, data, out, when):
        def kill(self, engine):
            finish(self, engine)
            if when(engine.state):
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(EpochRecord, "_iteration", kill)
            train(config, data, out)
        return out

    return run
