"""Adapts an arbitrary network to `SegmentationModel`, as its card specifies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.models.card import Card
from imaseg.models.finite import require_finite
from imaseg.models.layout import Layout, lay_out
from imaseg.models.outputs.ending import Ending, Seen, doubt
from imaseg.models.outputs.logits import OneOutput, as_classes, undo_activation
from imaseg.models.outputs.probe import Probe, guess_input, probe
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.tiling import TiledModel

_SLICED = {"x": "zy", "y": "zx", "z": "yx"}
"""Axes (rows, columns) that a 2D network sees by the axis across its slices, if the card does not state them."""


@dataclass(frozen=True)
class Found:
    """What loading found out about a model; `imaseg doctor` prints it.

    Attributes:
        kind: kind of the model specification, such as `bundle`.
        probe: what the network did with noise as input.
        card: the card, completed by what the probe showed.
        ending: final activation that is undone, and who says so.
        layout: what its channels and classes are.
        notes: sentences on what was assumed or left out.
    """

    kind: str
    probe: Probe
    card: Card
    ending: Ending
    layout: Layout
    notes: tuple[str, ...] = ()


class AdaptedModel(SegmentationModel):
    """An arbitrary network as a model: image (B, C, X, Y, Z) -> class logits of the same spatial size.

    A 2D network processes volumes slice by slice, and also takes images (B, C, rows, columns).

    Args:
        network: image -> one tensor, in the axes of `found.card`.
        card: description of the adapted model.
        found: axes, tiles and outputs of the network itself.
    """

    def __init__(self, network: nn.Module, card: ModelCard, found: Found) -> None:
        inner = SegmentationModel(network, ModelCard(**dict(card) | {"divisor": found.probe.divisor}))
        super().__init__(inner, card)
        self.found, self.ending = found, found.ending
        self.slices_along: str | None = None
        use = found.card
        self._flat = use.spatial_dims == 2
        self._tiled: TiledModel | None = None
        if self._flat or use.roi_size is not None:
            self._tiled = TiledModel(
                inner,
                use.roi_size or -1,
                use.overlap,
                use.mode,
                padding_mode=use.padding_mode,
                cval=use.pad_value,
                slices_along=2 if self._flat else None,
                batch_size=use.batch_size,
            )
        self.independent = found.layout.channels is not None or 1 < found.probe.channels < len(card.labels)
        # An empty parameter, so that code can read the model's device off it: a frozen script has no parameters.
        self._home = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return class logits; their argmax is the segmentation."""
        return as_classes(self.channels(image), len(self.card.labels), self.found.layout.channels)

    def channels(self, image: Tensor) -> Tensor:
        """Return the logits of the network's own channels."""
        if self._flat and image.ndim == 4:
            return undo_activation(self.network(image), self.ending.activation)
        axes = self.axes(image.shape[2:])
        there = (0, 1, *("xyz".index(axis) + 2 for axis in axes))
        mirrored = [axis_index + 2 for axis_index, axis in enumerate(axes) if axis in self.found.card.flip]
        seen = image.permute(there).flip(mirrored)
        logits = undo_activation(self._run(seen), self.ending.activation)
        return logits.flip(mirrored).permute(tuple(torch.tensor(there).argsort().tolist()))

    def along(self, axis: str) -> AdaptedModel:
        """Return the same model with slices along `axis`, unless the card names the axes."""
        other = copy.copy(self)
        other.slices_along = axis
        return other

    def problem(self, seen: Seen | None = None) -> str | None:
        """What in the outputs on a real case, or on noise, speaks against the activation that is undone."""
        return doubt(self.ending.activation, seen or self.found.probe.seen, "a real case" if seen else "noise")

    @property
    def raw(self) -> nn.Module:
        """The network, before its activation is undone."""
        inner: SegmentationModel = self.network  # type: ignore[assignment]
        return inner.network

    @property
    def painted(self) -> dict[int, int] | None:  # type: ignore[override]
        """Class of each channel in the order of painting; None if channels are classes, background included."""
        if self.found.layout.channels is not None:
            return self.found.layout.channels
        channels = self.found.probe.channels
        return None if channels == len(self.card.labels) else {i: i + 1 for i in range(channels)}

    @property
    def open_axes(self) -> bool:
        """Whether it is still undecided along which axis the slices of a 2D network lie."""
        return self._flat and self.found.card.axes is None and self.slices_along is None

    def axes(self, size: Sequence[int]) -> str:
        """All three image axes in the order of the network; the axis across the slices comes last."""
        axes = self.found.card.axes
        if axes is None and not self._flat:
            return "xyz"
        if axes is None:
            single = [axis for axis, side in zip("xyz", size, strict=True) if side == 1]
            axes = _SLICED[single[-1] if single else self.slices_along or "z"]
        return axes + "".join(axis for axis in "xyz" if axis not in axes)

    def _run(self, image: Tensor) -> Tensor:
        one_slice = self._flat and image.shape[-1] == 1 and self.found.card.roi_size is None
        if one_slice:  # without tiles a gradient takes one forward pass fewer, and one slice needs no saving of memory
            raw: Tensor = self.network(image.squeeze(-1)).unsqueeze(-1)
        else:
            raw = self._tiled(image) if self._tiled is not None else self.network(image)
        return raw


def adapt(
    network: nn.Module, card: Card, *, kind: str, name: str, notes: Sequence[str] = (), activation_by: str = "card"
) -> AdaptedModel:
    """Complete a card with what a probe of the network shows, and wrap the network accordingly.

    Args:
        network: the network with its weights.
        card: what is known about the network.
        kind: kind of the model specification, such as `bundle`.
        name: name of the model if the card gives none.
        notes: sentences on what was assumed so far.
        activation_by: who says what the card's `activation` says, such as `bundle`.

    Raises:
        InputError: if the network does not take the images that the card promises, or returns other channels.
    """
    require_finite(network, source=name)
    network, more = _in_single_precision(network)
    single = OneOutput(network.eval(), card.output)
    channels, dims = guess_input(network)
    channels, dims = card.in_channels or channels, card.spatial_dims or dims
    if channels is None or dims is None:
        missing = " and ".join(
            key for key, value in (("in_channels", channels), ("spatial_dims", dims)) if value is None
        )
        msg = f"{name}: {missing} must be known, and the network does not show it. Write it into the card."
        raise InputError(msg)
    answer = probe(single, in_channels=channels, spatial_dims=dims, divisor=card.divisor, sides=card.roi_size)
    said = card.activation
    ending = Ending(answer.activation, "probe") if said == "auto" else Ending(said, activation_by)
    layout = lay_out(card, answer.channels, softmax="softmax" in ending.activation, name=name)
    _background(ending, answer.channels, len(layout.labels), name)
    whole = card.model_copy(update={"in_channels": channels, "spatial_dims": dims, "labels": layout.labels})
    described = ModelCard(
        name=card.name or name,
        network={"name": type(network).__name__, "kind": kind, "spatial_dims": dims},
        labels=layout.labels,
        in_channels=channels,
        spatial_dims=3,
        recipe=card.recipe,
        train_ids=card.train_ids,
        val_ids=card.val_ids,
        label_map=card.label_map,
        pad_value=card.pad_value,
        regions=layout.regions,
    )
    return AdaptedModel(single, described, Found(kind, answer, whole, ending, layout, (*notes, *more)))


def _in_single_precision(network: nn.Module) -> tuple[nn.Module, list[str]]:
    """Weights in half precision as float32, which holds the same numbers: gradients underflow in less."""
    if not any(value.is_floating_point() and value.dtype.itemsize < 4 for value in network.state_dict().values()):
        return network, []
    return network.float(), ["Its weights are in half precision: it is run in single precision, with the same numbers."]


def _background(ending: Ending, channels: int, classes: int, name: str) -> None:
    """Raise if probabilities that sum to 1 leave the background out: none of them need be the largest there."""
    if "softmax" in ending.activation and channels != classes:
        msg = (
            f"{name}: a {ending.activation} must have a channel for each of the {classes} classes, background included,"
            f" got {channels}. Correct `labels`, `regions` or `activation` in the card."
        )
        raise InputError(msg)
