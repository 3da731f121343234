"""Converts the output of a network to class logits whose argmax is the segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.frozen import heads
from imaseg.models.nnunet.decision import classes_of_regions

_USUAL = ("out", "logits", "pred")


class OneOutput(nn.Module):
    """Wraps a network that may return several tensors; returns the one that holds the logits.

    Args:
        network: image -> tensor, list, tuple or mapping of them.
        key: key or index of the logits; None takes the first of a list (the head of full resolution), and the entry
            `out`, `logits` or `pred` of a mapping.
    """

    def __init__(self, network: nn.Module, key: str | int | None = None) -> None:
        super().__init__()
        self.network = network
        self.key = key

    def forward(self, image: Tensor) -> Tensor:
        """Return the tensor of logits.

        Raises:
            InputError: if the output holds no such tensor.
        """
        output: Any = self.network(image)
        key = self.key
        if isinstance(output, Mapping) and key is None:
            candidates = list(output) if len(output) == 1 else [name for name in _USUAL if name in output]
            key = candidates[0] if candidates else None
        try:
            logits = heads(output, image)[0] if key is None and not isinstance(output, Mapping) else output[key]
        except (KeyError, IndexError, TypeError) as error:
            there = f"one with {', '.join(map(str, output))}" if isinstance(output, Mapping) else type(output).__name__
            msg = f"output must name the logits of the network, got {key!r} for {there}. Write `output:` into the card."
            raise InputError(msg) from error
        if not isinstance(logits, Tensor):
            msg = f"network must return a tensor, got {type(logits).__name__}. Write `output:` into the card."
            raise InputError(msg)
        return logits


def undo_activation(raw: Tensor, activation: str) -> Tensor:
    """Convert the output of a final softmax or sigmoid back to logits, differentiably.

    The gradient is 0 where probabilities were rounded to 0 or 1.

    >>> z = torch.tensor([[1.0, -2.0, 0.5]])
    >>> torch.allclose(undo_activation(z.softmax(1), "softmax").softmax(1), z.softmax(1))
    True
    >>> torch.allclose(undo_activation(z.sigmoid(), "sigmoid"), z, atol=1e-5)
    True
    """
    if activation == "none":
        return raw
    raw = raw.float() if raw.dtype.itemsize < 4 else raw
    if activation == "softmax":
        return raw.clamp(min=torch.finfo(raw.dtype).tiny).log()
    inside = raw.clamp(min=torch.finfo(raw.dtype).tiny, max=1 - torch.finfo(raw.dtype).eps / 2)
    return inside.log() - (-inside).log1p()


def as_classes(logits: Tensor, classes: int, regions: Mapping[int, int] | None) -> Tensor:
    """Convert network output to class logits (B, classes, *spatial), background first.

    Args:
        logits: one channel per class; or one per structure against everything else; or, with two classes, that of the
            foreground alone.
        classes: number of classes, background included.
        regions: class of each channel, in the order in which they are painted over each other; None if channels are
            classes, or if they are structures 1, 2, ... in order.
    """
    if regions is not None:
        return classes_of_regions(logits[:, list(regions)], list(regions.values()))
    if logits.shape[1] == classes:
        return logits
    if logits.shape[1] == 1:
        return torch.cat([torch.zeros_like(logits), logits], 1)
    return classes_of_regions(logits, range(1, classes))


def only(logits: Tensor, kept: Sequence[int]) -> Tensor:
    """Keep the logits of some classes; all others become background, with the largest of their logits.

    Decisions between the kept classes and the rest do not change.

    >>> only(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), [0, 2])
    tensor([[3., 1.]])
    """
    rest = [channel for channel in range(logits.shape[1]) if channel not in kept or channel == 0]
    return torch.cat([logits[:, rest].amax(1, keepdim=True), logits[:, [k for k in kept if k > 0]]], 1)
