"""`load_model("torchscript:FILE")`: a TorchScript file with a card beside it. It is a program, so it needs trust."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from imaseg.errors import InputError
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.card import card_beside
from imaseg.models.trusted import require_trust


def load_torchscript(text: str, *, trust: bool = False) -> AdaptedModel:
    """Load a file that `torch.jit.save` wrote.

    Args:
        text: the file; its card is FILE.yaml, with or without FILE's own suffix.
        trust: whether the program may run.

    Raises:
        InputError: if it is missing or damaged, or needs trust.
    """
    path = Path(text)
    if not path.is_file():
        msg = f"{path} must be a TorchScript file, got nothing there."
        raise InputError(msg)
    require_trust(f"TorchScript file {path}", trust=trust)
    card = card_beside(path.with_name(f"{path.name}.yaml"), path.with_suffix(".yaml"), trust=trust)
    try:
        script = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        told = " ".join(str(error).split())[:160]
        msg = f"{path} must be a file that torch.jit.save wrote, got an unreadable one ({told}). Export it again."
        raise InputError(msg) from error
    return adapt(TorchScript(script, path.read_bytes()), card, kind="torchscript", name=path.stem)


class TorchScript(nn.Module):
    """A TorchScript module; the digest of its file serves as a weight, since a frozen script has no parameters."""

    def __init__(self, script: nn.Module, content: bytes) -> None:
        super().__init__()
        self.script = script
        digest = list(hashlib.sha256(content).digest())
        self.register_buffer("sha256", torch.tensor(digest, dtype=torch.uint8))

    def forward(self, image: torch.Tensor) -> object:
        """Return the output of the script."""
        return self.script(image)
