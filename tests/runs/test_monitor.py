"""Dice of monitored cases: unchanged, and under an attack."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from imaseg import L2, PGD, InputError, load_model
from imaseg.data.reading import read_volume
from imaseg.perturbations import near
from imaseg.runs import load_config, train
from imaseg.runs.job import training_cases
from imaseg.runs.monitor import Monitor
from tests.conftest import IMA_METHOD

ATTACK = "monitor_attack={name: pgd, steps: 3}"


def _by_hand(model, cases, attack, within=None):
    """Mean over the cases of what the attack leaves of their Dice."""
    found = []
    for case in cases:
        volume = read_volume(case)
        image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None].long()
        mine = attack
        if within is not None:
            mine = attack.on(attack.perturbation.within(near(label[:, None], within, volume.spacing)))
        found.append(float(mine(model, image, label).foreground_dice))
    return sum(found) / len(found)


@pytest.mark.parametrize("within", [None, 3.0])
def test_the_dice_under_attack_is_that_of_the_attack(tiny_run, prepared_phantom, within):
    model, cases = load_model(tiny_run).train(), training_cases(prepared_phantom)
    attack = PGD(L2(0.2, unit="rms"), steps=3)
    monitor = Monitor(model, cases, [24, 24, 16], attack=attack, within=within)
    found = monitor.scores()
    assert model.training
    assert found["monitor_attacked_dice"] == pytest.approx(_by_hand(model, cases, attack, within), abs=1e-6)
    assert found["monitor_attacked_dice"] < found["monitor_dice"] - 0.05
    assert found["monitor_dice"] == Monitor(model, cases, [24, 24, 16]).scores()["monitor_dice"]


def test_the_best_epoch_is_told_by_the_dice_under_attack(prepared_phantom, tiny_config, tmp_path):
    settings = ["epochs=3", "monitor=0.5", "select=best", IMA_METHOD, ATTACK]
    run = train(load_config(tiny_config, settings), prepared_phantom, tmp_path / "run")
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    attacked = [float(row["monitor_attacked_dice"]) for row in rows]
    assert all(low <= float(row["monitor_dice"]) for low, row in zip(attacked, rows, strict=True))
    told = json.loads((run / "outcome.json").read_text())
    assert told["best_by"] == "monitor_attacked_dice"
    assert told["weights_of_epoch"] == told["best_epoch"] == 1 + attacked.index(max(attacked))
    assert told["best"] == max(attacked)


SETS = "perturbation: [{name: l2, eps: 3}, {name: gamma, eps: 0.3}]"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ([ATTACK], "monitor_attack: must have one set to search, got none in the method"),
        ([f"method={{name: ima, {SETS}}}", ATTACK], "must have one set to search, got several in the method"),
        ([IMA_METHOD, "monitor_attack={name: pdg}"], "monitor_attack: attack must be one of .*, got 'pdg'"),
        ([IMA_METHOD, "monitor_attack={name: pgd, stpes: 4}"], "monitor_attack: .*stpes"),
        ([IMA_METHOD, ATTACK, "monitor=0"], "monitor_attack: must have cases to attack, got none. Set monitor above 0"),
    ],
)
def test_an_attack_that_cannot_be_made_is_refused_first(settings, text, prepared_phantom, tiny_config, tmp_path):
    with pytest.raises(InputError, match=text):
        train(load_config(tiny_config, settings), prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()
