"""Networks are made without the network: none of those that fetch weights, by default or when asked to, does."""

from __future__ import annotations

import inspect
import json
import socket

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from imaseg import InputError, load_model
from imaseg.models.networks import SEGMENTERS, monai_network
from imaseg.models.smp import smp_network

_USUAL = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
    "img_size": [32, 32, 32], "input_image_size": [32, 32, 32], "feature_size": 12, "num_channels": 1, "num_filters": 8,
}  # fmt: skip
_OWN = {
    "DynUNet": {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]},
    "AutoEncoder": {"strides": [2, 2]},
    "FlexibleUNet": {"backbone": "efficientnet-b0", "spatial_dims": 2},
    "AHNet": {"layers": [1, 1, 1, 1], "spatial_dims": 2},  # of two dimensions are the weights that it fetches
    "HoVerNet": {"in_channels": 3, "pretrained_url": "https://example.org/weights.pth"},
    "UNETR": {"feature_size": 4, "hidden_size": 12, "mlp_dim": 12, "num_heads": 3},
}
OF_TIMM = ("tu-resnet18", "tu-resnet18.a1_in1k", "timm-mobilenetv3_small_075", "timm-gernet_s", "tu-convnext_atto")


@pytest.fixture
def connections(monkeypatch):
    """Attempts to reach the network, which all fail; a library may swallow the error, so they are counted."""
    tried = []

    def closed(*address, **_):
        tried.append(address)
        msg = "the network is closed"
        raise OSError(msg)

    monkeypatch.setattr(socket.socket, "connect", closed)
    monkeypatch.setattr(socket.socket, "connect_ex", closed)
    monkeypatch.setattr(socket, "getaddrinfo", closed)
    return tried


def _classes():
    from monai.networks import nets

    found = {kind.__name__: kind for name in dir(nets) if isinstance(kind := getattr(nets, name), type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, nn.Module) and hasattr(nets, name)}


def _arguments(name, kind):
    """Small arguments, and all weights that a class would fetch."""
    declared = inspect.signature(kind).parameters
    fetched = {
        key: True for key in declared if key.startswith("pretrained") and "bool" in str(declared[key].annotation)
    }
    return {key: value for key, value in _USUAL.items() if key in declared} | fetched | _OWN.get(name, {})


def test_monai_networks_that_segment_are_made_offline_even_if_asked_for_pretrained_weights(connections):
    for name, kind in _classes().items():
        if name in SEGMENTERS:
            with torch.device("cpu" if name == "SwinUNETR" else "meta"):
                assert isinstance(monai_network(name, _arguments(name, kind), source="card"), kind)
            assert not connections, name


def test_other_monai_networks_are_refused_before_they_fetch(connections):
    others = {name: kind for name, kind in _classes().items() if name not in SEGMENTERS}
    assert {"TorchVisionFCModel", "MILModel", "EfficientNetBN", "Transchex", "NetAdapter"} <= others.keys()
    for name, kind in others.items():
        with pytest.raises(InputError, match=f"must name a network .* that segments, .* got '{name}'.*--trust"):
            monai_network(name, _arguments(name, kind), source="card")
    assert not connections


def test_defaults_of_networks_that_segment_fetch_nothing():
    """Arguments that ask for weights are dropped, which is right only where they are off by default."""
    for name, kind in _classes().items():
        asked = [p for key, p in inspect.signature(kind).parameters.items() if key.startswith("pretrained")]
        if name in SEGMENTERS:
            assert not any(
                parameter.default for parameter in asked if "url" in parameter.name or "_" not in parameter.name
            )


def test_smp_encoders_of_all_families_are_made_offline(connections):
    from segmentation_models_pytorch.encoders import encoders

    families = {encoder["encoder"]: name for name, encoder in reversed(encoders.items())}  # the first, smallest ones
    for name in (*families.values(), *OF_TIMM):
        arguments = {"encoder_name": name, "encoder_weights": "imagenet"}
        with torch.device("cpu" if name.startswith("mit") else "meta"):  # on meta, a tensor has no value to ask for
            assert isinstance(smp_network("Unet", arguments, source="config.json"), nn.Module)
        assert not connections, name


def test_an_smp_folder_whose_encoder_began_with_pretrained_weights_loads_offline(tmp_path, connections):
    config = {"encoder_name": "tu-resnet18.a1_in1k", "decoder_channels": [8, 8, 8, 4, 4], "classes": 2}
    save_file(smp_network("Unet", config, source="test").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"_model_class": "Unet", "encoder_weights": "imagenet", **config}))
    load_model(f"smp:{tmp_path}")
    assert not connections
