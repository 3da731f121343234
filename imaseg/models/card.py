"""The model card: a few lines of YAML beside a checkpoint that state what the checkpoint itself does not.

docs/models.md says where the card of each kind of model is and which keys it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imaseg.data.plain import read_text
from imaseg.data.preparation.recipe import load_recipe, parse_recipe
from imaseg.data.resources import resource_names
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError
from imaseg.models.outputs.regions import painted
from imaseg.models.places import inside
from imaseg.validated import validated

Side = Annotated[int, Field(ge=1, le=2**12)]
Channel = Annotated[int, Field(ge=0, le=2**16)]
Values = Annotated[list[Side], Field(min_length=1)]
Stated = Literal["auto", "none", "softmax", "sigmoid", "log-softmax", "log-sigmoid"]
UNTOUCHED = {"orientation": None, "spacing": None, "crop": None, "normalise": "none"}
"""Defaults of a card's recipe: every step that it does not name is skipped."""
_MOST_IDS = 2**24
_MOST_VOXELS = 2**25
BESIDE = "imaseg.yaml"
"""Name of the card in a folder."""


class Card(BaseModel):
    """What must be known to use a set of weights; keys may be left out where the checkpoint states them itself.

    Attributes:
        name: name for tables and plots.
        class_: (key `class`) class of the network, for weights files: `monai.networks.nets.X`,
            `segmentation_models_pytorch.X`, or your own as `module:Class`, which is code and needs trust.
        arguments: arguments of that class.
        weights: weights file in the folder of the card; elsewhere only with trust. `$VARIABLES` are expanded.
        labels: names by class, background included.
        in_channels: channels of the image.
        spatial_dims: 2 or 3 dimensions of the network. A 2D network processes volumes slice by slice.
        axes: image axes in the order in which the network takes them: `xyz` (nibabel, MONAI), `zyx` (SimpleITK); of a
            2D network `yx` (rows, columns, as PNG readers give them) or `xy`, the third one being that of the slices.
            None: `xyz`, or for 2D networks slices along the thickest axis, the others as `yx`.
        flip: image axes that run in the opposite direction for the network.
        divisor: the network takes sides that are multiples of this; images are padded accordingly.
        pad_value: what images are padded with, in the units that the network takes; None: the lowest value of each
            channel of what is padded.
        roi_size: voxels of a tile, in the order of `axes`; None runs the network on the whole image.
        overlap, mode: overlap and blending of the tiles, as in `TiledModel`.
        padding_mode: how images smaller than a tile are padded, as in `TiledModel`.
        batch_size: tiles or slices that the network processes at once.
        output: key or index of the logits if the network returns several tensors, `0.1` for the second part of the
            first one.
        activation: final activation of the network, which is undone to recover the logits; `auto` determines it with a
            probe.
        regions: what is scored. `{name: [label values inside]}`: regions that lie within each other or apart, of
            networks with one sigmoid per region in the order of their channels. `{channel: class}`: the class that each
            sigmoid stands for, in the order in which they are painted over each other, each scored by itself.
        recipe: preparation of raw cases, in the form that `imaseg prepare` takes (or a recipe's name); steps left out
            are not done.
        label_map: class of the network by label value of the data, for data that number their labels differently.
        train_ids: ids of the training cases: a list, or a text file beside the card with one id per line.
        val_ids: ids of the cases held out of training, in the same form.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str | None = None
    class_: Annotated[str | None, Field(alias="class")] = None
    arguments: dict[str, Any] = {}
    weights: str | None = None
    labels: dict[int, str] | None = None
    in_channels: Side | None = None
    spatial_dims: Literal[2, 3] | None = None
    axes: Annotated[str, Field(pattern="^[xyz]{2,3}$")] | None = None
    flip: Annotated[str, Field(pattern="^[xyz]{0,3}$")] = ""
    divisor: Annotated[int, Field(ge=1, le=2**10)] | None = None
    pad_value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    roi_size: list[Annotated[int, Field(ge=-1, le=2**14)]] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    mode: Literal["gaussian", "constant"] = "gaussian"
    padding_mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"
    batch_size: Side = 4
    output: str | int | None = None
    activation: Stated = "auto"
    regions: Annotated[dict[Channel, Side] | dict[str, Side | Values], Field(min_length=1)] | None = None
    recipe: dict[str, Any] | None = None
    label_map: dict[Channel, Channel] = {}
    train_ids: list[str] = []
    val_ids: list[str] = []

    @field_validator("labels")
    @classmethod
    def _sorted(cls, value: dict[int, str] | None) -> dict[int, str] | None:
        return value if value is None else dict(sorted(({0: "background"} | value).items()))

    @field_validator("recipe", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in (known := resource_names("data_prep")):  # a path could lead anywhere
                msg = f"it must be keys and values, or the name of a recipe: {', '.join(known)}"
                raise ValueError(msg)
            return load_recipe(value).model_dump(mode="json")
        if not isinstance(value, dict | None):
            msg = "it must be keys and values, or the name of a recipe"
            raise ValueError(msg)
        return parse_recipe(UNTOUCHED | value, source="recipe").model_dump(mode="json") if value is not None else None

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        dims = self.spatial_dims
        if self.axes is not None:
            if len({*self.axes}) < len(self.axes) or (dims is not None and len(self.axes) != dims):
                msg = f"axes must be {dims or 2} different ones of xyz, got {self.axes!r}"
                raise ValueError(msg)
            self.spatial_dims = dims = 3 if len(self.axes) == 3 else 2
        if self.roi_size is not None and len(self.roi_size) != (dims or len(self.roi_size)):
            msg = f"roi_size must have {dims} numbers, got {self.roi_size}"
            raise ValueError(msg)
        if 0 in (self.roi_size or ()) or math.prod(self.roi_size or ()) > _MOST_VOXELS:
            msg = f"roi_size must be sides >= 1, or -1, of at most {_MOST_VOXELS} voxels, got {self.roi_size}"
            raise ValueError(msg)
        if self.named_regions:
            painted(self.named_regions, source="the card")
        elif not _gapless(order := [*(self.painted_channels or {}).values()]):
            msg = f"regions must paint the classes 1, 2, ... without gaps, got {order}"
            raise ValueError(msg)
        elif not _gapless([k for k in self.labels or {} if k > 0]):
            msg = "labels: give names to 0, 1, 2, ... without gaps"
            raise ValueError(msg)
        return self

    @property
    def named_regions(self) -> dict[str, list[int]]:
        """Label values inside each region; empty where the card states none, or classes of channels."""
        stated = (self.regions or {}).items()
        return {
            name: [inside] if isinstance(inside, int) else inside for name, inside in stated if isinstance(name, str)
        }

    @property
    def painted_channels(self) -> dict[int, int] | None:
        """Class of each channel, in the order of painting; None if channels are classes, or structures in order."""
        if self.regions is None or self.named_regions:
            return None
        return {k: inside for k, inside in self.regions.items() if isinstance(k, int) and isinstance(inside, int)}


def _gapless(numbers: list[int]) -> bool:
    return sorted({*numbers}) == list(range(1, len({*numbers}) + 1))


def read_card(path: Path, *, trust: bool = False) -> Card:
    """Read a card.

    Args:
        path: the card.
        trust: whether files that it names may be outside of its folder.

    Raises:
        InputError: if it cannot be read, or a key or value is refused.
    """
    content = read_yaml(path)
    for key in ("train_ids", "val_ids"):
        if isinstance(content.get(key), str):
            named = inside(path.parent, content[key], source=f"{key} in {path}", trust=trust)
            content[key] = read_text(named, "text", most=_MOST_IDS).split("\n")
            content[key] = [line.strip() for line in content[key] if line.strip()]
    return parse_card(content, source=str(path))


def parse_card(content: dict[str, Any], *, source: str) -> Card:
    """Check the content of a card; `source` names it in errors.

    Raises:
        InputError: naming the first key that does not fit.
    """
    return validated(Card, content, source=source)


def card_beside(*paths: Path, unused: Sequence[str] = ("class_", "arguments", "weights"), trust: bool = False) -> Card:
    """Read the card at the first of these paths that exists; an empty card if none does.

    Args:
        paths: where it may be.
        unused: attributes of which the checkpoint itself has the say.
        trust: as in `read_card`.

    Raises:
        InputError: as `read_card`, or if it says one of those.
    """
    card_file = next((path for path in paths if path.is_file()), None)
    return Card() if card_file is None else without(read_card(card_file, trust=trust), unused, source=str(card_file))


def without(card: Card, unused: Sequence[str], *, source: str) -> Card:
    """The same card.

    Raises:
        InputError: if it says something that would not be heeded.
    """
    said = [name.rstrip("_") for name in unused if name in card.model_fields_set]
    if said:
        msg = f"{source} must not say {' or '.join(said)}, which the checkpoint beside it does. Take it out."
        raise InputError(msg)
    return card
