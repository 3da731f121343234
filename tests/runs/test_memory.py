"""Cases held in memory or read for each batch: what decides, and that it changes nothing else."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from imaseg.runs import load_config, memory, train
from imaseg.runs.batches import monitor_loader, training_loader
from imaseg.runs.job import training_cases
from imaseg.runs.memory import bytes_of, held


def test_the_bytes_are_those_of_what_is_held(prepared_phantom, tiny_config):
    cases = training_cases(prepared_phantom)
    config = load_config(tiny_config, ["patch=[32, 24, 8]"])
    loader = training_loader(cases, config, start=0)
    for case, item in zip(cases, loader.dataset.data, strict=True):
        real = sum(item[key].numel() * item[key].element_size() for key in ("image", "label", "inside"))
        assert bytes_of(case, config.patch) == real


def test_cases_that_fit_into_the_share_are_held(prepared_phantom, monkeypatch):
    cases, patch = training_cases(prepared_phantom), [24, 24, 16]
    needed = sum(bytes_of(case, patch) for case in cases)
    monkeypatch.setattr(memory, "free_bytes", lambda: 2 * needed)
    assert held(cases, patch, 0.5)[0]
    fits, told = held(cases, patch, 0.49)
    assert not fits
    assert told.startswith("Cases are read for each batch: ")
    assert "more than 0.49 of" in told
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert not held(cases, patch, 0.99)[0], "each process of a machine holds them"
    assert held(cases, patch, 1.0)[0]
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    assert held(cases, patch, 0.1)[0]


def test_held_or_read_the_weights_are_the_same(prepared_phantom, tiny_config, tmp_path):
    runs, said = [], []
    for share in (0.5, 0):
        config = load_config(tiny_config, [f"cache={share}", "epochs=2"])
        runs.append(train(config, prepared_phantom, tmp_path / f"{share}", announce=said.append))
    assert [line.partition(":")[0] for line in said if line.startswith("Cases are held") or "read for" in line] == [
        "Cases are held in memory",
        "Cases are read for each batch",
    ]
    one, other = (load_file(run / "weights.safetensors") for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (runs[0] / "metrics.csv").read_text() == (runs[1] / "metrics.csv").read_text()


def test_nothing_is_kept_of_what_is_read_for_each_batch(prepared_phantom, tiny_config):
    cases = training_cases(prepared_phantom)
    loaders = [
        training_loader(cases, load_config(tiny_config), start=0, hold=False).dataset.data,
        monitor_loader(cases, hold=False).dataset,
    ]
    for data in loaders:
        assert all(isinstance(item["label"], str) for item in data.data)
        list(data)
        assert all(isinstance(item["label"], str) for item in data.data)
