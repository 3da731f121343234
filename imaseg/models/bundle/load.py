"""Loads a MONAI bundle folder: network, weights, tiles, labels and preprocessing from the bundle's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from imaseg.data.files import read_json
from imaseg.errors import InputError
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.bundle.config import BundleConfig
from imaseg.models.bundle.transforms import Preprocessing
from imaseg.models.card import BESIDE, UNTOUCHED, Card, parse_card, read_card
from imaseg.models.networks import monai_network
from imaseg.models.weights import load_state, read_state

_NETS = "monai.networks.nets."
_NETWORK = ("network_def", "net", "network")
_WEIGHTS = ("models/model.pt", "models/model.safetensors")


def load_bundle(text: str, *, trust: bool = False) -> AdaptedModel:
    """Load a MONAI bundle.

    Args:
        text: the folder; keys of a card `imaseg.yaml` in it add to, or override, what the bundle's own files state.
        trust: whether the bundle's expressions (`$...`) and classes outside of `monai.networks.nets` may run.

    Raises:
        InputError: if a file is missing or malformed, an entry is not supported, or one needs trust.
    """
    folder = Path(text)
    config = BundleConfig(folder, trust=trust)
    own = read_card(folder / BESIDE) if (folder / BESIDE).is_file() else Card()
    from_card = own.model_dump(by_alias=True, exclude_unset=True)
    from_bundle, notes = _card_keys(config, wanted=not {"recipe"} <= from_card.keys())
    network = _network(config)
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), folder / _WEIGHTS[0])
    load_state(network, read_state(weights), source=str(weights))
    card = parse_card({"pad_value": 0.0} | from_bundle | from_card, source=str(folder))  # MONAI's inferers pad with 0
    return adapt(network, card, kind="bundle", name=folder.resolve().name, notes=notes)


def _network(config: BundleConfig) -> nn.Module:
    """Build the network with fresh weights; MONAI's own parser is used only where the entry is more than data."""
    name = next((key for key in _NETWORK if key in config.content), None)
    if name is None:
        msg = f"{config.path} must say what the network is, got no network_def."
        raise InputError(msg)
    written = config.content[name]
    target = str(written.get("_target_", "")) if isinstance(written, dict) else ""
    plain = target.startswith(_NETS) or (target and "." not in target)
    if not plain or _nested(written):
        made = config.build(name)
        if not isinstance(made, nn.Module):
            msg = f"{name} in {config.path} must make an nn.Module, got {type(made).__name__}."
            raise InputError(msg)
        return made
    arguments = {key: value for key, value in config.get(name).items() if not _meta(key)}
    return monai_network(target.rpartition(".")[2], arguments, source=f"{name} in {config.path}")


def _nested(entry: Any) -> bool:
    """Whether the entry describes further objects inside."""
    parts = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else []
    return any((isinstance(part, dict) and "_target_" in part) or _nested(part) for part in parts)


def _meta(key: str) -> bool:
    return key.startswith("_") and key.endswith("_")


def _card_keys(config: BundleConfig, *, wanted: bool) -> tuple[dict[str, Any], list[str]]:
    """Card keys that the bundle's files state, and notes; the preprocessing is read only if `wanted`."""
    path = config.folder / "configs" / "metadata.json"
    metadata = read_json(path) if path.is_file() else {}
    formats = metadata.get("network_data_format") or {}
    channels = _first(formats.get("inputs")).get("num_channels") or _network_argument(config, "in_channels")
    card_keys: dict[str, Any] = {"name": str(metadata["name"])} if metadata.get("name") else {}
    if isinstance(channels, int):
        card_keys["in_channels"] = channels
    card_keys |= _labels(_first(formats.get("outputs")))
    dims = _dims(config)
    card_keys |= _tiles(config, dims or 3)
    if not wanted:
        return card_keys, []
    steps = Preprocessing(config, channels=channels if isinstance(channels, int) else 0)
    card_keys["recipe"] = UNTOUCHED | steps.recipe
    if steps.flip:
        card_keys["flip"] = steps.flip
    if dims is not None:
        card_keys["axes"] = (steps.axes or "xyz")[:dims]
    return card_keys, steps.notes


def _dims(config: BundleConfig) -> int | None:
    """Spatial dimensions of the network, if its arguments state them."""
    dims = _network_argument(config, "spatial_dims", "dimensions")
    return dims if dims in (2, 3) else None


def _network_argument(config: BundleConfig, *names: str) -> Any:
    """The first of the named network arguments that is set; None if there is none."""
    arguments = (config.get(key, name) for key in _NETWORK for name in names)
    return next((value for value in arguments if value is not None), None)


def _labels(output: dict[str, Any]) -> dict[str, Any]:
    """Class names; output channels without a background are separate structures."""
    names = {int(key): str(name) for key, name in (output.get("channel_def") or {}).items() if str(key).isdecimal()}
    if not names:
        return {}
    if names.get(0, "").strip().lower() in ("background", "bg"):
        return {"labels": names}
    return {"labels": {0: "background"} | {channel + 1: name for channel, name in names.items()}}


def _tiles(config: BundleConfig, dims: int) -> dict[str, Any]:
    """Size, overlap and blending of the tiles of the sliding window."""
    size = config.get("inferer", "roi_size")
    if size is None:
        return {}
    said = {key: config.get("inferer", key) for key in ("overlap", "mode", "sw_batch_size")}
    tiles = {"overlap": 0.25, "mode": "constant", "sw_batch_size": 1} | {
        key: value for key, value in said.items() if value is not None
    }
    tiles["batch_size"] = tiles.pop("sw_batch_size")
    return tiles | {"roi_size": list(size) if isinstance(size, list | tuple) else [size] * dims}


def _first(group: Any) -> dict[str, Any]:
    """The first of the named inputs or outputs."""
    entries = list(group.values()) if isinstance(group, dict) else []
    return entries[0] if entries and isinstance(entries[0], dict) else {}
