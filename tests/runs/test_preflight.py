"""The announced time of a training, against a clock that moves by passes of the network alone."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from imaseg.models import device
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs import load_config, train

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
