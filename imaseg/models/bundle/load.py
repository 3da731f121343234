"""Loads a MONAI bundle folder: network, weights, tiles, labels and preprocessing from the bundle's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imaseg.data.files import read_json
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.bundle.config import BundleConfig
from imaseg.models.bundle.inferer import Inferer
from imaseg.models.bundle.network import NETWORK, make_network, weights_file
from imaseg.models.bundle.own import BundleSoftware
from imaseg.models.bundle.postprocessing import Postprocessing
from imaseg.models.bundle.transforms import Preprocessing
from imaseg.models.card import BESIDE, UNTOUCHED, Card, parse_card, read_card
from imaseg.models.weights import load_state, read_state


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
    by = "card" if "activation" in from_card else "bundle"
    name = folder.resolve().name
    model = adapt(network, card, kind="bundle", name=name, notes=[*notes, *inferer.notes], activation_by=by)
    if preprocessing is not None and preprocessing.prepare is not None:
        model.prepare = preprocessing.prepare
    model.independent = model.independent or after.activation == "sigmoid"
    model.back = after.back
    model.left_out = [*after.left_out, *_decided(after, model)]
    if trust:
        model.own = BundleSoftware(folder, model.found.layout.channels)
    else:
        model.no_own = "running a bundle's own transforms needs --trust"
    return model


def _decided(after: Postprocessing, model: AdaptedModel) -> list[str]:
    """A sentence where channels are decided otherwise than by the largest, or by 0.5 each."""
    channels, ends_in = model.found.probe.channels, model.ending.activation
    if after.activation is None and after.threshold not in (None, 0.5 if ends_in == "sigmoid" else 0.0):
        split = "probabilities at 0.5" if ends_in == "sigmoid" else "logits at 0"
        return [f"AsDiscrete (threshold {after.threshold:g} of what the network returns): imaseg splits {split}"]
    if after.activation != "sigmoid" or channels < 3 or channels != len(model.card.labels):
        return []
    return ["AsDiscrete (a threshold for each channel, background included): the channel with the largest value wins"]


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
    arguments = (config.get(key, name) for key in NETWORK for name in names)
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
