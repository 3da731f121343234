"""Which precision is chosen: by time, by decisions, by gradients, each of them turned the other way once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models import precision
from imaseg.models.precision import Chosen, agreement, choose_precision
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.precision import HalfPrecisionGradients


def _model(scale=1.0, offset=0.0, classes=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, classes, 3, padding=1))
    with torch.no_grad():
        net[2].weight *= scale
        net[2].bias += offset
    labels = {k: f"class {k}" for k in range(max(2, classes))}
    return SegmentationModel(net, ModelCard(name="m", network={}, labels=labels, in_channels=1, spatial_dims=2))


IMAGE = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def times(monkeypatch):
    """Seconds of a pass, full and half, as if they had been measured."""
    told = {"full": 1.0, "half": 0.4}

    def pretend(model, image):
        return told["half" if isinstance(model, HalfPrecisionGradients) else "full"]

    monkeypatch.setattr(precision, "seconds_per_pass", pretend)
    return told


def test_half_precision_is_taken_where_it_is_faster_and_leads_alike(times):
    found = choose_precision(_model(), IMAGE)
    assert found.name == "bfloat16"
    assert "in bfloat16, a pass in 0.40 of the time" in found.words
    assert "--precision float32 switches it off" in found.words


def test_quick_networks_are_left_alone(times):
    times.update(full=0.049, half=0.001)
    assert choose_precision(_model(), IMAGE) == Chosen("float32", "")


def test_so_are_machines_on_which_it_is_slower(times):
    times["half"] = 0.81
    found = choose_precision(_model(), IMAGE)
    assert found.name == "float32"
    assert "a step would take 0.81 of the time" in found.words


def test_so_are_networks_that_decide_otherwise(times):
    found = choose_precision(_model(offset=300.0), IMAGE)
    assert found.name == "float32"
    assert "decisions or gradients of the model differ" in found.words


def test_so_are_networks_whose_gradients_lead_elsewhere(times):
    """A ripple whose period half precision does not resolve changes no decision."""

    class Rippled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = _model().network

        def forward(self, image):
            logits = self.net(image)
            return logits + 1e-4 * torch.sin(3e5 * logits)

    model = _model()
    model.network = Rippled()
    with frozen(model):
        decisions, direction = agreement(model, HalfPrecisionGradients(model, torch.bfloat16), IMAGE)
    assert decisions > 0.97
    assert direction < 0.5
    assert choose_precision(model, IMAGE).name == "float32"


def test_agreement_of_regions_is_over_every_channel():
    for classes, regions in ((3, True), (1, False)):
        model = _model(classes=classes)
        with frozen(model):
            found = agreement(model, HalfPrecisionGradients(model, torch.bfloat16), IMAGE, regions=regions)
            same = agreement(model, model, IMAGE, regions=regions)
        assert same == pytest.approx((1.0, 1.0))
        assert min(found) > 0.97
        assert found != same


def test_what_is_asked_for_is_taken(times):
    assert choose_precision(_model(offset=300.0), IMAGE, "float16").name == "float16"
    assert choose_precision(_model(), None).name == "float32"
    with pytest.raises(InputError, match=r"precision must be one of auto, float32, bfloat16, float16, got 'bfloat'"):
        choose_precision(_model(), IMAGE, "bfloat")


def test_a_model_without_gradients_is_left_to_what_needs_them():
    model = _model()
    model.network = nn.Sequential(model.network, type("Hard", (nn.Module,), {"forward": lambda _, x: x.detach()})())
    assert choose_precision(model, IMAGE) == Chosen("float32", "")


def test_a_model_that_fails_in_half_precision_stays_in_full_and_that_is_said(times):
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = _model().network

        def forward(self, image):
            if torch.is_autocast_enabled(image.device.type):
                raise RuntimeError("not in half precision")
            return self.net(image)

    model = _model()
    model.network = Picky()
    found = choose_precision(model, IMAGE)
    assert found == Chosen("float32", "Searches stay in float32: the model fails in bfloat16 (RuntimeError).")
