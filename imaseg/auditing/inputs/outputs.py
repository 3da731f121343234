"""What the outputs of a network on real cases say of the activation that is undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imaseg.auditing.inputs.source import Loaded
from imaseg.frozen import frozen, heads
from imaseg.models import SegmentationModel
from imaseg.models.adapted import AdaptedModel
from imaseg.models.ending import Ending, Seen, doubt
from imaseg.models.only import OnlyClasses


class Watch:
    """Outputs of the network inside a model, seen so far."""

    def __init__(self) -> None:
        self.seen = Seen()

    def look(self, network: nn.Module, given: tuple[Tensor, ...], output: Any) -> None:
        """Take in one output; a forward hook."""
        self.seen = self.seen.also(heads(output, given[0])[0])


@contextmanager
def watched(model: SegmentationModel) -> Iterator[Watch]:
    """Context that takes in what the network inside `model` returns, before any activation is undone."""
    whole, watch = _whole(model), Watch()
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


def warnings_of(model: SegmentationModel, case: Loaded | None) -> list[str]:
    """What speaks against the activation of somebody else's network, on noise and on one tile of a real case."""
    whole = _whole(model)
    if not isinstance(whole, AdaptedModel):
        return []
    found = None
    if case is not None:
        image = torch.from_numpy(_tile(whole, case))[None].to(next(model.parameters()).device)
        with frozen(model), torch.no_grad(), watched(model) as watch:
            model(image)
        found = settle(model, watch.seen)
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
    labelled = np.argwhere(case.label > 0)
    middle = labelled[len(labelled) // 2] if len(labelled) else np.array(image.shape[1:]) // 2
    starts = [
        int(np.clip(at - side // 2, 0, length - side))
        for at, side, length in zip(middle, sides, image.shape[1:], strict=True)
    ]
    box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return np.ascontiguousarray(image[:, *box])
