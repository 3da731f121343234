"""What a run keeps where it is not the network in training: a mean of weights, statistics of clean images."""

from __future__ import annotations

import csv

import pytest
import torch
from safetensors.torch import load_file

from imaseg import InputError, load_model
from imaseg.integrations.monai import RobustIteration
from imaseg.runs import load_config, train
from imaseg.runs.batches import training_loader
from imaseg.runs.job import held_out, training_cases
from imaseg.runs.monitor import Monitor
from tests.conftest import IMA_METHOD

EMA = ["epochs=4", "ema=0.9", IMA_METHOD]


def _weights(run):
    return load_file(run / "weights.safetensors")


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_mean_of_the_weights_is_saved_and_monitored(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    seen, step = [], RobustIteration.__call__

    def note(self, engine, batch):
        done = step(self, engine, batch)
        seen.append({name: value.clone() for name, value in engine.network.network.state_dict().items()})
        return done

    monkeypatch.setattr(RobustIteration, "__call__", note)
    run = train(load_config(tiny_config, EMA), prepared_phantom, tmp_path / "run")
    expected = dict(seen[0])
    for n, weights in enumerate(seen[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        moved = {name: value for name, value in weights.items() if "running" in name or "num_batches" in name}
        expected = {name: decay * mean + (1 - decay) * weights[name] for name, mean in expected.items()} | moved
    found = _weights(run)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert not torch.allclose(found["model.0.conv.weight"], seen[-1]["model.0.conv.weight"], atol=1e-4)
    cases = training_cases(prepared_phantom)
    config = load_config(tiny_config, EMA)
    monitored = cases.select(held_out(cases.ids, config.monitor, config.seed)[1])
    dice = Monitor(load_model(run), monitored, config.patch).scores()["monitor_dice"]
    assert dice == pytest.approx(float(list(csv.DictReader((run / "metrics.csv").open()))[-1]["monitor_dice"]))


@pytest.mark.parametrize("more", [[], ["clean_statistics=true"]], ids=["ema", "clean-statistics"])
def test_a_killed_run_goes_on_with_its_mean(more, prepared_phantom, tiny_config, tmp_path, killed):
    config = load_config(tiny_config, [*EMA, *more])
    whole = train(config, prepared_phantom, tmp_path / "whole")

    killed(config, prepared_phantom, tmp_path / "part", lambda state: state.iteration == 5)
    part = train(config, prepared_phantom, tmp_path / "part", resume=True)
    assert _same(_weights(whole), _weights(part))
    assert (whole / "metrics.csv").read_text() == (part / "metrics.csv").read_text()


def test_statistics_are_those_of_clean_batches_and_training_is_left_alone(prepared_phantom, tiny_config, tmp_path):
    settings = ["epochs=2", "network.dropout=0", IMA_METHOD]
    config = load_config(tiny_config, [*settings, "clean_statistics=true"])
    plain = train(load_config(tiny_config, settings), prepared_phantom, tmp_path / "plain")
    clean = train(config, prepared_phantom, tmp_path / "clean")
    before, after = _weights(plain), _weights(clean)
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert _same(*({name: one[name] for name in one if name not in statistics} for one in (before, after)))
    mean = next(name for name in before if name.startswith("model.0.") and name.endswith("running_mean"))
    assert not torch.equal(before[mean], after[mean])
    cases = training_cases(prepared_phantom)
    train_ids, _ = held_out(cases.ids, config.monitor, config.seed)
    first = load_model(clean).network.model[0].conv
    loader = training_loader(cases.select(train_ids), config, start=1)
    means = [first(batch["image"]).detach().mean((0, 2, 3, 4)) for batch in loader]
    torch.testing.assert_close(after[mean], torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)


def test_a_network_without_batchnorm_has_no_statistics(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["network.norm=instance", "clean_statistics=true"])
    with pytest.raises(InputError, match="clean_statistics must go with a network that has BatchNorm, got UNet"):
        train(config, prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()
