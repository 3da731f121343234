"""Which epoch a run ends with, and when it ends early."""

from __future__ import annotations

import csv
import json
import math

import pytest
from safetensors.torch import load_file

from imaseg import InputError
from imaseg.runs import load_config, train
from imaseg.runs.choice import outcome
from imaseg.runs.record import EpochRecord

PATIENT = ["epochs=8", "monitor=0.3", "patience=2"]
DICES = [0.2, 0.5, 0.4, 0.6, 0.6, 0.5, 0.9, 0.9]
"""Two epochs in a row that are no better than the fourth end a run with a patience of 2 after the sixth."""


@pytest.fixture
def dices(monkeypatch):
    """Monitored Dice by the number of epochs that are done, so that a resumed run gets its own."""
    finish = EpochRecord._epoch

    def told(self, engine):
        self.monitor.scores = lambda: {"monitor_dice": DICES[engine.state.epoch - 1]}
        finish(self, engine)

    monkeypatch.setattr(EpochRecord, "_epoch", told)


def _rows(run):
    return list(csv.DictReader((run / "metrics.csv").open()))


def test_a_run_ends_when_patience_does_and_says_so(prepared_phantom, tiny_config, tmp_path, dices):
    said = []
    config = load_config(tiny_config, [*PATIENT, "select=best"])
    run = train(config, prepared_phantom, tmp_path / "run", announce=said.append)
    assert len(_rows(run)) == 6
    assert json.loads((run / "outcome.json").read_text()) == {
        "epochs": 6, "planned": 8, "ended_early": True, "weights_of_epoch": 4,
        "best_by": "monitor_dice", "best_epoch": 4, "best": 0.6,
    }  # fmt: skip
    (line,) = [line for line in said if "patience" in line]
    assert line.startswith("Training ends after epoch 6 of 8: monitor_dice was highest in epoch 4 (`patience`).")
    assert line.endswith("The weights are those of epoch 4.")
    before = (run / "weights.safetensors").read_bytes()
    said.clear()
    train(config, prepared_phantom, run, resume=True, announce=said.append)
    assert (len(_rows(run)), (run / "weights.safetensors").read_bytes()) == (6, before)
    assert said == [line], "a run that has ended says why it does not go on"


def test_a_killed_run_has_the_patience_that_it_had(prepared_phantom, tiny_config, tmp_path, dices, killed):
    config = load_config(tiny_config, PATIENT)
    whole = train(config, prepared_phantom, tmp_path / "whole")

    killed(config, prepared_phantom, tmp_path / "part", lambda state: state.epoch == 6)
    part = train(config, prepared_phantom, tmp_path / "part", resume=True)
    assert (whole / "outcome.json").read_text() == (part / "outcome.json").read_text()
    assert json.loads((part / "outcome.json").read_text())["weights_of_epoch"] == 6
    one, other = (load_file(run / "weights.safetensors") for run in (whole, part))
    assert all((one[name] == other[name]).all() for name in one)


def test_without_patience_all_epochs_are_done(prepared_phantom, tiny_config, tmp_path, dices):
    run = train(load_config(tiny_config, [PATIENT[0], PATIENT[1]]), prepared_phantom, tmp_path / "run")
    done = json.loads((run / "outcome.json").read_text())
    assert (done["epochs"], done["ended_early"], done["best_epoch"], done["weights_of_epoch"]) == (8, False, 7, 8)


@pytest.mark.parametrize(
    ("values", "best", "ended"),
    [([math.nan, math.nan], 1, False), ([math.nan, 0.1, 0.1], 2, False), ([0.5, 0.1, math.nan, 0.5], 1, True)],
)
def test_undefined_and_equal_values_are_no_better(values, best, ended, tiny_config):
    done = outcome([{"monitor_dice": value} for value in values], load_config(tiny_config, ["epochs=9", "patience=3"]))
    assert (done.best_epoch, done.ended_early) == (best, ended)


def test_patience_needs_cases_to_choose_by(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["patience=2", "monitor=0"])
    with pytest.raises(InputError, match="patience must have cases to choose by, got none. Set monitor above 0"):
        train(config, prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()
