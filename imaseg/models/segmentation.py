"""One shape for every segmenter: image (B, C, *spatial) of any size -> logits of the same size, and its card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn.functional import pad

from imaseg.data.volume import Step, Volume
from imaseg.frozen import heads


class ModelCard(BaseModel):
    """What one has to know to use a set of weights.

    Attributes:
        name: for tables and plots.
        network: class name and arguments of the network.
        labels: names by output channel, background included.
        in_channels: channels of the image.
        spatial_dims: 2 or 3.
        divisor: the network takes sides that are multiples of this.
        method: how it was trained, as the configuration said.
        recipe: preparation of the images it was trained on; None if unknown.
        fingerprint: statistics of the training cohort that the recipe refers to; None if unknown.
        train_ids: cases it was trained on.
        val_ids: cases that its training held out, where the checkpoint says so.
        other_labels: label values that cases may hold besides those of `labels`, which `prepare` takes care of.
        label_map: class by label value of the data, for data that number them otherwise.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    network: dict[str, Any]
    labels: dict[int, str]
    in_channels: int
    spatial_dims: int
    divisor: int = 1
    method: dict[str, Any] = {}
    recipe: dict[str, Any] | None = None
    fingerprint: dict[str, Any] | None = None
    train_ids: list[str] = []
    val_ids: list[str] = []
    other_labels: list[int] = []
    label_map: dict[int, int] = {}


class SegmentationModel(nn.Module):
    """A network and its card.

    Args:
        network: image (B, C, *spatial) -> logits (B, K, *spatial), for sides that are multiples of `card.divisor`.
        card: what it is.

    Attributes:
        prepare: from a raw volume to what the model takes, with the record of each step; None where the card's recipe
            says it.
        independent: whether the probability of a decision is the sigmoid of its logit, as for regions; else softmax.
    """

    prepare: Callable[[Volume], tuple[Volume, list[Step]]] | None = None
    independent = False

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.card = card

    def forward(self, image: Tensor) -> Any:
        """Logits of the image's own size; sides are padded with 0 at both ends as the network needs it.

        In train mode the list of all heads, if the network has several and the sides need no padding.
        """
        size = image.shape[2:]
        short = [-side % self.card.divisor for side in size]
        if not any(short):
            several = heads(self.network(image), image)
            return several if self.training and len(several) > 1 else several[0]
        widths = [width for side in reversed(short) for width in (side // 2, side - side // 2)]
        logits = heads(self.network(pad(image, widths)), image)[0]
        inside = (
            slice(None),
            slice(None),
            *(slice(gap // 2, gap // 2 + side) for gap, side in zip(short, size, strict=True)),
        )
        return logits[inside]
