"""The network of a bundle, and the file of its weights."""

from __future__ import annotations

import inspect
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from torch import nn

from imaseg.errors import InputError
from imaseg.models.budget import no_larger_than
from imaseg.models.bundle.config import BundleConfig, KeyPath
from imaseg.models.networks import monai_network, segmenter
from imaseg.models.places import inside
from imaseg.models.weights import load_state, read_state

_NETS = "monai.networks.nets."
NETWORK = ("network_def", "net", "network")
_WEIGHTS = ("models/model.pt", "models/model.safetensors", "models/model.pth")
_REMOVED = {"SwinUNETR": ("img_size",)}
"""Arguments by class that MONAI has removed and that never changed the network."""
_PLAIN = re.compile(r"^\$\s*@(?P<id>[\w#:]+)(?:\s*\.(?:to|eval|float|cuda)\(.*\))+\s*$")
"""Expressions that change nothing of a network."""
_SAME = re.compile(r"DataParallel|\bcompile|trt_compile|convert_sync_batchnorm|SyncBatchNorm")
"""What runs the same network elsewhere, or faster."""
_RENAMED = {"dimensions": "spatial_dims", "pos_embed": "proj_type"}
"""Arguments that MONAI has renamed."""


def loaded_network(config: BundleConfig, notes: list[str], weights: Path) -> nn.Module:
    """The network that the bundle runs, with its weights.

    Args:
        config: of the bundle.
        notes: list that takes a sentence for each argument that is left out.
        weights: file of weights.

    Raises:
        InputError: as `make_network`, or if the weights do not fit.
    """
    outer = wrapper_at(config) if config.trust else None
    state = read_state(weights)
    with no_larger_than(weights, source=str(config.path)):
        network = make_network(config, notes, by_monai=outer is not None)
    load_state(network, state, source=str(weights))
    if outer is None:
        return network
    whole = config.build(*outer)
    if not isinstance(whole, nn.Module):
        msg = f"{'#'.join(map(str, outer))} in {config.path} must make an nn.Module, got {type(whole).__name__}."
        raise InputError(msg)
    return whole


def wrapper_at(config: BundleConfig) -> KeyPath | None:
    """The path of the network that the evaluator runs, where that is more than `network_def`; None if it is no more."""
    name = next((key for key in NETWORK if key in config.content), "")
    inner = config.entry(name)[1]
    for place in (("evaluator", "network"), ("network",)):
        value, where = config.entry(*place)
        first = where
        while isinstance(value, str) and (match := _PLAIN.match(value)):
            value, where = config.entry(*match["id"].replace("::", "#").split("#"))
        if value is not None:
            target = value.get("_target_", "") if isinstance(value, dict) else value
            return None if where == inner or _SAME.search(str(target)) else first
    return None


def make_network(config: BundleConfig, notes: list[str], *, by_monai: bool = False) -> nn.Module:
    """The network with fresh weights; MONAI's own parser is used only where the entry is more than data.

    Args:
        config: of the bundle.
        notes: list that takes a sentence for each argument that is left out.
        by_monai: whether its parser is used in any case, so that other entries get the same network.

    Raises:
        InputError: if there is no network, or its entry needs trust, or is refused.
    """
    name = next((key for key in NETWORK if key in config.content), None)
    if name is None:
        msg = f"{config.path} must say what the network is, got no network_def."
        raise InputError(msg)
    written, where = config.entry(name)
    target = str(written.get("_target_", "")) if isinstance(written, dict) else ""
    plain = target.startswith(_NETS) or (target and "." not in target)
    kind = target.rpartition(".")[2]
    other = config.trust and segmenter(kind) is None
    if by_monai or other or not plain or _nested(config, where):
        made = config.build(name)
        if not isinstance(made, nn.Module):
            msg = f"{name} in {config.path} must make an nn.Module, got {type(made).__name__}."
            raise InputError(msg)
        return made
    arguments = {key: value for key, value in config.get(name).items() if not _meta(key)}
    return monai_network(kind, _present(kind, arguments, notes), source=f"{name} in {config.path}")


def _present(kind: str, arguments: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Arguments as the present MONAI takes them."""
    network = segmenter(kind)
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


def weights_file(config: BundleConfig, card: str | None = None) -> Path:
    """The file of weights: the one that the card names, or that the bundle's `CheckpointLoader` reads, else the usual.

    Args:
        config: of the bundle.
        card: what the card says, relative to the bundle.
    """
    if card is not None:
        return inside(config.folder, card, source=f"weights in the card of {config.folder}", trust=config.trust)
    if loaded := _load_path(config):
        models = config.folder / "models"
        return inside(models, str(_below_models(loaded)), source=f"load_path in {config.path}", trust=config.trust)
    usual = [config.folder / name for name in _WEIGHTS]
    return next((path for path in usual if path.is_file()), usual[0])


def _below_models(path: str) -> Path:
    """The part of a path, perhaps of the author's machine, below the folder `models`; its name without such a folder.

    >>> _below_models("/workspace/spleen/models/fold1/model.pt").as_posix()
    'fold1/model.pt'
    """
    parts = PureWindowsPath(path).parts
    last = max((i for i, part in enumerate(parts[:-1]) if part == "models"), default=len(parts) - 2)
    return Path(*parts[last + 1 :])


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
                if len([*(config.folder / "models").rglob("*.*")]) > 1:
                    raise  # which of them is meant cannot be told
                continue
            return path if isinstance(path, str) else None
    return None


def _nested(config: BundleConfig, where: KeyPath) -> bool:
    """Whether an entry describes further objects inside; each place is looked at once, however often it is named."""
    top = config.entry(*where)[1]
    waiting, seen = [top], set[KeyPath]()
    while waiting:
        written, at = config.entry(*waiting.pop())
        if at in seen:
            continue
        seen.add(at)
        if isinstance(written, dict) and "_target_" in written and at != top:
            return True
        parts = written if isinstance(written, dict) else range(len(written)) if isinstance(written, list) else ()
        waiting += [(*at, part) for part in parts]
    return False


def _meta(key: str) -> bool:
    return key.startswith("_") and key.endswith("_")
