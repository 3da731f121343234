"""The announced time of a training, against a clock that moves by passes of the network alone."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from imaseg import InputError
from imaseg.models import device
from imaseg.models.run_folder import build_model
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs import load_config, train
from imaseg.runs.build import build_method
from imaseg.runs.job import _card, training_cases
from imaseg.runs.preflight import check_fit

SET = "perturbation: {name: l2, eps: 0.2, unit: rms}"
METHODS = {
    "standard": "method={name: standard}",
    "pgd": f"method={{name: pgd-training, {SET}, steps: 4}}",
    "ima": f"method={{name: ima, {SET}, steps: 4, criterion: {{name: dice-below, threshold: 0.001, absent: ignore}}}}",
    "trades": f"method={{name: trades, {SET}, steps: 4}}",
    "free": f"method={{name: free, {SET}, replays: 3}}",
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_training_takes_what_was_announced(method, prepared_phantom, tiny_config, tmp_path, monkeypatch):
    clock, forward, told = SimpleNamespace(now=0.0), SegmentationModel.forward, []
    monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def ticking(self, image):
        """A pass of one image takes a second, the gradient of the image one more, that of the weights two more."""
        trained = torch.is_grad_enabled() and next(self.parameters()).requires_grad
        searched = torch.is_grad_enabled() and image.requires_grad
        clock.now += len(image) * (3 if trained else 2 if searched else 1)
        return forward(self, image)

    monkeypatch.setattr(SegmentationModel, "forward", ticking)
    config = load_config(tiny_config, ["epochs=3", "batch_size=3", "monitor=0", method])
    train(config, prepared_phantom, tmp_path / "run", announce=lambda text: told.append((clock.now, text)))
    begin, text = next(one for one in told if "epochs, method" in one[1])
    number, unit = re.search(r"about ([\d.]+) (s|min)", text).groups()
    announced = float(number) * (60 if unit == "min" else 1)
    assert 1 / 1.5 < (clock.now - begin) / announced < 1.5, ((clock.now - begin), announced)


def test_timing_leaves_the_network_as_it_was(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["epochs=1"])
    seen = []

    def note(text):
        seen.append(text)

    one = train(config, prepared_phantom, tmp_path / "told", announce=note)
    other = train(config, prepared_phantom, tmp_path / "silent")
    assert "method standard: about" in seen[0]
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


def test_more_cases_per_batch_than_there_are_cost_no_more(prepared_phantom, tiny_config, tmp_path, monkeypatch):
    sizes, forward = [], SegmentationModel.forward
    monkeypatch.setattr(
        SegmentationModel, "forward", lambda self, image: sizes.append(len(image)) or forward(self, image)
    )
    config = load_config(tiny_config, ["epochs=1", "batch_size=5000", "monitor=0"])
    train(config, prepared_phantom, tmp_path / "run", announce=lambda _: None)
    assert max(sizes) == 4


def test_a_last_batch_too_small_for_its_normalisation_is_refused_at_the_start(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["patch=[2, 2, 2]", "monitor=0", "batch_size=3"])
    with pytest.raises(InputError, match="smallest batch, of 1 case: Expected more than 1 value per channel"):
        train(config, prepared_phantom, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(load_config(tiny_config, ["patch=[2, 2, 2]", "monitor=0"]), prepared_phantom, tmp_path / "run")


def test_trying_a_batch_leaves_statistics_and_modes_as_they_were(prepared_phantom, tiny_config):
    config = load_config(tiny_config)
    cases = training_cases(prepared_phantom)
    model = build_model(_card(config, cases, cases.ids, "run"))
    model.network.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_fit(config, model, build_method(config), 4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.network.training


def test_a_patch_that_no_memory_holds_is_refused(prepared_phantom, tiny_config, tmp_path):
    config = load_config(tiny_config, ["patch=[1000000, 1000000, 1000000]"])
    with pytest.raises(InputError, match=r"must fit together, got an error on empty patches of \[1000000"):
        train(config, prepared_phantom, tmp_path / "run")
