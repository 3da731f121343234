"""The types of what nnU-Net writes into its checkpoints, `plans.json`, `dataset.json` and the like.

nnU-Net and imaseg take these for granted where they use them, so they are checked once, as they are read. Keys that are
not named here are nnU-Net's own affair.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from imaseg.data.formats.limits import MOST_VALUES
from imaseg.data.plain import is_plain

Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[float, Field(gt=0, le=1e6)]
Side = Annotated[int, Field(ge=1, le=2**16)]
_MOST_VOXELS = 2**24
"""Of a patch: 256 along each axis, more than nnU-Net plans for GPUs of 40 GB."""


def _permutation(axes: list[int]) -> list[int]:
    if sorted(axes) != [0, 1, 2]:
        msg = "it must hold 0, 1 and 2"
        raise ValueError(msg)
    return axes


def _within_memory(sides: list[int]) -> list[int]:
    if math.prod(sides) > _MOST_VOXELS:
        msg = f"it must be of at most {_MOST_VOXELS} voxels"
        raise ValueError(msg)
    return sides


def _few(entries: Any) -> Any:
    if isinstance(entries, dict | list) and len(entries) > MOST_VALUES:
        msg = f"it must have {MOST_VALUES} entries at most"
        raise ValueError(msg)
    return entries


Few = BeforeValidator(_few)
"""Told before each entry is looked at, which takes minutes of a million that are wrong."""
Label = Annotated[int, Field(ge=0, lt=2**15)] | Annotated[str, Field(pattern=r"^\d{1,4}$")]
MirrorAxes = Annotated[tuple[Annotated[int, Field(ge=0, le=2)], ...], Field(max_length=3, strict=False)]
Axes = Annotated[list[int], AfterValidator(_permutation)]
Patch = Annotated[list[Side], Field(min_length=2, max_length=3), AfterValidator(_within_memory)]


class Document(BaseModel):
    """Part of a file: unknown keys are left alone, types are taken as they are written."""

    model_config = ConfigDict(extra="allow", strict=True, arbitrary_types_allowed=True)


class Architecture(Document):
    """The network of a configuration."""

    network_class_name: str
    arch_kwargs: dict[str, Any]
    kw_requires_import: Annotated[list[str], Field(alias="_kw_requires_import")] = []


class ConfigurationDocument(Document):
    """A configuration with all that it inherits."""

    patch_size: Patch
    spacing: Annotated[list[Size], Field(min_length=2, max_length=3)]
    normalization_schemes: Annotated[list[str], Few]
    use_mask_for_norm: Annotated[list[bool], Few]
    preprocessor_name: str
    architecture: Architecture
    previous_stage: str | None = None
    resampling_fn_data: str
    resampling_fn_seg: str
    resampling_fn_probabilities: str
    resampling_fn_data_kwargs: dict[str, Any]
    resampling_fn_seg_kwargs: dict[str, Any]
    resampling_fn_probabilities_kwargs: dict[str, Any]

    @model_validator(mode="after")
    def _consistent(self) -> ConfigurationDocument:
        if len(self.use_mask_for_norm) != len(self.normalization_schemes):
            msg = "use_mask_for_norm must have a value for each of normalization_schemes"
            raise ValueError(msg)
        if len(self.spacing) != len(self.patch_size):
            msg = "spacing must have a value for each of patch_size"
            raise ValueError(msg)
        return self


class Intensities(Document):
    """Figures of one channel over the labelled voxels of the training cases."""

    mean: Finite
    std: Annotated[Finite, Field(ge=0)]
    percentile_00_5: Finite
    percentile_99_5: Finite


class PlansDocument(Document):
    """`plans.json`."""

    dataset_name: str
    transpose_forward: Axes
    image_reader_writer: str
    label_manager: str | None = None
    configurations: Annotated[dict[str, dict[str, Any]], Few]
    foreground_intensity_properties_per_channel: Annotated[dict[str, Intensities], Few] = {}


class DatasetDocument(Document):
    """`dataset.json` of nnU-Net v2."""

    channel_names: Annotated[dict[str, str], Field(min_length=1), Few] | None = None
    modality: Annotated[dict[str, str], Field(min_length=1), Few] | None = None
    labels: Annotated[dict[str, Label | Annotated[list[Label], Field(min_length=1), Few]], Field(min_length=2), Few]
    regions_class_order: Annotated[list[Label], Field(min_length=1), Few] | None = None
    file_ending: Annotated[str, Field(pattern=r"^(\.\w+)+$")] | None = None

    @model_validator(mode="after")
    def _has_channels(self) -> DatasetDocument:
        if self.channel_names is None and self.modality is None:
            msg = "channel_names must be given, got nothing"
            raise ValueError(msg)
        return self


class InitArgs(Document):
    """Arguments of the trainer that wrote a checkpoint."""

    configuration: str
    imaseg: dict[str, Any] = {}

    @property
    def method(self) -> dict[str, Any]:
        """Settings of the training method where imaseg trained it; empty else."""
        config = self.imaseg.get("config")
        method = config.get("method") if isinstance(config, dict) else None
        return dict(method) if isinstance(method, dict) and is_plain(method) else {}


class CheckpointDocument(Document):
    """`checkpoint_final.pth` and its like."""

    network_weights: Annotated[dict[str, Any], Field(min_length=1)]
    trainer_name: str
    init_args: InitArgs
    inference_allowed_mirroring_axes: MirrorAxes | None = None
