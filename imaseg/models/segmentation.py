"""The interface of all models: image (B, C, *spatial) of any size -> logits of the same size, described by a card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from imaseg.data.volume import Step, Volume
from imaseg.frozen import heads
from imaseg.models.outputs.ending import Ending
from imaseg.tiling import padded


class ModelCard(BaseModel):
    """Description of a model: what must be known to use its weights.

    Attributes:
        name: name for tables and plots.
        network: class name and arguments of the network.
        labels: names by output channel, background included.
        in_channels: channels of the image.
        spatial_dims: 2 or 3.
        divisor: the network takes sides that are multiples of this.
        pad_value: what images are padded with; None: the lowest value of each channel. Runs are trained with 0.
        method: training method and its settings, as in the configuration.
        recipe: preparation of the images it was trained on; None if unknown.
        fingerprint: statistics of the training cohort that the recipe refers to; None if unknown.
        train_ids: ids of the training cases.
        val_ids: ids of the cases held out of training, if the checkpoint states them.
        other_labels: label values that cases may hold besides those of `labels`; `prepare` converts them.
        label_map: class by label value of the data, for data that number their labels differently.
        regions: classes inside each region by the region's name, larger regions before those inside them; empty for
            models of classes. Results are of regions then.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    network: dict[str, Any]
    labels: dict[int, str]
    in_channels: Annotated[int, Field(ge=1, le=2**12)]
    spatial_dims: Annotated[int, Field(ge=1, le=3)]
    divisor: Annotated[int, Field(ge=1, le=2**10)] = 1
    pad_value: float | None = 0.0
    method: dict[str, Any] = {}
    recipe: dict[str, Any] | None = None
    fingerprint: dict[str, Any] | None = None
    train_ids: list[str] = []
    val_ids: list[str] = []
    other_labels: list[int] = []
    label_map: dict[int, int] = {}
    regions: dict[str, list[int]] = {}

    @property
    def structures(self) -> dict[int, str]:
        """Names of what is scored, by number from 1 on: regions, or the foreground classes."""
        regions = dict(enumerate(self.regions, start=1))
        return regions or {k: name for k, name in self.labels.items() if k > 0}

    @property
    def groups(self) -> dict[int, list[int]]:
        """Classes inside each structure."""
        regions = dict(enumerate(self.regions.values(), start=1))
        return regions or {k: [k] for k in self.labels if k > 0}


class OwnPipeline(Protocol):
    """A checkpoint's own way from the files of a case to a segmentation, made by its own software.

    Attributes:
        name: of that software, as in "nnU-Net's predictor".
    """

    name: str

    def predict(self, files: Sequence[Path]) -> NDArray[np.int64]:
        """Return the class of each voxel (X, Y, Z) on the grid of the image files."""


class SegmentationModel(nn.Module):
    """A network together with its card.

    Args:
        network: image (B, C, *spatial) -> logits (B, K, *spatial), for sides that are multiples of `card.divisor`.
        card: description of the model.

    Attributes:
        prepare: converts a raw volume to what the model takes and records each step; None if the card's recipe does.
        independent: whether probabilities are sigmoids of single logits, as for regions; else softmax.
        own: the checkpoint's own pipeline, to compare predictions with; None if it brings none.
        no_own: why there is none; empty for models that imaseg trained, whose software is imaseg.
        back: what its own software takes back to the grid of the files: `logits`, `softmax` or `sigmoid` of them, or
            decisions (`nearest`), as `imaseg.data.invert_logits` takes it.
        left_out: steps of the checkpoint's own postprocessing that imaseg does not do.
        ending: final activation of the network, which `forward` undoes, and who says so.
        painted: class of each of the network's own channels, in the order in which they are painted over each other;
            None if channels are classes.
    """

    prepare: Callable[[Volume], tuple[Volume, list[Step]]] | None = None
    independent = False
    own: OwnPipeline | None = None
    back: str = "logits"
    left_out: Sequence[str] = ()
    no_own = "this kind of checkpoint brings no pipeline of its own"
    ending = Ending()
    painted: Mapping[int, int] | None = None

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.card = card

    def channels(self, image: Tensor) -> Tensor:
        """Return the logits of the network's own channels, which `painted` makes classes of."""
        logits: Tensor = self(image)
        return logits

    def forward(self, image: Tensor) -> Any:
        """Return logits of the image's own size; sides are padded at both ends to what the network needs.

        In train mode it returns the list of all heads, if the network has several and the sides need no padding.
        """
        size = image.shape[2:]
        short = [-side % self.card.divisor for side in size]
        if not any(short):
            several = heads(self.network(image), image)
            return several if self.training and len(several) > 1 else several[0]
        widths = [width for side in reversed(short) for width in (side // 2, side - side // 2)]
        logits = heads(self.network(padded(image, widths, self.card.pad_value)), image)[0]
        inside = (
            slice(None),
            slice(None),
            *(slice(gap // 2, gap // 2 + side) for gap, side in zip(short, size, strict=True)),
        )
        return logits[inside]
