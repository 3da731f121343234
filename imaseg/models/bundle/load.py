"""Loads a MONAI bundle folder: network, weights, tiles, labels and preprocessing from the bundle's own files."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from torch import nn

from imaseg.data.files import read_json
from imaseg.errors import InputError
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.bundle.config import BundleConfig, KeyPath
from imaseg.models.bundle.inferer import Inferer
from imaseg.models.bundle.postprocessing import Postprocessing
from imaseg.models.bundle.transforms import Preprocessing
from imaseg.models.card import BESIDE, UNTOUCHED, Card, parse_card, read_card
from imaseg.models.networks import monai_network
from imaseg.models.weights import load_state, read_state

_NETS = "monai.networks.nets."
_NETWORK = ("network_def", "net", "network")
_WEIGHTS = ("models/model.pt", "models/model.safetensors", "models/model.pth")
_REMOVED = {"SwinUNETR": ("img_size",)}
"""Arguments by class that MONAI has removed and that never changed the network."""
_RENAMED = {"dimensions": "spatial_dims", "pos_embed": "proj_type"}
"""Arguments that MONAI has renamed."""


def load_bundle(text: str, *, trust: bool = False) -> AdaptedModel:
    """Load a MONAI bundle.

    Args:
        text: the folder; keys of a card `imaseg.yaml` in it add to, or override, what the bundle's own files state.
        trust: whether the bundle's code (`$...`, and classes outside of MONAI) may run.

    Raises:
        InputError: if a file is missing or malformed, an entry is not supported, or one needs trust.
    """
    folder = Path(text)
    config = BundleConfig(folder, trust=trust)
    own = read_card(folder / BESIDE) if (folder / BESIDE).is_file() else Card()
    from_card = own.model_dump(by_alias=True, exclude_unset=True)
    notes = list(config.notes)
    from_bundle = _card_keys(config)
    preprocessing = None
    if "recipe" not in from_card:
        preprocessing = Preprocessing(config, channels=from_bundle.get("in_channels", 0))
        notes += preprocessing.notes
        if preprocessing.recipe is not None:
            from_bundle["recipe"] = UNTOUCHED | preprocessing.recipe
    inferer = Inferer(config, dims=_dims(config))
    from_bundle |= inferer.card
    after = Postprocessing(config)
    if after.activation is not None:
        from_bundle["activation"] = "none"
        notes.append(f"The bundle's postprocessing applies a {after.activation}: the network returns logits.")
    network = make_network(config, notes)
    weights = weights_file(config)
    load_state(network, read_state(weights), source=str(weights))
    card = parse_card(from_bundle | from_card, source=str(folder))
    model = adapt(network, card, kind="bundle", name=folder.resolve().name, notes=[*notes, *inferer.notes])
    if preprocessing is not None and preprocessing.prepare is not None:
        model.prepare = preprocessing.prepare
    model.independent = model.independent or after.activation == "sigmoid"
    left_out = [*after.left_out, *_decided(after, model)]
    model.card = model.card.model_copy(update={"postprocessing_left_out": left_out})
    return model


def _decided(after: Postprocessing, model: AdaptedModel) -> list[str]:
    """A sentence where channels are decided otherwise than by the largest, or by 0.5 each."""
    channels, ends_in = model.found.probe.channels, model.found.probe.activation
    if after.activation is None and after.threshold not in (None, 0.5 if ends_in == "sigmoid" else 0.0):
        split = "probabilities at 0.5" if ends_in == "sigmoid" else "logits at 0"
        return [f"AsDiscrete (threshold {after.threshold:g} of what the network returns): imaseg splits {split}"]
    if after.activation != "sigmoid" or channels < 3 or channels != len(model.card.labels):
        return []
    return ["AsDiscrete (a threshold for each channel, background included): the channel with the largest value wins"]


def make_network(config: BundleConfig, notes: list[str]) -> nn.Module:
    """The network with fresh weights; MONAI's own parser is used only where the entry is more than data.

    Args:
        config: of the bundle.
        notes: list that takes a sentence for each argument that is left out.

    Raises:
        InputError: if there is no network, or its entry needs trust, or is refused.
    """
    name = next((key for key in _NETWORK if key in config.content), None)
    if name is None:
        msg = f"{config.path} must say what the network is, got no network_def."
        raise InputError(msg)
    written, where = config.entry(name)
    target = str(written.get("_target_", "")) if isinstance(written, dict) else ""
    plain = target.startswith(_NETS) or (target and "." not in target)
    if not plain or _nested(config, where, 0):
        made = config.build(name)
        if not isinstance(made, nn.Module):
            msg = f"{name} in {config.path} must make an nn.Module, got {type(made).__name__}."
            raise InputError(msg)
        return made
    arguments = {key: value for key, value in config.get(name).items() if not _meta(key)}
    kind = target.rpartition(".")[2]
    return monai_network(kind, _present(kind, arguments, notes), source=f"{name} in {config.path}")


def _present(kind: str, arguments: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Arguments as the present MONAI takes them."""
    from monai.networks import nets

    network = getattr(nets, kind, None)
    if network is None:
        return arguments  # which is refused when it is built
    parameters = inspect.signature(network).parameters
    now = dict(arguments)
    for old in [key for key in arguments if key not in parameters]:
        if old in _REMOVED.get(kind, ()):
            notes.append(
                f"{old} of the bundle's {kind} is left out: MONAI has removed it, it never changed the network."
            )
            del now[old]
        elif _RENAMED.get(old) in parameters and _RENAMED[old] not in now:
            now[_RENAMED[old]] = now.pop(old)
    return now


def weights_file(config: BundleConfig) -> Path:
    """The file of weights: the one that the bundle's `CheckpointLoader` reads, else the usual one."""
    loaded = _load_path(config)
    named = [config.folder / "models" / Path(str(loaded)).name] if loaded else []
    usual = [config.folder / name for name in _WEIGHTS]
    return next((path for path in (*named, *usual) if path.is_file()), (*named, *usual)[0])


def _load_path(config: BundleConfig) -> str | None:
    """What the bundle's checkpoint loader reads, as far as data says it."""
    handlers = config.entry("handlers")[0]
    places: list[KeyPath] = [("checkpointloader",)]
    places += [("handlers", i) for i in range(len(handlers) if isinstance(handlers, list) else 0)]
    for where in places:
        written = config.entry(*where)[0]
        if isinstance(written, dict) and str(written.get("_target_", "")).endswith("CheckpointLoader"):
            try:
                path = config.get(*where, "load_path")
            except InputError:
                continue
            return path if isinstance(path, str) else None
    return None


def _nested(config: BundleConfig, where: KeyPath, depth: int) -> bool:
    """Whether an entry describes further objects inside."""
    written, where = config.entry(*where)
    parts = written if isinstance(written, dict) else range(len(written)) if isinstance(written, list) else ()
    inside = [config.entry(*where, part) for part in parts]
    return depth < 9 and any(
        (isinstance(value, dict) and "_target_" in value) or _nested(config, path, depth + 1) for value, path in inside
    )


def _meta(key: str) -> bool:
    return key.startswith("_") and key.endswith("_")


def _card_keys(config: BundleConfig) -> dict[str, Any]:
    """Card keys that the bundle's files state."""
    path = config.folder / "configs" / "metadata.json"
    metadata = read_json(path) if path.is_file() else {}
    formats = metadata.get("network_data_format") or {}
    channels = _first(formats.get("inputs")).get("num_channels") or _network_argument(config, "in_channels")
    card_keys: dict[str, Any] = {"name": str(metadata["name"])} if metadata.get("name") else {}
    if isinstance(channels, int):
        card_keys["in_channels"] = channels
    return card_keys | _labels(_first(formats.get("outputs")))


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
    names = {int(key): str(name) for key, name in _said(output).items() if str(key).isdecimal()}
    if not names:
        return {}
    if names.get(0, "").strip().lower() in ("background", "bg"):
        return {"labels": names}
    return {"labels": {0: "background"} | {channel + 1: name for channel, name in names.items()}}


def _said(output: dict[str, Any]) -> dict[str, Any]:
    """Names by channel, under the key that the metadata have."""
    names = output.get("channel_def") or output.get("label_def")
    return names if isinstance(names, dict) else {}


def _first(group: Any) -> dict[str, Any]:
    """The first of the named inputs or outputs."""
    entries = list(group.values()) if isinstance(group, dict) else []
    return entries[0] if entries and isinstance(entries[0], dict) else {}
