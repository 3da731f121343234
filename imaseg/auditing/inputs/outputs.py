"""What the outputs of a network on real cases say of the activation that is undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imaseg.auditing.inputs.source import Loaded
from imaseg.errors import InputError
from imaseg.frozen import frozen, heads
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.only import OnlyClasses
from imaseg.models.outputs.ending import Ending, Seen, doubt
from imaseg.models.outputs.logits import undo_activation

_INSIDE = 0.5
"""Share of a channel's voxels that lies in another one, above which it counts as inside."""


class Watch:
    """Outputs of the network inside a model, seen so far.

    Args:
        activation: that the network ends in.
        overlap: whether to count what channels share.

    Attributes:
        seen: their range.
        shared: voxels (K, K) that are above 0 in two channels as logits; on the diagonal in one.
    """

    def __init__(self, activation: str, *, overlap: bool) -> None:
        self.seen, self.shared = Seen(), torch.zeros(1, 1)
        self._activation, self._overlap = activation, overlap

    def look(self, network: nn.Module, given: tuple[Tensor, ...], output: Any) -> None:
        """Take in one output; a forward hook."""
        raw = heads(output, given[0])[0].detach()
        self.seen = self.seen.also(raw)
        if not self._overlap:
            return
        above = (undo_activation(raw, self._activation) > 0).transpose(0, 1).flatten(1).float()
        self.shared = self.shared + (above @ above.T).cpu()

    def nested(self) -> list[tuple[int, int]]:
        """Pairs of channels of which the first lies mostly inside the second."""
        own = self.shared.diagonal()
        pairs = [(i, j) for i in range(len(own)) for j in range(len(own)) if i != j and 0 < own[i] <= own[j]]
        return [(i, j) for i, j in pairs if self.shared[i, j] > _INSIDE * own[i]]


@contextmanager
def watched(model: SegmentationModel) -> Iterator[Watch]:
    """Context that takes in what the network inside `model` returns, before any activation is undone."""
    whole = _whole(model)
    watch = Watch(whole.ending.activation, overlap=whole.independent and not whole.card.regions)
    raw = whole.raw if isinstance(whole, AdaptedModel) else whole.network
    hook = raw.register_forward_hook(watch.look)
    try:
        yield watch
    finally:
        hook.remove()


def settle(model: SegmentationModel, seen: Seen) -> str | None:
    """Take the activation from real cases where noise showed none; what speaks against the activation, if anything."""
    whole = _whole(model)
    if whole.ending.activation == "unknown" and seen.activation != "unknown":
        whole.ending = Ending(seen.activation, "case")
    return doubt(whole.ending.activation, seen, "a real case")


def crossing(model: SegmentationModel, watch: Watch) -> str | None:
    """What to do about sigmoids that hold each other on a real case, where nobody says that they are regions."""
    whole = _whole(model)
    if not isinstance(whole, AdaptedModel) or not whole.independent or whole.card.regions:
        return None
    classes = whole.found.layout.channels or {k: k + 1 for k in range(len(whole.card.labels) - 1)}
    names = {channel: whole.card.labels[k] for channel, k in classes.items()}
    pairs = [f"{names[i]} inside {names[j]}" for i, j in watch.nested() if i in names and j in names]
    if not pairs:
        return None
    form = ", ".join(f"{names[channel]}: [...]" for channel in sorted(names))
    name, held = whole.card.name, ", ".join(pairs)
    return (
        f"On a real case channels of {name} hold each other ({held}). If they are regions, write `regions: {{{form}}}` "
        "with the label values inside each into the card, channel by channel; else write `regions: {channel: class}` "
        "in the order of painting."
    )


def warnings_of(model: SegmentationModel, case: Loaded | None) -> list[str]:
    """What speaks against the activation of a network from elsewhere, on noise and on one tile of a real case.

    Raises:
        InputError: if its channels hold each other, and nobody says in which order they are painted.
    """
    whole = _whole(model)
    if not isinstance(whole, AdaptedModel):
        return []
    found = None
    if case is not None:
        image = torch.from_numpy(_tile(whole, case))[None].to(next(model.parameters()).device)
        with frozen(model), torch.no_grad(), watched(model) as watch:
            model(image)
        found = settle(model, watch.seen)
        held = crossing(model, watch)
        if held is not None and whole.found.layout.channels is None:
            raise InputError(held)
        found = found or held
    return [f"Warning: {text}" for text in dict.fromkeys([whole.problem(), found]) if text is not None]


def _whole(model: SegmentationModel) -> SegmentationModel:
    return model.whole if isinstance(model, OnlyClasses) else model


def _tile(model: AdaptedModel, case: Loaded) -> np.ndarray[Any, Any]:
    """One tile or slice around what is labelled; the whole image where the network sees it whole."""
    use, image = model.found.card, case.volume.image
    sides: Sequence[int] = image.shape[1:]
    if use.roi_size is not None:  # as long along all axes: whichever way the network turns them
        longest = max(use.roi_size)
        sides = [min(side, longest) if longest > 0 else side for side in sides]
    label = case.volume.label
    labelled = np.argwhere(label > 0) if label is not None else np.empty((0, len(sides)), np.int64)
    middle = labelled[len(labelled) // 2] if len(labelled) else np.array(image.shape[1:]) // 2
    starts = [
        int(np.clip(at - side // 2, 0, length - side))
        for at, side, length in zip(middle, sides, image.shape[1:], strict=True)
    ]
    box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return np.ascontiguousarray(image[:, *box])
