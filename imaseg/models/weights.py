"""Reads weights from a file as data: nothing in it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.models.archive import check_tensors, read_archive
from imaseg.models.finite import require_finite

_INSIDE = ("model_state_dict", "state_dict", "network_weights", "model", "net", "network", "weights", "params")
"""Keys under which trainers keep the weights in a checkpoint."""
_WRAPPERS = ("module.", "_orig_mod.", "network.", "model.", "net.")
"""Prefixes that training frameworks add to the name of each weight."""


_MOST_HEADER = 2**23
_DEEPEST = 5
_MEND = "Save `model.state_dict()` alone, or load it in a factory of yours: python:module:factory."


def read_state(path: Path) -> dict[str, Tensor]:
    """Read weights by name from `.safetensors`, `.pt`, `.pth` or `.ckpt` files, whatever mappings wrap them.

    Raises:
        InputError: if the file is missing or damaged, holds more than data, or no weights.
    """
    if not path.is_file():
        msg = f"{path} must hold weights, got nothing there. Name the file in the card's `weights:`."
        raise InputError(msg)
    content = _safetensors(path) if path.suffix == ".safetensors" else read_archive(path, mend=_MEND)
    state = _weights_in(content)
    if state is None:
        keys = (
            f"a mapping with {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else "no mapping"
        )
        msg = f"{path} must hold weights by name, or such a mapping under {', '.join(_INSIDE[:3])}, got {keys}."
        raise InputError(msg)
    check_tensors(state, source=str(path))
    return state


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > _MOST_HEADER:
            msg = f"{path} must be a file of weights, got a header of {header} bytes. Copy it again."
            raise InputError(msg)
        return load_file(path)
    except InputError:
        raise
    except Exception as error:  # what is damaged may fail anywhere
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        msg = f"{path} must be a file of weights, got an unreadable one ({what}). Copy it again."
        raise InputError(msg) from error


def _weights_in(content: Any, depth: int = 0) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {str(name): tensor for name, tensor in content.items()}
    inside = (_weights_in(content.get(key), depth + 1) for key in _INSIDE)
    return next((state for state in inside if state is not None), None)


def load_state(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load weights into a network, all of them or none, with prefixes such as `module.` removed from their names.

    Raises:
        InputError: if names or shapes differ; the message lists the first of each.
    """
    own = network.state_dict()
    state = _fitting_names(state, set(own))
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    misshapen = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not (missing or extra or misshapen):
        network.load_state_dict(dict(state))
        require_finite(network, source=source)
        return
    shapes = [f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in misshapen]
    parts = [("missing", missing), ("unexpected", extra), ("of another shape", shapes)]
    told = "; ".join(f"{len(names)} {what} ({_few(names)})" for what, names in parts if names)
    msg = (
        f"{source} must hold the weights of this {type(network).__name__}, got {told}. "
        "Use the class and arguments that it was trained with."
    )
    raise InputError(msg)


def _fitting_names(state: Mapping[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """Remove prefixes shared by all names where that makes the names fit the network."""
    tried = [dict(state)]
    for _ in _WRAPPERS:
        names = tried[-1]
        prefix = next(
            (wrapper for wrapper in _WRAPPERS if names and all(name.startswith(wrapper) for name in names)), None
        )
        if prefix is None:
            break
        tried.append({name.removeprefix(prefix): tensor for name, tensor in names.items()})
    return max(tried, key=lambda names: len(own & names.keys()))


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
