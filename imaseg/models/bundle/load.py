"""Loads a MONAI bundle folder: network, weights, tiles, labels and preprocessing from the bundle's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from imaseg.data.plain import is_number, read_json
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.bundle.config import BundleConfig
from imaseg.models.bundle.inferer import Inferer
from imaseg.models.bundle.network import NETWORK, loaded_network, weights_file, wrapper_at
from imaseg.models.bundle.own import BundleSoftware
from imaseg.models.bundle.postprocessing import Postprocessing
from imaseg.models.bundle.transforms import Preprocessing
from imaseg.models.card import BESIDE, UNTOUCHED, card_beside, parse_card
from imaseg.validated import validated


class _Metadata(BaseModel):
    """`metadata.json`, as far as its types matter here."""

    name: str | None = None
    network_data_format: dict[str, Any] | None = None


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
    own = card_beside(folder / BESIDE, unused=("class_", "arguments"), trust=trust)
    from_card = own.model_dump(by_alias=True, exclude_unset=True)
    notes = list(config.notes)
    after = Postprocessing(config)
    from_bundle = _card_keys(config, exclusive=after.exclusive)
    preprocessing = None
    if "recipe" not in from_card:
        preprocessing = Preprocessing(config, channels=from_bundle.get("in_channels", 0))
        notes += preprocessing.notes
        if preprocessing.recipe is not None:
            from_bundle["recipe"] = UNTOUCHED | preprocessing.recipe
    inferer = Inferer(config, dims=_dims(config))
    from_bundle |= inferer.card
    if after.activation is not None:
        from_bundle["activation"] = "none"
        notes.append(f"The bundle's postprocessing applies a {after.activation}: the network returns logits.")
    weights = weights_file(config, own.weights)
    network = loaded_network(config, notes, weights)
    card = parse_card(from_bundle | from_card, source=str(folder))
    by = "card" if "activation" in from_card else "bundle"
    name = folder.resolve().name
    model = adapt(network, card, kind="bundle", name=name, notes=notes, activation_by=by)
    if preprocessing is not None and preprocessing.prepare is not None:
        model.prepare = preprocessing.prepare
    model.independent = model.independent or after.activation == "sigmoid"
    model.back = after.back
    outer = None if trust else wrapper_at(config)
    around = [f"what {'#'.join(map(str, outer))} does around network_def: with --trust it is done"] if outer else []
    model.left_out = [*around, *inferer.left_out, *after.left_out, *_decided(after, model)]
    if trust:
        model.own = BundleSoftware(folder, model.painted, weights)
    else:
        model.no_own = "running a bundle's own transforms needs --trust"
    return model


def _decided(after: Postprocessing, model: AdaptedModel) -> list[str]:
    """A sentence where channels are decided otherwise than by the largest, or by 0.5 each."""
    channels, ends_in = model.found.probe.channels, model.ending.activation
    if after.activation is None and after.threshold not in (None, 0.5 if ends_in == "sigmoid" else 0.0):
        split = "probabilities at 0.5" if ends_in == "sigmoid" else "logits at 0"
        return [f"AsDiscrete (threshold {after.threshold:g} of what the network returns): imaseg splits {split}"]
    alone = channels == len(model.card.labels) and after.threshold is not None and not after.largest
    if not alone or (after.activation == "softmax" and channels == 2):  # of two that sum to 1 one is above 0.5
        return []
    return ["AsDiscrete (a threshold for each channel, background included): the channel with the largest value wins"]


def _card_keys(config: BundleConfig, *, exclusive: bool) -> dict[str, Any]:
    """Card keys that the bundle's files state.

    Args:
        config: of the bundle.
        exclusive: whether only one channel wins, so that the first one is the background whatever it is called.
    """
    path = config.folder / "configs" / "metadata.json"
    metadata = read_json(path) if path.is_file() else {}
    formats = validated(_Metadata, metadata, source=str(path)).network_data_format or {}
    # Of several inputs the metadata count the channels of each by itself.
    channels = _network_argument(config, "in_channels") or _first(formats.get("inputs")).get("num_channels")
    card_keys: dict[str, Any] = {"name": str(metadata["name"])} if metadata.get("name") else {}
    if isinstance(channels, int):
        card_keys["in_channels"] = channels
    output = _first(formats.get("outputs"))
    outputs = _network_argument(config, "out_channels") or output.get("num_channels")
    return card_keys | _labels(_said(output), one_each=exclusive, channels=outputs)


def _dims(config: BundleConfig) -> int | None:
    """Spatial dimensions of the network, if its arguments state them."""
    dims = _network_argument(config, "spatial_dims", "dimensions")
    return dims if dims in (2, 3) else None


def _network_argument(config: BundleConfig, *names: str) -> Any:
    """The first of the named network arguments that is set; None if there is none."""
    arguments = (config.get(key, name) for key in NETWORK for name in names)
    return next((value for value in arguments if value is not None), None)


def _labels(said: dict[str, Any], *, one_each: bool, channels: Any) -> dict[str, Any]:
    """Class names; output channels without a background are separate structures, unless a voxel belongs to one only.

    Args:
        said: names by channel.
        one_each: whether the largest channel wins.
        channels: number of output channels; None if unknown.
    """
    names = {int(key): str(name) for key, name in said.items() if is_number(str(key))}
    if not names:
        return {}
    one_each = one_each and len(names) > 1 and channels in (None, len(names))
    if 0 not in names or names[0].strip().lower() in ("background", "bg") or one_each:
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
