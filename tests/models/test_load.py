"""Loading runs: equal logits, any size, and one clear line for anything that does not fit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from imaseg import InputError, load_model
from imaseg.models.networks import build_network, divisor_of
from imaseg.models.segmentation import ModelCard, SegmentationModel


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_card_says_what_the_run_was(tiny_run):
    card = load_model(tiny_run).card
    assert card.labels == {0: "background", 1: "Front", 2: "Back"}
    assert card.method == {"name": "standard"}
    assert card.recipe["normalise"] == "auto"
    assert set(card.train_ids) < {f"phantom_00{i}" for i in range(1, 5)}
    assert len(card.train_ids) == 3, "one of four training cases is kept to monitor with"


@pytest.mark.parametrize("size", [(24, 24, 16), (23, 17, 9), (1, 5, 3)])
def test_any_size_comes_back_as_logits_of_that_size(tiny_run, size):
    assert load_model(tiny_run)(torch.randn(2, 1, *size)).shape == (2, 3, *size)


def test_sizes_that_need_no_padding_pass_straight_through(tiny_run):
    model = load_model(tiny_run)
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(model(image), model.network(image))


def test_padding_is_differentiable_and_centred():
    card = ModelCard(name="x", network={}, labels={0: "b"}, in_channels=1, spatial_dims=2, divisor=4)
    seen = []

    class Echo(torch.nn.Module):
        def forward(self, image):
            seen.append(image)
            return image * 2

    image = torch.randn(1, 1, 5, 8, requires_grad=True)
    logits = SegmentationModel(Echo(), card)(image)
    torch.testing.assert_close(logits, image * 2)
    assert seen[0].shape == (1, 1, 8, 8)
    assert seen[0][:, :, 0].abs().sum() == 0
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    assert (gradient == 2).all()


def test_divisor_is_the_product_of_strides():
    assert divisor_of({"strides": [2, 2, 2]}) == 8
    assert divisor_of({"strides": [[1, 2, 2], 2]}) == 4
    assert divisor_of({"name": "SegResNet"}) == 32


def test_weights_of_another_architecture_are_refused(copy):
    card = json.loads((copy / "model.json").read_text())
    card["network"]["channels"] = [8, 16]
    (copy / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"weights.safetensors must hold weights of this UNet.*of another shape"):
        load_model(copy)


def test_a_network_with_other_layers_is_refused(copy):
    card = json.loads((copy / "model.json").read_text())
    card["network"] = {"name": "BasicUNet"}
    (copy / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="got another architecture: .* missing"):
        load_model(copy)


def _fingerprint(run, **changes):
    card = json.loads((run / "model.json").read_text())
    card["fingerprint"] |= changes
    (run / "model.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda run: (run / "model.json").unlink(), r"got one without model\.json"),
        (lambda run: (run / "model.json").write_text("{"), "must be valid JSON"),
        (lambda run: (run / "model.json").write_text('{"name": "x"}'), "network must be given"),
        (lambda run: _fingerprint(run, modality=True), r"run: fingerprint: modality must be valid, got True"),
        (lambda run: _fingerprint(run, spacing=[{}, 1, 1]), r"run: fingerprint: spacing.0 must be valid, got {}"),
        (lambda run: (run / "weights.safetensors").unlink(), r"weights\.safetensors must exist"),
        (lambda run: (run / "weights.safetensors").write_bytes(b"\x00" * 40), "got an unreadable one"),
    ],
)
def test_damaged_runs_are_one_clear_line(copy, damage, text):
    damage(copy)
    with pytest.raises(InputError, match=text):
        load_model(copy)


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="which is no folder"):
        load_model(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"name": "Nonsense"}, r"network must name a network of monai\.networks\.nets that segments"),
        ({"name": "UNet", "channels": [4, 8]}, "network must hold arguments that UNet takes"),
        ({"name": "UNet", "channels": [4, 8], "strides": [2], "depth": 9}, "network must hold arguments"),
    ],
)
def test_networks_that_do_not_exist_are_refused(spec, text):
    with pytest.raises(InputError, match=text):
        build_network(spec, spatial_dims=3, in_channels=1, out_channels=2)
