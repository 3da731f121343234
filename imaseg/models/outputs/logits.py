"""Converts the output of a network to class logits whose argmax is the segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.models.outputs.decision import classes_of_regions

_USUAL = ("out", "logits", "pred")


class OneOutput(nn.Module):
    """Wraps a network that may return several tensors; returns the one that holds the logits.

    Args:
        network: image -> tensor, or lists, tuples and mappings of them, also within each other.
        key: key or index of the logits, of parts within parts joined by dots (`0.1`); None takes the only one that is
            as large as the image, or the one of these that is called `out`, `logits` or `pred`.
    """

    def __init__(self, network: nn.Module, key: str | int | None = None) -> None:
        super().__init__()
        self.network = network
        self.key = key
        self._name: str | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Return the tensor of logits, at least in single precision.

        Raises:
            InputError: if the output holds no such tensor, or several.
        """
        tensors = dict(_tensors(self.network(image), image))
        # Chosen once: at another size of the image another head might be as large.
        name = self._name if self._name in tensors else self._chosen(tensors, image)
        logits = tensors[name]
        return logits if logits.dtype.itemsize >= 4 else logits.float()

    def _chosen(self, tensors: Mapping[str, Tensor], image: Tensor) -> str:
        key = self.key
        named = {name: one for name, one in tensors.items() if key is None or f"{name}.".startswith(f"{key}.")}
        if not named:
            there = f"one with {', '.join(tensors)}" if any(tensors) else "a single tensor" if tensors else "no tensor"
            msg = f"output must name the logits of the network, got {key!r} for {there}. Correct it in the card."
            raise InputError(msg)
        numbers = {name: one for name, one in named.items() if one.is_floating_point()}
        if not numbers:
            kinds = ", ".join(str(one.dtype).removeprefix("torch.") for one in named.values())
            msg = (
                f"network must return logits or probabilities, got {kinds}: labels that it has decided. Return what "
                "comes before argmax or the threshold."
            )
            raise InputError(msg)
        whole = [name for name, one in numbers.items() if one.ndim > 2 and one.shape[2:] == image.shape[2:]]
        usual = [name for name in whole if name in _USUAL]
        candidates = usual if len(whole) > 1 and len(usual) == 1 else whole
        if len(candidates) > 1:
            msg = (
                f"output must name the logits of the network, got {key!r} for one with {', '.join(tensors)}, of which "
                f"{' and '.join(candidates)} are as large as the image. Write `output:` into the card."
            )
            raise InputError(msg)
        if not candidates:  # whoever asked sees that the size does not fit
            return max(numbers, key=lambda name: numbers[name].numel())
        self._name = candidates[0]
        return candidates[0]


def _tensors(output: Any, image: Tensor, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors in an output by name; heads that are stacked on axis 1 come apart."""
    if isinstance(output, Tensor) and output.ndim <= image.ndim:
        yield name, output
        return
    parts: Any = {}
    if isinstance(output, Tensor):
        parts = dict(enumerate(output.unbind(1)))
    elif isinstance(output, Mapping):
        parts = output
    elif isinstance(output, list | tuple):
        parts = dict(enumerate(output))
    for key, part in parts.items():
        yield from _tensors(part, image, f"{name}.{key}" if name else str(key))


def undo_activation(raw: Tensor, activation: str) -> Tensor:
    """Convert what comes after a final activation back to logits, differentiably.

    The gradient is 0 where probabilities were rounded to 0 or 1.

    >>> z = torch.tensor([[1.0, -2.0, 0.5]])
    >>> torch.allclose(undo_activation(z.softmax(1), "softmax").softmax(1), z.softmax(1))
    True
    >>> torch.allclose(undo_activation(z.sigmoid(), "sigmoid"), z, atol=1e-5)
    True
    >>> torch.allclose(undo_activation(z.sigmoid().log(), "log-sigmoid"), z, atol=1e-5)
    True
    """
    if activation in ("none", "unknown", "log-softmax"):  # the logarithms of probabilities are logits of the same
        return raw
    if activation == "log-sigmoid":
        below = raw.clamp(max=-torch.finfo(raw.dtype).tiny)
        return below - (-below.expm1()).log()
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
