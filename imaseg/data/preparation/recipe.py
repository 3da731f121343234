"""The recipe of a preparation: what `imaseg prepare` does to each case, as a YAML file with few keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from imaseg.data.layouts.patterns import Layout
from imaseg.data.resources import resource
from imaseg.data.yaml_file import read_yaml
from imaseg.validated import validated

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Normalise = Literal["auto", "zscore", "masked-zscore", "percentile", "window", "ct", "range", "none", "transforms"]
Directions = Annotated[
    str, Field(pattern="^[RL][AP][SI]$|^[RL][SI][AP]$|^[AP][RL][SI]$|^[AP][SI][RL]$|^[SI][RL][AP]$|^[SI][AP][RL]$")
]
Within = Literal["nonzero", "body", "image"]
ClassValue = Annotated[int, Field(ge=0, le=65535)]
Side = Annotated[int, Field(ge=1)]
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Window(BaseModel):
    """Maps grey values from `low` to `high` linearly to `to_low` to `to_high`; with `clip`, others are clipped.

    Attributes:
        low: grey value that becomes `to_low`.
        high: grey value that becomes `to_high`.
        to_low: lower end afterwards.
        to_high: upper end afterwards.
        clip: whether values beyond the ends are set to them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Number
    high: Number
    to_low: Number = 0.0
    to_high: Number = 1.0
    clip: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Window:
        if not (self.high > self.low and self.to_high > self.to_low):
            msg = "high must be above low"
            raise ValueError(msg)
        return self


class Recipe(BaseModel):
    """How cases are found, what their labels mean, and the steps of a preparation in the order they are done.

    Attributes:
        layout: patterns of file names for a data set of its own layout: `images`, one per channel, and `label`; None
            tells the layout by inspection.
        modality: name per channel where the data set does not say; `CT` is normalised by the cohort.
        patient: regular expression that finds the patient in a case id, so that splits can be checked.
        labels: names by value, after `label_map`; with DICOM structures, the names that are read, and their values.
        label_threshold: label values from here on are 1, all others 0 (masks saved as JPEG, probabilities).
        label_map: new value by old one; values not named stay. Two with one new value are merged.
        orientation: direction of each axis: `RAS` from left to right, back to front, foot to head; None leaves them.
        n4: take the bias field of a coil out of MR channels (N4).
        spacing: voxel size in mm (right, front, up) to resample to; None in place of a number leaves that axis;
            `median` takes that of the cohort, None leaves each case.
        image_order: order of the interpolation: 0 nearest voxel, 1 linear, 3 cubic spline.
        label_order: 0 nearest voxel, 1 the label with the largest interpolated share, volumes kept.
        thick_order: order along an axis whose voxels are three times as long as the shortest side; None as above.
        crop: `foreground` cuts away the dark rim of the image, `body` all but the largest bright piece, None nothing.
        crop_margin: voxels kept around the foreground.
        size: voxels (right, front, up) that are kept around the middle, in place of a number None for the whole axis.
        normalise: `zscore` and `percentile` per case, `ct` by the labelled voxels of the cohort, `range` to [0, 1],
            `none` leaves intensities; `auto` is `ct` for a channel called CT, else `zscore`; `masked-zscore` is
            `zscore` over the nonzero voxels that leaves zeros at 0, `window` a fixed range, `transforms` what those do.
        within: voxels that `zscore` and `percentile` look at.
        percentiles: the two percentiles of those voxels that `percentile` clips at and brings to 0 and 1.
        window: the range of `window`, one for all channels or one for each.
        transforms: MONAI's transforms, `_target_` and arguments of each, done in their order; `orientation` and all
            that follow above then only describe them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout | None = None
    modality: tuple[str, ...] | None = None
    patient: str | None = None
    labels: dict[ClassValue, str] | None = None
    label_threshold: Number | None = None
    label_map: dict[ClassValue, ClassValue] | None = None
    orientation: Directions | None = "RAS"
    n4: bool = False
    spacing: tuple[Millimetres | None, Millimetres | None, Millimetres | None] | Literal["median"] | None = "median"
    image_order: Literal[0, 1, 3] = 1
    label_order: Literal[0, 1] = 1
    thick_order: Literal[0, 1] | None = None
    crop: Literal["foreground", "body"] | None = "foreground"
    crop_margin: int = Field(default=4, ge=0)
    size: tuple[Side | None, Side | None, Side | None] | None = None
    normalise: Normalise = "auto"
    within: Within = "nonzero"
    percentiles: tuple[Percent, Percent] = (0.5, 99.5)
    window: tuple[Window, ...] | None = None
    transforms: Annotated[tuple[dict[str, Any], ...] | None, Field(validate_default=True)] = None

    @field_validator("patient")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("percentiles")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            msg = "the first must be below the second"
            raise ValueError(msg)
        return value

    @field_validator("window", mode="before")
    @classmethod
    def _one_window_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("layout", mode="before")
    @classmethod
    def _one_pattern_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("images"), str):
            return value | {"images": [value["images"]]}
        return value

    @field_validator("transforms")
    @classmethod
    def _there(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get("normalise") == "transforms":
            msg = "normalise: transforms needs them"
            raise ValueError(msg)
        return value


READING = ("layout", "modality", "patient")
"""Keys on where the cases are rather than what is done to them."""


def load_recipe(name: str | Path, config: Path | None = None) -> Recipe:
    """Recipe by the name of a shipped one (`msd`) or the path of a YAML file.

    Args:
        name: name or path of the recipe.
        config: YAML file whose keys take the place of those of the recipe.

    Raises:
        InputError: if there is no such recipe, or it holds an unknown key or value.
    """
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = resource(f"data_prep/{name}.yaml")
    recipe = parse_recipe(read_yaml(path), source=str(path))
    if config is None:
        return recipe
    own = read_yaml(config)
    return parse_recipe(recipe.model_dump(mode="json") | own, source=str(config))


def parse_recipe(content: dict[str, Any], *, source: str) -> Recipe:
    """Validate the content of a recipe; `source` names it in errors.

    Raises:
        InputError: naming the first wrong key, what it got, and the known keys or the constraint.
    """
    return validated(Recipe, content, source=source, constraint=_constraint)


def _constraint(key: str) -> str:
    return {
        "layout": "images: one pattern with {id} or a list of them, and label: one pattern",
        "modality": "a list of names, one per channel",
        "patient": "a regular expression",
        "labels": "names by label value, such as {0: background, 1: tumour}",
        "label_threshold": "a number",
        "label_map": "new label values by old ones, such as {2: 1, 4: 3}",
        "orientation": "three directions such as RAS or LPS, or null",
        "n4": "true or false",
        "spacing": "three positive numbers in mm, median or null",
        "image_order": "0, 1 or 3",
        "label_order": "0 or 1",
        "thick_order": "0, 1 or null",
        "crop": "foreground, body or null",
        "crop_margin": "a whole number of voxels from 0",
        "size": "three whole numbers of voxels from 1, or null in place of one",
        "normalise": "auto, zscore, masked-zscore, percentile, window, ct, range, none or transforms",
        "within": "nonzero, body or image",
        "percentiles": "two rising numbers from 0 to 100",
        "window": "low, high and perhaps to_low, to_high and clip, or a list of such, one per channel",
        "transforms": "a list of MONAI's transforms, each with _target_ and its arguments",
    }.get(key, "a known key")
